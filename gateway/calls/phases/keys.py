"""The caller presses a key: an escalation of the dialplan, or one more for the model, which is told when they pause."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.calls.call_state import INTERRUPTED, CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import BargeIn, Command, DigitReceived, TellModel, TimerFired, TimerName
from gateway.calls.phases.conversing import settle_consent
from gateway.calls.phases.in_passing import keep_talking
from gateway.calls.phases.interruptions import interrupt, is_announced
from gateway.dialplan.actions import Action, RecordingAction, RecordingChange, SayAction, keeps_talking


def on_digit(call: Course, event: DigitReceived, at: datetime) -> list[Command]:
    """A key for the dialplan, or else for the model."""
    if call.stage.is_trailing(event, at):
        return []
    note_key(call)
    commands = escalate_by_key(call, event, at)
    if commands is not None:
        return commands
    is_heard = call.state is CallState.TALKING and call.session is not None
    return call.gathered.add(event.digit) if is_heard else []


def note_key(call: Course) -> None:
    """The caller does something."""
    call.grants.note_key()
    call.script.note_caller()
    call.escalations.farewell.spare()


def escalate_by_key(call: Course, event: DigitReceived, at: datetime) -> list[Command] | None:
    """What the dialplan wants of a key; None: nothing."""
    actions = call.escalations.on_key(event.digit, at, call.session)
    if actions is None:
        return None
    changes = [action.change for action in actions if isinstance(action, RecordingAction)]
    if len(changes) == len(actions):
        return _change_recording(call, changes, at)
    if keeps_talking(actions):
        return _go_on_besides(call, actions, at)
    return [] if is_announced(call, actions, at) else interrupt(call, actions, at)


def _change_recording(call: Course, changes: Sequence[RecordingChange], at: datetime) -> list[Command]:
    """Whatever the call is doing goes on; a model that talks is interrupted and told, so that the caller knows."""
    commands = [command for change in changes for command in call.agreement.change(change)]
    if call.state is CallState.CONSENTING and call.notes.consent is not None:
        return settle_consent(call, call.notes.consent, at)
    if call.state is not CallState.TALKING:
        return commands
    done = f"The recording of this call was changed: {changes[-1].value}."
    told = TellModel(text=done if commands else "This call is not being recorded.")
    return [BargeIn(), *commands, told]


def _go_on_besides(call: Course, actions: Sequence[Action], at: datetime) -> list[Command]:
    """Do `actions`, which end nothing: a step that has to be interrupted for them is repeated."""
    is_heard = any(isinstance(action, SayAction) for action in actions)
    if call.state in (CallState.TALKING, CallState.ANNOUNCING) or not (is_heard or call.state in INTERRUPTED):
        return keep_talking(call, actions, at)
    # What a budget wants is asked for again when the caller is back.
    left = () if call.state is CallState.CONCLUDING else (*call.stage.undone, *call.script.remaining)
    return interrupt(call, (*actions, *left), at)


def _on_digit_while_preparing(call: Course, event: DigitReceived, at: datetime) -> list[Command]:
    """A caller who waits in silence for a session may have had enough of it."""
    return on_digit(call, event, at) if call.is_answered else []


def _on_pause(call: Course, _event: TimerFired, _at: datetime) -> list[Command]:
    return call.gathered.tell()


_S = CallState

KEYS: Transitions = {
    (_S.PREPARING, DigitReceived): _on_digit_while_preparing,
    **{(state, DigitReceived): on_digit for state in INTERRUPTED},
    (_S.TALKING, TimerName.DIGITS): _on_pause,
}
