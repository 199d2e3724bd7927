"""Protected prompts of sessions, and protected steps: what they become, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan.actions import PlayAction, SayAction, is_protected
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.template import Template
from tests.dialplan.test_load import broken, problems
from tests.support.plans import PLAN, write_plan


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
    written = "{play: {file: closed.wav, protect: true}}, {say: {text: Hear., protect: true}}, {say: {text: Bye.}}"
    plan = load_dialplan(write_plan(tmp_path, PLAN.replace("{play: closed.wav}", written)))
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
