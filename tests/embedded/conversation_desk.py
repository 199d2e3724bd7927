"""A conversation of the embedded server without engines: sound is loud or silent, and the test says what was heard.

The desk answers what the conversation asks of its engines: a loud chunk is speech, a turn has the words that the test
laid out, a sentence is a second of audio. Every event that comes out is held against the published schema.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.brain import RECEPTION, Script, load_script
from gateway.embedded.caller_words import Recognize
from gateway.embedded.conversation import Conversation, ConversationOptions, Prepare, Task
from gateway.embedded.hearing import Listen
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import CERTAIN_FROM, NOTHING, REJECTED_BELOW, Recognition
from gateway.embedded.response import Speak
from gateway.embedded.session import AnyConfig, SessionConfig
from tests.support.openai_types import assert_typed
from tests.support.realtime_schema import assert_valid

Event = dict[str, Any]

UNIX_TIME = 1_700_000_000.0
CERTAIN_FIT = CERTAIN_FROM + 1
DOUBTFUL_FIT = (CERTAIN_FROM + REJECTED_BELOW) / 2
HOPELESS_FIT = REJECTED_BELOW - 1

TRANSFER_TOOL: Mapping[str, Any] = {
    "type": "function",
    "name": "transfer",
    "description": "Connects the caller.",
    "parameters": {
        "type": "object",
        "properties": {"contact": {"type": "string", "enum": ["sales", "support", "front_desk"]}},
        "required": ["contact"],
    },
}
HANG_UP_TOOL: Mapping[str, Any] = {"type": "function", "name": "hang_up"}

_BOOK = Phrasebook(load_script(RECEPTION))
SCRIPT = _BOOK.script


class LoudnessGate:
    """Lets loud chunks through to the ear."""

    def is_open(self, chunk: NDArray[np.int16]) -> bool:
        return bool(np.abs(chunk.astype(np.int32)).max() > 1000)


def loud(duration_ms: int, rate_hz: int = 24000) -> bytes:
    """Audio that counts as speech."""
    time = np.arange(duration_ms * rate_hz // 1000) / rate_hz
    return (8000 * np.sin(2 * np.pi * 500 * time)).astype("<i2").tobytes()


def silent(duration_ms: int, rate_hz: int = 24000) -> bytes:
    """Audio that does not."""
    return bytes(2 * (duration_ms * rate_hz // 1000))


class Desk:
    """One conversation, the engines it asks and the clock it runs by."""

    def __init__(
        self,
        *,
        config: AnyConfig | None = None,
        max_age_s: float = 3600.0,
        script: Script | None = None,
        answers_itself: bool = True,
    ) -> None:
        self.now = 100.0
        self.log: list[Event] = []
        """Everything that was said."""
        self.events: list[Event] = []
        """The same without the limits, which follow each response and tell nothing of the conversation."""
        self.asked: list[Task] = []
        self.words: list[Recognition] = []
        self.sentence_ms = 1000
        self.answers_itself = answers_itself
        self.conversation = Conversation(
            ConversationOptions(config=config or SessionConfig(model="model-of-the-url"), max_age_s=max_age_s),
            phrasebook=Phrasebook(script) if script else _BOOK,
            gate=LoudnessGate(),  # type: ignore[arg-type]
            entropy=random.Random(7),
            now=self.now,
            unix_time=UNIX_TIME,
        )
        self.settle()

    def settle(self) -> None:
        """Collect what was said, and answer what was asked until nothing more is."""
        while True:
            for text in self.conversation.events_to_send():
                event = json.loads(text)
                assert_valid(event, "server")
                assert_typed(event, "server")
                self.log.append(event)
                if event["type"] != "rate_limits.updated":
                    self.events.append(event)
            tasks = self.conversation.tasks()
            self.asked += tasks
            if not tasks:
                return
            if self.answers_itself:
                for task in tasks:
                    self.answer(task)

    def answer(self, task: Task) -> None:
        """What the engines would answer to `task`."""
        match task:
            case Listen():
                self.conversation.measured(task.number, 1.0, self.now)
            case Recognize():
                heard = self.words.pop(0) if self.words else NOTHING
                self.conversation.recognized(task.number, heard, self.now)
            case Speak() if self.conversation.is_wanted(task.number):
                audio = b"\x11" * (self.sentence_ms * task.wire_format.bytes_per_ms)
                self.conversation.spoken(task.number, audio)
                self.conversation.sentence_ended(task.number, self.now)
            case Speak() | Prepare():
                pass

    def last_asked(self, kind: type[Any]) -> Any:
        """The newest task of a kind."""
        return [task for task in self.asked if isinstance(task, kind)][-1]

    def send(self, kind: str, **members: Any) -> list[Event]:
        """Send a client event; returns the events that it brought."""
        return self.send_raw(json.dumps({"type": kind, **members}))

    def send_raw(self, message: str | bytes) -> list[Event]:
        """Send any message; returns the events that it brought."""
        return self.during(lambda: self.conversation.receive(message, self.now))

    def during(self, action: Callable[[], object]) -> list[Event]:
        """The events that `action` brings."""
        count = len(self.events)
        action()
        self.settle()
        return self.events[count:]

    def update(self, **session: Any) -> list[Event]:
        """Change the session."""
        return self.send("session.update", session={"type": "realtime", **session})

    def turns(self, **turn_detection: Any) -> list[Event]:
        """Change how turns are found."""
        return self.update(audio={"input": {"turn_detection": {"type": "server_vad", **turn_detection}}})

    def by_hand(self) -> list[Event]:
        """Let the client end the turns."""
        return self.update(audio={"input": {"turn_detection": None}})

    def append(self, audio: bytes) -> list[Event]:
        """Send audio."""
        return self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def hear(self, text: str, *, fit: float = CERTAIN_FIT, speech_ms: int = 800, silence_ms: int = 600) -> list[Event]:
        """A turn in which the recogniser makes out `text`."""
        self.words.append(Recognition(text=text, fit=fit))
        return self.append(loud(speech_ms)) + self.append(silent(silence_ms))

    def write(self, text: str, **members: Any) -> list[Event]:
        """A user's message in text."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **members}
        return self.send("conversation.item.create", item=item)

    def respond(self, **response: Any) -> list[Event]:
        """Ask for a response."""
        return self.send("response.create", **({"response": response} if response else {}))

    def pass_time(self, seconds: float) -> list[Event]:
        """Let the clock run, waking the conversation when it asked to be."""
        end = self.now + seconds
        count = len(self.events)
        while self.conversation.closing is None and (due := self.conversation.get_timer()) <= end:
            self.now = due
            self.conversation.handle_timer(self.now)
            self.settle()
        self.now = end
        return self.events[count:]


def kinds(events: list[Event]) -> list[str]:
    """Types in order; in a row of deltas each kind counts once."""
    found: list[str] = []
    row: set[str] = set()
    for event in events:
        kind = event["type"]
        if not kind.endswith(".delta"):
            row.clear()
        elif kind in row:
            continue
        else:
            row.add(kind)
        found.append(kind)
    return found


def only(events: list[Event], kind: str) -> Event:
    """The one event of a type."""
    found = [event for event in events if event["type"] == kind]
    assert len(found) == 1, f"{len(found)} {kind} in {kinds(events)}"
    return found[0]


def refusal(events: list[Event]) -> tuple[str, str | None]:
    """Code and parameter of the one error that is all there is."""
    assert kinds(events) == ["error"], kinds(events)
    return events[0]["error"]["code"], events[0]["error"]["param"]


def spoken(events: list[Event]) -> str:
    """All words said in the responses among `events`."""
    done = [event["transcript"] for event in events if event["type"] == "response.output_audio_transcript.done"]
    return " ".join(done)


def calls(events: list[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Functions called, with their arguments."""
    kind = "response.function_call_arguments.done"
    return [(event["name"], json.loads(event["arguments"])) for event in events if event["type"] == kind]
