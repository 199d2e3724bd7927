"""GPT-Live among the other providers, as far as there are turns to speak of."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from gateway.errors import ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime.session import SessionOptions, Tool, open_session
from tests.support.live_server import LiveServer, LiveServerSession
from tests.support.provider_conformance import FakeProvider, ProviderConformance
from tests.support.realtime_server import Speech, ToolCalls

FILLING = 0xFF
"""Silence that the session sends while the test does not."""


class LivePeer:
    """The stand-in's side, in the words of the tests for every provider."""

    def __init__(self, session: LiveServerSession) -> None:
        self._session = session

    def _heard(self) -> bytes:
        return bytes(octet for octet in self._session.audio if octet != FILLING)

    async def wait_for_audio(self, size: int) -> bytes:
        await self._session.wait_until(lambda: len(self._heard()) >= size, f"{size} bytes")
        return self._heard()

    async def end_turn(self, text: str) -> None:
        await self._session.hear(text)
        await self._session.reply()

    async def break_in(self) -> None: ...
    async def send_late_audio(self, audio: bytes) -> None: ...

    async def send_raw(self, data: str | bytes) -> None:
        await self._session.connection.send(data)

    async def close(self, code: int, reason: str) -> None:
        await self._session.connection.close(code, reason)

    def drop(self) -> None:
        self._session.drop()

    async def wait_closed(self) -> object:
        return await self._session.wait_closed()

    def message_count(self) -> int:
        return len(self._session.events)


class LiveProvider:
    """The stand-in, in the words of the tests for every provider."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self.options = SessionOptions(
            provider="openai_live",
            url=server.url,
            model="gpt-live-1",
            input_format=AudioFormat.PCMU,
            output_format=AudioFormat.PCMU,
            transcription_model="any",
            tools=(Tool(name="look"), Tool(name="ring")),
        )

    def script(self, *replies: Speech | ToolCalls) -> None:
        self._server.replies += replies

    async def peer(self) -> LivePeer:
        return LivePeer(await self._server.session())

    def refuse(self) -> None:
        self._server.start_error = "invalid_api_key"


class TestOpenAILive(ProviderConformance):
    """Nothing is cancelled or cut in a session that is full duplex: the model stops by itself."""

    test_barge_in_ends_the_reply_once_and_its_late_audio_is_not_heard = None  # type: ignore[assignment]
    test_reply_that_is_cancelled_is_heard_no_further = None  # type: ignore[assignment]

    def provider(self) -> AbstractAsyncContextManager[FakeProvider]:
        return self._running()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[FakeProvider]:
        async with LiveServer(is_hasty=True) as server:
            yield LiveProvider(server)

    async def test_every_format_it_claims_is_taken_and_no_other(self) -> None:
        """One for both directions."""
        async with self.provider() as provider:
            known = open_session(provider.options).capabilities.input_formats
            for form in AudioFormat:
                options = dataclasses.replace(provider.options, input_format=form, output_format=form)
                if form in known:
                    open_session(options)
                else:
                    with pytest.raises(ProviderRefused):
                        open_session(options)
