"""The stream we send: numbers that wrap, a time line that never breaks, markers, keys."""

from itertools import pairwise

import numpy as np
import pytest

from tests.support.media_rig import MediaRig, leg_options, numbered
from tests.support.rtp_packets import rtp_packet

VOICE = b"\x11"


def talking_rig(**changes):
    rig = MediaRig()
    rig.open_leg(**changes)
    return rig


def differences(values, modulus):
    return {(b - a) % modulus for a, b in pairwise(values)}


def test_silence_is_sent_from_the_first_tick_on_with_continuous_numbers():
    rig = talking_rig()
    rig.run(2.0)
    assert len(rig.sent) == 100
    assert {packet.payload for packet in rig.sent} == {b"\xff" * 160}
    assert differences([p.sequence for p in rig.sent], 1 << 16) == {1}
    assert differences([p.timestamp for p in rig.sent], 1 << 32) == {160}
    assert len({p.ssrc for p in rig.sent}) == 1
    assert [p.marked for p in rig.sent] == [True] + [False] * 99


def test_sequence_and_timestamp_wrap():
    rig = talking_rig()
    rig.engine._sender._sequence[0] = 65_530
    rig.engine._sender._timestamp[0] = 2**32 - 800
    rig.run(0.4)
    assert [p.sequence for p in rig.sent] == [*range(65_530, 65_536), *range(14)]
    assert differences([p.timestamp for p in rig.sent], 1 << 32) == {160}
    assert rig.sent[-1].timestamp < 3000


def test_streams_begin_at_random_numbers_of_the_given_seed():
    def first(seed):
        rig = MediaRig(seed=seed)
        rig.open_leg()
        rig.open_leg()
        rig.run(0.02)
        return [(p.ssrc, p.sequence, p.timestamp) for p in rig.sent]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert first(None) != first(None)
    for a, b in zip(*first(1), strict=True):
        assert a != b


@pytest.mark.heavy
def test_thirty_thousand_ticks_are_exactly_fifty_packets_a_second():
    rig = MediaRig()
    for _ in range(4):
        rig.open_leg()
    for _ in range(30_000):
        rig.engine.playout(rig.now)
        rig.ticks += 1
    assert [rig.engine.statistics(leg).packets_sent for leg in range(4)] == [7500] * 4


def test_only_the_first_packet_of_a_talk_spurt_is_marked():
    rig = talking_rig()
    rig.run(0.1)
    rig.engine.play(0, "a", VOICE * 800)
    rig.engine.end_item(0, "a")
    rig.run(0.3)
    rig.engine.play(0, "b", VOICE * 320)
    rig.engine.end_item(0, "b")
    rig.run(0.2)
    marked = [index for index, packet in enumerate(rig.sent) if packet.marked]
    voiced = [index for index, packet in enumerate(rig.sent) if packet.payload[:1] == VOICE]
    assert marked == [0, voiced[0], voiced[5]]


def test_a_stall_up_to_60_ms_loses_no_packet():
    rig = talking_rig()
    rig.run(0.2)
    rig.stall(0.055)
    rig.run(0.245)
    assert len(rig.sent) == 25
    assert differences([p.timestamp for p in rig.sent], 1 << 32) == {160}
    assert rig.engine.statistics(0).skipped_frames == 0


@pytest.mark.parametrize("stall_s", [0.1, 0.5, 3.0])
def test_after_a_longer_stall_late_packets_are_left_out_and_not_bunched(stall_s):
    rig = talking_rig()
    rig.engine.play(0, "a", VOICE * 80_000)
    rig.run(0.2)
    before = len(rig.sent)
    rig.stall(stall_s)
    rig.run(0.2)
    after = rig.sent[before:]
    assert 9 <= len(after) <= 11
    assert max(sum(1 for p in after if at <= p.at_s < at + 0.0199) for at in (p.at_s for p in after)) == 1
    elapsed = round((after[0].at_s - rig.sent[0].at_s) * 8000)
    assert (after[0].timestamp - rig.sent[0].timestamp) % (1 << 32) == pytest.approx(elapsed, abs=160)
    assert (after[0].sequence - rig.sent[before - 1].sequence) % (1 << 16) == 1
    assert after[0].marked
    assert rig.engine.statistics(0).skipped_frames >= stall_s / 0.02 - 2


def test_speech_goes_on_after_a_stall_with_nothing_lost():
    rig = talking_rig()
    ramp = (np.arange(8000) % 100).astype(np.uint8).tobytes()
    rig.engine.play(0, "a", ramp)
    rig.engine.end_item(0, "a")
    rig.run(0.2)
    rig.stall(0.5)
    rig.run(1.2)
    assert rig.sent_audio().replace(b"\xff", b"") == ramp


def test_hold_sends_nothing_and_the_time_line_goes_on():
    rig = talking_rig()
    rig.engine.play(0, "a", VOICE * 8000)
    rig.run(0.2)
    rig.engine.set_direction(0, send=False, receive=False)
    rig.run(1.0)
    assert len(rig.sent) == 10
    queued_ms = rig.engine.queued_ms(0)
    rig.engine.set_direction(0, send=True, receive=True)
    rig.run(0.2)
    after = rig.sent[10]
    assert (after.timestamp - rig.sent[9].timestamp) % (1 << 32) == 51 * 160
    assert (after.sequence - rig.sent[9].sequence) % (1 << 16) == 1
    assert after.marked
    assert queued_ms == 800


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_packets_of_the_length_the_peer_asked_for(ptime_ms):
    rig = talking_rig(ptime_ms=ptime_ms)
    rig.run(1.2)
    assert {len(p.payload) for p in rig.sent} == {8 * ptime_ms}
    assert differences([p.timestamp for p in rig.sent], 1 << 32) == {8 * ptime_ms}
    assert len(rig.sent) == 1200 // ptime_ms


@pytest.mark.parametrize(("asked_ms", "given_ms"), [(1, 10), (25, 20), (120, 60)])
def test_odd_lengths_are_met_as_near_as_possible(asked_ms, given_ms):
    rig = talking_rig(ptime_ms=asked_ms)
    rig.run(0.1)
    assert {len(p.payload) for p in rig.sent} == {8 * given_ms}


def test_legs_with_packets_of_different_lengths_share_a_tick():
    rig = MediaRig()
    for ptime_ms in (20, 30, 60, 10):
        rig.open_leg(ptime_ms=ptime_ms, payload_type=ptime_ms)
    rig.run(1.2)
    assert {(p.payload_type, len(p.payload)) for p in rig.sent} == {(ms, ms * 8) for ms in (20, 30, 60, 10)}


def test_a_new_negotiation_keeps_the_stream():
    rig = talking_rig()
    rig.engine.play(0, "a", VOICE * 8000)
    rig.run(0.2)
    rig.engine.reconfigure_leg(0, leg_options(payload_type=8, format="PCMA", ptime_ms=40), rig.now)
    rig.run(0.2)
    assert {p.ssrc for p in rig.sent} == {rig.sent[0].ssrc}
    assert differences([p.sequence for p in rig.sent], 1 << 16) == {1}
    assert [(p.payload_type, len(p.payload)) for p in rig.sent] == [(0, 160)] * 10 + [(8, 320)] * 5
    gaps = [(b.timestamp - a.timestamp) % (1 << 32) for a, b in pairwise(rig.sent)]
    assert gaps == [160] * 10 + [320] * 4


# Keys.


def events_of(rig):
    return [p for p in rig.sent if p.payload_type == 101]


def test_an_event_has_one_timestamp_a_growing_duration_and_three_ends():
    rig = talking_rig()
    rig.run(0.1)
    rig.engine.send_digits(0, "1#", duration_ms=100, gap_ms=60)
    rig.run(0.5)
    events = events_of(rig)
    stamps = list(dict.fromkeys(p.timestamp for p in events))
    assert len(stamps) == 2
    assert (stamps[1] - stamps[0]) % (1 << 32) == 1280
    first = [p.payload.hex() for p in events if p.timestamp == stamps[0]]
    assert first == ["010a00a0", "010a0140", "010a01e0", "010a0280", "018a0320", "018a0320", "018a0320"]
    assert [p.marked for p in events if p.timestamp == stamps[0]] == [True] + [False] * 6
    assert events[-1].payload[0] == 11
    assert differences([p.sequence for p in rig.sent], 1 << 16) == {1}
    audio = [p for p in rig.sent if p.payload_type == 0]
    assert all((p.timestamp - rig.sent[0].timestamp) % 160 == 0 for p in audio)
    assert audio[-1].timestamp == (rig.sent[0].timestamp + 29 * 160) % (1 << 32)


def wire(packet):
    return rtp_packet(
        packet.sequence, packet.timestamp, packet.payload, ssrc=packet.ssrc, payload_type=packet.payload_type
    )


def test_keys_sent_are_keys_received():
    rig = MediaRig()
    sender, receiver = rig.open_leg(), rig.open_leg()
    rig.engine.send_digits(sender, "0123456789*#ABCD", duration_ms=80, gap_ms=80)
    for _ in range(800):
        start = len(rig.sent)
        rig.tick()
        new = [packet for packet in rig.sent[start:] if packet.leg == sender]
        rig.arrive([(rig.elapsed_s, wire(packet)) for packet in new], leg=receiver)
    assert "".join(digit.digit for digit in rig.digits) == "0123456789*#ABCD"
    assert {digit.duration_ms for digit in rig.digits} == {80}


def test_the_counters_count_packets_and_payload():
    rig = talking_rig()
    rig.arrive(numbered(10))
    rig.run(0.4)
    statistics = rig.engine.statistics(0)
    assert (statistics.packets_sent, statistics.bytes_sent) == (20, 3200)
    assert (statistics.packets_received, statistics.bytes_received) == (10, 1600)
