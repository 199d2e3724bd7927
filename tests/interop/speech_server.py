"""A realtime server that hears and speaks exactly what a test says, in a thread of this process.

It takes the audio it is sent (24 kHz PCM16) into `Conversation.uplink`, and answers every `response.create` with the
next of its prepared sentences, all at once as hosted models do. It has no ear: turns begin and end when the test says
so, by `Conversation.answer`. Protocol: OpenAI Realtime GA, the events a client must have.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.interop.pbx import HOST, wait_until
from tests.support.listening import Samples

MODEL_RATE_HZ = 24000
CHUNK_BYTES = 9600  # 200 ms


@dataclass(slots=True)
class Conversation:
    """One session, as seen by the server. `events` are all client events but audio."""

    connection: ServerConnection
    answers: Iterator[Samples]
    events: list[dict[str, Any]] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    is_open: bool = True
    _audio: bytearray = field(default_factory=bytearray)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def uplink(self) -> Samples:
        """What the caller said so far, `int16` at 24 kHz."""
        whole = bytes(self._audio)
        return np.frombuffer(whole[: len(whole) // 2 * 2], dtype="<i2").astype(np.int16)

    def seen(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def answer(self) -> None:
        """Say the next prepared sentence, as after a turn of the caller's."""
        samples = next(self.answers, None)
        number = next(self._numbers)
        response, item = f"resp_{number}", f"item_{number}"
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self._send(
            "response.created", response={"id": response, "object": "realtime.response", "status": "in_progress"}
        )
        message = {"id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        self._send("response.output_item.added", response_id=response, output_index=0, item=message)
        audio = b"" if samples is None else samples.astype("<i2").tobytes()
        for start in range(0, len(audio), CHUNK_BYTES):
            chunk = base64.b64encode(audio[start : start + CHUNK_BYTES]).decode()
            self._send("response.output_audio.delta", **place, delta=chunk)
        self._send("response.output_audio.done", **place)
        self._send("response.output_audio_transcript.done", **place, transcript="prepared")
        done = message | {"status": "completed"}
        self._send("response.output_item.done", response_id=response, output_index=0, item=done)
        usage = {"total_tokens": 2, "input_tokens": 1, "output_tokens": 1}
        finished = {
            "id": response,
            "object": "realtime.response",
            "status": "completed",
            "output": [done],
            "usage": usage,
        }
        self._send("response.done", response=finished)

    def run(self) -> None:
        """Serve this session until the client leaves."""
        session: dict[str, Any] = {"type": "realtime", "object": "realtime.session", "id": "sess_test", "model": "test"}
        self._send("session.created", session=session)
        try:
            for text in self.connection:
                self._take(json.loads(text), session)
        except ConnectionClosed:
            pass
        finally:
            self.is_open = False

    def _take(self, event: dict[str, Any], session: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self._audio += base64.b64decode(event["audio"])
            self.arrivals_s.append(time.monotonic())
            return
        self.events.append(event)
        if kind == "session.update":
            session |= event["session"]
            self._send("session.updated", session=session)
        elif kind == "response.create":
            self.answer()

    def _send(self, kind: str, **fields: object) -> None:
        self.connection.send(json.dumps({"type": kind, "event_id": f"event_{next(self._numbers)}"} | fields))


@dataclass(slots=True)
class SpeechServer:
    """`url` is what goes into the gateway's configuration; one `Conversation` a call, in the order they came."""

    answers: Sequence[Samples]
    url: str = ""
    conversations: list[Conversation] = field(default_factory=list)

    def wait_for_conversation(self, number: int = 0, timeout_s: float = 10) -> Conversation:
        wait_until(lambda: len(self.conversations) > number, f"realtime session {number}", timeout_s)
        return self.conversations[number]

    def _serve(self, connection: ServerConnection) -> None:
        conversation = Conversation(connection, iter(self.answers))
        self.conversations.append(conversation)
        conversation.run()


@contextmanager
def speech_server(answers: Sequence[Samples]) -> Iterator[SpeechServer]:
    """A server on a free port that answers with `answers` (24 kHz), one after the other, in every session."""
    server = SpeechServer(answers)
    with serve(server._serve, HOST, 0, compression=None) as listener:
        server.url = f"ws://{HOST}:{listener.socket.getsockname()[1]}/v1/realtime"
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
