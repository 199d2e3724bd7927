"""Why a call failed, in a handful of words: from the status of the final response and its Reason header.

The status says what a SIP element made of the failure, a Q.850 cause in Reason (RFC 3326, RFC 6432) what the telephone
network had said before: "503" with cause 17 is a busy line. So the cause decides wherever it is one that tells more.
"""

from __future__ import annotations

from enum import Enum

from gateway.errors import MessageError
from gateway.sip.grammar import Parameters, find_parameter, parse_parameters
from gateway.sip.headers import Headers


class CallFailure(Enum):
    """What became of a call that nobody took."""

    BUSY = "busy"
    """The line is in use."""
    DECLINED = "declined"
    """Somebody, or a rule of theirs, said no to this call."""
    NO_ANSWER = "no answer"
    """It rang, or was offered, and nobody took it."""
    UNREACHABLE = "unreachable"
    """The telephone, or the way to it, is out of order: not registered, no route, no response."""
    NOT_FOUND = "not found"
    """There is no such number, it was given up, or it is incomplete."""
    REJECTED = "rejected"
    """The network does not let us, or did not understand us."""
    CANCELLED = "cancelled"
    """We gave up ourselves."""
    REDIRECTED = "redirected"
    """It should be tried elsewhere, where we do not go."""
    NOT_ACCEPTABLE = "not acceptable"
    """The session was refused: no common codec, encryption demanded or unknown."""
    AUTHENTICATION = "authentication"
    """Our account was asked for and not taken."""
    OVERLOAD = "overload"
    """No capacity now: congestion, or the peer asks us to wait."""
    TIMEOUT = "timeout"
    """There was no response at all."""
    ERROR = "error"
    """Something broke on their side."""


_F = CallFailure

_BY_STATUS = {
    305: _F.REDIRECTED,
    380: _F.REDIRECTED,
    401: _F.AUTHENTICATION,
    404: _F.NOT_FOUND,
    406: _F.NOT_ACCEPTABLE,
    407: _F.AUTHENTICATION,
    408: _F.TIMEOUT,
    410: _F.NOT_FOUND,
    415: _F.NOT_ACCEPTABLE,
    430: _F.UNREACHABLE,
    433: _F.DECLINED,
    480: _F.NO_ANSWER,
    484: _F.NOT_FOUND,
    485: _F.NOT_FOUND,
    486: _F.BUSY,
    487: _F.CANCELLED,
    488: _F.NOT_ACCEPTABLE,
    493: _F.NOT_ACCEPTABLE,
    494: _F.NOT_ACCEPTABLE,
    502: _F.UNREACHABLE,
    503: _F.OVERLOAD,
    504: _F.TIMEOUT,
    600: _F.BUSY,
    603: _F.DECLINED,
    604: _F.NOT_FOUND,
    606: _F.NOT_ACCEPTABLE,
    607: _F.DECLINED,
    608: _F.DECLINED,
}
_BY_CLASS = {3: _F.REDIRECTED, 4: _F.REJECTED, 5: _F.ERROR, 6: _F.DECLINED}

_BY_CAUSE = {
    1: _F.NOT_FOUND,  # unallocated number
    2: _F.UNREACHABLE,  # no route to the transit network
    3: _F.UNREACHABLE,  # no route to the destination
    17: _F.BUSY,
    18: _F.NO_ANSWER,  # no user responding
    19: _F.NO_ANSWER,  # user alerted, no answer
    20: _F.UNREACHABLE,  # subscriber absent
    21: _F.DECLINED,  # call rejected
    22: _F.NOT_FOUND,  # number changed
    27: _F.UNREACHABLE,  # destination out of order
    28: _F.NOT_FOUND,  # address incomplete
    34: _F.OVERLOAD,  # no circuit or channel available
    38: _F.UNREACHABLE,  # network out of order
    41: _F.ERROR,  # temporary failure
    42: _F.OVERLOAD,  # switching equipment congestion
    44: _F.OVERLOAD,  # requested circuit not available
    47: _F.OVERLOAD,  # resource unavailable
    55: _F.REJECTED,  # incoming calls barred
    57: _F.REJECTED,  # bearer capability not authorised
    58: _F.NOT_ACCEPTABLE,  # bearer capability not available
    65: _F.NOT_ACCEPTABLE,  # bearer capability not implemented
    88: _F.NOT_ACCEPTABLE,  # incompatible destination
}
"""Causes that tell more than a status. Normal clearing (16), normal unspecified (31) and interworking (127) do not."""


def failure_of(status: int, headers: Headers) -> CallFailure:
    """What a final response, 300 to 699, means for the call."""
    known = _BY_STATUS.get(status)
    if known in (_F.CANCELLED, _F.AUTHENTICATION) or status // 100 == 3:
        # What we did ourselves, or may still do: no cause of a network behind it knows better.
        return known or _F.REDIRECTED
    cause = read_cause(headers, "Q.850")
    if cause is not None and cause in _BY_CAUSE:
        return _BY_CAUSE[cause]
    if status == 503 and cause is None and "Retry-After" not in headers:
        # RFC 3261 21.5.4: without it, the same as 500. PBXs say so where a telephone is not registered.
        return _F.UNREACHABLE
    return known or _BY_CLASS.get(status // 100, _F.ERROR)


def read_reasons(headers: Headers) -> list[tuple[str, int | None, str]]:
    """Protocol in capitals, cause and text of each value of Reason (RFC 3326); none where they cannot be read."""
    try:
        return [_read_reason(value) for value in headers.get_list("Reason")]
    except MessageError:
        return []


def read_cause(headers: Headers, protocol: str) -> int | None:
    """The cause that the first Reason of `protocol` gives."""
    return next((cause for name, cause, _ in read_reasons(headers) if name == protocol), None)


def read_retry_after_s(headers: Headers) -> int | None:
    """The seconds in Retry-After, without its comment and parameters; None where there are none."""
    value = (headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else None


def _read_reason(value: str) -> tuple[str, int | None, str]:
    protocol, semicolon, rest = value.partition(";")
    parameters: Parameters = parse_parameters(semicolon + rest)
    cause = find_parameter(parameters, "cause", "") or ""
    is_number = cause.isascii() and cause.isdigit() and len(cause) <= 3
    return protocol.strip().upper(), int(cause) if is_number else None, find_parameter(parameters, "text", "") or ""
