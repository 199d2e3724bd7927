"""Protected prompts of sessions, and protected steps: what they become, and what is wrong with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.dialplan.actions import PlayAction, SayAction, is_protected
from gateway.dialplan.explain import RouteReport, route_report
from gateway.dialplan.hook_answer import HookAnswer, read_hook_answer
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts
from gateway.dialplan.proof import run_tests
from gateway.dialplan.template import Template
from tests.dialplan.test_load import broken, problems
from tests.support.plans import PLAN, write_plan, write_sound

NOON, NIGHT = datetime(2026, 11, 20, 11, tzinfo=UTC), datetime(2026, 11, 20, 23, tzinfo=UTC)
STEPS = "{play: {file: closed.wav, protect: true}}, {say: {text: Hear., protect: true}}, {say: {text: Bye.}}"


@pytest.mark.parametrize("text", ["", " \n", "x" * 1001])
def test_a_protected_file_has_to_be_short_enough_to_be_spoken(tmp_path: Path, text: str) -> None:
    (tmp_path / "notice.md").write_text(text, "utf-8")
    (problem,) = problems(tmp_path, PLAN.replace("greeting: Hello.", "protect: notice.md"))
    assert problem.endswith(":12:14: 'notice.md' is empty or too long to be spoken (expected 1 to 1000 characters)")


def test_unknown_variables_of_a_protected_file_are_reported_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "notice.md").write_text("Hello.\nThis is {now}, {caller.nam}.", "utf-8")
    (problem,) = problems(tmp_path, PLAN.replace("greeting: Hello.", "protect: notice.md"))
    assert problem.endswith("notice.md:2:16: unknown variable {caller.nam} (did you mean 'caller.name'?)")


def test_protected_prompts_are_files_or_texts_by_their_looks(tmp_path: Path) -> None:
    (tmp_path / "notice.md").write_text("You talk to\na machine.\n", "utf-8")
    written = "protect: [notice.md, closed.wav, Read notice.md]"
    plan = load_dialplan(write_plan(tmp_path, PLAN.replace("greeting: Hello.", written)))
    protected = plan.sessions["reception"].protected
    assert protected == (
        SayAction(text=Template(parts=("You talk to a machine.",)), is_protected=True),
        PlayAction(file=tmp_path / "closed.wav", is_protected=True),
        SayAction(text=Template(parts=("Read notice.md",)), is_protected=True),
    )
    assert [prompt.use for prompt in protected if isinstance(prompt, SayAction)] == ["default", "default"]


def test_steps_are_protected_by_the_longer_way_of_writing_them(tmp_path: Path) -> None:
    plan = load_dialplan(write_plan(tmp_path, PLAN.replace("{play: closed.wav}", STEPS)))
    assert [is_protected(action) for action in plan.routes[2].actions] == [True, True, False, False]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{say: ¦{protect: true}}", "key 'text' is missing (expected it in 'say')"),
        ("{say: {¦txt: Hear.}}", "unknown key 'txt' (did you mean 'text'?)"),
        ("{play: {file: ¦lost.wav}}", "'lost.wav' is not a file"),
        ("{say: {text: Hear., protect: ¦often}}", "'protect' is 'often' (expected true or false)"),
        (
            "{menu: {say: ¦{text: Hear., protect: true}, 1: [{hang_up: true}]}}",
            "'say' is a table of keys (expected text)",
        ),
    ],
)
def test_mistakes_of_the_longer_way_are_reported_at_their_place(tmp_path: Path, written: str, message: str) -> None:
    text, line, column = broken("{play: closed.wav}", written)
    assert f":{line}:{column}: {message}" in "\n".join(problems(tmp_path, text))


PROTECTED = PLAN.replace("greeting: Hello.", 'protect: ["You, {caller.number}, hear a machine.", closed.wav]')


def report(folder: Path, text: str, at: datetime = NOON) -> RouteReport:
    plan = load_dialplan(write_plan(folder, text))
    facts = CallFacts(to="7000", from_="+49301", at=at, trunk="pbx", headers={"X-Queue": "gold"})
    return route_report(plan, facts)


def test_the_story_of_a_call_tells_what_is_heard_before_a_session(tmp_path: Path) -> None:
    line = next(line for line in report(tmp_path, PROTECTED).text().splitlines() if "session reception: " in line)
    first = "first says 'You, +49301, hear a machine.', to its end"
    assert f"uses default; {first}; first plays {tmp_path / 'closed.wav'}, to its end; tools" in line


def test_the_story_of_a_call_tells_which_steps_are_protected(tmp_path: Path) -> None:
    told = report(tmp_path, PLAN.replace("{play: closed.wav}", STEPS), NIGHT)
    lines = told.text().splitlines()
    assert {"do      say Hear., to its end", "do      say Bye.", "  say Hear.: to its end", "  say Bye."} <= set(lines)
    actions = json.loads(told.json())["actions"]
    assert actions[1:3] == [{"say": "Hear.", "protect": True}, {"say": "Bye."}]


def test_a_hook_may_play_what_a_session_plays(tmp_path: Path) -> None:
    (tmp_path / "only.wav").write_bytes(b"")
    write_sound(tmp_path / "only.wav")
    plan = load_dialplan(write_plan(tmp_path, PLAN.replace("greeting: Hello.", "protect: only.wav")))
    answer = read_hook_answer(plan, {"do": [{"play": {"file": "only.wav", "protect": True}}]})
    assert answer == HookAnswer(actions=(PlayAction(file=tmp_path / "only.wav", is_protected=True),))


TWO_SESSIONS = """\
version: 1
name: two
timezone: UTC
sessions:
  first: {use: default, protect: [Law., closed.wav]}
  second: {use: default, protect: [Law., More law.]}
routes: [{name: all, do: [{session: first}]}]
escalations: [{name: over, when: {dtmf: "1"}, do: [{session: second}]}]
tests: [{call: {to: "1"}, then: %s, expect: %s}]
"""


@pytest.mark.parametrize(
    ("events", "expected", "is_passed"),
    [
        ("[]", "{say: Law., play: closed.wav, session: first}", True),
        ("[{dtmf: 1}]", "{say: More law., session: second}", True),
        ("[{dtmf: 1}]", "{say: Law., session: second}", False),
    ],
)
def test_tests_of_a_plan_expect_what_is_heard_before_a_session_once(
    tmp_path: Path, events: str, expected: str, *, is_passed: bool
) -> None:
    plan = load_dialplan(write_plan(tmp_path, TWO_SESSIONS % (events, expected)))
    assert run_tests(plan).is_passed is is_passed, run_tests(plan).text()
