"""What the model hears at once when it calls a tool at the wrong time."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.tool_answers import ToolAnswers
from gateway.dialplan.load import load_dialplan
from tests.support.plans import write_plan

PLAN = """
version: 1
name: test
timezone: UTC
sessions:
  reception: {use: default, tools: [hang_up, note]}
routes:
  - {name: talk, do: [{session: reception}]}
"""


@pytest.fixture
def answers(tmp_path: Path) -> ToolAnswers:
    return ToolAnswers(load_dialplan(write_plan(tmp_path, PLAN)))


def asked(name: str, call_id: str = "c") -> e.ToolAsked:
    return e.ToolAsked(call_id=call_id, name=name, arguments={"text": "x"}, response_id="r")


def test_a_call_that_is_told_again_is_known(answers: ToolAnswers) -> None:
    told = [asked("note", "a"), asked("note", "b"), asked("hang_up", "a")]
    assert [answers.is_repeated(event) for event in told] == [False, False, True]


def test_only_the_tools_of_the_session_that_is_open_are_offered(answers: ToolAnswers) -> None:
    assert answers.is_offered(asked("note"), "reception")
    assert not answers.is_offered(asked("transfer"), "reception")
    assert not answers.is_offered(asked("note"), None)


def test_a_note_is_still_taken_while_the_call_ends_and_nothing_else_is(answers: ToolAnswers) -> None:
    run = e.RunTool(call_id="c", name="note", arguments={"text": "x"}, response_id="r")
    assert answers.while_leaving(asked("note"), "reception") == [run]
    (refused,) = answers.while_leaving(asked("hang_up"), "reception")
    assert isinstance(refused, e.ReplyToTool)
    assert (refused.output["status"], refused.respond) == ("refused", False)
    assert answers.while_leaving(asked("note"), None) == [refused]


def test_a_model_that_is_not_heard_gets_a_result_and_no_reason_to_speak(answers: ToolAnswers) -> None:
    (refused,) = answers.while_unheard(asked("note"))
    assert isinstance(refused, e.ReplyToTool)
    assert (refused.output["status"], refused.respond) == ("refused", False)
