"""An embedded server with engines of cardboard, for tests of what lies around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.embedded import server as server_module
from gateway.embedded.recognizer import NOTHING
from gateway.embedded.server import EmbeddedOptions, EmbeddedServer, serve
from gateway.embedded.worker import FrameKind


class CardboardEngines:
    """Engines that hear nothing and say a silent second at once; they tell who is served."""

    def __init__(self) -> None:
        self.is_running = False
        self.listening: set[int] = set()
        self.unjudged: list[Callable[[float], None]] = []
        """Chunks that wait for the ear; the test answers them."""
        self.voices: list[Any] = []
        self.ends_sentences = False

    async def start(self) -> None:
        self.is_running = True

    async def close(self) -> None:
        self.is_running = False

    def listen(self, stream: int, _chunk: bytes, on_probability: Callable[[float], None]) -> None:
        self.listening.add(stream)
        self.unjudged.append(on_probability)

    def forget(self, stream: int) -> None:
        self.listening.discard(stream)

    def prepare(self, _listening: object) -> None: ...

    def recognize(self, _samples: bytes, _listening: object, on_heard: Any, **_: object) -> None:
        on_heard(NOTHING)

    def speak(self, _text: str, *, wire_format: Any, on_frame: Any, **_: object) -> None:
        self.voices.append(on_frame)
        on_frame(FrameKind.DATA, bytes(1000 * wire_format.bytes_per_ms))
        if self.ends_sentences:
            asyncio.get_running_loop().call_soon(on_frame, FrameKind.END, b"")


@asynccontextmanager
async def cardboard_server(
    monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[tuple[EmbeddedServer, CardboardEngines]]:
    engines = CardboardEngines()
    monkeypatch.setattr(server_module, "Engines", lambda _options: engines)
    async with serve(EmbeddedOptions(port=0, **options)) as server:
        yield server, engines
