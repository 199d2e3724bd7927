"""Steps that go on when a sound or a time is over: ``play``, ``say``, ``tone``, ``ring``, ``wait``."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.events import Command, Event, PlayoutEnded, StartTimer, TimerFired, TimerName
from gateway.calls.steps.step import Step


class Sound(Step):
    """Lets the caller hear something, to its end."""

    def __init__(self, sound: Command) -> None:
        """`sound` is answered with `PlayoutEnded`."""
        super().__init__()
        self._sound = sound

    def begin(self, _at: datetime) -> list[Command]:
        """It begins."""
        return [self._sound]

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """Keys do not end it."""
        return self._finish() if isinstance(event, PlayoutEnded) else []


class Pause(Step):
    """Waits for so long, after what it is to begin with."""

    def __init__(self, seconds: float, *commands: Command, needs_answer: bool = True) -> None:
        super().__init__()
        self.needs_answer = needs_answer
        self._seconds = seconds
        self._commands = commands

    def begin(self, _at: datetime) -> list[Command]:
        """The time begins."""
        return [*self._commands, StartTimer(timer=TimerName.STEP, delay_s=self._seconds)]

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """Nothing but the time ends it."""
        return self._finish() if isinstance(event, TimerFired) else []
