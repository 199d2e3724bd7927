"""One call's decisions: `Call.step(event, at)` returns the commands that follow, and does nothing else.

::

    NEW ──Started──> PREPARING ──SessionOpened──> ANSWERING ──Established──> TALKING
     │                   │                            │                      │  ▲  │
     │                   └──SessionLost: fallback     └──> PLAYING, REFERRING│  │  └─ hang_up tool ──> CLOSING
     └── reject                                                              │  │
                          transfer (tool or digit): ANNOUNCING ──PlayoutEnded┘  │
                                                        │                       │
                                                        └──> REFERRING ──failed─┘
                                                                 └──2xx──> ENDED

The dialplan's actions are performed one after the other; a call that has none left hangs up. A caller is answered only
when what they will hear is ready: the session is opened while the telephone rings, and when it cannot be opened the
dialplan's `provider_down` escalation decides, before a 200 was sent.

``CALL_TRANSITIONS`` is the whole machine. An event that stands in no row for the present state is late news (a
transfer reported after the caller hung up) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from gateway.calls.events import (
    Answer,
    AwaitPlayout,
    BargeIn,
    BridgeAudio,
    CallerLeft,
    CallerSpoke,
    CallNotes,
    Command,
    CommandFailed,
    DigitReceived,
    DrainBegan,
    DrainEnded,
    Established,
    Event,
    Greet,
    HangUp,
    MediaLost,
    OpenSession,
    Outcome,
    Play,
    PlayoutEnded,
    Refer,
    Reject,
    ReplyToTool,
    Ring,
    SessionLost,
    SessionOpened,
    Started,
    StartTimer,
    StopTimer,
    TellModel,
    TimerFired,
    TimerName,
    ToolAsked,
    TransferReported,
)
from gateway.calls.transfer import TransferOutcome, outcome_of
from gateway.dialplan.model import (
    Action,
    Dialplan,
    DigitPressed,
    HangUpAction,
    PlayAction,
    ProviderDown,
    RejectAction,
    SessionAction,
    SessionTool,
    TransferAction,
    TransferRefused,
)
from gateway.dialplan.targets import DialTarget

ANNOUNCEMENT_LIMIT_S = 15.0
SETTLE_S = 0.5
"""Between ACK and REFER: Asterisk refuses to transfer a call that it is still bridging (seen: 400, 500)."""
MAX_CALL_S = 4 * 3600.0
DIGIT_PAUSE_S = 1.5
MAX_DIGITS = 64
RETRY_AFTER_S = 10


class CallState(Enum):
    """Where a call stands."""

    NEW = "new"
    PREPARING = "preparing"  # 180 sent (or already answered); the session is being opened
    ANSWERING = "answering"  # 200 sent; the ACK is outstanding
    TALKING = "talking"  # caller and model hear each other
    PLAYING = "playing"  # a file is played
    ANNOUNCING = "announcing"  # a transfer was asked for; the model finishes its sentence
    REFERRING = "referring"  # REFER sent; the PBX is at work
    CLOSING = "closing"  # the model asked to hang up and finishes its sentence
    ENDED = "ended"


class Call:
    """The state machine of one incoming call under one dialplan.

    `on_state` hears of each change of state (old, new); nothing else is called from here.
    """

    def __init__(
        self,
        *,
        plan: Dialplan,
        actions: Sequence[Action],
        max_call_s: float = MAX_CALL_S,
        on_state: Callable[[CallState, CallState], None] = lambda _old, _new: None,
    ) -> None:
        self.state = CallState.NEW
        self.notes = CallNotes()
        self._plan = plan
        self._actions = list(actions)
        self._max_call_s = max_call_s
        self._on_state = on_state
        self._is_answered = False
        self._is_draining = False
        self._session: str | None = None  # the session that is open
        self._loss: SessionLost | None = None  # the session went while the caller was elsewhere
        self._digits = ""
        self._contact = ""
        self._targets: list[DialTarget] = []
        self._tool_call: str | None = None  # the model's call that waits for the transfer's outcome

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
        self._enter(CallState.ENDED)
        return list(commands)

    # The dialplan's actions.

    def _perform(self, at: datetime) -> list[Command]:
        """Carry on with the first of the remaining actions, or hang up when there is none."""
        if not self._actions:
            return self._back_to_session() if self._session is not None else self._leave("dialplan ended")
        action = self._actions[0]
        if isinstance(action, RejectAction):
            return self._reject(action)
        if isinstance(action, HangUpAction):
            return self._leave("dialplan")
        if isinstance(action, SessionAction) and self._session != action.name:
            return self._open_session(action)
        if not self._is_answered:
            self._enter(CallState.ANSWERING)
            return [Answer()]
        del self._actions[0]
        if isinstance(action, PlayAction):
            self._enter(CallState.PLAYING)
            return [BridgeAudio(is_open=False), Play(file=action.file)]
        if isinstance(action, TransferAction):
            return self._start_transfer(action.contact, at, announced=False)
        self._enter(CallState.TALKING)
        return [BridgeAudio(is_open=True), Greet()]

    def _back_to_session(self) -> list[Command]:
        """The caller was elsewhere, and is back with the model."""
        self._enter(CallState.TALKING)
        return [BridgeAudio(is_open=True)]

    def _open_session(self, action: SessionAction) -> list[Command]:
        self._enter(CallState.PREPARING)
        ringing: list[Command] = [] if self._is_answered else [Ring()]
        return [*ringing, OpenSession(name=action.name)]

    def _reject(self, action: RejectAction) -> list[Command]:
        if self._is_answered:
            return self._leave(f"rejected {action.status}")
        refusal = Reject(status=action.status, reason=action.reason or None)
        return self._end(Outcome.REJECTED, f"dialplan {action.status}", refusal)

    def _leave(self, cause: str) -> list[Command]:
        """End the call from our side, whatever stage it has reached."""
        if self._is_answered or self.state is CallState.ANSWERING:
            return self._end(Outcome.GATEWAY_HUNG_UP, cause, HangUp())
        return self._end(Outcome.REJECTED, cause, Reject(status=480))

    def _on_started(self, _event: Started, at: datetime) -> list[Command]:
        return self._perform(at)

    def _on_session_opened(self, _event: SessionOpened, at: datetime) -> list[Command]:
        action = self._actions[0]
        assert isinstance(action, SessionAction)  # noqa: S101 - PREPARING is entered for a session action only
        self._session = self.notes.session = action.name
        self._loss = None
        return self._perform(at)

    def _on_session_lost(self, event: SessionLost, at: datetime) -> list[Command]:
        """The model is gone: the dialplan's fallback, or an honest refusal."""
        self._session = None
        escalation = self._plan.react(ProviderDown())
        if escalation is not None and escalation.name not in self.notes.escalations:
            self.notes.escalations.append(escalation.name)
            self._actions = list(escalation.actions)
            return [BridgeAudio(is_open=False), *self._perform(at)]
        if self._is_answered or self.state is CallState.ANSWERING:
            return self._end(Outcome.FAILED, event.reason, HangUp(reason='SIP;cause=503;text="speech service lost"'))
        return self._end(Outcome.FAILED, event.reason, Reject(status=503, retry_after_s=RETRY_AFTER_S))

    def _on_session_lost_unused(self, event: SessionLost, _at: datetime) -> list[Command]:
        """The session went while the caller is elsewhere; it is missed when they come back."""
        self._session, self._loss = None, event
        return []

    def _on_established(self, _event: Established, at: datetime) -> list[Command]:
        self._is_answered = True
        return [StartTimer(timer=TimerName.LIMIT, delay_s=self._max_call_s), *self._perform(at)]

    def _on_played(self, _event: PlayoutEnded, at: datetime) -> list[Command]:
        return self._perform(at)

    # While caller and model talk.

    def _on_caller_spoke(self, _event: CallerSpoke, _at: datetime) -> list[Command]:
        return [BargeIn()]

    def _on_digit(self, event: DigitReceived, at: datetime) -> list[Command]:
        escalation = self._plan.react(DigitPressed(digit=event.digit))
        if escalation is not None:
            self.notes.escalations.append(escalation.name)
            self._digits = ""
            self._actions = list(escalation.actions)
            quiet = (StopTimer(timer=TimerName.DIGITS), StopTimer(timer=TimerName.ANNOUNCEMENT), BargeIn())
            return [*quiet, *self._perform(at)]
        if self.state is not CallState.TALKING or self._session is None or len(self._digits) >= MAX_DIGITS:
            return []
        self._digits += event.digit
        return [StartTimer(timer=TimerName.DIGITS, delay_s=DIGIT_PAUSE_S)]

    def _on_timer(self, event: TimerFired, at: datetime) -> list[Command]:
        match event.timer, self.state:
            case TimerName.LIMIT, _:
                return self._end(Outcome.GATEWAY_HUNG_UP, "limits.max_call", HangUp())
            case TimerName.DIGITS, CallState.TALKING:
                return self._tell_digits()
            case TimerName.ANNOUNCEMENT, CallState.ANNOUNCING:
                return self._refer()
            case TimerName.ANNOUNCEMENT, CallState.CLOSING:
                return self._on_closing(PlayoutEnded(), at)
            case _:
                return []

    def _tell_digits(self) -> list[Command]:
        if not self._digits:
            return []
        digits, self._digits = self._digits, ""
        return [TellModel(text=f"The caller pressed these telephone keys: {' '.join(digits)}")]

    def _on_tool(self, event: ToolAsked, at: datetime) -> list[Command]:
        if event.name not in self._offered_tools():
            return [_refusal(event.call_id, "there is no such tool")]
        if event.name == SessionTool.TRANSFER.value:
            contact = event.arguments.get("contact")
            self._tool_call = event.call_id
            return self._start_transfer(contact if isinstance(contact, str) else "", at, announced=True)
        self._enter(CallState.CLOSING)
        return self._await_sentence()

    def _await_sentence(self) -> list[Command]:
        """Let the model finish; digits that were pressed before are no longer of interest."""
        self._digits = ""
        return [
            StopTimer(timer=TimerName.DIGITS),
            StartTimer(timer=TimerName.ANNOUNCEMENT, delay_s=ANNOUNCEMENT_LIMIT_S),
            AwaitPlayout(),
        ]

    def _offered_tools(self) -> set[str]:
        """What the session was given; a model may still name something else."""
        if self._session is None:
            return set()
        return {tool.value for tool in self._plan.sessions[self._session].tools}

    def _on_tool_while_leaving(self, event: ToolAsked, _at: datetime) -> list[Command]:
        return [_refusal(event.call_id, "the call is already being transferred or ended", respond=False)]

    # Transfers.

    def _start_transfer(self, contact: str, at: datetime, *, announced: bool) -> list[Command]:
        """Begin with the contact's first target; only what the dialplan names is ever dialled."""
        if self._is_draining:
            return self._transfer_failed("this gateway is being shut down", at)
        resolved = self._plan.resolve_transfer(contact, at)
        if isinstance(resolved, TransferRefused):
            return self._transfer_failed(resolved.message, at)
        self._contact, self._targets = resolved.contact, list(resolved.targets)
        if announced:
            self._enter(CallState.ANNOUNCING)
            return self._await_sentence()
        if self.state is CallState.ANSWERING:
            self._enter(CallState.ANNOUNCING)
            return [StartTimer(timer=TimerName.ANNOUNCEMENT, delay_s=SETTLE_S)]
        return self._refer()

    def _refer(self) -> list[Command]:
        target = self._targets.pop(0)
        self.notes.transfer_target = self._contact
        self._enter(CallState.REFERRING)
        return [StopTimer(timer=TimerName.ANNOUNCEMENT), BridgeAudio(is_open=False), Refer(target=target)]

    def _on_announced(self, _event: PlayoutEnded, _at: datetime) -> list[Command]:
        return self._refer()

    def _on_transfer_reported(self, event: TransferReported, at: datetime) -> list[Command]:
        if not event.is_final:
            return []
        outcome = outcome_of(event.status)
        if outcome is TransferOutcome.SUCCEEDED:
            return self._end(Outcome.TRANSFERRED, self._contact, HangUp())
        if self._targets:
            return self._refer()
        return self._transfer_failed(f"{outcome.value} ({event.status} {event.reason})", at)

    def _transfer_failed(self, why: str, at: datetime) -> list[Command]:
        """The caller is still here: back to the model, which is told why; without one, to the next action."""
        self.notes.transfer_target = None
        tool_call, self._tool_call = self._tool_call, None
        if self._loss is not None:
            loss, self._loss = self._loss, None
            return self._on_session_lost(loss, at)
        if self._session is None:
            return self._perform(at)
        if tool_call is not None:
            told: Command = ReplyToTool(call_id=tool_call, output={"status": "failed", "reason": why})
        else:
            told = TellModel(text=f"The transfer failed: {why}. Tell the caller, and offer other help.")
        return [*self._back_to_session(), told]

    # Endings.

    def _on_closing(self, _event: PlayoutEnded | SessionLost, _at: datetime) -> list[Command]:
        return self._end(Outcome.GATEWAY_HUNG_UP, "model", HangUp())

    def _on_caller_left(self, event: CallerLeft, _at: datetime) -> list[Command]:
        is_early = self.state in (CallState.NEW, CallState.PREPARING) and not self._is_answered
        during = f" during transfer to {self._contact}" if self.state is CallState.REFERRING else ""
        return self._end(Outcome.CANCELLED if is_early else Outcome.CALLER_HUNG_UP, event.cause + during)

    def _on_media_lost(self, _event: MediaLost, _at: datetime) -> list[Command]:
        return self._end(Outcome.FAILED, "no audio from the caller", HangUp(reason='SIP;cause=408;text="no audio"'))

    def _on_command_failed(self, event: CommandFailed, _at: datetime) -> list[Command]:
        if self._is_answered or self.state is CallState.ANSWERING:
            return self._end(Outcome.FAILED, event.reason, HangUp(reason='SIP;cause=500;text="internal error"'))
        return self._end(Outcome.FAILED, event.reason, Reject(status=500))

    def _on_drain_began(self, _event: DrainBegan, _at: datetime) -> list[Command]:
        """A transfer that is under way goes on; there will be no other."""
        self._is_draining = True
        return []

    def _on_drain_ended(self, _event: DrainEnded, _at: datetime) -> list[Command]:
        if self._is_answered or self.state is CallState.ANSWERING:
            return self._end(Outcome.GATEWAY_HUNG_UP, "drain", HangUp(reason='SIP;cause=503;text="shutting down"'))
        return self._end(Outcome.REJECTED, "drain", Reject(status=503, retry_after_s=RETRY_AFTER_S))


def _refusal(call_id: str, why: str, *, respond: bool = True) -> ReplyToTool:
    output: Mapping[str, object] = {"status": "refused", "reason": why}
    return ReplyToTool(call_id=call_id, output=output, respond=respond)


_Transition: TypeAlias = Callable[..., list[Command]]
_S = CallState

CALL_TRANSITIONS: dict[tuple[CallState, type[Event]], _Transition] = {
    (_S.NEW, Started): Call._on_started,
    (_S.PREPARING, SessionOpened): Call._on_session_opened,
    (_S.PREPARING, SessionLost): Call._on_session_lost,
    (_S.ANSWERING, Established): Call._on_established,
    (_S.ANSWERING, SessionLost): Call._on_session_lost_unused,
    (_S.TALKING, CallerSpoke): Call._on_caller_spoke,
    (_S.TALKING, DigitReceived): Call._on_digit,
    (_S.TALKING, ToolAsked): Call._on_tool,
    (_S.TALKING, SessionLost): Call._on_session_lost,
    (_S.PLAYING, PlayoutEnded): Call._on_played,
    (_S.PLAYING, DigitReceived): Call._on_digit,
    (_S.PLAYING, SessionLost): Call._on_session_lost_unused,
    (_S.ANNOUNCING, CallerSpoke): Call._on_caller_spoke,
    (_S.ANNOUNCING, PlayoutEnded): Call._on_announced,
    (_S.ANNOUNCING, DigitReceived): Call._on_digit,
    (_S.ANNOUNCING, ToolAsked): Call._on_tool_while_leaving,
    (_S.ANNOUNCING, SessionLost): Call._on_session_lost_unused,
    (_S.REFERRING, TransferReported): Call._on_transfer_reported,
    (_S.REFERRING, ToolAsked): Call._on_tool_while_leaving,
    (_S.REFERRING, SessionLost): Call._on_session_lost_unused,
    (_S.CLOSING, PlayoutEnded): Call._on_closing,
    (_S.CLOSING, DigitReceived): Call._on_digit,
    (_S.CLOSING, ToolAsked): Call._on_tool_while_leaving,
    (_S.CLOSING, SessionLost): Call._on_closing,
    **{(state, TimerFired): Call._on_timer for state in CallState if state is not _S.ENDED},
    **{(state, CallerLeft): Call._on_caller_left for state in CallState if state is not _S.ENDED},
    **{(state, MediaLost): Call._on_media_lost for state in (_S.TALKING, _S.PLAYING, _S.ANNOUNCING, _S.CLOSING)},
    **{(state, CommandFailed): Call._on_command_failed for state in CallState if state is not _S.ENDED},
    **{(state, DrainBegan): Call._on_drain_began for state in CallState if state is not _S.ENDED},
    **{(state, DrainEnded): Call._on_drain_ended for state in CallState if state is not _S.ENDED},
}
"""(state, event) -> the method that decides. Everything a call can do stands here."""
