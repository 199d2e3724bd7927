"""What the state machine of a call writes down for its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.calls.transfers.refusal import Refusal
from gateway.calls.transfers.state import TransferState


class Outcome(Enum):
    """How a call ended, for the record."""

    CALLER_HUNG_UP = "caller-hung-up"
    CALLEE_HUNG_UP = "callee-hung-up"
    CANCELLED = "cancelled"
    GATEWAY_HUNG_UP = "gateway-hung-up"
    TRANSFERRED = "transferred"
    REJECTED = "rejected"
    REFUSED = "refused"  # nobody took the call that we placed
    FAILED = "failed"


class RecordingConsent(Enum):
    """Whether a caller agreed to be recorded, for the record."""

    GIVEN = "given"  # elsewhere, as the dialplan says
    ANNOUNCED = "announced"  # told, and stayed
    AGREED = "agreed"  # by a key
    DECLINED = "declined"  # by a key
    UNANSWERED = "unanswered"  # pressed no key
    WITHDRAWN = "withdrawn"  # agreed, and ended it

    @property
    def is_granted(self) -> bool:
        """Whether the caller may be recorded."""
        return self in (RecordingConsent.GIVEN, RecordingConsent.ANNOUNCED, RecordingConsent.AGREED)


@dataclass(slots=True, kw_only=True)
class CallNotes:
    """What the call's record tells beyond its numbers; written by the state machine only."""

    outcome: Outcome | None = None
    cause: str = ""
    session: str | None = None
    transfer_target: str | None = None
    transfer_state: TransferState | None = None  # of the last attempt
    refusal: Refusal | None = None  # why nobody took the call that we placed
    escalations: list[str] = field(default_factory=list)
    consent: RecordingConsent | None = None  # None: the caller has not been asked, or not decided
    failed_tools: int = 0
