"""Texts are spoken and callers listened to by every family of providers, over their own protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.calls.events import Event
from gateway.calls.events.steps import Speak, SpeechBegan, WordsHeard
from gateway.calls.speaking.listener import Listener
from gateway.calls.speaking.side_session import SideSessions
from gateway.calls.speaking.speaker import Speaker
from gateway.calls.speaking.speech import SpeechStore
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from tests.realtime.test_conformance import _gemini, _openai
from tests.realtime.test_openai_live_conformance import LiveProvider
from tests.support.bare_plan import BARE_PLAN
from tests.support.live_server import LiveServer
from tests.support.provider_conformance import FakeProvider
from tests.support.realtime_server import Speech

PATIENCE_S = 5.0
VOICE = bytes(range(1, 201)) * 24
TEXT = "Good day."
Maker = Callable[[], AbstractAsyncContextManager[FakeProvider]]


@asynccontextmanager
async def _live() -> AsyncIterator[FakeProvider]:
    """It lives by the audio that it is sent: 0.5 s of speech take as long."""
    async with LiveServer() as server:
        yield LiveProvider(server)


every_provider = pytest.mark.parametrize("provider", [_openai, _gemini, _live])


class Desk:
    """What speakers and listeners need of a call, and what they did."""

    def __init__(self, options: realtime.SessionOptions) -> None:
        self.played: list[bytes] = []
        self.opened = 0
        self.told: asyncio.Queue[Event] = asyncio.Queue()
        self.changed = asyncio.Event()
        self.settled = asyncio.Event()
        engine = SimpleNamespace(
            play=lambda _leg, _item, audio: self.played.append(audio),
            end_item=lambda _leg, _item: None,
            queued_ms=lambda _leg: 0.0,
        )
        services: Any = SimpleNamespace(
            sessions={"default": options},
            chain=lambda use: (use,),
            open_session=self._open,
            speech=SpeechStore(),
            media=SimpleNamespace(engine=engine),
        )
        formats = (options.input_format, options.output_format)
        line: Any = SimpleNamespace(leg=1, formats=formats, law=lambda _offer: AudioFormat.PCMU)
        brief: Any = SimpleNamespace(plan=BARE_PLAN, offered=None, start=SimpleNamespace(call_id="c"))
        spending: Any = SimpleNamespace(
            aside=lambda _chain, _uses: SimpleNamespace(hear=lambda _event: None), refusal=lambda: None
        )
        self.sessions = SideSessions(services, brief, lambda: line, spending)

    def _open(self, _uses: object, chain: Any) -> realtime.RealtimeSession:
        session = realtime.open_session(chain[0])
        self.opened += 1
        return session

    def speaker(self, tasks: asyncio.TaskGroup) -> Speaker:
        words: Any = SimpleNamespace(cut=lambda: None, sounds=lambda *_: None, complete=lambda: None)
        return Speaker(self.sessions, lambda: tasks, self.changed.set, ready=lambda: None, words=words)


@every_provider
async def test_a_text_is_spoken_to_the_byte_and_kept(provider: Maker) -> None:
    async with provider() as fake, asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        fake.script(Speech(audio=VOICE, text=TEXT))
        desk = Desk(fake.options)
        speaker = desk.speaker(tasks)
        for _ in range(2):
            desk.played.clear()
            desk.changed.clear()
            speaker.speak(Speak(text=TEXT))
            await desk.changed.wait()
            assert b"".join(desk.played).replace(b"\xff", b"") == VOICE
        assert desk.opened == 1
        assert not speaker.is_busy


@every_provider
async def test_what_a_caller_says_is_told_and_no_answer_is_heard(provider: Maker) -> None:
    async with provider() as fake, asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        fake.script(Speech(audio=VOICE, text="I am not heard."))
        desk = Desk(fake.options)
        listener = Listener(desk.sessions, lambda: tasks, desk.told.put_nowait, desk.settled.set)
        listener.begin(("sales",))
        peer = await fake.peer()
        await desk.settled.wait()
        assert listener.hears
        listener.append_audio(b"\x01\x02" * 800)
        assert await peer.wait_for_audio(1600) == b"\x01\x02" * 800
        await peer.end_turn("Sales, please.")
        told = [await desk.told.get()]
        while not isinstance(told[-1], WordsHeard):
            told.append(await desk.told.get())
        assert [event for event in told if not isinstance(event, SpeechBegan)] == [WordsHeard(text="Sales, please.")]
        assert desk.played == []
        listener.stop()
