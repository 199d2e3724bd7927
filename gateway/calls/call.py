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

Which states follow is decided here; what has a memory of its own is asked: `RecordingAgreement` who is recorded,
`Escalations` what a fact, a key, a lost session or a budget sets off, `TransferGrants` who may be dialled,
`ToolAnswers` what the model hears at once, `GatheredKeys` what was pressed.

``CALL_TRANSITIONS`` is the whole machine. An event that stands in no row for the present state is late news (a
transfer reported after the caller hung up) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias, get_args

from gateway.calls import tool_answers
from gateway.calls.agreement import NO_LONGER_ASKING, RecordingAgreement
from gateway.calls.escalating import Escalations
from gateway.calls.escalation.events import FactNoticed, Interject
from gateway.calls.escalation.facts import ToolsBroken
from gateway.calls.events import (
    Answer,
    AskSummary,
    AwaitPlayout,
    BargeIn,
    BridgeAudio,
    BudgetReached,
    CallerLeft,
    CallerReplaced,
    CallerSpoke,
    CallNotes,
    CloseSession,
    Command,
    CommandFailed,
    Dial,
    DigitReceived,
    DrainBegan,
    DrainEnded,
    Established,
    Event,
    Greet,
    HangUp,
    HangUpAsked,
    JoinTarget,
    MediaLost,
    OpenSession,
    Outcome,
    Play,
    PlayoutEnded,
    Rang,
    RecordingConsent,
    Refused,
    Reject,
    ReplyToTool,
    Ring,
    SessionLost,
    SessionOpened,
    ShortenAnswers,
    Started,
    StartTimer,
    StopTimer,
    SummaryReady,
    TargetAnswered,
    TargetLeft,
    TargetPressed,
    TargetProgressed,
    TargetRefused,
    TellModel,
    TimerFired,
    TimerName,
    ToolAsked,
    ToolFailed,
    TransferReported,
    WhisperEnded,
)
from gateway.calls.gathered_keys import GatheredKeys
from gateway.calls.record import CallDirection
from gateway.calls.script import Script
from gateway.calls.stage import Stage
from gateway.calls.step_events import Speak, StepEvent
from gateway.calls.steps.make import make_step
from gateway.calls.steps.step import Step
from gateway.calls.tool_answers import ToolAnswers
from gateway.calls.transfer import Transfer, TransferAttempt
from gateway.calls.transfer_grant import TransferGrants, TransferLimits
from gateway.calls.transfer_state import TransferState
from gateway.calls.variables import Variables
from gateway.dialplan.actions import (
    Action,
    AnswerAction,
    AnswersAction,
    HangUpAction,
    HangUpAfterAction,
    QueueAction,
    RecordingAction,
    RecordingChange,
    RejectAction,
    RingAction,
    SayAction,
    SessionAction,
    SetAction,
    TellAction,
    TransferAction,
    VoicemailAction,
    keeps_talking,
)
from gateway.dialplan.contacts import SummaryWay, TransferMode
from gateway.dialplan.model import CallFacts, Consent, Dialplan, RecordPlan
from gateway.dialplan.template import Template
from gateway.dialplan.tools import SessionTool
from gateway.dialplan.triggers import Escalation

ANNOUNCEMENT_LIMIT_S = 15.0
CONCLUDING_LIMIT_S = 30.0
FRESH = timedelta(seconds=1)
"""How long after the answer a PBX may still be connecting the call, and refuse REFER for that alone."""
MAX_CALL_S = 4 * 3600.0
RETRY_AFTER_S = 10
ENDLESS = "the dialplan goes in circles"
HUNG_UP_AFTER = "hang_up_after"
SOMEBODY_ELSE = "somebody else is on the line"
PUT_THROUGH = "The caller has put another person through, who is on the line now. Greet them."


class CallState(Enum):
    """Where a call stands."""

    NEW = "new"
    PREPARING = "preparing"  # 180 sent (or already answered); the session is being opened
    DIALLING = "dialling"  # our INVITE is out
    RINGING = "ringing"  # it rings there, or early media is heard
    ANSWERING = "answering"  # 200 sent; the ACK is outstanding
    CONSENTING = "consenting"  # the caller is told that they are recorded, or asked whether they may be
    TALKING = "talking"  # caller and model hear each other
    ACTING = "acting"  # a step of the dialplan is under way: a file is played, a menu asked, a time waited
    ANNOUNCING = "announcing"  # a transfer was asked for; the model finishes its sentence
    TRANSFERRING = "transferring"  # REFER sent, or the target of an attended transfer is called
    JOINED = "joined"  # caller and target talk, and we carry their audio
    CONCLUDING = "concluding"  # a budget is used up; the model finishes its sentence, then the dialplan goes on
    CLOSING = "closing"  # the model asked to hang up and finishes its sentence
    ENDED = "ended"


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
        self.state = CallState.NEW
        self.notes = CallNotes()
        self._agreement = RecordingAgreement(self.notes)
        self._plan = plan
        self._script = Script(plan, actions, Variables(plan, facts))
        self._escalations = Escalations(
            plan, self.notes, facts, values=lambda: self._script.variables.values, on_fired=on_escalation
        )
        self._stage = Stage(self._script)  # what ACTING is about
        self._max_call_s = max_call_s
        self._is_outgoing = direction is CallDirection.OUTGOING
        self._trunk = trunk
        self._grants = TransferGrants(plan, TransferLimits() if limits is None else limits, own_numbers, trunk)
        self._on_state = on_state
        self._on_transfer = on_transfer
        self._established_at: datetime | None = None
        self._session: str | None = None  # the session that is open
        self._awaits_greeting = False  # the caller has not heard the session yet
        self._loss: SessionLost | None = None  # the session went while the caller was elsewhere
        self._gathered = GatheredKeys()
        self._transfer: Transfer | None = None
        self._tool_call: str | None = None  # the model's call that waits for the transfer's outcome
        self._tools = ToolAnswers(plan)

    def step(self, event: Event, at: datetime) -> list[Command]:
        """What follows from `event`, which happened `at` (aware wall-clock time, for opening hours)."""
        transition = CALL_TRANSITIONS.get((self.state, type(event)))
        return [] if transition is None else transition(self, event, at)

    def _enter(self, state: CallState) -> None:
        if state is not self.state:
            old, self.state = self.state, state
            self._on_state(old, state)

    def _end(self, outcome: Outcome, cause: str, *commands: Command) -> list[Command]:
        self.notes.outcome, self.notes.cause = outcome, cause
        is_moving = self.state in (CallState.TRANSFERRING, CallState.JOINED)
        self._enter(CallState.ENDED)
        left = self._transfer.leave() if is_moving and self._transfer is not None else []
        return [*left, *self._stage.end(), *commands]

    @property
    def variables(self) -> Mapping[str, str]:
        """What has been set by now, by name."""
        return self._script.variables.values

    @property
    def _is_answered(self) -> bool:
        return self._established_at is not None

    @property
    def _contact(self) -> str:
        return "" if self._transfer is None else self._transfer.contact

    def _part(self, refusal: Reject, reason: str | None = None) -> Command:
        """The way to end a call at its stage: a final response while the caller waits for one, else BYE or CANCEL."""
        is_waiting = not self._is_answered and not self._is_outgoing and self.state is not CallState.ANSWERING
        return refusal if is_waiting else HangUp(reason=reason)

    # The dialplan's actions.

    def _perform(self, at: datetime) -> list[Command]:
        """Carry on with the first of the remaining actions, or hang up when there is none."""
        commands: list[Command] = []
        while (action := self._script.first(at)) is not None:
            done = self._perform_at_once(action, at)
            if done is None:
                return [*commands, *self._perform_next(action, at)]
            self._script.drop_first()
            commands += done
        if self._script.is_endless:
            return [*commands, *self._leave(ENDLESS)]
        return [*commands, *self._go_back(at)]

    def _go_back(self, at: datetime) -> list[Command]:
        """Nothing is left: back to the session, or what follows from its loss meanwhile, or the end."""
        if self._session is not None:
            return self._back_to_session(at)
        if self._loss is not None:
            loss, self._loss = self._loss, None
            return self._on_session_lost(loss, at)
        return self._leave("dialplan ended")

    def _perform_at_once(self, action: Action, at: datetime) -> list[Command] | None:
        """What takes no time, and asks for no answered call; None: it does."""
        match action:
            case TellAction(text=text):
                return [TellModel(text=self._script.variables.told(text, at))]
            case HangUpAfterAction(seconds=seconds):
                return self._escalations.begin_farewell(seconds)
            case RecordingAction(change=change):
                return self._agreement.change(change)
            case AnswersAction():
                return [ShortenAnswers()]
            case RingAction() if self._is_answered or self._is_outgoing:
                return []
            case AnswerAction() if self._is_answered:
                return []
            case _:
                return None

    def _perform_next(self, action: Action, at: datetime) -> list[Command]:
        if isinstance(action, RejectAction):
            return self._reject(action)
        if isinstance(action, HangUpAction):
            return self._leave("dialplan")
        if isinstance(action, SessionAction) and self._session != action.name:
            return self._open_session(action)
        step = make_step(action, self._script.variables, at)
        if not self._is_answered and (step is None or step.needs_answer):
            return self._connect(None if step is None else step.opening, at)
        self._script.drop_first()
        if step is not None:
            return self._begin_step(step, at, action)
        if isinstance(action, TransferAction | QueueAction):
            return self._start_transfer_action(action, at)
        self._script.replace(())  # a session is the last that is done, also where it came of a menu
        return self._begin_session(at)

    def _connect(self, opening: Speak | None, at: datetime) -> list[Command]:
        """Answer, or place the call, once the text is ready that is to be heard first."""
        preparation = self._stage.preparation(opening, rings=not self._is_outgoing)
        if preparation is not None:
            return self._begin_step(preparation, at)
        self._enter(CallState.DIALLING if self._is_outgoing else CallState.ANSWERING)
        return [Dial() if self._is_outgoing else Answer()]

    def _begin_step(self, step: Step, at: datetime, action: Action | None = None) -> list[Command]:
        self._enter(CallState.ACTING)
        silent = [BridgeAudio(is_open=False)] if self._is_answered else []
        return [*silent, *self._go_on(self._stage.begin(step, at, action), at)]

    def _on_step_news(self, event: Event, at: datetime) -> list[Command]:
        return [] if self._stage.is_free else self._go_on(self._stage.hear(event, at), at)

    def _go_on(self, commands: list[Command], at: datetime) -> list[Command]:
        """Once the step is over, do what is left."""
        return [*commands, *self._perform(at)] if self._stage.is_free else commands

    def _begin_session(self, at: datetime) -> list[Command]:
        """Let the caller and the model talk; where they are recorded, once that is settled."""
        question = self._agreement.question(self._record)
        if question is None:
            return [*self._agreement.begin(self._record), *self._greet(at)]
        self._enter(CallState.CONSENTING)
        return [BridgeAudio(is_open=False), Play(file=question)]

    def _greet(self, at: datetime) -> list[Command]:
        self._awaits_greeting = False
        self._enter(CallState.TALKING)
        counted = self._escalations.begin_session()
        return [BridgeAudio(is_open=True), Greet(), *counted, *self._answer_what_waits(at)]

    def _back_to_session(self, at: datetime) -> list[Command]:
        """The caller was elsewhere, and is back with the model."""
        if self._awaits_greeting:
            return self._begin_session(at)
        self._enter(CallState.TALKING)
        return [BridgeAudio(is_open=True), *self._answer_what_waits(at)]

    def _answer_what_waits(self, at: datetime) -> list[Command]:
        """What was set off while the caller was elsewhere."""
        commands = self._answer_facts(at)
        return [*commands, *self._answer_budget(at)] if self.state is CallState.TALKING else commands

    def _open_session(self, action: SessionAction) -> list[Command]:
        self._enter(CallState.PREPARING)
        self._session = None  # one that is open is left
        ringing: list[Command] = [] if self._is_answered or self._is_outgoing else [Ring()]
        return [*ringing, OpenSession(name=action.name, variables=self._script.variables.values)]

    def _reject(self, action: RejectAction) -> list[Command]:
        if self._is_answered or self._is_outgoing:
            return self._leave(f"rejected {action.status}")
        refusal = Reject(status=action.status, reason=action.reason or None)
        return self._end(Outcome.REJECTED, f"dialplan {action.status}", refusal)

    def _leave(self, cause: str) -> list[Command]:
        """End the call from our side, whatever stage it has reached."""
        part = self._part(Reject(status=480))
        return self._end(Outcome.GATEWAY_HUNG_UP if isinstance(part, HangUp) else Outcome.REJECTED, cause, part)

    def _on_started(self, _event: Started, at: datetime) -> list[Command]:
        return self._perform(at)

    def _on_session_opened(self, _event: SessionOpened, at: datetime) -> list[Command]:
        action = self._script.first(at)
        assert isinstance(action, SessionAction)  # noqa: S101 - PREPARING is entered for a session action only
        self._session = self.notes.session = action.name
        self._awaits_greeting = True
        self._loss = None
        return self._perform(at)

    def _on_session_lost(self, event: SessionLost, at: datetime) -> list[Command]:
        """The model is gone: the dialplan's fallback, or an honest refusal."""
        session = self._session or self._awaited_session(at)
        self._session = None
        self._gathered.forget()
        actions = None if self._is_unanswered_call_of_ours else self._escalations.on_session_lost(at, session)
        if actions is not None:
            self._script.replace(actions)
            return [BridgeAudio(is_open=False), *self._perform(at)]
        refusal = Reject(status=503, retry_after_s=RETRY_AFTER_S)
        part = self._part(refusal, 'SIP;cause=503;text="speech service lost"')
        return self._end(Outcome.FAILED, event.reason, part)

    def _awaited_session(self, at: datetime) -> str | None:
        """The session that is being opened, or was the last."""
        action = self._script.first(at) if self.state is CallState.PREPARING else None
        return action.name if isinstance(action, SessionAction) else self.notes.session

    @property
    def _is_unanswered_call_of_ours(self) -> bool:
        return self._is_outgoing and not self._is_answered

    def _on_session_lost_unused(self, event: SessionLost, _at: datetime) -> list[Command]:
        """The session went while the caller is elsewhere; it is missed when they come back."""
        self._session, self._loss = None, event
        return []

    def _on_rang(self, _event: Rang, _at: datetime) -> list[Command]:
        self._enter(CallState.RINGING)
        return []

    def _on_refused(self, event: Refused, _at: datetime) -> list[Command]:
        self.notes.refusal = event.refusal
        return self._end(Outcome.REFUSED, f"{event.refusal.value} ({event.status} {event.reason})")

    def _on_established(self, _event: Established, at: datetime) -> list[Command]:
        self._established_at = at
        return [StartTimer(timer=TimerName.LIMIT, delay_s=self._max_call_s), *self._perform(at)]

    # Recording.

    @property
    def _record(self) -> RecordPlan | None:
        return None if self._session is None else self._plan.sessions[self._session].record

    def _on_consent_played(self, _event: PlayoutEnded, at: datetime) -> list[Command]:
        """Who stays after an announcement agrees; after a question a key decides."""
        record = self._record
        if record is not None and record.consent is Consent.ASK:
            return [StartTimer(timer=TimerName.CONSENT, delay_s=record.wait_s)]
        return self._settle_consent(RecordingConsent.ANNOUNCED, at)

    def _on_consent_digit(self, event: DigitReceived, at: datetime) -> list[Command]:
        consent = self._agreement.answer(event.digit, self._record)
        if consent is not None:
            return self._settle_consent(consent, at)
        return self._on_digit(event, at)

    def _settle_consent(self, consent: RecordingConsent, at: datetime) -> list[Command]:
        return [*self._agreement.settle(consent), *self._greet(at)]

    def _change_recording_by_key(self, changes: Sequence[RecordingChange], at: datetime) -> list[Command]:
        """Whatever the call is doing goes on; a model that talks is interrupted and told, so that the caller knows."""
        commands = [command for change in changes for command in self._agreement.change(change)]
        if self.state is CallState.CONSENTING and self.notes.consent is not None:
            return self._settle_consent(self.notes.consent, at)
        if self.state is not CallState.TALKING:
            return commands
        done = f"The recording of this call was changed: {changes[-1].value}."
        told = TellModel(text=done if commands else "This call is not being recorded.")
        return [BargeIn(), *commands, told]

    def _on_session_lost_unheard(self, event: SessionLost, at: datetime) -> list[Command]:
        return [*NO_LONGER_ASKING, *self._on_session_lost(event, at)]

    def _on_caller_replaced_unheard(self, _event: CallerReplaced, at: datetime) -> list[Command]:
        """Who is on the line now has not heard what was played to the other one."""
        self._grants.forget_caller()
        return self._begin_session(at)

    # While caller and model talk.

    def _on_caller_spoke(self, _event: CallerSpoke, _at: datetime) -> list[Command]:
        return [BargeIn()]

    def _on_step_digit(self, event: DigitReceived, at: datetime) -> list[Command]:
        """A key of the step's own, or one that the dialplan has something else for, or none: the step says so."""
        if self._stage.is_trailing(event, at):
            return []
        self._note_key()
        commands = None if self._stage.takes(event.digit) else self._escalate_by_key(event, at)
        return self._on_step_news(event, at) if commands is None else commands

    def _on_digit(self, event: DigitReceived, at: datetime) -> list[Command]:
        if self._stage.is_trailing(event, at):
            return []
        self._note_key()
        commands = self._escalate_by_key(event, at)
        if commands is not None:
            return commands
        is_heard = self.state is CallState.TALKING and self._session is not None
        return self._gathered.add(event.digit) if is_heard else []

    def _on_digit_while_preparing(self, event: DigitReceived, at: datetime) -> list[Command]:
        """A caller who waits in silence for a session may have had enough of it."""
        return self._on_digit(event, at) if self._is_answered else []

    def _note_key(self) -> None:
        self._grants.note_key()
        self._script.note_caller()

    def _escalate_by_key(self, event: DigitReceived, at: datetime) -> list[Command] | None:
        """What the dialplan wants of a key; None: nothing."""
        actions = self._escalations.on_key(event.digit, at, self._session)
        if actions is None:
            return None
        changes = [action.change for action in actions if isinstance(action, RecordingAction)]
        if len(changes) == len(actions):
            return self._change_recording_by_key(changes, at)
        if keeps_talking(actions):
            return self._go_on_besides(actions, at)
        return [] if self._is_announced(actions, at) else self._interrupt(actions, at)

    def _go_on_besides(self, actions: Sequence[Action], at: datetime) -> list[Command]:
        """Do `actions`, which end nothing: a step that has to be interrupted for them is repeated."""
        is_heard = any(isinstance(action, SayAction) for action in actions)
        if self.state in (CallState.TALKING, CallState.ANNOUNCING) or not (is_heard or self.state in INTERRUPTED):
            return self._keep_talking(actions, at)
        return self._interrupt((*actions, *self._stage.undone, *self._script.remaining), at)

    def _on_fact(self, event: FactNoticed, at: datetime) -> list[Command]:
        """Something that an escalation may wait for; it fires now, or when the caller is back with the model."""
        return [*self._escalations.notice(event.fact, at, self._session), *self._answer_facts(at)]

    def _answer_facts(self, at: datetime) -> list[Command]:
        commands: list[Command] = []
        while (actions := self._escalations.take(*self._freedom)) is not None:
            if keeps_talking(actions):
                commands += self._keep_talking(actions, at)
            elif not self._is_announced(actions, at):
                commands += self._interrupt(actions, at)
        return commands

    @property
    def _freedom(self) -> tuple[bool, bool]:
        """Whether something can be said to the caller in passing, and whether what is said can be broken off."""
        return self.state is CallState.TALKING, self.state in INTERRUPTED

    def _is_announced(self, actions: Sequence[Action], at: datetime) -> bool:
        """Whether the caller is about to be connected with whom `actions` want first."""
        first = actions[0]
        if self.state is not CallState.ANNOUNCING or not isinstance(first, TransferAction) or first.number is not None:
            return False
        return self._grants.leads_to(first.contact, at) == self._contact

    def _keep_talking(self, actions: Sequence[Action], at: datetime) -> list[Command]:
        """What is done while the conversation goes on."""
        variables = self._script.variables
        commands: list[Command] = []
        for action in actions:
            if isinstance(action, SayAction):
                commands.append(Interject(text=variables.spoken(action.text, at)))
            elif isinstance(action, SetAction):
                variables.set({name: variables.text(text, at) for name, text in action.values.items()})
            else:
                commands += self._perform_at_once(action, at) or []
        return commands

    def _interrupt(self, actions: Sequence[Action], at: datetime) -> list[Command]:
        """Break off whatever is said or done, and go on with `actions`."""
        self._script.replace(actions)
        self._gathered.forget()
        quiet = (StopTimer(timer=TimerName.DIGITS), StopTimer(timer=TimerName.ANNOUNCEMENT), BargeIn())
        left: Sequence[Command] = self._stage.leave()
        if self.state is CallState.PREPARING:
            left = (CloseSession(),)
        elif self.state is CallState.CONSENTING:
            left = NO_LONGER_ASKING
        return [*self._drop_announced(), *left, *quiet, *self._perform(at)]

    def _drop_announced(self) -> list[Command]:
        """A transfer, or an end, that was announced does not come about; the model, which waits for it, is told."""
        tool_call, self._tool_call = self._tool_call, None
        if self.state is CallState.ANNOUNCING and self._transfer is not None:
            transfer, self._transfer = self._transfer, None
            self._grants.take_back(transfer.contact)
        if tool_call is None or self._session is None:
            return []
        output = {"status": "failed", "reason": "the caller was sent elsewhere"}
        return [ReplyToTool(call_id=tool_call, output=output, respond=False)]

    def _on_timer(self, event: TimerFired, at: datetime) -> list[Command]:
        match event.timer, self.state:
            case TimerName.LIMIT, _:
                return self._end(Outcome.GATEWAY_HUNG_UP, "limits.max_call", HangUp())
            case TimerName.CONSENT, CallState.CONSENTING:
                return self._settle_consent(RecordingConsent.UNANSWERED, at)
            case TimerName.STEP, CallState.ACTING:
                return self._on_step_news(event, at)
            case TimerName.TALK, _:
                return [*self._escalations.on_minutes(at, self._session), *self._answer_facts(at)]
            case TimerName.FAREWELL, state:
                is_due = self._escalations.farewell.expire()
                return self._leave(HUNG_UP_AFTER) if is_due and state is CallState.TALKING else []
            case TimerName.DIGITS, CallState.TALKING:
                return self._gathered.tell()
            case TimerName.ANNOUNCEMENT, CallState.ANNOUNCING:
                return self._begin_transfer()
            case TimerName.RING | TimerName.ACCEPT | TimerName.JOIN | TimerName.RETRY, CallState.TRANSFERRING:
                return self._on_transfer_news(event, at)
            case TimerName.ANNOUNCEMENT, CallState.CONCLUDING:
                return self._on_concluded(PlayoutEnded(), at)
            case TimerName.ANNOUNCEMENT, CallState.CLOSING:
                return self._on_closing(PlayoutEnded(), at)
            case _:
                return []

    def _on_tool(self, event: ToolAsked, at: datetime) -> list[Command]:
        if self._tools.is_repeated(event):
            return []
        if not self._tools.is_offered(event, self._session):
            return [tool_answers.refusal(event, "there is no such tool")]
        if event.name == SessionTool.TRANSFER:
            return self._on_transfer_tool(event, at)
        if event.name == SessionTool.HANG_UP:
            self._tool_call = event.call_id
            self._enter(CallState.CLOSING)
            return self._await_sentence()
        return [tool_answers.run(event)]

    def _on_transfer_tool(self, event: ToolAsked, at: datetime) -> list[Command]:
        named = event.arguments.get("contact")
        contact = named if isinstance(named, str) else ""
        if self._grants.has_to_ask(contact, event, at):
            return [tool_answers.question(event, contact)]
        self._tool_call = event.call_id
        number = event.arguments.get("number")
        return self._start_transfer(contact, at, announced=True, number=number if isinstance(number, str) else "")

    def _on_tool_failed(self, _event: ToolFailed, at: datetime) -> list[Command]:
        self.notes.failed_tools += 1
        return self._on_fact(FactNoticed(fact=ToolsBroken(count=self.notes.failed_tools)), at)

    def _await_sentence(self, limit_s: float = ANNOUNCEMENT_LIMIT_S) -> list[Command]:
        """Let the model finish; digits that were pressed before are no longer of interest."""
        self._gathered.forget()
        return [
            StopTimer(timer=TimerName.DIGITS),
            StartTimer(timer=TimerName.ANNOUNCEMENT, delay_s=limit_s),
            AwaitPlayout(),
        ]

    def _on_tool_while_leaving(self, event: ToolAsked, _at: datetime) -> list[Command]:
        return [] if self._tools.is_repeated(event) else self._tools.while_leaving(event, self._session)

    def _on_tool_unheard(self, event: ToolAsked, _at: datetime) -> list[Command]:
        return [] if self._tools.is_repeated(event) else self._tools.while_unheard(event)

    # Transfers.

    def _start_transfer_action(self, action: TransferAction | QueueAction, at: datetime) -> list[Command]:
        if isinstance(action, QueueAction):
            return self._start_transfer(action.contact, at, announced=False, is_queue=True)
        number = "" if action.number is None else self._script.variables.text(action.number, at)
        return self._start_transfer(action.contact, at, announced=False, number=number)

    def _start_transfer(
        self, contact: str, at: datetime, *, announced: bool, number: str = "", is_queue: bool = False
    ) -> list[Command]:
        """Begin with the contact's first target, or at `number` where it has a pattern.

        Into a queue the PBX is asked to put the caller, whatever the mode.
        """
        granted = self._grants.grant(contact, at, number, is_queue=is_queue)
        if isinstance(granted, str):
            mailbox = self._grants.mailbox(contact, at)
            follows = self._leave_message(mailbox, at) if mailbox else self._transfer_failed(granted, at)
            return [self._grants.note(contact, granted), *follows]
        known = self._plan.contacts[granted.contact]
        self._transfer = Transfer(
            contact=granted.contact,
            targets=granted.targets,
            mode=granted.mode,
            ring_s=granted.ring_s,
            acceptance=known.acceptance,
            music=known.music,
            trunk=None if known.trunk == self._trunk else known.trunk,
            awaits_summary=SummaryWay.HEADER in known.ways and granted.mode is not TransferMode.BLIND,
            on_state=self._note_transfer,
        )
        asking: list[Command] = []
        if known.webhook is not None or (known.ways and granted.mode is not TransferMode.BLIND):
            asking = [AskSummary(contact=known.name, mode=granted.mode)]
        if announced:
            self._enter(CallState.ANNOUNCING)
            return [*asking, *self._await_sentence()]
        return [*asking, *self._begin_transfer()]

    def _begin_transfer(self) -> list[Command]:
        transfer = self._transfer
        assert transfer is not None  # noqa: S101 - made before ANNOUNCING and TRANSFERRING are entered
        self.notes.transfer_target = transfer.contact
        self._enter(CallState.TRANSFERRING)
        return [StopTimer(timer=TimerName.ANNOUNCEMENT), BridgeAudio(is_open=False), *transfer.begin()]

    def _on_announced(self, _event: PlayoutEnded, _at: datetime) -> list[Command]:
        return self._begin_transfer()

    def _on_transfer_news(self, event: Event, at: datetime) -> list[Command]:
        transfer = self._transfer
        if transfer is None:
            return []
        commands = transfer.step(event, is_fresh=self._is_fresh(at))
        if not transfer.is_over:
            return commands
        match transfer.state:
            case TransferState.HANDED_OVER:
                return self._end(Outcome.TRANSFERRED, transfer.contact, *commands, HangUp())
            case TransferState.BRIDGED:
                self._enter(CallState.JOINED)
                return [*commands, *self._agreement.join_contact(self._record), CloseSession(), JoinTarget()]
            case _:
                self._transfer = None
                if mailbox := self._plan.contacts[transfer.contact].mailbox:
                    return [*commands, *self._leave_message(mailbox, at)]
                told = "" if transfer.refusal is None else transfer.refusal.value
                return commands + self._transfer_failed(transfer.why, at, told)

    def _is_fresh(self, at: datetime) -> bool:
        return self._established_at is not None and at - self._established_at < FRESH

    def _note_transfer(self, attempt: TransferAttempt) -> None:
        self.notes.transfer_state = attempt.state
        self._on_transfer(attempt)

    def _transfer_failed(self, why: str, at: datetime, in_our_words: str = "") -> list[Command]:
        """The caller is still here: on with the next action, and behind the last one back to the model, told why.

        `why` may hold what the far end wrote, as a tool's result may; a message of ours says it `in_our_words`.
        """
        self.notes.transfer_target = None
        tool_call, self._tool_call = self._tool_call, None
        news = f"The transfer failed: {in_our_words or why}. Tell the caller, and offer other help."
        if tool_call is None and self._script.remaining:
            self._script.put_last((TellAction(text=Template(parts=(news,))),))
            return self._perform(at)
        if self._session is None:
            return self._perform(at)
        told: Command = TellModel(text=news)
        if tool_call is not None:
            told = ReplyToTool(call_id=tool_call, output={"status": "failed", "reason": why})
        return [*self._back_to_session(at), told]

    def _leave_message(self, mailbox: str, at: datetime) -> list[Command]:
        """Nobody was reached: the caller may leave a message, and does not go back to the model."""
        self.notes.transfer_target = self._tool_call = self._session = self._loss = None
        self._script.put_first((VoicemailAction(mailbox=mailbox),))
        return [CloseSession(), *self._perform(at)]

    def _on_target_left_joined(self, _event: TargetLeft, _at: datetime) -> list[Command]:
        return self._end(Outcome.TRANSFERRED, self._contact, HangUp())

    # Budgets.

    def _on_budget(self, event: BudgetReached, at: datetime) -> list[Command]:
        self._escalations.expect(event)
        return self._answer_budget(at)

    def _on_budget_elsewhere(self, event: BudgetReached, _at: datetime) -> list[Command]:
        self._escalations.expect_later(event)
        return []

    def _on_budget_late(self, event: BudgetReached, at: datetime) -> list[Command]:
        """The model is about to be silent already; what it has used up since decides what then follows."""
        return self._on_budget(event, at) if self._escalations.outdoes(event) else []

    def _answer_budget(self, at: datetime) -> list[Command]:
        """What the dialplan wants of a budget; where one is used up, the call goes on without the model, if at all."""
        budget = self._escalations.budget
        if budget is None:
            return []
        actions = self._escalations.on_budget(at, self._session)
        if not budget.is_final and keeps_talking(actions):
            self._escalations.settle_budget()
            return self._keep_talking(actions, at)
        self._script.replace(actions)
        self._enter(CallState.CONCLUDING)
        return [BridgeAudio(is_open=False, lets_finish=True), *self._await_sentence(CONCLUDING_LIMIT_S)]

    def _on_concluded(self, _event: PlayoutEnded, at: datetime) -> list[Command]:
        budget = self._escalations.settle_budget()
        quiet: list[Command] = [StopTimer(timer=TimerName.ANNOUNCEMENT)]
        if budget is not None and budget.is_final:
            self._session = self._loss = None
            quiet.append(CloseSession())
            if not self._script.remaining:
                return [*quiet, *self._leave(budget.limit)]
        return [*quiet, *self._perform(at)]

    # Endings.

    def _on_closing(self, _event: PlayoutEnded | SessionLost, _at: datetime) -> list[Command]:
        return self._end(Outcome.GATEWAY_HUNG_UP, "model", HangUp())

    def _on_caller_left(self, event: CallerLeft, _at: datetime) -> list[Command]:
        if self.state is CallState.JOINED:
            return self._end(Outcome.TRANSFERRED, self._contact)
        is_early = self.state in UNANSWERED and not self._is_answered
        during = f" during transfer to {self._contact}" if self.state is CallState.TRANSFERRING else ""
        hung_up = Outcome.CALLEE_HUNG_UP if self._is_outgoing else Outcome.CALLER_HUNG_UP
        return self._end(Outcome.CANCELLED if is_early else hung_up, event.cause + during)

    def _on_hang_up_asked(self, _event: HangUpAsked, _at: datetime) -> list[Command]:
        outcome = Outcome.GATEWAY_HUNG_UP if self._is_answered else Outcome.CANCELLED
        return self._end(outcome, "operator", self._part(Reject(status=480)))

    def _on_caller_replaced(self, _event: CallerReplaced, _at: datetime) -> list[Command]:
        self._grants.forget_caller()
        return [*self._agreement.stop(SOMEBODY_ELSE), TellModel(text=PUT_THROUGH)]

    def _on_caller_replaced_acting(self, _event: CallerReplaced, at: datetime) -> list[Command]:
        """Who is on the line now hears the step from its beginning, and the model is told when they are with it."""
        self._grants.forget_caller()
        commands = self._agreement.stop(SOMEBODY_ELSE)
        if self._session is not None and not self._awaits_greeting:
            self._script.put_last((TellAction(text=Template(parts=(PUT_THROUGH,))),))
        if not self._stage.is_for_the_ear:
            return commands
        self._script.put_first(self._stage.undone)
        return [*commands, *self._stage.leave(), *self._perform(at)]

    def _on_media_lost(self, event: MediaLost, _at: datetime) -> list[Command]:
        return self._end(Outcome.FAILED, event.cause, HangUp(reason='SIP;cause=408;text="no audio"'))

    def _on_command_failed(self, event: CommandFailed, _at: datetime) -> list[Command]:
        part = self._part(Reject(status=500), 'SIP;cause=500;text="internal error"')
        return self._end(Outcome.FAILED, event.reason, part)

    def _on_drain_began(self, _event: DrainBegan, _at: datetime) -> list[Command]:
        self._grants.drain()
        return []

    def _on_drain_ended(self, _event: DrainEnded, _at: datetime) -> list[Command]:
        part = self._part(Reject(status=503, retry_after_s=RETRY_AFTER_S), 'SIP;cause=503;text="shutting down"')
        return self._end(Outcome.GATEWAY_HUNG_UP if isinstance(part, HangUp) else Outcome.REJECTED, "drain", part)


TRANSFER_EVENTS: tuple[type[Event], ...] = (
    TransferReported,
    TargetProgressed,
    TargetAnswered,
    TargetRefused,
    TargetLeft,
    TargetPressed,
    WhisperEnded,
    SummaryReady,
)
STEP_EVENTS: tuple[type[Event], ...] = get_args(StepEvent)
UNANSWERED = (CallState.NEW, CallState.PREPARING, CallState.ACTING)
"""States in which a caller may be who was not answered yet, and is not about to be."""
HEARD_STATES = (
    CallState.CONSENTING,
    CallState.TALKING,
    CallState.ACTING,
    CallState.ANNOUNCING,
    CallState.CONCLUDING,
    CallState.CLOSING,
    CallState.JOINED,
)
"""States in which a caller who sends nothing is missed; a PBX that moves the caller may well be silent."""

UNHEARD = (CallState.DIALLING, CallState.RINGING, CallState.ANSWERING, CallState.CONSENTING, CallState.ACTING)
"""States in which a session may be open, and neither it nor the caller hears the other."""

INTERRUPTED = (CallState.TALKING, CallState.ANNOUNCING, CallState.CONCLUDING, CallState.CLOSING)
"""States in which the model talks, or says its last sentence: what a fact has set off breaks it off, as a key does."""

_BUDGET_WAITS = frozenset(CallState) - {
    CallState.NEW,
    CallState.TALKING,
    CallState.CONCLUDING,
    CallState.JOINED,
    CallState.CLOSING,
    CallState.ENDED,
}
"""States in which the caller is not with the model, or about to leave it."""

_Transition: TypeAlias = Callable[..., list[Command]]
_S = CallState

CALL_TRANSITIONS: dict[tuple[CallState, type[Event]], _Transition] = {
    (_S.NEW, Started): Call._on_started,
    (_S.PREPARING, SessionOpened): Call._on_session_opened,
    (_S.PREPARING, SessionLost): Call._on_session_lost,
    (_S.PREPARING, DigitReceived): Call._on_digit_while_preparing,
    (_S.DIALLING, Rang): Call._on_rang,
    **{(state, Established): Call._on_established for state in (_S.DIALLING, _S.RINGING, _S.ANSWERING)},
    **{(state, Refused): Call._on_refused for state in (_S.DIALLING, _S.RINGING)},
    **{(state, SessionLost): Call._on_session_lost for state in (_S.DIALLING, _S.RINGING)},
    (_S.ANSWERING, SessionLost): Call._on_session_lost_unused,
    **{(state, ToolAsked): Call._on_tool_unheard for state in UNHEARD},
    (_S.CONSENTING, PlayoutEnded): Call._on_consent_played,
    (_S.CONSENTING, DigitReceived): Call._on_consent_digit,
    (_S.CONSENTING, SessionLost): Call._on_session_lost_unheard,
    (_S.CONSENTING, CallerReplaced): Call._on_caller_replaced_unheard,
    (_S.TALKING, CallerSpoke): Call._on_caller_spoke,
    (_S.TALKING, DigitReceived): Call._on_digit,
    (_S.TALKING, ToolAsked): Call._on_tool,
    (_S.TALKING, SessionLost): Call._on_session_lost,
    (_S.TALKING, CallerReplaced): Call._on_caller_replaced,
    **{(_S.ACTING, news): Call._on_step_news for news in (PlayoutEnded, *STEP_EVENTS)},
    (_S.ACTING, DigitReceived): Call._on_step_digit,
    (_S.ACTING, SessionLost): Call._on_session_lost_unused,
    (_S.ACTING, CallerReplaced): Call._on_caller_replaced_acting,
    (_S.ANNOUNCING, CallerSpoke): Call._on_caller_spoke,
    (_S.ANNOUNCING, PlayoutEnded): Call._on_announced,
    (_S.ANNOUNCING, DigitReceived): Call._on_digit,
    (_S.ANNOUNCING, ToolAsked): Call._on_tool_while_leaving,
    (_S.ANNOUNCING, SessionLost): Call._on_session_lost_unused,
    **{(_S.TRANSFERRING, news): Call._on_transfer_news for news in TRANSFER_EVENTS},
    (_S.TRANSFERRING, ToolAsked): Call._on_tool_while_leaving,
    (_S.TRANSFERRING, SessionLost): Call._on_session_lost_unused,
    (_S.JOINED, TargetLeft): Call._on_target_left_joined,
    (_S.CONCLUDING, PlayoutEnded): Call._on_concluded,
    (_S.CONCLUDING, DigitReceived): Call._on_digit,
    (_S.CONCLUDING, ToolAsked): Call._on_tool_while_leaving,
    (_S.CONCLUDING, SessionLost): Call._on_session_lost_unused,
    (_S.TALKING, BudgetReached): Call._on_budget,
    (_S.CONCLUDING, BudgetReached): Call._on_budget_late,
    **{(state, BudgetReached): Call._on_budget_elsewhere for state in _BUDGET_WAITS},
    (_S.CLOSING, PlayoutEnded): Call._on_closing,
    (_S.CLOSING, DigitReceived): Call._on_digit,
    (_S.CLOSING, ToolAsked): Call._on_tool_while_leaving,
    (_S.CLOSING, SessionLost): Call._on_closing,
    **{(state, ToolFailed): Call._on_tool_failed for state in CallState if state is not _S.ENDED},
    **{(state, FactNoticed): Call._on_fact for state in CallState if state is not _S.ENDED},
    **{(state, TimerFired): Call._on_timer for state in CallState if state is not _S.ENDED},
    **{(state, CallerLeft): Call._on_caller_left for state in CallState if state is not _S.ENDED},
    **{(state, MediaLost): Call._on_media_lost for state in HEARD_STATES},
    **{(state, CommandFailed): Call._on_command_failed for state in CallState if state is not _S.ENDED},
    **{(state, HangUpAsked): Call._on_hang_up_asked for state in CallState if state is not _S.ENDED},
    **{(state, DrainBegan): Call._on_drain_began for state in CallState if state is not _S.ENDED},
    **{(state, DrainEnded): Call._on_drain_ended for state in CallState if state is not _S.ENDED},
}
"""(state, event) -> the method that decides. Everything a call can do stands here."""
