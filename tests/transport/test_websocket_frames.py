"""Frames by our own hand, beside those of the library."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from gateway.transport.websocket_frames import FrameSplitter, text_frame
from tests.support.websocket_peer import BINARY, CLOSE, PING, PONG, TEXT, frame

LIMIT_BYTES = 300
CONTINUATION = 0


def by_the_library(stream: bytes) -> tuple[list[Frame], Exception | None]:
    """What `websockets` makes of a stream."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1"), state=State.OPEN, max_size=LIMIT_BYTES)
    protocol.receive_data(stream)
    return [event for event in protocol.events_received() if isinstance(event, Frame)], protocol.parser_exc


def split(stream: bytes, cuts: list[int]) -> tuple[list[str | bytes], bytes]:
    """The parts of a stream that is cut at these places, and what is kept back at its end."""
    splitter = FrameSplitter(LIMIT_BYTES)
    parts: list[str | bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parts += splitter.split(memoryview(stream)[start:end])
    return parts, splitter.take_rest()


# --- ours to the server -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_a_frame_of_ours_is_one_masked_text_frame(size: int) -> None:
    server = ServerProtocol(state=State.OPEN)
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    server.receive_data(text_frame(data))
    (received,) = server.events_received()
    assert isinstance(received, Frame)
    assert (received.opcode, received.fin, bytes(received.data)) == (Opcode.TEXT, True, data)


def test_every_frame_of_ours_has_a_mask_of_its_own() -> None:
    assert len({text_frame(b"the same") for _ in range(100)}) == 100


# --- the server's to us -----------------------------------------------------------------------------------------------


def test_whole_text_is_told_at_once() -> None:
    stream = frame(TEXT, b"one") + frame(TEXT, "zw\u00f6lf".encode() * 30) + frame(TEXT, b"")
    assert split(stream, []) == (["one", "zw\u00f6lf" * 30, ""], b"")


@pytest.mark.parametrize(
    "other",
    [
        frame(BINARY, b"audio"),
        frame(PING, b"?"),
        frame(PONG, b""),
        frame(CLOSE, b"\x03\xe8"),
        frame(TEXT, b"not ", is_final=False),
        frame(CONTINUATION, b"whole"),
        frame(TEXT, b"\xff"),
        frame(TEXT, b"a" * (LIMIT_BYTES + 1)),
        b"\x81\x81\x00\x00\x00\x00a",
        b"\xc1\x01a",
        b"\x83\x00",
    ],
    ids=["binary", "ping", "pong", "close", "fragment", "rest", "not UTF-8", "large", "masked", "reserved", "opcode"],
)
def test_every_other_frame_is_handed_on_as_it_came(other: bytes) -> None:
    parts, rest = split(frame(TEXT, b"before") + other, [])
    told = [part for part in parts if isinstance(part, str)]
    handed_on = [part for part in parts if isinstance(part, bytes)]
    assert (told, b"".join(handed_on) + rest) == (["before"], other)


def test_nothing_between_fragments_is_taken_for_a_message() -> None:
    stream = frame(TEXT, b"a", is_final=False) + frame(PING, b"") + frame(TEXT, b"against the rules")
    parts, _ = split(stream, [])
    assert b"".join(part for part in parts if isinstance(part, bytes)) == stream


@pytest.mark.parametrize("opcode", [BINARY, PING, CLOSE])
def test_no_message_is_found_within_another_frame_wherever_that_is_cut(opcode: int) -> None:
    stream = frame(opcode, frame(TEXT, b"smuggled")) + frame(TEXT, b"true")
    for cut in range(len(stream)):
        parts, _ = split(stream, [cut])
        assert [part for part in parts if isinstance(part, str)] == ["true"], cut


def test_what_is_not_whole_at_the_end_is_given_back() -> None:
    assert split(frame(TEXT, b"whole") + b"\x81\x05cu", []) == (["whole"], b"\x81\x05cu")


def test_a_large_message_is_put_together_from_many_reads() -> None:
    splitter = FrameSplitter(1 << 20)
    stream = frame(TEXT, b"x" * 1_000_000)
    reads = [stream[start : start + 16_384] for start in range(0, len(stream), 16_384)]
    assert [part for read in reads for part in splitter.split(memoryview(read))] == ["x" * 1_000_000]


FRAMES = st.builds(
    lambda first, second, data: bytes([first, second | min(len(data), 125)]) + data,
    st.sampled_from([0x81] * 6 + [0x01, 0x00, 0x80, 0x82, 0x02, 0x88, 0x89, 0x8A, 0x09, 0xC1, 0x83]),
    st.sampled_from([0] * 20 + [0x80]),
    st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=8), st.just(frame(TEXT, b"within"))),
) | st.builds(frame, st.just(TEXT), st.sampled_from([124, 125, 126, 127, 299, 300, 301]).map(bytes))


@settings(max_examples=500)
@given(st.data())
def test_the_parts_in_their_order_are_what_the_library_reads(data: st.DataObject) -> None:
    stream = b"".join(data.draw(st.lists(FRAMES, max_size=8)))
    stream = stream[: len(stream) - data.draw(st.integers(0, min(3, len(stream))))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parts, rest = split(stream, cuts)
    again = [frame(TEXT, part.encode()) if isinstance(part, str) else part for part in parts]
    frames, fault = by_the_library(stream)
    frames_again, fault_again = by_the_library(b"".join(again) + rest)
    assert frames_again == frames
    assert repr(fault_again) == repr(fault)
