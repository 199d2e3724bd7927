"""A caller's way to a contact: its targets one after the other, each attempt a run of `TRANSFER_TRANSITIONS`.

Pure as the call itself: events in, commands out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.calls.events import (
    AwaitSummary,
    CallerFound,
    CallTarget,
    Command,
    Event,
    HandOver,
    PlayRinging,
    Refer,
    ReleaseTarget,
    SeekCaller,
    StartTimer,
    StopTimer,
    SummaryReady,
    TargetAnswered,
    TargetLeft,
    TargetPressed,
    TargetProgressed,
    TargetRefused,
    TimerFired,
    TimerName,
    TransferReported,
    Whisper,
    WhisperEnded,
)
from gateway.calls.transfers.refusal import Refusal, refusal_of
from gateway.calls.transfers.state import TRANSFER_TRANSITIONS, TransferNews, TransferState
from gateway.dialplan.contacts import Acceptance, TransferMode
from gateway.dialplan.targets import DialTarget

RETRY_PAUSE_S = 0.2
MAX_TRIES = 5
"""REFERs sent for one attempt: Asterisk fails one (400, 500, by response or NOTIFY) for a call it is still bridging."""
TOO_EARLY = (400, 500)
JOIN_LIMIT_S = 4.0
"""How long a PBX may take to join caller and contact before we carry their audio; if it does later, we let go."""
RESULT_LIMIT_S = 3.0
"""How long a PBX may take to tell whether the contact, whose call to us has ended, has hung up or has the caller."""
SEEK_S = 1.0
"""How often a caller of whom no PBX tells is listened for then."""
WHISPERS = 2
"""How often whoever picked up is told who calls, unless they press a key before."""
WHISPER_LIMIT_S = 45.0
"""The longest that telling them once may take."""
CALLER_HUNG_UP = "the caller hung up"

_S, _N = TransferState, TransferNews
UNDONE = (_S.FAILED, _S.TIMED_OUT, _S.CALLER_GONE, _S.CALL_ENDED)
"""How an attempt ends that joins nobody; each has a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferAttempt:
    """How far the attempt to reach one target has come; `why` it failed, in words. `is_last`: no other one follows."""

    target: DialTarget
    state: TransferState
    why: str = ""
    is_last: bool = True


class Transfer:
    """The transfer of one caller to one contact. `on_state` hears of each change of an attempt's state.

    `music` is what the caller hears meanwhile, in place of the ring-back tone. `trunk` is another one than the
    caller's: no PBX can join the two, so we carry their audio at once. With `awaits_summary` nobody is called before it
    is there.
    """

    def __init__(
        self,
        *,
        contact: str,
        targets: Sequence[DialTarget],
        mode: TransferMode,
        ring_s: float,
        acceptance: Acceptance | None = None,
        music: Path | None = None,
        trunk: str | None = None,
        awaits_summary: bool = False,
        on_state: Callable[[TransferAttempt], None] = lambda _attempt: None,
    ) -> None:
        self.contact = contact
        self.mode = mode
        self.state = TransferState.REQUESTED
        self.why = ""
        """Of the last attempt that failed: for the model and the log."""
        self.refusal: Refusal | None = None
        self._targets = list(targets)
        self._target = self._targets[0]
        self._ring_s = ring_s
        self._acceptance = acceptance or Acceptance()
        self._music = music
        self._trunk = trunk
        self._awaits_summary = awaits_summary
        self._whispers = 0
        self._on_state = on_state
        self._tries = 0
        self._is_seeking = False  # the caller has been listened for, without success

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be tried or awaited."""
        return self.state in (_S.HANDED_OVER, _S.BRIDGED, *UNDONE)

    @property
    def _is_called(self) -> bool:
        """Whether it is we who call the target."""
        return self.mode is not TransferMode.BLIND

    def begin(self) -> list[Command]:
        """Try the next target."""
        self._target = self._targets.pop(0)
        self._tries = 1
        self._enter(_S.REQUESTED)
        if self.mode is TransferMode.BLIND:
            return [Refer(target=self._target)]
        waiting = PlayRinging(is_on=True, music=self._music)  # a network may take seconds until it says that it rings
        return [waiting, *([AwaitSummary()] if self._awaits_summary else self._call())]

    def _call(self) -> list[Command]:
        return [
            CallTarget(target=self._target, trunk=self._trunk),
            StartTimer(timer=TimerName.RING, delay_s=self._ring_s),
        ]

    def step(self, event: Event, *, is_fresh: bool) -> list[Command]:
        """What follows from `event`; `is_over` tells whether that was the end of it.

        `is_fresh`: the caller's call was answered a moment ago, so that a PBX may find a REFER too early.
        """
        if isinstance(event, TimerFired) and event.timer is TimerName.RETRY:
            return self._retry(event)
        if isinstance(event, SummaryReady):
            return self._call() if self._awaits_summary and self.state is _S.REQUESTED else []
        if isinstance(event, TimerFired) and event.timer is TimerName.JOIN and self.state is _S.RELEASED:
            return self._seek_caller()
        if self.state is _S.WHISPERING and (told := self._whisper_on(event)) is not None:
            return told
        if self._is_too_early(event, is_fresh=is_fresh):
            return [StartTimer(timer=TimerName.RETRY, delay_s=RETRY_PAUSE_S)]
        news = self._news_of(event)
        state = None if news is None else TRANSFER_TRANSITIONS.get((self.mode, self.state, news))
        if state is None:
            return []
        if state in (_S.FAILED, _S.TIMED_OUT):
            return self._fail(event, state)
        if state is _S.CALLER_GONE:
            refused, words = _reason_of(event)
            self.refusal, self.why = refused, f"{CALLER_HUNG_UP}: {words}"
        self._enter(state)
        return self._follow()

    def _seek_caller(self) -> list[Command]:
        """The contact has gone, and the PBX takes its time to tell where to."""
        waiting = [PlayRinging(is_on=True, music=self._music)] if self._is_seeking else []
        self._is_seeking = True
        return [*waiting, SeekCaller(), StartTimer(timer=TimerName.JOIN, delay_s=SEEK_S)]

    def leave(self) -> list[Command]:
        """The caller hangs up: whoever is being called for them is let go."""
        return self._leave(_N.CALLER_LEFT, CALLER_HUNG_UP)

    def abandon(self, why: str) -> list[Command]:
        """Likewise where the caller's call ends otherwise; `why` in words."""
        return self._leave(_N.CALL_ENDED, f"the call was ended: {why}")

    def _leave(self, news: TransferNews, why: str) -> list[Command]:
        state = TRANSFER_TRANSITIONS.get((self.mode, self.state, news))
        if state is not None:
            self.why = why
            self._enter(state)
        return [ReleaseTarget()] if self._is_called else []

    def _enter(self, state: TransferState) -> None:
        self.state = state
        why = self.why if state in UNDONE else ""
        self._on_state(TransferAttempt(target=self._target, state=state, why=why, is_last=not self._targets))

    def _referral(self) -> Command:
        return Refer(target=self._target) if self.mode is TransferMode.BLIND else HandOver(target=self._target)

    def _retry(self, event: Event) -> list[Command]:
        if self.state is _S.RELEASED:  # they hung up during the pause, and no REFER is under way
            return self._fail(event, _S.FAILED)
        self._tries += 1
        return [self._referral()]

    def _is_too_early(self, event: Event, *, is_fresh: bool) -> bool:
        """Whether a REFER was refused only because the PBX was not ready for it, and may be tried again."""
        if not (isinstance(event, TransferReported) and event.is_final and event.status in TOO_EARLY):
            return False
        is_waiting = self.state is _S.ANSWERED or (self.state in (_S.REQUESTED, _S.ACCEPTED) and is_fresh)
        return is_waiting and self._tries < MAX_TRIES

    def _news_of(self, event: Event) -> TransferNews | None:
        match event:
            case TransferReported(status=status, is_final=True) if status < 300:
                return _N.JOINED
            case TransferReported(status=481 | 487, is_final=True, is_notified=False) if self._is_called:
                return _N.CALLER_LEFT  # the REFER fell with the caller's call, the end of which is on its way
            case TransferReported(is_final=True) if self._is_called:
                return _N.NOT_JOINED
            case TransferReported(status=408, is_final=True):
                return _N.EXPIRED
            case TransferReported(is_final=True) | TargetRefused():
                return _N.REFUSED
            case TransferReported(status=status) | TargetProgressed(status=status):
                return _N.RINGING if 180 <= status < 184 else _N.ACCEPTED
            case TargetAnswered():
                return _N.ANSWERED
            case TargetLeft():
                return _N.TARGET_LEFT
            case CallerFound():
                return _N.CALLER_FOUND
            case _:
                return self._later_news(event)

    def _later_news(self, event: Event) -> TransferNews | None:
        """What a key of the target means, and a time in which something should have happened."""
        match event:
            case TargetPressed(digit=digit) if self.state is _S.WHISPERING:
                keys = {self._acceptance.key: _N.TAKEN, self._acceptance.refuse: _N.REFUSED}
                return keys.get(digit)
            case TimerFired(timer=TimerName.RING) if self.state is not _S.WHISPERING:
                return _N.EXPIRED
            case TimerFired(timer=TimerName.ACCEPT) if self.state is _S.WHISPERING:
                return _N.EXPIRED
            case TimerFired(timer=TimerName.JOIN) if self.state is _S.ANSWERED:
                return _N.NOT_JOINED
            case _:
                return None

    def _whisper_on(self, event: Event) -> list[Command] | None:
        """Wait for a key when the target has been told who calls, and tell them once more; None: something else."""
        match event:
            case WhisperEnded():
                return [StartTimer(timer=TimerName.ACCEPT, delay_s=self._acceptance.wait_s / WHISPERS)]
            case TimerFired(timer=TimerName.ACCEPT) if self._whispers < WHISPERS:
                return self._whisper()
            case _:
                return None

    def _whisper(self) -> list[Command]:
        self._whispers += 1
        limit = StartTimer(timer=TimerName.ACCEPT, delay_s=WHISPER_LIMIT_S)
        return [Whisper(acceptance=self._acceptance), limit]

    def _follow(self) -> list[Command]:
        """The commands that the state just entered asks for."""
        match self.state:
            case _S.WHISPERING:
                self._whispers = 0
                return [StopTimer(timer=TimerName.RING), *self._whisper()]
            case _S.CALLER_GONE:
                return [ReleaseTarget()]
            case _S.RELEASED:
                self._is_seeking = False
                return [StartTimer(timer=TimerName.JOIN, delay_s=RESULT_LIMIT_S)]
            case _S.ANSWERED if self._trunk is None:
                waiting = StartTimer(timer=TimerName.JOIN, delay_s=JOIN_LIMIT_S)
                return [*self._quiet(), HandOver(target=self._target), waiting]
            case _S.ANSWERED:
                self._enter(TRANSFER_TRANSITIONS[self.mode, self.state, _N.NOT_JOINED])
                return self._quiet()
            case _:
                return []

    def _quiet(self) -> list[Command]:
        """The caller hears no more that they wait."""
        timer = TimerName.RING if self.mode is TransferMode.ATTENDED else TimerName.ACCEPT
        return [StopTimer(timer=timer), PlayRinging(is_on=False)]

    def _fail(self, event: Event, state: TransferState) -> list[Command]:
        """Let go of this target, and try the next one, if any."""
        self.refusal, self.why = _reason_of(event)
        self._enter(state)
        quiet: list[Command] = []
        if self._is_called:
            timers = [TimerName.RING] if self.mode is TransferMode.ATTENDED else [TimerName.RING, TimerName.ACCEPT]
            silence = [] if self._targets else [PlayRinging(is_on=False)]
            quiet = [*(StopTimer(timer=timer) for timer in timers), *silence, ReleaseTarget()]
        return quiet + (self.begin() if self._targets else [])


def _reason_of(event: Event) -> tuple[Refusal, str]:
    """Why an attempt failed: typed, and in words."""
    match event:
        case TransferReported(status=408, reason=reason):
            return Refusal.TIMED_OUT, f"{Refusal.TIMED_OUT.value} (408 {reason})"
        case TransferReported(status=status, reason=reason):
            refusal = refusal_of(status)
            return refusal, f"{refusal.value} ({status} {reason})"
        case TargetRefused():
            return event.refusal, f"{event.refusal.value} ({event.status} {event.reason})"
        case TargetPressed():
            return Refusal.DECLINED, f"{Refusal.DECLINED.value} (by a key)"
        case TargetLeft() | CallerFound():
            return Refusal.DECLINED, f"{Refusal.DECLINED.value} (hung up)"
        case TimerFired(timer=TimerName.ACCEPT):
            return Refusal.NO_ANSWER, f"{Refusal.NO_ANSWER.value} (no key was pressed)"
        case _:
            return Refusal.NO_ANSWER, Refusal.NO_ANSWER.value
