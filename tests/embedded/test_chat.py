"""What a chat endpoint is asked, and what is made of its answer as it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.embedded.brain import Call, Reply, Say
from gateway.embedded.chat import MAX_REPLY_CHARACTERS, ChatError, ChatReader, SentenceCutter, chat_request
from gateway.embedded.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Message, OutputAudio
from gateway.embedded.sections import ChatSection
from gateway.embedded.session import FunctionTool, NamedTool
from tests.support.chat_server import call, lines, words

SECTION = ChatSection(base_url="http://127.0.0.1:1/v1", model="small", instructions="Be brief.")
TOOL = FunctionTool(type="function", name="transfer", description="Connects.", parameters={"type": "object"})


def user(text: str, number: int = 1) -> Message:
    return Message(id=f"u{number}", role="user", content=[InputText(text=text)])


def agent(transcript: str | None) -> Message:
    return Message(id="a", role="assistant", content=[OutputAudio(bytes_per_ms=8, transcript=transcript)])


def request(*items: Any, section: ChatSection = SECTION, **options: Any) -> dict[str, Any]:
    given = {"instructions": "", "tools": (), "tool_choice": "auto"} | options
    return chat_request(section, items=items, **given)


def read(stream: list[str]) -> Reply:
    reader = ChatReader()
    said = [action for line in stream for action in reader.feed(line)]
    return (*said, *reader.finish())


# ---- what is asked -------------------------------------------------------------------------------------------------


def test_conversation_becomes_messages_in_its_order() -> None:
    spoken = Message(id="u2", role="user", content=[InputAudio(transcript="sales please")])
    told = request(user("Hello"), agent("Good day."), spoken, instructions="You are a receptionist.")
    assert told["messages"] == [
        {"role": "system", "content": "Be brief.\n\nYou are a receptionist."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "sales please"},
    ]
    assert (told["model"], told["stream"]) == ("small", True)
    assert "tools" not in told


def test_turn_that_was_not_understood_is_no_message() -> None:
    unheard = Message(id="u2", role="user", content=[InputAudio(transcript="")])
    assert [message["role"] for message in request(user("Hello"), unheard)["messages"]] == ["system", "user"]


def test_reply_that_was_cut_off_is_told_as_cut_off() -> None:
    assert "interrupted" in request(user("Hello"), agent(None))["messages"][-1]["content"]


def test_call_and_its_output_stand_together_and_a_call_without_output_is_left_out() -> None:
    items = (
        FunctionCall(id="f1", name="transfer", call_id="c1", arguments='{"contact": "sales"}'),
        FunctionCall(id="f2", name="never_answered", call_id="c2"),
        user("Are you there?"),
        FunctionCallOutput(id="o1", call_id="c1", output="busy"),
    )
    function = {"name": "transfer", "arguments": '{"contact": "sales"}'}
    assert request(*items)["messages"][1:] == [
        {"role": "user", "content": "Are you there?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "busy"},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("required", "required"),
        (NamedTool(type="function", name="transfer"), {"type": "function", "function": {"name": "transfer"}}),
    ],
)
def test_tools_are_offered_as_the_session_has_them(choice: Any, expected: object) -> None:
    told = request(user("Hello"), tools=[TOOL], tool_choice=choice)
    function = {"name": "transfer", "description": "Connects.", "parameters": {"type": "object"}}
    assert told["tools"] == [{"type": "function", "function": function}]
    assert told["tool_choice"] == expected


def test_no_tool_is_offered_where_none_may_be_called() -> None:
    assert "tools" not in request(user("Hello"), tools=[TOOL], tool_choice="none")


def test_brain_file_adds_members_to_the_request() -> None:
    section = SECTION.model_copy(
        update={"temperature": 0.2, "max_tokens": 99, "extra": {"reasoning_effort": "none", "model": "other"}}
    )
    told = request(user("Hello"), section=section)
    members = ("temperature", "max_tokens", "reasoning_effort", "model")
    assert [told[name] for name in members] == [0.2, 99, "none", "other"]


# ---- what is made of the answer ------------------------------------------------------------------------------------


def test_sentence_is_handed_on_before_the_next_is_written() -> None:
    reader = ChatReader()
    stream = lines(words("Good", " day. How", " are"), is_done=False)
    assert [action for line in stream for action in reader.feed(line)] == [Say("Good day.")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good day. How are you? Fine!", ["Good day.", "How are you?", "Fine!"]),
        ("It costs 3.50 euros.", ["It costs 3.50 euros."]),
        ('He said "go." Then he went.', ['He said "go."', "Then he went."]),
        ("**Hours**:\n- Monday\n- Friday\n", ["Hours:", "- Monday", "- Friday"]),
        ("<think>The caller wants. Something.</think>Hello there.", ["Hello there."]),
        ("No end", ["No end"]),
        ("and so on " * 35, [("and so on " * count).strip() for count in (30, 5)]),
        ("x" * 450, ["x" * 300, "x" * 150]),
        ("", []),
        (" \n ", []),
    ],
)
def test_cut_is_the_same_whatever_the_pieces(text: str, expected: list[str], size: int) -> None:
    cutter = SentenceCutter()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert [*(sentence for piece in pieces for sentence in cutter.feed(piece)), *cutter.finish()] == expected


def test_thought_that_never_ends_is_not_spoken() -> None:
    cutter = SentenceCutter()
    assert [*cutter.feed("<think>Well. Let me see. "), *cutter.finish()] == []


def test_calls_follow_the_words_with_their_arguments_put_together() -> None:
    stream = [*words("One moment."), *call("transfer", '{"contact":', ' "sales"}'), *call("note", index=1)]
    assert read(lines(stream)) == (
        Say("One moment."),
        Call("transfer", '{"contact": "sales"}'),
        Call("note", "{}"),
    )


def test_comments_and_chunks_without_choices_are_passed_over() -> None:
    stream = [": alive", "event: message", *lines([{"choices": [], "usage": {"total_tokens": 3}}, *words("Hello.")])]
    assert read(stream) == (Say("Hello."),)


def test_reason_to_finish_ends_a_stream_that_has_no_other_end() -> None:
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    assert read(lines([*words("Hello."), last], is_done=False)) == (Say("Hello."),)


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (lines(words("Hello. I"), is_done=False), "broke off"),
        (["data: {broken"], "no JSON"),
        (["data: 7"], "no object"),
        (lines([{"error": {"message": "overloaded"}}]), "overloaded"),
        (lines(call("transfer", '{"contact": ')), "no object"),
        (lines(call("transfer", "[1]")), "no object"),
        (lines(words("x" * (MAX_REPLY_CHARACTERS + 1))), "longer"),
        (lines(call("transfer", json.dumps("x" * MAX_REPLY_CHARACTERS))), "longer"),
    ],
)
def test_answer_that_is_none_is_told(stream: list[str], told: str) -> None:
    with pytest.raises(ChatError, match=told):
        read(stream)


@pytest.mark.parametrize("chunk", [{"choices": None}, {"choices": [7]}, {"choices": [{"delta": 7}]}, {}])
def test_odd_chunk_says_nothing(chunk: dict[str, Any]) -> None:
    assert read(lines([chunk])) == ()
