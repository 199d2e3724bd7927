"""Every dialect of OpenAI's protocol does what every provider must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from gateway.realtime.profile import profile_of
from gateway.realtime.session import Secret, SessionOptions, TurnDetection
from tests.realtime.test_conformance import TOOLS, _OpenAIPeer
from tests.support.dialect_server import KEY, RULES, DialectServer
from tests.support.provider_conformance import FakeProvider, ProviderConformance
from tests.support.realtime_server import InBandRefusal, Speech, ToolCalls


class _Dialect:
    def __init__(self, server: DialectServer, name: str) -> None:
        self._server = server
        profile = profile_of(name)
        assert profile is not None
        assert profile.linear_formats is not None
        heard, spoken = profile.linear_formats
        self.options = SessionOptions(
            provider=name,
            url=server.root,
            api_key=Secret(KEY),
            model="m",
            transcription_model="t",
            tools=TOOLS,
            input_format=heard,
            output_format=spoken,
            turn_detection=TurnDetection(kind=profile.turn_detection or "none"),
        )

    def script(self, *replies: Speech | ToolCalls) -> None:
        self._server.replies += replies

    async def peer(self) -> _OpenAIPeer:
        return _OpenAIPeer(await self._server.session())

    def refuse(self) -> None:
        self._server.refusal = InBandRefusal()


@pytest.mark.parametrize("name", sorted(RULES))
class TestDialects(ProviderConformance):
    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self._name = name

    def provider(self) -> AbstractAsyncContextManager[FakeProvider]:
        return _dialect(self._name)


@asynccontextmanager
async def _dialect(name: str) -> AsyncIterator[FakeProvider]:
    async with DialectServer(name) as server:
        yield _Dialect(server, name)
