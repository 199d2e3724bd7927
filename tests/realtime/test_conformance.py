"""Our providers do what every provider must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gateway.media.codec import AudioFormat
from gateway.realtime.session import Secret, SessionOptions, Tool
from tests.support.gemini_server import GeminiServer, GeminiSession, audio_part
from tests.support.provider_conformance import FakeProvider, ProviderConformance
from tests.support.realtime_server import InBandRefusal, RealtimeServer, ServerSession, Speech, ToolCalls

TOOLS = (Tool(name="look"), Tool(name="ring"))


class _OpenAIPeer:
    def __init__(self, session: ServerSession) -> None:
        self._session = session
        self._turn = ""
        self._late = ("", "")
        self.wait_for_audio = session.wait_for_audio
        self.send_raw = session.send_text
        self.close = session.close
        self.drop = session.drop
        self.wait_closed = session.wait_closed

    async def end_turn(self, text: str) -> None:
        turn, self._turn = self._turn or await self._session.start_speech(), ""
        await self._session.end_turn(turn, text)

    async def break_in(self) -> None:
        self._late = self._session._open_items[-1]
        self._turn = await self._session.start_speech()

    async def send_late_audio(self, audio: bytes) -> None:
        response_id, item_id = self._session._open_items[-1] if self._session._open_items else self._late
        await self._session.send_audio(audio, response_id=response_id, item_id=item_id)

    def message_count(self) -> int:
        return len(self._session.events)


class _OpenAI:
    def __init__(self, server: RealtimeServer) -> None:
        self._server = server
        self.options = SessionOptions(
            url=server.url, api_key=Secret("k"), model="m", transcription_model="t", tools=TOOLS
        )

    def script(self, *replies: Speech | ToolCalls) -> None:
        self._server.replies += replies

    async def peer(self) -> _OpenAIPeer:
        return _OpenAIPeer(await self._server.session())

    def refuse(self) -> None:
        self._server.refusal = InBandRefusal()


@asynccontextmanager
async def _openai() -> AsyncIterator[FakeProvider]:
    async with RealtimeServer() as server:
        yield _OpenAI(server)


class TestOpenAI(ProviderConformance):
    def provider(self) -> AbstractAsyncContextManager[FakeProvider]:
        return _openai()


class _GeminiPeer:
    def __init__(self, session: GeminiSession) -> None:
        self._session = session
        self.wait_for_audio = session.wait_for_audio
        self.end_turn = session.end_turn
        self.send_raw = session.send
        self.close = session.close
        self.drop = session.drop
        self.wait_closed = session.wait_closed

    async def break_in(self) -> None:
        await self._session.content(interrupted=True)
        await self.send_late_audio(b"late")
        await self._session.complete()

    async def send_late_audio(self, audio: bytes) -> None:
        if self._session.is_speaking:
            await self._session.content(modelTurn={"parts": [audio_part(audio)]})

    def message_count(self) -> int:
        return len(self._session.messages)


class _Gemini:
    def __init__(self, server: GeminiServer) -> None:
        self._server = server
        self.options = SessionOptions(
            provider="gemini",
            url=server.url,
            api_key=Secret("k"),
            model="m",
            input_format=AudioFormat.PCM16_16K,
            transcription_model="own",
            tools=TOOLS,
        )

    def script(self, *replies: Speech | ToolCalls) -> None:
        self._server.replies += replies

    async def peer(self) -> _GeminiPeer:
        return _GeminiPeer(await self._server.session())

    def refuse(self) -> None:
        self._server.refusal = (1007, "API key not valid. Please pass a valid API key.")


@asynccontextmanager
async def _gemini() -> AsyncIterator[FakeProvider]:
    async with GeminiServer() as server:
        yield _Gemini(server)


class TestGemini(ProviderConformance):
    def provider(self) -> AbstractAsyncContextManager[FakeProvider]:
        return _gemini()
