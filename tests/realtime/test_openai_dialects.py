"""A conversation in each dialect, over a real WebSocket, with a fake that refuses what its vendor would refuse."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.openai.dialects import DIALECTS
from gateway.realtime.openai.session import OpenAIRealtimeSession
from gateway.realtime.profile import profile_of
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    InputTranscript,
    Message,
    OutputTranscript,
    RealtimeSession,
    ResponseFinished,
    ResponseStatus,
    Secret,
    SessionChange,
    SessionFailed,
    SessionOptions,
    SessionReady,
    SpeechStarted,
    Tool,
    ToolCalled,
    ToolExchange,
    TurnDetection,
    TurnDetectionKind,
    open_session,
    providers,
)
from tests.support.dialect_server import KEY, RULES, DialectServer, DialectSession
from tests.support.realtime_events import EventLog
from tests.support.realtime_server import Call, Speech, ToolCalls

EVERY = sorted(RULES)
FOREIGN = [name for name in EVERY if name not in ("openai", "azure", "embedded")]
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZXN0In0.c2ln"
SPEECH = bytes(range(1, 241)) * 80  # whole samples, and some 0.4 s, of every format


def options(server: DialectServer, name: str, **changes: Any) -> SessionOptions:
    """What a configuration makes that says nothing but name, model and key."""
    profile = profile_of(name)
    assert profile is not None
    assert profile.linear_formats is not None
    assert profile.turn_detection is not None
    heard, spoken = profile.linear_formats
    defaults: dict[str, Any] = {
        "provider": name,
        "url": server.root,
        "model": "m",
        "api_key": Secret(KEY),
        "input_format": heard,
        "output_format": spoken,
        "turn_detection": TurnDetection(kind=profile.turn_detection),
    }
    return SessionOptions(**defaults | changes)


@asynccontextmanager
async def connected(
    server: DialectServer, name: str, **changes: Any
) -> AsyncIterator[tuple[RealtimeSession, DialectSession, EventLog]]:
    """An open session, the vendor's side of it, and what it tells."""
    session, log = open_session(options(server, name, **changes)), EventLog()
    await session.connect(log)
    try:
        yield session, await server.dialect_session(), log
    finally:
        session.abort()


def test_every_dialect_is_a_provider_and_has_a_fake() -> None:
    assert set(DIALECTS) == set(RULES)
    assert set(DIALECTS) <= set(providers())


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
async def test_session_is_configured_in_the_dialects_own_shape(name: str) -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "voice": "ash",
        "transcription_model": "listener",
        "transcription_language": "en",
        "tools": (Tool(name="look", description="Look."),),
        "tool_choice": "required",
        "max_output_tokens": 500,
    }
    async with DialectServer(name) as server, connected(server, name, **asked) as (_, peer, log):
        ready = log.events[0]
        assert isinstance(ready, SessionReady)
        assert ready.model == "m" or name in ("openai", "azure", "embedded")
        assert [event["type"] for event in peer.said] == ["session.update"]
        assert peer.violations == []
        session = peer.session
        assert (session["instructions"], session["tool_choice"]) == ("Be brief.", "required")
        shape = RULES[name].shape
        audio = session.get("audio", {})
        assert (audio["output"]["voice"] if shape == "ga" else session["voice"]) == "ash"
        tool = session["tools"][0]
        assert (tool["function"] if RULES[name].has_nested_tools else tool)["name"] == "look"
        heard = session["input_audio_transcription"] if shape == "flat" else audio["input"]["transcription"]
        assert heard == ({"language": "en"} if name == "eleven" else {"model": "listener", "language": "en"})


@pytest.mark.parametrize("name", EVERY)
async def test_wrong_key_is_final(name: str) -> None:
    async with DialectServer(name) as server:
        wrong = options(server, name, api_key=Secret("wrong"))
        with pytest.raises(ProviderRefused) as caught:
            await open_session(wrong).connect(EventLog())
        assert caught.value.code in ("invalid_api_key", "http_401")
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "scheme"), [("azure", "Bearer"), ("azure_voice_live", "Bearer"), ("inworld", "Bearer")]
)
async def test_token_in_place_of_a_key_is_a_bearer_token(
    name: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(RULES[name], header=("Authorization", f"{scheme} {JWT}"))
    monkeypatch.setitem(RULES, name, rules)
    async with DialectServer(name) as server, connected(server, name, api_key=Secret(JWT)) as (_, peer, _log):
        assert peer.header("api-key") is None


@pytest.mark.parametrize(
    ("name", "url", "path", "query"),
    [
        ("azure", "https://r.openai.azure.com", "/openai/v1/realtime", "model=m"),
        ("azure", "https://r.openai.azure.com/openai/v1/", "/openai/v1/realtime", "model=m"),
        ("azure_voice_live", "https://r.example", "/voice-live/realtime", "api-version=2026-07-15&model=m"),
        ("azure_voice_live", "https://r.example?api-version=x", "/voice-live/realtime", "api-version=x&model=m"),
        ("inworld", "wss://h/api/v1/realtime/session?key=k", "/api/v1/realtime/session", "protocol=realtime&key=k"),
        ("inworld", "wss://h/api/v1", "/api/v1/realtime/session", None),
        ("eleven", "", "/v1/convai/realtime", ""),
        ("xai", "", "/v1/realtime", "model=m"),
        ("qwen", "", "/api-ws/v1/realtime", "model=m"),
    ],
)
def test_address_of_a_dialect(name: str, url: str, path: str, query: str | None) -> None:
    profile = profile_of(name)
    assert profile is not None
    assert profile.linear_formats is not None
    heard, spoken = profile.linear_formats
    turns = TurnDetection(kind=profile.turn_detection or "none")
    asked = SessionOptions(
        provider=name,
        url=url or profile.url,
        model="m",
        input_format=heard,
        output_format=spoken,
        turn_detection=turns,
    )
    found = open_session(asked)._url.partition("?")  # type: ignore[attr-defined]
    assert found[0].startswith("wss://")
    assert found[0].endswith(path)
    assert query is None or found[2] == query


async def test_sessions_of_one_account_have_ids_of_their_own() -> None:
    async with (
        DialectServer("inworld") as server,
        connected(server, "inworld") as (_, first, _log),
        connected(server, "inworld") as (_, second, _l),
    ):
        assert first.query["key"] != second.query["key"]


@pytest.mark.parametrize("name", FOREIGN)
def test_turn_detection_the_dialect_has_not_is_refused(name: str) -> None:
    profile = profile_of(name)
    assert profile is not None
    kinds: tuple[TurnDetectionKind, ...] = ("server_vad", "semantic_vad", "none")
    for kind in kinds:
        if kind not in profile.capabilities.turn_detections:
            with pytest.raises(ProviderRefused, match=kind):
                open_session(SessionOptions(provider=name, url="ws://h", turn_detection=TurnDetection(kind=kind)))


# --- a conversation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
async def test_caller_is_heard_in_its_format_and_the_answer_arrives(name: str) -> None:
    async with (
        DialectServer(name, replies=[Speech(audio=SPEECH, text="We open at nine.")]) as server,
        connected(server, name) as (session, peer, log),
    ):
        session.append_audio(SPEECH)
        assert await peer.wait_for_audio(len(SPEECH)) == SPEECH
        profile = profile_of(name)
        assert profile is not None
        assert peer.appended_ms == len(SPEECH) // profile.capabilities.input_formats[0].bytes_per_ms
        turn = await peer.start_speech()
        await log.next(SpeechStarted)
        await peer.end_turn(turn, "When do you open?")
        heard = await log.next(InputTranscript)
        assert (heard.text, heard.is_final) == ("When do you open?", True)
        finished = await log.next(ResponseFinished)
        assert log.audio() == SPEECH
        assert log.of(OutputTranscript)[-1].text == "We open at nine."
        _assert_billed(name, finished)
        session.update(SessionChange(instructions="Be quick."))
        assert await peer.received("session.update")  # the first
        assert (await peer.received("session.update"))["session"].get("instructions", "Be quick.") == "Be quick."
        assert peer.session["instructions"] == "Be quick."
        assert peer.violations == []
        assert session.statistics.unknown_events == session.statistics.malformed_events == 0


def _assert_billed(name: str, finished: ResponseFinished) -> None:
    if RULES[name].usage == "none":
        assert finished.usage is None
        return
    assert finished.usage is not None
    assert (finished.usage.input_tokens, finished.usage.output_tokens) == (20, 10)
    assert (finished.usage.input_audio_tokens, finished.usage.output_audio_tokens) == (15, 8)
    assert finished.usage.seconds == (3.0 if RULES[name].usage == "seconds" else 0.0)


@pytest.mark.parametrize("name", EVERY)
async def test_tool_is_called_and_its_result_is_answered(name: str) -> None:
    replies = [ToolCalls(calls=[Call(name="look", arguments='{"where":"here"}')]), Speech(audio=SPEECH)]
    async with (
        DialectServer(name, replies=replies) as server,
        connected(server, name, tools=(Tool(name="look"),)) as (session, peer, log),
    ):
        session.respond()
        call = (await log.next(ToolCalled)).call
        assert (call.name, call.arguments) == ("look", {"where": "here"})
        session.send_tool_result(call.call_id, '{"found":true}')
        item = (await peer.received("conversation.item.create"))["item"]
        assert (item["type"], item["call_id"]) == ("function_call_output", call.call_id)
        await log.next(AudioDelta)
        assert peer.violations == []


@pytest.mark.parametrize("name", EVERY)
async def test_barge_in_truncates_where_that_is_possible_and_cancels_elsewhere(name: str) -> None:
    profile = profile_of(name)
    assert profile is not None
    turns = TurnDetection(kind=profile.turn_detection or "none", interrupts_response=False)
    async with (
        DialectServer(name, replies=[Speech(audio=SPEECH, is_finished=False)]) as server,
        connected(server, name, turn_detection=turns) as (session, peer, log),
    ):
        session.respond()
        delta = await log.next(AudioDelta)
        session.truncate(delta.item_id, 0, 100)
        if RULES[name].truncates:
            assert (await peer.received("conversation.item.truncate"))["audio_end_ms"] == 100
            session.cancel_response()
        finished = await log.next(ResponseFinished)
        assert (finished.status, finished.reason) == (ResponseStatus.CANCELLED, "client_cancelled")
        assert session.capabilities.has_truncate == RULES[name].truncates
        late = session.statistics.late_audio
        await peer.send_audio(b"late", response_id=delta.response_id, item_id=delta.item_id)
        await peer.reply(Speech(audio=SPEECH))
        await log.next(ResponseFinished)
        assert session.statistics.late_audio == late + 1
        assert peer.violations == []


@pytest.mark.parametrize("name", EVERY)
async def test_what_was_before_is_told_and_more_can_be_said(name: str) -> None:
    history = (
        Message(role="user", text="Hello."),
        Message(role="assistant", text="Good day."),
        ToolExchange(call_id="call_9", name="look", arguments="{}", output="{}"),
    )
    async with (
        DialectServer(name, replies=[Speech(audio=SPEECH)]) as server,
        connected(server, name, history=history) as (session, peer, log),
    ):
        session.send_text("system", "The caller pressed 1.")
        session.respond("Say thanks.")
        created = await peer.received("response.create")
        assert created["response"]["instructions"] == "Say thanks."
        await log.next(ResponseFinished)
        session.delete_item("item_1")
        session.respond()
        await peer.received("response.create")
        assert ("conversation.item.delete" in peer.kinds()) == RULES[name].deletes
        items = [event["item"] for event in peer.said if event["type"] == "conversation.item.create"]
        written = [item["content"][0]["text"] for item in items if item["type"] == "message"]
        assert written == ["Hello.", "Good day.", "The caller pressed 1."]
        assert [item["call_id"] for item in items if item["type"] != "message"] == ["call_9", "call_9"]
        assert peer.violations == []


@pytest.mark.parametrize("name", FOREIGN)
async def test_question_is_answered_with_an_error_where_nothing_is_written(name: str) -> None:
    async with DialectServer(name) as server, connected(server, name) as (session, peer, log):
        session.ask("q1", "How does the caller feel?")
        answer = await log.next(Answered)
        assert (answer.question_id, answer.text) == ("q1", "")
        assert isinstance(answer.error, ProviderRefused)
        assert not session.capabilities.has_questions
        assert "response.create" not in peer.kinds()


# --- what single dialects have of their own ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xai", "inworld"])
async def test_pings_of_the_provider_need_no_answer(name: str) -> None:
    async with DialectServer(name) as server, connected(server, name) as (session, peer, log):
        await peer.send("ping", timestamp=1)
        await peer.reply(Speech(audio=SPEECH))
        await log.next(ResponseFinished)
        assert session.statistics.unknown_events == 0
        assert peer.violations == []


async def test_session_that_hears_nothing_is_kept_alive() -> None:
    async with DialectServer("eleven") as server:
        dialect = replace(DIALECTS["eleven"], keepalive_s=0.01)
        session, log = OpenAIRealtimeSession(options(server, "eleven"), dialect=dialect), EventLog()
        await session.connect(log)
        peer = await server.dialect_session()
        await peer.wait_for_appends(3)
        assert peer.audio == b""
        await session.close()
        await peer.wait_closed()
        assert peer.violations == []


async def test_session_that_ended_is_not_kept_by_its_next_sign_of_life() -> None:
    async with DialectServer("eleven") as server:
        session = open_session(options(server, "eleven"))
        await session.connect(EventLog())
        await session.close()
        gone = weakref.ref(session)
        del session
        gc.collect()
        assert gone() is None


async def test_words_of_the_caller_come_as_pieces_of_a_transcript_that_grows() -> None:
    kind = "conversation.item.input_audio_transcription.updated"
    async with DialectServer("xai") as server, connected(server, "xai") as (session, peer, log):
        for item_id, text in (
            ("i", "When"),
            ("i", "When do"),
            ("i", "Win do you"),
            ("i", "Win do you go"),
            ("j", "Hi"),
        ):
            await peer.send(kind, item_id=item_id, transcript=text)
        await peer.reply()
        await log.next(ResponseFinished)
        told = [(event.item_id, event.text) for event in log.of(InputTranscript)]
        assert told == [("i", "When"), ("i", " do"), ("i", " go"), ("j", "Hi")]
        assert session.statistics.unknown_events == 0


async def test_request_that_comes_while_a_reply_is_under_way_is_made_again() -> None:
    refusal = {"type": "invalid_request_error", "code": "invalid_value", "param": "response.create", "message": "Busy."}
    async with DialectServer("qwen", is_replying=False) as server, connected(server, "qwen") as (session, peer, log):
        session.respond("Say thanks.")
        await peer.received("response.create")
        await peer.send("error", error=refusal)
        await peer.reply(Speech(audio=SPEECH))
        assert (await peer.received("response.create"))["response"]["instructions"] == "Say thanks."
        assert session.statistics.benign_errors == 1
        assert [finished.status for finished in log.of(ResponseFinished)] == [ResponseStatus.COMPLETED]


async def test_billed_seconds_are_those_of_each_reply() -> None:
    async with DialectServer("xai") as server, connected(server, "xai") as (_, peer, log):
        for _ in range(2):
            await peer.reply()
            finished = await log.next(ResponseFinished)
            assert finished.usage is not None
            assert finished.usage.seconds == 3.0


async def test_words_are_spoken_verbatim_without_asking_for_a_reply() -> None:
    async with (
        DialectServer("xai", replies=[Speech(audio=SPEECH)]) as server,
        connected(server, "xai") as (session, peer, log),
    ):
        session.say("This call is recorded.")
        item = (await peer.received("conversation.item.create"))["item"]
        assert (item["type"], item["content"][0]["text"]) == ("force_message", "This call is recorded.")
        await log.next(ResponseFinished)
        assert log.audio() == SPEECH
        assert "response.create" not in peer.kinds()


async def test_words_wait_for_the_end_of_the_reply_under_way() -> None:
    replies = [Speech(audio=SPEECH, is_finished=False), Speech(audio=SPEECH)]
    async with DialectServer("xai", replies=replies) as server, connected(server, "xai") as (session, peer, log):
        session.respond()
        session.say("Please hold.")
        await log.next(AudioDelta)
        session.say("Goodbye.")
        await peer.finish()
        await peer.received("response.create")
        asked = await peer.received("response.create")
        assert "Goodbye." in asked["response"]["instructions"]
        assert "conversation.item.create" not in peer.kinds()


async def test_item_cut_after_its_reply_is_not_heard_again() -> None:
    async with DialectServer("xai") as server, connected(server, "xai") as (session, peer, log):
        await peer.reply(Speech(audio=SPEECH))
        await log.next(ResponseFinished)
        delta = log.of(AudioDelta)[0]
        session.truncate(delta.item_id, 0, 100)
        await peer.send_audio(SPEECH, response_id=delta.response_id, item_id=delta.item_id)
        await peer.reply(Speech(audio=SPEECH))
        await log.next(ResponseFinished)
        assert log.audio() == SPEECH * 2
        assert "response.cancel" not in peer.kinds()


@pytest.mark.parametrize("name", [name for name in EVERY if name != "xai"])
async def test_words_are_spoken_on_request_elsewhere(name: str) -> None:
    async with DialectServer(name) as server, connected(server, name) as (session, peer, _):
        session.say("This call is recorded.")
        assert "This call is recorded." in (await peer.received("response.create"))["response"]["instructions"]
        assert peer.violations == []


@pytest.mark.parametrize(
    ("name", "audio"),
    [
        (name, audio)
        for name in ("azure", "xai", "inworld", "azure_voice_live")
        for audio in (AudioFormat.PCMU, AudioFormat.PCMA)
    ],
)
async def test_g711_passes_untouched(name: str, audio: AudioFormat) -> None:
    async with (
        DialectServer(name, replies=[Speech(audio=SPEECH)]) as server,
        connected(server, name, input_format=audio, output_format=audio) as (session, peer, log),
    ):
        session.append_audio(SPEECH)
        assert await peer.wait_for_audio(len(SPEECH)) == SPEECH
        assert peer.appended_ms == len(SPEECH) // 8
        session.respond()
        await log.next(ResponseFinished)
        assert log.audio() == SPEECH


@pytest.mark.parametrize("name", ["eleven", "localai", "speech_to_speech", "qwen", "speaches"])
def test_g711_is_refused_where_it_is_not_taken(name: str) -> None:
    profile = profile_of(name)
    assert profile is not None
    assert not profile.has_g711
    turns = TurnDetection(kind=profile.turn_detection or "none")
    with pytest.raises(ProviderRefused, match="PCMU"):
        open_session(SessionOptions(provider=name, url="ws://h", input_format=AudioFormat.PCMU, turn_detection=turns))


async def test_format_that_was_not_taken_ends_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DialectSession, "_shown_session", lambda self: self.session | {"output_audio_format": "opus"})
    async with DialectServer("azure_voice_live") as server:
        with pytest.raises(ProviderRefused, match="opus"):
            await open_session(options(server, "azure_voice_live")).connect(EventLog())


async def test_voice_of_azure_is_told_as_an_object() -> None:
    async with (
        DialectServer("azure_voice_live") as server,
        connected(server, "azure_voice_live", voice="en-US-AvaNeural") as (_, peer, _log),
    ):
        assert peer.session["voice"] == {"type": "azure-standard", "name": "en-US-AvaNeural"}


async def test_semantic_turn_detection_of_azure_voice_live_is_its_own() -> None:
    async with DialectServer("azure_voice_live") as server:
        turns = TurnDetection(kind="semantic_vad")
        async with connected(server, "azure_voice_live", turn_detection=turns) as (_, peer, _log):
            assert peer.session["turn_detection"] == {
                "type": "azure_semantic_vad",
                "create_response": True,
                "interrupt_response": True,
            }


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
async def test_session_that_expired_may_be_opened_anew(name: str) -> None:
    async with DialectServer(name) as server, connected(server, name) as (_, peer, log):
        await peer.expire()
        failed = await log.next(SessionFailed)
        assert isinstance(failed.error, ProviderUnavailable), failed.error


async def test_provider_without_a_free_session_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(self: DialectSession) -> bool:
        await self.send("error", error={"type": "session_limit_reached", "message": "All slots are in use."})
        await self.close(1008)
        return False

    monkeypatch.setattr(DialectSession, "_greet", refuse)
    async with DialectServer("speech_to_speech") as server:
        with pytest.raises(ProviderUnavailable, match="All slots"):
            await open_session(options(server, "speech_to_speech")).connect(EventLog())


@pytest.mark.parametrize("name", FOREIGN)
async def test_garbage_is_counted_and_survived(name: str) -> None:
    large = '{"type":"session.updated","session":{"id":"' + "x" * 1_100_000 + '"}}'
    garbage: list[str | bytes] = ["", "{", "[]", "{}", '{"type":7}', '{"type":"error","error":7}', large, b"\0"]
    garbage.append('{"type":"response.audio.delta","delta":"b2Rk"}')
    async with DialectServer(name) as server, connected(server, name) as (session, peer, log):
        for text in garbage:
            await peer.send_text(text)
        await peer.reply(Speech(audio=SPEECH))
        await log.next(ResponseFinished)
        assert log.audio() == SPEECH
        assert session.statistics.malformed_events >= len(garbage) - 1
