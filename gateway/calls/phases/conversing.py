"""Caller and model talk with each other: how that begins, is taken up again, and what follows when the model goes."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.call_state import CallState
from gateway.calls.course import RETRY_AFTER_S, Course, Transitions
from gateway.calls.events import (
    BargeIn,
    BridgeAudio,
    CallerReplaced,
    CallerSpoke,
    Command,
    Greet,
    Outcome,
    Play,
    RecordingConsent,
    Reject,
    SessionLost,
    TellModel,
)
from gateway.calls.phases.concluding import answer_budget
from gateway.calls.phases.interruptions import HUNG_UP_AFTER, answer_facts
from gateway.dialplan.actions import SessionAction, TellAction
from gateway.dialplan.template import Template

PUT_THROUGH = "The caller has put another person through, who is on the line now. Greet them."
TELL_PUT_THROUGH = TellAction(text=Template(parts=(PUT_THROUGH,)))
SOMEBODY_ELSE = "somebody else is on the line"


def begin_session(call: Course, at: datetime) -> list[Command]:
    """Let the caller and the model talk, once the prompts are heard and it is settled whether they are recorded."""
    if prompts := call.protected.take(call.session):
        call.script.put_first(prompts)
        return call.go_on(at)
    question = call.agreement.question(call.record)
    if question is None:
        return [*call.agreement.begin(call.record), *_greet(call, at)]
    call.enter(CallState.CONSENTING)
    return [BridgeAudio(is_open=False, keeps_said=True), Play(file=question)]


def settle_consent(call: Course, consent: RecordingConsent, at: datetime) -> list[Command]:
    """Whether the caller may be recorded is known: they talk."""
    return [*call.agreement.settle(consent), *_greet(call, at)]


def back_to_session(call: Course, at: datetime) -> list[Command]:
    """The caller was elsewhere, and is back with the model."""
    if call.awaits_greeting:
        return begin_session(call, at)
    call.enter(CallState.TALKING)
    waiting = call.escalations.resume_farewell()
    if waiting is None:
        return call.leave(HUNG_UP_AFTER)
    return [BridgeAudio(is_open=True), *_tell_news(call), *waiting, *_answer_what_waits(call, at)]


def lose_session(call: Course, loss: SessionLost, at: datetime) -> list[Command]:
    """The model is gone: the dialplan's fallback, or an honest refusal."""
    session = call.session or _awaited_session(call, at)
    call.session = None
    call.gathered.forget()
    is_unanswered_call_of_ours = call.is_outgoing and not call.is_answered
    actions = None if is_unanswered_call_of_ours else call.escalations.on_session_lost(at, session)
    if actions is not None:
        call.script.replace(actions)
        return [BridgeAudio(is_open=False), *call.go_on(at)]
    part = call.part(Reject(status=503, retry_after_s=RETRY_AFTER_S), 'SIP;cause=503;text="speech service lost"')
    return call.end(Outcome.FAILED, loss.reason, part)


def _greet(call: Course, at: datetime) -> list[Command]:
    call.awaits_greeting = False
    call.enter(CallState.TALKING)
    counted = [*call.escalations.begin_session(), *(call.escalations.resume_farewell(begins_again=True) or ())]
    return [BridgeAudio(is_open=True), Greet(), *_tell_news(call), *counted, *_answer_what_waits(call, at)]


def _tell_news(call: Course) -> list[Command]:
    """What became of the caller before they came to the session."""
    news, call.news = call.news, []
    return [TellModel(text="\n".join(news))] if news else []


def _answer_what_waits(call: Course, at: datetime) -> list[Command]:
    """What was set off while the caller was elsewhere."""
    commands = answer_facts(call, at)
    return [*commands, *answer_budget(call, at)] if call.state is CallState.TALKING else commands


def _awaited_session(call: Course, at: datetime) -> str | None:
    """The session that is being opened, or was the last."""
    action = call.script.first(at) if call.state is CallState.PREPARING else None
    return action.name if isinstance(action, SessionAction) else call.notes.session


def _miss_session(call: Course, event: SessionLost, _at: datetime) -> list[Command]:
    """The session went while the caller is elsewhere; it is missed when they come back."""
    call.session, call.loss = None, event
    return []


def _on_caller_spoke(_call: Course, _event: CallerSpoke, _at: datetime) -> list[Command]:
    return [BargeIn()]


def _on_caller_replaced(call: Course, _event: CallerReplaced, at: datetime) -> list[Command]:
    call.forget_caller()
    commands = call.agreement.stop(SOMEBODY_ELSE)
    prompts = call.protected.take(call.session)
    if not prompts:
        return [*commands, TellModel(text=PUT_THROUGH)]
    call.script.replace((*prompts, TELL_PUT_THROUGH))
    return [*commands, *call.go_on(at)]


_S = CallState
_NEEDED = (_S.PREPARING, _S.DIALLING, _S.RINGING, _S.TALKING)
"""States in which nothing goes on without the session."""
_UNUSED = (_S.ANSWERING, _S.ACTING, _S.ANNOUNCING, _S.TRANSFERRING, _S.CONCLUDING)

CONVERSING: Transitions = {
    **{(state, SessionLost): lose_session for state in _NEEDED},
    **{(state, SessionLost): _miss_session for state in _UNUSED},
    (_S.TALKING, CallerSpoke): _on_caller_spoke,
    (_S.ANNOUNCING, CallerSpoke): _on_caller_spoke,
    (_S.TALKING, CallerReplaced): _on_caller_replaced,
}
