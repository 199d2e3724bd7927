"""The dialplan's actions are performed one after the other; those that take their time are a step, heard while ACTING.

::

    perform ─> first action left? ─ takes no time ─> do_at_once, and the next one
                  │                ─ session       ─> answering.open_session, conversing.begin_session
                  │                ─ transfer      ─> transferring.start_action
                  │                ─ step          ─> ACTING … until it is over, then perform
                  └─ none left: back to the session, or the end
"""

from __future__ import annotations

from datetime import datetime
from typing import get_args

from gateway.calls.call_state import INTERRUPTED, CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import (
    Answer,
    BridgeAudio,
    CallerReplaced,
    Command,
    Dial,
    DigitReceived,
    Event,
    PlayoutEnded,
    TimerName,
)
from gateway.calls.events.steps import Speak, StepEvent, WordsHeard
from gateway.calls.phases.answering import open_session, reject
from gateway.calls.phases.conversing import (
    SOMEBODY_ELSE,
    TELL_PUT_THROUGH,
    back_to_session,
    lose_session,
)
from gateway.calls.phases.in_passing import do_at_once
from gateway.calls.phases.keys import escalate_by_key, note_key, on_digit
from gateway.calls.phases.transferring import start_action
from gateway.calls.steps.make import make_step
from gateway.calls.steps.step import Step
from gateway.dialplan.actions import (
    Action,
    HangUpAction,
    QueueAction,
    RejectAction,
    SessionAction,
    TransferAction,
)

ENDLESS = "the dialplan goes in circles"


def perform(call: Course, at: datetime) -> list[Command]:
    """Carry on with the first of the remaining actions, or hang up when there is none. It is `Course.go_on`."""
    commands: list[Command] = []
    while (action := call.script.first(at)) is not None:
        done = do_at_once(call, action, at)
        if done is None:
            return [*commands, *_perform_next(call, action, at)]
        call.script.drop_first()
        commands += done
    if call.script.is_endless:
        return [*commands, *call.leave(ENDLESS)]
    return [*commands, *_go_back(call, at)]


def _go_back(call: Course, at: datetime) -> list[Command]:
    """Nothing is left: back to the session, or what follows from its loss meanwhile, or the end."""
    if call.session is not None:
        return back_to_session(call, at)
    if call.loss is not None:
        loss, call.loss = call.loss, None
        return lose_session(call, loss, at)
    return call.leave("dialplan ended")


def _perform_next(call: Course, action: Action, at: datetime) -> list[Command]:
    if isinstance(action, RejectAction):
        return reject(call, action)
    if isinstance(action, HangUpAction):
        return call.leave("dialplan")
    if isinstance(action, SessionAction) and call.session != action.name:
        return open_session(call, action)
    step = make_step(action, call.script.variables, at)
    if not call.is_answered and (step is None or step.needs_answer):
        return _connect(call, _opening(call, at) if step is None else step.opening, at)
    call.script.drop_first()
    if step is not None:
        return _begin_step(call, step, at, action)
    if isinstance(action, TransferAction | QueueAction):
        return start_action(call, action, at)
    call.script.replace(())  # a session is the last that is done, also where it came of a menu
    return back_to_session(call, at)


def _opening(call: Course, at: datetime) -> Speak | None:
    """What is spoken before the session that is open begins."""
    first = next(iter(call.protected.waiting(call.session)), None)
    step = None if first is None else make_step(first, call.script.variables, at)
    return None if step is None else step.opening


def _connect(call: Course, opening: Speak | None, at: datetime) -> list[Command]:
    """Answer, or place the call, once the text is ready that is to be heard first."""
    preparation = call.stage.preparation(opening, rings=not call.is_outgoing)
    if preparation is not None:
        return _begin_step(call, preparation, at)
    call.enter(CallState.DIALLING if call.is_outgoing else CallState.ANSWERING)
    return [Dial() if call.is_outgoing else Answer()]


def _begin_step(call: Course, step: Step, at: datetime, action: Action | None = None) -> list[Command]:
    call.enter(CallState.ACTING)
    silent = [BridgeAudio(is_open=False, keeps_caller=step.is_protected)] if call.is_answered else []
    return [*silent, *_look_behind(call, call.stage.begin(step, at, action), at)]


def _look_behind(call: Course, commands: list[Command], at: datetime) -> list[Command]:
    """Once the step is over, do what is left."""
    return [*commands, *perform(call, at), *_press_what_waits(call, at)] if call.stage.is_free else commands


def _press_what_waits(call: Course, at: datetime) -> list[Command]:
    """Keys that were pressed while something protected was heard count now: none answers a question that is new."""
    commands: list[Command] = []
    while (digit := call.stage.next_key()) is not None:
        pressed = DigitReceived(digit=digit)
        if call.state is CallState.ACTING:
            commands += _on_digit(call, pressed, at)
        elif call.state in (CallState.PREPARING, CallState.CONSENTING, *INTERRUPTED):
            commands += on_digit(call, pressed, at)
    return commands


def _on_step_news(call: Course, event: Event, at: datetime) -> list[Command]:
    return [] if call.stage.is_free else _hear(call, event, at)


def _hear(call: Course, event: Event, at: datetime) -> list[Command]:
    """The step hears of `event`, and may be over by it."""
    commands = call.stage.hear(event, at)
    if isinstance(event, WordsHeard) and call.stage.is_free:
        call.escalations.farewell.spare()  # they have answered
    return _look_behind(call, commands, at)


def _on_digit(call: Course, event: DigitReceived, at: datetime) -> list[Command]:
    """A key of the step's own, or one that the dialplan has something else for, or none: the step says so."""
    if call.stage.is_trailing(event, at) or call.stage.keeps_waiting(event.digit):
        return []
    note_key(call)
    commands = None if call.stage.takes(event.digit) else escalate_by_key(call, event, at)
    return _on_step_news(call, event, at) if commands is None else commands


def _on_caller_replaced(call: Course, _event: CallerReplaced, at: datetime) -> list[Command]:
    """Who is on the line now hears the step from its beginning, and the model is told when they are with it."""
    call.forget_caller()
    commands = call.agreement.stop(SOMEBODY_ELSE)
    prompts = call.protected.of(call.session)  # those of the session begin anew, too, and what the model is told behind
    anew = (*prompts, TELL_PUT_THROUGH)
    call.script.replace([action for action in call.script.remaining if action not in anew])
    if call.session is not None and not call.awaits_greeting:
        call.script.put_last((*call.protected.take(call.session), TELL_PUT_THROUGH))
    if not call.stage.is_for_the_ear:
        return commands
    call.script.put_first([action for action in call.stage.undone if action not in prompts])
    return [*commands, *call.stage.leave(), *perform(call, at)]


_S = CallState

ACTING: Transitions = {
    **{(_S.ACTING, news): _on_step_news for news in (PlayoutEnded, TimerName.STEP, *get_args(StepEvent))},
    (_S.ACTING, DigitReceived): _on_digit,
    (_S.ACTING, CallerReplaced): _on_caller_replaced,
}
