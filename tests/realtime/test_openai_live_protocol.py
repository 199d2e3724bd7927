"""The protocol of GPT-Live, event by event, without a socket."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.protocol import MAX_EVENT_CHARACTERS, OpenAILiveProtocol
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    AudioFinished,
    InputTranscript,
    ResponseFinished,
    ResponseStatus,
    Secret,
    SessionChange,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    Tool,
    ToolCall,
    ToolCalled,
    ToolCancelled,
    UsageReported,
)

KEY = "sk-never-shown"
TOOLS = (Tool(name="look"),)
SOUND, SILENCE = b"\x10" * 8, b"\xff" * 8  # a millisecond


class Client:
    """The protocol, and what it has sent."""

    def __init__(self, *, is_started: bool = True, **changes: Any) -> None:
        defaults: dict[str, Any] = {
            "url": "wss://host/v1",
            "model": "gpt-live-1",
            "api_key": Secret(KEY),
            "input_format": AudioFormat.PCMU,
            "output_format": AudioFormat.PCMU,
            "transcription_model": "any",
        }
        self.protocol = OpenAILiveProtocol(SessionOptions(**defaults | changes))
        if is_started:
            self.told = self.hear("session.started", session={"id": "live_1", "expires_at": 1_795_000_000})
            self.sent()

    def hear(self, kind: str, **members: object) -> list[SessionEvent]:
        """One event of the provider."""
        return self.protocol.receive(json.dumps({"type": kind, "event_id": "event_1"} | members))

    def play(self, audio: bytes) -> list[SessionEvent]:
        """Audio of the model."""
        return self.hear("session.output_audio.delta", delta=base64.b64encode(audio).decode())

    def work(self, kind: str, delegation_id: str | None = "d1", **members: object) -> list[SessionEvent]:
        """An event of the backend."""
        return self.hear("response.event", delegation_id=delegation_id, event={"type": kind} | members)

    def call(self, call_id: str = "c1", arguments: str = "{}", **changes: object) -> list[SessionEvent]:
        """A tool call of the backend's reply under way."""
        item = {"type": "function_call", "status": "completed", "call_id": call_id, "name": "look"}
        return self.work("response.output_item.done", item=item | {"arguments": arguments} | changes)

    def sent(self) -> list[dict[str, Any]]:
        """What was sent since the last time, without the ids of events."""
        messages = [json.loads(message) for message in self.protocol.messages_to_send()]
        return [{name: value for name, value in message.items() if name != "event_id"} for message in messages]

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent()]


# --- opening and ending -----------------------------------------------------------------------------------------------


def test_session_start_is_the_first_message_and_started_confirms_it() -> None:
    client = Client(is_started=False)
    assert client.kinds() == ["session.start"]
    assert client.protocol.awaited == "session.started"
    session = {"id": "live_1", "model": "gpt-live-1-2026", "expires_at": 1_795_000_000}
    assert client.hear("session.started", session=session) == [
        SessionReady(session_id="live_1", model="gpt-live-1-2026", expires_at_s=1_795_000_000)
    ]
    assert client.hear("session.started", session=session) == []


def test_another_format_than_asked_for_is_refused() -> None:
    client = Client(is_started=False)
    (event,) = client.hear("session.started", session={"audio": {"format": {"type": "audio/pcm", "rate": 24000}}})
    assert isinstance(event, SessionFailed)
    assert event.error.code == "audio_format"
    assert client.protocol.is_over


@pytest.mark.parametrize(
    ("code", "kind", "is_retryable"),
    [
        ("unknown_parameter", "invalid_request_error", False),
        ("invalid_api_key", "invalid_request_error", False),
        ("server_error", "server_error", True),
    ],
)
def test_an_error_before_the_start_is_a_refusal(code: str, kind: str, *, is_retryable: bool) -> None:
    client = Client(is_started=False)
    (event,) = client.hear("error", error={"type": kind, "code": code, "message": f"key {KEY}"})
    assert isinstance(event, SessionFailed)
    assert (event.error.code, event.error.is_retryable) == (code, is_retryable)
    assert KEY not in str(event.error)


@pytest.mark.parametrize(
    "error",
    [
        {"type": "invalid_request_error", "code": "insufficient_quota"},
        {"type": "insufficient_quota", "code": "something_new"},
        {"type": "invalid_request_error", "code": "forbidden"},
    ],
)
def test_a_fatal_error_ends_the_session_by_code_or_type(error: dict[str, str]) -> None:
    client = Client()
    (event,) = client.hear("error", error=error | {"message": "No."})
    assert isinstance(event, SessionFailed)
    assert not event.error.is_retryable
    assert client.play(SOUND) == []


def test_any_other_error_is_counted_and_named_by_the_command_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    client.protocol.respond(None)
    (message,) = client.protocol.messages_to_send()
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "No."}
    assert client.hear("error", error=error | {"client_event_id": json.loads(message)["event_id"]}) == []
    assert client.protocol.statistics.errors == 1
    assert "session.instructions.append" in caplog.text


@pytest.mark.parametrize(
    ("reason", "is_retryable"),
    [("expired", True), ("connection_lost", True), ("close_requested", True), ("content", False)],
)
def test_the_providers_end_says_whether_another_session_may_follow(reason: str, *, is_retryable: bool) -> None:
    client = Client()
    client.play(SOUND * 100)
    events = client.hear("session.closed", reason=reason, usage={"seconds": 3})
    assert isinstance(events[0], UsageReported)
    assert isinstance(events[1], AudioFinished)
    assert isinstance(events[-1], SessionFailed)
    assert (events[-1].error.code, events[-1].error.is_retryable) == (reason, is_retryable)


def test_our_own_end_is_asked_for_once_and_brings_the_last_bill() -> None:
    client = Client()
    client.hear("session.usage.updated", usage={"seconds": 10})
    assert client.protocol.request_close()
    assert client.protocol.request_close()
    assert client.kinds() == ["session.close"]
    (event,) = client.hear("session.closed", reason="close_requested", usage={"seconds": 12.5})
    assert isinstance(event, UsageReported)
    assert event.usage.seconds == 2.5
    assert client.protocol.is_over
    assert not client.protocol.request_close()
    assert not Client(is_started=False).protocol.request_close()


def test_an_upgrade_refused_for_the_account_is_not_tried_again() -> None:
    protocol = Client().protocol
    busy = ProviderUnavailable("HTTP 429", code="insufficient_quota")
    assert isinstance(protocol.opening_verdict(busy), ProviderRefused)
    assert protocol.opening_verdict(ProviderUnavailable("HTTP 503", code="http_503")).is_retryable
    assert protocol.close_verdict(1006, "").is_retryable


# --- speech -----------------------------------------------------------------------------------------------------------


def test_speech_and_words_become_a_reply_and_silence_nothing() -> None:
    client = Client()
    assert client.play(SILENCE * 1000) == []
    events = client.hear("session.output_transcript.delta", delta="Hello.", start_ms=1000, end_ms=1400)
    events += client.play(SOUND * 400) + client.play(SILENCE * 1000)
    assert SOUND * 400 in b"".join(event.audio for event in events if isinstance(event, AudioDelta))
    assert events[-1] == ResponseFinished(response_id="live_1.out1", status=ResponseStatus.COMPLETED)
    assert client.protocol.heard_ms == 2400


def test_the_callers_turn_ends_by_the_providers_clock() -> None:
    client = Client()
    client.hear("session.input_transcript.delta", delta="Hello.", start_ms=0, end_ms=400)
    finals = [event for event in client.play(SILENCE * 800) if isinstance(event, InputTranscript) and event.is_final]
    assert [event.text for event in finals] == ["Hello."]


def test_words_of_the_caller_are_told_only_where_a_transcript_is_wanted() -> None:
    client = Client(transcription_model=None)
    events = client.hear("session.input_transcript.delta", delta="Hello.", start_ms=0, end_ms=400)
    assert [type(event).__name__ for event in events + client.play(SILENCE * 800)] == ["SpeechStarted", "SpeechStopped"]


def test_a_stream_that_stopped_ends_its_turns() -> None:
    client = Client()
    client.play(SOUND * 100)
    assert isinstance(client.protocol.end_turns()[-1], ResponseFinished)
    assert client.protocol.end_turns() == []


@pytest.mark.parametrize("delta", ["****", "", "AAA"])
def test_audio_that_is_none_is_counted(delta: str) -> None:
    client = Client(input_format=AudioFormat.PCM16_24K, output_format=AudioFormat.PCM16_24K)
    assert client.hear("session.output_audio.delta", delta=delta) == []
    assert client.protocol.statistics.skipped_audio == 1


def test_garbage_is_counted_and_survived() -> None:
    client = Client()
    large = json.dumps({"type": "session.updated", "text": "x" * MAX_EVENT_CHARACTERS})
    for document in ("", "[]", "{", '{"type": 1}', large, '{"type": "session.closed", "usage": 1}', b"\x00"):
        assert client.protocol.receive(document) == []
    assert client.protocol.statistics.malformed_events == 7
    assert client.hear("session.of_tomorrow") == []
    assert client.protocol.statistics.unknown_events == 1
    assert client.hear("info", code="hint", message="m") == []
    assert client.protocol.statistics.unknown_events == 1
    assert client.play(SOUND * 20) != []


# --- what the call says ----------------------------------------------------------------------------------------------


def test_facts_are_told_quietly_and_requests_to_speak_are_instructions() -> None:
    client = Client()
    client.protocol.send_text("system", "The caller pressed 1.")
    client.protocol.send_text("user", "My number is 5.")
    client.protocol.send_text("assistant", "Welcome.")
    client.protocol.respond(None)
    client.protocol.respond("Greet the caller.")
    client.protocol.say("Please wait.")
    sent = client.sent()
    assert [message["type"].split(".")[1] for message in sent] == [
        *["thinking"] * 3,
        *["instructions"] * 2,
        "commentary",
    ]
    assert {message["delegation_id"] for message in sent} == {None}
    assert sent[0]["content"] == "The caller pressed 1."
    assert "My number is 5." in sent[1]["content"]
    assert sent[4]["content"].startswith("Greet the caller.")
    assert '"Please wait."' in sent[5]["content"]


def test_what_this_model_cannot_do_is_left_undone() -> None:
    client = Client()
    client.protocol.commit_audio()
    client.protocol.cancel_response()
    client.protocol.truncate("item", 0, 100)
    client.protocol.delete_item("item")
    (answered,) = client.protocol.ask("q1", "Sum up.")
    assert isinstance(answered, Answered)
    assert answered.question_id == "q1"
    assert isinstance(answered.error, ProviderRefused)
    assert client.sent() == []


def test_instructions_change_by_further_ones_and_tools_by_an_update() -> None:
    client = Client(tools=TOOLS)
    client.protocol.update(SessionChange(instructions="Speak German.", tools=(Tool(name="other"),)))
    instructions, update, news = client.sent()
    assert instructions["content"].endswith("\n\nSpeak German.")
    assert update["session"]["delegation"]["responses"]["tools"][0]["name"] == "other"
    assert news["content"].endswith("\n- other")


def test_a_session_without_tools_is_not_given_any() -> None:
    client = Client()
    client.protocol.update(SessionChange(tools=TOOLS))
    assert client.sent() == []
    assert client.protocol.statistics.errors == 1


def test_work_handed_on_where_there_are_no_tools_is_answered_at_once() -> None:
    client = Client()
    client.hear("session.delegation.created", delegation={"id": "d1", "target": "client"}, offset_ms=5)
    (answer,) = client.sent()
    assert (answer["type"], answer["delegation_id"]) == ("session.commentary.append", "d1")
    client.hear("session.delegation.created", delegation={"id": "d2", "target": "responses"}, offset_ms=5)
    assert client.sent() == []


# --- tools -----------------------------------------------------------------------------------------------------------


def test_a_call_is_told_once_answered_once_and_the_backend_goes_on() -> None:
    client = Client(tools=TOOLS)
    client.work("response.created")
    assert client.call(arguments='{"id": 1}') == [
        ToolCalled(call=ToolCall(call_id="c1", name="look", arguments={"id": 1}, response_id="d1"))
    ]
    assert client.call(arguments='{"id": 1}') == []
    client.protocol.send_tool_result("c1", '{"found": true}', respond=True)
    client.protocol.send_tool_result("c1", '{"found": true}', respond=True)
    item = {"type": "function_call_output", "call_id": "c1", "output": '{"found": true}'}
    assert client.sent() == [{"type": "response.item.create", "item": item}]
    client.work("response.completed", response={})
    assert client.sent() == [{"type": "response.create"}]
    statistics = client.protocol.statistics
    assert (statistics.repeated_calls, statistics.stale_results) == (1, 1)


def test_half_a_call_and_other_items_are_none() -> None:
    client = Client(tools=TOOLS)
    client.work("response.created")
    assert client.call(status="incomplete") == []
    assert client.call(type="message") == []


def test_arguments_that_are_no_object_are_answered_here() -> None:
    client = Client(tools=TOOLS)
    client.work("response.created")
    assert client.call(arguments="[1]") == []
    client.work("response.completed", response={})
    assert client.kinds() == ["response.item.create", "response.create"]
    assert client.protocol.statistics.rejected_calls == 1


def test_the_calls_of_work_that_failed_are_cancelled_and_their_results_told_as_news() -> None:
    client = Client(tools=TOOLS)
    client.work("response.created")
    client.call()
    events = client.work("response.failed", response={"error": {"code": "server_error"}})
    assert events == [ToolCancelled(call_id="c1")]
    client.protocol.send_tool_result("c1", "done", respond=True)
    (news,) = client.sent()
    assert news["type"] == "session.thinking.append"
    assert client.protocol.statistics.errors == 1


# --- bills -----------------------------------------------------------------------------------------------------------


def test_seconds_are_told_as_they_come_about_and_tokens_of_the_backend_beside_them() -> None:
    client = Client(tools=TOOLS)
    told = []
    for seconds in (4, 4, 9.5, 3):
        told += client.hear("session.usage.updated", usage={"seconds": seconds}, context_window={"usage_ratio": 0.25})
    assert [event.usage.seconds for event in told if isinstance(event, UsageReported)] == [4, 5.5]
    assert client.protocol.statistics.context_usage_ratio == 0.25
    client.hear("session.usage.updated", usage={"seconds": 9.5})
    assert client.protocol.statistics.context_usage_ratio == 0.25
    usage = {"input_tokens": 20, "output_tokens": 10, "input_tokens_details": {"cached_tokens": 4}}
    (event,) = client.work("response.completed", response={"usage": usage})
    assert isinstance(event, UsageReported)
    assert (event.usage.input_tokens, event.usage.cached_tokens, event.usage.output_tokens) == (20, 4, 10)
