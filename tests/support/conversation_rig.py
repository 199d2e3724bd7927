"""A conversation of the embedded server with engines made of cardboard: no process, no clock, every answer at once.

The ear takes any sound for speech; the recogniser hears what the test wrote down; the voice makes 100 ms a word.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.caller_words import Recognize
from gateway.embedded.conversation import Conversation, ConversationOptions
from gateway.embedded.hearing import Listen
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import NOTHING, Recognition
from gateway.embedded.response import Speak
from gateway.embedded.session import SessionConfig
from tests.support.openai_types import assert_typed
from tests.support.realtime_schema import assert_valid

MS_A_WORD = 100
PHRASEBOOK = Phrasebook(load_script(RECEPTION))

TRANSFER = {
    "type": "function",
    "name": "transfer",
    "description": "Connects the caller",
    "parameters": {
        "type": "object",
        "properties": {"contact": {"type": "string", "enum": ["sales", "support", "front_desk"]}},
        "required": ["contact"],
    },
}
HANG_UP = {"type": "function", "name": "hang_up", "parameters": {"type": "object", "properties": {}}}


class OpenGate:
    """Lets every chunk with a sound in it through."""

    def is_open(self, chunk: NDArray[np.int16]) -> bool:
        return bool(chunk.any())


def certain(text: str) -> Recognition:
    return Recognition(text=text, fit=3.0)


def doubtful(text: str) -> Recognition:
    return Recognition(text=text, fit=0.0)


class Rig:
    """Feeds a conversation and collects what it says, each event checked against its published schema."""

    def __init__(self, *, voice_is_slow: bool = False, recognizer_is_slow: bool = False, **options: Any) -> None:
        self.now = 1000.0
        self.heard: list[Recognition] = []
        """What the recogniser will hear, turn by turn; nothing when it has run out."""
        self.events: list[dict[str, Any]] = []
        """What was said, without the limits that follow each response."""
        self.sentences: list[Speak] = []
        """What the slow voice has been asked for and not answered."""
        self.turns: list[Recognize] = []
        """What the slow recogniser has been asked for and not answered."""
        self._voice_is_slow = voice_is_slow
        self._recognizer_is_slow = recognizer_is_slow
        self.conversation = Conversation(
            ConversationOptions(config=SessionConfig(model="embedded"), **options),
            phrasebook=PHRASEBOOK,
            gate=OpenGate(),
            entropy=random.Random(1),
            now=self.now,
            unix_time=1_800_000_000.0,
        )
        self._settle()

    # What the client does

    def send(self, event: Mapping[str, Any] | str | bytes) -> list[dict[str, Any]]:
        """One client event; returns what it led to."""
        start = len(self.events)
        self.conversation.receive(json.dumps(event) if isinstance(event, Mapping) else event, self.now)
        self._settle()
        return self.events[start:]

    def configure(self, **session: Any) -> None:
        """A `session.update` that is accepted. Telephone formats unless told otherwise."""
        audio = {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}}}
        events = self.send({"type": "session.update", "session": {"type": "realtime", "audio": audio} | session})
        assert [event["type"] for event in events] == ["session.updated"], events

    def append(self, duration_ms: int, *, is_speech: bool) -> list[dict[str, Any]]:
        """Audio of a telephone: a loud sound, or silence."""
        audio = base64.b64encode((b"\x10" if is_speech else b"\xff") * 8 * duration_ms).decode()
        return self.send({"type": "input_audio_buffer.append", "audio": audio})

    def say(self, heard: str | Recognition, *, duration_ms: int = 1024) -> list[dict[str, Any]]:
        """A whole turn of the caller."""
        start = len(self.events)
        self.heard.append(certain(heard) if isinstance(heard, str) else heard)
        self.append(320, is_speech=False)
        self.append(duration_ms, is_speech=True)
        self.append(1280, is_speech=False)
        return self.events[start:]

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass."""
        start = len(self.events)
        self.now += seconds
        if self.conversation.get_timer() <= self.now:
            self.conversation.handle_timer(self.now)
        self._settle()
        return self.events[start:]

    # What the slow engines do

    def voice_speaks(self, duration_ms: int) -> list[dict[str, Any]]:
        """Some audio of the sentence that was asked for first."""
        start = len(self.events)
        speak = self.sentences[0]
        self.conversation.spoken(speak.number, b"\x55" * duration_ms * speak.wire_format.bytes_per_ms)
        self._settle()
        return self.events[start:]

    def voice_ends(self, *, has_failed: bool = False) -> list[dict[str, Any]]:
        """The sentence that was asked for first is over."""
        start = len(self.events)
        self.conversation.sentence_ended(self.sentences.pop(0).number, self.now, has_failed=has_failed)
        self._settle()
        return self.events[start:]

    def recognizer_answers(self) -> list[dict[str, Any]]:
        """The turn that was asked for first is decoded."""
        start = len(self.events)
        self._answer_turn(self.turns.pop(0))
        self._settle()
        return self.events[start:]

    # What the engines do at once

    def _settle(self) -> None:
        while tasks := self.conversation.tasks():
            for task in tasks:
                self._work(task)
        for text in self.conversation.events_to_send():
            event = json.loads(text)
            assert_valid(event, "server")
            assert_typed(event, "server")
            if event["type"] != "rate_limits.updated":
                self.events.append(event)

    def _work(self, task: object) -> None:
        match task:
            case Listen():
                self.conversation.measured(task.number, 1.0, self.now)
            case Recognize() if self._recognizer_is_slow:
                self.turns.append(task)
            case Recognize():
                self._answer_turn(task)
            case Speak() if self._voice_is_slow:
                self.sentences.append(task)
            case Speak():
                duration_ms = MS_A_WORD * len(task.text.split())
                self.conversation.spoken(task.number, b"\x55" * duration_ms * task.wire_format.bytes_per_ms)
                self.conversation.sentence_ended(task.number, self.now)

    def _answer_turn(self, task: Recognize) -> None:
        heard = self.heard.pop(0) if self.heard else NOTHING
        self.conversation.recognized(task.number, heard, self.now)


def types(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """The events' types; of deltas in a row each kind once: how many there are does not matter to the order."""
    found: list[str] = []
    for event in events:
        deltas = list(itertools.takewhile(lambda kind: kind.endswith(".delta"), reversed(found)))
        if event["type"] not in deltas:
            found.append(event["type"])
    return found


def only(events: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """The one event of this type."""
    found = [event for event in events if event["type"] == kind]
    assert len(found) == 1, f"{len(found)} events {kind}"
    return found[0]


def spoken(events: Iterable[Mapping[str, Any]]) -> str:
    """What the assistant said in `events`."""
    kind = "response.output_audio_transcript.done"
    return " ".join(event["transcript"] for event in events if event["type"] == kind)
