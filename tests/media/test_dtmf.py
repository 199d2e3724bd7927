"""RFC 4733 keys: the textbook, and what switches make of it. Each key once, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.dtmf import KEYS, DigitReceiver, event_payload

PTIME_S = 0.02
STEP = 160


def press(key, *, timestamp=1000, at_s=0.0, duration_ms=100, ends=3, marker=True, moving=False, end_timestamp=None):
    """Packets `(time, timestamp, marked, payload)` of one key as a telephone sends them, one per 20 ms."""
    packets = []
    steps = duration_ms // 20
    for step in range(1, steps + ends + 1):
        is_end = step > steps - 1
        sent = timestamp + (min(step, steps) - 1) * STEP if moving else timestamp
        if is_end and end_timestamp is not None:
            sent = end_timestamp
        payload = event_payload(key, duration=min(step, steps) * STEP, is_end=is_end)
        packets.append((at_s + (step - 1) * PTIME_S, sent, marker and step == 1, payload))
    return packets[: steps - 1 + ends]


def keys_of(packets, *, poll_until_s=None):
    """Digits told for the packets, polled every 5 ms."""
    receiver, told = DigitReceiver(), []
    end_s = (packets[-1][0] if packets else 0) + 0.5 if poll_until_s is None else poll_until_s
    waiting = sorted(packets, key=lambda packet: packet[0])
    for tick in range(int(end_s / 0.005) + 2):
        now = tick * 0.005
        while waiting and waiting[0][0] <= now + 1e-9:
            _, timestamp, marked, payload = waiting.pop(0)
            told += receiver.receive(3, payload, timestamp=timestamp & 0xFFFFFFFF, is_marked=marked, now=now)
        told += receiver.poll(now)
    assert all(digit.leg == 3 for digit in told)
    return "".join(digit.digit for digit in told)


def later(key, index, **changes):
    """The key pressed as number `index` of a series, 200 ms apart."""
    return press(key, **{"timestamp": 1000 + index * 1600, "at_s": index * 0.2, **changes})


def held(key, duration_s, *, lost=(), ends_segments=False):
    """A key so long that it comes in segments of 0xFFFF ticks (RFC 4733 2.5.1.3)."""
    packets, steps = [], round(duration_s / PTIME_S)
    for step in range(1, steps + 1):
        segment, duration = divmod(step * STEP, 0xFFFF)
        is_full = ends_segments and (step + 1) * STEP // 0xFFFF > segment
        payload = event_payload(key, duration=0xFFFF if is_full else duration, is_end=is_full or step == steps)
        packets.append((step * PTIME_S, 1000 + segment * 0xFFFF, step == 1, payload))
    return [packet for step, packet in enumerate(packets) if step not in lost] + packets[-1:] * 2


FIVE, SIX = press("5"), later("6", 1)

ODDITIES = {
    "the textbook": ("5", FIVE),
    "no marker": ("5", press("5", marker=False)),
    "start lost": ("5", FIVE[3:]),
    "only one end": ("5", FIVE[-1:]),
    "end lost": ("5", FIVE[:3]),
    "only the first": ("5", FIVE[:1]),
    "end lost, next key": ("56", FIVE[:3] + SIX),
    "start of the next lost too": ("56", FIVE[:3] + SIX[2:]),
    "every packet twice": ("5", sorted(FIVE * 2)),
    "ten ends": ("5", press("5", ends=10)),
    "one end": ("5", press("5", ends=1)),
    "ends first, updates after": ("5", [(i * 0.02, *packet[1:]) for i, packet in enumerate(FIVE[4:] + FIVE[:4])]),
    "reordered over the next key": ("56", [*FIVE, (0.21, *FIVE[2][1:]), *SIX, (0.31, *FIVE[-1][1:])]),
    "same key twice": ("55", FIVE + later("5", 1)),
    "same key, first end lost": ("55", FIVE[:3] + later("5", 1)),
    "same key, second start lost": ("55", FIVE + later("5", 1)[4:]),
    "same key, back to back": ("55", FIVE + press("5", timestamp=1000 + 5 * STEP, at_s=0.15)),
    "same key, back to back, unmarked": ("55", FIVE + press("5", timestamp=1000 + 5 * STEP, at_s=0.15, marker=False)),
    "same key, ends lost, unmarked": ("55", FIVE[:4] + press("5", timestamp=1000 + 10 * STEP, at_s=0.16, marker=False)),
    "a number": ("0123456789*#ABCD", [p for i, key in enumerate(KEYS) for p in later(key, i)]),
    "a number without pauses": (
        "112233",
        [p for i, key in enumerate("112233") for p in press(key, timestamp=1000 + i * 800, at_s=i * 0.14)],
    ),
    "timestamp moves with each packet": ("5", press("5", moving=True)),
    "timestamp moves, unmarked": ("5", press("5", moving=True, marker=False)),
    "timestamp moves, two keys": ("56", press("5", moving=True) + later("6", 1, moving=True)),
    "timestamp moves, same key twice": ("55", press("5", moving=True) + later("5", 1, moving=True)),
    "end has the end's timestamp": ("5", press("5", end_timestamp=1000 + 5 * STEP)),
    "end has the end's timestamp, twice": (
        "55",
        press("5", end_timestamp=1000 + 5 * STEP) + later("5", 1, end_timestamp=2600 + 5 * STEP),
    ),
    "timestamp wraps": ("56", press("5", timestamp=2**32 - 400) + press("6", timestamp=2**32 + 1200, at_s=0.2)),
    "clock set back between keys": ("56", press("5", timestamp=90_000) + press("6", timestamp=100, at_s=1.5)),
    "timestamp moves, packets lost": ("5", [p for i, p in enumerate(press("5", moving=True)) if i not in {1, 2}]),
    "timestamp moves, start lost": ("5", press("5", moving=True)[2:]),
    "timestamp moves, only ends": ("5", press("5", moving=True)[-3:]),
    "timestamp moves, end lost, next key": ("56", press("5", moving=True)[:3] + later("6", 1, moving=True)),
    "timestamp moves, same key, ends lost": ("55", press("5", moving=True)[:3] + later("5", 1, moving=True)[:3]),
    "end has the end's timestamp, start lost": ("5", press("5", end_timestamp=1000 + 5 * STEP)[2:]),
    "end has the end's timestamp, two keys": (
        "56",
        press("5", end_timestamp=1000 + 5 * STEP) + later("6", 1, end_timestamp=2600 + 5 * STEP),
    ),
    "every packet marked": ("56", [(*p[:2], True, p[3]) for p in FIVE + SIX]),
    "every packet an end": ("56", [(*p[:3], bytes([p[3][0], 0x8A]) + p[3][2:]) for p in FIVE + SIX]),
    "duration always 0": ("56", [(*p[:3], p[3][:2] + b"\0\0") for p in FIVE + SIX]),
    "reserved bit and full volume": ("5", [(*p[:3], bytes([5, p[3][1] & 0x80 | 0x7F]) + p[3][2:]) for p in FIVE]),
    "updates every 50 ms": (
        "55",
        [
            (at_s + i * 0.05, stamp, i == 0, event_payload("5", duration=(i + 1) * 400, is_end=i > 1))
            for at_s, stamp in ((0.0, 1000), (0.3, 3400))
            for i in range(5)
        ],
    ),
    "same key 40 ms later, ends and start lost": (
        "55",
        FIVE[:4] + press("5", timestamp=1000 + 7 * STEP, at_s=0.14)[1:],
    ),
    "held over a segment, packets at the border lost": ("9", held("9", 9.0, lost=range(405, 415))),
    "held over a segment, end lost": ("9", held("9", 9.0)[:-4]),
    "held over a segment, then the same key": ("99", held("9", 9.0) + press("9", timestamp=90_000, at_s=9.3)),
    "held over two segments": ("9", held("9", 17.5)),
    "held over a segment, ends of segments marked as such": ("9", held("9", 9.0, ends_segments=True)),
    "short key": ("5", press("5", duration_ms=20)),
    "40 ms keys, 40 ms apart": (
        "1111",
        [p for i in range(4) for p in press("1", timestamp=1000 + i * 640, at_s=i * 0.08, duration_ms=40, ends=2)],
    ),
    "another key at the same timestamp": ("56", FIVE + press("6", at_s=0.2)),
    "flash and unknown events": (
        "5",
        [(0.0, 1, True, b"\x10\x80\x01\x00"), (0.1, 2, True, b"\xff\x80\x01\x00"), *FIVE],
    ),
    "short and empty payloads": ("5", [(0.0, 1000, True, b""), (0.0, 1000, True, b"\x05\x80\x01"), *FIVE]),
    "payload with more after it": ("5", [(*packet[:3], packet[3] + b"\x05\x00\x00\x10") for packet in FIVE]),
}


@pytest.mark.parametrize(("expected", "packets"), ODDITIES.values(), ids=ODDITIES)
def test_each_key_is_told_once_and_in_order(expected, packets):
    assert keys_of(packets) == expected


@pytest.mark.parametrize("missing", range(7))
def test_any_one_packet_may_be_lost(missing):
    assert keys_of(FIVE[:missing] + FIVE[missing + 1 :] + SIX) == "56"


@given(st.sets(st.integers(0, 20), max_size=12))
def test_three_keys_are_told_as_long_as_one_packet_of_each_comes(missing):
    presses = [later(key, i) for i, key in enumerate("7*7")]
    kept = [[p for k, p in enumerate(packets) if i * 7 + k not in missing] for i, packets in enumerate(presses)]
    assert keys_of([packet for packets in kept for packet in packets]) == "".join(
        key for key, packets in zip("7*7", kept, strict=True) if packets
    )


def test_a_key_is_told_with_its_duration_when_it_ends():
    receiver = DigitReceiver()
    told = [
        (index, digit.digit, digit.duration_ms)
        for index, (at_s, timestamp, marked, payload) in enumerate(press("#", duration_ms=160))
        for digit in receiver.receive(0, payload, timestamp=timestamp, is_marked=marked, now=at_s)
    ]
    assert told == [(7, "#", 160)]


def test_a_key_without_end_is_told_after_150_ms_and_not_again_when_it_goes_on():
    receiver = DigitReceiver()
    for at_s, timestamp, marked, payload in FIVE[:2]:
        assert not receiver.receive(0, payload, timestamp=timestamp, is_marked=marked, now=at_s)
    assert not receiver.poll(0.16)
    assert [(d.digit, d.duration_ms) for d in receiver.poll(0.18)] == [("5", 40)]
    assert not receiver.receive(0, FIVE[-1][3], timestamp=1000, is_marked=False, now=0.19)
    assert not receiver.poll(9.0)


def test_a_key_held_for_ten_seconds_comes_in_segments_and_is_one_key():
    packets, receiver, told = [], DigitReceiver(), []
    for step in range(1, 502):
        segment, duration = divmod(step * STEP, 0xFFFF)
        payload = event_payload("9", duration=duration, is_end=step == 501)
        packets.append((step * PTIME_S, 1000 + segment * 0xFFFF, step == 1, payload))
    for at_s, timestamp, marked, payload in packets:
        told += receiver.receive(0, payload, timestamp=timestamp, is_marked=marked, now=at_s)
    assert [digit.digit for digit in told] == ["9"]
    assert 9900 <= told[0].duration_ms <= 10_030


@pytest.mark.parametrize("lost", [range(0), range(405, 412)], ids=["whole", "border lost"])
def test_the_duration_of_a_key_is_that_of_all_its_segments(lost):
    receiver, told = DigitReceiver(), []
    for at_s, timestamp, marked, payload in held("9", 9.0, lost=lost):
        told += receiver.receive(0, payload, timestamp=timestamp, is_marked=marked, now=at_s)
    assert [(digit.digit, digit.duration_ms) for digit in told] == [("9", 9000)]


def test_legs_do_not_mix_and_are_forgotten_on_reset():
    receiver = DigitReceiver()
    assert receiver.receive(1, FIVE[-1][3], timestamp=1000, is_marked=False, now=0.0)
    assert receiver.receive(2, FIVE[-1][3], timestamp=1000, is_marked=False, now=0.0)
    assert not receiver.receive(1, FIVE[-1][3], timestamp=1000, is_marked=False, now=0.0)
    receiver.receive(2, FIVE[0][3], timestamp=5000, is_marked=True, now=0.1)
    receiver.reset(1)
    receiver.reset(2)
    assert receiver.receive(1, FIVE[-1][3], timestamp=1000, is_marked=False, now=0.2)
    assert not receiver.poll(9.0)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.booleans(), st.binary(max_size=8)), max_size=20))
def test_no_payload_raises(packets):
    receiver = DigitReceiver()
    for index, (timestamp, marked, payload) in enumerate(packets):
        receiver.receive(0, payload, timestamp=timestamp, is_marked=marked, now=index * 0.01)
        receiver.poll(index * 0.01)


def test_event_payloads_are_written_as_the_rfc_draws_them():
    assert event_payload("*", duration=800, is_end=True) == bytes([10, 0x8A, 0x03, 0x20])
    assert event_payload("a", duration=1 << 20, is_end=False) == bytes([12, 0x0A, 0xFF, 0xFF])
