"""What an escalation of the dialplan waited for has happened: its actions are done in passing, or break in.

What comes while the caller is elsewhere waits in `Escalations` until they are back with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.calls.agreement import NO_LONGER_ASKING
from gateway.calls.call_state import ALIVE, INTERRUPTED, CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.escalation.events import FactNoticed
from gateway.calls.escalation.facts import ToolsBroken
from gateway.calls.events import (
    BargeIn,
    CloseSession,
    Command,
    ReplyToTool,
    StopTimer,
    TimerFired,
    TimerName,
    ToolFailed,
)
from gateway.calls.phases.in_passing import keep_talking
from gateway.dialplan.actions import Action, TransferAction, keeps_talking

HUNG_UP_AFTER = "hang_up_after"


def answer_facts(call: Course, at: datetime) -> list[Command]:
    """Do what facts have set off, as far as the call can do it as it stands."""
    commands: list[Command] = []
    while (actions := call.escalations.take(*_freedom(call))) is not None:
        if keeps_talking(actions):
            commands += keep_talking(call, actions, at)
        elif not is_announced(call, actions, at):
            commands += interrupt(call, actions, at)
    return commands


def interrupt(call: Course, actions: Sequence[Action], at: datetime) -> list[Command]:
    """Break off whatever is said or done, and go on with `actions`."""
    call.script.replace(actions)
    call.gathered.forget()
    quiet = (StopTimer(timer=TimerName.DIGITS), StopTimer(timer=TimerName.ANNOUNCEMENT), BargeIn())
    left: Sequence[Command] = call.stage.leave()
    if call.state is CallState.PREPARING:
        left = (CloseSession(),)
    elif call.state is CallState.CONSENTING:
        left = NO_LONGER_ASKING
    return [*_drop_announced(call), *left, *quiet, *call.go_on(at)]


def is_announced(call: Course, actions: Sequence[Action], at: datetime) -> bool:
    """Whether the caller is about to be connected with whom `actions` want first."""
    first = actions[0]
    if call.state is not CallState.ANNOUNCING or not isinstance(first, TransferAction) or first.number is not None:
        return False
    return call.grants.leads_to(first.contact, at) == call.contact


def _freedom(call: Course) -> tuple[bool, bool]:
    """Whether something can be said to the caller in passing, and whether what is said can be broken off."""
    return call.state is CallState.TALKING, call.state in INTERRUPTED


def _drop_announced(call: Course) -> list[Command]:
    """A transfer, or an end, that was announced does not come about; the model, which waits for it, is told."""
    tool_call, call.tool_call = call.tool_call, None
    if call.state is CallState.ANNOUNCING and call.transfer is not None:
        transfer, call.transfer = call.transfer, None
        call.grants.take_back(transfer.contact)
    if tool_call is None or call.session is None:
        return []
    output = {"status": "failed", "reason": "the caller was sent elsewhere"}
    return [ReplyToTool(call_id=tool_call, output=output, respond=False)]


def _on_fact(call: Course, event: FactNoticed, at: datetime) -> list[Command]:
    """Something that an escalation may wait for; it fires now, or when the caller is back with the model."""
    return [*call.escalations.notice(event.fact, at, call.session), *answer_facts(call, at)]


def _on_tool_failed(call: Course, _event: ToolFailed, at: datetime) -> list[Command]:
    call.notes.failed_tools += 1
    return _on_fact(call, FactNoticed(fact=ToolsBroken(count=call.notes.failed_tools)), at)


def _on_minutes(call: Course, _event: TimerFired, at: datetime) -> list[Command]:
    """The caller has been with the session for so long as an escalation waits for."""
    return [*call.escalations.on_minutes(at, call.session), *answer_facts(call, at)]


def _on_farewell_over(call: Course, _event: TimerFired, _at: datetime) -> list[Command]:
    """The caller has had their time to say something more; elsewhere it counts when they are back with the model."""
    farewell, is_elsewhere = call.escalations.farewell, call.state is not CallState.TALKING
    is_unheard = call.state in _AWAY or call.stage.is_protected
    ends = farewell.expire(is_elsewhere=is_elsewhere, begins_again=is_unheard)
    return call.leave(HUNG_UP_AFTER) if ends else []


_AWAY = (
    CallState.PREPARING,
    CallState.ANSWERING,
    CallState.CONSENTING,
    CallState.ANNOUNCING,
    CallState.TRANSFERRING,
)
"""Where a caller waits for somebody, and has no reason to say anything."""

INTERRUPTIONS: Transitions = {
    **{(state, FactNoticed): _on_fact for state in ALIVE},
    **{(state, ToolFailed): _on_tool_failed for state in ALIVE},
    **{(state, TimerName.TALK): _on_minutes for state in ALIVE},
    **{(state, TimerName.FAREWELL): _on_farewell_over for state in ALIVE},
}
