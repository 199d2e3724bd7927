"""Carries out what the steps of a call ask for: tones, speech, words that are heard, questions to web services."""

from __future__ import annotations

from collections.abc import Callable

from gateway.calls.line import Line
from gateway.calls.playout_watch import PlayoutWatch
from gateway.calls.services import CallServices
from gateway.calls.step_events import PlayTone, StepCommand
from gateway.calls.tones import samples_of
from gateway.errors import StateError

TONE_ITEM = "tone"


class StepDesk:
    """One call's. `line` gives the one to the caller, at present."""

    def __init__(self, services: CallServices, line: Callable[[], Line], playout: PlayoutWatch) -> None:
        self._services = services
        self._line = line
        self._playout = playout

    def do(self, command: StepCommand) -> None:
        """Carry out what a step asks for. Raises: `StateError`."""
        match command:
            case PlayTone():
                self._play_tone(command)
            case _:
                raise StateError(f"nobody does {type(command).__name__}")

    def _play_tone(self, command: PlayTone) -> None:
        leg = self._line().leg
        self._playout.wait()
        if leg is not None:
            engine = self._services.media.engine
            engine.play_pcm(leg, TONE_ITEM, samples_of(command.tone, command.seconds))
            engine.end_item(leg, TONE_ITEM)
