"""The scripted realtime provider in a thread of its own, for tests that are not asynchronous.

What it hears is in `Conversation.uplink`. It says its prepared sentences in order, one for each `response.create` of
any session and one for each `Conversation.answer`. It has no ear: turns end when the test says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tests.interop.pbx import wait_until
from tests.support.listening import Samples
from tests.support.realtime_server import RealtimeServer, ServerSession, Speech

MODEL_RATE_HZ = 24000
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Conversation:
    """One session, as seen by the server."""

    session: ServerSession
    loop: asyncio.AbstractEventLoop

    @property
    def uplink(self) -> Samples:
        """What the caller said so far, `int16` at 24 kHz."""
        audio = bytes(self.session.audio)
        return np.frombuffer(audio[: len(audio) // 2 * 2], dtype="<i2").astype(np.int16)

    @property
    def uplink_s(self) -> float:
        """How much audio of the caller has come."""
        return len(self.session.audio) / 2 / MODEL_RATE_HZ

    @property
    def is_open(self) -> bool:
        return self.session.close_code is None

    def answer(self) -> None:
        """Say the next prepared sentence, as after a turn of the caller's."""
        asyncio.run_coroutine_threadsafe(self.session.reply(), self.loop).result(PATIENCE_S)


class SpeechServer:
    """`url` is what goes into the gateway's configuration."""

    def __init__(self, answers: Sequence[Samples], delay_s: float) -> None:
        self.url = ""
        replies = [Speech(audio=answer.astype("<i2").tobytes()) for answer in answers]
        self._server = RealtimeServer(replies=replies, delay_s=delay_s)
        self._loop = asyncio.new_event_loop()
        self._is_ended = asyncio.Event()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def conversations(self) -> list[Conversation]:
        """All sessions there ever were, in the order they came."""
        return [Conversation(session, self._loop) for session in self._server.sessions]

    def wait_for_conversation(self) -> Conversation:
        wait_until(lambda: self.conversations, "a realtime session", PATIENCE_S)
        return self.conversations[0]

    def start(self) -> None:
        self._thread.start()
        if not self._is_ready.wait(PATIENCE_S):
            raise TimeoutError("the realtime server does not start")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._is_ended.set)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with self._server:
            self.url = self._server.url
            self._is_ready.set()
            await self._is_ended.wait()


@contextmanager
def speech_server(answers: Sequence[Samples], delay_s: float = 0.0) -> Iterator[SpeechServer]:
    """A server on a free port that says `answers` (24 kHz), and takes `delay_s` to open a session."""
    server = SpeechServer(answers, delay_s)
    server.start()
    try:
        yield server
    finally:
        server.close()
