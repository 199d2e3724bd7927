"""What statuses mean for a person who waits to be connected."""

import pytest

from gateway.calls.transfers.refusal import Refusal, refusal_of
from gateway.sip.failure import CallFailure, failure_of
from gateway.sip.message import Headers


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (486, Refusal.BUSY),
        (600, Refusal.BUSY),
        (480, Refusal.NO_ANSWER),
        (487, Refusal.NO_ANSWER),
        (603, Refusal.DECLINED),
        (404, Refusal.NOT_FOUND),
        (484, Refusal.NOT_FOUND),
        (503, Refusal.UNREACHABLE),
        (408, Refusal.UNREACHABLE),
        (403, Refusal.REJECTED),
        (407, Refusal.REJECTED),
        (488, Refusal.REJECTED),
        (302, Refusal.FAILED),
        (500, Refusal.FAILED),
        (699, Refusal.DECLINED),
    ],
)
def test_status_has_a_meaning_a_receptionist_would_tell(status: int, refusal: Refusal) -> None:
    assert refusal_of(status) is refusal


def test_what_the_telephone_network_said_counts_more_than_the_status() -> None:
    assert refusal_of(503, Headers((("Reason", "Q.850;cause=17"),))) is Refusal.BUSY
    assert refusal_of(480, Headers((("Reason", "Q.850;cause=20"),))) is Refusal.UNREACHABLE


def test_every_failure_has_a_meaning() -> None:
    seen = {failure_of(status, Headers()) for status in range(300, 700)}
    assert {CallFailure.BUSY, CallFailure.OVERLOAD, CallFailure.REDIRECTED} - seen <= {CallFailure.OVERLOAD}
    assert all(isinstance(refusal_of(status), Refusal) for status in range(300, 700))
    overload = Headers((("Retry-After", "5"),))
    assert refusal_of(503, overload) is Refusal.UNREACHABLE
