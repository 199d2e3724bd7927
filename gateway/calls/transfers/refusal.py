"""Why nobody took a call of ours, in the words of a receptionist: for people, models and records alike."""

from __future__ import annotations

from enum import Enum

from gateway.sip.failure import CallFailure, failure_of
from gateway.sip.message import Headers

NO_HEADERS = Headers()


class Refusal(Enum):
    """How a call to somebody failed."""

    BUSY = "busy"
    DECLINED = "declined"
    NO_ANSWER = "no answer"
    UNREACHABLE = "unreachable"
    NOT_FOUND = "not found"
    REJECTED = "rejected"
    """The PBX does not let us, or not with what we offer."""
    TIMED_OUT = "no result in time"
    """Of a transfer only: the PBX took it, and reported nothing."""
    FAILED = "failed"


_BY_FAILURE = {
    CallFailure.BUSY: Refusal.BUSY,
    CallFailure.DECLINED: Refusal.DECLINED,
    CallFailure.NO_ANSWER: Refusal.NO_ANSWER,
    CallFailure.CANCELLED: Refusal.NO_ANSWER,  # somebody gave up while it rang
    CallFailure.UNREACHABLE: Refusal.UNREACHABLE,
    CallFailure.OVERLOAD: Refusal.UNREACHABLE,
    CallFailure.TIMEOUT: Refusal.UNREACHABLE,
    CallFailure.NOT_FOUND: Refusal.NOT_FOUND,
    CallFailure.REJECTED: Refusal.REJECTED,
    CallFailure.AUTHENTICATION: Refusal.REJECTED,
    CallFailure.NOT_ACCEPTABLE: Refusal.REJECTED,
    CallFailure.REDIRECTED: Refusal.FAILED,
    CallFailure.ERROR: Refusal.FAILED,
}


def refusal_of(status: int, headers: Headers = NO_HEADERS) -> Refusal:
    """The meaning of a final `status`, 300 to 699, and of what its `headers` give as a reason."""
    return _BY_FAILURE[failure_of(status, headers)]
