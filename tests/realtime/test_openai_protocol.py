"""The protocol fed with text: what it tells the call, and what it answers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.openai import codec
from gateway.realtime.openai.event_tables import TRANSLATED
from gateway.realtime.openai.protocol import OpenAIProtocol, Phase
from gateway.realtime.session import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    ItemAdded,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    SpeechStarted,
    SpeechStopped,
    Tool,
    ToolCall,
    ToolCalled,
    TurnDetection,
    Usage,
)
from tests.support.openai_peer import KEY, Peer
from tests.support.realtime_schema import assert_valid

CONVERSATION = Path(__file__).parents[1] / "data" / "realtime-conversation.jsonl"
BUSY = "conversation_already_has_active_response"


# --- a whole conversation ---------------------------------------------------------------------------------------------


def conversation() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CONVERSATION.read_text(encoding="utf-8").splitlines()]


def test_worked_conversation_is_valid_on_both_sides() -> None:
    for line in conversation():
        assert_valid(line["event"], line["from"])


def test_worked_conversation_event_by_event() -> None:
    peer = Peer(is_ready=False, input_format=AudioFormat.PCMU, tools=(Tool(name="get_hours"),))
    told: list[SessionEvent] = []
    for line in conversation():
        if line["from"] == "server":
            told += peer.send_text(json.dumps(line["event"], separators=(",", ":")))
        elif line["event"]["type"] == "conversation.item.create":
            peer.protocol.send_tool_result("call_1", '{"open":"9-17"}', respond=True)
        elif line["event"]["type"] == "conversation.item.truncate":
            peer.protocol.truncate("item_a1", 0, 640)
        elif line["event"]["type"] == "response.cancel":
            peer.protocol.cancel_response()
    usage = [event.usage for event in told if isinstance(event, ResponseFinished)]
    assert [
        SessionReady(session_id="sess_1", model="gpt-realtime-2.1-mini", expires_at_s=1795000000),
        SpeechStarted(item_id="item_u1", audio_start_ms=1200),
        SpeechStopped(item_id="item_u1", audio_end_ms=3100),
        ItemAdded(item_id="item_u1", kind="user"),
        ResponseStarted(response_id="resp_1"),
        ItemAdded(item_id="item_f1", kind="tool_call", call_id="call_1"),
        ToolCalled(call=ToolCall(call_id="call_1", name="get_hours", arguments={}, response_id="resp_1")),
        ResponseFinished(response_id="resp_1", status=ResponseStatus.COMPLETED, usage=usage[0]),
        InputTranscript(item_id="item_u1", text="When are you open?", is_final=True, usage=Usage(seconds=2)),
        ItemAdded(item_id="item_o1", kind="tool_result", call_id="call_1"),
        ResponseStarted(response_id="resp_2"),
        ItemAdded(item_id="item_a1", kind="assistant"),
        _words("We are open from nine", is_final=False),
        AudioDelta(response_id="resp_2", item_id="item_a1", content_index=0, audio=b"\x7f\x7f\x7f\x7f"),
        SpeechStarted(item_id="item_u2", audio_start_ms=5200),
        _words("We are open from nine", is_final=True),
        ResponseFinished(response_id="resp_2", status=ResponseStatus.CANCELLED, usage=usage[1], reason="turn_detected"),
    ] == told
    assert usage[1] is not None
    assert (usage[1].input_tokens, usage[1].output_audio_tokens, usage[1].cached_text_tokens) == (109, 44, 64)
    # Heard were 640 ms of the 0.5 ms received; the reply was over, so that there was nothing to cancel.
    assert [event["type"] for event in peer.sent] == [
        "session.update",
        "conversation.item.create",
        "response.create",
        "conversation.item.truncate",
    ]
    assert peer.sent[-1]["audio_end_ms"] == 0
    assert peer.statistics.unknown_events == 0
    assert peer.statistics.benign_errors == 1


def _words(text: str, *, is_final: bool) -> OutputTranscript:
    return OutputTranscript(response_id="resp_2", item_id="item_a1", content_index=0, text=text, is_final=is_final)


# --- opening ----------------------------------------------------------------------------------------------------------


def test_session_is_ready_when_the_update_is_confirmed() -> None:
    peer = Peer(is_ready=False)
    assert peer.drain() == []
    assert peer.send("session.created", session={"id": "s"}) == []
    assert peer.take() == ["session.update"]
    told = peer.send("session.updated", session={"id": "s", "expires_at": 0})
    assert told == [SessionReady(session_id="s", model="m", expires_at_s=None)]
    assert peer.protocol.phase is Phase.READY


def test_update_is_sent_once_and_readiness_told_once() -> None:
    peer = Peer()
    assert peer.send("session.created") == []
    assert peer.send("session.updated") == []
    assert peer.take() == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("invalid_api_key", ProviderRefused),
        ("insufficient_quota", ProviderRefused),
        ("model_not_found", ProviderRefused),
        ("unknown_parameter", ProviderRefused),
        ("", ProviderRefused),
        ("server_error", ProviderUnavailable),
        ("rate_limit_exceeded", ProviderUnavailable),
        ("session_expired", ProviderUnavailable),
    ],
)
def test_error_while_opening_fails_the_session(code: str, error: type[Exception]) -> None:
    peer = Peer(is_ready=False)
    peer.send("session.created")
    (failed,) = peer.error(code)
    assert isinstance(failed, SessionFailed)
    assert type(failed.error) is error
    assert peer.send("session.updated") == []


def test_provider_that_takes_another_format_is_refused() -> None:
    peer = Peer(is_ready=False, output_format=AudioFormat.PCMU)
    peer.send("session.created")
    taken = {"output": {"format": {"type": "audio/pcm", "rate": 24000}}}
    (failed,) = peer.send("session.updated", session={"audio": taken})
    assert isinstance(failed, SessionFailed)
    assert "does not take audio/pcmu as output" in str(failed.error)


def test_provider_that_takes_another_rate_is_refused() -> None:
    peer = Peer(is_ready=False)
    peer.send("session.created")
    (failed,) = peer.send(
        "session.updated", session={"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}
    )
    assert isinstance(failed, SessionFailed)
    assert "16000" in str(failed.error)


# --- audio ------------------------------------------------------------------------------------------------------------


def test_audio_is_told_by_item_and_content() -> None:
    peer = Peer()
    peer.begin()
    assert peer.speak(b"abc", "item_1", content_index=1) == [
        AudioDelta(response_id="resp_1", item_id="item_1", content_index=1, audio=b"abc")
    ]
    where = {"response_id": "resp_1", "item_id": "item_1", "content_index": 1}
    finished = [AudioFinished(response_id="resp_1", item_id="item_1", content_index=1)]
    assert peer.send("response.output_audio.done", **where) == finished
    assert peer.send("response.output_audio.done", **where) == []


def test_fast_and_slow_way_tell_the_same() -> None:
    event = {"type": "response.output_audio.delta", "event_id": "e", "response_id": "r", "item_id": "i"}
    event |= {"output_index": 0, "content_index": 2, "delta": "f39/fw=="}
    fast = Peer().send_text(json.dumps(event, separators=(",", ":")))
    slow = Peer().send_text(json.dumps(event | {"obfuscation": "x"}))
    assert fast == slow
    assert len(fast) == 1


@pytest.mark.parametrize(
    "delta", ["!!!!", "f39", "", "AAAA", "gr\u00fc\u00df"], ids=["alphabet", "cut", "empty", "odd", "umlaut"]
)
def test_what_is_no_audio_is_skipped_and_counted(delta: str) -> None:
    peer = Peer(output_format=AudioFormat.PCM16_24K)
    peer.begin()
    where = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    assert peer.send("response.output_audio.delta", **where, delta=delta) == []
    assert peer.statistics.skipped_audio == 1
    assert len(peer.speak(b"ab")) == 1


def test_end_of_a_reply_ends_audio_that_nobody_ended() -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"a", "item_1")
    peer.speak(b"b", "item_2")
    where = {"response_id": "resp_1", "item_id": "item_2", "content_index": 0}
    peer.send("response.output_audio.done", **where)
    told = peer.end()
    assert told[0] == AudioFinished(response_id="resp_1", item_id="item_1", content_index=0)
    assert isinstance(told[1], ResponseFinished)
    assert len(told) == 2


# --- barge-in ---------------------------------------------------------------------------------------------------------


def test_late_audio_of_a_truncated_item_is_dropped() -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"\0" * 800)
    peer.protocol.truncate("item_1", 0, 40)
    assert peer.take() == ["conversation.item.truncate"]
    assert peer.speak(b"late") == []
    assert peer.send("response.output_audio.done", response_id="resp_1", item_id="item_1") == []
    assert peer.statistics.late_audio == 1


def test_late_words_of_a_truncated_item_are_dropped_but_not_the_whole_text() -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"\0" * 8)
    peer.protocol.truncate("item_1", 0, 1)
    where = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    assert peer.send("response.output_audio_transcript.delta", **where, delta="more") == []
    (final,) = peer.send("response.output_audio_transcript.done", **where, transcript="all of it")
    assert isinstance(final, OutputTranscript)


def test_speech_makes_the_rest_of_the_reply_late_where_the_provider_cancels() -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"a", "item_1")
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    assert peer.speak(b"late", "item_1") == []
    assert peer.speak(b"late", "item_2") == []
    peer.end(status="cancelled")
    assert peer.speak(b"late", "item_1") == []
    peer.begin("resp_2")
    assert len(peer.speak(b"new", "item_3", "resp_2")) == 1


def test_speech_leaves_the_reply_alone_where_the_call_decides() -> None:
    peer = Peer(turn_detection=TurnDetection(interrupts_response=False))
    peer.begin()
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    assert len(peer.speak(b"a")) == 1


@given(received=st.integers(0, 4000), heard=st.integers(-100, 10_000))
@settings(max_examples=50)
def test_truncation_never_exceeds_what_was_received(received: int, heard: int) -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"\xff" * (received * 8 + 7))
    peer.protocol.truncate("item_1", 0, heard)
    (truncation,) = peer.drain()
    assert truncation["audio_end_ms"] == min(max(heard, 0), received)


def test_truncation_counts_each_content_of_each_item() -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"\xff" * 80, "item_1", content_index=0)
    peer.speak(b"\xff" * 160, "item_1", content_index=1)
    peer.speak(b"\xff" * 240, "item_2")
    for part in (("item_1", 0), ("item_1", 1), ("item_2", 0)):
        peer.protocol.truncate(*part, 9999)
    assert [event["audio_end_ms"] for event in peer.drain()] == [10, 20, 30]


def test_truncation_of_an_item_without_audio_is_not_sent() -> None:
    peer = Peer()
    peer.begin()
    peer.protocol.truncate("item_9", 0, 100)
    assert peer.take() == []
    assert peer.speak(b"late", "item_9") == []


def test_cancel_names_the_reply_under_way_and_drops_its_audio() -> None:
    peer = Peer()
    peer.begin()
    peer.protocol.cancel_response()
    assert peer.drain()[0]["response_id"] == "resp_1"
    assert peer.speak(b"late") == []


def test_cancel_without_a_reply_sends_nothing() -> None:
    peer = Peer()
    peer.protocol.cancel_response()
    peer.begin()
    peer.end()
    peer.protocol.cancel_response()
    assert peer.take() == []


def test_cancel_of_a_reply_that_has_not_begun_drops_it() -> None:
    peer = Peer()
    peer.protocol.respond("Greet.")
    peer.protocol.cancel_response()
    assert peer.take() == ["response.create", "response.cancel"]
    peer.begin()
    assert peer.speak(b"late") == []
    peer.end(status="cancelled")
    peer.begin("resp_2")
    assert len(peer.speak(b"new", "item_2", "resp_2")) == 1


def test_cancelled_request_that_is_refused_is_forgotten() -> None:
    peer = Peer()
    peer.protocol.respond("Greet.")
    event_id = peer.drain()[0]["event_id"]
    peer.protocol.cancel_response()
    peer.take()
    peer.error(BUSY, event_id=event_id)
    peer.end("resp_unheard")
    assert peer.take() == []
    peer.begin("resp_2")
    assert len(peer.speak(b"new", "item_2", "resp_2")) == 1


# --- asking for replies -----------------------------------------------------------------------------------------------


def test_greeting_asks_with_its_instructions() -> None:
    peer = Peer()
    peer.protocol.respond("Say hello.")
    assert peer.drain()[0]["response"] == {"instructions": "Say hello."}


def test_second_reply_waits_for_the_end_of_the_first() -> None:
    peer = Peer()
    peer.protocol.respond(None)
    peer.protocol.respond("Second.")
    assert peer.take() == ["response.create"]
    peer.begin()
    assert peer.take() == []
    peer.end()
    assert peer.sent[0]["response"] == {"instructions": "Second."}


def test_busy_provider_is_asked_again_after_its_reply() -> None:
    peer = Peer()
    peer.protocol.respond("Greet.")
    event_id = peer.drain()[0]["event_id"]
    peer.sent.clear()
    peer.begin("resp_vad")
    assert peer.error(BUSY, event_id=event_id) == []
    assert peer.take() == []
    peer.end("resp_vad")
    assert peer.sent[0]["type"] == "response.create"
    assert peer.sent[0]["response"] == {"instructions": "Greet."}
    assert peer.statistics.benign_errors == 1


@pytest.mark.parametrize("event_id", [None, "event"])
def test_busy_provider_whose_reply_was_never_announced_is_asked_again(event_id: str | None) -> None:
    peer = Peer()
    peer.protocol.respond(None)
    sent_id = peer.drain()[0]["event_id"]
    peer.take()
    peer.error(BUSY, event_id=event_id and sent_id)
    assert peer.take() == []
    peer.end("resp_unheard")
    assert peer.take() == ["response.create"]


def test_reply_that_is_refused_is_told_and_the_next_one_asked() -> None:
    peer = Peer()
    peer.protocol.respond(None)
    event_id = peer.drain()[0]["event_id"]
    (finished,) = peer.error("rate_limit_exceeded", event_id=event_id)
    assert isinstance(finished, ResponseFinished)
    assert finished.status is ResponseStatus.FAILED
    assert isinstance(finished.error, ProviderUnavailable)
    peer.take()
    peer.protocol.respond(None)
    assert peer.take() == ["response.create"]


def test_text_is_a_message_of_its_role() -> None:
    peer = Peer()
    peer.protocol.send_text("system", "The caller pressed 5.")
    item = peer.drain()[0]["item"]
    assert item["role"] == "system"
    assert item["content"] == [{"type": "input_text", "text": "The caller pressed 5."}]


def test_turn_of_ours_is_committed() -> None:
    peer = Peer(turn_detection=TurnDetection(kind="none"))
    peer.protocol.commit_audio()
    assert peer.take() == ["input_audio_buffer.commit"]


# --- tools ------------------------------------------------------------------------------------------------------------


def test_call_is_told_once_however_often_it_comes() -> None:
    peer = Peer()
    peer.begin()
    item = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1}', "status": "completed"}
    peer.send("response.function_call_arguments.done", response_id="resp_1", call_id="c1", arguments='{"a":1}')
    (called,) = peer.call("c1", arguments='{"a":1}')
    assert called == ToolCalled(call=ToolCall(call_id="c1", name="look", arguments={"a": 1}, response_id="resp_1"))
    assert peer.call("c1") == []
    (finished,) = peer.end(output=[item])
    assert isinstance(finished, ResponseFinished)
    assert peer.call("c1", "resp_2") == []
    assert peer.statistics.repeated_calls == 2


def test_call_that_only_the_summary_tells_is_told() -> None:
    peer = Peer()
    peer.begin()
    item = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    called, finished = peer.end(output=[item])
    assert isinstance(called, ToolCalled)
    assert isinstance(finished, ResponseFinished)
    peer.result("c1")
    assert peer.take() == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize("status", ["incomplete", "in_progress"])
def test_half_a_call_is_not_run(status: str) -> None:
    peer = Peer()
    peer.begin()
    assert peer.call("c1", status=status, arguments='{"number":"+49') == []
    item = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"n', "status": status}
    (finished,) = peer.end(status="cancelled", output=[item])
    assert isinstance(finished, ResponseFinished)
    assert peer.take() == []


def test_call_in_the_summary_of_a_cancelled_reply_is_not_run() -> None:
    peer = Peer()
    peer.begin()
    item = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", "status": "completed"}
    assert len(peer.end(status="cancelled", output=[item])) == 1


def test_results_of_one_reply_ask_for_one_reply_after_it() -> None:
    peer = Peer()
    peer.begin()
    for call_id in ("c1", "c2", "c3"):
        peer.call(call_id)
    peer.result("c1")
    peer.result("c2")
    peer.end()
    assert peer.take() == ["conversation.item.create"] * 2
    peer.result("c3")
    assert peer.take() == ["conversation.item.create", "response.create"]


def test_result_before_the_end_of_the_calling_reply_waits_with_the_request() -> None:
    peer = Peer()
    peer.begin()
    peer.call("c1")
    peer.result("c1")
    assert peer.take() == ["conversation.item.create"]
    peer.end()
    assert peer.take() == ["response.create"]


def test_result_that_wants_no_reply_asks_for_none() -> None:
    peer = Peer()
    peer.begin()
    peer.call("c1")
    peer.end()
    peer.result("c1", respond=False)
    assert peer.take() == ["conversation.item.create"]


def test_one_result_that_wants_a_reply_is_enough() -> None:
    peer = Peer()
    peer.begin()
    peer.call("c1")
    peer.call("c2")
    peer.end()
    peer.result("c1", respond=True)
    peer.result("c2", respond=False)
    assert peer.take().count("response.create") == 1


def test_result_for_an_unknown_or_answered_call_is_dropped() -> None:
    peer = Peer()
    peer.result("c0")
    peer.begin()
    peer.call("c1")
    peer.end()
    peer.result("c1")
    peer.result("c1")
    assert peer.take() == ["conversation.item.create", "response.create"]
    assert peer.statistics.stale_results == 2


def test_results_wait_while_a_reply_of_the_callers_turn_is_under_way() -> None:
    peer = Peer()
    peer.begin()
    peer.call("c1")
    peer.end()
    peer.begin("resp_2")
    peer.result("c1")
    assert peer.take() == ["conversation.item.create"]
    peer.end("resp_2")
    assert peer.take() == ["response.create"]


def test_results_do_not_talk_over_the_caller() -> None:
    peer = Peer()
    peer.begin()
    peer.call("c1")
    peer.end()
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    peer.result("c1")
    peer.confirm("c1")
    peer.send("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id="u")
    assert peer.take() == ["conversation.item.create"]
    peer.begin("resp_2")  # the provider's own reply, which has seen the result
    peer.end("resp_2")
    assert peer.take() == []


def test_results_that_the_providers_own_reply_missed_are_spoken_after_it() -> None:
    peer = Peer()
    peer.begin()
    peer.call("c1")
    peer.end()
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    peer.result("c1")
    peer.begin("resp_2")
    peer.confirm("c1")
    assert peer.take() == ["conversation.item.create"]
    peer.end("resp_2")
    assert peer.take() == ["response.create"]


def test_results_do_not_wait_for_a_turn_that_nobody_answers() -> None:
    peer = Peer(turn_detection=TurnDetection(creates_response=False))
    peer.begin()
    peer.call("c1")
    peer.end()
    peer.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
    peer.result("c1")
    assert peer.take() == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize("arguments", ["[1]", '{"a":', "no"])
def test_arguments_that_are_no_object_are_answered_for_the_model_to_mend(arguments: str) -> None:
    peer = Peer()
    peer.begin()
    assert peer.call("c1", arguments=arguments) == []
    assert "error" in json.loads(peer.sent[0]["item"]["output"])
    peer.end()
    assert peer.take() == ["conversation.item.create", "response.create"]
    assert peer.statistics.rejected_calls == 1


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        {"code": "response_cancel_not_active"},
        {"code": BUSY},
        {"code": "input_audio_buffer_commit_empty"},
        {"code": "item_truncate_invalid_item_id"},
        {"code": "invalid_value", "param": "audio_end_ms"},
    ],
    ids=lambda error: error["code"],
)
def test_errors_of_honest_races_are_kept_quiet(error: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    assert peer.error(**error) == []
    assert (peer.statistics.benign_errors, peer.statistics.errors) == (1, 0)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_refused_truncation_is_known_by_its_event_id() -> None:
    peer = Peer()
    peer.begin()
    peer.speak(b"a" * 80)
    peer.protocol.truncate("item_1", 0, 5)
    peer.error("invalid_value", event_id=peer.drain()[0]["event_id"])
    assert peer.statistics.benign_errors == 1
    peer.error("invalid_value", event_id="c999")
    assert peer.statistics.errors == 1


def test_other_errors_are_logged_and_the_session_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer()
    assert peer.error("cannot_update_voice", message=f"no, {KEY}") == []
    assert "cannot_update_voice" in caplog.text
    assert KEY not in caplog.text
    assert len(peer.begin()) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("invalid_api_key", ProviderRefused),
        ("insufficient_quota", ProviderRefused),
        ("credit_balance_exhausted", ProviderRefused),
        ("billing_hard_limit_reached", ProviderRefused),
        ("account_deactivated", ProviderRefused),
        ("invalid_model", ProviderRefused),
        ("session_expired", ProviderUnavailable),
    ],
)
def test_fatal_errors_end_the_session(code: str, error: type[Exception]) -> None:
    peer = Peer()
    (failed,) = peer.error(code, message=f"{KEY} and more")
    assert isinstance(failed, SessionFailed)
    assert type(failed.error) is error
    assert failed.error.code == code
    assert KEY not in str(failed.error)
    assert peer.begin() == []


def test_failed_reply_tells_why() -> None:
    peer = Peer()
    peer.begin()
    details = {"type": "failed", "error": {"type": "server_error", "code": "server_error", "message": "oops"}}
    (finished,) = peer.end(status="failed", status_details=details)
    assert isinstance(finished, ResponseFinished)
    assert finished.status is ResponseStatus.FAILED
    assert isinstance(finished.error, ProviderUnavailable)
    assert "oops" in str(finished.error)
    assert len(peer.begin("resp_2")) == 1


def test_reply_that_failed_for_good_ends_the_session() -> None:
    peer = Peer()
    peer.begin()
    details = {"type": "failed", "error": {"code": "insufficient_quota", "message": "pay"}}
    finished, failed = peer.end(status="failed", status_details=details)
    assert isinstance(finished, ResponseFinished)
    assert isinstance(failed, SessionFailed)
    assert isinstance(failed.error, ProviderRefused)


def test_failed_reply_without_an_error_is_still_an_error() -> None:
    peer = Peer()
    peer.begin()
    (finished,) = peer.end(status="failed", status_details=None)
    assert isinstance(finished, ResponseFinished)
    assert finished.error is not None


def test_incomplete_reply_tells_its_reason_and_usage() -> None:
    peer = Peer()
    peer.begin()
    details = {"type": "incomplete", "reason": "max_output_tokens"}
    (finished,) = peer.end(status="incomplete", status_details=details, usage={"input_tokens": 5})
    assert isinstance(finished, ResponseFinished)
    assert (finished.reason, finished.usage) == ("max_output_tokens", Usage(input_tokens=5))


def test_usage_beside_the_response_is_found() -> None:
    peer = Peer()
    peer.begin()
    (finished,) = peer.send("response.done", response={"id": "resp_1"}, usage={"output_tokens": 3})
    assert isinstance(finished, ResponseFinished)
    assert finished.usage == Usage(output_tokens=3)


# --- hostile text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        "",
        "null",
        "[]",
        '"x"',
        "{",
        "{}",
        '{"type":5}',
        '{"type":null}',
        "[" * 100_000,
        '{"type":"error","error":' * 2000,
        '{"type":"response.done","response":' + "[" * 200 + "]" * 200 + "}",
        '{"type":"response.done","response":[' + "0," * 60_000 + "0]}",
        '{"type":"error","error":{"message":"' + "x" * 2_000_000 + '"}}',
        '{"type":"response.created","response":"resp_1"}',
        '{"type":"response.created","response":{"id":7}}',
        '{"type":"response.output_audio.delta","delta":"AA=="}',
        '{"type":"response.output_audio.delta","response_id":"r","item_id":"i","content_index":-1,"delta":"AA=="}',
        '{"type":"response.output_audio.delta","response_id":"r","item_id":"i","content_index":0}',
        '{"type":"response.output_item.done","item":{"type":"function_call","status":"completed","name":"x"}}',
        '{"type":"input_audio_buffer.speech_started","audio_start_ms":"soon"}',
        '{"type":"input_audio_buffer.speech_started","audio_start_ms":1e999}',
        '{"type":"input_audio_buffer.speech_started","audio_start_ms":' + "9" * 5000 + "}",
        '{"type":"conversation.item.input_audio_transcription.completed","transcript":"x"}',
    ],
    ids=lambda document: document[:40],
)
def test_malformed_events_are_counted_and_skipped(document: str) -> None:
    peer = Peer()
    peer.begin()
    assert peer.send_text(document) == []
    assert peer.statistics.malformed_events == 1
    assert len(peer.speak(b"a")) == 1


def test_unknown_types_are_counted_and_skipped() -> None:
    peer = Peer()
    assert peer.send("response.telepathy.delta", delta="?") == []
    assert peer.send("ping") == []
    assert peer.statistics.unknown_events == 2
    assert peer.statistics.malformed_events == 0


def test_long_audio_in_one_event_is_taken() -> None:
    peer = Peer()
    peer.begin()
    (delta,) = peer.speak(b"\xff" * 3_000_000)
    assert isinstance(delta, AudioDelta)
    assert len(delta.audio) == 3_000_000


def test_text_is_always_fit_to_be_encoded() -> None:
    peer = Peer()
    document = '{"type":"conversation.item.input_audio_transcription.completed","item_id":"u","transcript":"a\\ud83db"}'
    (transcript,) = peer.send_text(document)
    assert isinstance(transcript, InputTranscript)
    assert transcript.text == "a?b"


def test_endless_stream_of_items_does_not_grow_memory() -> None:
    peer = Peer()
    peer.begin()
    for number in range(1000):
        peer.speak(b"a", f"item_{number}")
        peer.protocol.truncate(f"item_{number}", 0, 0)
        peer.protocol.cancel_response()
    assert len(peer.protocol._ledger._parts) <= 256
    assert len(peer.protocol._ledger._interrupted) <= 256
    assert len(peer.protocol._outbox) <= 64


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "item", "type", "error"]), inner)
    ),
    max_leaves=8,
)
KINDS = sorted({*OpenAIProtocol._HANDLERS, *TRANSLATED})
NAMES = ["response", "response_id", "item", "item_id", "content_index", "delta", "error", "session", "audio_start_ms"]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), JSON_VALUES)), max_size=6))
@settings(max_examples=100, deadline=None)
def test_no_event_of_a_known_type_raises(events: list[tuple[str, dict[str, Any]]]) -> None:
    protocol = OpenAIProtocol(SessionOptions(url="ws://h/v1"))
    for kind, members in events:
        protocol.receive(json.dumps({"type": kind} | members))


@given(st.text(max_size=200))
def test_no_text_raises(document: str) -> None:
    protocol = OpenAIProtocol(SessionOptions(url="ws://h/v1"))
    assert protocol.receive(document) == []


# --- two readers of audio ---------------------------------------------------------------------------------------------

MEMBERS = (
    ("type", '"response.output_audio.delta"'),
    ("event_id", '"event_1"'),
    ("response_id", '"resp_1"'),
    ("item_id", '"item_1"'),
    ("output_index", "0"),
    ("content_index", "0"),
    ("delta", '"f39/fw=="'),
)
VALUES = st.sampled_from(
    [
        '"response.output_audio.delta"',
        '"response.output_audio.done"',
        '"f39/"',
        '"f39\\/fw=="',
        '"f39"',
        '"f39/fw==="',
        '"f3 9"',
        '"f39/\\n"',
        '"\\u0041AAA"',
        '"\u00e4"',
        '"\\ud83d"',
        '"a\\"b"',
        '"tab\tinside"',
        '""',
        "1",
        "01",
        "1.0",
        "1e0",
        "-1",
        "12345678901234567890",
        "null",
        "true",
        "[]",
        '{"delta":"AAAA"}',
        f'"{"x" * 200}"',
    ]
)
SPACES = st.sampled_from(["", " ", "  ", "\n", "\t"])


@st.composite
def delta_documents(draw: st.DrawFn) -> str:
    """Deltas as they are sent, mostly with one thing about them changed."""
    members = list(MEMBERS)
    if draw(st.booleans()):
        members[0], members[1] = members[1], members[0]
    changes = st.sampled_from(["value", "value", "member", "order", "spaces", "character"])
    comma = colon = ""
    places = st.integers(0, len(members) - 1)
    chosen = draw(st.lists(changes, max_size=2))
    for change in chosen:
        if change == "value":
            place = draw(places)
            members[place] = (members[place][0], draw(VALUES))
        elif change == "member":
            name = draw(st.sampled_from(["delta", "type", "item_id", "new"]))
            members.insert(draw(places) + 1, (name, draw(VALUES)))
        elif change == "order":
            members = draw(st.permutations(members))
        elif change == "spaces":
            comma, colon = draw(SPACES), draw(SPACES)
    text = "{" + ("," + comma).join(f'"{name}":{colon}{value}' for name, value in members) + "}"
    if "character" in chosen:
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from('"\\{},: A\x00')) + text[place + draw(st.integers(0, 1)) :]
    return text


@settings(max_examples=500)
@given(delta_documents(), st.sampled_from([AudioFormat.PCMU, AudioFormat.PCM16_24K]))
def test_the_fast_reader_of_audio_and_the_parser_of_json_agree(document: str, output_format: AudioFormat) -> None:
    fast, full = Peer(output_format=output_format), Peer(output_format=output_format)
    told = fast.protocol.receive(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "read_audio_delta", lambda _document, _bytes_per_sample: None)
        expected = full.protocol.receive(document)
    assert told == expected
    assert fast.statistics == full.statistics
