"""The words of the caller's turns: asked of the recogniser, waited for, and noted in the history.

The recogniser is asked as soon as a turn may be over, so that it works while the silence is awaited that proves it; if
the caller goes on, its answer is worth nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from gateway.embedded.events import ServerEvents
from gateway.embedded.history import History
from gateway.embedded.items import InputAudio, Message
from gateway.embedded.recognizer import Listening, Recognition


@dataclass(frozen=True, slots=True)
class Recognize:
    """Ask for the words of a turn, `int16[n]` at 8 kHz; answered with `Conversation.recognized`."""

    number: int
    samples: bytes
    listening: Listening
    wants_beginning: bool = False
    """Whether it matters which unfinished phrase it might be."""


@dataclass(slots=True)
class _Guess:
    """The words of a turn that may be over, once they are known."""

    number: int
    heard: Recognition | None = None


class CallerWords:
    """Which turns wait for their words, and what becomes of these."""

    def __init__(self, history: History, events: ServerEvents, request: Callable[[Recognize], None]) -> None:
        self.are_transcribed = False
        """Whether the client is told."""
        self.have_logprobs = False
        """Whether it is told how probable they are."""
        self._history = history
        self._events = events
        self._request = request
        self._numbers = itertools.count(1)
        self._turns: dict[int, Message] = {}
        self._guess: _Guess | None = None

    @property
    def are_known(self) -> bool:
        """Whether no turn waits for its words."""
        return not self._turns

    def guess(self, samples: bytes, listening: Listening, *, wants_beginning: bool) -> None:
        """A turn may be over: begin to make out its words."""
        self._guess = _Guess(self._ask(samples, listening, wants_beginning=wants_beginning))

    def drop_guess(self) -> None:
        """The turn goes on, or is gone."""
        self._guess = None

    def hear_turn(self, message: Message, samples: bytes, listening: Listening) -> None:
        """The turn is over: the words guessed are its words; where none were, they are asked for now."""
        guess, self._guess = self._guess, None
        if guess is None:
            self.hear(message, samples, listening)
        elif guess.heard is None:
            self._turns[guess.number] = message
        else:
            self._note(message, guess.heard)

    def hear(self, message: Message, samples: bytes, listening: Listening) -> None:
        """Ask for the words of a message."""
        self._turns[self._ask(samples, listening)] = message

    def recognized(self, number: int, heard: Recognition) -> bool:
        """The recogniser's answer to `Recognize`; False where it is the guess of a turn that is not over."""
        if self._guess is not None and self._guess.number == number:
            self._guess.heard = heard
            return False
        message = self._turns.pop(number, None)
        if message is not None:
            self._note(message, heard)
        return True

    def _ask(self, samples: bytes, listening: Listening, *, wants_beginning: bool = False) -> int:
        number = next(self._numbers)
        self._request(Recognize(number, samples, listening, wants_beginning))
        return number

    def _note(self, message: Message, heard: Recognition) -> None:
        part = next(part for part in message.content if isinstance(part, InputAudio))
        part.transcript = "" if heard.is_rejected else heard.text
        part.is_certain = heard.is_certain
        if not self.are_transcribed or message.id not in self._history.ledger:
            return
        if part.transcript:
            seconds = part.duration_ms / 1000
            logprob = heard.log_probability if self.have_logprobs else None
            self._events.transcription_delta(item_id=message.id, transcript=part.transcript, logprob=logprob)
            self._events.transcription_completed(
                item_id=message.id, transcript=part.transcript, seconds=seconds, logprob=logprob
            )
        else:
            reason = "The audio could not be transcribed."
            self._events.transcription_failed(item_id=message.id, code="audio_unintelligible", message=reason)
