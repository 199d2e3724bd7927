"""RTCP on the wire: octets written by hand, every form and every cut, and what is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.rtcp import (
    MAX_DATAGRAM_BYTES,
    MAX_PACKETS,
    Goodbye,
    Report,
    ReportBlock,
    RtcpError,
    SenderInfo,
    SourceDescription,
    build,
    is_rtcp,
    parse,
)

SENDER_REPORT = bytes.fromhex(
    "81c8000c 11223344"  # version 2, one block, SR, 13 words; the sender
    "e1a2b3c4 80000000 0000a0a0 00000032 00001f40"  # NTP, RTP timestamp, packets, octets
    "55667788 40fffffe 00010002 0000000c b3c48000 00018000"  # block: a quarter lost, -2 in all
)
NAME = bytes.fromhex("81ca0004 11223344 0106 616c69636521 00000000".replace(" ", ""))
GOODBYE = bytes.fromhex("81cb0002 11223344 03656e64")

u32 = st.integers(0, 2**32 - 1)
blocks = st.builds(
    ReportBlock,
    ssrc=u32,
    fraction_lost=st.integers(0, 255),
    lost=st.integers(-(2**23), 2**23 - 1),
    highest_sequence=u32,
    jitter=u32,
    last_report=u32,
    delay=u32,
)
infos = st.builds(SenderInfo, ntp=st.integers(0, 2**64 - 1), rtp_timestamp=u32, packets=u32, octets=u32)
reports = st.builds(Report, ssrc=u32, sender=st.none() | infos, blocks=st.lists(blocks, max_size=31).map(tuple))
descriptions = st.builds(
    SourceDescription,
    names=st.lists(st.tuples(u32, st.binary(max_size=40)), max_size=3).map(tuple),
)
goodbyes = st.builds(Goodbye, ssrcs=st.lists(u32, max_size=3).map(tuple), reason=st.binary(max_size=30))


def test_a_sender_report_is_read_as_written_by_hand() -> None:
    report, description, goodbye = parse(SENDER_REPORT + NAME + GOODBYE)
    assert report == Report(
        ssrc=0x11223344,
        sender=SenderInfo(ntp=0xE1A2B3C480000000, rtp_timestamp=0xA0A0, packets=50, octets=8000),
        blocks=(
            ReportBlock(
                ssrc=0x55667788,
                fraction_lost=64,
                lost=-2,
                highest_sequence=0x10002,
                jitter=12,
                last_report=0xB3C48000,
                delay=0x18000,
            ),
        ),
    )
    assert report.sender is not None
    assert report.sender.middle_ntp == 0xB3C48000
    assert description == SourceDescription(names=((0x11223344, b"alice!"),))
    assert goodbye == Goodbye(ssrcs=(0x11223344,), reason=b"end")


def test_a_compound_is_written_as_by_hand() -> None:
    assert build(parse(SENDER_REPORT + NAME + GOODBYE)) == SENDER_REPORT + NAME + GOODBYE


@given(reports, st.lists(reports | descriptions | goodbyes, max_size=2))
def test_what_is_built_is_read_again(first: Report, rest: list[Report | SourceDescription | Goodbye]) -> None:
    compound = build([first, *rest])
    if len(compound) <= MAX_DATAGRAM_BYTES:
        assert parse(compound) == (first, *rest)
    else:
        with pytest.raises(RtcpError):
            parse(compound)


@given(st.binary(max_size=200), st.integers(0, 3))
def test_garbage_is_refused_by_one_error(garbage: bytes, count: int) -> None:
    for datagram in (garbage, SENDER_REPORT + garbage, struct.pack("!BBH", 0x80 | count, 202, 9) + garbage):
        try:
            packets = parse(datagram)
        except RtcpError:
            continue
        assert isinstance(packets[0], Report)


def test_every_cut_but_between_packets_is_refused() -> None:
    compound = SENDER_REPORT + NAME + GOODBYE
    whole = (len(SENDER_REPORT), len(SENDER_REPORT + NAME), len(compound))
    for end in range(len(compound)):
        if end in whole:
            parse(compound[:end])
        else:
            with pytest.raises(RtcpError):
                parse(compound[:end])


def test_packets_of_other_types_are_read_over() -> None:
    application = bytes.fromhex("80cc0002 11223344 74657374")
    extended = bytes.fromhex("80cf0001 11223344")
    assert parse(SENDER_REPORT + application + extended + GOODBYE) == parse(SENDER_REPORT + GOODBYE)


def test_an_extension_behind_the_blocks_is_read_over() -> None:
    assert parse(bytes.fromhex("80c90002 11223344 deadbeef")) == (Report(ssrc=0x11223344),)


@pytest.mark.parametrize(
    ("name", "datagram"),
    [
        ("empty", b""),
        ("version 1", b"\x41" + SENDER_REPORT[1:]),
        ("begins with a description", NAME + SENDER_REPORT),
        ("RTP behind a report", SENDER_REPORT + bytes.fromhex("80000001 00000000")),
        ("more blocks than there is room for", b"\x82" + SENDER_REPORT[1:]),
        ("more names than there is room for", SENDER_REPORT + b"\x82" + NAME[1:]),
        ("a name without an end", SENDER_REPORT + bytes.fromhex("81ca0002 11223344 01020304")),
        ("a name that runs out of its packet", SENDER_REPORT + bytes.fromhex("81ca0002 11223344 01400000")),
        ("more goodbyes than there is room for", SENDER_REPORT + b"\x83" + GOODBYE[1:]),
        ("a reason that runs out of its packet", SENDER_REPORT + GOODBYE[:8] + b"\x04end"),
        ("padding in the first of two", b"\xa1" + SENDER_REPORT[1:] + NAME),
        ("padding of nothing", bytes.fromhex("a0c90002 11223344 00000000")),
        ("padding of half a word", bytes.fromhex("a0c90002 11223344 00000002")),
        ("more padding than packet", bytes.fromhex("a0c90002 11223344 00000010")),
        ("padding over the whole report", bytes.fromhex("a0c90001 00000004")),
        ("too long", SENDER_REPORT + bytes.fromhex("80cc0000") * 400),
        ("too many", SENDER_REPORT + bytes.fromhex("80cc0000") * MAX_PACKETS),
    ],
)
def test_what_is_no_compound_is_refused_as_a_whole(name: str, datagram: bytes) -> None:
    with pytest.raises(RtcpError):
        parse(datagram)


def test_padding_of_the_last_packet_is_taken_off() -> None:
    assert parse(bytes.fromhex("a0c90002 11223344 00000004")) == (Report(ssrc=0x11223344),)


def test_rtcp_is_told_from_rtp_by_its_type() -> None:
    assert is_rtcp(SENDER_REPORT)
    assert not is_rtcp(bytes.fromhex("8000000100000000"))  # PCMU
    assert not is_rtcp(bytes.fromhex("80e50001"))  # telephone events, marked
    assert not is_rtcp(b"\x80")
