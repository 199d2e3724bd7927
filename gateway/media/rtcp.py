"""RTCP compound packets (RFC 3550 6): octets to values and back.

::

    datagram ──parse──> Report (SR, RR) · SourceDescription (SDES) · Goodbye (BYE) ──build──> datagram

Strict and bounded: every packet of a compound has version 2 and a length that fits, the first is a report (RFC 3550
A.2), and only the last is padded; all else is refused as a whole. Packets of other types (APP, feedback, extended
reports) are read over. What may be believed of a report is for `gateway.media.reports` to judge.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.errors import MessageError

MAX_DATAGRAM_BYTES: Final = 1500
MAX_PACKETS: Final = 32
"""In one compound; a telephone's has two or three."""
FIRST_TYPE, LAST_TYPE = 192, 223
"""Packet types that are told from RTP on the same port (RFC 5761 4)."""

_SENDER_REPORT, _RECEIVER_REPORT, _SOURCE_DESCRIPTION, _GOODBYE = 200, 201, 202, 203
_REPORTS: Final = (_SENDER_REPORT, _RECEIVER_REPORT)
_MAX_COUNT: Final = 31
_CNAME: Final = 1
_MIDDLE_BITS: Final = 16

_header = struct.Struct("!BBH")
_sender_info = struct.Struct("!QIII")
_block = struct.Struct("!IIIIII")


class RtcpError(MessageError):
    """The peer sent octets that are no RTCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderInfo:
    """The second section of a sender report (RFC 3550 6.4.1)."""

    ntp: int
    """Seconds since 1900 as a 64-bit fixed-point number; the same moment as `rtp_timestamp`."""
    rtp_timestamp: int
    packets: int
    octets: int
    """payload octets"""

    @property
    def middle_ntp(self) -> int:
        """What the other side returns of it as `ReportBlock.last_report`."""
        return self.ntp >> _MIDDLE_BITS & 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBlock:
    """What the sender of a report has received from one source (RFC 3550 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """of 256, since the previous report"""
    lost: int
    """since the beginning, -2**23..2**23-1: duplicates count as received"""
    highest_sequence: int
    """with its wraps above bit 16"""
    jitter: int
    """in ticks of the source's RTP clock"""
    last_report: int = 0
    """`SenderInfo.middle_ntp` of the source's latest sender report; 0: none came"""
    delay: int = 0
    """since that one came, in 1/65536 s"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A sender report, or a receiver report where `sender` is None."""

    ssrc: int
    sender: SenderInfo | None = None
    blocks: tuple[ReportBlock, ...] = ()

    def to_bytes(self) -> bytes:
        """The packet."""
        info = self.sender
        body = self.ssrc.to_bytes(4, "big")
        if info is not None:
            body += _sender_info.pack(info.ntp, info.rtp_timestamp, info.packets, info.octets)
        for block in self.blocks:
            loss = block.fraction_lost << 24 | block.lost & 0xFFFFFF
            body += _block.pack(block.ssrc, loss, block.highest_sequence, block.jitter, block.last_report, block.delay)
        kind = _RECEIVER_REPORT if info is None else _SENDER_REPORT
        return _packet(kind, len(self.blocks), body)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDescription:
    """Who the sources are (RFC 3550 6.5): each SSRC with its CNAME, which is empty where none was told."""

    names: tuple[tuple[int, bytes], ...]

    def to_bytes(self) -> bytes:
        """The packet."""
        body = b""
        for ssrc, name in self.names:
            item = bytes((_CNAME, len(name))) + name if name else b""
            chunk = ssrc.to_bytes(4, "big") + item
            body += chunk + bytes(4 - len(chunk) % 4)  # one null octet ends the items, one to four fill the word
        return _packet(_SOURCE_DESCRIPTION, len(self.names), body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """Sources that end (RFC 3550 6.6)."""

    ssrcs: tuple[int, ...]
    reason: bytes = b""

    def to_bytes(self) -> bytes:
        """The packet."""
        body = b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs)
        if self.reason:
            text = bytes((len(self.reason),)) + self.reason
            body += text + bytes(-len(text) % 4)
        return _packet(_GOODBYE, len(self.ssrcs), body)


Packet: TypeAlias = Report | SourceDescription | Goodbye


def is_rtcp(datagram: bytes | memoryview) -> bool:
    """Whether what came on a port that RTP and RTCP share is RTCP (RFC 5761 4)."""
    return len(datagram) > 1 and FIRST_TYPE <= datagram[1] <= LAST_TYPE


def build(packets: Iterable[Packet]) -> bytes:
    """A compound packet. The first one must be a `Report` (RFC 3550 6.1)."""
    return b"".join(packet.to_bytes() for packet in packets)


def parse(datagram: bytes) -> tuple[Packet, ...]:
    """The packets of a compound that mean something to us, in order; the first is a `Report`.

    Raises: `RtcpError`, and nothing else whatever the octets.
    """
    if len(datagram) > MAX_DATAGRAM_BYTES:
        raise RtcpError(f"{len(datagram)} octets of RTCP")
    packets: list[Packet] = []
    for kind, count, body in _split(datagram):
        if kind in _REPORTS:
            packets.append(_parse_report(kind, count, body))
        elif kind == _SOURCE_DESCRIPTION:
            packets.append(_parse_description(count, body))
        elif kind == _GOODBYE:
            packets.append(_parse_goodbye(count, body))
    return tuple(packets)


def _packet(kind: int, count: int, body: bytes) -> bytes:
    if count > _MAX_COUNT:
        raise ValueError(f"{count} entries in one RTCP packet")
    return _header.pack(0x80 | count, kind, len(body) // 4) + body


def _split(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, count and content of each packet."""
    offset = packets = 0
    while offset < len(datagram) or not packets:
        if len(datagram) - offset < _header.size:
            raise RtcpError("cut RTCP header")
        first, kind, words = _header.unpack_from(datagram, offset)
        end = offset + 4 * (words + 1)
        if first >> 6 != 2 or not FIRST_TYPE <= kind <= LAST_TYPE:
            raise RtcpError("not RTCP")
        if end > len(datagram):
            raise RtcpError("cut RTCP packet")
        if not packets and kind not in _REPORTS:
            raise RtcpError(f"a compound that begins with type {kind}")
        packets += 1
        if packets > MAX_PACKETS:
            raise RtcpError("too many packets in one compound")
        body = datagram[offset + _header.size : end]
        if first & 0x20:
            body = _unpadded(body, is_last=end == len(datagram))
        yield kind, first & 0x1F, body
        offset = end


def _unpadded(body: bytes, *, is_last: bool) -> bytes:
    """RFC 3550 6.4.1: padding is counted by its last octet, in whole words, and only on the last of several packets."""
    padding = body[-1] if body else 0
    if not is_last or padding == 0 or padding % 4 or padding > len(body):
        raise RtcpError("RTCP padding that is none")
    return body[:-padding]


def _parse_report(kind: int, count: int, body: bytes) -> Report:
    is_sender = kind == _SENDER_REPORT
    start = 4 + (_sender_info.size if is_sender else 0)
    # RFC 3550 6.4.3: what follows the blocks is an extension of a profile's.
    if len(body) < start + count * _block.size:
        raise RtcpError("cut report")
    sender = None
    if is_sender:
        ntp, rtp_timestamp, packets, octets = _sender_info.unpack_from(body, 4)
        sender = SenderInfo(ntp=ntp, rtp_timestamp=rtp_timestamp, packets=packets, octets=octets)
    return Report(
        ssrc=int.from_bytes(body[:4], "big"),
        sender=sender,
        blocks=tuple(_parse_block(body, start + place * _block.size) for place in range(count)),
    )


def _parse_block(body: bytes, offset: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last_report, delay = _block.unpack_from(body, offset)
    lost = loss & 0xFFFFFF
    return ReportBlock(
        ssrc=ssrc,
        fraction_lost=loss >> 24,
        lost=lost - (1 << 24) if lost & 0x800000 else lost,
        highest_sequence=highest,
        jitter=jitter,
        last_report=last_report,
        delay=delay,
    )


def _parse_description(count: int, body: bytes) -> SourceDescription:
    names: list[tuple[int, bytes]] = []
    offset = 0
    for _ in range(count):
        if len(body) - offset < 8:  # an SSRC and at least the word of its end
            raise RtcpError("cut source description")
        ssrc, name = int.from_bytes(body[offset : offset + 4], "big"), b""
        offset += 4
        while body[offset]:
            end = offset + 2 + (body[offset + 1] if offset + 1 < len(body) else 0)
            if end >= len(body):
                raise RtcpError("cut source description")
            if body[offset] == _CNAME:
                name = body[offset + 2 : end]
            offset = end
        names.append((ssrc, name))
        offset += 4 - offset % 4
    return SourceDescription(names=tuple(names))


def _parse_goodbye(count: int, body: bytes) -> Goodbye:
    end = 4 * count
    if len(body) < end:
        raise RtcpError("cut goodbye")
    reason = body[end + 1 : end + 1 + body[end]] if len(body) > end else b""
    if len(body) > end and len(reason) < body[end]:
        raise RtcpError("cut reason of a goodbye")
    return Goodbye(
        ssrcs=tuple(int.from_bytes(body[place : place + 4], "big") for place in range(0, end, 4)), reason=reason
    )
