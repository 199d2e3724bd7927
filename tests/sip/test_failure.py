"""What final responses mean to whoever placed the call."""

from __future__ import annotations

import pytest

from gateway.sip.events import CallRefused
from gateway.sip.failure import CallFailure, failure_of, read_cause, read_retry_after_s
from gateway.sip.message import Headers


def q850(cause: object) -> Headers:
    return Headers([("Reason", f'Q.850;cause={cause};text="x"')])


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (302, CallFailure.REDIRECTED),
        (380, CallFailure.REDIRECTED),
        (400, CallFailure.REJECTED),
        (401, CallFailure.AUTHENTICATION),
        (403, CallFailure.REJECTED),
        (404, CallFailure.NOT_FOUND),
        (407, CallFailure.AUTHENTICATION),
        (408, CallFailure.TIMEOUT),
        (480, CallFailure.NO_ANSWER),
        (486, CallFailure.BUSY),
        (487, CallFailure.CANCELLED),
        (488, CallFailure.NOT_ACCEPTABLE),
        (500, CallFailure.ERROR),
        (503, CallFailure.UNREACHABLE),
        (599, CallFailure.ERROR),
        (600, CallFailure.BUSY),
        (603, CallFailure.DECLINED),
        (604, CallFailure.NOT_FOUND),
        (606, CallFailure.NOT_ACCEPTABLE),
        (699, CallFailure.DECLINED),
    ],
)
def test_a_status_alone_tells_the_failure(status: int, failure: CallFailure) -> None:
    assert failure_of(status, Headers()) is failure


def test_503_that_asks_to_wait_is_overload() -> None:
    assert failure_of(503, Headers([("Retry-After", "5")])) is CallFailure.OVERLOAD


@pytest.mark.parametrize(
    ("cause", "failure"),
    [
        (1, CallFailure.NOT_FOUND),
        (17, CallFailure.BUSY),
        (18, CallFailure.NO_ANSWER),
        (19, CallFailure.NO_ANSWER),
        (21, CallFailure.DECLINED),
        (27, CallFailure.UNREACHABLE),
        (34, CallFailure.OVERLOAD),
    ],
)
def test_the_cause_of_the_telephone_network_knows_better_than_the_status(cause: int, failure: CallFailure) -> None:
    assert failure_of(500, q850(cause)) is failure


@pytest.mark.parametrize("cause", [16, 31, 127, 999, "x", ""])
def test_a_cause_that_says_nothing_leaves_it_to_the_status(cause: object) -> None:
    assert failure_of(486, q850(cause)) is CallFailure.BUSY


@pytest.mark.parametrize(
    ("status", "failure"),
    [(487, CallFailure.CANCELLED), (401, CallFailure.AUTHENTICATION), (302, CallFailure.REDIRECTED)],
)
def test_what_we_did_ourselves_no_cause_explains_away(status: int, failure: CallFailure) -> None:
    assert failure_of(status, q850(17)) is failure


def test_the_first_reason_of_a_protocol_counts_and_a_broken_header_is_none() -> None:
    headers = Headers([("Reason", "SIP;cause=600, q.850 ;cause=21"), ("Reason", "Q.850;cause=1")])
    assert (read_cause(headers, "Q.850"), read_cause(headers, "SIP"), read_cause(headers, "X")) == (21, 600, None)
    assert read_cause(Headers([("Reason", 'Q.850;text="')]), "Q.850") is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5), ("18000;duration=3600", 18000), ("120 (I'm in a meeting)", 120), ("soon", None), ("-1", None)],
)
def test_retry_after_is_read_without_what_is_said_around_it(value: str, seconds: int | None) -> None:
    """RFC 3261 20.33."""
    assert read_retry_after_s(Headers([("Retry-After", value)])) == seconds


def test_a_refused_call_tells_its_failure_and_when_to_try_again() -> None:
    headers = Headers([("Retry-After", "7"), ("Reason", "Q.850;cause=42")])
    refused = CallRefused(leg_id="1", status=503, reason="", headers=headers)
    assert (refused.failure, refused.retry_after_s) == (CallFailure.OVERLOAD, 7)
