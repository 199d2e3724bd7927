"""Whose stream a leg follows, and what it makes of everything else that comes to its port."""

import numpy as np
import pytest

from gateway.media import codec
from tests.support import listening
from tests.support.media_rig import MediaRig, numbered
from tests.support.rtp_packets import packet_batch, rtp_packet

CHANGE_S = 0.6


def listen(arrivals, seconds=1.6, **changes):
    rig = MediaRig()
    rig.open_leg(**changes)
    rig.arrive(arrivals)
    rig.run(seconds)
    return rig


def wanted(count, ptime_ms=20):
    """Numbers of an undisturbed stream: two frames of delay, then every packet in its place."""
    return [None, None] + [frame * 20 // ptime_ms for frame in range(count * ptime_ms // 20)]


# M4: changes of the stream.

NEW_STREAMS = {
    "ssrc": {"ssrc": 99, "sequence": 5, "timestamp": 777_777},
    "ssrc alone": {"ssrc": 99, "sequence": 30, "timestamp": 30 * 160},
    "timestamp forward": {"sequence": 30, "timestamp": 123_456_789},
    "timestamp back": {"sequence": 30, "timestamp": 3_000_000_000},
    "timestamp back by a second": {"sequence": 30, "timestamp": 22 * 160 - 8000},
    "timestamp back by half a second": {"sequence": 30, "timestamp": 30 * 160 - 4000},
    "sequence": {"sequence": 40_000, "timestamp": 30 * 160},
    "sequence back": {"sequence": 65_000, "timestamp": 30 * 160},
    "both": {"sequence": 12_345, "timestamp": 4_000_000_000},
}


@pytest.mark.parametrize("fields", NEW_STREAMS.values(), ids=NEW_STREAMS)
def test_a_new_stream_goes_on_where_the_old_one_ended(fields):
    rig = listen(numbered(30) + numbered(30, start_s=CHANGE_S, first=30, **fields))
    assert rig.numbers()[:62] == wanted(60)
    assert rig.engine.statistics(0).packets_lost == 0


@pytest.mark.parametrize("phase_s", [0.0, 0.004, 0.009, 0.013, 0.018])
@pytest.mark.parametrize("ptime_ms", [20, 40, 60])
def test_a_new_stream_off_the_beat_is_heard_within_60_ms_of_its_first_packet(ptime_ms, phase_s):
    start_s = CHANGE_S + phase_s
    old, new = (
        numbered(600 // ptime_ms, ptime_ms=ptime_ms),
        numbered(10, start_s=start_s, ptime_ms=ptime_ms, first=70, ssrc=9),
    )
    numbers = listen(old + new).numbers()
    heard_s = numbers.index(70) * 0.02
    assert heard_s - start_s <= 0.0601, f"{(heard_s - start_s) * 1000:.1f} ms"


def test_sequence_and_timestamp_wrap_unheard():
    rig = listen(numbered(60, sequence=65_520, timestamp=2**32 - 1600))
    assert rig.numbers()[:62] == wanted(60)
    assert (rig.engine.statistics(0).packets_lost, rig.engine.statistics(0).packets_received) == (0, 60)


def test_a_stray_packet_of_another_sender_changes_nothing():
    strays = [(0.3, rtp_packet(7, 9, b"\x01" * 160, ssrc=5)), (0.305, rtp_packet(900, 40_000, b"\x02" * 160, ssrc=6))]
    assert listen(numbered(60) + strays).numbers()[:62] == wanted(60)


def test_of_two_senders_at_once_the_first_is_heard_until_it_stops():
    rig = listen(numbered(40) + numbered(60, start_s=0.005, first=50, ssrc=5))
    numbers = rig.numbers()
    assert numbers[:42] == wanted(40)
    assert numbers[43:55] == [n % 100 for n in range(numbers[43], numbers[43] + 12)]
    assert numbers[43] >= 90


def test_a_single_packet_with_a_wrong_timestamp_is_left_out():
    sent = numbered(60)
    sent[20] = (sent[20][0], rtp_packet(20, 4_000_000_000, b"\x05" * 160))
    numbers = listen(sent).numbers()
    assert [n for n in numbers[:62] if n is not None] == [n for n in range(60) if n != 20]
    assert numbers[23:62] == list(range(21, 60))


def test_a_sender_that_is_late_for_good_is_followed():
    late = [
        (at_s + 0.5, datagram)
        for at_s, datagram in numbered(60, start_s=CHANGE_S, first=30, sequence=30, timestamp=4800)
    ]
    numbers = listen(numbered(30) + late, 3.0).numbers()
    heard = [n for n in numbers[32:] if n is not None]
    assert heard == list(range(heard[0], 90))
    assert heard[0] <= 31


# M11: odd lengths, pauses, decorations.


@pytest.mark.parametrize("ptime_ms", [20, 40, 60])
def test_longer_packets_keep_the_time_line(ptime_ms):
    count = 1200 // ptime_ms
    assert listen(numbered(count, ptime_ms=ptime_ms)).numbers()[:62] == wanted(count, ptime_ms)


@pytest.mark.parametrize("ptime_ms", [1, 5, 10, 30, 50, 100, 180])
def test_any_other_length_is_heard_to_the_sample(ptime_ms):
    ramp = np.arange(8 * 1800) % 100
    packets = [
        (at_s, rtp_packet(i, 8 * ptime_ms * i, ramp[8 * ptime_ms * i :][: 8 * ptime_ms].astype(np.uint8).tobytes()))
        for i, (at_s, _) in enumerate(numbered(900 // ptime_ms, ptime_ms=ptime_ms))
    ]
    audio = np.frombuffer(listen(packets).uplink[0], np.uint8)
    start = int((audio != 0xFF).argmax())
    total = 900 // ptime_ms * ptime_ms * 8
    assert start <= 480
    assert (audio[start : start + total] == ramp[:total]).all()


def test_lengths_may_change_from_packet_to_packet():
    lengths = [160, 80, 240, 480, 160, 320, 80, 160, 7, 153, 160, 160] * 4
    ramp = (np.arange(sum(lengths)) % 100).astype(np.uint8)
    ends = np.cumsum(lengths)
    packets = [
        ((end - length) / 8000, rtp_packet(i, end - length, ramp[end - length : end].tobytes()))
        for i, (end, length) in enumerate(zip(ends.tolist(), lengths, strict=True))
    ]
    audio = np.frombuffer(listen(packets, 2.0).uplink[0], np.uint8)
    start = int((audio != 0xFF).argmax())
    assert (audio[start : start + ramp.size] == ramp).all()


@pytest.mark.parametrize("marked", [True, False])
def test_a_pause_without_packets_is_as_long_as_the_timestamps_say(marked):
    numbers = listen(
        numbered(20) + numbered(20, start_s=1.0, first=20, sequence=20, timestamp=50 * 160, marked=marked)
    ).numbers()
    assert numbers[:22] == wanted(20)
    assert numbers[52:72] == list(range(20, 40))
    assert numbers[22:52] == [None] * 30


def test_a_sender_whose_clock_stands_still_in_a_pause_is_heard_after_it():
    numbers = listen(numbered(20) + numbered(20, start_s=1.0, first=20, sequence=20, timestamp=20 * 160)).numbers()
    assert numbers[52:72] == list(range(20, 40))


def pause(payload_type, payload):
    """Half a second of a stream, then one packet that says why no more come, and after 0.6 s the stream again."""
    other = [(0.4, rtp_packet(20, 20 * 160, payload, payload_type=payload_type))]
    return listen(numbered(20) + other + numbered(20, start_s=1.0, first=20, sequence=21, timestamp=50 * 160))


def test_events_make_the_gap_after_them_silent_and_no_loss():
    rig = pause(101, b"\x01\x0a\x00\xa0")
    assert rig.engine.statistics(0).packets_lost == 0
    assert rig.engine.statistics(0).concealed_ms == 60, "other than the end of the call was concealed"
    assert (rig.frames()[22:52] == 0xFF).all()
    assert rig.numbers()[52:72] == list(range(20, 40))


@pytest.mark.parametrize("level_dbov", [-35, -50, -60])
def test_comfort_noise_is_heard_at_the_level_told_until_speech_goes_on(level_dbov):
    rig = pause(13, bytes([-level_dbov]))
    heard = codec.decode(rig.frames() | np.uint16(codec.PCMU.first_code))
    pause_levels = [listening.level_dbov(frame) for frame in heard[22:52]]
    assert listening.level_dbov(heard[22:52].reshape(-1)) == pytest.approx(level_dbov, abs=1.0)
    assert max(pause_levels) - min(pause_levels) < 4
    assert rig.engine.statistics(0).packets_lost == 0
    assert rig.engine.statistics(0).concealed_ms == 60, "other than the end of the call was concealed"
    assert rig.numbers()[52:72] == list(range(20, 40))


def test_comfort_noise_of_no_octets_is_silence():
    rig = pause(13, b"")
    assert (rig.frames()[22:52] == 0xFF).all()
    assert rig.numbers()[52:72] == list(range(20, 40))


def test_padding_extensions_and_sources_are_no_audio():
    plain = numbered(40)
    decorated = [
        (at_s, rtp_packet(i, 160 * i, datagram[12:], padding=i % 5, csrc=(1,) * (i % 3), extension=(0xBEDE, b"\0" * 4)))
        for i, (at_s, datagram) in enumerate(plain)
    ]
    assert listen(decorated).numbers()[:42] == wanted(40)


def test_empty_packets_and_unknown_payload_types_keep_the_time_line():
    sent = numbered(60)
    sent[20] = (sent[20][0], rtp_packet(20, 20 * 160, b""))
    sent[30] = (sent[30][0], rtp_packet(30, 30 * 160, b"\x07" * 160, payload_type=96))
    rig = listen(sent)
    numbers = rig.numbers()
    assert numbers[22] is None
    assert numbers[32] is None
    assert [n for n in numbers if n is not None] == [n for n in range(60) if n not in {20, 30}]
    assert (rig.engine.statistics(0).packets_lost, rig.engine.statistics(0).packets_received) == (0, 60)


def test_a_peer_may_change_between_the_laws_without_a_word():
    sent = numbered(20) + numbered(20, start_s=0.4, first=20, sequence=20, timestamp=20 * 160, payload_type=8)
    rig = listen(sent)
    assert rig.numbers()[:22] == wanted(20)
    frames = rig.frames()[22:42, 0]
    expected = codec.translate(np.arange(20, 40, dtype=np.uint8), codec.PCMA, codec.PCMU)
    assert frames.tolist() == expected.tolist()


# M3: what is no RTP.


def test_floods_of_garbage_change_nothing():
    rng = np.random.default_rng(1)
    rig = MediaRig()
    rig.open_leg()
    rig.arrive(numbered(100))
    for _ in range(100):
        for _ in range(4):
            noise = [rng.bytes(int(rng.integers(0, 300))) for _ in range(10)]
            noise += [b"\x80" + rng.bytes(11) + bytes(160), b"\x80\x00" + rng.bytes(10) + bytes(160)]
            rig.engine.receive(packet_batch(noise[:10]), rig.now)
            rig.tick()
    assert rig.numbers()[2:100] == list(range(98))


def test_packets_for_legs_that_are_not_open_are_ignored():
    rig = MediaRig()
    leg = rig.open_leg()
    rig.engine.receive(packet_batch([numbered(1)[0][1]] * 2, legs=[leg + 1, leg]), rig.now)
    assert rig.engine.statistics(leg).packets_received == 1


def test_on_hold_the_provider_hears_silence_and_afterwards_the_caller_again():
    rig = MediaRig()
    leg = rig.open_leg()
    rig.arrive(numbered(150))
    rig.run(1.0)
    rig.engine.set_direction(leg, send=True, receive=False)
    rig.run(1.0)
    rig.engine.set_direction(leg, send=True, receive=True)
    rig.run(1.0)
    numbers = rig.numbers()
    assert numbers[:50] == wanted(48)
    assert (rig.frames()[50:100] == 0xFF).all()
    assert numbers[105:150] == [(n - 2) % 100 for n in range(105, 150)]


def test_life_of_the_peer_is_told_by_the_last_packet_of_any_kind():
    rig = listen([*numbered(10), (0.5, rtp_packet(10, 9999, b"", payload_type=13))], 0.8)
    assert rig.engine.statistics(0).last_received_s == pytest.approx(1000.5)


def test_a_stray_packet_at_one_leg_makes_no_work_at_the_others(monkeypatch):
    rig, worked_on = MediaRig(), []
    legs = [rig.open_leg() for _ in range(3)]
    for leg in legs:
        rig.arrive(numbered(50), leg=leg)
    rig.arrive([(0.5, rtp_packet(7, 9, b"\x01" * 160, ssrc=5))], leg=legs[1])
    rig.run(0.495)
    receive_others = rig.engine._reception._receive_others

    def listen(arrived):
        worked_on.extend(arrived.packets.leg.tolist())
        return receive_others(arrived)

    monkeypatch.setattr(rig.engine._reception, "_receive_others", listen)
    rig.run(0.4)
    assert set(worked_on) == {legs[1]}
    for leg in legs:
        assert [number for number in rig.numbers(leg) if number is not None][:40] == list(range(40))
