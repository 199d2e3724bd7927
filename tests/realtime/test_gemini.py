"""Gemini sessions over a real WebSocket: the opening, credentials that nobody sees, and what is refused beforehand."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.session import (
    AudioDelta,
    Interrupted,
    ResponseFinished,
    ResumptionOffered,
    Secret,
    SessionClosed,
    SessionExpiring,
    SessionFailed,
    SessionOptions,
    SpeechStarted,
    Tool,
    ToolCalled,
    ToolCancelled,
    TurnDetection,
    open_session,
)
from tests.support.gemini_server import PATH, GeminiServer
from tests.support.provider_server import HttpRefusal
from tests.support.realtime_events import EventLog
from tests.support.realtime_server import Call, Speech, ToolCalls

KEY = "AIza-never-shown"
VOICE = bytes(range(1, 241)) * 200  # 1 s


def options(server: GeminiServer | None = None, **changes: Any) -> SessionOptions:
    defaults: dict[str, Any] = {
        "provider": "gemini",
        "url": server.url if server else "ws://h",
        "model": "gemini-3.8-live",
        "api_key": Secret(KEY),
        "input_format": AudioFormat.PCM16_16K,
    }
    return SessionOptions(**defaults | changes)


async def test_session_is_set_up_with_the_key_in_the_query() -> None:
    async with GeminiServer() as server:
        session = open_session(options(server, voice="Kore"))
        await session.connect(EventLog())
        peer = await server.session()
        assert (peer.path, peer.query) == (PATH, {"key": [KEY]})
        assert peer.header("Authorization") is None
        assert peer.setup["model"] == "models/gemini-3.8-live"
        session.abort()


async def test_vertex_is_shown_a_token_in_a_header() -> None:
    path = "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent"
    async with GeminiServer() as server:
        session = open_session(options(server, url=server.url + path))
        await session.connect(EventLog())
        peer = await server.session()
        assert (peer.path, peer.query, peer.header("Authorization")) == (path, {}, f"Bearer {KEY}")
        session.abort()


@pytest.mark.parametrize(
    ("refusal", "error", "code"),
    [
        ((1007, f"API key not valid: {KEY}"), ProviderRefused, "invalid_api_key"),
        ((1008, "models/x is not found for API version v1beta"), ProviderRefused, "model_not_found"),
        ((1011, "Internal error encountered."), ProviderUnavailable, "1011"),
        (HttpRefusal(status=403), ProviderRefused, "http_403"),
        (HttpRefusal(status=429), ProviderUnavailable, "http_429"),
        (HttpRefusal(status=503), ProviderUnavailable, "http_503"),
    ],
    ids=str,
)
async def test_refusals_carry_their_verdict_and_never_the_key(
    refusal: Any, error: type[Exception], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with GeminiServer(refusal=refusal) as server:
        log = EventLog()
        with pytest.raises(error) as caught:
            await open_session(options(server)).connect(log)
    assert type(caught.value) is error
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert log.events == []
    ours = "".join(record.getMessage() for record in caplog.records if record.name != "websockets.server")
    assert KEY not in f"{caught.value!r}{caught.value.__cause__!r}{ours}"


async def test_key_in_the_reason_of_a_close_is_not_shown() -> None:
    async with GeminiServer() as server:
        session = open_session(options(server))
        log = EventLog()
        await session.connect(log)
        await (await server.session()).close(1007, f"bad key {KEY}")
        closed = await log.next(SessionClosed)
        assert KEY not in closed.reason
        assert KEY not in str(log.of(SessionFailed)[0].error)
    assert KEY not in repr(options())


async def test_provider_that_confirms_nothing_is_unavailable_at_the_deadline() -> None:
    async with GeminiServer(is_confirming=False) as server:
        with pytest.raises(ProviderUnavailable, match="setupComplete"):
            await open_session(options(server, connect_timeout_s=0.2)).connect(EventLog())


async def test_cancelled_connect_leaves_no_connection() -> None:
    async with GeminiServer(is_confirming=False) as server:
        connecting = asyncio.create_task(open_session(options(server)).connect(EventLog()))
        peer = await server.connection()
        await peer.received("setup")
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert await peer.wait_closed() == 1006


async def test_turns_of_our_own_over_the_wire() -> None:
    async with GeminiServer(replies=[Speech(audio=VOICE), Speech(audio=VOICE[::-1])]) as server:
        session = open_session(options(server, turn_detection=TurnDetection(kind="none")))
        log = EventLog()
        await session.connect(log)
        peer = await server.session()
        for _ in range(2):
            session.append_audio(VOICE)
            session.commit_audio()
            session.respond()
            await log.next(ResponseFinished)
        assert log.audio() == VOICE + VOICE[::-1]
        assert peer.kinds() == ["setup"] + ["realtimeInput"] * 4
        session.abort()


async def test_caller_breaks_in_while_a_tool_runs() -> None:
    calls = ToolCalls(calls=[Call(name="look")])
    async with GeminiServer(replies=[calls, Speech(audio=VOICE)]) as server:
        session = open_session(options(server, tools=(Tool(name="look"),)))
        log = EventLog()
        await session.connect(log)
        peer = await server.session()
        session.respond("Look.")
        call_id = (await log.next(ToolCalled)).call.call_id
        await peer.interrupt("Wait.", at_s=2.5)
        assert (await log.next(SpeechStarted)).audio_start_ms == 2500
        await log.next(Interrupted)
        assert (await log.next(ToolCancelled)).call_id == call_id
        session.send_tool_result(call_id, "{}")  # the strict peer would end the session
        session.respond("Go on.")
        await log.next(AudioDelta)
        assert session.statistics.stale_results == 1
        session.abort()


async def test_end_is_announced_and_a_new_session_may_follow() -> None:
    async with GeminiServer() as server:
        session = open_session(options(server))
        log = EventLog()
        await session.connect(log)
        peer = await server.session()
        await peer.send({"sessionResumptionUpdate": {"newHandle": "h1", "resumable": True}})
        await peer.send({"goAway": {"timeLeft": "50s"}})
        assert (await log.next(ResumptionOffered)).handle == "h1"
        assert (await log.next(SessionExpiring)).in_s == 50
        await peer.close(1008, "the connection was aborted")
        error = (await log.next(SessionFailed)).error
        assert (error.is_retryable, error.code) == (True, "session_expired")
        again = open_session(options(server, resume_handle="h1"))
        await again.connect(EventLog())
        assert (await server.session()).setup["sessionResumption"] == {"handle": "h1"}
        again.abort()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": ""}, "model"),
        ({"url": "ftp://h"}, "url"),
        ({"input_format": AudioFormat.PCMU}, "format"),
        ({"output_format": AudioFormat.PCM16_16K}, "format"),
        ({"turn_detection": TurnDetection(kind="semantic_vad")}, "turn_detection"),
        ({"turn_detection": TurnDetection(creates_response=False)}, "turn_detection"),
        ({"turn_detection": TurnDetection(idle_timeout_ms=5000)}, "turn_detection"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_gemini_cannot_do_is_refused_before_the_call(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(ProviderRefused) as caught:
        open_session(options(**changes))
    assert caught.value.code == code


def test_what_gemini_can_do() -> None:
    capabilities = open_session(options()).capabilities
    assert capabilities.has_resumption
    assert capabilities.has_manual_turns
    unable = ("has_truncate", "has_cancel", "has_questions", "has_update", "has_deletion", "is_full_duplex")
    assert [name for name in unable if getattr(capabilities, name)] == []
