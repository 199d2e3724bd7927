"""A client of the embedded server over its real WebSocket: sends what a gateway would, collects what comes back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from gateway.embedded.voice import speak
from tests.support.openai_types import assert_typed
from tests.support.phone_line import Samples, carried, linear, pause, ulaw
from tests.support.realtime_schema import assert_valid

PATIENCE_S = 10.0
"""Longest wait for an event; only a failing test reaches it."""
FRAME_BYTES = 160

Event = dict[str, Any]


class RealtimeCaller:
    """One connection. Every event that arrives is checked against its published schema."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Event] = []

    async def send(self, event: Mapping[str, Any] | str | bytes) -> None:
        """One client event."""
        await self.socket.send(json.dumps(event) if isinstance(event, Mapping) else event)

    async def receive(self) -> Event:
        """The next server event but for the limits, which follow each response."""
        while True:
            event: Event = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_S))
            assert_valid(event, "server")
            assert_typed(event, "server")
            if event["type"] != "rate_limits.updated":
                self.events.append(event)
                return event

    async def until(self, kind: str) -> list[Event]:
        """All events up to the next one of this type."""
        found = [await self.receive()]
        while found[-1]["type"] != kind:
            found.append(await self.receive())
        return found

    async def configure(self, **session: Any) -> None:
        """Telephone formats, 300 ms of silence, transcripts; more as given."""
        turn_detection = {"type": "server_vad", "silence_duration_ms": 300}
        heard = {"format": {"type": "audio/pcmu"}, "transcription": {"model": "any"}, "turn_detection": turn_detection}
        audio = {"input": heard, "output": {"format": {"type": "audio/pcmu"}}}
        await self.send({"type": "session.update", "session": {"type": "realtime", "audio": audio} | session})
        await self.until("session.updated")

    async def append(self, samples: Samples) -> None:
        """Audio in frames of a telephone, as fast as the socket takes them: the server's clock is the audio."""
        coded = ulaw(samples)
        for start in range(0, len(coded), FRAME_BYTES):
            audio = base64.b64encode(coded[start : start + FRAME_BYTES]).decode()
            await self.send({"type": "input_audio_buffer.append", "audio": audio})

    async def say(self, text: str, *, voice: str = "caller") -> None:
        """A turn, as a telephone line carries it, and the silence that ends it."""
        await self.append(carried(np.concatenate((pause(0.3), speak(text, voice=voice), pause(0.8)))))


@asynccontextmanager
async def calling(url: str, query: str = "?model=any", **options: Any) -> AsyncIterator[RealtimeCaller]:
    """A connection whose session has been created."""
    async with connect(url + query, compression=None, max_size=None, **options) as socket:
        caller = RealtimeCaller(socket)
        created = await caller.receive()
        assert created["type"] == "session.created"
        yield caller


def heard_audio(events: list[Event]) -> Samples:
    """The assistant's speech in `events`, `int16[n]` at 8 kHz, from mu-law."""
    deltas = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
    return linear(b"".join(base64.b64decode(delta) for delta in deltas))
