"""``collect``: the caller enters digits, which become a variable."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.events import Command
from gateway.calls.steps.question import PromptOf, Question
from gateway.calls.variables import Variables
from gateway.dialplan.actions import CollectAction

DIGITS = frozenset("0123456789")


class Collect(Question):
    """One number, asked for up to ``tries`` times. It ends by the last digit, by the key ``end``, or by a pause."""

    def __init__(self, action: CollectAction, prompt: PromptOf, variables: Variables) -> None:
        super().__init__(prompt, wait_s=action.wait_s, tries=action.tries)
        self._action = action
        self._variables = variables
        self._digits = ""

    def takes(self, digit: str) -> bool:
        """Digits, and what ends them, are the number's."""
        return digit in DIGITS or digit == self._action.end

    def _on_key(self, digit: str, at: datetime) -> list[Command]:
        if digit == self._action.end:
            return self._settle(at)
        if digit in DIGITS:
            self._digits += digit
        if len(self._digits) >= self._action.most:
            self.trailing = self._action.end
            return self._settle(at)
        return self._wait()

    def _on_silence(self, at: datetime) -> list[Command]:
        return self._settle(at)

    def _settle(self, at: datetime) -> list[Command]:
        """No more digits will come."""
        digits, self._digits = self._digits, ""
        if len(digits) >= self._action.least:
            self._variables.set({self._action.into: digits})
            self._finish()
        elif self._tries_left > 0:
            return [*self._quiet(), *self._ask(at)]
        else:
            self._finish(self._action.failed)
        return self._quiet()
