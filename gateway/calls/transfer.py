"""A blind transfer's outcome: what a SIP status means for the person who is being transferred.

The statuses come from the response to our REFER or, as message/sipfrag, from the PBX's NOTIFY (RFC 3515 2.4.5).
What ``SUCCEEDED`` promises is less than it sounds: the PBX has taken the caller over. Asterisk reports 200 as soon as
audio flows to the caller, ring-back included, so it does not promise that a human has answered.
"""

from __future__ import annotations

from enum import Enum


class TransferOutcome(Enum):
    """The end of one transfer attempt, in the words of a receptionist."""

    SUCCEEDED = "succeeded"
    BUSY = "busy"
    NO_ANSWER = "no answer"
    DECLINED = "declined"
    NOT_FOUND = "number not in service"
    UNREACHABLE = "not reachable"
    REFUSED = "not permitted"
    TIMED_OUT = "no result in time"
    FAILED = "failed"


_BY_STATUS = {
    401: TransferOutcome.REFUSED,
    403: TransferOutcome.REFUSED,
    404: TransferOutcome.NOT_FOUND,
    405: TransferOutcome.REFUSED,
    407: TransferOutcome.REFUSED,
    408: TransferOutcome.TIMED_OUT,
    410: TransferOutcome.NOT_FOUND,
    480: TransferOutcome.NO_ANSWER,
    484: TransferOutcome.NOT_FOUND,
    486: TransferOutcome.BUSY,
    487: TransferOutcome.NO_ANSWER,
    503: TransferOutcome.UNREACHABLE,
    600: TransferOutcome.BUSY,
    603: TransferOutcome.DECLINED,
    604: TransferOutcome.NOT_FOUND,
}


def outcome_of(status: int) -> TransferOutcome:
    """The meaning of a final `status`, 200 to 699."""
    if status < 300:
        return TransferOutcome.SUCCEEDED
    return _BY_STATUS.get(status, TransferOutcome.FAILED)
