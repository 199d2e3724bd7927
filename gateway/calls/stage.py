"""The step of the dialplan that is under way, and what it leaves to the next one; pure, part of `Call`.

::

    begin(step) ──> commands     hear(event) ──> commands …     until `is_free`: what follows is in the script then
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from gateway.calls.events import Command, DigitReceived, Event
from gateway.calls.events.steps import Speak, WordsHeard
from gateway.calls.script import Script
from gateway.calls.steps.simple import Preparation
from gateway.calls.steps.step import Step
from gateway.dialplan.actions import Action

TRAILING = timedelta(seconds=2)
"""How long after a step its trailing key means nothing."""
MAX_WAITING_KEYS = 64


class Stage:
    """What one call is doing of its `script`."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._step: Step | None = None
        self._action: Action | None = None  # that it carries out
        self._trailing: tuple[str, datetime] | None = None  # a key that means nothing until then
        self._prepared: Speak | None = None  # what is ready to be heard first
        self._waiting_keys: deque[str] = deque()  # pressed while something protected is heard

    @property
    def is_free(self) -> bool:
        """Whether no step is under way."""
        return self._step is None

    @property
    def undone(self) -> tuple[Action, ...]:
        """The action that is under way, for who wants it done from the beginning."""
        return () if self._step is None or self._action is None else (self._action,)

    @property
    def is_for_the_ear(self) -> bool:
        """Whether a caller has to have heard what is under way from its beginning."""
        return self._step is not None and self._action is not None and self._step.is_for_the_ear

    def begin(self, step: Step, at: datetime, action: Action | None = None) -> list[Command]:
        """A step begins, which carries `action` out; it may be over at once."""
        self._step, self._action = step, action
        return self._look_behind(step, step.begin(at), at)

    def hear(self, event: Event, at: datetime) -> list[Command]:
        """Something of the step's happened; nothing where there is none."""
        if isinstance(event, WordsHeard) and event.text:
            self._script.note_caller()
        step = self._step
        return [] if step is None else self._look_behind(step, step.on(event, at), at)

    def takes(self, digit: str) -> bool:
        """Whether a key is the step's own, whatever else there is for it."""
        return self._step is not None and self._step.takes(digit)

    def keeps_waiting(self, digit: str) -> bool:
        """Whether a key counts only when what is heard now has been heard to its end. Of very many some are lost."""
        if not self.is_protected:
            return False
        if len(self._waiting_keys) < MAX_WAITING_KEYS:
            self._waiting_keys.append(digit)
        return True

    def next_key(self) -> str | None:
        """A key that has waited and counts now; None: there is none, or they go on waiting."""
        return self._waiting_keys.popleft() if self._waiting_keys and not self.is_protected else None

    def forget_keys(self) -> None:
        """Whoever pressed them has gone."""
        self._waiting_keys.clear()

    @property
    def is_protected(self) -> bool:
        """Whether nobody hears the caller until what they hear is over."""
        return self._step is not None and self._step.is_protected

    def is_trailing(self, event: DigitReceived, at: datetime) -> bool:
        """Whether a key belonged to the step before. The next one does not, in any case."""
        trailing, self._trailing = self._trailing, None
        return trailing is not None and trailing[0] == event.digit and at <= trailing[1]

    def preparation(self, opening: Speak | None, *, rings: bool) -> Step | None:
        """What has to be done before the caller can hear `opening`; None: nothing, or it was done."""
        if opening is None or opening == self._prepared:
            return None
        self._prepared = opening
        return Preparation(opening, rings=rings)

    def leave(self) -> list[Command]:
        """Something else takes the caller."""
        step, self._step = self._step, None
        return [] if step is None else step.leave()

    def end(self) -> list[Command]:
        """The call is over."""
        return [] if self._step is None else self._step.end()

    def _look_behind(self, step: Step, commands: list[Command], at: datetime) -> list[Command]:
        if step.follows is not None:
            self._step = None
            self._trailing = (step.trailing, at + TRAILING) if step.trailing else None
            self._script.put_first(step.follows)
        return commands
