"""The session's protocol with engines made of cardboard: every event valid by its schema and in the golden order."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support.conversation_rig import HANG_UP, TRANSFER, Rig, certain, doubtful, only, spoken, types

MESSAGE = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
CALL = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]


def user_text(text: str) -> dict[str, object]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"type": "conversation.item.create", "item": item}


def error_code(events: list[dict[str, object]]) -> str:
    error = only(events, "error")["error"]
    return str(error["code"])


# --- Session ----------------------------------------------------------------------------------------------------------


def test_first_event_is_the_session_with_the_wire_defaults() -> None:
    (created,) = Rig().events
    session = created["session"]
    assert created["type"] == "session.created"
    assert session["object"] == "realtime.session"
    assert session["expires_at"] == 1_800_003_600
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_update_answers_with_the_full_session() -> None:
    rig = Rig()
    rig.configure(instructions="Be brief.", tools=[TRANSFER])
    session = rig.events[-1]["session"]
    assert session["instructions"] == "Be brief."
    assert session["tools"] == [TRANSFER]
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_voice_is_locked_once_there_was_audio_and_the_whole_update_is_refused() -> None:
    rig = Rig()
    rig.configure()
    rig.send({"type": "response.create"})
    update = {"type": "realtime", "instructions": "New.", "audio": {"output": {"voice": "cedar"}}}
    events = rig.send({"type": "session.update", "event_id": "c7", "session": update})
    error = only(events, "error")["error"]
    assert (error["code"], error["event_id"]) == ("cannot_update_voice", "c7")
    rig.configure()
    assert rig.events[-1]["session"]["instructions"] != "New."


def test_session_ends_at_its_age_with_an_error_and_going_away() -> None:
    rig = Rig()
    assert rig.wait(3599) == []
    events = rig.wait(2)
    assert error_code(events) == "session_expired"
    assert rig.conversation.closing == (1001, "Your session hit the maximum duration of 60 minutes.")


# --- Responses --------------------------------------------------------------------------------------------------------


def test_response_comes_in_golden_order() -> None:
    rig = Rig()
    rig.configure()
    events = rig.send({"type": "response.create"})
    assert types(events) == ["response.created", *MESSAGE, "response.done"]
    assert spoken(events) == "Good day, this is Acme. How can I help you?"


def test_greeting_speaks_the_words_quoted_in_the_instructions() -> None:
    rig = Rig()
    rig.configure()
    instructions = 'Greet the caller now. Say exactly this, word for word: "Welcome to "Acme". Hello!"'
    events = rig.send({"type": "response.create", "response": {"instructions": instructions}})
    assert spoken(events) == 'Welcome to "Acme". Hello!'


def test_transcript_runs_ahead_of_the_audio_sentence_by_sentence() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    first = rig.send({"type": "response.create"})
    assert only(first, "response.output_audio_transcript.delta")["delta"] == "Good day, this is Acme."
    assert [speak.text for speak in rig.sentences] == ["Good day, this is Acme."]
    second = rig.voice_ends()
    assert only(second, "response.output_audio_transcript.delta")["delta"] == " How can I help you?"


def test_usage_of_a_response_adds_up_and_counts_history_again() -> None:
    rig = Rig()
    rig.configure(instructions="x" * 400)
    first = rig.send({"type": "response.create"})[-1]["response"]["usage"]
    rig.send(user_text("where are you?"))
    second = rig.send({"type": "response.create"})[-1]["response"]["usage"]
    for usage in (first, second):
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        details, cached = usage["input_token_details"], usage["input_token_details"]["cached_tokens_details"]
        assert usage["input_tokens"] == details["text_tokens"] + details["audio_tokens"]
        assert details["cached_tokens"] == cached["text_tokens"] + cached["audio_tokens"]
        assert usage["output_tokens"] == sum(usage["output_token_details"].values())
    assert first["input_token_details"]["cached_tokens"] == 0
    assert second["input_tokens"] > first["input_tokens"]
    assert second["input_token_details"]["cached_tokens"] == 64


def test_assistant_audio_costs_twenty_tokens_a_second() -> None:
    rig = Rig()
    rig.configure()
    response = {"instructions": 'Say "one two three four five"'}
    usage = rig.send({"type": "response.create", "response": response})[-1]["response"]["usage"]
    assert usage["output_token_details"]["audio_tokens"] == 10


def test_written_response_has_text_events_and_no_audio() -> None:
    rig = Rig()
    rig.configure(output_modalities=["text"])
    events = rig.send({"type": "response.create"})
    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert only(events, "response.output_text.done")["text"].startswith("Good day")


def test_second_response_is_refused_while_one_is_running() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    rig.send({"type": "response.create"})
    assert error_code(rig.send({"type": "response.create"})) == "conversation_already_has_active_response"


def test_response_out_of_band_runs_beside_it_and_leaves_no_items() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    rig.send({"type": "response.create"})
    response = {"conversation": "none", "output_modalities": ["text"], "instructions": 'Write "aside"', "input": []}
    events = rig.send({"type": "response.create", "response": response | {"metadata": {"topic": "note"}}})
    done = only(events, "response.done")["response"]
    assert "conversation.item.added" not in types(events)
    assert done["conversation_id"] is None
    assert done["metadata"] == {"topic": "note"}
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "aside"}]


def test_response_answers_the_items_given_instead_of_the_conversation() -> None:
    rig = Rig()
    rig.configure()
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "where are you"}]}
    events = rig.send({"type": "response.create", "response": {"input": [item]}})
    assert "Market Street" in spoken(events)


def test_reference_to_an_unknown_item_is_refused_before_the_response_begins() -> None:
    rig = Rig()
    response = {"input": [{"type": "item_reference", "id": "item_nowhere"}]}
    events = rig.send({"type": "response.create", "response": response})
    assert types(events) == ["error"]
    assert types(rig.send({"type": "response.create"}))[0] == "response.created"


def test_token_limit_ends_a_response_incomplete() -> None:
    rig = Rig()
    rig.configure(max_output_tokens=10)
    done = rig.send({"type": "response.create"})[-1]["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert done["output"][0]["status"] == "incomplete"


def test_cancel_closes_what_is_open_with_what_was_said() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    rig.send({"type": "response.create"})
    rig.voice_speaks(200)
    events = rig.send({"type": "response.cancel"})
    assert types(events) == [*MESSAGE[-5:], "response.done"]
    done = events[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert done["output"][0]["status"] == "incomplete"
    assert spoken(events) == "Good day, this is Acme."
    assert error_code(rig.send({"type": "response.cancel"})) == "response_cancel_not_active"


def test_late_audio_of_a_cancelled_response_goes_nowhere() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    rig.send({"type": "response.create"})
    rig.send({"type": "response.cancel"})
    assert not rig.conversation.is_wanted(rig.sentences[0].number)
    assert rig.voice_speaks(100) == []
    assert rig.voice_ends() == []


def test_failing_voice_fails_the_response_and_not_the_session() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    rig.send({"type": "response.create"})
    done = rig.voice_ends(has_failed=True)[-1]["response"]
    assert (done["status"], done["status_details"]["error"]["type"]) == ("failed", "server_error")
    assert types(rig.send({"type": "response.create"}))[0] == "response.created"


# --- Spoken turns -----------------------------------------------------------------------------------------------------


def test_spoken_turn_is_answered_in_golden_order() -> None:
    rig = Rig()
    rig.configure()
    events = rig.say("where are you")
    assert types(events) == [*TURN, "response.created", *MESSAGE, "response.done"]
    started, stopped = events[0], events[1]
    assert started["item_id"] == stopped["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]
    assert started["audio_start_ms"] == 320 - 300
    assert stopped["audio_end_ms"] == 320 + 1024 + 224  # 200 ms of silence in chunks of 32 ms


def test_clock_is_the_audio_received_in_whatever_pieces() -> None:
    rig = Rig()
    rig.configure()
    rig.append(100, is_speech=False)
    for _ in range(50):
        rig.append(20, is_speech=True)
    for _ in range(20):
        rig.append(20, is_speech=False)
    started = only(rig.events, "input_audio_buffer.speech_started")
    stopped = only(rig.events, "input_audio_buffer.speech_stopped")
    assert started["audio_start_ms"] == 0
    assert 1300 <= stopped["audio_end_ms"] <= 1350


def test_response_is_begun_at_the_end_of_the_turn_and_speaks_once_the_words_are_known() -> None:
    rig = Rig(recognizer_is_slow=True)
    rig.configure()
    assert types(rig.say("where are you")) == [*TURN, "response.created"]
    assert types(rig.recognizer_answers()) == [*MESSAGE, "response.done"]


def test_transcript_of_the_caller_is_told_where_it_was_asked_for() -> None:
    rig = Rig()
    rig.configure(audio={"input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "any"}}})
    told = only(rig.say("where are you"), "conversation.item.input_audio_transcription.completed")
    assert told["transcript"] == "where are you"
    assert told["usage"] == {"type": "duration", "seconds": pytest.approx(1.548, abs=0.01)}


def test_words_that_could_not_be_made_out_are_a_failed_transcript_and_a_question_back() -> None:
    rig = Rig()
    rig.configure(audio={"input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "any"}}})
    events = rig.say("")
    failed = only(events, "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "audio_unintelligible"
    assert "did not understand" in spoken(events)


def test_caller_who_speaks_interrupts_the_response() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    rig.send({"type": "response.create"})
    rig.voice_speaks(400)
    rig.append(320, is_speech=False)
    events = rig.append(512, is_speech=True)
    assert types(events) == ["input_audio_buffer.speech_started", *MESSAGE[-5:], "response.done"]
    done = events[-1]["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}


def test_interrupting_can_be_switched_off_and_the_answer_comes_behind() -> None:
    rig = Rig(voice_is_slow=True)
    turn_detection = {"type": "server_vad", "interrupt_response": False}
    rig.configure(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": turn_detection}})
    rig.send({"type": "response.create"})
    assert types(rig.say("where are you")) == TURN
    rig.voice_ends()
    events = rig.voice_ends()
    assert events[-1]["type"] != "error"
    assert types(events)[-5:] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
    ]


def test_turns_can_be_told_without_a_response() -> None:
    rig = Rig()
    turn_detection = {"type": "server_vad", "create_response": False}
    rig.configure(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": turn_detection}})
    assert types(rig.say("where are you")) == TURN
    assert "Market Street" in spoken(rig.send({"type": "response.create"}))


def test_second_half_of_a_sentence_cancels_the_answer_to_the_first_and_both_are_heard() -> None:
    rig = Rig(recognizer_is_slow=True)
    rig.configure()
    rig.heard = [certain("where are you"), certain("")]
    rig.say("", duration_ms=512)
    rig.heard.pop()
    rig.say("", duration_ms=512)
    rig.heard = [certain("where are you"), certain("")]
    rig.recognizer_answers()
    assert "Market Street" in spoken(rig.recognizer_answers())


def test_silent_caller_is_asked_after_the_reply_would_have_been_heard() -> None:
    rig = Rig()
    turn_detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    rig.configure(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": turn_detection}})
    rig.send({"type": "response.create"})  # ten words: one second of audio
    assert rig.wait(5.9) == []
    events = rig.wait(0.2)
    assert types(events) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        *MESSAGE,
        "response.done",
    ]
    assert spoken(events).startswith("Are you still there?")


# --- Turns by the client ----------------------------------------------------------------------------------------------


def manual(rig: Rig) -> None:
    rig.configure(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}})


def test_client_commits_and_asks_for_the_response_itself() -> None:
    rig = Rig()
    manual(rig)
    rig.heard.append(certain("where are you"))
    assert rig.append(1000, is_speech=True) == []
    events = rig.send({"type": "input_audio_buffer.commit"})
    assert types(events) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert "Market Street" in spoken(rig.send({"type": "response.create"}))


def test_commit_needs_a_tenth_of_a_second() -> None:
    rig = Rig()
    manual(rig)
    rig.append(60, is_speech=True)
    error = only(rig.send({"type": "input_audio_buffer.commit"}), "error")["error"]
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert error["message"].endswith("buffer only has 60.00ms of audio.")


def test_commit_under_turn_detection_is_refused_while_nobody_speaks() -> None:
    rig = Rig()
    rig.configure()
    rig.append(1000, is_speech=False)
    assert error_code(rig.send({"type": "input_audio_buffer.commit"})) == "input_audio_buffer_commit_empty"


def test_cleared_audio_is_not_committed() -> None:
    rig = Rig()
    manual(rig)
    rig.append(1000, is_speech=True)
    assert types(rig.send({"type": "input_audio_buffer.clear"})) == ["input_audio_buffer.cleared"]
    assert error_code(rig.send({"type": "input_audio_buffer.commit"})) == "input_audio_buffer_commit_empty"


# --- Tools ------------------------------------------------------------------------------------------------------------


def test_transfer_is_announced_and_then_called_in_one_response() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER])
    events = rig.say("connect me with the front desk")
    assert types(events) == [*TURN, "response.created", *MESSAGE, *CALL, "response.done"]
    assert spoken(events) == "One moment, I am connecting you to front desk."
    call = only(events, "response.function_call_arguments.done")
    assert (call["name"], json.loads(call["arguments"])) == ("transfer", {"contact": "front_desk"})
    message, function_call = events[-1]["response"]["output"]
    assert (message["type"], function_call["call_id"]) == ("message", call["call_id"])


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ('{"status": "failed", "reason": "busy (486 Busy Here)"}', "sales cannot be reached"),
        ('{"status": "refused", "reason": "closed"}', "sales cannot be reached"),
        ('{"error": "no such contact"}', "sales cannot be reached"),
        ('{"status": "ok"}', ""),
    ],
)
def test_outcome_of_a_transfer_is_told(output: str, answer: str) -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER])
    call_id = only(rig.say("talk to sales"), "response.function_call_arguments.done")["call_id"]
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    assert types(rig.send({"type": "conversation.item.create", "item": item})) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert answer in spoken(rig.send({"type": "response.create"}))


def test_output_for_a_call_that_was_never_made_is_refused() -> None:
    item = {"type": "function_call_output", "call_id": "call_nowhere", "output": "{}"}
    assert error_code(Rig().send({"type": "conversation.item.create", "item": item})) == "invalid_value"


def test_unclear_words_are_confirmed_before_a_call_is_moved() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER])
    events = rig.say(doubtful("support please"))
    assert spoken(events) == "Did you say: support please?"
    assert "response.function_call_arguments.done" not in types(events)
    call = only(rig.say("yes"), "response.function_call_arguments.done")
    assert json.loads(call["arguments"]) == {"contact": "support"}


def test_unclear_words_that_move_nothing_are_answered() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER])
    assert "Market Street" in spoken(rig.say(doubtful("where are you")))


def test_denied_question_leads_nowhere() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER, HANG_UP])
    rig.say(doubtful("support please"))
    events = rig.say("no")
    assert spoken(events) == "What can I do for you?"
    assert "response.function_call_arguments.done" not in types(events)


def test_farewell_hangs_up_where_the_tool_is_offered() -> None:
    rig = Rig()
    rig.configure(tools=[HANG_UP])
    assert only(rig.say("goodbye"), "response.function_call_arguments.done")["name"] == "hang_up"
    plain = Rig()
    plain.configure()
    events = plain.say("goodbye")
    assert spoken(events).endswith("Goodbye.")
    assert "response.function_call_arguments.done" not in types(events)


def test_contacts_that_are_not_offered_are_not_understood() -> None:
    rig = Rig()
    rig.configure()
    assert "did not understand" in spoken(rig.say("talk to sales"))


def test_tool_choice_none_keeps_the_words_and_drops_the_call() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER], tool_choice="none")
    events = rig.say("talk to sales")
    assert "connecting you to sales" in spoken(events)
    assert "response.function_call_arguments.done" not in types(events)


def test_keys_told_by_the_system_choose_an_intent() -> None:
    rig = Rig()
    rig.configure(tools=[TRANSFER])
    text = {"type": "input_text", "text": "The caller pressed these telephone keys: 0"}
    item = {"type": "message", "role": "system", "content": [text]}
    rig.send({"type": "conversation.item.create", "item": item})
    call = only(rig.send({"type": "response.create"}), "response.function_call_arguments.done")
    assert json.loads(call["arguments"]) == {"contact": "front_desk"}


# --- Items ------------------------------------------------------------------------------------------------------------


def test_items_can_be_put_first_or_behind_another() -> None:
    rig = Rig()
    first = rig.send(user_text("one"))[0]["item"]["id"]
    root = rig.send(user_text("zero") | {"previous_item_id": "root"})
    behind = rig.send(user_text("two") | {"previous_item_id": first})
    assert root[0]["previous_item_id"] is None
    assert behind[0]["previous_item_id"] == first
    assert error_code(rig.send(user_text("x") | {"previous_item_id": "item_nowhere"})) == "invalid_value"


def test_item_id_of_the_client_is_kept_and_may_come_once() -> None:
    rig = Rig()
    event = user_text("hello")
    event["item"] |= {"id": "msg_1"}  # type: ignore[operator]
    assert rig.send(event)[0]["item"]["id"] == "msg_1"
    assert error_code(rig.send(event)) == "item_create_duplicate_item_id"


def test_deleted_item_is_gone() -> None:
    rig = Rig()
    item_id = rig.send(user_text("hello"))[0]["item"]["id"]
    assert types(rig.send({"type": "conversation.item.delete", "item_id": item_id})) == ["conversation.item.deleted"]
    retrieve = {"type": "conversation.item.retrieve", "item_id": item_id}
    assert error_code(rig.send(retrieve)) == "item_retrieve_invalid_item_id"
    assert error_code(rig.send(retrieve | {"type": "conversation.item.delete"})) == "item_delete_invalid_item_id"


def test_history_of_an_earlier_session_counts_as_answered() -> None:
    rig = Rig()
    rig.configure()
    rig.send(user_text("where are you"))
    said = [{"type": "output_text", "text": "Market Street."}]
    item = {"type": "message", "role": "assistant", "content": said}
    rig.send({"type": "conversation.item.create", "item": item})
    assert spoken(rig.send({"type": "response.create"})) == "What can I do for you?"


def assistant_item(rig: Rig) -> str:
    """Make the assistant say ten words: 1000 ms."""
    return str(rig.send({"type": "response.create"})[-1]["response"]["output"][0]["id"])


def test_truncation_cuts_the_audio_and_forgets_the_words() -> None:
    rig = Rig()
    rig.configure()
    item_id = assistant_item(rig)
    truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0}
    (truncated,) = rig.send(truncate | {"audio_end_ms": 640})
    assert truncated["audio_end_ms"] == 640
    (retrieved,) = rig.send({"type": "conversation.item.retrieve", "item_id": item_id})
    (part,) = retrieved["item"]["content"]
    assert part["transcript"] is None
    assert len(base64.b64decode(part["audio"])) == 640 * 8
    error = only(rig.send(truncate | {"audio_end_ms": 641}), "error")["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "audio_end_ms")
    assert error["message"] == "Audio content of 640ms is already shorter than 641ms"
    assert types(rig.send(truncate | {"audio_end_ms": 0})) == ["conversation.item.truncated"]


def test_item_can_be_truncated_while_it_is_spoken_up_to_what_was_made() -> None:
    rig = Rig(voice_is_slow=True)
    rig.configure()
    item_id = only(rig.send({"type": "response.create"}), "conversation.item.added")["item"]["id"]
    rig.voice_speaks(300)
    truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0}
    assert error_code(rig.send(truncate | {"audio_end_ms": 301})) == "invalid_value"
    assert types(rig.send(truncate | {"audio_end_ms": 300})) == ["conversation.item.truncated"]


def test_only_assistant_messages_can_be_truncated() -> None:
    rig = Rig()
    item_id = rig.send(user_text("hello"))[0]["item"]["id"]
    truncate = {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 0}
    for wrong in (item_id, "item_nowhere"):
        assert error_code(rig.send(truncate | {"item_id": wrong})) == "item_truncate_invalid_item_id"


def test_retrieved_turn_has_the_callers_audio_in_the_input_format() -> None:
    rig = Rig()
    rig.configure()
    item_id = only(rig.say("where are you"), "input_audio_buffer.committed")["item_id"]
    (retrieved,) = rig.send({"type": "conversation.item.retrieve", "item_id": item_id})
    audio = base64.b64decode(retrieved["item"]["content"][0]["audio"])
    assert audio.count(b"\x10") == 1024 * 8
    assert len(audio) == (1568 - 20) * 8


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code", "parameter"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_event", None),
        (b"\x00\x01", "invalid_event", None),
        ("{}", "invalid_event", None),
        ('{"type": "response.begin"}', "invalid_value", "type"),
        ('{"type": "response.create", "speed": 1}', "unknown_parameter", "speed"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 7}', "invalid_value", "audio"),
        ('{"type": "session.update", "session": {}}', "missing_required_parameter", "session.type"),
        ('{"type": "session.update", "session": {"type": "live"}}', "invalid_value", "session.type"),
        (
            '{"type": "session.update", "session": {"type": "realtime", "voice": "x"}}',
            "unknown_parameter",
            "session.voice",
        ),
        ('{"type": "session.update", "session": {"type": "realtime", "model": "x"}}', "invalid_value", "session.model"),
        ('{"type": "output_audio_buffer.clear"}', "invalid_event", "type"),
        ('{"type": "conversation.item.create", "item": {"type": "note"}}', "invalid_value", "item.type"),
    ],
)
def test_bad_events_are_answered_and_the_session_goes_on(
    message: str | bytes, code: str, parameter: str | None
) -> None:
    rig = Rig()
    error = only(rig.send(message), "error")["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, parameter)
    assert types(rig.send({"type": "response.create"}))[-1] == "response.done"


def test_error_names_the_clients_event() -> None:
    rig = Rig()
    error = only(rig.send({"type": "response.cancel", "event_id": "mine"}), "error")["error"]
    assert error["event_id"] == "mine"
