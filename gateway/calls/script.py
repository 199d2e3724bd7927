"""The actions of one call that are still to be performed; pure, part of `Call`.

What needs neither telephone nor time is done here: ``set`` and ``goto``. A plan that goes in circles without the caller
doing anything comes to its end after `MAX_UNATTENDED` actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.calls.variables import Variables
from gateway.dialplan.actions import Action, GotoAction, SetAction
from gateway.dialplan.model import Dialplan

MAX_UNATTENDED = 1000
"""Actions that are performed in a row without the caller pressing a key or speaking."""


class Script:
    """What one call does next. `variables` are filled in and changed as it goes on."""

    def __init__(self, plan: Dialplan, actions: Sequence[Action], variables: Variables) -> None:
        self._routes = {route.name: route.actions for route in plan.routes}
        self._actions = list(actions)
        self._unattended = 0
        self.variables = variables

    @property
    def is_endless(self) -> bool:
        """Whether the plan goes on and on by itself."""
        return self._unattended > MAX_UNATTENDED

    @property
    def remaining(self) -> tuple[Action, ...]:
        """All that is left."""
        return tuple(self._actions)

    def first(self, at: datetime) -> Action | None:
        """What is to be done next, once variables are set and the route is found; None: nothing is left."""
        while self._actions and not self.is_endless:
            match self._actions[0]:
                case SetAction(values=values):
                    self.drop_first()
                    self.variables.set({name: self.variables.text(text, at) for name, text in values.items()})
                case GotoAction(route=route):
                    self.drop_first()
                    self.replace(self._routes.get(route, ()))
                case action:
                    return action
        return None

    def drop_first(self) -> None:
        """The first action is being performed, or done."""
        del self._actions[0]
        self._unattended += 1

    def put_first(self, actions: Sequence[Action]) -> None:
        """Do `actions` before what is left."""
        self._actions[:0] = actions

    def put_last(self, actions: Sequence[Action]) -> None:
        """Do `actions` behind what is left."""
        self._actions += actions

    def replace(self, actions: Sequence[Action]) -> None:
        """Do `actions` in place of what is left."""
        self._actions = list(actions)

    def note_caller(self) -> None:
        """The caller does something: the plan does not go on by itself."""
        self._unattended = 0
