"""What a conversation was about is told in its own words, shortly."""

from __future__ import annotations

import pytest

from gateway.embedded.account import MAX_CHARACTERS, account
from gateway.embedded.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Item, Message, OutputText
from gateway.embedded.items import OutputAudio as Spoken


def heard(transcript: str | None) -> Message:
    return Message(id="u", role="user", content=[InputAudio(transcript=transcript)])


def written(text: str) -> Message:
    return Message(id="w", role="user", content=[InputText(text=text)])


def spoken(text: str) -> Message:
    return Message(id="a", role="assistant", content=[Spoken(bytes_per_ms=8, transcript=text)])


def notes(text: str) -> Message:
    return Message(id="n", role="assistant", content=[OutputText(text=text)])


CALLED = FunctionCall(id="f", name="transfer", call_id="c1", arguments='{"contact": "front_desk"}')


def result(output: str) -> FunctionCallOutput:
    return FunctionCallOutput(id="o", call_id="c1", output=output)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], "The caller has said nothing yet."),
        ([spoken("Good day.")], 'The caller has said nothing yet. The assistant last said "Good day.".'),
        ([heard(None)], "The caller has said nothing yet."),
        ([heard("")], "The caller said nothing that was understood."),
        ([heard("who are you"), heard("")], 'The caller said "who are you", and once what was not understood.'),
        (
            [heard(""), heard("who are you"), heard("")],
            'The caller said "who are you", and what was not understood in 2 more turns.',
        ),
        (
            [spoken("Good day."), heard("when are you open"), spoken("From nine."), written('I want "sales"')],
            'The caller said "when are you open", then "I want \'sales\'". The assistant last said "From nine.".',
        ),
    ],
)
def test_the_callers_words_and_the_last_answer_are_quoted(items: list[Item], expected: str) -> None:
    assert account(items) == expected


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([], "The assistant called transfer (contact: front desk), with no result yet."),
        ([result('{"status": "ok"}')], "The assistant called transfer (contact: front desk), which succeeded."),
        (
            [result('{"status": "failed", "reason": "busy"}')],
            "The assistant called transfer (contact: front desk), which failed: busy.",
        ),
        ([result("failed")], "The assistant called transfer (contact: front desk), which failed."),
    ],
)
def test_tools_are_told_with_what_came_of_them(outputs: list[Item], expected: str) -> None:
    assert account([heard("front desk please"), CALLED, *outputs]) == f'The caller said "front desk please". {expected}'


def test_answer_stands_behind_the_tools() -> None:
    told = account([heard("front desk"), CALLED, result('{"error": "busy"}'), spoken("I am sorry.")])
    assert told.endswith('which failed: busy; then it last said "I am sorry.".')


def test_result_of_a_call_that_is_not_there_is_left_out() -> None:
    assert account([result("{}")]) == "The caller has said nothing yet."


@pytest.mark.parametrize("arguments", ["", "no JSON", "[1]", '{"count": 3}'])
def test_arguments_that_name_nothing_are_left_out(arguments: str) -> None:
    call = FunctionCall(id="f", name="look_up", call_id="c1", arguments=arguments)
    assert "called look_up, with no result yet." in account([call])


def test_notes_of_an_earlier_part_are_kept() -> None:
    told = account([notes("My notes: the caller is Anna."), heard("sales please"), spoken("One moment.")])
    assert told.startswith('My notes: the caller is Anna. The caller said "sales please".')


def test_long_conversation_keeps_its_notes_and_the_newest_words() -> None:
    turns: list[Item] = [heard(f"sentence number {number} of a caller who has much to say") for number in range(200)]
    told = account([notes("The caller is Anna."), *turns])
    assert len(told) <= MAX_CHARACTERS + len("The caller is Anna. ")
    assert told.endswith('"sentence number 199 of a caller who has much to say".')
    assert "number 3 " not in told


def test_long_sentence_is_cut_between_words() -> None:
    told = account([heard("word " * 100)])
    assert told.endswith('word …".')
    assert len(told) < 200
