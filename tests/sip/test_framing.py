from __future__ import annotations

from itertools import pairwise
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.sip.framing import MAX_HEAD_BYTES, KeepAlive, StreamFramer
from gateway.sip.message import Message, MessageRefused, Request, parse_message
from tests.support.device_messages import ASTERISK, DEVICE_INVITES, wire
from tests.support.sip_strategies import requests, responses

Outcome = bytes | KeepAlive | str


def message(content_length: str = "Content-Length: 5", body: bytes = b"hello") -> bytes:
    return f"INFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\n{content_length}\r\n\r\n".encode() + body


def drain(framer: StreamFramer) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        while (event := framer.next_event()) is not None:
            outcomes.append(event)
    except MessageRefused as error:
        outcomes.append(str(error))
    return outcomes


def framed(*pieces: bytes) -> list[Outcome]:
    framer = StreamFramer()
    outcomes: list[Outcome] = []
    for piece in pieces:
        framer.receive_data(piece)
        outcomes += drain(framer)
    return outcomes


def byte_by_byte(stream: bytes) -> list[Outcome]:
    return framed(*(bytes([octet]) for octet in stream))


def refusal(stream: bytes) -> MessageRefused:
    framer = StreamFramer()
    framer.receive_data(stream)
    with pytest.raises(MessageRefused) as caught:
        framer.next_event()
    return caught.value


def test_content_length_tells_where_a_message_ends() -> None:
    assert framed(message() + message(body=b"world")) == [message(), message(body=b"world")]


def test_half_a_message_waits_for_the_other() -> None:
    framer = StreamFramer()
    framer.receive_data(message()[:-1])
    assert framer.next_event() is None
    assert framer.is_within_message
    framer.receive_data(message()[-1:])
    assert framer.next_event() == message()
    assert not framer.is_within_message


@pytest.mark.parametrize(
    "field", ["Content-Length: 5", "l:5", "L : 5", "CONTENT-LENGTH\t:\t5 ", "l:\r\n 5", "content-length: 005"]
)
def test_every_spelling_of_content_length_is_read(field: str) -> None:
    assert byte_by_byte(message(field) + b"\r\n") == [message(field)]


def test_what_only_looks_like_content_length_is_not() -> None:
    folded = message("Subject: x\r\n Content-Length: 99\r\nX-Content-Length: 98\r\nl: 5")
    assert framed(folded) == [folded]


@pytest.mark.parametrize("name", DEVICE_INVITES)
def test_messages_of_devices_are_framed(name: str) -> None:
    data = DEVICE_INVITES[name]
    assert framed(data + data) == [data, data]


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("Subject: none", 400),
        ("Content-Length: 5\r\nl: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: -5", 400),
        ("Content-Length: five", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length:", 400),
        ("Content-Length: \u0665", 400),
        ("Content-Length: 5\rX: 6", 400),
        ("Content-Length: 65536", 513),
        ("Content-Length: 99999999999999999999", 400),
    ],
)
def test_a_length_that_cannot_be_trusted_ends_the_stream(field: str, status: int) -> None:
    stream = message(field) + message()
    assert refusal(stream).status == status
    assert framed(stream) == byte_by_byte(stream)
    assert len(framed(stream)) == 1


def test_a_refusal_carries_what_an_answer_needs() -> None:
    head = refusal(message("Subject: none")).message_head
    assert isinstance(head, Request)
    assert str(head.top_via) == "SIP/2.0/TCP c;branch=z9hG4bK1"


def test_nothing_comes_after_a_refusal() -> None:
    framer = StreamFramer()
    framer.receive_data(message("l: x"))
    with pytest.raises(MessageRefused):
        framer.next_event()
    framer.receive_data(message())
    assert framer.next_event() is None
    assert not framer.is_within_message


def test_the_largest_message_passes_and_one_byte_more_does_not() -> None:
    size = 65536 - len(message("l: 65000", b""))
    largest = message(f"l: {size}", b"x" * size)
    assert len(largest) == 65536
    assert framed(largest) == [largest]
    assert refusal(message(f"l: {size + 1}", b"")).status == 513


def test_the_longest_head_passes_and_one_byte_more_does_not() -> None:
    padding = "X: " + "x" * (MAX_HEAD_BYTES - len(message("X: \r\nl: 5", b"")) + 4) + "\r\nl: 5"
    longest = message(padding)
    assert framed(longest) == byte_by_byte(longest) == [longest]
    longer = message("X" + padding)
    assert framed(longer) == byte_by_byte(longer)
    error = refusal(longer)
    assert error.status == 513
    assert error.message_head is not None


def test_a_head_without_end_is_refused_when_it_is_too_long() -> None:
    assert refusal(b"x" * (MAX_HEAD_BYTES + 4)).status == 513
    assert framed(b"x" * (MAX_HEAD_BYTES + 3)) == []


def test_a_ping_between_messages_is_told() -> None:
    stream = message() + b"\r\n\r\n" + message() + b"\r\n\r\n\r\n\r\n"
    expected = [message(), KeepAlive.PING, message(), KeepAlive.PING, KeepAlive.PING]
    assert framed(stream) == byte_by_byte(stream) == expected


def test_a_lone_line_break_is_a_pong_until_it_turns_out_to_be_half_a_ping() -> None:
    framer = StreamFramer()
    framer.receive_data(b"\r\n")
    assert framer.next_event() is None
    assert framer.pongs == 1
    framer.receive_data(b"\r\n")
    assert framer.next_event() is KeepAlive.PING
    assert framer.pongs == 0
    framer.receive_data(b"\r\n" + message() + b"\r\n" + message())
    assert drain(framer) == [message(), message()]
    assert framer.pongs == 2


def test_line_breaks_before_a_message_are_not_part_of_it() -> None:
    assert framed(b"\r\n" + message()) == [message()]


def test_the_parser_takes_what_was_framed() -> None:
    data = wire(ASTERISK) if isinstance(ASTERISK, str) else ASTERISK
    (only,) = byte_by_byte(data)
    assert isinstance(only, bytes)
    assert parse_message(only) == parse_message(data)


fields = st.sampled_from(["l: {}", "Content-Length:{} ", "L :\r\n {}", "x: y", "l: -{}", "l: {0}\r\nl: {0}"])
messages = st.builds(lambda field, body: message(field.format(len(body)), body), fields, st.binary(max_size=20))
streams = st.lists(messages | st.sampled_from([b"\r\n", b"\r\n\r\n", b"\r", b"\n"]), max_size=6).map(b"".join)


@given(stream=streams, cuts=st.lists(st.integers(0, 600), max_size=12))
@example(stream=b"\r\n\r\n" + message(), cuts=[1, 2, 3])
def test_any_cut_of_a_stream_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(edges)]
    assert framed(*pieces) == framed(stream)


@given(requests() | responses())
def test_what_was_written_is_read_again(written: Message) -> None:
    data = written.to_bytes()
    assert byte_by_byte(data + b"\r\n" + data) == [data, data]


@given(
    st.lists(st.binary(max_size=50) | st.sampled_from([b"\r\n", b"\r\n\r\n", b"l:", b"l: 3", message()]), max_size=30)
)
def test_garbage_is_refused_or_waited_for_and_never_kept_beyond_bounds(pieces: list[bytes]) -> None:
    framer = StreamFramer(max_bytes=400, max_head_bytes=200)
    for piece in pieces:
        framer.receive_data(piece)
        drain(framer)
        assert framer.buffered_bytes < 400


def test_a_head_that_comes_byte_by_byte_takes_linear_time() -> None:
    def took_s(size: int) -> float:
        framer = StreamFramer(max_bytes=10**7, max_head_bytes=10**7)
        began = process_time()
        for _ in range(size):
            framer.receive_data(b"x")
            framer.next_event()
        return process_time() - began

    took_s(1000)
    assert took_s(80_000) < 16 * took_s(10_000) + 0.05


def test_many_lengths_in_one_head_take_linear_time() -> None:
    began = process_time()
    assert refusal(message("\r\n".join(["l: 1"] * 5000))).status == 400
    assert process_time() - began < 1
