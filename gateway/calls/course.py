"""What the phases of a call share: where it stands, its parts, and the moves that all of them make.

What an event means in a phase, and what follows, is said by `gateway.calls.phases`; whatever a phase ends with, the
call goes on with the dialplan's next action by `Course.go_on`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from gateway.calls.agreement import RecordingAgreement
from gateway.calls.call_state import CallState
from gateway.calls.escalating import Escalations
from gateway.calls.events import (
    AwaitPlayout,
    CallNotes,
    Command,
    Event,
    HangUp,
    Outcome,
    Reject,
    SessionLost,
    StartTimer,
    StopTimer,
    TimerName,
)
from gateway.calls.gathered_keys import GatheredKeys
from gateway.calls.protected_prompts import ProtectedPrompts
from gateway.calls.script import Script
from gateway.calls.stage import Stage
from gateway.calls.tool_answers import ToolAnswers
from gateway.calls.transfers.grant import TransferGrants
from gateway.calls.transfers.transfer import Transfer, TransferAttempt
from gateway.dialplan.model import Dialplan, RecordPlan

ANNOUNCEMENT_LIMIT_S = 15.0
RETRY_AFTER_S = 10


@dataclass(slots=True, kw_only=True, eq=False)
class Course:
    """One call under way. Its state is changed by `enter` alone; the phases write the other fields as they are."""

    plan: Dialplan
    script: Script  # what is still to be done
    stage: Stage  # what ACTING is about
    escalations: Escalations
    agreement: RecordingAgreement
    grants: TransferGrants
    tools: ToolAnswers
    protected: ProtectedPrompts
    notes: CallNotes
    is_outgoing: bool
    trunk: str
    max_call_s: float
    perform: Callable[[Course, datetime], list[Command]]  # `gateway.calls.phases.acting.perform`, see `go_on`
    on_state: Callable[[CallState, CallState], None]  # old, new
    on_transfer: Callable[[TransferAttempt], None]
    state: CallState = CallState.NEW
    established_at: datetime | None = None
    session: str | None = None  # the session that is open
    awaits_greeting: bool = False  # the caller has not heard the session yet
    loss: SessionLost | None = None  # the session went while the caller was elsewhere
    news: list[str] = field(default_factory=list)  # what the next session the caller is with has to be told
    gathered: GatheredKeys = field(default_factory=GatheredKeys)
    transfer: Transfer | None = None
    tool_call: str | None = None  # the model's call that waits for the transfer's outcome

    @property
    def is_answered(self) -> bool:
        """Whether caller and gateway have heard of each other."""
        return self.established_at is not None

    @property
    def contact(self) -> str:
        """Whom the caller is transferred to, or was last; "": nobody."""
        return "" if self.transfer is None else self.transfer.contact

    @property
    def record(self) -> RecordPlan | None:
        """How the session that is open is recorded; None: it is not."""
        return None if self.session is None else self.plan.sessions[self.session].record

    def enter(self, state: CallState) -> None:
        """The call stands there from now on."""
        if state is not self.state:
            old, self.state = self.state, state
            self.on_state(old, state)

    def go_on(self, at: datetime) -> list[Command]:
        """Carry on with the first of the remaining actions; with none left, go back to the session, or hang up."""
        return self.perform(self, at)

    def forget_caller(self) -> None:
        """Somebody else is on the line, who has heard and pressed nothing."""
        self.grants.forget_caller()
        self.protected.forget_caller()
        self.stage.forget_keys()
        self.gathered.forget()
        self.escalations.farewell.spare()

    def await_sentence(self, limit_s: float = ANNOUNCEMENT_LIMIT_S) -> list[Command]:
        """Let the model finish; digits that were pressed before are no longer of interest."""
        self.gathered.forget()
        return [
            StopTimer(timer=TimerName.DIGITS),
            StartTimer(timer=TimerName.ANNOUNCEMENT, delay_s=limit_s),
            AwaitPlayout(),
        ]

    def part(self, refusal: Reject, reason: str | None = None) -> Command:
        """The way to end a call at its stage: a final response while the caller waits for one, else BYE or CANCEL."""
        is_waiting = not self.is_answered and not self.is_outgoing and self.state is not CallState.ANSWERING
        return refusal if is_waiting else HangUp(reason=reason)

    def leave(self, cause: str) -> list[Command]:
        """End the call from our side, whatever stage it has reached."""
        part = self.part(Reject(status=480))
        return self.end(Outcome.GATEWAY_HUNG_UP if isinstance(part, HangUp) else Outcome.REJECTED, cause, part)

    def end(self, outcome: Outcome, cause: str, *commands: Command, has_hung_up: bool = False) -> list[Command]:
        """The call is over; `commands` are the farewell. `has_hung_up`: by the peer, and by nothing else."""
        self.notes.outcome, self.notes.cause = outcome, cause
        is_moving = self.state in (CallState.TRANSFERRING, CallState.JOINED)
        self.enter(CallState.ENDED)
        left: list[Command] = []
        if is_moving and self.transfer is not None:
            left = self.transfer.leave() if has_hung_up else self.transfer.abandon(cause)
        return [*left, *self.stage.end(), *commands]


Transitions: TypeAlias = dict[tuple[CallState, type[Event] | TimerName], Callable[..., list[Command]]]
"""(state, event) -> what decides, a function of the call, the event and the time. Of a timer its name is the event."""
