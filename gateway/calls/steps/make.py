"""Which step carries an action out."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.events import Command, Play, Ring
from gateway.calls.events.steps import PlayTone, Speak
from gateway.calls.steps.callback import Callback
from gateway.calls.steps.collect import Collect
from gateway.calls.steps.hook import Hook
from gateway.calls.steps.menu import Menu
from gateway.calls.steps.question import PromptOf
from gateway.calls.steps.simple import Pause, Sound
from gateway.calls.steps.step import Step
from gateway.calls.steps.voicemail import Voicemail
from gateway.calls.variables import Variables, is_personal
from gateway.dialplan.actions import (
    Action,
    CallbackAction,
    CollectAction,
    HookAction,
    MenuAction,
    PlayAction,
    Prompt,
    RingAction,
    SayAction,
    ToneAction,
    VoicemailAction,
    WaitAction,
)
from gateway.dialplan.template import Variable


def make_step(action: Action, variables: Variables, at: datetime) -> Step | None:
    """The step for `action`; None where it takes no time of its own, or is done otherwise."""
    match action:
        case PlayAction() | SayAction():
            return Sound(_sound(action, variables, at), is_protected=action.is_protected)
        case ToneAction(tone=tone, seconds=seconds):
            return Sound(PlayTone(tone=tone, seconds=seconds))
        case WaitAction(seconds=seconds):
            return Pause(seconds)
        case RingAction(seconds=seconds):
            return Pause(seconds, Ring(), needs_answer=False)
        case MenuAction(prompt=prompt):
            return _opened(Menu(action, _prompt(prompt, variables), variables), prompt, variables, at)
        case CollectAction(prompt=prompt):
            return _opened(Collect(action, _prompt(prompt, variables), variables), prompt, variables, at)
        case HookAction():
            return Hook(action, variables)
        case VoicemailAction(mailbox=name):
            mailbox = variables.plan.mailboxes[name]
            return _opened(Voicemail(mailbox, _prompt(mailbox.prompt, variables)), mailbox.prompt, variables, at)
        case CallbackAction(mailbox=name, number=number):
            plan, wanted = variables.plan, variables.caller if number is None else variables.text(number, at)
            is_own = number is None or Variable.CALLER_NUMBER in number.parts
            return Callback(plan.mailboxes[name], wanted, plan.phrases, is_own=is_own)
        case _:
            return None


def _sound(prompt: Prompt, variables: Variables, at: datetime) -> Command:
    return Play(file=prompt.file) if isinstance(prompt, PlayAction) else _speech(prompt, variables, at)


def _speech(say: SayAction, variables: Variables, at: datetime) -> Speak:
    return Speak(text=variables.spoken(say.text, at), is_personal=is_personal(say.text), use=say.use)


def _prompt(prompt: Prompt | None, variables: Variables) -> PromptOf:
    return lambda at: None if prompt is None else _sound(prompt, variables, at)


def _opened(step: Step, prompt: Prompt | None, variables: Variables, at: datetime) -> Step:
    step.opening = _speech(prompt, variables, at) if isinstance(prompt, SayAction) else None
    return step
