"""One call's decisions: `Call.step(event, at)` returns the commands that follow, and does nothing else.

::

    NEW ──Started──> PREPARING ──SessionOpened──> ANSWERING ──Established──> TALKING
     │                   │  │     (our call:) DIALLING ─> RINGING ──┘        │  ▲  │
     │                   │  └──SessionLost: fallback                         │  │  └─ hang_up tool ──> CLOSING
     └── reject          └──> ACTING, TRANSFERRING                           │  │
                          transfer (tool or digit): ANNOUNCING ──PlayoutEnded┘  │
                                                        │                       │
                                                        └──> TRANSFERRING ─failed
                                                                 ├──handed over──> ENDED
                                                                 └──> JOINED (the PBX could not; we carry the audio)

Where a budget is used up, TALKING becomes CONCLUDING: the model finishes its sentence, the escalation's actions follow.
Between ANSWERING and TALKING lies CONSENTING where the session is recorded: the caller is told or asked first.

The dialplan's actions are performed one after the other (`Script`); a call that has none left hangs up. Those that take
their time are a `Step` (`gateway.calls.steps`), and the call is ACTING meanwhile. A caller is answered only when what
they will hear is ready: the session is opened while the telephone rings, and when it cannot be opened the
dialplan's `provider_down` escalation decides, before a 200 was sent. For the same reason a call of ours is dialled when
its session is open. What happens within TRANSFERRING is `Transfer`'s to decide.

Which states follow is decided by the phases (`gateway.calls.phases`), each with its rows of the table; they share a
`Course`. What has a memory of its own is asked: `RecordingAgreement` who is recorded, `Escalations` what a fact, a key,
a lost session or a budget sets off, `TransferGrants` who may be dialled, `ToolAnswers` what the model hears at once,
`GatheredKeys` what was pressed, `ProtectedPrompts` what has to be heard before a session begins.

``CALL_TRANSITIONS`` is the whole machine. An event that stands in no row for the present state is late news (a
transfer reported after the caller hung up) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from gateway.calls.agreement import RecordingAgreement
from gateway.calls.call_state import CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.escalating import Escalations
from gateway.calls.events import CallNotes, Command, Event, TimerFired
from gateway.calls.phases.acting import ACTING, perform
from gateway.calls.phases.answering import ANSWERING
from gateway.calls.phases.concluding import CONCLUDING
from gateway.calls.phases.consenting import CONSENTING
from gateway.calls.phases.conversing import CONVERSING
from gateway.calls.phases.ending import ENDING
from gateway.calls.phases.interruptions import INTERRUPTIONS
from gateway.calls.phases.keys import KEYS
from gateway.calls.phases.tool_calls import TOOL_CALLS
from gateway.calls.phases.transferring import TRANSFERRING
from gateway.calls.protected_prompts import ProtectedPrompts
from gateway.calls.record import CallDirection
from gateway.calls.script import Script
from gateway.calls.stage import Stage
from gateway.calls.tool_answers import ToolAnswers
from gateway.calls.transfers.grant import TransferGrants, TransferLimits
from gateway.calls.transfers.transfer import TransferAttempt
from gateway.calls.variables import Variables
from gateway.dialplan.actions import Action
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.triggers import Escalation

__all__ = ["CALL_TRANSITIONS", "MAX_CALL_S", "PHASES", "Call", "CallState"]

MAX_CALL_S = 4 * 3600.0

PHASES: tuple[Transitions, ...] = (
    ANSWERING,
    CONSENTING,
    CONVERSING,
    ACTING,
    TRANSFERRING,
    CONCLUDING,
    ENDING,
    KEYS,
    TOOL_CALLS,
    INTERRUPTIONS,
)
CALL_TRANSITIONS: Transitions = {news: decides for phase in PHASES for news, decides in phase.items()}
"""(state, event) -> the function that decides. Everything a call can do stands here."""


class Call:
    """The state machine of one call under one dialplan.

    `on_state` hears of each change of state (old, new), `on_transfer` of each of a transfer's attempt, `on_escalation`
    of each escalation that fires; nothing else is called from here but `limits.take`.
    """

    def __init__(
        self,
        *,
        plan: Dialplan,
        actions: Sequence[Action],
        direction: CallDirection = CallDirection.INCOMING,
        own_numbers: Collection[str] = (),
        trunk: str = "",
        limits: TransferLimits | None = None,
        max_call_s: float = MAX_CALL_S,
        facts: CallFacts | None = None,
        on_state: Callable[[CallState, CallState], None] = lambda _old, _new: None,
        on_transfer: Callable[[TransferAttempt], None] = lambda _attempt: None,
        on_escalation: Callable[[Escalation], None] = lambda _escalation: None,
    ) -> None:
        notes, variables = CallNotes(), Variables(plan, facts)
        script = Script(plan, actions, variables)
        self._course = Course(
            plan=plan,
            script=script,
            stage=Stage(script),
            escalations=Escalations(plan, notes, facts, values=lambda: variables.values, on_fired=on_escalation),
            agreement=RecordingAgreement(notes),
            grants=TransferGrants(plan, TransferLimits() if limits is None else limits, own_numbers, trunk),
            tools=ToolAnswers(plan),
            protected=ProtectedPrompts(plan),
            notes=notes,
            is_outgoing=direction is CallDirection.OUTGOING,
            trunk=trunk,
            max_call_s=max_call_s,
            perform=perform,
            on_state=on_state,
            on_transfer=on_transfer,
        )

    def step(self, event: Event, at: datetime) -> list[Command]:
        """What follows from `event`, which happened `at` (aware wall-clock time, for opening hours)."""
        news = event.timer if isinstance(event, TimerFired) else type(event)
        decide = CALL_TRANSITIONS.get((self._course.state, news))
        return [] if decide is None else decide(self._course, event, at)

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        return self._course.state

    @property
    def notes(self) -> CallNotes:
        """What the call has written down by now, for its record."""
        return self._course.notes

    @property
    def variables(self) -> Mapping[str, str]:
        """What has been set by now, by name."""
        return self._course.script.variables.values
