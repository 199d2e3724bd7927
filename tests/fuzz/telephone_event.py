"""RFC 4733 events: whatever the packets say, each key comes out whole and none lasts for ever."""

from __future__ import annotations

from gateway.media.dtmf import KEYS, DigitReceiver, event_payload

_STEP = 8
SEEDS = [
    b"".join(
        (1000).to_bytes(2, "big") + bytes((1, 20)) + event_payload(key, duration=160 * n, is_end=n > 2)
        for key in keys
        for n in range(1, 5)
    )
    for keys in ("5", "12", "#*")
]


def fuzz(data: bytes) -> None:
    """Eight octets a packet: timestamp (two), marker, milliseconds since the one before, payload of up to four."""
    receiver, now = DigitReceiver(), 0.0
    told = []
    for at in range(0, len(data) - 3, _STEP):
        timestamp, marker, elapsed_ms = int.from_bytes(data[at : at + 2], "big"), data[at + 2] & 1, data[at + 3]
        now += elapsed_ms / 1000
        told += receiver.receive(
            0, data[at + 4 : at + _STEP], timestamp=timestamp << 8, is_marked=bool(marker), now=now
        )
        told += receiver.poll(now)
    told += receiver.poll(now + 10)
    assert len(told) <= len(data) // 4 + 1
    assert all(digit.digit in KEYS for digit in told)
    assert receiver.poll(now + 100) == []
