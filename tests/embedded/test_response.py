"""A response: begun, spoken or written, cut short, refused, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.embedded import responder
from gateway.embedded.brain import Call, Say
from gateway.embedded.responder import constrained
from gateway.embedded.response import Speak
from gateway.embedded.session import FunctionTool, NamedTool
from tests.embedded.conversation_desk import (
    DOUBTFUL_FIT,
    HANG_UP_TOOL,
    HOPELESS_FIT,
    SCRIPT,
    TRANSFER_TOOL,
    Desk,
    Event,
    calls,
    kinds,
    only,
    refusal,
    spoken,
)

SPOKEN = [
    "response.created",
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
    "response.done",
]


def done(events: list[Event]) -> dict[str, Any]:
    """The response object of the one `response.done`."""
    response: dict[str, Any] = only(events, "response.done")["response"]
    return response


def written(events: list[Event]) -> str:
    """All text of the written answers."""
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


# ---- shape ---------------------------------------------------------------------------------------------------------


def test_spoken_response_runs_in_the_golden_order() -> None:
    assert kinds(Desk().respond()) == SPOKEN


def test_response_begins_empty_and_ends_with_all_it_made() -> None:
    events = Desk().respond()
    created = events[0]["response"]
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert created["conversation_id"].startswith("conv_")
    response = done(events)
    assert response["id"] == created["id"]
    assert (response["status"], response["status_details"]) == ("completed", None)
    (item,) = response["output"]
    assert item["status"] == "completed"
    assert item["content"] == [{"type": "output_audio", "transcript": SCRIPT.greeting}]


def test_item_enters_empty_and_in_progress() -> None:
    item = only(Desk().respond(), "response.output_item.added")["item"]
    assert (item["role"], item["status"], item["content"]) == ("assistant", "in_progress", [])


def test_words_go_ahead_of_their_audio_sentence_by_sentence() -> None:
    events = Desk().respond()
    deltas = [event["type"].split(".")[1] for event in events if event["type"].endswith(".delta")]
    assert deltas == ["output_audio_transcript", "output_audio"] * 2
    said = [e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta"]
    assert "".join(said) == SCRIPT.greeting == spoken(events)


def test_every_event_of_a_response_names_it() -> None:
    events = Desk().respond()
    response_id = events[0]["response"]["id"]
    assert {event["response_id"] for event in events if "response_id" in event} == {response_id}


def test_one_sentence_is_asked_of_the_voice_at_a_time() -> None:
    desk = Desk(answers_itself=False)
    desk.respond()
    asked = [task for task in desk.asked if isinstance(task, Speak)]
    assert [task.text for task in asked] == ["Good day, this is Acme."]
    desk.answer(asked[0])
    desk.settle()
    assert desk.last_asked(Speak).text == "How can I help you?"


def test_voice_is_asked_in_the_sessions_voice_speed_and_format() -> None:
    desk = Desk()
    desk.update(audio={"output": {"voice": "echo", "speed": 1.2, "format": {"type": "audio/pcmu"}}})
    desk.respond()
    asked = desk.last_asked(Speak)
    assert (asked.voice, asked.speed, asked.wire_format.value) == ("echo", 1.2, "audio/pcmu")


def test_written_response_makes_no_sound() -> None:
    desk = Desk()
    desk.update(output_modalities=["text"])
    events = desk.respond()
    assert kinds(events) == [
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
    assert written(events) == SCRIPT.greeting == only(events, "response.output_text.done")["text"]
    assert done(events)["output"][0]["content"] == [{"type": "output_text", "text": SCRIPT.greeting}]
    assert not [task for task in desk.asked if isinstance(task, Speak)]


# ---- what is asked of one response ---------------------------------------------------------------------------------


def test_response_has_settings_of_its_own_for_this_once() -> None:
    desk = Desk()
    audio = {"output": {"voice": "cedar", "format": {"type": "audio/pcma"}}}
    response = done(desk.respond(audio=audio, max_output_tokens=4000))
    assert response["audio"]["output"] == {"format": {"type": "audio/pcma"}, "voice": "cedar"}
    assert response["max_output_tokens"] == 4000
    assert desk.last_asked(Speak).voice == "cedar"
    again = done(desk.respond())
    assert again["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}
    assert again["max_output_tokens"] == "inf"


def test_response_may_be_written_in_a_spoken_session() -> None:
    events = Desk().respond(output_modalities=["text"])
    assert written(events) == SCRIPT.greeting
    assert done(events)["output_modalities"] == ["text"]


def test_metadata_comes_back_in_every_response_object() -> None:
    events = Desk().respond(metadata={"client_event_id": "c7"})
    assert events[0]["response"]["metadata"] == {"client_event_id": "c7"}
    assert done(events)["metadata"] == {"client_event_id": "c7"}


def test_response_without_metadata_has_none() -> None:
    assert done(Desk().respond())["metadata"] is None


def test_quoted_words_in_the_instructions_are_said() -> None:
    desk = Desk()
    assert (
        spoken(desk.respond(instructions='Say exactly: "The line is busy. Goodbye."')) == "The line is busy. Goodbye."
    )
    assert spoken(desk.respond(instructions="Say “Welcome back”.")) == "Welcome back"


def test_later_response_without_news_asks_what_to_do() -> None:
    desk = Desk()
    assert spoken(desk.respond()) == SCRIPT.greeting
    assert spoken(desk.respond()) == SCRIPT.prompt


def test_written_message_is_answered_like_a_spoken_one() -> None:
    desk = Desk()
    assert kinds(desk.write("What are your opening hours?")) == ["conversation.item.added", "conversation.item.done"]
    assert spoken(desk.respond()).startswith("We are open from Monday to Friday")


def test_answered_message_is_not_answered_again() -> None:
    desk = Desk()
    desk.write("Who are you?")
    desk.respond()
    assert spoken(desk.respond()) == SCRIPT.prompt


# ---- tools ---------------------------------------------------------------------------------------------------------


def test_call_of_a_tool_follows_the_words_in_one_response() -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL])
    desk.write("Transfer me to the front desk, please.")
    events = desk.respond()
    response = done(events)
    assert [item["type"] for item in response["output"]] == ["message", "function_call"]
    call = response["output"][1]
    assert (call["name"], json.loads(call["arguments"])) == ("transfer", {"contact": "front_desk"})
    told = only(events, "response.function_call_arguments.done")
    assert (told["call_id"], told["item_id"], told["output_index"]) == (call["call_id"], call["id"], 1)
    assert told["arguments"] == call["arguments"]
    begun = [event["item"] for event in events if event["type"] == "response.output_item.added"][1]
    assert (begun["status"], begun["arguments"]) == ("in_progress", "")


def call_for_sales(desk: Desk) -> str:
    """Let the assistant call `transfer`; returns the call's id."""
    desk.update(tools=[TRANSFER_TOOL])
    desk.write("Connect me to sales")
    call_id: str = only(desk.respond(), "response.function_call_arguments.done")["call_id"]
    return call_id


def test_failed_call_is_told_to_the_caller() -> None:
    desk = Desk()
    item = {"type": "function_call_output", "call_id": call_for_sales(desk), "output": '{"status": "busy"}'}
    assert kinds(desk.send("conversation.item.create", item=item)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    told = spoken(desk.respond())
    assert told == "I am sorry, sales cannot be reached at the moment. Is there anything else I can do for you?"


def test_call_that_did_all_there_was_to_do_needs_no_words() -> None:
    desk = Desk()
    item = {"type": "function_call_output", "call_id": call_for_sales(desk), "output": '{"status": "connected"}'}
    desk.send("conversation.item.create", item=item)
    events = desk.respond()
    assert kinds(events) == ["response.created", "response.done"]
    assert done(events)["status"] == "completed"


def test_output_of_a_tool_the_dialogue_does_not_know_is_acknowledged() -> None:
    desk = Desk()
    call = {"type": "function_call", "name": "weather", "arguments": "{}", "call_id": "call_7"}
    desk.send("conversation.item.create", item=call)
    desk.send("conversation.item.create", item={"type": "function_call_output", "call_id": "call_7", "output": "sunny"})
    assert spoken(desk.respond()) == SCRIPT.result


def test_tools_of_one_response_replace_the_sessions() -> None:
    desk = Desk()
    desk.write("Connect me to sales")
    assert calls(desk.respond(tools=[TRANSFER_TOOL])) == [("transfer", {"contact": "sales"})]
    desk.update(tools=[TRANSFER_TOOL])
    desk.write("Connect me to sales")
    assert calls(desk.respond(tools=[])) == []


def test_tool_choice_none_calls_nothing() -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL], tool_choice="none")
    desk.write("Connect me to sales")
    events = desk.respond()
    assert calls(events) == []
    assert spoken(events)


def test_tool_choice_of_one_response_wins() -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL, HANG_UP_TOOL], tool_choice="none")
    desk.write("Who are you?")
    events = desk.respond(tool_choice={"type": "function", "name": "hang_up"})
    assert calls(events) == [("hang_up", {})]


TOOLS = tuple(FunctionTool(type="function", name=name) for name in ("a", "b"))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", (Say("x"),)),
        ("none", (Say("x"),)),
        ("required", (Say("x"), Call("a", "{}"))),
        (NamedTool(type="function", name="b"), (Say("x"), Call("b", "{}"))),
        (NamedTool(type="function", name="c"), (Say("x"),)),
    ],
)
def test_tool_choice_adds_the_call_that_is_required(choice: Any, expected: tuple[object, ...]) -> None:
    assert constrained((Say("x"),), choice, TOOLS) == expected


def test_tool_choice_leaves_the_call_that_is_there() -> None:
    reply = (Say("x"), Call("b", "{}"))
    assert constrained(reply, "required", TOOLS) == reply
    assert constrained(reply, "none", TOOLS) == (Say("x"),)


# ---- one at a time -------------------------------------------------------------------------------------------------


def test_second_response_is_refused_while_one_runs() -> None:
    desk = Desk(answers_itself=False)
    response_id = desk.respond()[0]["response"]["id"]
    events = desk.send("response.create", event_id="c2")
    assert refusal(events) == ("conversation_already_has_active_response", None)
    assert response_id in events[0]["error"]["message"]
    assert events[0]["error"]["event_id"] == "c2"


def test_cancel_ends_the_response_with_what_was_said() -> None:
    desk = Desk(answers_itself=False)
    desk.respond()
    desk.conversation.spoken(desk.last_asked(Speak).number, b"\1" * 480)
    desk.settle()
    events = desk.send("response.cancel")
    assert kinds(events) == SPOKEN[6:]
    response = done(events)
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "Good day, this is Acme."}]
    assert response["output"][0]["status"] == "incomplete"


def test_cancel_by_id_ends_that_response_only() -> None:
    desk = Desk(answers_itself=False)
    beside = desk.respond(conversation="none")[0]["response"]["id"]
    main = desk.respond()[0]["response"]["id"]
    assert done(desk.send("response.cancel", response_id=beside))["id"] == beside
    assert done(desk.send("response.cancel", response_id=main))["id"] == main


@pytest.mark.parametrize("members", [{}, {"response_id": "resp_0"}])
def test_cancel_without_a_response_is_refused(members: dict[str, str]) -> None:
    events = Desk().send("response.cancel", **members)
    assert refusal(events) == ("response_cancel_not_active", None)
    assert events[0]["error"]["message"] == "Cancellation failed: no active response found"


def test_response_follows_a_cancelled_one() -> None:
    desk = Desk(answers_itself=False)
    desk.respond()
    desk.send("response.cancel")
    desk.answers_itself = True
    assert kinds(desk.respond()) == SPOKEN


def test_voice_that_fails_fails_the_response_and_not_the_session() -> None:
    desk = Desk(answers_itself=False)
    desk.respond()
    number = desk.last_asked(Speak).number
    events = desk.during(lambda: desk.conversation.sentence_ended(number, desk.now, has_failed=True))
    response = done(events)
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "server_error"
    desk.answers_itself = True
    assert done(desk.respond())["status"] == "completed"


# ---- out of band ---------------------------------------------------------------------------------------------------


def test_out_of_band_response_leaves_the_conversation_alone() -> None:
    desk = Desk()
    events = desk.respond(conversation="none", metadata={"topic": "probe"})
    assert [kind for kind in kinds(events) if kind.startswith("conversation.")] == []
    response = done(events)
    assert response["conversation_id"] is None
    assert response["metadata"] == {"topic": "probe"}
    item_id = response["output"][0]["id"]
    assert refusal(desk.send("conversation.item.retrieve", item_id=item_id))[0] == "item_retrieve_invalid_item_id"
    assert spoken(desk.respond()) == SCRIPT.greeting


def test_out_of_band_responses_run_beside_the_default_one() -> None:
    desk = Desk(answers_itself=False)
    responses = [desk.respond()[0]["response"]["id"], desk.respond(conversation="none")[0]["response"]["id"]]
    for task in [task for task in desk.asked if isinstance(task, Speak)]:
        desk.answer(task)
    desk.settle()
    audio = [event for event in desk.events if event["type"] == "response.output_audio.delta"]
    assert [event["response_id"] for event in audio] == responses


def test_responses_beyond_what_one_client_may_have_at_once_are_refused() -> None:
    desk = Desk(answers_itself=False)
    for _ in range(responder.MAX_RESPONSES):
        assert kinds(desk.respond(conversation="none"))[0] == "response.created"
    assert refusal(desk.respond(conversation="none")) == ("rate_limit_exceeded", None)
    desk.send("response.cancel", response_id=desk.events[1]["response"]["id"])
    assert kinds(desk.respond(conversation="none"))[0] == "response.created"


def test_given_input_is_answered_instead_of_the_conversation() -> None:
    desk = Desk()
    desk.write("When are you open?")
    given = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who are you?"}]}
    events = desk.respond(conversation="none", input=[given], output_modalities=["text"])
    assert written(events).startswith("I am the automatic receptionist")


def test_input_may_refer_to_an_item_of_the_conversation() -> None:
    desk = Desk()
    desk.write("When are you open?", id="item_hours")
    desk.write("Who are you?")
    reference = {"type": "item_reference", "id": "item_hours"}
    events = desk.respond(conversation="none", input=[reference], output_modalities=["text"])
    assert written(events).startswith("We are open")


def test_input_that_refers_to_nothing_is_refused() -> None:
    events = Desk().respond(conversation="none", input=[{"type": "item_reference", "id": "item_0"}])
    assert refusal(events) == ("invalid_value", "response.input")


def test_instructions_beside_the_conversation_are_answered_with_an_account_of_it() -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL])
    desk.respond()
    desk.hear("when are you open")
    desk.hear("i would like to speak to sales")
    events = desk.respond(conversation="none", output_modalities=["text"], instructions="Sum the call up.")
    assert written(events) == (
        'The caller said "when are you open", then "i would like to speak to sales". The assistant called transfer '
        '(contact: sales), with no result yet; then it last said "One moment, I am connecting you to sales.".'
    )
    assert [item["type"] for item in done(events)["output"]] == ["message"]


def test_account_may_be_asked_for_in_the_input_and_of_some_items_alone() -> None:
    desk = Desk()
    desk.write("When are you open?", id="item_hours")
    desk.write("Who are you?", id="item_who")

    def ask(*items: object, **parameters: object) -> str:
        return written(desk.respond(conversation="none", input=items, output_modalities=["text"], **parameters))

    request = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Summarise this call."}]}
    reference = {"type": "item_reference", "id": "item_who"}
    assert ask(request) == 'The caller said "When are you open?", then "Who are you?".'
    assert ask(reference, instructions="What was asked?") == 'The caller said "Who are you?".'
    assert ask(instructions="What was asked?") == "The caller has said nothing yet."


@pytest.mark.parametrize("parameters", [{}, {"instructions": "Sum the call up."}, {"input": []}])
def test_what_is_asked_beside_the_conversation_does_not_count_in_the_dialogue(parameters: Mapping[str, Any]) -> None:
    desk = Desk()
    desk.update(tools=[TRANSFER_TOOL])
    desk.respond()
    question = spoken(desk.hear("connect me to support", fit=DOUBTFUL_FIT))
    assert question.startswith("Did you say")
    desk.respond(conversation="none", **parameters)
    given = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "No."}]}
    desk.respond(conversation="none", input=[given])
    assert done(desk.hear("yes"))["output"][-1]["name"] == "transfer"


def test_fallbacks_take_turns_whatever_is_asked_beside_them() -> None:
    desk = Desk()
    first = spoken(desk.hear("who are you", fit=HOPELESS_FIT))
    desk.respond(conversation="none", input=[])
    second = spoken(desk.hear("who are you", fit=HOPELESS_FIT))
    assert (first, second) == SCRIPT.fallback[:2]


# ---- cost ----------------------------------------------------------------------------------------------------------


def test_response_over_its_budget_ends_incomplete() -> None:
    response = done(Desk().respond(max_output_tokens=5))
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


def test_usage_counts_words_and_20_tokens_a_second_of_speech() -> None:
    desk = Desk()
    desk.sentence_ms = 1000
    usage = done(desk.respond())["usage"]
    assert usage["output_token_details"]["audio_tokens"] == 2 * 20
    assert usage["output_token_details"]["text_tokens"] == -(-len(SCRIPT.greeting) // 4)
    assert usage["output_tokens"] == sum(usage["output_token_details"].values())
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_input_counts_the_history_anew_and_the_caller_at_10_tokens_a_second() -> None:
    desk = Desk()
    before = done(desk.respond())["usage"]["input_token_details"]
    assert before["audio_tokens"] == 0
    events = desk.hear("who are you", speech_ms=2000, silence_ms=600)
    started = only(events, "input_audio_buffer.speech_started")["audio_start_ms"]
    stopped = only(events, "input_audio_buffer.speech_stopped")["audio_end_ms"]
    usage = done(events)["usage"]["input_token_details"]
    assert usage["audio_tokens"] == -(-(stopped - started) // 100) + 2 * 20
    assert usage["text_tokens"] > before["text_tokens"]


def test_what_an_earlier_response_read_is_counted_as_cached() -> None:
    desk = Desk()
    desk.update(instructions="Short answers. " * 100)
    first = done(desk.respond())["usage"]["input_token_details"]
    second = done(desk.respond())["usage"]["input_token_details"]
    assert first["cached_tokens"] == 0
    assert 0 < second["cached_tokens"] <= first["text_tokens"]
    assert second["cached_tokens"] % 64 == 0
    assert second["cached_tokens"] == sum(second["cached_tokens_details"].values())


def test_response_to_given_input_pays_for_that_alone() -> None:
    desk = Desk()
    desk.update(instructions="Short answers. " * 100)
    desk.write("When are you open? " * 50)
    whole = done(desk.respond(output_modalities=["text"]))["usage"]["input_token_details"]
    given = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who are you?"}]}
    parameters = {"conversation": "none", "input": [given], "instructions": "", "output_modalities": ["text"]}
    part = done(desk.respond(**parameters))["usage"]["input_token_details"]
    assert part["text_tokens"] == 3
    assert part["cached_tokens"] == 0
    again = done(desk.respond(output_modalities=["text"]))["usage"]["input_token_details"]
    assert again["cached_tokens"] == whole["text_tokens"] - whole["text_tokens"] % 64


def test_limits_follow_each_response_lowered_by_what_it_took() -> None:
    desk = Desk()
    response = done(desk.respond())
    ended, limits = desk.log[-2:]
    assert (ended["type"], limits["type"]) == ("response.done", "rate_limits.updated")
    requests, tokens = limits["rate_limits"]
    assert (requests["name"], requests["limit"] - requests["remaining"]) == ("requests", 1)
    assert (tokens["name"], tokens["limit"] - tokens["remaining"]) == ("tokens", response["usage"]["total_tokens"])


def test_tool_server_of_one_response_is_told_to_be_out_of_reach() -> None:
    desk = Desk()
    server = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example"}
    events = desk.respond(tools=[server])
    assert done(events)["status"] == "completed"
    assert {"mcp_list_tools.in_progress", "mcp_list_tools.failed"} < set(kinds(events))
