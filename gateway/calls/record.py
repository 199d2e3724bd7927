"""What is remembered of a call, and who is told: the meeting point of calls and everything that keeps records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Protocol

from gateway.calls.answering import AnsweredBy
from gateway.calls.events import CallNotes, Outcome, RecordingConsent
from gateway.calls.transfers.refusal import Refusal
from gateway.calls.transfers.state import TransferState
from gateway.dialplan.messages import MessageKind
from gateway.dialplan.triggers import Escalation
from gateway.media.engine import LegStatistics
from gateway.realtime.session import SessionResumed, Usage

UNVERIFIED = "unverified"
"""What Identity headers (RFC 8224) are worth to us: their signatures are not checked."""


class CallDirection(Enum):
    """Who placed a call."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class Speaker(Enum):
    """Whose words they are."""

    CALLER = "caller"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Something said, begun ``at_ms`` after the ACK.

    Where the caller cut it off, ``heard_ms`` of its audio and about ``heard_text`` of its words were heard.
    """

    speaker: Speaker
    text: str
    at_ms: int
    item_id: str = ""
    heard_ms: int | None = None
    heard_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSummary:
    """What was recorded. ``file`` None: nothing. ``ended_early``: why that was before the call ended."""

    file: Path | None
    seconds: float
    ended_early: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenMessage:
    """What a caller left for the people here, ``at_ms`` after the ACK. ``callback`` is a number, or ""."""

    text: str
    callback: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftMessage:
    """What a caller left in a mailbox. ``file`` None: nothing was recorded, or it is not written yet."""

    kind: MessageKind
    mailbox: str
    file: Path | None
    seconds: float


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """One call's facts and figures; ``_s`` are monotonic seconds, ``started_at`` is wall-clock time."""

    call_id: str
    direction: CallDirection = CallDirection.INCOMING
    trunk: str
    caller: str
    called: str
    route: str
    identity: str | None = None  # `UNVERIFIED`: networks on the way vouch for the caller
    connected: str | None = None  # who is at the other end by now, as the trunk says; None: nobody else was named
    started_at: datetime
    offered_s: float
    answered_s: float | None = None
    established_s: float | None = None
    ended_s: float | None = None
    provider_ready_ms: int | None = None  # the session's own set-up time
    first_audio_ms: int | None = None  # from the ACK to the first sample queued for the caller
    codec: str = ""
    srtp: str | None = None  # crypto suite; None: plain RTP
    outcome: Outcome | None = None
    cause: str = ""
    session: str | None = None
    transfer_target: str | None = None
    transfer_state: TransferState | None = None  # how far the last attempt of a transfer came
    refusal: Refusal | None = None  # why nobody took a call of ours
    answered_by: AnsweredBy = AnsweredBy.UNKNOWN  # of a call of ours
    escalations: tuple[str, ...] = ()  # that have fired, in their order
    failed_verdicts: int = 0  # web services that did not say whether an escalation is to fire
    barge_ins: int = 0
    tools: int = 0
    tool_names: list[str] = field(default_factory=list)  # as the model named them, in the order in which it did
    failed_tools: int = 0
    messages: tuple[TakenMessage, ...] = ()
    left: tuple[LeftMessage, ...] = ()  # in mailboxes
    notes: tuple[str, ...] = ()  # the model's, for whoever takes the call over
    reconnects: int = 0  # sessions that took the place of one that was lost
    renewals: int = 0  # ... of one that was about to expire
    longest_gap_ms: int = 0  # without a session
    usage: Usage = field(default_factory=Usage)  # of the model
    transcription: Usage = field(default_factory=Usage)  # of writing down what the caller said
    cost: Decimal | None = None  # of both so far; None: nothing was used, or nobody knows its price
    currency: str = ""  # of the cost, ISO 4217
    media: LegStatistics | None = None
    one_way_audio: tuple[str, ...] = ()  # what was wrong with one direction, for a while at least
    consent: RecordingConsent | None = None  # to be recorded; None: not asked, or not decided
    recording: RecordingSummary | None = None
    transcript: list[Speech] = field(default_factory=list)  # what was said by both, in the order in which it was over

    def take(self, notes: CallNotes) -> None:
        """Take over what the state machine has written down, when the call is over."""
        self.outcome, self.cause = notes.outcome, notes.cause
        self.session, self.transfer_target = notes.session, notes.transfer_target
        self.transfer_state, self.refusal = notes.transfer_state, notes.refusal
        self.escalations = tuple(notes.escalations)
        self.consent, self.failed_tools = notes.consent, notes.failed_tools

    def note_resumed(self, resumed: SessionResumed) -> None:
        """A session has taken another one's place."""
        if resumed.is_planned:
            self.renewals += 1
        else:
            self.reconnects += 1
            self.longest_gap_ms = max(self.longest_gap_ms, resumed.gap_ms)

    @property
    def duration_s(self) -> float:
        """Seconds from the ACK to the end; 0 for a call that never came about."""
        if self.established_s is None or self.ended_s is None:
            return 0.0
        return self.ended_s - self.established_s

    @property
    def setup_ms(self) -> int | None:
        """Milliseconds from INVITE (of a call of ours: from the order to place it) to 200."""
        return None if self.answered_s is None else round((self.answered_s - self.offered_s) * 1000)


class CallObserver(Protocol):
    """Told of every call. Must not block, and must not raise."""

    def call_started(self, record: CallRecord) -> None:
        """The dialplan has decided about a new call."""

    def spoken(self, record: CallRecord, speech: Speech) -> None:
        """A sentence is over, and known in words."""

    def party_changed(self, record: CallRecord) -> None:
        """The trunk names somebody else at the other end: `CallRecord.connected`."""

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        """An escalation of the dialplan fires: `CallRecord.escalations` has its name."""

    def call_ended(self, record: CallRecord) -> None:
        """Everything the call owned has been released; the record is final."""
