"""The engine as its users see it: legs come and go, many at once sound as one alone, a barge-in is silent at once."""

import audioop
import gc
import tracemalloc

import numpy as np
import pytest

from gateway.errors import ResourceError, StateError
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from tests.support.key_tones import key_tone, pause, tone_packets
from tests.support.media_rig import SILENCE, START_S, TICK_S, MediaRig, leg_options, numbered
from tests.support.rtp_packets import packet_batch, rtp_packet

KINDS = [
    {"format": name, "payload_type": number, "uplink": form, "downlink": form}
    for name, number in (("PCMU", 0), ("PCMA", 8))
    for form in AudioFormat
]


def caller(seed, count=60):
    """A caller's packets with loss, jitter and a duplicate here and there."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(160 * count) / 8000
    samples = 5000 * np.sin(2 * np.pi * (300 + 17 * seed) * time_s) + rng.normal(0, 300, time_s.size)
    octets = audioop.lin2ulaw(np.rint(samples).astype("<i2").tobytes(), 2)
    packets = []
    for i in range(count):
        datagram = rtp_packet(seed * 997 + i, seed * 12_345 + 160 * i, octets[160 * i :][:160], ssrc=seed)
        at_s = i * 0.02 + rng.uniform(0, 0.03)
        packets += [(at_s, datagram)] * int(rng.choice([0, 1, 1, 1, 1, 1, 1, 1, 1, 2]))
    return packets


def provider(seed, form):
    """What a model says to that leg: `(tick, bytes)` pieces of odd sizes."""
    rng = np.random.default_rng(1000 + seed)
    data = rng.integers(0, 255, 700 * form.bytes_per_ms).astype(np.uint8).tobytes()
    pieces, tick = [], int(rng.integers(0, 40))
    while data:
        size = int(rng.integers(1, 9000))
        pieces.append((tick, data[:size]))
        data, tick = data[size:], tick + int(rng.integers(0, 6))
    return pieces


def run_legs(seeds, companions=0):
    """Octets sent and audio handed off for each of the seeds, which share an engine with idle `companions`."""
    rig = MediaRig(max_legs=128)
    legs = {}
    for seed in seeds:
        legs[seed] = rig.open_leg(**KINDS[seed % len(KINDS)])
        rig.arrive(caller(seed), leg=legs[seed])
    for _ in range(companions):
        rig.open_leg()
    pieces = {seed: provider(seed, KINDS[seed % len(KINDS)]["downlink"]) for seed in seeds}
    for tick in range(320):
        for seed, waiting in pieces.items():
            while waiting and waiting[0][0] <= tick:
                rig.engine.play(legs[seed], "item", waiting.pop(0)[1])
            if tick == 150:
                rig.engine.end_item(legs[seed], "item")
        rig.tick()
    return {seed: (rig.sent_audio(leg), rig.uplink[leg]) for seed, leg in legs.items()}


def near(octets, expected, form):
    """Equal but for the last bit of a sum whose order depends on the size of the batch."""
    if octets == expected:
        return True
    dtype = "<i2" if form.bytes_per_sample == 2 else np.uint8
    a, b = np.frombuffer(octets, dtype).astype(int), np.frombuffer(expected, dtype).astype(int)
    return a.size == b.size and (a != b).mean() < 0.002 and np.abs(a - b).max() <= 1


def test_a_hundred_legs_at_once_sound_as_each_of_them_alone():
    together = run_legs(range(100))
    for seed in range(0, 100, 7):
        # The phase group decides in which of four ticks a leg is due: give it the same one.
        alone = run_alone_in_group(seed, group=seed % 4)
        form = KINDS[seed % len(KINDS)]["uplink"]
        assert near(together[seed][0], alone[0], AudioFormat.PCMU), f"downlink of leg {seed}"
        assert near(together[seed][1], alone[1], form), f"uplink of leg {seed}"


def run_alone_in_group(seed, group):
    rig = MediaRig(max_legs=8)
    for _ in range(group):
        rig.open_leg()
    leg = rig.open_leg(**KINDS[seed % len(KINDS)])
    rig.arrive(caller(seed), leg=leg)
    pieces = provider(seed, KINDS[seed % len(KINDS)]["downlink"])
    for tick in range(320):
        while pieces and pieces[0][0] <= tick:
            rig.engine.play(leg, "item", pieces.pop(0)[1])
        if tick == 150:
            rig.engine.end_item(leg, "item")
        rig.tick()
    return rig.sent_audio(leg), rig.uplink[leg]


def test_a_barge_in_is_silent_with_the_next_packet_and_tells_what_was_heard():
    rig = MediaRig()
    leg = rig.open_leg(downlink=AudioFormat.PCM16_24K)
    second = np.full(24_000, 5000, "<i2").tobytes()
    rig.engine.play(leg, "a", second)
    rig.engine.end_item(leg, "a")
    rig.engine.play(leg, "b", second, 1)
    rig.run(1.33)
    told = rig.engine.flush(leg)
    sent = len(rig.sent)
    rig.run(0.5)
    assert [event.item_id for event in rig.finished] == ["a"]
    assert [(h.item_id, h.content_index, h.received_ms) for h in told] == [("b", 1, 1000)]
    assert told[0].heard_ms == pytest.approx(320, abs=20)
    assert {packet.payload for packet in rig.sent[sent:]} == {b"\xff" * 160}
    assert len(rig.sent) - sent == 25


def test_slots_are_given_back_and_the_oldest_is_used_first():
    engine = MediaEngine(MediaOptions(max_legs=3))
    legs = [engine.open_leg(leg_options(), 0.0) for _ in range(3)]
    with pytest.raises(ResourceError, match="3 media legs"):
        engine.open_leg(leg_options(), 0.0)
    engine.close_leg(legs[1])
    engine.close_leg(legs[0])
    assert engine.open_leg(leg_options(), 0.0) == legs[1]


def test_a_slot_used_again_knows_nothing_of_the_call_before():
    rig = MediaRig(max_legs=1)
    leg = rig.open_leg(downlink=AudioFormat.PCM16_24K)
    rig.arrive(numbered(25))
    rig.arrive([(0.59, rtp_packet(100, 9, b"\x01\x00\x00\xa0", payload_type=101))])
    rig.engine.play(leg, "a", b"\x10\x20" * 48_000)
    rig.run(0.6)
    before = rig.sent[-1]
    rig.engine.close_leg(leg)
    assert rig.open_leg() == leg
    rig.uplink.clear()
    start = len(rig.sent)
    rig.run(0.5)
    assert rig.uplink[leg] == b"\xff" * 4000
    assert {packet.payload for packet in rig.sent[start:]} == {b"\xff" * 160}
    assert rig.sent[start].ssrc != before.ssrc
    assert rig.digits == []
    assert rig.engine.flush(leg) == ()
    statistics = rig.engine.statistics(leg)
    assert (statistics.packets_received, statistics.packets_sent, statistics.concealed_ms) == (0, 25, 0)
    assert (statistics.jitter_ms, statistics.last_received_s, statistics.packets_lost) == (0.0, None, 0)


def test_commands_for_a_leg_that_is_not_open_are_our_own_fault():
    engine = MediaEngine(MediaOptions(max_legs=2))
    leg = engine.open_leg(leg_options(), 0.0)
    engine.close_leg(leg)
    commands = [
        lambda: engine.play(leg, "a", b""),
        lambda: engine.play_pcm(leg, "a", np.zeros(1, np.int16)),
        lambda: engine.end_item(leg, "a"),
        lambda: engine.flush(leg),
        lambda: engine.queued_ms(leg),
        lambda: engine.statistics(leg),
        lambda: engine.set_direction(leg, send=True, receive=True),
        lambda: engine.reconfigure_leg(leg, leg_options(), 0.0),
        lambda: engine.send_digits(leg, "1"),
        lambda: engine.close_leg(leg),
    ]
    for command in commands:
        with pytest.raises(StateError, match="not open"):
            command()


def test_options_that_cannot_work_cannot_be_built():
    for changes in ({"format": "G729"}, {"ptime_ms": 0}, {"receive_payload_types": ((3, "GSM"),)}):
        with pytest.raises(ValueError, match=r"G729|ptime_ms|GSM"):
            leg_options(**changes)
    with pytest.raises(ValueError, match="max_legs"):
        MediaOptions(max_legs=0)


def test_a_leg_receives_the_type_it_sends_without_being_told():
    rig = MediaRig()
    leg = rig.engine.open_leg(
        LegOptions(payload_type=97, format="PCMA", uplink=AudioFormat.PCMA, downlink=AudioFormat.PCMA), rig.now
    )
    rig.arrive(numbered(20, payload_type=97), leg=leg)
    rig.run(0.6)
    assert rig.numbers(leg)[2:22] == list(range(20))


def test_digits_and_audio_of_one_batch_are_both_taken():
    rig = MediaRig()
    leg = rig.open_leg()
    rig.arrive(numbered(30))
    rig.arrive(
        [(0.1 + k * 0.02, rtp_packet(200 + k, 777, bytes([7, 0x80, 3, 0x20]), payload_type=101)) for k in range(3)]
    )
    rig.run(0.8)
    assert [(digit.leg, digit.digit, digit.duration_ms) for digit in rig.digits] == [(leg, "7", 100)]
    assert rig.numbers()[2:32] == list(range(30))


def test_events_may_come_under_another_type_than_ours_and_under_both():
    rig = MediaRig()
    rig.open_leg(telephone_event_payload_type=96, receive_telephone_event_payload_types=(101,))
    rig.arrive([(0.1, rtp_packet(1, 777, bytes([7, 0x80, 3, 0x20]), payload_type=101))])
    rig.arrive([(0.3, rtp_packet(2, 2377, bytes([8, 0x80, 3, 0x20]), payload_type=96))])
    rig.arrive([(0.5, rtp_packet(3, 3977, bytes([9, 0x80, 3, 0x20]), payload_type=97))])
    rig.engine.send_digits(0, "5")
    rig.run(0.7)
    assert "".join(digit.digit for digit in rig.digits) == "78"
    assert {packet.payload_type for packet in rig.sent} == {0, 96}


def test_a_type_of_audio_is_never_taken_for_events():
    rig = MediaRig()
    rig.open_leg(telephone_event_payload_type=8)
    rig.arrive(numbered(20, payload_type=8))
    rig.run(0.5)
    assert rig.digits == []


def spoken_key(digit, *, start_s, sequence, timestamp, duration_ms=100):
    """A key as tones in the audio, and 100 ms of silence behind it."""
    signal = np.concatenate((key_tone(digit, duration_ms), pause(100)))
    return [
        (at_s, rtp_packet(number, stamp, payload))
        for at_s, number, stamp, payload in tone_packets(
            signal, start_s=start_s, sequence=sequence, timestamp=timestamp
        )
    ]


def test_a_leg_that_is_listened_to_tells_keys_in_its_audio_until_events_come():
    rig = MediaRig()
    leg = rig.open_leg(
        telephone_event_payload_type=None, receive_telephone_event_payload_types=(101,), hears_tones=True
    )
    rig.arrive(spoken_key("1", start_s=0.0, sequence=0, timestamp=0))
    # A switch that turns tones into events: the first packets of the tone slip through, or all of them.
    rig.arrive(spoken_key("2", start_s=0.2, sequence=10, timestamp=1600))
    rig.arrive([(0.25 + k * 0.02, rtp_packet(300 + k, 2000, bytes([2, 0, 1, k]), payload_type=101)) for k in range(3)])
    rig.arrive([(0.31, rtp_packet(303, 2000, bytes([2, 0x80, 3, 0x20]), payload_type=101))])
    rig.arrive(spoken_key("3", start_s=0.6, sequence=30, timestamp=4800))
    rig.run(1.0)
    assert [(digit.leg, digit.digit) for digit in rig.digits] == [(leg, "1"), (leg, "2")]
    rig.engine.reconfigure_leg(leg, leg_options(telephone_event_payload_type=None, hears_tones=True), rig.now)
    rig.arrive(spoken_key("4", start_s=1.1, sequence=55, timestamp=8800))
    rig.run(0.6)
    assert "".join(digit.digit for digit in rig.digits) == "124"


def keys_of_tones(rig, signal, *, lost_ms=range(0), late_ms=range(0)):
    """The keys told of a signal whose packets of some times are lost, or come at the end of those."""
    for at_s, number, stamp, payload in tone_packets(signal):
        place_ms = round(at_s * 1000)
        if place_ms not in lost_ms:
            arrival_s = late_ms[-1] / 1000 if place_ms in late_ms else at_s
            rig.arrive([(arrival_s, rtp_packet(number, stamp, payload))])
    rig.run(signal.size / 8000 + 0.3)
    return "".join(digit.digit for digit in rig.digits)


@pytest.mark.parametrize("place_ms", range(340, 440, 20))
@pytest.mark.parametrize("length_ms", [20, 40, 60])
def test_a_key_is_one_though_packets_in_its_midst_are_lost(length_ms, place_ms):
    rig = MediaRig()
    rig.open_leg(telephone_event_payload_type=None, hears_tones=True)
    signal = np.concatenate((pause(300), key_tone("2", 200), pause(300)))
    assert keys_of_tones(rig, signal, lost_ms=range(place_ms, place_ms + length_ms)) == "2"


@pytest.mark.parametrize("place_ms", range(360, 460, 20))
@pytest.mark.parametrize("length_ms", [40, 80, 100])
def test_a_key_is_one_though_packets_in_its_midst_are_late(length_ms, place_ms):
    rig = MediaRig()
    rig.open_leg(telephone_event_payload_type=None, hears_tones=True)
    signal = np.concatenate((pause(300), key_tone("2", 200), pause(300)))
    assert keys_of_tones(rig, signal, late_ms=range(place_ms, place_ms + length_ms)) == "2"


@pytest.mark.parametrize("pause_ms", [80, 100, 160])
def test_equal_keys_are_two_though_the_sender_is_mute_between_them(pause_ms):
    rig = MediaRig()
    rig.open_leg(telephone_event_payload_type=None, hears_tones=True)
    signal = np.concatenate((pause(300), key_tone("2", 100), pause(pause_ms), key_tone("2", 100), pause(300)))
    assert keys_of_tones(rig, signal, lost_ms=range(400, 400 + pause_ms)) == "22"


def test_tones_are_not_listened_to_on_other_legs_nor_after_a_change_to_events():
    rig = MediaRig()
    leg = rig.open_leg(telephone_event_payload_type=None, hears_tones=True)
    other = rig.open_leg()
    rig.arrive(spoken_key("5", start_s=0.0, sequence=0, timestamp=0), leg=other)
    rig.run(0.4)
    rig.engine.reconfigure_leg(leg, leg_options(), rig.now)
    rig.arrive(spoken_key("6", start_s=0.4, sequence=0, timestamp=0), leg=leg)
    rig.run(0.4)
    assert rig.digits == []


def test_a_caller_on_hold_presses_no_keys():
    rig = MediaRig()
    rig.open_leg(telephone_event_payload_type=None, hears_tones=True)
    rig.engine.set_direction(0, send=False, receive=False)
    rig.arrive(spoken_key("5", start_s=0.0, sequence=0, timestamp=0))
    rig.run(0.4)
    assert rig.digits == []


def test_keys_between_packets_of_audio_take_nothing_from_it():
    """RFC 4733 2.5.1.2: audio may go on beside events, under the same sequence numbers."""
    rig = MediaRig()
    rig.open_leg()
    sequence = 0
    for step in range(40):
        rig.arrive([(step * 0.02, rtp_packet(sequence, step * 160, bytes([step % 100]) * 160))])
        sequence += 1
        if 10 <= step < 18:
            key, place = divmod(step - 10, 4)
            payload = bytes([4 + key, 0x80 if place == 3 else 0, 0, 160 * (place + 1) & 255])
            stamp = (10 + key * 4) * 160
            rig.arrive([(step * 0.02, rtp_packet(sequence, stamp, payload, payload_type=101, marked=place == 0))])
            sequence += 1
    rig.run(1.0)
    assert "".join(digit.digit for digit in rig.digits) == "45"
    assert rig.numbers()[2:42] == list(range(40))


def test_a_new_uplink_format_takes_effect_at_once():
    rig = MediaRig()
    leg = rig.open_leg()
    rig.run(0.2)
    rig.engine.reconfigure_leg(leg, leg_options(uplink=AudioFormat.PCM16_24K), rig.now)
    rig.uplink.clear()
    rig.run(0.2)
    assert len(rig.uplink[leg]) == 200 * 48


def test_memory_stays_where_it_is_over_many_calls():
    rig = MediaRig()
    pieces = np.full(24_000, 3000, "<i2").tobytes()

    def call():
        leg = rig.open_leg(downlink=AudioFormat.PCM16_24K, uplink=AudioFormat.PCM16_24K)
        rig.arrive([(rig.elapsed_s + at_s, datagram) for at_s, datagram in numbered(10)], leg=leg)
        for _ in range(5):
            rig.engine.play(leg, "a", pieces)
        rig.run(0.3)
        rig.engine.flush(leg)
        rig.engine.close_leg(leg)
        rig.sent.clear()
        rig.uplink.clear()

    call()
    tracemalloc.start()
    call()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        call()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 64_000, f"{after - before} bytes more after 20 calls"


def test_flush_drops_a_burst_that_no_tick_has_seen_yet() -> None:
    engine = MediaEngine(MediaOptions(max_legs=2), seed=1)
    options = LegOptions(
        payload_type=0,
        format="PCMU",
        telephone_event_payload_type=None,
        uplink=AudioFormat.PCM16_8K,
        downlink=AudioFormat.PCM16_8K,
    )
    leg = engine.open_leg(options, 0.0)
    engine.play(leg, "burst", np.full(8000 * 5, 9000, "<i2").tobytes())
    (heard,) = engine.flush(leg)
    assert heard.heard_ms == 0
    payloads = []
    for tick in range(1, 201):
        packets = engine.playout(tick * 0.005)
        payloads += [bytes(packets.data[i, 12 : packets.length[i]]) for i in range(len(packets.length))]
        engine.transcode(tick * 0.005)
    assert len(payloads) >= 49
    assert set(b"".join(payloads)) == {0xFF}


def test_the_steady_state_leaves_no_memory_behind_and_never_calls_the_collector():
    rig = MediaRig(max_legs=16)
    for _ in range(16):
        rig.open_leg(uplink=AudioFormat.PCM16_24K, downlink=AudioFormat.PCM16_24K)
    engine, audio = rig.engine, np.zeros(2400, "<i2").tobytes()
    datagrams = [[rtp_packet(frame, 160 * frame, bytes(160)) for frame in range(600)] for _ in range(16)]

    def run(ticks):
        for tick in ticks:
            now = START_S + tick * TICK_S
            engine.playout(now)
            frame, phase = divmod(tick, 4)
            legs = range(phase, 16, 4)
            engine.receive(packet_batch([datagrams[leg][frame] for leg in legs], legs=list(legs)), now)
            if tick % 20 == 0:
                for leg in range(16):
                    engine.play(leg, "item", audio)
            engine.transcode(now)

    run(range(400))
    collections = []
    gc.collect()
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    tracemalloc.start()
    try:
        run(range(400, 800))
        before = tracemalloc.get_traced_memory()[0]
        run(range(800, 2400))
        grown_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.callbacks.pop()
    assert collections == []
    assert grown_bytes < 16_384  # caches of numpy; a packet that stayed would be a megabyte


@pytest.mark.parametrize("form", AudioFormat)
def test_speech_that_comes_just_before_a_packet_is_due_leaves_in_it(form):
    rig = MediaRig()
    leg = rig.open_leg(downlink=form)
    rig.run(0.1)
    due = rig.sent[-1].at_s + 0.02
    while rig.elapsed_s < due - TICK_S / 2:
        rig.tick()
    loud = {1: b"\x10"}.get(form.bytes_per_sample, b"\x00\x30") * 8 * form.bytes_per_ms
    rig.engine.play(leg, "a", loud * 5)
    rig.tick()
    assert rig.sent[-1].at_s == pytest.approx(due)
    assert set(rig.sent[-1].payload[40:]) != {SILENCE}
    assert rig.sent[-1].marked
