"""The model wants something to be done: a transfer and the end of the call are decided here, other tools are run."""

from __future__ import annotations

from datetime import datetime

from gateway.calls import tool_answers
from gateway.calls.call_state import CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import Command, ToolAsked
from gateway.calls.phases.transferring import start_transfer
from gateway.dialplan.tools import SessionTool


def _on_tool(call: Course, event: ToolAsked, at: datetime) -> list[Command]:
    if call.tools.is_repeated(event):
        return []
    if not call.tools.is_offered(event, call.session):
        return [tool_answers.refusal(event, "there is no such tool")]
    if event.name == SessionTool.TRANSFER:
        return _transfer(call, event, at)
    if event.name == SessionTool.HANG_UP:
        call.tool_call = event.call_id
        call.enter(CallState.CLOSING)
        return call.await_sentence()
    return [tool_answers.run(event)]


def _transfer(call: Course, event: ToolAsked, at: datetime) -> list[Command]:
    named = event.arguments.get("contact")
    contact = named if isinstance(named, str) else ""
    if call.grants.has_to_ask(contact, event, at):
        return [tool_answers.question(event, contact)]
    call.tool_call = event.call_id
    number = event.arguments.get("number")
    return start_transfer(call, contact, at, announced=True, number=number if isinstance(number, str) else "")


def _on_tool_while_leaving(call: Course, event: ToolAsked, _at: datetime) -> list[Command]:
    return [] if call.tools.is_repeated(event) else call.tools.while_leaving(event, call.session)


def _on_tool_unheard(call: Course, event: ToolAsked, _at: datetime) -> list[Command]:
    return [] if call.tools.is_repeated(event) else call.tools.while_unheard(event)


_S = CallState
_LEAVING = (_S.ANNOUNCING, _S.TRANSFERRING, _S.CONCLUDING, _S.CLOSING)
_UNHEARD = (_S.DIALLING, _S.RINGING, _S.ANSWERING, _S.CONSENTING, _S.ACTING)
"""States in which a session may be open, and neither it nor the caller hears the other."""

TOOL_CALLS: Transitions = {
    (_S.TALKING, ToolAsked): _on_tool,
    **{(state, ToolAsked): _on_tool_while_leaving for state in _LEAVING},
    **{(state, ToolAsked): _on_tool_unheard for state in _UNHEARD},
}
