"""A conversation whose answers a language model writes: spoken as they come, cut off, and replaced where none comes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.embedded.brain import Call, Reply, Say
from gateway.embedded.chat import Think
from gateway.embedded.response import Speak
from gateway.embedded.sections import ChatSection
from tests.embedded.conversation_desk import (
    HANG_UP_TOOL,
    HOPELESS_FIT,
    SCRIPT,
    Desk,
    Event,
    calls,
    kinds,
    loud,
    only,
    spoken,
)

CHAT = SCRIPT.model_copy(update={"chat": ChatSection(base_url="http://127.0.0.1:1/v1", model="small")})


def desk(**options: Any) -> Desk:
    return Desk(script=CHAT, **options)


def asked(at: Desk) -> Think:
    """The newest question to the model."""
    found: Think = at.last_asked(Think)
    return found


def think(at: Desk, *reply: Say | Call, is_whole: bool = True) -> list[Event]:
    """The model answers the newest question."""
    return at.during(lambda: at.conversation.thought(asked(at).number, reply, at.now, is_whole=is_whole))


def fail(at: Desk) -> list[Event]:
    return at.during(lambda: at.conversation.thought_failed(asked(at).number, at.now))


def messages(at: Desk) -> list[tuple[str, str]]:
    """What the model was shown, without the instructions."""
    return [(told["role"], told["content"]) for told in asked(at).request["messages"] if told["role"] != "system"]


def test_turn_is_answered_by_the_model() -> None:
    at = desk()
    events = at.hear("who are you")
    assert kinds(events)[-1] == "response.created"
    assert messages(at) == [("user", "who are you")]
    events = think(at, Say("I am nobody."), Say("And you?"))
    assert spoken(events) == "I am nobody. And you?"
    assert only(events, "response.done")["response"]["status"] == "completed"


def test_sentence_is_spoken_before_the_next_is_there_and_both_are_one_message() -> None:
    at = desk()
    at.hear("who are you")
    begun = think(at, Say("I am nobody."), is_whole=False)
    assert "response.output_audio.delta" in kinds(begun)
    assert not {"response.output_audio.done", "response.done"} & set(kinds(begun))
    ended = think(at, Say("And you?"))
    done = only(ended, "response.done")["response"]
    assert [part["transcript"] for item in done["output"] for part in item["content"]] == ["I am nobody. And you?"]


def test_sentences_that_come_while_one_is_spoken_wait_for_it() -> None:
    at = desk(answers_itself=False)
    at.respond(instructions="Greet the caller warmly.")
    think(at, Say("One."), is_whole=False)
    think(at, Say("Two."), is_whole=False)
    assert [task.text for task in at.asked if isinstance(task, Speak)] == ["One."]
    at.during(lambda: at.conversation.sentence_ended(at.last_asked(Speak).number, at.now))
    assert [task.text for task in at.asked if isinstance(task, Speak)] == ["One.", "Two."]


def test_end_of_the_reply_ends_a_response_that_has_said_all() -> None:
    at = desk()
    at.hear("who are you")
    think(at, Say("I am nobody."), is_whole=False)
    assert kinds(think(at))[-1] == "response.done"


def test_call_follows_the_words_and_its_output_goes_back_to_the_model() -> None:
    at = desk()
    at.update(tools=[HANG_UP_TOOL], instructions="You work for Acme.")
    at.hear("goodbye")
    assert asked(at).request["tools"][0]["function"]["name"] == "hang_up"
    assert asked(at).request["messages"][0] == {"role": "system", "content": "You work for Acme."}
    events = think(at, Say("Farewell."), Call("hang_up", "{}"))
    assert (spoken(events), calls(events)) == ("Farewell.", [("hang_up", {})])
    call_id = next(event["call_id"] for event in events if event["type"] == "response.function_call_arguments.done")
    at.send(
        "conversation.item.create", item={"type": "function_call_output", "call_id": call_id, "output": "line is busy"}
    )
    at.respond()
    shown = asked(at).request["messages"]
    assert [message["role"] for message in shown[1:]] == ["user", "assistant", "assistant", "tool"]
    assert shown[-1] == {"role": "tool", "tool_call_id": call_id, "content": "line is busy"}


def test_reply_with_nothing_in_it_ends_the_response() -> None:
    at = desk()
    at.hear("who are you")
    events = think(at)
    assert only(events, "response.done")["response"]["output"] == []


def test_model_writes_text_where_text_is_asked_for() -> None:
    at = desk()
    at.update(output_modalities=["text"])
    at.write("Who are you?")
    at.respond()
    events = think(at, Say("I am nobody."), is_whole=False) + think(at, Say("And you?"))
    done = [event["text"] for event in events if event["type"] == "response.output_text.done"]
    assert done == ["I am nobody. And you?"]


@pytest.mark.parametrize("is_begun", [False, True])
def test_barge_in_makes_the_rest_of_the_reply_unwanted(is_begun: bool) -> None:
    at = desk()
    at.hear("who are you")
    number = asked(at).number
    if is_begun:
        think(at, Say("I am nobody."), is_whole=False)
    events = at.append(loud(640))
    assert only(events, "response.done")["response"]["status_details"]["reason"] == "turn_detected"
    assert not at.conversation.is_awaited(number)
    assert at.during(lambda: at.conversation.thought(number, (Say("Too late."),), at.now, is_whole=True)) == []
    assert at.during(lambda: at.conversation.thought_failed(number, at.now)) == []


def test_caller_hears_the_fallback_where_the_model_fails() -> None:
    at = desk()
    at.hear("who are you")
    events = fail(at)
    assert spoken(events) == CHAT.fallback[0]
    assert only(events, "response.done")["response"]["status"] == "completed"


def test_words_that_came_before_the_model_failed_stand() -> None:
    at = desk()
    at.hear("who are you")
    think(at, Say("I am nobody."), is_whole=False)
    assert spoken(fail(at)) == f"I am nobody. {CHAT.fallback[0]}"


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [(None, CHAT.greeting), ('Say exactly: "Good evening."', "Good evening.")],
)
def test_words_that_are_given_are_not_asked_of_the_model(instructions: str | None, expected: str) -> None:
    at = desk()
    events = at.respond(**({"instructions": instructions} if instructions else {}))
    assert spoken(events) == expected
    assert not [task for task in at.asked if isinstance(task, Think)]


def test_instructions_of_a_response_take_the_place_of_the_sessions() -> None:
    at = desk()
    at.update(instructions="You work for Acme.")
    at.respond(instructions="Greet the caller warmly.")
    assert asked(at).request["messages"] == [{"role": "system", "content": "Greet the caller warmly."}]


def test_turn_that_was_not_understood_is_asked_back_without_the_model() -> None:
    at = desk()
    assert spoken(at.hear("who are you", fit=HOPELESS_FIT)) == CHAT.fallback[0]
    assert not [task for task in at.asked if isinstance(task, Think)]


def test_response_out_of_band_is_asked_of_the_model_and_leaves_no_trace() -> None:
    at = desk()
    at.hear("who are you")
    think(at, Say("I am nobody."))
    at.respond(conversation="none", output_modalities=["text"], instructions="Sum the call up.")
    think(at, Say("The caller asked who I am."))
    at.hear("who are you")
    reply: Reply = (Say("Still nobody."),)
    think(at, *reply)
    assert messages(at) == [("user", "who are you"), ("assistant", "I am nobody."), ("user", "who are you")]


def test_instructions_out_of_band_are_the_models_even_where_the_last_turn_was_not_understood() -> None:
    at = desk()
    at.hear("who are you")
    think(at, Say("I am nobody."))
    at.hear("who are you", fit=HOPELESS_FIT)
    at.respond(conversation="none", output_modalities=["text"], instructions="Sum the call up.")
    assert asked(at).request["messages"][0] == {"role": "system", "content": "Sum the call up."}


def test_account_takes_the_place_of_a_summary_that_the_model_does_not_write() -> None:
    at = desk()
    at.hear("who are you")
    think(at, Say("I am nobody."))
    at.respond(conversation="none", output_modalities=["text"], instructions="Sum the call up.")
    told = only(fail(at), "response.done")["response"]["output"][0]["content"][0]["text"]
    assert told == 'The caller said "who are you". The assistant last said "I am nobody.".'
