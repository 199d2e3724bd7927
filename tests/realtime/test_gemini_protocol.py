"""The protocol without a socket: what each message of Gemini means, and what each command sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.media.codec import AudioFormat
from gateway.realtime.gemini.codec import GO_ON
from gateway.realtime.gemini.protocol import GeminiProtocol
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    AudioFinished,
    InputTranscript,
    Interrupted,
    Message,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    ResumptionOffered,
    SessionEvent,
    SessionExpiring,
    SessionOptions,
    SessionReady,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
    ToolCancelled,
    ToolExchange,
    TurnDetection,
    UsageReported,
)
from tests.support.gemini_server import USAGE, audio_part
from tests.support.provider_conformance import assert_grammar

VOICE = b"\x01\x02" * 240


class Peer:
    """The protocol, set up, with Gemini's side of the conversation."""

    def __init__(self, *, is_ready: bool = True, **options: Any) -> None:
        defaults: dict[str, Any] = {"url": "ws://h", "model": "gemini-x", "transcription_model": "own"}
        defaults |= {"input_format": AudioFormat.PCM16_16K}
        self.protocol = GeminiProtocol(SessionOptions(**defaults | options))
        self.events: list[SessionEvent] = []
        self.setup = self.sent()[0]["setup"]
        if is_ready:
            self.told({"setupComplete": {}})
            self.events.clear()

    def told(self, message: dict[str, Any] | str | bytes) -> list[SessionEvent]:
        events = self.protocol.receive(json.dumps(message) if isinstance(message, dict) else message)
        self.events += events
        return events

    def content(self, **members: Any) -> list[SessionEvent]:
        return self.told({"serverContent": members})

    def speaks(self, audio: bytes = VOICE, **members: Any) -> list[SessionEvent]:
        return self.content(modelTurn={"parts": [audio_part(audio)]}, **members)

    def completes(self, **members: Any) -> list[SessionEvent]:
        return self.content(turnComplete=True, **members)

    def calls(self, *calls: dict[str, Any]) -> list[SessionEvent]:
        return self.told({"toolCall": {"functionCalls": list(calls)}})

    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.protocol.messages_to_send()]

    def sent_content(self) -> tuple[list[str], bool]:
        """The texts of the one clientContent sent, and whether they are to be answered."""
        (message,) = self.sent()
        content = message["clientContent"]
        return [turn["parts"][0]["text"] for turn in content.get("turns", [])], content["turnComplete"]


def kinds(events: list[SessionEvent]) -> list[type]:
    return [type(event) for event in events]


# --- opening ----------------------------------------------------------------------------------------------------------


def test_setup_is_there_from_the_beginning_and_the_session_ready_once_it_is_confirmed() -> None:
    peer = Peer(is_ready=False)
    assert peer.protocol.awaited == "setupComplete"
    assert peer.setup["model"] == "models/gemini-x"
    assert peer.told({"setupComplete": {"sessionId": "s1"}}) == [SessionReady(session_id="s1", model="gemini-x")]
    assert peer.told({"setupComplete": {}}) == []


def test_nothing_is_told_before_the_session_is_set_up() -> None:
    peer = Peer(is_ready=False)
    assert peer.speaks() == []
    assert peer.told({"goAway": {"timeLeft": "5s"}}) == []


def test_binary_json_is_json() -> None:
    peer = Peer(is_ready=False)
    assert kinds(peer.told(b'{"setupComplete":{}}')) == [SessionReady]


def test_history_is_told_in_turns_that_want_no_answer() -> None:
    history = (
        Message(role="user", text="I am Ann."),
        Message(role="assistant", text="Hello Ann."),
        ToolExchange(call_id="c", name="look", arguments='{"a":1}', output="found"),
    )
    peer = Peer(history=history)
    (message,) = peer.sent()
    content = message["clientContent"]
    assert content["turnComplete"] is False
    assert [turn["role"] for turn in content["turns"]] == ["user", "model", "user"]
    assert [turn["parts"][0]["text"] for turn in content["turns"]][:2] == ["I am Ann.", "Hello Ann."]
    assert "look" in content["turns"][2]["parts"][0]["text"]
    assert "found" in content["turns"][2]["parts"][0]["text"]
    peer.protocol.respond(None)
    assert peer.sent_content() == ([], True)


def test_resumed_session_is_not_told_what_it_knows() -> None:
    peer = Peer(history=(Message(role="user", text="I am Ann."),), resume_handle="h1")
    assert peer.setup["sessionResumption"] == {"handle": "h1"}
    assert peer.sent() == []


# --- replies ----------------------------------------------------------------------------------------------------------


def test_reply_is_told_in_order_and_everything_once() -> None:
    peer = Peer()
    peer.speaks(outputTranscription={"text": "Good "})
    peer.speaks(outputTranscription={"text": "day."})
    peer.content(generationComplete=True)
    peer.told({"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})
    assert kinds(peer.events) == [
        ResponseStarted,
        AudioDelta,
        OutputTranscript,
        AudioDelta,
        OutputTranscript,
        AudioFinished,
        OutputTranscript,
        ResponseFinished,
    ]
    final = peer.events[-2]
    assert isinstance(final, OutputTranscript)
    assert (final.text, final.is_final, final.item_id) == ("Good day.", True, "speech_1")
    finished = peer.events[-1]
    assert isinstance(finished, ResponseFinished)
    assert finished.status is ResponseStatus.COMPLETED
    assert finished.usage is not None
    assert (finished.usage.input_tokens, finished.usage.output_tokens) == (20, 13)
    assert (finished.usage.input_audio_tokens, finished.usage.input_text_tokens) == (15, 5)
    assert (finished.usage.output_audio_tokens, finished.usage.output_text_tokens) == (8, 5)
    assert (finished.usage.cached_tokens, finished.usage.cached_text_tokens) == (4, 4)
    assert finished.usage.reasoning_tokens == 3


def test_end_of_the_turn_ends_audio_that_nothing_ended_before() -> None:
    peer = Peer()
    peer.speaks()
    assert kinds(peer.completes()) == [AudioFinished, ResponseFinished]
    assert peer.completes() == []


def test_every_reply_and_every_speech_has_a_name_of_its_own() -> None:
    peer = Peer()
    for _ in range(2):
        peer.speaks()
        peer.completes()
    deltas = [event for event in peer.events if isinstance(event, AudioDelta)]
    assert [(delta.response_id, delta.item_id) for delta in deltas] == [
        ("response_1", "speech_1"),
        ("response_2", "speech_2"),
    ]


def test_speech_behind_the_end_of_an_item_is_another_item() -> None:
    peer = Peer()
    peer.speaks(outputTranscription={"text": "One."})
    peer.content(generationComplete=True)
    peer.speaks(outputTranscription={"text": "Two."})
    peer.completes()
    finals = [event for event in peer.events if isinstance(event, OutputTranscript) and event.is_final]
    assert [(final.item_id, final.text) for final in finals] == [("speech_1", "One."), ("speech_2", "Two.")]
    assert [event.item_id for event in peer.events if isinstance(event, AudioFinished)] == ["speech_1", "speech_2"]


def test_words_before_the_audio_belong_to_it() -> None:
    peer = Peer()
    assert peer.content(outputTranscription={"text": "Good"}) == []
    assert kinds(peer.speaks()) == [ResponseStarted, AudioDelta, OutputTranscript]


@pytest.mark.parametrize(
    "part",
    [
        audio_part(VOICE, 16000),
        audio_part(b"\x01"),
        audio_part(b""),
        {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "no base64!"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ],
)
def test_what_is_no_audio_of_its_format_is_left_out(part: dict[str, Any]) -> None:
    peer = Peer()
    assert peer.content(modelTurn={"parts": [part]}) == []
    assert peer.protocol.statistics.skipped_audio == 1
    assert kinds(peer.speaks()) == [ResponseStarted, AudioDelta]


def test_thoughts_are_not_spoken() -> None:
    peer = Peer()
    assert peer.content(modelTurn={"parts": [{"text": "I should greet.", "thought": True}]}) == []


@pytest.mark.parametrize(
    ("reason", "status"),
    [("NEED_MORE_INPUT", ResponseStatus.COMPLETED), ("GENERATED_AUDIO_SAFETY", ResponseStatus.INCOMPLETE)],
)
def test_reason_of_the_end_says_whether_the_reply_is_whole(reason: str, status: ResponseStatus) -> None:
    peer = Peer()
    peer.speaks()
    finished = peer.completes(turnCompleteReason=reason)[-1]
    assert isinstance(finished, ResponseFinished)
    assert finished.status is status


def test_turn_that_was_refused_before_it_began_is_a_failed_reply() -> None:
    peer = Peer()
    (failed,) = peer.completes(turnCompleteReason="PROHIBITED_INPUT_CONTENT")
    assert isinstance(failed, ResponseFinished)
    assert (failed.response_id, failed.status) == ("", ResponseStatus.FAILED)
    assert isinstance(failed.error, ProviderUnavailable)
    assert failed.error.code == "prohibited_input_content"


def test_usage_of_several_generations_is_the_sum() -> None:
    peer = Peer()
    peer.speaks()
    peer.told({"usageMetadata": USAGE})
    finished = peer.told({"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})[-1]
    assert isinstance(finished, ResponseFinished)
    assert finished.usage is not None
    assert (finished.usage.input_tokens, finished.usage.cached_text_tokens) == (40, 8)


def test_usage_outside_of_a_turn_is_reported_by_itself() -> None:
    peer = Peer()
    (reported,) = peer.told({"usageMetadata": USAGE})
    assert isinstance(reported, UsageReported)
    assert reported.usage.input_tokens == 20
    assert peer.completes() == []


def test_usage_of_a_turn_whose_reply_ended_with_a_tool_call_is_not_lost() -> None:
    peer = Peer()
    peer.calls({"id": "f1", "name": "look"})
    (reported,) = peer.told({"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})
    assert isinstance(reported, UsageReported)
    assert reported.usage.output_tokens == 13


# --- the caller -------------------------------------------------------------------------------------------------------


def test_words_of_the_caller_are_told_whole_before_the_reply_ends() -> None:
    peer = Peer()
    peer.content(inputTranscription={"text": "Who "})
    peer.content(inputTranscription={"text": "are you?"})
    peer.speaks()
    peer.content(inputTranscription={"text": " Hm?"})
    peer.completes()
    said = [event for event in peer.events if isinstance(event, InputTranscript)]
    assert [(event.text, event.is_final) for event in said] == [
        ("Who ", False),
        ("are you?", False),
        (" Hm?", False),
        ("Who are you? Hm?", True),
    ]
    assert isinstance(peer.events[-1], ResponseFinished)


def test_finished_transcript_is_told_at_once() -> None:
    peer = Peer()
    peer.content(inputTranscription={"text": "Yes.", "finished": True})
    peer.content(inputTranscription={"text": "No.", "finished": True})
    finals = [event for event in peer.events if isinstance(event, InputTranscript) and event.is_final]
    assert [(final.item_id, final.text) for final in finals] == [("caller_1", "Yes."), ("caller_2", "No.")]


def test_words_with_which_the_caller_breaks_in_belong_to_the_next_turn() -> None:
    peer = Peer()
    peer.content(inputTranscription={"text": "Who are you?"})
    peer.speaks()
    peer.content(inputTranscription={"text": "Wait,"})
    peer.content(interrupted=True)
    peer.completes()
    peer.content(inputTranscription={"text": " stop."})
    peer.speaks()
    peer.completes()
    finals = [event.text for event in peer.events if isinstance(event, InputTranscript) and event.is_final]
    assert finals == ["Who are you?", "Wait, stop."]


def test_caller_is_not_written_down_unasked() -> None:
    assert Peer(transcription_model=None).content(inputTranscription={"text": "secret"}) == []


def test_voice_of_the_caller() -> None:
    peer = Peer()
    start = {"voiceActivityType": "ACTIVITY_START", "audioOffset": "1.25s"}
    assert peer.told({"voiceActivity": start}) == [SpeechStarted(item_id="caller_1", audio_start_ms=1250)]
    end = {"voiceActivityType": "ACTIVITY_END", "audioOffset": "2s"}
    assert peer.told({"voiceActivity": end}) == [SpeechStopped(item_id="caller_1", audio_end_ms=2000)]
    assert peer.told({"voiceActivity": {"voiceActivityType": "TYPE_UNSPECIFIED"}}) == []


def test_voice_that_breaks_in_begins_a_turn_of_its_own() -> None:
    """Its words come under the same name, and what it breaks off has been told by then."""
    peer = Peer()
    start = {"voiceActivity": {"voiceActivityType": "ACTIVITY_START", "audioOffset": "1s"}}
    peer.told(start)
    peer.content(inputTranscription={"text": "Who are you?"})
    peer.speaks()
    peer.told(start)
    peer.content(inputTranscription={"text": "Wait."})
    peer.content(interrupted=True)
    peer.completes()
    peer.speaks()
    peer.completes()
    starts = [event.item_id for event in peer.events if isinstance(event, SpeechStarted)]
    words = [(event.item_id, event.text) for event in peer.events if isinstance(event, InputTranscript)]
    assert starts == ["caller_1", "caller_2"]
    assert words == [
        ("caller_1", "Who are you?"),
        ("caller_1", "Who are you?"),
        ("caller_2", "Wait."),
        ("caller_2", "Wait."),
    ]


# --- barge-in ---------------------------------------------------------------------------------------------------------


def test_audio_behind_an_interruption_is_dropped_until_the_turn_is_over() -> None:
    peer = Peer()
    peer.speaks(outputTranscription={"text": "Well"})
    assert kinds(peer.content(interrupted=True)) == [Interrupted]
    assert peer.speaks(outputTranscription={"text": " late"}) == []
    assert peer.protocol.statistics.late_audio == 1
    final, finished = peer.completes()
    assert isinstance(final, OutputTranscript)
    assert final.text == "Well"
    assert isinstance(finished, ResponseFinished)
    assert (finished.status, finished.reason) == (ResponseStatus.CANCELLED, "interrupted")
    assert kinds(peer.speaks()) == [ResponseStarted, AudioDelta]


def test_interruption_of_a_turn_that_is_over_flushes_and_drops_nothing() -> None:
    peer = Peer()
    peer.speaks()
    peer.completes()
    assert kinds(peer.content(interrupted=True)) == [Interrupted]
    assert kinds(peer.speaks()) == [ResponseStarted, AudioDelta]


def test_cancelled_reply_is_unheard_to_its_end() -> None:
    peer = Peer()
    peer.speaks()
    peer.protocol.cancel_response()
    assert peer.sent() == []
    assert peer.speaks() == []
    (finished,) = peer.completes()
    assert isinstance(finished, ResponseFinished)
    assert (finished.status, finished.reason) == (ResponseStatus.CANCELLED, "client_cancelled")
    peer.speaks()
    peer.completes()
    assert isinstance(peer.events[-2], AudioFinished)


def test_reply_that_is_cancelled_before_it_begins_is_not_heard() -> None:
    peer = Peer()
    peer.protocol.respond("Greet.")
    peer.protocol.cancel_response()
    assert kinds(peer.speaks()) == [ResponseStarted]
    (finished,) = peer.completes()
    assert isinstance(finished, ResponseFinished)
    assert finished.status is ResponseStatus.CANCELLED
    assert AudioDelta in kinds(peer.speaks())


def test_cancel_drops_the_reply_that_waits_too() -> None:
    peer = Peer()
    peer.speaks()
    peer.protocol.respond("Say more.")
    peer.protocol.cancel_response()
    peer.completes()
    assert peer.sent() == []


def test_cancel_without_a_reply_does_nothing() -> None:
    peer = Peer()
    peer.protocol.cancel_response()
    assert AudioDelta in kinds(peer.speaks())


def test_late_audio_of_a_truncated_item_is_dropped() -> None:
    peer = Peer()
    peer.speaks()
    peer.protocol.truncate("speech_1", 0, 5)
    assert peer.speaks() == []
    assert peer.protocol.statistics.late_audio == 1
    assert peer.sent() == []


# --- text -------------------------------------------------------------------------------------------------------------


def test_instructions_are_a_turn_of_text_to_be_answered() -> None:
    peer = Peer()
    peer.protocol.respond("Greet the caller.")
    assert peer.sent_content() == (["Greet the caller."], True)


def test_words_to_be_said_are_asked_for_word_for_word() -> None:
    peer = Peer()
    peer.protocol.say("One moment.")
    texts, is_complete = peer.sent_content()
    assert '"One moment."' in texts[0]
    assert is_complete


def test_model_that_is_to_speak_by_itself_is_told_so() -> None:
    peer = Peer()
    peer.protocol.respond(None)
    assert peer.sent_content() == ([GO_ON], True)


def test_fact_and_its_answer() -> None:
    peer = Peer()
    peer.protocol.send_text("system", "the caller pressed 5")
    texts, is_complete = peer.sent_content()
    assert "the caller pressed 5" in texts[0]
    assert not is_complete
    peer.protocol.respond(None)
    assert peer.sent_content() == ([], True)
    peer.speaks()
    peer.completes()
    peer.protocol.respond(None)
    assert peer.sent_content() == ([GO_ON], True)


def test_text_waits_until_the_model_has_ended_its_turn() -> None:
    peer = Peer()
    peer.speaks()
    peer.protocol.send_text("user", "pressed 5")
    peer.protocol.respond("Say goodbye.")
    peer.content(generationComplete=True)
    assert peer.sent() == []
    peer.completes(interactionStatus="IN_PROGRESS")
    assert peer.sent() == []
    peer.completes(interactionStatus="IDLE")
    assert peer.sent_content() == (["pressed 5", "Say goodbye."], True)


def test_text_waits_for_the_reply_that_was_asked_for() -> None:
    peer = Peer()
    peer.protocol.respond("Greet.")
    peer.sent()
    peer.protocol.respond("Then ask for the name.")
    assert peer.sent() == []
    peer.speaks()
    peer.completes()
    assert peer.sent_content() == (["Then ask for the name."], True)


def test_question_is_refused_at_once() -> None:
    peer = Peer()
    (answer,) = peer.protocol.ask("q", "Is the caller angry?")
    assert isinstance(answer, Answered)
    assert (answer.question_id, answer.text) == ("q", "")
    assert isinstance(answer.error, ProviderRefused)
    assert peer.sent() == []


# --- turns of our own -------------------------------------------------------------------------------------------------


def test_turns_of_our_own_are_marked_and_answered_once() -> None:
    peer = Peer(turn_detection=TurnDetection(kind="none"))
    assert peer.setup["realtimeInputConfig"] == {"automaticActivityDetection": {"disabled": True}}
    peer.protocol.commit_audio()
    assert peer.sent() == []
    for _ in range(2):
        peer.protocol.audio_message(b"\0\0")
    assert peer.sent() == [{"realtimeInput": {"activityStart": {}}}]
    peer.protocol.commit_audio()
    assert peer.sent() == [{"realtimeInput": {"activityEnd": {}}}]
    peer.protocol.respond(None)
    assert peer.sent() == []
    peer.speaks()
    peer.completes()
    assert peer.sent() == []
    peer.protocol.respond(None)
    assert peer.sent_content() == ([GO_ON], True)


def test_detected_turns_are_not_marked() -> None:
    peer = Peer()
    peer.protocol.audio_message(b"\0\0")
    peer.protocol.commit_audio()
    assert peer.sent() == []


# --- tools ------------------------------------------------------------------------------------------------------------


def test_tool_call_ends_the_reply_and_its_result_goes_back() -> None:
    peer = Peer()
    peer.speaks(outputTranscription={"text": "One moment."})
    events = peer.calls({"id": "f1", "name": "look", "args": {"room": 5}})
    assert kinds(events) == [ToolCalled, AudioFinished, OutputTranscript, ResponseFinished]
    called = events[0]
    assert isinstance(called, ToolCalled)
    assert (called.call.call_id, called.call.name, called.call.arguments) == ("f1", "look", {"room": 5})
    assert called.call.response_id == "response_1"
    peer.protocol.send_tool_result("f1", '{"guest": "Ann"}', respond=True)
    (message,) = peer.sent()
    result = {"id": "f1", "name": "look", "response": {"guest": "Ann"}}
    assert message == {"toolResponse": {"functionResponses": [result]}}
    assert kinds(peer.speaks()) == [ResponseStarted, AudioDelta]


def test_words_behind_a_tool_call_begin_no_reply() -> None:
    peer = Peer()
    peer.speaks()
    peer.calls({"id": "f1", "name": "look"})
    assert peer.content(outputTranscription={"text": "moment."}) == []


def test_result_that_is_no_object_is_an_output() -> None:
    peer = Peer()
    peer.calls({"id": "f1", "name": "look"}, {"id": "f2", "name": "look"})
    peer.protocol.send_tool_result("f1", "room 5", respond=True)
    peer.protocol.send_tool_result("f2", "[1]", respond=True)
    first, second = peer.sent()
    assert first["toolResponse"]["functionResponses"][0]["response"] == {"output": "room 5"}
    assert second["toolResponse"]["functionResponses"][0]["response"] == {"output": "[1]"}


@pytest.mark.parametrize(
    ("model", "expected"), [("gemini-3.8-live", "SILENT"), ("gemini-3.8-live-extended-thinking", None)]
)
def test_result_that_needs_no_answer_says_so_where_the_model_takes_it(model: str, expected: str | None) -> None:
    peer = Peer(model=model)
    peer.calls({"id": "f1", "name": "look"})
    peer.protocol.respond("Say goodbye.")
    peer.protocol.send_tool_result("f1", "{}", respond=False)
    result, text = peer.sent()
    assert result["toolResponse"]["functionResponses"][0].get("scheduling") == expected
    assert text["clientContent"]["turnComplete"]


def test_text_does_not_break_off_what_a_result_leads_to() -> None:
    peer = Peer()
    peer.calls({"id": "f1", "name": "look"})
    peer.completes()
    peer.protocol.send_tool_result("f1", "{}", respond=True)
    peer.sent()
    peer.protocol.respond("Say more.")
    assert peer.sent() == []


def test_call_is_told_once() -> None:
    peer = Peer()
    peer.calls({"id": "f1", "name": "look"})
    assert peer.calls({"id": "f1", "name": "look"}) == []
    assert peer.protocol.statistics.repeated_calls == 1


def test_calls_without_ids_get_one_and_are_answered_without() -> None:
    peer = Peer()
    events = peer.calls({"name": "look"}, {"name": "look"})
    ids = [event.call.call_id for event in events if isinstance(event, ToolCalled)]
    assert len(set(ids)) == 2
    peer.protocol.send_tool_result(ids[0], "{}", respond=True)
    (message,) = peer.sent()
    assert "id" not in message["toolResponse"]["functionResponses"][0]


def test_cancelled_call_takes_no_result() -> None:
    peer = Peer()
    peer.calls({"id": "f1", "name": "look"})
    assert peer.told({"toolCallCancellation": {"ids": ["f1", "f9", 5]}}) == [ToolCancelled(call_id="f1")]
    assert peer.told({"toolCallCancellation": {"ids": ["f1"]}}) == []
    peer.protocol.send_tool_result("f1", "{}", respond=True)
    assert peer.sent() == []
    assert peer.protocol.statistics.stale_results == 1


@pytest.mark.parametrize("arguments", ["[1]", '"text"', '{"a": NaN}', '{"a": "\\ud800"}'])
def test_arguments_that_are_no_object_are_answered_with_an_error(arguments: str) -> None:
    peer = Peer()
    peer.told(f'{{"toolCall":{{"functionCalls":[{{"id":"f1","name":"look","args":{arguments}}}]}}}}')
    assert ToolCalled not in kinds(peer.events)
    (message,) = peer.sent()
    assert "error" in message["toolResponse"]["functionResponses"][0]["response"]
    assert peer.protocol.statistics.rejected_calls == 1


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notice", "expected"),
    [({"timeLeft": "50s"}, 50.0), ({"timeLeft": "1.5s"}, 1.5), ({}, 60.0), ({"timeLeft": 5}, 60.0)],
)
def test_end_is_announced(notice: dict[str, Any], expected: float) -> None:
    assert Peer().told({"goAway": notice}) == [SessionExpiring(in_s=expected)]


def test_handle_is_offered_where_the_session_can_be_resumed() -> None:
    peer = Peer()
    update = {"newHandle": "h2", "resumable": True}
    assert peer.told({"sessionResumptionUpdate": update}) == [ResumptionOffered(handle="h2")]
    assert peer.told({"sessionResumptionUpdate": {"newHandle": "h3"}}) == []
    assert peer.told({"sessionResumptionUpdate": {"newHandle": "", "resumable": True}}) == []


def test_close_behind_a_warning_is_no_refusal() -> None:
    peer = Peer()
    assert isinstance(peer.protocol.close_verdict(1008, "gone"), ProviderRefused)
    peer.told({"goAway": {}})
    verdict = peer.protocol.close_verdict(1008, "gone")
    assert isinstance(verdict, ProviderUnavailable)
    assert verdict.code == "session_expired"


# --- what is not understood -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        "",
        "no JSON",
        "[]",
        "5",
        b"\xff\xfe",
        '{"serverContent": 5}',
        '{"serverContent": {"modelTurn": []}}',
        '{"serverContent": {"modelTurn": {"parts": 5}}}',
        '{"toolCall": {"functionCalls": [{"id": "f"}]}}',
        '{"toolCall": {"functionCalls": {}}}',
        '{"toolCallCancellation": {}}',
        '{"usageMetadata": {"promptTokenCount": "many"}}',
        '{"goAway": "now"}',
        '{"text": "' + "x" * 1024 * 1024 + '"}',
        "[" * 100_000,
    ],
    ids=lambda document: str(document)[:40],
)
def test_malformed_messages_are_counted_and_cost_nothing_else(document: str | bytes) -> None:
    peer = Peer()
    assert AudioDelta not in kinds(peer.told(document))
    assert peer.protocol.statistics.malformed_events == 1
    assert AudioDelta in kinds(peer.speaks())


def test_unknown_messages_are_counted_and_cost_nothing() -> None:
    peer = Peer()
    assert peer.told({"novelty": {"a": 1}}) == []
    assert peer.protocol.statistics.unknown_events == 1
    assert kinds(peer.speaks(novelty={"b": 2})) == [ResponseStarted, AudioDelta]
    assert peer.protocol.statistics.malformed_events == 0


def test_malformed_part_of_a_message_does_not_cost_the_end_of_the_turn() -> None:
    peer = Peer()
    peer.speaks()
    message = {"serverContent": {"turnComplete": True, "modelTurn": 5}, "usageMetadata": 5}
    assert kinds(peer.told(message)) == [AudioFinished, ResponseFinished]


def test_large_audio_is_taken() -> None:
    audio = VOICE * 3000
    (_, delta) = Peer().speaks(audio)
    assert isinstance(delta, AudioDelta)
    assert delta.audio == audio


_TEXT = st.text(max_size=5)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_PARTS = st.just(audio_part(VOICE)) | st.dictionaries(st.sampled_from(["inlineData", "text", "thought"]), _JSON)
_CALL = st.fixed_dictionaries({}, optional={"id": _JSON, "name": _JSON, "args": _JSON})
_CONTENT = st.fixed_dictionaries(
    {},
    optional={
        "modelTurn": st.fixed_dictionaries({"parts": st.lists(_PARTS, max_size=2)}) | _JSON,
        "inputTranscription": st.fixed_dictionaries({"text": _TEXT, "finished": st.booleans()}) | _JSON,
        "outputTranscription": st.fixed_dictionaries({"text": _TEXT}) | _JSON,
        "interrupted": st.booleans() | _JSON,
        "generationComplete": st.booleans() | _JSON,
        "turnComplete": st.booleans() | _JSON,
        "turnCompleteReason": _JSON,
    },
)
_MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "serverContent": _CONTENT | _JSON,
        "toolCall": st.fixed_dictionaries({"functionCalls": st.lists(_CALL, max_size=3)}) | _JSON,
        "toolCallCancellation": st.fixed_dictionaries({"ids": st.lists(_TEXT)}) | _JSON,
        "usageMetadata": st.just(USAGE) | _JSON,
        "goAway": st.fixed_dictionaries({"timeLeft": _TEXT}) | _JSON,
        "sessionResumptionUpdate": _JSON,
        "voiceActivity": _JSON,
    },
)


@given(st.lists(_MESSAGE, max_size=12))
def test_whatever_comes_events_keep_their_order(messages: list[dict[str, Any]]) -> None:
    peer = Peer()
    for message in messages:
        peer.told(json.dumps(message))
    peer.completes()
    assert_grammar(peer.events)
    assert sum(isinstance(event, ResponseStarted) for event in peer.events) == sum(
        isinstance(event, ResponseFinished) and bool(event.response_id) for event in peer.events
    )
    for text in peer.protocol.messages_to_send():
        json.loads(text.encode("utf-8"))
