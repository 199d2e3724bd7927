"""The plans in dialplans/: they load, their tests pass, and they fit the shipped configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.dialplan.actions import SessionAction
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts
from gateway.dialplan.proof import run_tests
from gateway.dialplan.triggers import DigitPressed, ProviderDown

FOLDER = Path(__file__).resolve().parents[2] / "dialplans"
PLANS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_a_shipped_plan_loads_and_passes_its_own_tests(file: Path) -> None:
    report = run_tests(load_dialplan(file))
    assert report.results, "a shipped plan has tests"
    assert report.is_passed, report.text()


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_a_shipped_plan_uses_the_session_that_every_configuration_has(file: Path) -> None:
    assert load_dialplan(file).check_references(["default"], []) == ()


@pytest.mark.parametrize("hour", range(0, 24, 4))
@pytest.mark.parametrize(("to", "from_"), [("7000", "+49301"), ("gateway", ""), ("+4930901820", "anonymous")])
def test_the_reception_answers_every_call_at_any_time(to: str, from_: str, hour: int) -> None:
    plan = load_dialplan(FOLDER / "reception.yaml")
    decision = plan.decide(CallFacts(to=to, from_=from_, at=datetime(2026, 11, 22, hour, tzinfo=UTC)))
    assert decision.actions == (SessionAction(name="reception"),)


def test_the_reception_has_a_person_behind_zero_and_behind_the_model() -> None:
    plan = load_dialplan(FOLDER / "reception.yaml")
    assert plan.react(DigitPressed("0")) is not None
    assert plan.react(ProviderDown()) is not None
    assert plan.sessions["reception"].greeting == "Welcome to Acme, how can I help?"
    assert list(plan.contacts) == ["sales", "support", "operator"]
