"""The session over a real WebSocket, against a strict GPT-Live that is full duplex."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live import session as openai_live
from gateway.realtime.openai_live.session import OpenAILiveSession
from gateway.realtime.session import (
    AudioFinished,
    InputTranscript,
    Message,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    Secret,
    SessionChange,
    SessionClosed,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    Tool,
    ToolCalled,
    TurnDetection,
    UsageReported,
    open_session,
)
from tests.support.live_server import LiveServer, LiveServerSession
from tests.support.provider_server import HttpRefusal
from tests.support.realtime_events import EventLog
from tests.support.realtime_server import Speech

KEY = "sk-never-shown"
SOUND, SILENCE = b"\x10" * 8, b"\xff" * 8  # a millisecond


def options(server: LiveServer, **changes: Any) -> SessionOptions:
    defaults: dict[str, Any] = {
        "provider": "openai_live",
        "url": server.url,
        "model": "gpt-live-1",
        "api_key": Secret(KEY),
        "input_format": AudioFormat.PCMU,
        "output_format": AudioFormat.PCMU,
        "transcription_model": "any",
    }
    return SessionOptions(**defaults | changes)


@asynccontextmanager
async def connected(
    server: LiveServer, **changes: Any
) -> AsyncIterator[tuple[OpenAILiveSession, LiveServerSession, EventLog]]:
    """A session that is open, the provider's side of it, and what it tells. Nothing may have been refused."""
    session = open_session(options(server, **changes))
    assert isinstance(session, OpenAILiveSession)
    log = EventLog()
    await session.connect(log)
    peer = await server.session()
    try:
        yield session, peer, log
        assert peer.faults == []
    finally:
        session.abort()


async def refusal_of(session: OpenAILiveSession) -> ProviderRefused | ProviderUnavailable:
    """The error with which it does not open."""
    told: list[SessionEvent] = []
    with pytest.raises((ProviderRefused, ProviderUnavailable)) as caught:
        await session.connect(told.append)
    assert told == []
    return caught.value


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_session_is_started_before_connect_returns() -> None:
    async with (
        LiveServer() as server,
        connected(
            server,
            voice="marin",
            instructions="Be kind.",
            tools=(Tool(name="look"),),
            history=(Message(role="user", text="Hello."), Message(role="assistant", text="Hello.")),
            headers=(("OpenAI-Project", "p"),),
        ) as (session, peer, log),
    ):
        (ready,) = log.events
        assert ready == SessionReady(session_id="live_1", model="gpt-live-1", expires_at_s=1_795_000_000)
        assert peer.path == "/v1/live/sessions"
        assert (peer.header("Authorization"), peer.header("OpenAI-Project")) == (f"Bearer {KEY}", "p")
        assert peer.kinds() == ["session.start"]
        assert session.capabilities.is_full_duplex


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"input_format": AudioFormat.PCM16_24K}, "format"),
        ({"input_format": AudioFormat.PCM16_8K, "output_format": AudioFormat.PCM16_8K}, "format"),
        ({"turn_detection": TurnDetection(kind="none")}, "turn_detection"),
        ({"model": ""}, "missing_model"),
        ({"url": "ftp://host"}, "url"),
    ],
)
async def test_what_cannot_be_had_is_refused_before_anything_is_sent(changes: dict[str, Any], code: str) -> None:
    async with LiveServer() as server:
        with pytest.raises(ProviderRefused) as caught:
            open_session(options(server, **changes))
        assert caught.value.code == code
        assert server.sessions == []


async def test_a_refused_start_is_the_end_of_connect() -> None:
    async with LiveServer(start_error="invalid_api_key") as server:
        error = await refusal_of(OpenAILiveSession(options(server)))
        assert (error.code, error.is_retryable) == ("invalid_api_key", False)
        assert KEY not in str(error)


async def test_a_refused_upgrade_tells_its_code() -> None:
    body = b'{"error": {"code": "insufficient_quota"}}'
    async with LiveServer(refusal=HttpRefusal(status=429, body=body)) as server:
        assert not (await refusal_of(OpenAILiveSession(options(server)))).is_retryable


async def test_a_provider_that_says_nothing_is_given_up_in_time() -> None:
    async with LiveServer(is_silent=True) as server:
        error = await refusal_of(OpenAILiveSession(options(server, connect_timeout_s=0.1)))
        assert (error.code, error.is_retryable) == ("timeout", True)
        assert "session.started" in str(error)


# --- talking ----------------------------------------------------------------------------------------------------------


async def test_a_greeting_comes_at_the_pace_of_the_callers_audio_and_its_silence_is_not_told() -> None:
    async with (
        LiveServer(replies=[Speech(audio=SOUND * 400, text="Welcome.")]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond("Greet the caller.")
        await peer.received("session.instructions.append")
        for _ in range(20):
            session.append_audio(SILENCE * 100)
        finished = await log.next(ResponseFinished)
        assert finished.status is ResponseStatus.COMPLETED
        assert SOUND * 400 in log.audio()
        assert len(log.audio()) // 8 < 1300  # of two seconds: the words, what led to them, and the pause behind
        words = [event.text for event in log.of(OutputTranscript) if event.is_final]
        assert words == ["Welcome."]
        assert len(log.of(AudioFinished)) == 1


async def test_a_model_that_is_talked_over_stops_by_itself() -> None:
    async with (
        LiveServer(replies=[Speech(audio=SOUND * 60_000)]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond()
        await peer.received("session.instructions.append")
        session.append_audio(SILENCE * 300)
        await log.next(ResponseStarted)
        session.append_audio(SOUND * 400)
        await peer.wait_until(lambda: peer.interruptions == 1, "an interruption")
        await peer.hear("Stop!")
        session.append_audio(SILENCE * 1000)
        await log.next(ResponseFinished)
        assert [event.text for event in log.of(InputTranscript) if event.is_final] == ["Stop!"]
        assert not peer.is_speaking


async def test_silence_flows_while_nothing_comes_from_the_caller() -> None:
    async with (
        LiveServer(replies=[Speech(audio=SOUND * 100, text="")]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond()
        await log.next(ResponseStarted)
        assert set(peer.audio) == {0xFF}


async def test_a_stall_of_ours_is_not_filled_up_beside_the_audio_that_waited_with_it() -> None:
    async with LiveServer() as server, connected(server) as (session, peer, _log):
        session.append_audio(SOUND * 100)
        session._look()
        await peer.wait_for_audio(800)
        assert bytes(peer.audio) == SOUND * 100
        session._look()
        await peer.wait_until(lambda: peer.audio[-1] == 0xFF, "silence")


async def test_a_stream_that_stops_in_mid_sentence_does_not_leave_the_call_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_live, "STALLED_S", 0.05)
    async with (
        LiveServer(replies=[Speech(audio=SOUND * 60_000)]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond()
        session.append_audio(SILENCE * 100)
        await log.next(ResponseStarted)
        peer.stall()
        assert (await log.next(ResponseFinished)).status is ResponseStatus.INCOMPLETE
        await peer.recover()
        await log.next(ResponseStarted)


async def test_a_tool_is_called_once_and_its_result_lets_the_model_go_on() -> None:
    async with (
        LiveServer(replies=[Speech(audio=SOUND * 200, text="It is noon.")]) as server,
        connected(server, tools=(Tool(name="time"),)) as (session, peer, log),
    ):
        call_id = await peer.call_tool("time", '{"zone": "UTC"}', times=2)
        called = await log.next(ToolCalled)
        assert (called.call.call_id, called.call.name, called.call.arguments) == (call_id, "time", {"zone": "UTC"})
        session.send_tool_result(call_id, '{"time": "12:00"}')
        session.send_tool_result(call_id, '{"time": "12:00"}')
        item = (await peer.received("response.item.create"))["item"]
        assert item == {"type": "function_call_output", "call_id": call_id, "output": '{"time": "12:00"}'}
        await peer.received("response.create")
        session.append_audio(SILENCE * 1500)
        assert (await log.next(OutputTranscript)).text == "It is noon."
        assert len(log.of(ToolCalled)) == 1
        assert peer.kinds().count("response.item.create") == peer.kinds().count("response.create") == 1
        assert log.of(UsageReported)[0].usage.input_tokens == 20


async def test_everything_that_a_session_can_be_told_is_taken_by_a_strict_provider() -> None:
    tools = (Tool(name="look", description="Looks."),)
    long = "Every word of this counts. " * 400
    history = tuple(Message(role="user", text=f"{number} {long}") for number in range(40))
    async with (
        LiveServer() as server,
        connected(server, tools=tools, history=history, max_output_tokens=3, reasoning_effort="low") as (
            session,
            peer,
            _,
        ),
    ):
        session.send_text("system", long)
        session.say(long)
        session.respond(long)
        session.update(SessionChange(instructions=long, tools=(), max_output_tokens=100))
        session.commit_audio()
        session.cancel_response()
        session.truncate("item", 0, 0)
        session.delete_item("item")
        await peer.received("session.update")
        assert [item["content"][0]["text"].split()[0] for item in peer.config["input"]] == ["38", "39"]
        assert peer.kinds().count("session.thinking.append") > 5


async def test_work_for_which_there_is_nobody_is_answered_in_words() -> None:
    async with LiveServer() as server, connected(server) as (_session, peer, _log):
        delegation_id = await peer.delegate("client")
        assert (await peer.received("session.commentary.append"))["delegation_id"] == delegation_id


async def test_a_link_that_stalls_makes_the_model_hear_hardly_later() -> None:
    packets, packet = 40_000, 20 * 8  # 800 s: more than every buffer of the kernel takes
    async with LiveServer(is_hasty=True) as server, connected(server) as (session, peer, _log):
        peer.freeze()
        for number in range(packets):
            session.append_audio(number.to_bytes(4, "big") * (packet // 4))
        kept = int(packets * packet - session.statistics.dropped_uplink_ms * 8)
        assert kept < packets * packet
        peer.thaw()
        audio = await peer.wait_for_audio(kept)
        numbers = [int.from_bytes(audio[start : start + 4], "big") for start in range(0, kept, packet)]
        first = next(number for number in range(packets, 0, -1) if numbers[number - packets - 1] != number - 1)
        assert 5 <= packets - first <= openai_live.UPLINK_BACKLOG_MS // 20
        assert numbers[-1] == packets - 1


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_a_polite_end_brings_the_last_bill_before_the_connection_goes() -> None:
    async with LiveServer() as server, connected(server) as (session, peer, log):
        await peer.report_usage(5.0, 0.4)
        assert (await log.next(UsageReported)).usage.seconds == 5
        await session.close()
        assert (await log.next(UsageReported)).usage.seconds == 2
        await log.next(SessionClosed)
        assert log.of(SessionFailed) == []
        assert session.statistics.context_usage_ratio == 0.4
        await peer.wait_closed()
        assert peer.kinds()[-1] == "session.close"


async def test_a_provider_that_says_no_farewell_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_live, "CLOSING_S", 0.01)
    async with LiveServer(is_farewelling=False) as server, connected(server) as (session, _peer, log):
        await session.close()
        await log.next(SessionClosed)
        assert log.of(SessionFailed) == []


async def test_a_session_that_was_never_opened_is_closed_at_once() -> None:
    async with LiveServer() as server:
        session = OpenAILiveSession(options(server))
        async with asyncio.timeout(openai_live.CLOSING_S / 2):
            await session.close()
        assert server.sessions == []


async def test_closing_that_is_given_up_leaves_no_connection() -> None:
    async with LiveServer(is_farewelling=False) as server, connected(server) as (session, peer, _log):
        closing = asyncio.create_task(session.close())
        await peer.received("session.close")
        closing.cancel()
        await peer.wait_closed()


@pytest.mark.parametrize(("reason", "is_retryable"), [("expired", True), ("content", False)])
async def test_the_providers_own_end_is_a_failure_with_its_reason(reason: str, *, is_retryable: bool) -> None:
    async with LiveServer() as server, connected(server) as (_session, peer, log):
        await peer.end(reason)
        failed = await log.next(SessionFailed)
        assert (failed.error.code, failed.error.is_retryable) == (reason, is_retryable)
        await log.next(SessionClosed)
        assert len(log.of(SessionFailed)) == 1


async def test_a_lost_connection_is_a_failure_and_closing_afterwards_takes_no_time() -> None:
    async with LiveServer() as server, connected(server) as (session, peer, log):
        peer.drop()
        assert (await log.next(SessionFailed)).error.is_retryable
        await log.next(SessionClosed)
        async with asyncio.timeout(openai_live.CLOSING_S / 2):
            await session.close()
        session.append_audio(SILENCE)
        session.respond()
