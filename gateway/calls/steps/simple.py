"""Steps that go on when a sound, a time or a preparation is over: ``play``, ``say``, ``tone``, ``ring``, ``wait``."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.events import Command, Event, PlayoutEnded, Ring, StartTimer, TimerFired, TimerName
from gateway.calls.events.steps import PrepareSpeech, Speak, SpeechReady
from gateway.calls.steps.step import Step


class Sound(Step):
    """Lets the caller hear something, to its end."""

    is_for_the_ear = True

    def __init__(self, sound: Command, *, is_protected: bool = False) -> None:
        """`sound` is answered with `PlayoutEnded`."""
        super().__init__()
        self.is_protected = is_protected
        self._sound = sound
        self.opening = sound if isinstance(sound, Speak) else None

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


class Preparation(Step):
    """Has a text spoken before the call is answered or placed, so that nobody waits for it in silence."""

    needs_answer = False

    def __init__(self, speech: Speak, *, rings: bool) -> None:
        """`rings`: the caller hears so meanwhile."""
        super().__init__()
        self._speech = speech
        self._rings = rings

    def begin(self, _at: datetime) -> list[Command]:
        """Ask for it."""
        return [*([Ring()] if self._rings else []), PrepareSpeech(speech=self._speech)]

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """It can be heard."""
        return self._finish() if isinstance(event, SpeechReady) else []
