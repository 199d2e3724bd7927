"""Callers on a telephone line, and a WebSocket client that sends what they say."""

from __future__ import annotations

import asyncio
import audioop
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

from gateway.embedded.audio import resample
from gateway.embedded.voice import speak
from tests.support.openai_types import assert_typed
from tests.support.realtime_schema import assert_valid

Event = dict[str, Any]
Samples = NDArray[np.int16]

LOWEST_HZ, HIGHEST_HZ = 250, 3450
PATIENCE_S = 20.0
"""Longest wait for an event; only a failing test reaches it."""


@cache
def said(text: str, voice: str = "caller") -> Samples:
    """`text` as it comes over a telephone line: `int16[n]` at 8 kHz, between 250 and 3450 Hz, through mu-law."""
    dry = speak(text, voice=voice).astype(np.float64)
    spectrum = np.fft.rfft(dry)
    hz = np.fft.rfftfreq(len(dry), 1 / 8000)
    spectrum[(hz < LOWEST_HZ) | (hz > HIGHEST_HZ)] = 0
    band = np.clip(np.fft.irfft(spectrum, len(dry)), -32768, 32767).astype("<i2").tobytes()
    return np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(band, 2), 2), dtype="<i2").astype(np.int16)


def silence(duration_ms: int) -> Samples:
    """Nothing said, at 8 kHz."""
    return np.zeros(8 * duration_ms, dtype=np.int16)


def encoded(samples: Samples, form: str) -> bytes:
    """`int16[n]` at 8 kHz in a format of the protocol."""
    if form == "audio/pcm":
        return resample(samples, 8000, 24000).astype("<i2").tobytes()
    encode = audioop.lin2ulaw if form == "audio/pcmu" else audioop.lin2alaw
    return encode(samples.astype("<i2").tobytes(), 2)


def decoded(audio: bytes, form: str) -> Samples:
    """The reverse."""
    if form == "audio/pcm":
        return resample(np.frombuffer(audio, dtype="<i2").astype(np.int16), 24000, 8000)
    decode = audioop.ulaw2lin if form == "audio/pcmu" else audioop.alaw2lin
    return np.frombuffer(decode(audio, 2), dtype="<i2").astype(np.int16)


class Client:
    """One session, every event of which is held against the published schema and kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Event] = []
        self.form = "audio/pcm"

    async def send(self, kind: str, **members: Any) -> None:
        """Send one client event, which is held against the schema, too."""
        event = {"type": kind, **members}
        assert_valid(event, "client")
        await self.socket.send(json.dumps(event))

    async def receive(self) -> Event:
        """The next event but for the limits, which follow each response."""
        while True:
            async with asyncio.timeout(PATIENCE_S):
                event: Event = json.loads(await self.socket.recv())
            assert_valid(event, "server")
            assert_typed(event, "server")
            if event["type"] != "rate_limits.updated":
                self.events.append(event)
                return event

    async def until(self, kind: str, wanted: Callable[[Event], bool] = lambda _: True) -> list[Event]:
        """All events up to and with the next of a type."""
        found: list[Event] = []
        while not found or found[-1]["type"] != kind or not wanted(found[-1]):
            found.append(await self.receive())
        return found

    async def update(self, **session: Any) -> Event:
        """Change the session; returns it."""
        await self.send("session.update", session={"type": "realtime", **session})
        answer = (await self.until("session.updated"))[-1]
        self.form = answer["session"]["audio"]["input"]["format"]["type"]
        result: Event = answer["session"]
        return result

    async def say(self, samples: Samples, *, silence_ms: int = 700) -> None:
        """Let the caller speak, in telephone blocks of 20 ms, and be silent for the end of the turn."""
        audio = encoded(np.concatenate((samples, silence(silence_ms))), self.form)
        size = 20 * (48 if self.form == "audio/pcm" else 8)
        for start in range(0, len(audio), size):
            block = base64.b64encode(audio[start : start + size]).decode()
            await self.socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": block}))

    async def write(self, text: str) -> list[Event]:
        """A message in text."""
        content = [{"type": "input_text", "text": text}]
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        return await self.until("conversation.item.done")

    async def respond(self, **response: Any) -> list[Event]:
        """Ask for a response and take all of it."""
        await self.send("response.create", **({"response": response} if response else {}))
        return await self.until("response.done")


@asynccontextmanager
async def telephone(url: str, **options: Any) -> AsyncIterator[Client]:
    """A session that has just been created, with some model where `url` has no query."""
    async with connect(url if "?" in url else f"{url}?model=any", max_size=None, compression=None, **options) as socket:
        client = Client(socket)
        await client.until("session.created")
        yield client
