"""The received time line under loss, reordering, duplicates, jitter and bursts: numbered packets in, numbers out."""

import audioop

import numpy as np
import pytest

from gateway.media.jitter import JitterBuffers, JitterOptions
from tests.bench import delay as delay_bench
from tests.bench.concealment import recordings
from tests.support.jitter_line import simulate
from tests.support.media_rig import MediaRig, numbered

SEEDS = range(3)
SPEECH = np.concatenate(list(recordings().values()))


def listen(arrivals, seconds, **options):
    """A rig that heard one leg's arrivals; `numbers` of it tells which packet each 20 ms came from."""
    rig = MediaRig(**options)
    rig.open_leg()
    rig.arrive(arrivals)
    rig.run(seconds)
    return rig


def placed(rig):
    """Of each packet heard: its index, and the frame in which it was first. Numbers repeat after 100 packets."""
    found, index = [], -1
    for frame, number in enumerate(rig.numbers()):
        if number is not None and number != index % 100:
            index += (number - index) % 100
            found.append((index, frame))
    return found


def statistics(rig):
    return rig.engine.statistics(0)


def test_an_even_stream_waits_between_30_and_50_ms_wherever_it_falls_in_the_grid():
    for offset_s in (0.0, 0.001, 0.0049, 0.0051, 0.0129, 0.0199):
        rig = listen(numbered(50, start_s=offset_s), 1.2)
        waits_s = [frame * 0.02 - (index * 0.02 + offset_s) for index, frame in placed(rig)]
        assert len(waits_s) == 50
        assert 0.0299 <= min(waits_s) <= max(waits_s) <= 0.0501, (offset_s, min(waits_s), max(waits_s))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.2])
def test_loss_leaves_every_other_packet_in_its_place_and_is_concealed(rate, seed):
    rng = np.random.default_rng(seed)
    sent = numbered(750)
    kept = np.flatnonzero((rng.random(750) >= rate) | np.isin(np.arange(750), [0, 749]))
    rig = listen([sent[i] for i in kept], 15.04)
    assert [(i, i + 2) for i in kept] == [pair for pair in placed(rig) if pair[0] in set(kept.tolist())]
    lost = 750 - kept.size
    assert statistics(rig).packets_lost == lost
    runs = np.diff(kept) - 1
    assert statistics(rig).concealed_ms == np.minimum(runs, 3).sum() * 20
    assert rig.frames().shape == (752, 160)


@pytest.mark.parametrize("burst", [2, 5, 15, 60])
def test_a_burst_of_loss_is_faded_over_and_the_time_line_kept(burst):
    sent = numbered(200)
    rig = listen(sent[:50] + sent[50 + burst :], 4.2)
    heard = dict(placed(rig))
    assert heard[49] == 51
    assert heard[50 + burst] == 52 + burst
    assert statistics(rig).packets_lost == burst
    gap = rig.frames()[52 : 52 + burst]
    assert (gap[3:] == 0xFF).all()
    assert not (gap[0] == 0xFF).any()


@pytest.mark.parametrize("late_ms", [21, 39])
@pytest.mark.parametrize("seed", SEEDS)
def test_reordering_and_duplicates_are_not_heard(seed, late_ms):
    rng = np.random.default_rng(seed)
    arrivals = []
    for at_s, datagram in numbered(500):
        arrivals.append((at_s + rng.choice([0, late_ms / 1000], p=[0.8, 0.2]), datagram))
        arrivals += [(at_s + rng.uniform(0, 0.2), datagram)] * rng.integers(0, 2)
    rig = listen([(0.0, arrivals[0][1]), *arrivals], 10.2)
    heard = placed(rig)
    assert [index for index, _ in heard] == list(range(500))
    assert max(frame - index for index, frame in heard) * 20 <= late_ms + 40
    assert statistics(rig).concealed_ms <= 60, "other than the end of the call was concealed"
    assert statistics(rig).packets_lost == 0
    assert statistics(rig).packets_duplicate == statistics(rig).packets_received - 500
    assert statistics(rig).packets_reordered > 50


NETWORKS = {
    f"{name} {jitter_ms} ms": (draw, jitter_ms, is_ordered)
    for jitter_ms in (10, 20, 40, 80)
    for name, draw, is_ordered in (
        ("uniform", lambda rng, size: rng.uniform(0, 1, size), False),
        ("uniform in order", lambda rng, size: rng.uniform(0, 1, size), True),
        ("mostly early", lambda rng, size: rng.beta(1, 4, size), False),
    )
}


@pytest.mark.parametrize(("draw", "jitter_ms", "is_ordered"), NETWORKS.values(), ids=NETWORKS)
def test_jitter_up_to_80_ms_costs_at_most_one_percent_and_60_ms_of_delay(draw, jitter_ms, is_ordered):
    rng = np.random.default_rng(jitter_ms)
    sent_s = delay_bench.sent(rng, legs=20, packets=1500)
    arrivals_s = sent_s + draw(rng, sent_s.shape) * jitter_ms / 1000
    line = simulate(delay_bench.in_order(arrivals_s) if is_ordered else arrivals_s, speech=SPEECH)
    assert line.concealed.max() <= 0.01
    assert np.median(line.waits_ms) <= 60
    assert not np.isnan(line.waits_ms).any()


def test_a_stall_now_and_then_leaves_no_lasting_delay():
    rng = np.random.default_rng(1)
    sent_s = delay_bench.sent(rng, legs=20, packets=1500)
    line = simulate(delay_bench.stalled(sent_s, rng, stall_s=0.2, every_s=10), speech=SPEECH)
    assert np.nanmedian(line.waits_ms) <= 50
    assert np.mean(line.waits_ms > 100) <= 0.2, "the delay of stalls is kept too long"
    assert line.concealed.max() <= 0.015


@pytest.mark.heavy
@pytest.mark.parametrize(("ptime_ms", "minutes"), [(20, 30), (30, 10)])
def test_a_call_of_30_minutes_keeps_its_delay_over_two_clocks_that_drift_apart(ptime_ms, minutes):
    drift = np.array([[200e-6], [-200e-6], [50e-6], [-50e-6]])
    sent_s = np.arange(minutes * 60_000 // ptime_ms) * ptime_ms / 1000 + np.array([[0.0], [0.005], [0.011], [0.019]])
    line = simulate(sent_s * (1 + drift), ptime_ms=ptime_ms, speech=SPEECH)
    target_ms = 40
    first_reads_ms = line.waits_ms if ptime_ms == 20 else np.maximum(line.waits_ms[:, :-1], line.waits_ms[:, 1:])
    assert np.abs(first_reads_ms - target_ms).max() <= 20, f"{first_reads_ms.min()} to {first_reads_ms.max()} ms"
    assert (line.concealed * minutes * 60_000 <= 60.1).all(), "other than the end of the call was concealed"
    assert not line.late.any()


def test_a_delay_that_was_learnt_is_given_back_when_the_network_is_steady_again():
    rng = np.random.default_rng(2)
    sent_s = delay_bench.sent(rng, legs=10, packets=2000)
    jitter_s = np.where(np.arange(2000) < 1000, rng.uniform(0, 0.12, sent_s.shape), 0)
    waits_ms = simulate(sent_s + jitter_s, speech=SPEECH).waits_ms
    assert np.median(waits_ms[:, 800:1000] + 1000 * jitter_s[:, 800:1000]) > 100
    assert (waits_ms[:, 1700:] <= 50.2).all()


def test_a_voice_is_spliced_where_it_is_alike_and_silence_first():
    changes = {}
    for name, audio in (("pause", np.zeros(160, np.int16)), ("speech", SPEECH)):
        sent_s = np.arange(600) * 0.02 + np.zeros((1, 1))
        arrivals_s = np.where((sent_s >= 4) & (sent_s < 4.2), 4.2, sent_s)
        waits_ms = simulate(arrivals_s, speech=audio).waits_ms[0]
        changes[name] = np.count_nonzero(waits_ms[210:] > 60) * 0.02
    assert changes["pause"] <= 0.8
    assert changes["pause"] <= changes["speech"] <= 3.5


@pytest.mark.parametrize("seed", SEEDS)
def test_jitter_of_150_ms_is_learnt_and_keeps_the_order(seed):
    rng = np.random.default_rng(seed)
    arrivals = [(at_s + rng.uniform(0, 0.15), datagram) for at_s, datagram in numbered(1000)]
    rig = listen(arrivals, 20.2)
    heard = placed(rig)
    assert [index for index, _ in heard] == sorted({index for index, _ in heard})
    assert len(heard) >= 980, f"{1000 - len(heard)} packets unheard"
    assert max(frame - index for index, frame in heard) * 20 <= 220


def test_a_clump_is_heard_from_its_first_word_and_its_delay_is_given_back():
    sent = numbered(500)
    clumped = [(max(at_s, 1.16) if at_s >= 1.0 else at_s, datagram) for at_s, datagram in sent]
    rig = listen(clumped, 10.1)
    heard = placed(rig)
    delays = {index: frame - index for index, frame in heard}
    assert max(delays.values()) * 20 <= 200
    assert [delays[index] for index in (0, 49, 499)] == [2, 2, 2]
    assert all(index in delays for index in range(50, 56)), "speech of the clump was dropped"
    assert len(delays) >= 500 - 2 * 7, "more was left out than the delay had grown by"
    assert next(index for index in range(75, 500) if delays.get(index) == 2) * 20 <= 1000 + 3500
    assert statistics(rig).packets_lost == 0


def test_in_silence_the_delay_is_given_back_at_once_and_nothing_else_is_lost():
    voice = numbered(300)
    silence = [(at_s, datagram[:12] + b"\xff" * 160) for at_s, datagram in numbered(300)]
    sent = [silence[i] if 150 <= i < 240 else voice[i] for i in range(300)]
    clumped = [(max(at_s, 2.96) if at_s >= 2.8 else at_s, datagram) for at_s, datagram in sent]
    rig = listen(clumped, 6.5)
    delays = {index: frame - index for index, frame in placed(rig)}
    assert set(delays) == set(range(150)) | set(range(240, 300))
    assert delays[149] > 2
    assert delays[240] == 2


def test_a_clump_later_than_the_buffer_reaches_costs_its_oldest_part_only():
    sent = numbered(500)
    clumped = [(max(at_s, 2.0) if at_s >= 1.0 else at_s, datagram) for at_s, datagram in sent]
    rig = listen(clumped, 12.0)
    numbers = rig.numbers()
    first = next(frame for frame in range(52, 120) if numbers[frame] is not None)
    assert 100 <= first <= 101, "nothing was heard when the network was back"
    assert 85 <= numbers[first] <= 90
    assert statistics(rig).packets_lost == 0
    assert statistics(rig).packets_late == numbers[first] - 50
    assert numbers[480:482] == [78, 79], "the delay was not given back"


def test_our_own_stall_loses_nothing_of_what_the_sockets_kept():
    rig = MediaRig()
    rig.open_leg()
    rig.arrive(numbered(200))
    rig.run(1.0)
    rig.stall(0.3)
    rig.run(3.0)
    assert [(i, i + 2) for i in range(200)] == placed(rig)
    assert statistics(rig).concealed_ms <= 60


def test_a_long_stall_costs_the_audio_of_that_time_and_no_delay():
    rig = MediaRig()
    rig.open_leg()
    rig.arrive(numbered(240))
    rig.run(1.0)
    rig.stall(2.5)
    rig.run(1.38)
    assert rig.numbers()[-60:-2] == [index % 100 for index in range(182, 240)]
    assert rig.numbers()[-2:] == [None, None]


def test_a_faster_sender_clock_does_not_fill_the_buffer():
    arrivals = [(i * 0.02 * (1 - 1e-3), datagram) for i, (_, datagram) in enumerate(numbered(3000))]
    rig = listen(arrivals, 59.0, tick_s=0.01)
    waits_s = [frame * 0.02 - arrivals[index][0] for index, frame in placed(rig)]
    assert max(waits_s) <= 0.1, f"{max(waits_s) * 1000:.0f} ms"


def test_a_slower_sender_clock_does_not_run_dry_for_long():
    arrivals = [(i * 0.02 * (1 + 1e-3), datagram) for i, (_, datagram) in enumerate(numbered(3000))]
    rig = listen(arrivals, 60.0, tick_s=0.01)
    assert statistics(rig).concealed_ms <= 200
    assert len(placed(rig)) >= 2980


def test_delay_is_an_option():
    for delay_ms in (0, 100):
        rig = listen(numbered(20), 1.0, jitter=JitterOptions(delay_ms=delay_ms, meets_arrivals=False, patience_ms=0))
        assert placed(rig)[0] == (0, delay_ms // 20)
    with pytest.raises(ValueError, match="delay_ms"):
        JitterOptions(delay_ms=400, max_delay_ms=300)
    with pytest.raises(ValueError, match="patience_ms"):
        JitterOptions(patience_ms=201)


def test_while_the_delay_shrinks_a_lost_frame_is_left_out_instead_of_made_up():
    noise = np.random.default_rng(1).integers(0, 255, (500, 160), np.uint8)
    sent = [(at_s, datagram[:12] + noise[i].tobytes()) for i, (at_s, datagram) in enumerate(numbered(500))]
    clumped = [(max(at_s, 9.16) if at_s >= 9.0 else at_s, datagram) for at_s, datagram in sent]
    whole = listen(clumped, 10.0)
    lost = range(484, 496, 4)
    holed = listen([packet for i, packet in enumerate(clumped) if i not in lost], 10.0)
    assert statistics(holed).packets_lost == len(lost)
    assert statistics(holed).concealed_ms == statistics(whole).concealed_ms


def tone_packets(frequency_hz, count):
    tone = np.rint(8000 * np.sin(2 * np.pi * frequency_hz * np.arange(160 * count) / 8000)).astype("<i2")
    octets = audioop.lin2ulaw(tone.tobytes(), 2)
    return [(i * 0.02, header[:12] + octets[160 * i :][:160]) for i, (_, header) in enumerate(numbered(count))]


def test_a_delay_that_grows_where_a_packet_is_lost_makes_the_gap_longer_and_plays_nothing_twice():
    sent = tone_packets(500, 80)
    late = [(at_s + 0.065 * (i == 49), datagram) for i, (at_s, datagram) in enumerate(sent)]
    rig = listen([packet for i, packet in enumerate(late) if i != 55], 1.8)
    heard = np.frombuffer(audioop.ulaw2lin(rig.uplink[0], 2), "<i2").astype(float).reshape(-1, 160)
    levels = np.sqrt((heard**2).mean(axis=1))
    quiet = np.flatnonzero(levels[56:79] < 0.75 * levels[40]) + 56
    assert quiet.tolist() == [58]
    assert levels[58] == pytest.approx(0.6 * levels[40], rel=0.1)
    assert statistics(rig).concealed_ms == pytest.approx(20 + 40 + 60, abs=1)


def test_a_lost_frame_is_left_out_without_a_click():
    sent = tone_packets(430, 600)
    clumped = [(max(at_s, 9.16) if at_s >= 9.0 else at_s, datagram) for at_s, datagram in sent]
    for lost in range(476, 488):
        rig = listen([packet for i, packet in enumerate(clumped) if i != lost], 10.4)
        heard = np.frombuffer(audioop.ulaw2lin(rig.uplink[0], 2), "<i2").astype(int)
        steps = np.abs(np.diff(heard[160 * 470 : 160 * 515]))
        assert steps.max() <= 8000 * 2 * np.pi * 430 / 8000 * 1.3, f"a click where packet {lost} was lost"


def test_a_voice_that_changed_meanwhile_is_met_without_a_step():
    phase = 2 * np.pi * np.cumsum(np.linspace(180, 320, 8000)) / 8000
    octets = audioop.lin2ulaw(np.rint(8000 * np.sin(phase)).astype("<i2").tobytes(), 2)
    sent = [(i * 0.02, header[:12] + octets[160 * i : 160 * i + 160]) for i, (_, header) in enumerate(numbered(50))]
    for first, behind in ((12, 13), (20, 22), (30, 31), (33, 35)):
        rig = listen(sent[:first] + sent[behind:], 0.9)
        heard = np.frombuffer(audioop.ulaw2lin(rig.uplink[0], 2), "<i2").astype(int)
        around = heard[(behind + 1) * 160 : (behind + 3) * 160]
        assert np.abs(np.diff(around)).max() <= 8000 * 2 * np.pi * 320 / 8000 * 1.5, (
            f"a step behind packet {behind - 1}"
        )


def test_concealment_goes_on_without_a_step_and_fades_out():
    tone = np.rint(8000 * np.sin(2 * np.pi * 200 * np.arange(8000) / 8000)).astype("<i2")
    octets = audioop.lin2ulaw(tone.tobytes(), 2)
    sent = [(i * 0.02, header[:12] + octets[160 * i : 160 * i + 160]) for i, (_, header) in enumerate(numbered(40))]
    rig = listen(sent[:20] + sent[30:], 0.7)
    heard = np.frombuffer(audioop.ulaw2lin(rig.uplink[0], 2), "<i2").astype(int)
    gap = heard[22 * 160 : 25 * 160]
    largest_step_of_the_tone = np.abs(np.diff(tone.astype(int))).max()
    assert np.abs(np.diff(heard[21 * 160 : 26 * 160])).max() <= largest_step_of_the_tone * 1.3
    energies = [np.abs(gap[i : i + 160]).max() for i in (0, 160, 320)]
    assert energies == sorted(energies, reverse=True)
    assert not heard[25 * 160 : 32 * 160].any()


def test_of_many_delays_that_are_too_long_at_once_some_are_mended_at_a_time_and_in_the_end_all():
    rig = MediaRig(max_legs=60)
    clump = [(max(at_s, 1.2) if at_s >= 1.0 else at_s, datagram) for at_s, datagram in numbered(1000)]
    for leg in range(60):
        assert rig.open_leg() == leg
        rig.arrive(clump, leg=leg)
    mended = []
    spliced = JitterBuffers._spliced

    def note(bank, legs, codes, index, *, is_longer):
        mended.append(legs.size)
        return spliced(bank, legs, codes, index, is_longer=is_longer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JitterBuffers, "_spliced", note)
        rig.run(20.0)
    assert max(mended) == 8
    for leg in range(60):
        heard = rig.frames(leg)
        last = next(index for index in range(len(heard) - 1, 0, -1) if heard[index][80] == 99)
        assert last <= 999 + 2, "the delay of the stall is still there"
