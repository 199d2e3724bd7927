"""``hook``: a web service says what is to be done."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.events import Command, Event
from gateway.calls.events.steps import AskHook, DropHook, HookAnswered, HookFailed
from gateway.calls.steps.step import Step
from gateway.calls.variables import Variables
from gateway.dialplan.actions import HookAction


class Hook(Step):
    """One question to a web service, whose deadline is its request's. The caller hears nothing meanwhile."""

    needs_answer = False

    def __init__(self, action: HookAction, variables: Variables) -> None:
        super().__init__()
        self._action = action
        self._variables = variables

    def begin(self, _at: datetime) -> list[Command]:
        """Ask."""
        return [AskHook(request=self._action.request, values=self._variables.values, keys=self._variables.keys)]

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """Follow the answer."""
        match event:
            case HookAnswered(actions=actions, values=values):
                self._variables.set(values)
                return self._finish(actions)
            case HookFailed():
                return self._finish(self._action.failed)
            case _:
                return []

    def leave(self) -> list[Command]:
        """Whatever it answers comes too late."""
        return [DropHook()]
