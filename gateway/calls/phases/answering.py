"""From the first news of a call until somebody can hear something; our own calls from DIALLING to RINGING.

What is done before the answer is the dialplan's: `acting` rings, asks a hook, has the first session opened.
"""

from __future__ import annotations

from datetime import datetime

from gateway.calls.call_state import CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import (
    Command,
    Established,
    OpenSession,
    Outcome,
    Rang,
    Refused,
    Reject,
    Ring,
    SessionOpened,
    Started,
    StartTimer,
    TimerName,
)
from gateway.dialplan.actions import RejectAction, SessionAction


def open_session(call: Course, action: SessionAction) -> list[Command]:
    """Connect with the model; a caller who was not answered hears that it rings meanwhile."""
    call.enter(CallState.PREPARING)
    call.session = None  # one that is open is left
    ringing: list[Command] = [] if call.is_answered or call.is_outgoing else [Ring()]
    return [*ringing, OpenSession(name=action.name, variables=call.script.variables.values)]


def reject(call: Course, action: RejectAction) -> list[Command]:
    """The dialplan does not take the call, or not any longer."""
    if call.is_answered or call.is_outgoing:
        return call.leave(f"rejected {action.status}")
    refusal = Reject(status=action.status, reason=action.reason or None)
    return call.end(Outcome.REJECTED, f"dialplan {action.status}", refusal)


def _on_started(call: Course, _event: Started, at: datetime) -> list[Command]:
    return call.go_on(at)


def _on_session_opened(call: Course, _event: SessionOpened, at: datetime) -> list[Command]:
    action = call.script.first(at)
    assert isinstance(action, SessionAction)  # noqa: S101 - PREPARING is entered for a session action only
    call.session = call.notes.session = action.name
    call.awaits_greeting = True
    call.loss = None
    return call.go_on(at)


def _on_rang(call: Course, _event: Rang, _at: datetime) -> list[Command]:
    call.enter(CallState.RINGING)
    return []


def _on_refused(call: Course, event: Refused, _at: datetime) -> list[Command]:
    call.notes.refusal = event.refusal
    return call.end(Outcome.REFUSED, f"{event.refusal.value} ({event.status} {event.reason})")


def _on_established(call: Course, _event: Established, at: datetime) -> list[Command]:
    call.established_at = at
    return [StartTimer(timer=TimerName.LIMIT, delay_s=call.max_call_s), *call.go_on(at)]


_S = CallState

ANSWERING: Transitions = {
    (_S.NEW, Started): _on_started,
    (_S.PREPARING, SessionOpened): _on_session_opened,
    (_S.DIALLING, Rang): _on_rang,
    **{(state, Refused): _on_refused for state in (_S.DIALLING, _S.RINGING)},
    **{(state, Established): _on_established for state in (_S.DIALLING, _S.RINGING, _S.ANSWERING)},
}
