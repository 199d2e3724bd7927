"""Keys as RTP events (RFC 4733), received and made.

A key is a run of packets with one RTP timestamp, the moment of its start, whose duration grows; three last packets
have the end bit. A key is told once, when it ended: by its end bit, by the next key, or when 150 ms have brought no
more of it. So neither the first nor the last packets are needed, nor is the marker bit.

Senders that do not keep to that, and how the same key is still recognised:

- the timestamp moves with every packet (seen in vendor switches): it stays inside the time the key covered so far;
- the end packets carry the end's timestamp, not the start's: same key and duration, directly after;
- a key held beyond 65535 ticks comes in segments with new timestamps (RFC 4733 2.5.1.3): directly after a full one, or
  just 65535 ticks later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.media.codec import SAMPLES_PER_MS
from gateway.media.rtp import timestamp_distance

KEYS: Final = "0123456789*#ABCD"
"""Keys by event code (RFC 4733 3.2)."""
EVENT_BYTES: Final = 4

_LOST_END_S: Final = 0.150
_FORGOTTEN_S: Final = 1.0  # later, an older timestamp is a new key of a sender whose clock was set back
_FULL_DURATION: Final = 0xFFFF
_FULL_SEGMENT: Final = _FULL_DURATION - 400  # the last packet before it, at one each 50 ms
_VOLUME_DBM0: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitReceived:
    """The caller pressed a key and let it go."""

    leg: int
    digit: str
    """one of `KEYS`"""
    duration_ms: int


@dataclass(slots=True, kw_only=True)
class _Press:
    """A key as known so far. Times in clock ticks but `heard_s`, the arrival of its newest packet."""

    event: int
    timestamp: int
    duration: int
    earlier: int = 0
    heard_s: float
    is_told: bool = False

    def told(self, leg: int) -> DigitReceived:
        self.is_told = True
        duration_ms = (self.earlier + self.duration) // SAMPLES_PER_MS
        return DigitReceived(leg=leg, digit=KEYS[self.event], duration_ms=duration_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packet:
    """One event packet (RFC 4733 2.3)."""

    event: int
    is_end: bool
    duration: int
    timestamp: int
    is_marked: bool
    heard_s: float


class DigitReceiver:
    """The keys of all legs."""

    def __init__(self) -> None:
        self._presses: dict[int, _Press] = {}  # the latest key of each leg
        self._held: set[int] = set()  # legs whose latest key is not told

    def reset(self, leg: int) -> None:
        """Forget a leg."""
        self._presses.pop(leg, None)
        self._held.discard(leg)

    def receive(self, leg: int, payload: bytes, *, timestamp: int, is_marked: bool, now: float) -> list[DigitReceived]:
        """The keys that one event packet ends: none, one, or two if it also shows that the end of another was lost."""
        if len(payload) < EVENT_BYTES or payload[0] >= len(KEYS):
            return []
        packet = _Packet(
            event=payload[0],
            is_end=payload[1] >= 0x80,
            duration=int.from_bytes(payload[2:4], "big"),
            timestamp=timestamp,
            is_marked=is_marked,
            heard_s=now,
        )
        press = self._presses.get(leg)
        if press is not None and _is_outdated(press, packet):
            return []
        ended: list[DigitReceived] = []
        if press is not None and _continues(press, packet):
            _prolong(press, packet)
        else:
            if press is not None and not press.is_told:
                ended.append(press.told(leg))
            press = _Press(event=packet.event, timestamp=timestamp, duration=packet.duration, heard_s=now)
            self._presses[leg] = press
        if packet.is_end and not press.is_told:
            ended.append(press.told(leg))
        (self._held.discard if press.is_told else self._held.add)(leg)
        return ended

    def poll(self, now: float) -> list[DigitReceived]:
        """The keys whose end seems lost."""
        if not self._held:
            return []
        silent = sorted(leg for leg in self._held if now - self._presses[leg].heard_s > _LOST_END_S)
        self._held.difference_update(silent)
        return [self._presses[leg].told(leg) for leg in silent]


def _is_outdated(press: _Press, packet: _Packet) -> bool:
    """Whether a packet is a straggler of an earlier key."""
    is_older = timestamp_distance(packet.timestamp, press.timestamp) < 0
    return is_older and packet.heard_s - press.heard_s < _FORGOTTEN_S


def _continues(press: _Press, packet: _Packet) -> bool:
    """Whether a packet belongs to the key known so far."""
    moved = timestamp_distance(packet.timestamp, press.timestamp)
    if packet.event != press.event:
        return False
    if moved == 0:
        return True
    if packet.heard_s - press.heard_s > _FORGOTTEN_S:
        return False
    if moved < press.duration:
        return True
    if moved == _FULL_DURATION:
        return not packet.is_marked
    if press.is_told:
        return packet.is_end and moved == packet.duration == press.duration
    if press.duration >= _FULL_SEGMENT and moved <= _FULL_DURATION:
        return not packet.is_marked
    return press.duration < packet.duration and moved <= packet.duration and not packet.is_marked


def _prolong(press: _Press, packet: _Packet) -> None:
    moved = timestamp_distance(packet.timestamp, press.timestamp)
    is_next_segment = moved == _FULL_DURATION or (press.duration >= _FULL_SEGMENT and moved != 0)
    if is_next_segment and packet.duration < press.duration:
        press.earlier += moved
        press.duration = 0
    press.timestamp = packet.timestamp
    press.duration = max(press.duration, packet.duration)
    press.heard_s = packet.heard_s


def event_payload(digit: str, *, duration: int, is_end: bool) -> bytes:
    """One event packet's payload. `duration` in clock ticks since the start of the key; `digit` is one of `KEYS`."""
    code = KEYS.index(digit.upper())
    return bytes([code, is_end << 7 | _VOLUME_DBM0]) + min(duration, _FULL_DURATION).to_bytes(2, "big")
