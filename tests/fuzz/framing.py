"""Streams: however one is cut, the same messages come out, each as long as its Content-Length says."""

from __future__ import annotations

from gateway.sip.framing import KeepAlive, StreamFramer
from gateway.sip.message import DEFAULT_LIMITS, MessageRefused, parse_message
from tests.fuzz import message

SEEDS = [
    *message.SEEDS,
    b"\r\n\r\n" + message.SEEDS[0] + b"\r\n" + message.SEEDS[1],
    b"OPTIONS sip:x SIP/2.0\r\nl :\r\n 3\r\n\r\nabcOPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n\r\n\r\n",
]


def fuzz(data: bytes) -> None:
    whole = _events([data])
    for size in (1, 7) if len(data) <= 400 else (61,):
        assert _events([data[start : start + size] for start in range(0, len(data), size)]) == whole


def _events(pieces: list[bytes]) -> list[bytes | KeepAlive | str]:
    framer, events = StreamFramer(), list[bytes | KeepAlive | str]()
    for piece in pieces:
        framer.receive_data(piece)
        assert framer.buffered_bytes <= DEFAULT_LIMITS.max_bytes + len(piece)
        try:
            while (event := framer.next_event()) is not None:
                events.append(event)
                if isinstance(event, bytes):
                    _check(event)
        except MessageRefused as error:
            return [*events, error.reason]
    return events


def _check(data: bytes) -> None:
    """The parser must see the same end of the message as the framer, or one could smuggle another."""
    try:
        parsed = parse_message(data)
    except MessageRefused:
        return
    assert len(parsed.body) == len(data.lstrip(b"\r\n").partition(b"\r\n\r\n")[2])
