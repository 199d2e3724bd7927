"""The session over a real WebSocket, against a provider that behaves and one that does not."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.openai.session import OpenAIRealtimeSession
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    AudioFinished,
    InputTranscript,
    RealtimeSession,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    Secret,
    SessionClosed,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    SpeechStarted,
    Tool,
    ToolCalled,
    TurnDetection,
    open_session,
)
from tests.support.provider_server import HttpRefusal
from tests.support.realtime_events import EventLog
from tests.support.realtime_schema import assert_valid
from tests.support.realtime_server import Call, Failure, InBandRefusal, RealtimeServer, ServerSession, Speech, ToolCalls
from tests.support.websocket_peer import PeerServer, WebSocketPeer

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback-tls.pem"
KEY = "sk-never-shown"
SECOND_OF_SPEECH = bytes(range(1, 201)) * 40  # 1 s of G.711, no byte of it silence


def options(server: RealtimeServer, **changes: Any) -> SessionOptions:
    defaults: dict[str, Any] = {
        "url": server.url,
        "model": "gpt-realtime-2.1-mini",
        "api_key": Secret(KEY),
        "input_format": AudioFormat.PCMU,
        "output_format": AudioFormat.PCMU,
    }
    return SessionOptions(**defaults | changes)


@asynccontextmanager
async def connected(
    server: RealtimeServer, react: Callable[[RealtimeSession, SessionEvent], None] | None = None, **changes: Any
) -> AsyncIterator[tuple[RealtimeSession, ServerSession, EventLog]]:
    """A session that is open, the provider's side of it, and what it tells."""
    session = open_session(options(server, **changes))
    log = EventLog(None if react is None else lambda event: react(session, event))
    await session.connect(log)
    try:
        yield session, await server.session(), log
    finally:
        session.abort()


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_session_is_configured_before_connect_returns() -> None:
    async with RealtimeServer() as server:
        session = open_session(options(server, voice="marin", tools=(Tool(name="look"),)))
        log = EventLog()
        await session.connect(log)
        assert isinstance(log.events[0], SessionReady)
        peer = await server.session()
        assert (peer.path, peer.query) == ("/v1/realtime", {"model": ["gpt-realtime-2.1-mini"]})
        assert peer.header("Authorization") == f"Bearer {KEY}"
        assert peer.header("OpenAI-Beta") is None
        assert peer.kinds() == ["session.update"]
        assert_valid(peer.events[0], "client")
        assert peer.config["audio"]["output"] | {"speed": 1} == {
            "format": {"type": "audio/pcmu"},
            "voice": "marin",
            "speed": 1,
        }
        session.abort()


async def test_further_headers_are_sent() -> None:
    async with (
        RealtimeServer() as server,
        connected(server, api_key=None, headers=(("api-key", KEY),)) as (_, peer, _log),
    ):
        assert (peer.header("api-key"), peer.header("Authorization")) == (KEY, None)


async def test_key_with_the_line_end_of_its_file_is_sent_without_it() -> None:
    async with RealtimeServer() as server, connected(server, api_key=Secret(KEY + "\n")) as (_, peer, _log):
        assert peer.header("Authorization") == f"Bearer {KEY}"


async def test_session_over_tls() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    async with RealtimeServer(tls=tls) as server, connected(server, ca_file=CERTIFICATE) as (session, peer, _):
        session.append_audio(b"\xff" * 160)
        assert await peer.wait_for_audio(160) == b"\xff" * 160


async def test_certificates_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    session = open_session(SessionOptions(url="wss://127.0.0.1:1/v1", ca_file=tmp_path / "none.pem"))
    with pytest.raises(ProviderRefused, match=r"none\.pem"):
        await session.connect(EventLog())


@pytest.mark.parametrize(
    ("behaviour", "awaited"),
    [({"is_silent": True}, "session.created"), ({"is_confirming": False}, "session.updated")],
)
async def test_provider_that_falls_silent_is_unavailable_at_the_deadline(
    behaviour: dict[str, bool], awaited: str
) -> None:
    async with RealtimeServer(**behaviour) as server:  # type: ignore[arg-type]
        log = EventLog()
        session = open_session(options(server, connect_timeout_s=0.2))
        with pytest.raises(ProviderUnavailable, match=awaited):
            await session.connect(log)
        assert await server.sessions[0].wait_closed() == 1006
    assert log.events == []


async def test_deadline_of_connect_covers_all_its_steps() -> None:
    async with RealtimeServer(is_silent=True) as server:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(ProviderUnavailable):
            await open_session(options(server, connect_timeout_s=0.3)).connect(EventLog())
        assert asyncio.get_running_loop().time() - begin < 0.9


@pytest.mark.parametrize(
    ("refusal", "error", "code"),
    [
        (InBandRefusal(message=f"Incorrect API key provided: {KEY}"), ProviderRefused, "invalid_api_key"),
        (InBandRefusal(code="insufficient_quota", close_code=1008), ProviderRefused, "insufficient_quota"),
        (InBandRefusal(code="model_not_found", close_code=4004), ProviderRefused, "model_not_found"),
        (InBandRefusal(code="server_error", close_code=1011), ProviderUnavailable, "server_error"),
        (HttpRefusal(status=401), ProviderRefused, "http_401"),
        (HttpRefusal(status=403), ProviderRefused, "http_403"),
        (HttpRefusal(status=404), ProviderRefused, "http_404"),
        (HttpRefusal(status=429), ProviderUnavailable, "http_429"),
        (HttpRefusal(status=503), ProviderUnavailable, "http_503"),
        (
            HttpRefusal(status=429, body=b'{"error":{"code":"insufficient_quota"}}'),
            ProviderRefused,
            "insufficient_quota",
        ),
    ],
    ids=str,
)
async def test_refusals_carry_their_verdict(
    refusal: HttpRefusal | InBandRefusal, error: type[Exception], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with RealtimeServer(refusal=refusal) as server:
        log = EventLog()
        with pytest.raises(error) as caught:
            await open_session(options(server)).connect(log)
        assert server.attempts == 1
    assert type(caught.value) is error
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert log.events == []
    ours = "".join(record.getMessage() for record in caplog.records if record.name != "websockets.server")
    assert KEY not in str(caught.value) + ours


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("Mon, 30 Nov 2026 11:00:00 GMT", None), ("-1", None), ("", None)]
)
async def test_wait_that_a_refused_upgrade_asks_for_is_kept(value: str, seconds: float | None) -> None:
    async with RealtimeServer(refusal=HttpRefusal(status=429, headers={"Retry-After": value})) as server:
        with pytest.raises(ProviderUnavailable) as caught:
            await open_session(options(server)).connect(EventLog())
    assert caught.value.retry_after_s == seconds


async def test_refused_configuration_is_final() -> None:
    async with RealtimeServer(update_error="unknown_parameter") as server:
        with pytest.raises(ProviderRefused, match="unknown_parameter"):
            await open_session(options(server)).connect(EventLog())


async def test_provider_that_takes_other_formats_is_refused() -> None:
    overrides = {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}}
    async with RealtimeServer(overrides=overrides) as server:
        with pytest.raises(ProviderRefused, match="audio/pcmu"):
            await open_session(options(server)).connect(EventLog())


async def test_close_while_opening_is_an_error_of_connect() -> None:
    async with RealtimeServer(is_silent=True) as server:
        log = EventLog()
        connecting = asyncio.create_task(open_session(options(server)).connect(log))
        peer = await server.connection()
        await peer.close(4000, "invalid_request_error.missing_model")
        with pytest.raises(ProviderRefused, match="missing_model") as caught:
            await connecting
    assert caught.value.code == "missing_model"
    assert log.events == []


async def test_cancelled_connect_leaves_no_connection() -> None:
    async with RealtimeServer(is_confirming=False) as server:
        connecting = asyncio.create_task(open_session(options(server)).connect(EventLog()))
        peer = await server.connection()
        await peer.received("session.update")
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert await peer.wait_closed() == 1006


@pytest.mark.parametrize("stage", ["upgrade", "session.created", "session.updated"])
@pytest.mark.parametrize("is_polite", [True, False])
async def test_session_that_is_closed_while_it_opens_is_gone_at_once(stage: str, *, is_polite: bool) -> None:
    """Whoever closes does not wait for the deadline of the opening, and nothing opens behind their back."""
    hangs_up = asyncio.Event()

    async def accept(peer: WebSocketPeer) -> None:
        await peer.read_request()
        begun.set()
        await hangs_up.wait()

    silent = PeerServer(accept)
    scripted = RealtimeServer(is_silent=stage == "session.created", is_confirming=stage != "session.updated")
    begun = asyncio.Event()
    async with silent, scripted as server:
        url = {"url": silent.url} if stage == "upgrade" else {}
        session, log = open_session(replace(options(server), connect_timeout_s=60.0, **url)), EventLog()
        connecting = asyncio.create_task(session.connect(log))
        if stage == "upgrade":
            await begun.wait()
        else:
            await server.connection()
        async with asyncio.timeout(10):
            if is_polite:
                await session.close()
            else:
                session.abort()
            with pytest.raises(ProviderUnavailable, match="closed while it was opened") as caught:
                await connecting
            await session.close()
        hangs_up.set()
    assert caught.value.code == "closed"
    assert log.events == []


@pytest.mark.parametrize("direction", ["input_format", "output_format"])
def test_format_the_provider_has_not_is_refused(direction: str) -> None:
    with pytest.raises(ProviderRefused, match="PCM16_8K"):
        OpenAIRealtimeSession(SessionOptions(url="ws://h/v1", **{direction: AudioFormat.PCM16_8K}))  # type: ignore[arg-type]


def test_session_is_a_realtime_session() -> None:
    session: RealtimeSession = open_session(SessionOptions(provider="openai", url="ws://h/v1"))
    assert session.capabilities.has_truncate
    assert session.capabilities.has_server_turns
    assert session.capabilities.has_manual_turns


# --- audio and turns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio_format", [AudioFormat.PCM16_24K, AudioFormat.PCMU, AudioFormat.PCMA])
async def test_audio_both_ways_is_the_same_bytes(audio_format: AudioFormat) -> None:
    audio = bytes(range(256)) * (audio_format.bytes_per_ms * 4)
    async with (
        RealtimeServer(replies=[Speech(audio=audio)]) as server,
        connected(server, input_format=audio_format, output_format=audio_format) as (session, peer, log),
    ):
        for start in range(0, len(audio), 960):
            session.append_audio(audio[start : start + 960])
        assert await peer.wait_for_audio(len(audio)) == audio
        session.respond()
        await log.next(ResponseFinished)
        assert log.audio() == audio
        assert len(log.of(AudioFinished)) == 1


async def test_greeting_is_asked_with_instructions() -> None:
    async with (
        RealtimeServer(replies=[Speech(audio=SECOND_OF_SPEECH)]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond("Say hello to the caller.")
        create = await peer.received("response.create")
        assert_valid(create, "client")
        assert create["response"]["instructions"] == "Say hello to the caller."
        await log.next(AudioFinished)
        assert log.audio() == SECOND_OF_SPEECH


async def test_barge_in_flushes_truncates_and_hears_the_next_reply() -> None:
    first, second = SECOND_OF_SPEECH, SECOND_OF_SPEECH[::-1]

    def react(session: RealtimeSession, event: SessionEvent) -> None:
        if isinstance(event, SpeechStarted):
            session.truncate(first_item[0], 0, 320)

    first_item: list[str] = []
    async with (
        RealtimeServer(replies=[Speech(audio=first, is_finished=False), Speech(audio=second)]) as server,
        connected(server, react) as (session, peer, log),
    ):
        session.respond()
        first_item.append((await log.next(AudioDelta)).item_id)
        response_id = peer.active
        assert response_id is not None
        turn = await peer.start_speech()
        truncated = await peer.received("conversation.item.truncate")
        assert_valid(truncated, "client")
        assert truncated["audio_end_ms"] == 320
        await peer.send_audio(b"late", response_id=response_id, item_id=first_item[0])
        await peer.end_turn(turn, "What?")
        assert (await log.next(InputTranscript)).text == "What?"
        await log.next(AudioFinished)
        assert log.audio(first_item[0]) == first
        assert log.audio() == first + second
        assert session.statistics.late_audio == 1
        assert log.of(ResponseFinished)[0].reason == "turn_detected"


async def test_truncation_is_never_beyond_what_the_provider_sent() -> None:
    async with (
        RealtimeServer(replies=[Speech(audio=SECOND_OF_SPEECH)]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond()
        await log.next(ResponseFinished)
        session.truncate(log.of(AudioDelta)[0].item_id, 0, 60_000)
        assert (await peer.received("conversation.item.truncate"))["audio_end_ms"] == 1000
        session.respond()
        await log.next(ResponseFinished)
        assert session.statistics.benign_errors == 0


async def test_cancel_ends_the_reply() -> None:
    async with (
        RealtimeServer(replies=[Speech(audio=SECOND_OF_SPEECH, is_finished=False)]) as server,
        connected(server, turn_detection=TurnDetection(interrupts_response=False)) as (session, peer, log),
    ):
        session.respond()
        await log.next(AudioDelta)
        await peer.start_speech()
        await log.next(SpeechStarted)
        session.cancel_response()
        assert (await log.next(ResponseFinished)).reason == "client_cancelled"


async def test_turns_of_our_own() -> None:
    async with (
        RealtimeServer(replies=[Speech(audio=SECOND_OF_SPEECH)]) as server,
        connected(server, turn_detection=TurnDetection(kind="none")) as (session, peer, log),
    ):
        assert peer.config["audio"]["input"]["turn_detection"] is None
        session.append_audio(SECOND_OF_SPEECH)
        session.commit_audio()
        session.respond()
        await log.next(ResponseFinished)
        assert peer.kinds() == ["session.update", "input_audio_buffer.commit", "response.create"]


async def test_ten_minutes_of_speech_in_one_burst_arrive_whole() -> None:
    audio = SECOND_OF_SPEECH * 600
    async with (
        RealtimeServer(replies=[Speech(audio=audio)], piece_ms=1000) as server,
        connected(server) as (session, _, log),
    ):
        session.respond()
        await log.next(ResponseFinished)
        assert log.audio() == audio


async def test_echo() -> None:
    async with RealtimeServer(is_echoing=True) as server, connected(server) as (session, _, log):
        session.append_audio(SECOND_OF_SPEECH)
        while len(log.audio()) < len(SECOND_OF_SPEECH):
            await log.next(AudioDelta)
        assert log.audio() == SECOND_OF_SPEECH


async def test_text_is_put_into_the_conversation() -> None:
    async with RealtimeServer() as server, connected(server) as (session, peer, _):
        session.send_text("user", "pressed 5")
        assert (await peer.received("conversation.item.create"))["item"]["content"][0]["text"] == "pressed 5"


# --- tools ------------------------------------------------------------------------------------------------------------


async def test_calls_told_twice_run_once_and_lead_to_one_reply() -> None:
    def react(session: RealtimeSession, event: SessionEvent) -> None:
        if isinstance(event, ToolCalled):
            session.send_tool_result(event.call.call_id, json.dumps({"ran": event.call.name}))

    calls = ToolCalls(calls=[Call(name="first", arguments='{"n":1}'), Call(name="second")], times=2)
    async with (
        RealtimeServer(replies=[calls, Speech(audio=SECOND_OF_SPEECH)]) as server,
        connected(server, react, tools=(Tool(name="first"), Tool(name="second"))) as (session, peer, log),
    ):
        session.respond()
        await log.next(AudioFinished)
        assert [event.call.name for event in log.of(ToolCalled)] == ["first", "second"]
        assert log.of(ToolCalled)[0].call.arguments == {"n": 1}
        assert peer.kinds()[1:] == [
            "response.create",
            "conversation.item.create",
            "conversation.item.create",
            "response.create",
        ]
        assert session.statistics.repeated_calls == 2


async def test_busy_provider_gets_the_request_again() -> None:
    def react(session: RealtimeSession, event: SessionEvent) -> None:
        if isinstance(event, ToolCalled):
            session.send_tool_result(event.call.call_id, "{}")

    async with (
        RealtimeServer(is_replying=False) as server,
        connected(server, react) as (session, peer, log),
    ):
        session.respond()
        asked = await peer.received("response.create")
        await peer.start()
        await peer.error("conversation_already_has_active_response", event_id=asked["event_id"])
        await peer.finish()
        await peer.received("response.create")
        assert (await log.next(ResponseFinished)).status is ResponseStatus.COMPLETED
        assert session.statistics.benign_errors == 1


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_garbage_is_counted_and_the_session_goes_on() -> None:
    async with (
        RealtimeServer(replies=[Speech(audio=SECOND_OF_SPEECH)]) as server,
        connected(server) as (session, peer, log),
    ):
        for garbage in ("{", "[" * 5000, '{"type":7}', "null"):
            await peer.send_text(garbage)
        await peer.send_text(b"\x00binary")
        await peer.send("response.telepathy.delta", delta="?")
        await peer.send("response.output_audio.delta", response_id="r", item_id="i", content_index=0, delta="!!!")
        session.respond()
        await log.next(ResponseFinished)
        assert log.audio() == SECOND_OF_SPEECH
        statistics = session.statistics
        assert (statistics.malformed_events, statistics.unknown_events, statistics.skipped_audio) == (5, 1, 1)


async def test_failed_reply_is_told_and_the_session_goes_on() -> None:
    async with (
        RealtimeServer(replies=[Failure(code="rate_limit_exceeded"), Speech(audio=SECOND_OF_SPEECH)]) as server,
        connected(server) as (session, _, log),
    ):
        session.respond()
        failed = await log.next(ResponseFinished)
        assert isinstance(failed.error, ProviderUnavailable)
        session.respond()
        assert (await log.next(ResponseFinished)).status is ResponseStatus.COMPLETED


@pytest.mark.parametrize(
    ("code", "error"), [("insufficient_quota", ProviderRefused), ("session_expired", ProviderUnavailable)]
)
async def test_fatal_error_ends_the_session(code: str, error: type[Exception]) -> None:
    async with RealtimeServer() as server, connected(server) as (session, peer, log):
        await peer.error(code)
        assert type((await log.next(SessionFailed)).error) is error
        assert (await log.next(SessionClosed)).code == 1000
        session.append_audio(b"\xff")
        session.respond()
        assert [type(event) for event in log.events] == [SessionReady, SessionFailed, SessionClosed]


@pytest.mark.parametrize(
    ("close_code", "error"),
    [
        (1000, ProviderUnavailable),
        (1001, ProviderUnavailable),
        (1011, ProviderUnavailable),
        (1012, ProviderUnavailable),
        (1013, ProviderUnavailable),
        (1008, ProviderRefused),
        (3000, ProviderRefused),
        (4000, ProviderRefused),
    ],
)
async def test_close_of_the_provider_fails_the_session(close_code: int, error: type[Exception]) -> None:
    async with RealtimeServer() as server, connected(server) as (_, peer, log):
        await peer.close(close_code, "why")
        failed = await log.next(SessionFailed)
        assert type(failed.error) is error
        assert "why" in str(failed.error)
        assert await log.next(SessionClosed) == SessionClosed(code=close_code, reason="why")


async def test_dropped_connection_fails_the_session_once() -> None:
    async with RealtimeServer() as server, connected(server) as (_, peer, log):
        peer.drop()
        assert isinstance((await log.next(SessionFailed)).error, ProviderUnavailable)
        assert (await log.next(SessionClosed)).code == 1006
        assert len(log.of(SessionFailed)) == 1


@pytest.mark.parametrize("fault_at", [ResponseStarted, SessionFailed])
async def test_fault_of_the_listener_costs_the_session_and_is_followed_by_its_end(
    fault_at: type[SessionEvent], caplog: pytest.LogCaptureFixture
) -> None:
    def fall_over(_session: RealtimeSession, event: SessionEvent) -> None:
        if isinstance(event, fault_at):
            raise LookupError("a fault of the call")

    async with RealtimeServer() as server, connected(server, fall_over) as (session, peer, log):
        if fault_at is ResponseStarted:
            session.respond()
        else:
            await peer.close(1011, "")
        await log.next(SessionClosed)
        assert [type(event) for event in log.events[-2:]] == [SessionFailed, SessionClosed]
    assert "a fault of the call" in caplog.text


async def test_close_of_ours_is_no_failure() -> None:
    async with RealtimeServer() as server, connected(server) as (session, peer, log):
        await session.close()
        assert await peer.wait_closed() == 1000
        assert (await log.next(SessionClosed)).code == 1000
        assert log.of(SessionFailed) == []
        await session.close()


async def test_abort_is_no_failure_either() -> None:
    async with RealtimeServer() as server, connected(server) as (session, peer, log):
        session.abort()
        assert (await log.next(SessionClosed)).code == 1006
        assert await peer.wait_closed() == 1006
        assert log.of(SessionFailed) == []


# --- slow link --------------------------------------------------------------------------------------------------------


async def test_stalled_link_keeps_the_newest_audio_and_drops_the_oldest() -> None:
    async with RealtimeServer() as server, connected(server, uplink_backlog_ms=2000) as (session, peer, log):
        peer.freeze()
        packet_ms = 20
        packets = 40_000  # 800 s: more than every buffer of the kernel takes
        for number in range(packets):
            session.append_audio(number.to_bytes(4, "big") * (packet_ms * 2))
        dropped_ms = session.statistics.dropped_uplink_ms
        assert 0 < dropped_ms < packets * packet_ms
        peer.thaw()
        expected = (packets * packet_ms - dropped_ms) * 8
        audio = await peer.wait_for_audio(int(expected))
        numbers = [int.from_bytes(audio[start : start + 4], "big") for start in range(0, len(audio), packet_ms * 8)]
        assert numbers == sorted(numbers)
        assert numbers[-80:] == list(range(packets - 80, packets))
        session.append_audio(b"\x01" * 160)
        await peer.wait_for_audio(len(audio) + 160)
        assert log.of(SessionClosed) == []


# --- questions beside the conversation --------------------------------------------------------------------------------


async def test_questions_are_answered_while_the_model_speaks() -> None:
    speech = Speech(audio=SECOND_OF_SPEECH, is_finished=False)
    async with (
        RealtimeServer(replies=[speech], answers=["Yes.", "No."]) as server,
        connected(server) as (session, peer, log),
    ):
        session.respond()
        await log.next(AudioDelta)
        session.ask("one", "Was it urgent?")
        session.ask("two", "Was it a new customer?")
        answers = [await log.next(Answered), await log.next(Answered)]
        assert [(answer.question_id, answer.text) for answer in answers] == [("one", "Yes."), ("two", "No.")]
        await peer.finish()
        assert (await log.next(ResponseFinished)).status is ResponseStatus.COMPLETED
        assert peer.kinds().count("response.create") == 3


async def test_lost_connection_answers_each_open_question_once_and_first() -> None:
    async with RealtimeServer(answers=["Yes."]) as server, connected(server) as (session, peer, log):
        for question_id in ("answered", "lost", "lost too"):
            session.ask(question_id, "Was it urgent?")
        await log.next(Answered)
        peer.drop()
        await log.next(SessionClosed)
        answers = log.of(Answered)
        assert [(answer.question_id, answer.error is None) for answer in answers] == [
            ("answered", True),
            ("lost", False),
            ("lost too", False),
        ]
        assert [type(event) for event in log.events[-4:]] == [Answered, Answered, SessionFailed, SessionClosed]
        assert isinstance(answers[1].error, ProviderUnavailable)


async def test_close_of_ours_answers_open_questions_too() -> None:
    async with RealtimeServer() as server, connected(server) as (session, _, log):
        session.ask("open", "Was it urgent?")
        await session.close()
        assert [answer.error is None for answer in log.of(Answered)] == [False]
        assert not log.of(SessionFailed)


async def test_fatal_error_answers_open_questions_with_it() -> None:
    async with RealtimeServer() as server, connected(server) as (session, peer, log):
        session.ask("open", "Was it urgent?")
        await peer.received("response.create")
        await peer.error("insufficient_quota")
        await log.next(SessionClosed)
        (answer,) = log.of(Answered)
        (failed,) = log.of(SessionFailed)
        assert answer.error is failed.error


async def test_answer_that_comes_twice_is_told_once() -> None:
    async with RealtimeServer() as server, connected(server) as (session, peer, log):
        session.ask("q", "Was it urgent?")
        asked = await peer.received("response.create")
        await peer.answer(asked, "Yes.")
        await peer.answer(asked, "Yes, again.")
        session.respond()
        await log.next(ResponseFinished)
        assert [answer.text for answer in log.of(Answered)] == ["Yes."]


async def test_answer_given_at_once_is_told_once_whatever_becomes_of_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(_protocol: OpenAIProtocol, question_id: str, _instructions: str) -> list[SessionEvent]:
        return [Answered(question_id=question_id, text="at once")] * 2

    monkeypatch.setattr(OpenAIProtocol, "ask", ask)
    async with RealtimeServer() as server, connected(server) as (session, peer, log):
        session.ask("q", "Was it urgent?")
        assert (await log.next(Answered)).text == "at once"
        session.ask("q", "Was it urgent?")
        await peer.error("insufficient_quota")
        await log.next(SessionClosed)
        assert [answer.question_id for answer in log.of(Answered)] == ["q", "q"]


# --- the caller's pseudonym -------------------------------------------------------------------------------------------


async def test_caller_is_told_to_the_provider_by_a_pseudonym_where_asked_for() -> None:
    async with RealtimeServer() as server:
        async with connected(server, caller="+4930123456") as (_, peer, _):
            pseudonym = peer.header("OpenAI-Safety-Identifier")
            assert pseudonym is not None
            assert len(pseudonym) == 64
            assert "30123456" not in pseudonym
        async with connected(server) as (_, peer, _):
            assert peer.header("OpenAI-Safety-Identifier") is None
