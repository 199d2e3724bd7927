"""Which escalation fires, how often, and which of two budgets counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.escalating import Escalations
from gateway.dialplan.actions import HangUpAction, TransferAction
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.triggers import BudgetUsed
from tests.support.plans import write_plan

PLAN = """
version: 1
name: test
timezone: UTC
contacts:
  sales: {dial: [sip:6001]}
sessions:
  reception: {use: default}
routes:
  - {name: talk, do: [{session: reception}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
  - {name: down, when: {provider_down: true}, do: [{transfer: sales}]}
  - {name: spent, when: {budget: 100%}, do: [{hang_up: true}]}
"""
SPENT = e.BudgetReached(mark=BudgetUsed(1.0), limit="limits.budget.call.money")
NEARLY = e.BudgetReached(mark=BudgetUsed(0.8), limit="limits.budget.call.money")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SALES, HANG_UP = (TransferAction(contact="sales"),), (HangUpAction(),)


@pytest.fixture
def notes() -> e.CallNotes:
    return e.CallNotes()


@pytest.fixture
def escalations(tmp_path: Path, notes: e.CallNotes) -> Escalations:
    return Escalations(load_dialplan(write_plan(tmp_path, PLAN)), notes)


def test_a_key_fires_as_often_as_it_is_pressed(escalations: Escalations, notes: e.CallNotes) -> None:
    assert [escalations.on_key(key, NOON, None) for key in "001"] == [SALES, SALES, None]
    assert notes.escalations == ["zero", "zero"]


def test_a_lost_session_fires_once_in_a_call(escalations: Escalations, notes: e.CallNotes) -> None:
    assert [escalations.on_session_lost(NOON, None) for _ in range(2)] == [SALES, None]
    assert notes.escalations == ["down"]


def test_a_session_lost_once_more_is_for_the_next_escalation_that_waits_for_it(tmp_path: Path) -> None:
    nights = "  - {name: first, when: {provider_down: true, session: reception}, do: [{hang_up: true}]}\n"
    text = PLAN.replace("  - {name: down,", f"{nights}  - {{name: down,")
    escalations = Escalations(load_dialplan(write_plan(tmp_path, text)), e.CallNotes())
    assert [escalations.on_session_lost(NOON, "reception") for _ in range(3)] == [HANG_UP, SALES, None]


def test_a_budget_fires_once_and_without_an_escalation_nothing_follows(escalations: Escalations) -> None:
    escalations.expect(NEARLY)
    assert escalations.on_budget(NOON, None) == ()
    escalations.expect(SPENT)
    assert [escalations.on_budget(NOON, None) for _ in range(2)] == [HANG_UP, HANG_UP]  # the first was broken off
    assert escalations._notes.escalations == ["spent"]
    assert [escalations.settle_budget(), escalations.settle_budget()] == [SPENT, None]
    escalations.expect(SPENT)
    assert escalations.on_budget(NOON, None) == ()


@pytest.mark.parametrize("budgets", [(NEARLY, SPENT), (SPENT, NEARLY)])
def test_of_budgets_that_wait_the_one_that_is_used_up_counts(
    escalations: Escalations, budgets: tuple[e.BudgetReached, ...]
) -> None:
    for budget in budgets:
        escalations.expect_later(budget)
    assert escalations.budget == SPENT
    assert not escalations.outdoes(SPENT)


def test_only_a_budget_that_is_used_up_decides_when_another_is_being_answered(escalations: Escalations) -> None:
    escalations.expect(NEARLY)
    assert (escalations.outdoes(NEARLY), escalations.outdoes(SPENT)) == (False, True)
