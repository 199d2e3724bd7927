"""RTP, with RTCP and anything else on its port: a payload lies within its datagram, or the datagram is left out."""

from __future__ import annotations

import numpy as np

from gateway.media.rtp import HEADER_BYTES, PacketBatch, build_headers, parse

WIDTH = 1500
SEEDS = [
    bytes.fromhex("80000001000000a012345678") + b"\xff" * 160,
    bytes.fromhex("b2e00001000000a012345678")
    + bytes(8)
    + bytes.fromhex("bede000110aa0000")
    + b"\xd5" * 20
    + b"\x00\x02",
    bytes.fromhex("80c8000612345678") + bytes(20),
    bytes.fromhex("81c90007123456780000000100000000000000000000000000000000"),
    bytes.fromhex("80650001000000a0123456780a8a0320"),
    bytes.fromhex("000100002112a442") + bytes(12),
]


def fuzz(data: bytes) -> None:
    """The datagram beside a good one and beside nothing, so that no row reads from its neighbour."""
    rows = np.zeros((3, WIDTH), np.uint8)
    data = data[:WIDTH]
    rows[0, : len(data)] = np.frombuffer(data, np.uint8)
    rows[1, :172] = np.frombuffer(SEEDS[0], np.uint8)
    length = np.array([len(data), 172, 0], np.int32)
    packets = parse(PacketBatch(data=rows, length=length, leg=np.arange(3, dtype=np.int32)))
    assert list(packets.row[-1:]) == [1]
    for index in range(len(packets)):
        size = length[packets.row[index]]
        assert packets.payload_start[index] >= HEADER_BYTES
        assert 0 <= packets.payload_bytes[index] <= size - packets.payload_start[index]
        assert 0 <= packets.payload_type[index] < 128
    out = np.zeros((len(packets), HEADER_BYTES), np.uint8)
    build_headers(
        out,
        payload_type=packets.payload_type,
        is_marked=packets.is_marked,
        sequence=packets.sequence,
        timestamp=packets.timestamp,
        ssrc=packets.ssrc,
    )
    assert (out[:, 1:] == rows[packets.row, 1:HEADER_BYTES]).all()
