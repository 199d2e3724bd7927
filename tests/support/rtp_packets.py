"""RTP datagrams written out octet by octet, independently of the code under test, and batches of them."""

import struct

import numpy as np

from gateway.media.rtp import PacketBatch


def rtp_packet(
    sequence, timestamp, payload, *, ssrc=0x1234, payload_type=0, marked=False, csrc=(), extension=None, padding=0
):
    """One datagram (RFC 3550 5.1). `extension`: None or (profile, whole 32-bit words as bytes)."""
    first = 0x80 | (0x20 if padding else 0) | (0x10 if extension is not None else 0) | len(csrc)
    header = struct.pack(
        "!BBHII", first, payload_type | marked << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc & 0xFFFFFFFF
    )
    header += b"".join(struct.pack("!I", source) for source in csrc)
    if extension is not None:
        profile, words = extension
        header += struct.pack("!HH", profile, len(words) // 4) + words
    return header + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


def packet_batch(datagrams, *, legs=None, width=1600):
    """Datagrams as the RTP ports hand them over; all for leg 0 unless `legs` tells."""
    legs = [0] * len(datagrams) if legs is None else legs
    data = np.zeros((len(datagrams), width), np.uint8)
    for row, datagram in zip(data, datagrams, strict=True):
        row[: len(datagram)] = np.frombuffer(datagram, np.uint8)
    return PacketBatch(data=data, length=np.array([len(d) for d in datagrams], np.int32), leg=np.array(legs, np.int32))
