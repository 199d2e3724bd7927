"""RTP headers in and out, and arithmetic over the wraps."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import rtp
from tests.support.rtp_packets import packet_batch, rtp_packet

VOICE = bytes(range(160))


def payload_of(datagram):
    """The payload that `parse` finds in one datagram, None where it finds no packet."""
    packets = rtp.parse(packet_batch([datagram]))
    if not len(packets):
        return None
    start, length = int(packets.payload_start[0]), int(packets.payload_bytes[0])
    return datagram[start : start + length]


def test_every_field_of_a_plain_packet_is_read():
    packets = rtp.parse(
        packet_batch([b"\0" * 20, rtp_packet(65535, 0xFFFFFFFE, VOICE, ssrc=0xDEADBEEF, payload_type=101, marked=True)])
    )
    assert packets.row.tolist() == [1]
    fields = (packets.payload_type, packets.is_marked, packets.sequence, packets.timestamp, packets.ssrc)
    assert tuple(field[0].item() for field in fields) == (101, True, 65535, 0xFFFFFFFE, 0xDEADBEEF)
    assert (packets.payload_start[0], packets.payload_bytes[0]) == (12, 160)


@pytest.mark.parametrize(
    "datagram",
    [
        rtp_packet(1, 2, VOICE, csrc=(7,)),
        rtp_packet(1, 2, VOICE, csrc=tuple(range(15))),
        rtp_packet(1, 2, VOICE, extension=(0xBEDE, b"")),
        rtp_packet(1, 2, VOICE, extension=(0xBEDE, bytes(64))),
        rtp_packet(1, 2, VOICE, padding=1),
        rtp_packet(1, 2, VOICE, padding=255),
        rtp_packet(1, 2, VOICE, csrc=(1, 2), extension=(0x1000, bytes(8)), padding=4),
    ],
)
def test_csrc_list_extension_and_padding_are_stepped_over(datagram):
    assert payload_of(datagram) == VOICE


def test_nothing_but_padding_is_an_empty_payload():
    assert payload_of(rtp_packet(1, 2, b"", padding=20)) == b""
    assert payload_of(rtp_packet(1, 2, b"")) == b""


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x80",
        rtp_packet(1, 2, b"")[:11],
        b"\x00" + rtp_packet(1, 2, VOICE)[1:],  # version 0: STUN, ZRTP
        b"\x40" + rtp_packet(1, 2, VOICE)[1:],
        b"\xc0" + rtp_packet(1, 2, VOICE)[1:],
        b"\x8f" + rtp_packet(1, 2, b"x" * 59)[1:],  # 15 sources told, 59 octets there
        b"\x90" + rtp_packet(1, 2, b"")[1:],  # extension told, nothing there
        b"\x90" + rtp_packet(1, 2, b"\xbe\xde\x00")[1:],
        b"\x90" + rtp_packet(1, 2, struct.pack("!HH", 0xBEDE, 2) + bytes(7))[1:],
        b"\x90" + rtp_packet(1, 2, struct.pack("!HH", 0xBEDE, 0xFFFF) + bytes(7))[1:],
        b"\xa0" + rtp_packet(1, 2, b"voice\x00")[1:],  # padding of no octets
        b"\xa0" + rtp_packet(1, 2, b"voice\x07")[1:],  # more padding than payload
        b"\xa0" + rtp_packet(1, 2, b"")[1:],
        rtp_packet(1, 2, b"x" * (rtp.MAX_PAYLOAD_BYTES + 1)),
        b"\x80\xc8" + bytes(26),  # RTCP sender report, on the RTP port by mistake or by rtcp-mux
        b"\x81\xcd" + bytes(26),  # RTCP feedback
        b"\xff" * 1500,
    ],
)
def test_what_is_not_a_whole_packet_is_left_out(datagram):
    assert payload_of(datagram) is None


@given(st.binary(max_size=100))
def test_no_datagram_raises_or_reads_beyond_its_end(datagram):
    packets = rtp.parse(packet_batch([datagram], width=100))
    for start, length in zip(packets.payload_start, packets.payload_bytes, strict=True):
        assert 12 <= start <= start + length <= len(datagram)


@pytest.mark.parametrize("width", [12, 13, 16])
def test_receive_buffers_of_any_width_are_read(width):
    batch = packet_batch([rtp_packet(1, 2, VOICE, extension=(1, bytes(4)))], width=200)
    narrow = rtp.PacketBatch(data=batch.data[:, :width], length=batch.length, leg=batch.leg)
    assert len(rtp.parse(narrow)) == 0


def test_an_empty_batch_is_no_packets():
    assert len(rtp.parse(packet_batch([]))) == 0


def test_headers_built_are_headers_parsed():
    out = np.zeros((3, 40), np.uint8)
    rtp.build_headers(
        out,
        payload_type=np.array([0, 8, 101]),
        is_marked=np.array([True, False, True]),
        sequence=np.array([65535, 65536, 65537]),
        timestamp=np.array([2**32 - 1, 2**32, 2**32 + 159]),
        ssrc=np.array([1, 0xFFFFFFFF, 5]),
    )
    expected = [
        rtp_packet(65535, 2**32 - 1, bytes(28), ssrc=1, marked=True),
        rtp_packet(0, 0, bytes(28), ssrc=0xFFFFFFFF, payload_type=8),
        rtp_packet(1, 159, bytes(28), ssrc=5, payload_type=101, marked=True),
    ]
    assert expected == [row.tobytes() for row in out]


@given(st.integers(0, 65535), st.integers(-32768, 32767))
def test_sequence_distance_wraps(start, distance):
    later = np.array([(start + distance) & 0xFFFF])
    assert distance == rtp.sequence_distance(later, np.array([start]))[0]


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_timestamp_distance_wraps(start, distance):
    later = np.array([(start + distance) & 0xFFFFFFFF])
    assert distance == rtp.timestamp_distance(later, np.array([start]))[0]


@given(st.lists(st.integers(0, 5), max_size=30))
def test_rounds_hold_each_leg_once_and_keep_its_order(legs):
    array = np.array(legs, np.int64)
    turns = [np.arange(len(legs))[turn].tolist() for turn in rtp.rounds(array)]
    assert sorted(range(len(legs))) == sorted(i for turn in turns for i in turn)
    for turn in turns:
        assert len({legs[i] for i in turn}) == len(turn)
    for leg in set(legs):
        in_rounds = [i for turn in turns for i in turn if legs[i] == leg]
        assert sorted(in_rounds) == in_rounds
