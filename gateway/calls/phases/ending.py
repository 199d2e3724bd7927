"""Whatever ends a call, in any state, and the state in which the model says its last sentence."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.call_state import ALIVE, HEARD_STATES, CallState
from gateway.calls.course import RETRY_AFTER_S, Course, Transitions
from gateway.calls.events import (
    CallerLeft,
    Command,
    CommandFailed,
    DrainBegan,
    DrainEnded,
    HangUp,
    HangUpAsked,
    MediaLost,
    Outcome,
    PlayoutEnded,
    Reject,
    SessionLost,
    TimerFired,
    TimerName,
)

HUNG_UP = ("remote_bye", "cancelled")
"""Causes of `CallerLeft` that are the caller's own doing."""
UNANSWERED = (CallState.NEW, CallState.PREPARING, CallState.ACTING)
"""States in which a caller may be who was not answered yet, and is not about to be."""


def _on_closed(call: Course, _event: PlayoutEnded | SessionLost | TimerFired, _at: datetime) -> list[Command]:
    return call.end(Outcome.GATEWAY_HUNG_UP, "model", HangUp())


def _on_limit(call: Course, _event: TimerFired, _at: datetime) -> list[Command]:
    return call.end(Outcome.GATEWAY_HUNG_UP, "limits.max_call", HangUp())


def _on_caller_left(call: Course, event: CallerLeft, _at: datetime) -> list[Command]:
    if call.state is CallState.JOINED:
        return call.end(Outcome.TRANSFERRED, call.contact)
    is_early = call.state in UNANSWERED and not call.is_answered
    during = f" during transfer to {call.contact}" if call.state is CallState.TRANSFERRING else ""
    hung_up = Outcome.CALLEE_HUNG_UP if call.is_outgoing else Outcome.CALLER_HUNG_UP
    outcome = Outcome.CANCELLED if is_early else hung_up
    return call.end(outcome, event.cause + during, has_hung_up=event.cause in HUNG_UP)


def _on_hang_up_asked(call: Course, _event: HangUpAsked, _at: datetime) -> list[Command]:
    outcome = Outcome.GATEWAY_HUNG_UP if call.is_answered else Outcome.CANCELLED
    return call.end(outcome, "operator", call.part(Reject(status=480)))


def _on_media_lost(call: Course, event: MediaLost, _at: datetime) -> list[Command]:
    return call.end(Outcome.FAILED, event.cause, HangUp(reason='SIP;cause=408;text="no audio"'))


def _on_command_failed(call: Course, event: CommandFailed, _at: datetime) -> list[Command]:
    part = call.part(Reject(status=500), 'SIP;cause=500;text="internal error"')
    return call.end(Outcome.FAILED, event.reason, part)


def _on_drain_began(call: Course, _event: DrainBegan, _at: datetime) -> list[Command]:
    call.grants.drain()
    return []


def _on_drain_ended(call: Course, _event: DrainEnded, _at: datetime) -> list[Command]:
    refusal = Reject(status=503, retry_after_s=RETRY_AFTER_S)
    part = call.part(refusal, 'SIP;cause=503;text="shutting down"')
    return call.end(Outcome.GATEWAY_HUNG_UP if isinstance(part, HangUp) else Outcome.REJECTED, "drain", part)


_S = CallState

ENDING: Transitions = {
    (_S.CLOSING, PlayoutEnded): _on_closed,
    (_S.CLOSING, TimerName.ANNOUNCEMENT): _on_closed,
    (_S.CLOSING, SessionLost): _on_closed,
    **{(state, TimerName.LIMIT): _on_limit for state in ALIVE},
    **{(state, CallerLeft): _on_caller_left for state in ALIVE},
    **{(state, HangUpAsked): _on_hang_up_asked for state in ALIVE},
    **{(state, MediaLost): _on_media_lost for state in HEARD_STATES},
    **{(state, CommandFailed): _on_command_failed for state in ALIVE},
    **{(state, DrainBegan): _on_drain_began for state in ALIVE},
    **{(state, DrainEnded): _on_drain_ended for state in ALIVE},
}
