"""The dialogues of a plan's tests: every turn with its line, and what is wrong with them at its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.dialplan.dialogue import (
    BargeIn,
    Behaviour,
    BeSilent,
    Expect,
    Expected,
    HangUp,
    Hear,
    Press,
    Say,
    WebAnswer,
)
from gateway.dialplan.dialogue_source import TurnExpectSource, TurnSource
from gateway.dialplan.proof import run_tests
from gateway.errors import ConfigurationError
from tests.support.plans import load_plan

BEGIN = """\
version: 1
name: acme
timezone: UTC
contacts:
  sales: {dial: ["sip:6001", "sip:6002"]}
  desk: {dial: ["sip:6001"]}
  boss: {dial: ["sip:6009"]}
tools:
  lookup: {description: Orders, http: {url: "https://erp.example/"}}
  pin: {description: PIN, verify: {codes: ["1234"]}}
sessions:
  reception: {use: default, tools: [transfer, lookup, pin]}
routes:
  - {name: all, do: [{set: {a: b}}, {hook: {url: "https://hook.example/"}}, {session: reception}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: desk}]}
tests:
"""
WHOLE = """\
  - name: talk
    call: {to: "7000"}
    contacts: {sales: [busy, answers], boss: no_answer}
    tools: {lookup: {status: shipped, items: [1]}}
    hooks: [failed, {set: {a: c}}]
    dialogue:
      - hear: [welcome, how can I help]
      - say: Hello
      - barge_in: Stop
      - dtmf: 12#
      - silence: 3s
      - expect:
          route: all
          session: reception
          tools: [lookup]
          escalation: zero
          transfer: sales
          message: call me
          vars: {a: c}
      - hang_up: true
      - expect: {outcome: caller-hung-up, reject: 603}
"""


def problems(folder: Path, case: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_plan(folder, BEGIN + case)
    return [str(problem).partition("plan.yaml:")[2] for problem in caught.value.problems]


def test_each_turn_is_read_with_its_line(tmp_path: Path) -> None:
    (example,) = load_plan(tmp_path, BEGIN + WHOLE).examples
    dialogue = example.dialogue
    assert dialogue is not None
    assert example.line == 18
    assert dialogue.turns == (
        Hear(line=24, text="welcome"),
        Hear(line=24, text="how can I help"),
        Say(line=25, text="Hello"),
        BargeIn(line=26, text="Stop"),
        Press(line=27, keys="12#"),
        BeSilent(line=28, seconds=3.0),
        Expect(
            line=29,
            expected=Expected(
                route="all",
                session="reception",
                tools=("lookup",),
                escalation="zero",
                transfer="sales",
                message="call me",
                vars={"a": "c"},
            ),
        ),
        HangUp(line=37),
        Expect(line=38, expected=Expected(outcome="caller-hung-up", reject=603)),
    )
    assert dialogue.contacts == {"sales": (Behaviour.BUSY, Behaviour.ANSWERS), "boss": (Behaviour.NO_ANSWER,)}
    assert dialogue.tools == {"lookup": WebAnswer(content={"status": "shipped", "items": [1]})}
    assert dialogue.hooks == (WebAnswer(is_failure=True), WebAnswer(content={"set": {"a": "c"}}))


def test_a_dialogue_alone_neither_passes_nor_fails_without_a_gateway(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, BEGIN + WHOLE + '  - {call: {to: "1"}, expect: {route: all}}\n')
    report = run_tests(plan)
    assert report.is_passed
    assert report.live_only == 1
    assert [result.is_passed for result in report.results] == [False, True]
    assert report.text().splitlines()[0] == f"live  {plan.file}:18  talk (its dialogue is held by --live)"
    assert len(report.text(has_live=False).splitlines()) == 1
    document = json.loads(report.json())
    assert document["live_only"] == 1
    assert [case["passed"] for case in document["cases"]] == [None, True]


def test_a_test_without_a_dialogue_has_none(tmp_path: Path) -> None:
    (example,) = load_plan(tmp_path, BEGIN + '  - {call: {to: "1"}, expect: {route: all}}\n').examples
    assert example.dialogue is None


@pytest.mark.parametrize(
    ("turn", "problem"),
    [
        ("{hear: []}", "'hear' is an empty list (expected at least 1 of them)"),
        ('{hear: "..."}', "'hear' has no words (expected what is said)"),
        ('{say: "?"}', "'say' has no words (expected what is said)"),
        ("{dtmf: x}", "'dtmf' is 'x' (expected telephone keys: 0 to 9, \"*\", \"#\" or A to D)"),
        ("{silence: 0s}", "'silence' is '0s' (expected greater than 0)"),
        ("{silence: 20m}", "'silence' is '20m' (expected less than or equal to 600)"),
        ("{hang_up: false}", "'hang_up' is false (expected true; leave the key out for the contrary)"),
        ("{hears: x}", "unknown key 'hears' (did you mean 'hear'?)"),
        (
            "{expect: {}}",
            "'expect' is empty (expected one of route, session, tools, escalation, transfer, message, voicemail, ",
        ),
        ("{expect: {route: al}}", "there is no route 'al' (did you mean 'all'?)"),
        ("{expect: {session: x}}", "there is no session 'x' (expected 'reception')"),
        ("{expect: {transfer: sale}}", "there is no contact 'sale' (did you mean 'sales'?)"),
        ("{expect: {escalation: nil}}", "there is no escalation 'nil' (expected 'zero')"),
        ("{expect: {outcome: transfered}}", "'outcome' is 'transfered' (did you mean 'transferred'?)"),
        ("{expect: {reject: 200}}", "'reject' is '200' (expected greater than or equal to 400)"),
    ],
)
def test_a_turn_with_a_mistake_is_told_at_its_place(tmp_path: Path, turn: str, problem: str) -> None:
    (found, *_) = problems(tmp_path, f'  - call: {{to: "7000"}}\n    dialogue:\n      - {turn}\n')
    assert found.startswith("20:")
    assert problem in found


def test_a_variable_that_nothing_sets_cannot_be_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"variable \{vars.b\} is never set"):
        load_plan(tmp_path, BEGIN + '  - {call: {to: "1"}, dialogue: [{expect: {vars: {b: x}}}]}\n')


@pytest.mark.parametrize(
    ("world", "problem"),
    [
        ("contacts: {sale: busy}", "20:16: there is no contact 'sale' (did you mean 'sales'?)"),
        ("contacts: {sales: bussy}", "20:23: 'sales' is 'bussy' (did you mean 'busy'?)"),
        (
            "contacts: {sales: busy, desk: answers}",
            "20:29: 'desk' and 'sales' are both 'sip:6001', and cannot do different things",
        ),
        ("tools: {look: {}}", "20:13: there is no tool 'look' (did you mean 'lookup'?)"),
        ("tools: {pin: {}}", "20:13: 'pin' asks no web service (expected a tool with http)"),
    ],
)
def test_a_world_with_a_mistake_is_told_at_its_place(tmp_path: Path, world: str, problem: str) -> None:
    case = f'  - call: {{to: "7000"}}\n    dialogue: [{{hear: hello}}]\n    {world}\n'
    (found, *_) = problems(tmp_path, case)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("key", "value"), [("contacts", "{sales: busy}"), ("tools", "{lookup: 1}"), ("hooks", "[failed]")]
)
def test_a_world_without_a_dialogue_has_no_effect(tmp_path: Path, key: str, value: str) -> None:
    (found,) = problems(tmp_path, f'  - call: {{to: "7000"}}\n    expect: {{route: all}}\n    {key}: {value}\n')
    assert found.endswith(f"'{key}' has no effect without 'dialogue' (expected dialogue: [...])")


def test_the_documentation_shows_a_dialogue_that_loads_and_every_word(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "dialogues.md").read_text("utf-8")
    (fragment,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    begin = BEGIN.replace("name: all", "name: everybody").replace("lookup", "lookup_order")
    (example,) = load_plan(tmp_path, begin + fragment.removeprefix("tests:\n")).examples
    assert example.dialogue is not None
    assert len(example.dialogue.turns) == 7
    for word in (*TurnSource.model_fields, *TurnExpectSource.model_fields, *(one.value for one in Behaviour)):
        assert re.search(rf"`{word}\b", text), f"docs/dialogues.md does not tell of {word}"
