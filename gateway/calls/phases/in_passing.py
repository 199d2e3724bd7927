"""Actions that take no time and end nothing: they are done whatever else the call is doing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.calls.course import Course
from gateway.calls.escalation.events import Interject
from gateway.calls.events import Command, ShortenAnswers, TellModel
from gateway.dialplan.actions import (
    Action,
    AnswerAction,
    AnswersAction,
    HangUpAfterAction,
    RecordingAction,
    RingAction,
    SayAction,
    SetAction,
    TellAction,
)


def do_at_once(call: Course, action: Action, at: datetime) -> list[Command] | None:
    """What takes no time, and asks for no answered call; None: it does."""
    match action:
        case TellAction(text=text):
            return [TellModel(text=call.script.variables.told(text, at))]
        case HangUpAfterAction(seconds=seconds):
            return call.escalations.begin_farewell(seconds)
        case RecordingAction(change=change):
            return call.agreement.change(change)
        case AnswersAction():
            return [ShortenAnswers()]
        case RingAction() if call.is_answered or call.is_outgoing:
            return []
        case AnswerAction() if call.is_answered:
            return []
        case _:
            return None


def keep_talking(call: Course, actions: Sequence[Action], at: datetime) -> list[Command]:
    """What is done while the conversation goes on."""
    variables = call.script.variables
    commands: list[Command] = []
    for action in actions:
        if isinstance(action, SayAction):
            commands.append(Interject(text=variables.spoken(action.text, at)))
        elif isinstance(action, SetAction):
            variables.set({name: variables.text(text, at) for name, text in action.values.items()})
        else:
            commands += do_at_once(call, action, at) or []
    return commands
