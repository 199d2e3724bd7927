"""RTCP: a compound is refused as one, or means the same when it is written out and read again."""

from __future__ import annotations

from contextlib import suppress

from gateway.media.rtcp import Report, RtcpError, build, parse

_SENDER = "80c8000612345678e0000000800000000000a0000000003200001f40"
_BLOCK = "0badcafe03fffffe0001002a0000001200008000 00010000".replace(" ", "")
_NAME = "81ca0006123456780110" + "61" * 16 + "0000"
SEEDS = [
    bytes.fromhex(_SENDER + _NAME),
    bytes.fromhex("81c8000c" + _SENDER[8:] + _BLOCK),
    bytes.fromhex("81c9000712345678" + _BLOCK),
    bytes.fromhex("80c9000112345678" + "81cb0003123456780462796521000000"),
    bytes.fromhex("80c9000112345678" + "80cc000212345678" + "74657374"),
    bytes.fromhex("a0c900021234567800000004"),
]


def fuzz(data: bytes) -> None:
    """Refused by the one error, or read; and what was read stays itself."""
    with suppress(RtcpError):
        packets = parse(data)
        assert isinstance(packets[0], Report)
        assert parse(build(packets)) == packets
