"""Recovery over real WebSockets, with faults put between session and provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.recovery.endpoints import Endpoints, Endurance
from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.session import (
    AudioDelta,
    RealtimeSession,
    SessionOptions,
    SessionResumed,
    SessionSuspended,
    ToolCalled,
)
from gateway.transport import websocket
from tests.support.fault_proxy import FaultProxy, Mode
from tests.support.provider_server import HttpRefusal
from tests.support.realtime_events import EventLog
from tests.support.realtime_server import Call, RealtimeServer, ServerSession, Speech, ToolCalls

SPEECH = bytes(range(1, 201)) * 40


@asynccontextmanager
async def connected(
    server: RealtimeServer, *fallbacks: RealtimeServer, **recovery: Any
) -> AsyncIterator[tuple[RealtimeSession, ServerSession, EventLog, FaultProxy]]:
    async with FaultProxy(server.port) as proxy:
        ports = [proxy.port, *(fallback.port for fallback in fallbacks)]
        chain = [
            SessionOptions(
                url=f"ws://127.0.0.1:{port}/v1",
                model="m",
                input_format=AudioFormat.PCMU,
                output_format=AudioFormat.PCMU,
                connect_timeout_s=1.0,
            )
            for port in ports
        ]
        names = [f"s{number}" for number in range(len(chain))]
        endurance = Endurance(recovery=RecoveryOptions(**recovery))
        session = Endpoints({"s0": endurance}).session(names, chain)
        log = EventLog()
        await session.connect(log)
        try:
            yield session, await server.session(), log, proxy
        finally:
            await session.close()


def short_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ping sooner than anybody would, so that a test need not wait."""
    usual = websocket.WebSocketOptions.__init__

    def hasty(options: Any, **given: Any) -> None:
        usual(options, **({"ping_interval_s": 0.1, "pong_timeout_s": 0.1} | given))

    monkeypatch.setattr(websocket.WebSocketOptions, "__init__", hasty)


async def test_a_reset_in_the_middle_of_a_reply_costs_a_moment_and_the_reply_goes_on() -> None:
    speech = Speech(audio=SPEECH, text="A long reply", is_finished=False)
    async with RealtimeServer(replies=[speech]) as server, connected(server) as (session, _, log, proxy):
        session.respond()
        await log.next(AudioDelta)
        proxy.reset()
        resumed = await log.next(SessionResumed)
        second = await server.session()
        await second.received("response.create")
        texts = [str(event["item"]) for event in second.events if event["type"] == "conversation.item.create"]
        assert any("cut off" in text for text in texts)
        assert resumed.gap_ms < 3000
        session.append_audio(b"\xff" * 160)
        await second.wait_for_audio(160)


@pytest.mark.parametrize("direction", ["both", "down"])
async def test_a_half_open_connection_is_found_by_its_pongs(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short_pings(monkeypatch)
    async with RealtimeServer() as server, connected(server) as (session, _, log, proxy):
        proxy.half_open(up=direction == "both")
        suspended = await log.next(SessionSuspended)
        assert "half-open" in suspended.reason
        await log.next(SessionResumed)
        second = await server.session()
        session.append_audio(b"\xff" * 800)
        await second.wait_for_audio(800)


async def test_a_reset_at_any_byte_of_the_opening_is_a_try_that_failed() -> None:
    async with RealtimeServer() as server, connected(server, attempts=100, window_s=60.0) as (_, first, log, proxy):
        for size in (1, 40, 129, 300, 700):
            proxy.reset_after(down=size)
            proxy.reset()
            await log.next(SessionResumed)
        assert first.close_code == 1006
        assert proxy.open_count == 1


async def test_a_tool_that_runs_when_the_line_breaks_runs_once_and_its_result_arrives() -> None:
    calls = ToolCalls(calls=[Call(name="look", call_id="c1")])
    async with RealtimeServer(replies=[calls]) as server, connected(server) as (session, _, log, proxy):
        session.respond()
        called = await log.next(ToolCalled)
        proxy.reset()
        await log.next(SessionResumed)
        session.send_tool_result(called.call.call_id, "42")
        second = await server.session()
        await second.received("response.create")
        items = [event["item"] for event in second.events if event["type"] == "conversation.item.create"]
        assert [item["call_id"] for item in items if item["type"] == "function_call"] == ["c1"]
        assert any("42" in str(item) for item in items)
        assert len([event for event in log.events if isinstance(event, ToolCalled)]) == 1


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACK_HOLE])
async def test_the_fallback_takes_over_from_a_provider_that_is_gone(mode: Mode) -> None:
    async with (
        RealtimeServer() as server,
        RealtimeServer() as other,
        connected(server, other, attempts=2, window_s=2.0) as (_, _first, log, proxy),
    ):
        proxy.mode = mode
        proxy.reset()
        await log.next(SessionResumed)
        await other.session()


async def test_a_provider_that_asks_for_patience_is_left_alone_by_new_calls() -> None:
    refusal = HttpRefusal(status=429, headers={"Retry-After": "20"})
    async with RealtimeServer(refusal=refusal) as server:
        options = SessionOptions(url=server.url, model="m")
        endpoints = Endpoints({})
        for _ in range(3):
            with pytest.raises(ProviderUnavailable) as caught:
                await endpoints.session(["s0"], [options]).connect(lambda _event: None)
        assert server.attempts == 1
        assert caught.value.code == "circuit_open"
        assert 15 < (caught.value.retry_after_s or 0) <= 20


async def test_a_slow_link_and_a_stall_lose_old_audio_and_no_session() -> None:
    async with RealtimeServer() as server, connected(server) as (session, first, log, proxy):
        proxy.stall()
        for _ in range(100):
            session.append_audio(b"\x7f" * 160)
        await asyncio.sleep(0)
        proxy.resume()
        await first.wait_for_audio(160 * 20)
        proxy.slow(100_000)
        session.append_audio(b"\x55" * 160)
        await first.wait_for_audio(160 * 21)
        assert not [event for event in log.events if isinstance(event, SessionSuspended)]
