"""A caller's way to a contact: its targets one after the other, each attempt a run of `TRANSFER_TRANSITIONS`.

Pure as the call itself: events in, commands out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.calls.events import (
    CallTarget,
    Command,
    Event,
    HandOver,
    PlayRinging,
    Refer,
    ReleaseTarget,
    StartTimer,
    StopTimer,
    TargetAnswered,
    TargetLeft,
    TargetProgressed,
    TargetRefused,
    TimerFired,
    TimerName,
    TransferReported,
)
from gateway.calls.refusal import Refusal, refusal_of
from gateway.calls.transfer_state import TRANSFER_TRANSITIONS, TransferNews, TransferState
from gateway.dialplan.contacts import TransferMode
from gateway.dialplan.targets import DialTarget

RETRY_PAUSE_S = 0.2
MAX_TRIES = 5
"""REFERs sent for one attempt: Asterisk fails one (400, 500, by response or NOTIFY) for a call it is still bridging."""
TOO_EARLY = (400, 500)
JOIN_LIMIT_S = 4.0
"""How long a PBX may take to join caller and contact before we carry their audio; if it does later, we let go."""

_S, _N = TransferState, TransferNews


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferAttempt:
    """How far the attempt to reach one target has come; `why` it failed, in words."""

    target: DialTarget
    state: TransferState
    why: str = ""


class Transfer:
    """The transfer of one caller to one contact. `on_state` hears of each change of an attempt's state."""

    def __init__(
        self,
        *,
        contact: str,
        targets: Sequence[DialTarget],
        mode: TransferMode,
        ring_s: float,
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
        self._on_state = on_state
        self._tries = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be tried or awaited."""
        return self.state in (_S.HANDED_OVER, _S.BRIDGED, _S.FAILED, _S.TIMED_OUT, _S.CALLER_GONE)

    @property
    def _is_attended(self) -> bool:
        return self.mode is TransferMode.ATTENDED

    def begin(self) -> list[Command]:
        """Try the next target."""
        self._target = self._targets.pop(0)
        self._tries = 1
        self._enter(_S.REQUESTED)
        if self.mode is TransferMode.BLIND:
            return [Refer(target=self._target)]
        return [CallTarget(target=self._target), StartTimer(timer=TimerName.RING, delay_s=self._ring_s)]

    def step(self, event: Event, *, is_fresh: bool) -> list[Command]:
        """What follows from `event`; `is_over` tells whether that was the end of it.

        `is_fresh`: the caller's call was answered a moment ago, so that a PBX may find a REFER too early.
        """
        if isinstance(event, TimerFired) and event.timer is TimerName.RETRY:
            return self._retry(event)
        if self._is_too_early(event, is_fresh=is_fresh):
            return [StartTimer(timer=TimerName.RETRY, delay_s=RETRY_PAUSE_S)]
        news = self._news_of(event)
        state = None if news is None else TRANSFER_TRANSITIONS.get((self.mode, self.state, news))
        if state is None:
            return []
        if state in (_S.FAILED, _S.TIMED_OUT):
            return self._fail(event, state)
        if state is _S.CALLER_GONE:
            self.refusal, self.why = _reason_of(event)
        self._enter(state)
        return self._follow()

    def leave(self) -> list[Command]:
        """The caller's call ends: whoever is being called for them is let go."""
        state = TRANSFER_TRANSITIONS.get((self.mode, self.state, _N.CALLER_LEFT))
        if state is not None:
            self._enter(state)
        return [] if self.mode is TransferMode.BLIND else [ReleaseTarget()]

    def _enter(self, state: TransferState) -> None:
        self.state = state
        why = self.why if state in (_S.FAILED, _S.TIMED_OUT) else ""
        self._on_state(TransferAttempt(target=self._target, state=state, why=why))

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
            case TransferReported(status=481 | 487, is_final=True, is_notified=False) if self._is_attended:
                return _N.CALLER_LEFT  # the REFER fell with the caller's call, the end of which is on its way
            case TransferReported(is_final=True) if self._is_attended:
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
            case TimerFired(timer=TimerName.RING):
                return _N.EXPIRED
            case TimerFired(timer=TimerName.JOIN) if self.state is _S.ANSWERED:
                return _N.NOT_JOINED
            case _:
                return None

    def _follow(self) -> list[Command]:
        """The commands that the state just entered asks for."""
        match self.state:
            case _S.RINGING if self.mode is TransferMode.ATTENDED:
                return [PlayRinging(is_on=True)]
            case _S.CALLER_GONE:
                return [ReleaseTarget()]
            case _S.ANSWERED:
                waiting = StartTimer(timer=TimerName.JOIN, delay_s=JOIN_LIMIT_S)
                quiet = (StopTimer(timer=TimerName.RING), PlayRinging(is_on=False))
                return [*quiet, HandOver(target=self._target), waiting]
            case _:
                return []

    def _fail(self, event: Event, state: TransferState) -> list[Command]:
        """Let go of this target, and try the next one, if any."""
        self.refusal, self.why = _reason_of(event)
        self._enter(state)
        quiet: list[Command] = []
        if self.mode is TransferMode.ATTENDED:
            quiet = [StopTimer(timer=TimerName.RING), PlayRinging(is_on=False), ReleaseTarget()]
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
        case _:
            return Refusal.NO_ANSWER, Refusal.NO_ANSWER.value
