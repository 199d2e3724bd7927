"""RTP packets (RFC 3550 5.1) as arrays: headers of a whole batch in and out, and arithmetic that wraps.

Parsing trusts nothing: a row is a packet only if its version, CSRC list, header extension and padding fit its length.
Payload octets are not copied here; a parsed packet says where in its row they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from gateway.media.codec import Bytes, Indices, Mask

HEADER_BYTES: Final = 12
MAX_PAYLOAD_BYTES: Final = 1460
"""What a datagram of an Ethernet path can bring; longer payloads are not voice."""

_VERSION_2: Final = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketBatch:
    """Datagrams received on RTP ports: row i holds ``length[i]`` octets for ``leg[i]``, in the order of arrival."""

    data: Bytes
    """uint8[n, max_bytes], max_bytes >= 12"""
    length: npt.NDArray[np.int32]
    """int32[n]"""
    leg: npt.NDArray[np.int32]
    """int32[n], engine slots"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingPackets:
    """Packets to send now. The arrays belong to the engine and are overwritten by its next `playout`."""

    data: Bytes
    """uint8[n, max_bytes]"""
    length: npt.NDArray[np.int32]
    """int32[n]"""
    leg: npt.NDArray[np.int32]
    """int32[n], engine slots"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPackets:
    """The rows of a batch that are RTP, as arrays of one length m."""

    row: Indices
    """int64[m], ascending: which row of the batch"""
    leg: Indices
    payload_type: Indices
    is_marked: Mask
    sequence: Indices
    """0..65535"""
    timestamp: Indices
    """0..2**32-1, in ticks of the payload format's RTP clock"""
    ssrc: Indices
    payload_start: Indices
    """offset of the payload in its row"""
    payload_bytes: Indices
    """length of the payload without padding; may be 0"""

    def __len__(self) -> int:
        return len(self.row)

    def select(self, chosen: Mask | Indices) -> ParsedPackets:
        """The packets chosen by a mask or by indices, in that order; itself if that is all of them."""
        if is_everything(chosen):
            return self
        return ParsedPackets(
            row=self.row[chosen],
            leg=self.leg[chosen],
            payload_type=self.payload_type[chosen],
            is_marked=self.is_marked[chosen],
            sequence=self.sequence[chosen],
            timestamp=self.timestamp[chosen],
            ssrc=self.ssrc[chosen],
            payload_start=self.payload_start[chosen],
            payload_bytes=self.payload_bytes[chosen],
        )


def is_everything(chosen: Mask | Indices) -> bool:
    """Whether a mask leaves nothing out. Nearly always so, and cheaper to ask than to copy."""
    return chosen.dtype == np.bool_ and bool(chosen.all())


def parse(batch: PacketBatch) -> ParsedPackets:
    """The packets of a batch that are RTP; all else (STUN, RTCP, noise, cut datagrams) is left out."""
    header = batch.data[:, :HEADER_BYTES].copy()
    length = np.minimum(batch.length, batch.data.shape[1]).astype(np.int64)
    leg = batch.leg.astype(np.int64)
    row = np.arange(len(length))
    is_rtp = (length >= HEADER_BYTES) & _is_rtp(header)
    if not is_rtp.all():
        row = row[is_rtp]
        header, length, leg = header[is_rtp], length[is_rtp], leg[is_rtp]
    start = np.full(len(row), HEADER_BYTES)
    end = length
    if (header[:, 0] != _VERSION_2).any():  # contributing sources, an extension, padding
        start += 4 * (header[:, 0] & 0x0F).astype(np.int64)
        _skip_extensions(batch.data, row, length, header[:, 0], start)
        end = length - _padding_bytes(batch.data, row, length, header[:, 0])
    packets = ParsedPackets(
        row=row,
        leg=leg,
        payload_type=(header[:, 1] & 0x7F).astype(np.int64),
        is_marked=header[:, 1] >= 0x80,
        sequence=header.view(">u2")[:, 1].astype(np.int64),
        timestamp=header.view(">u4")[:, 1].astype(np.int64),
        ssrc=header.view(">u4")[:, 2].astype(np.int64),
        payload_start=start,
        payload_bytes=end - start,
    )
    is_whole = (packets.payload_bytes >= 0) & (packets.payload_bytes <= MAX_PAYLOAD_BYTES)
    return packets.select(is_whole)


def _is_rtp(header: Bytes) -> Mask:
    """Version 2, and not RTCP on the same port, whose types 192-223 read as marked payload types 64-95 (RFC 5761 4)."""
    is_rtcp = (header[:, 1] >= 192) & (header[:, 1] <= 223)
    is_rtp: Mask = ((header[:, 0] & 0xC0) == _VERSION_2) & ~is_rtcp
    return is_rtp


def _skip_extensions(data: Bytes, row: Indices, length: Indices, first: Bytes, start: Indices) -> None:
    """Move `start` behind the header extension where there is one (RFC 3550 5.3.1), past the end where it is cut."""
    extended = np.flatnonzero(first & 0x10)
    if not extended.size:
        return
    at = np.minimum(start[extended], data.shape[1] - 4)
    words = data[row[extended], at + 2].astype(np.int64) << 8 | data[row[extended], at + 3]
    start[extended] += 4 + 4 * words
    start[extended[at + 4 > length[extended]]] = data.shape[1] + 1


def _padding_bytes(data: Bytes, row: Indices, length: Indices, first: Bytes) -> Indices:
    """Octets of padding, by the last octet of the packet, which counts itself (RFC 3550 5.1); 0 is a lie: all of it."""
    padding = np.zeros(len(row), np.int64)
    padded = np.flatnonzero(first & 0x20)
    if padded.size:
        told = data[row[padded], length[padded] - 1].astype(np.int64)
        padding[padded] = np.where(told > 0, told, length[padded])
    return padding


def build_headers(
    out: Bytes, *, payload_type: Indices, is_marked: Mask, sequence: Indices, timestamp: Indices, ssrc: Indices
) -> None:
    """Write plain headers into the first columns of `out`, uint8[n, >= 12]. Numbers are taken modulo their width."""
    header = np.empty((len(out), HEADER_BYTES), np.uint8)
    header[:, 0] = _VERSION_2
    header[:, 1] = payload_type | is_marked.astype(np.int64) << 7
    header.view(">u2")[:, 1] = sequence & 0xFFFF
    header.view(">u4")[:, 1] = timestamp & 0xFFFFFFFF
    header.view(">u4")[:, 2] = ssrc & 0xFFFFFFFF
    out[:, :HEADER_BYTES] = header


_Number = TypeVar("_Number", int, Indices)


def sequence_distance(newer: _Number, older: _Number) -> _Number:
    """How far `newer` is after `older`, -32768..32767, over the wrap at 2**16."""
    return (newer - older + 0x8000 & 0xFFFF) - 0x8000


def timestamp_distance(newer: _Number, older: _Number) -> _Number:
    """How far `newer` is after `older` in clock ticks, -2**31..2**31-1, over the wrap at 2**32."""
    return (newer - older + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def rounds(legs: Indices) -> Iterator[Mask | Indices]:
    """Masks of `legs` or indices into them such that no leg occurs twice in a round, and each leg's own order is kept.

    State that is one row a leg may then be read and written by fancy indexing. Nearly always there is one round.
    """
    if not len(legs):
        return
    if np.bincount(legs).max() == 1:
        yield np.ones(len(legs), np.bool_)
        return
    order = np.argsort(legs, kind="stable")
    ordered = legs[order]
    is_first = np.ones(len(legs), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    index = np.arange(len(legs))
    occurrence = index - np.maximum.accumulate(np.where(is_first, index, 0))
    for turn in range(int(occurrence.max()) + 1):
        yield order[occurrence == turn]
