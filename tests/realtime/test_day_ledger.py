"""The day's money: who is let in, what many calls at once may spend, and what another day changes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from gateway.realtime.budget import Budget
from gateway.realtime.day_ledger import DayBudgets, DayEntry, DayLedger, Scope

TODAY, TOMORROW = date(2026, 11, 20), date(2026, 11, 21)
RESERVE = Budget(money=Decimal("0.10"), minutes=1)


def ledger_of(**budgets: Budget) -> DayLedger:
    return DayLedger(DayBudgets(reserve=RESERVE, **budgets))


def money(amount: str) -> Budget:
    return Budget(money=Decimal(amount))


@pytest.mark.parametrize(
    ("scope", "same", "other"),
    [
        ("day", ("1001", "7000"), None),
        ("caller", ("1001", "7000"), ("1002", "7000")),
        ("called", ("1001", "7000"), ("1001", "7001")),
    ],
)
def test_who_has_used_up_a_limit_is_not_let_in_and_others_are(
    scope: str, same: tuple[str, str], other: tuple[str, str] | None
) -> None:
    ledger = ledger_of(**{scope: money("1")})
    account = ledger.open("1001", "7000")
    account.charge(Decimal(1), 60, TODAY)
    account.close()
    assert ledger.refusal(*same, TODAY) == f"limits.budget.{scope}.money"
    assert ledger.refusal(*same, TOMORROW) is None
    if other is not None:
        assert ledger.refusal(*other, TODAY) is None


def test_minutes_are_limited_as_money_is() -> None:
    ledger = ledger_of(day=Budget(minutes=10))
    account = ledger.open("1001", "7000")
    account.charge(Decimal(0), 10 * 60 - 61, TODAY)
    account.close()
    assert ledger.refusal("1002", "7000", TODAY) is None
    account.charge(Decimal(0), 2, TODAY)
    assert ledger.refusal("1002", "7000", TODAY) == "limits.budget.day.minutes"


def test_calls_at_once_are_let_in_on_what_the_others_leave() -> None:
    ledger = ledger_of(day=money("0.35"))
    accounts = []
    while ledger.refusal("1001", "7000", TODAY) is None:
        accounts.append(ledger.open("1001", "7000"))
    assert len(accounts) == 3
    accounts[0].charge(Decimal("0.02"), 5, TODAY)  # out of its own reserve
    assert ledger.refusal("1001", "7000", TODAY) is not None
    accounts[0].close()
    accounts[1].close()
    assert ledger.refusal("1001", "7000", TODAY) is None


def test_a_limit_smaller_than_the_reserve_lets_one_call_in() -> None:
    ledger = ledger_of(caller=money("0.05"))
    assert ledger.refusal("1001", "7000", TODAY) is None
    ledger.open("1001", "7000")
    assert ledger.refusal("1001", "7000", TODAY) is not None
    assert ledger.refusal("1002", "7000", TODAY) is None


def test_a_call_sees_what_all_have_spent_of_the_limits_that_concern_it() -> None:
    ledger = ledger_of(day=money("1"), caller=money("0.50"))
    one, other = ledger.open("1001", "7000"), ledger.open("1002", "7000")
    one.charge(Decimal("0.40"), 0, TODAY)
    assert one.share() == (0.8, "limits.budget.caller.money")
    assert other.share() == (0.4, "limits.budget.day.money")


def test_what_was_spent_is_kept_and_taken_over() -> None:
    kept: list[DayEntry] = []
    budgets = DayBudgets(day=money("1"), caller=money("1"))
    account = DayLedger(budgets, kept.append).open("1001", "7000")
    account.charge(Decimal("0.25"), 30, TODAY)
    account.charge(Decimal("0.75"), 30, TODAY)
    assert {entry.scope for entry in kept} == {Scope.DAY, Scope.CALLER}
    ledger = DayLedger(budgets)
    ledger.restore([*kept, DayEntry(day=date(2026, 1, 1), scope=Scope.DAY, number="", money=Decimal(9), seconds=9)])
    assert ledger.spent(TODAY) == (Decimal("1.00"), 60)
    assert ledger.refusal("1002", "7000", TODAY) == "limits.budget.day.money"
    assert ledger.refusal("1002", "7000", TOMORROW) is None
    assert ledger.spent(TOMORROW) == (0, 0)


def test_without_limits_nothing_is_counted_or_kept() -> None:
    kept: list[DayEntry] = []
    ledger = DayLedger(DayBudgets(), kept.append)
    ledger.open("1001", "7000").charge(Decimal(10**6), 10**6, TODAY)
    assert (kept, ledger.refusal("1001", "7000", TODAY), ledger.spent(TODAY)) == ([], None, None)
    assert not ledger.is_limited


def test_clock_that_is_set_back_over_midnight_frees_nothing() -> None:
    saved: list[DayEntry] = []
    ledger = DayLedger(DayBudgets(day=money("1"), reserve=RESERVE), saved.append)
    account = ledger.open("1001", "7000")
    account.charge(Decimal(1), 60, TOMORROW)
    assert ledger.refusal("1002", "7000", TODAY) == "limits.budget.day.money"
    account.charge(Decimal(1), 60, TODAY)
    assert saved[-1] == DayEntry(day=TOMORROW, scope=Scope.DAY, number="", money=Decimal(2), seconds=120)
    assert ledger.spent(TOMORROW) == (Decimal(2), 120)


def test_clock_that_was_far_ahead_is_believed_when_it_is_right_again() -> None:
    ledger = ledger_of(day=money("1"))
    account = ledger.open("1001", "7000")
    account.charge(Decimal(1), 60, date(2038, 1, 19))
    assert ledger.refusal("1002", "7000", TODAY) is None


def test_call_over_midnight_is_charged_to_each_day_for_itself() -> None:
    ledger = ledger_of(day=money("1"))
    account = ledger.open("1001", "7000")
    account.charge(Decimal("0.90"), 60, TODAY)
    account.charge(Decimal("0.20"), 60, TOMORROW)
    assert ledger.spent(TOMORROW) == (Decimal("0.20"), 60)
    assert account.share() == (0.2, "limits.budget.day.money")


def test_what_a_call_has_spent_is_no_more_reserved_for_it() -> None:
    ledger = ledger_of(day=money("0.29"))
    account = ledger.open("1001", "7000")
    account.charge(Decimal("0.10"), 5, TODAY)
    assert ledger.refusal("1002", "7000", TODAY) is None
    account.charge(Decimal("0.11"), 5, TODAY)
    assert ledger.refusal("1002", "7000", TODAY) == "limits.budget.day.money"
