"""What bodies mean: session descriptions, digits by INFO, the status in a sipfrag."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MessageError
from gateway.sip.bodies import read_digit, read_sipfrag, session_description_of
from gateway.sip.message import Request
from tests.support.wire import ScriptedPeer, description

SDP = description().to_bytes()
MIXED = (
    b"--b1\r\nContent-Type: application/ISUP;version=itu-t92+\r\n\r\n\x01\x02\r\n"
    b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"\r\n--b1--\r\n"
)


def with_body(body: bytes, content_type: str | None, *headers: tuple[str, str]) -> Request:
    return ScriptedPeer().request("INVITE", body=body, content_type=content_type, headers=headers)


@pytest.mark.parametrize(
    "request_",
    [
        with_body(SDP, "application/sdp"),
        with_body(SDP, "Application/SDP;charset=utf-8"),
        with_body(SDP, None),
        with_body(SDP, "application/sdp", ("Content-Encoding", "identity")),
        with_body(MIXED, "multipart/mixed;boundary=b1"),
    ],
    ids=["plain", "odd case", "no type", "identity", "multipart"],
)
def test_the_description_is_found(request_: Request) -> None:
    assert session_description_of(request_) == description()


@pytest.mark.parametrize(
    "request_",
    [
        with_body(b"", None),
        with_body(b"x", "image/png", ("Content-Disposition", "icon; handling=optional")),
        with_body(MIXED.replace(b"application/sdp", b"application/xml"), "multipart/mixed;boundary=b1"),
    ],
    ids=["no body", "optional body", "multipart without"],
)
def test_there_may_be_no_description(request_: Request) -> None:
    assert session_description_of(request_) is None


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (with_body(b"x", "image/png"), 415),
        (with_body(SDP, "application/sdp", ("Content-Encoding", "gzip")), 415),
        (with_body(SDP, ";;;///"), 415),
        (with_body(SDP, ""), 415),
        (with_body(b"v=0\r\nnonsense", "application/sdp"), 400),
        (with_body(MIXED, "multipart/mixed"), 400),
    ],
    ids=["unknown type", "encoded", "type that is none", "empty type", "broken", "no boundary"],
)
def test_what_cannot_be_used_is_refused_with_the_right_status(request_: Request, status: int) -> None:
    with pytest.raises(MessageError) as raised:
        session_description_of(request_)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", ("5", 160)),
        ("application/dtmf-relay", b"signal = # \nduration = 100", ("#", 100)),
        ("application/dtmf-relay", b"Signal=10\r\n", ("*", 250)),
        ("application/dtmf-relay", b"Signal=11\r\nDuration=x", ("#", 250)),
        ("application/dtmf-relay", b"Signal=d\r\nDuration=99999999", ("D", 250)),
        ("application/dtmf-relay", b"Signal=1\r\nDuration=60000", ("1", 10_000)),
        ("application/dtmf-relay", b"Signal=!\r\nDuration=100", None),
        ("application/dtmf-relay", b"Signal=55", None),
        ("application/dtmf-relay", b"", None),
        ("application/dtmf", b"7", ("7", 250)),
        ("application/dtmf", b" * \r\n", ("*", 250)),
        ("application/dtmf", b"hello", None),
        ("text/plain", b"5", None),
    ],
)
def test_digits_are_read_from_both_forms_of_info(
    content_type: str, body: bytes, expected: tuple[str, int] | None
) -> None:
    assert read_digit(content_type, body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"SIP/2.0 200 OK", (200, "OK")),
        (b"SIP/2.0 180 Ringing\r\nContact: <sip:x@y>\r\n\r\n", (180, "Ringing")),
        (b"\r\nSIP/2.0 486", (486, "")),
        (b"SIP/2.0 603 Ne merci\xc3\xa9 pas \r\n", (603, "Ne mercié pas")),
        (b"SIP/2.0 999 Odd", None),
        (b"SIP/2.0 2000 Odd", None),
        (b"INVITE sip:x SIP/2.0", None),
        (b"", None),
    ],
)
def test_status_is_read_from_a_sipfrag(body: bytes, expected: tuple[int, str] | None) -> None:
    assert read_sipfrag(body) == expected


@settings(deadline=None)
@given(
    st.sampled_from("0123456789*#ABCD"), st.integers(0, 10_000), st.sampled_from(["\n", "\r\n"]), st.text(max_size=9)
)
def test_a_digit_survives_its_body_whatever_stands_behind(digit: str, duration_ms: int, end: str, rest: str) -> None:
    body = f"Signal={digit}{end}Duration={duration_ms}{end}x={rest}".encode()
    assert read_digit("application/dtmf-relay", body) == (digit, duration_ms)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text("Signal=Duration\r\n0123456789*#-+ \u0663", max_size=60).map(str.encode))
def test_any_body_is_one_digit_of_bounded_length_or_none(body: bytes) -> None:
    for content_type in ("application/dtmf", "application/dtmf-relay"):
        told = read_digit(content_type, body)
        assert told is None or (told[0] in set("0123456789*#ABCD") and 0 <= told[1] <= 10_000)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda rest: b"SIP/2.0 200" + rest))
def test_any_body_is_a_status_with_a_reason_on_one_line_or_none(body: bytes) -> None:
    told = read_sipfrag(body)
    assert told is None or (100 <= told[0] <= 699 and not set(told[1]) & set("\r\n"))
