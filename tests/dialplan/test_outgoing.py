"""Calls that we place have routes of their own, and begin with variables that whoever places them gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.dialplan.facts import CallFacts
from gateway.dialplan.proof import run_tests
from gateway.errors import ConfigurationError
from tests.support.plans import load_plan

PLAN = """\
version: 1
name: reminders
timezone: UTC
vars: {day: soon}
sessions:
  talk: {use: default, instructions: "It is on {vars.day}."}
routes:
  - name: out
    match: {direction: outgoing, to: "60*"}
    do: [{say: "It is on {vars.day}."}, {session: talk}]
  - name: in
    do: [{hang_up: true}]
tests:
  - name: ours
    call: {to: "6001", from: gateway, direction: outgoing, vars: {day: Friday}}
    expect: {route: out, session: talk, say: It is on Friday., vars: {day: Friday}}
  - name: as the plan has it
    call: {to: "6001", from: gateway, direction: outgoing}
    expect: {say: It is on soon.}
  - name: theirs
    call: {to: "6001", from: "+49301"}
    expect: {route: in, vars: {day: soon}}
"""
FACTS = CallFacts(to="6001", from_="gateway", at=datetime(2026, 11, 20, tzinfo=UTC))


def test_plans_tests_tell_calls_of_ours_from_others(tmp_path: Path) -> None:
    report = run_tests(load_plan(tmp_path, PLAN))
    assert report.is_passed, report.text()
    assert not run_tests(load_plan(tmp_path, PLAN.replace("is on Friday.,", "is on Monday.,"))).is_passed


def test_a_call_takes_routes_of_its_own_direction_alone(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN)
    ours = replace(FACTS, is_outgoing=True)
    assert plan.decide(FACTS).route == "in"
    assert plan.decide(ours).route == "out"
    assert not plan.decide(replace(ours, to="7001")).is_routed
    assert plan.decide(FACTS).trace[0].reason == "the call comes in"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("vars: {day: Friday}}\n", "vars: {dax: Friday}}\n", "15:67"),
        ('from: "+49301"}', 'from: "+49301", vars: {day: x}}', "21:40"),
        ("direction: outgoing, to", "direction: out, to", "9:24"),
        ("{vars.day}.", "{vars.dag}.", "6:38"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert old in PLAN
    with pytest.raises(ConfigurationError) as refusal:
        load_plan(tmp_path, PLAN.replace(old, new, 1))
    assert any(f":{line}:" in str(problem) for problem in refusal.value.problems), str(refusal.value)
