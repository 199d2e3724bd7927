"""The engine as its users see it: legs come and go, many at once sound as one alone, a barge-in is silent at once."""

import audioop
import gc
import tracemalloc

import numpy as np
import pytest

from gateway.errors import ResourceError, StateError
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from tests.support.media_rig import START_S, TICK_S, MediaRig, leg_options, numbered
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
    assert grown_bytes < 4096
