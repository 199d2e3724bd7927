"""What ``menu`` and ``collect`` have in common: a prompt, a pause for the caller, and the same again.

::

    ASKING ──PlayoutEnded──> WAITING ──wait_s──> nothing usable: ASKING again, or over
       └───────key: the prompt stops at once────────^
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime

from gateway.calls.events import (
    Command,
    DigitReceived,
    Event,
    PlayoutEnded,
    StartTimer,
    StopPlaying,
    TimerFired,
    TimerName,
)
from gateway.calls.steps.step import QUIET, Step

PromptOf = Callable[[datetime], Command | None]
"""What the caller hears at that time; None: nothing."""


class Question(Step):
    """Something that the caller is asked, up to so many times."""

    is_for_the_ear = True

    def __init__(self, prompt: PromptOf, *, wait_s: float, tries: int) -> None:
        super().__init__()
        self._prompt = prompt
        self._wait_s = wait_s
        self._tries_left = tries
        self._is_asking = False

    def begin(self, at: datetime) -> list[Command]:
        """Ask for the first time."""
        return self._ask(at)

    def on(self, event: Event, at: datetime) -> list[Command]:
        """A key stops the prompt, whatever it means."""
        match event:
            case PlayoutEnded() if self._is_asking:
                return self._wait()
            case DigitReceived(digit=digit):
                return [*self._hush(), *self._on_key(digit, at)]
            case TimerFired():
                return self._on_silence(at)
            case _:
                return []

    @abstractmethod
    def _on_key(self, digit: str, at: datetime) -> list[Command]:
        """The caller pressed a key."""

    @abstractmethod
    def _on_silence(self, at: datetime) -> list[Command]:
        """The caller did nothing for so long."""

    def _ask(self, at: datetime) -> list[Command]:
        self._tries_left -= 1
        prompt = self._prompt(at)
        if prompt is None:
            return self._wait()
        self._is_asking = True
        return [prompt]

    def _wait(self, seconds: float | None = None) -> list[Command]:
        self._is_asking = False
        return [StartTimer(timer=TimerName.STEP, delay_s=self._wait_s if seconds is None else seconds)]

    def _hush(self) -> list[Command]:
        """The caller answers: the prompt is of no use any more."""
        was_asking, self._is_asking = self._is_asking, False
        return [StopPlaying()] if was_asking else []

    def _quiet(self) -> list[Command]:
        """End what was begun."""
        return list(QUIET)

    def leave(self) -> list[Command]:
        """Something else takes its place."""
        return self._quiet()
