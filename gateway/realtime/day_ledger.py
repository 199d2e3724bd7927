"""What the gateway has spent today, in all and by number, and what calls under way may still need. Pure.

::

    refusal(caller, called) ──admitted──> open ──> DayAccount: charge, charge ... close
                                                        └──> save(DayEntry): whoever keeps it over a restart

A call that is let in reserves what a call is taken to cost, until it has spent that: many calls that come at once are
not all let in on the same last dollar. Once in, each is held against what was really spent, so that together they pass
a limit by no more than the reply that each has under way. Days are UTC's; a new one begins at nothing. A clock that is
set back over midnight does not bring the day before again: what comes then counts for the day that had begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum

from gateway.realtime.budget import MINUTE_S, NO_BUDGET, Budget, Reading
from gateway.realtime.prices import FREE

LONGEST_STEP = timedelta(days=1)
"""By which a clock is set right; one that was further ahead was wrong altogether."""
RESERVE = Budget(money=Decimal("0.10"), minutes=1.0)


class Scope(Enum):
    """Whose day it is."""

    DAY = "day"
    """The whole gateway's."""
    CALLER = "caller"
    """One calling number's; all who withhold it are one."""
    CALLED = "called"
    """One called number's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayEntry:
    """What was spent on one day. ``number`` is empty for the whole gateway."""

    day: date
    scope: Scope
    number: str
    money: Decimal
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBudgets:
    """What may be spent in a day, and what a call that begins is taken to need."""

    day: Budget = NO_BUDGET
    caller: Budget = NO_BUDGET
    called: Budget = NO_BUDGET
    reserve: Budget = RESERVE

    def limited(self) -> Mapping[Scope, Budget]:
        """Those that forbid anything."""
        every = {Scope.DAY: self.day, Scope.CALLER: self.caller, Scope.CALLED: self.called}
        return {scope: budget for scope, budget in every.items() if budget.is_limited}


@dataclass(slots=True)
class _Sum:
    money: Decimal = FREE
    seconds: float = 0.0


class DayLedger:
    """Shared by all calls of a process. `save` is told each new sum, and must not block."""

    def __init__(self, budgets: DayBudgets, save: Callable[[DayEntry], None] = lambda _entry: None) -> None:
        self._limits = budgets.limited()
        self._reserve = budgets.reserve
        self._save = save
        self._day: date | None = None
        self._sums: dict[tuple[Scope, str], _Sum] = {}
        self._open: set[DayAccount] = set()

    @property
    def is_limited(self) -> bool:
        """Whether anything is forbidden."""
        return bool(self._limits)

    def restore(self, entries: Iterable[DayEntry]) -> None:
        """Take over what was spent before this process; entries of the latest day count."""
        for entry in sorted(entries, key=lambda entry: entry.day):
            self._turn_to(entry.day)
            self._sums[entry.scope, entry.number] = _Sum(entry.money, entry.seconds)

    def refusal(self, caller: str, called: str, day: date) -> str | None:
        """The limit that leaves nothing for one more call, as the configuration names it; None where it may come."""
        self._turn_to(day)
        for scope, number in _keys(caller, called):
            budget = self._limits.get(scope, NO_BUDGET)
            spent, reserved = self._sums.get((scope, number), _Sum()), self._reserved(scope, number)
            if budget.money is not None and self._reserve.money is not None:
                needed = min(self._reserve.money, budget.money)
                if spent.money + reserved.money + needed > budget.money or spent.money >= budget.money:
                    return f"limits.budget.{scope.value}.money"
            if budget.minutes is not None and self._reserve.minutes is not None:
                limit_s = budget.minutes * MINUTE_S
                needed_s = min(self._reserve.minutes * MINUTE_S, limit_s)
                if spent.seconds + reserved.seconds + needed_s > limit_s or spent.seconds >= limit_s:
                    return f"limits.budget.{scope.value}.minutes"
        return None

    def open(self, caller: str, called: str) -> DayAccount:
        """A call was let in."""
        account = DayAccount(self, caller, called)
        self._open.add(account)
        return account

    def spent(self, day: date) -> tuple[Decimal, float] | None:
        """USD and seconds of the whole gateway; None where they are not limited, and not counted."""
        self._turn_to(day)
        whole = self._sums.get((Scope.DAY, ""), _Sum())
        return (whole.money, whole.seconds) if Scope.DAY in self._limits else None

    def charge(self, account: DayAccount, money: Decimal, seconds: float, day: date) -> None:
        """Add to the sums that concern a call."""
        day = self._turn_to(day)
        for scope, number in account.keys:
            if scope in self._limits:
                whole = self._sums.setdefault((scope, number), _Sum())
                whole.money += money
                whole.seconds += seconds
                entry = DayEntry(day=day, scope=scope, number=number, money=whole.money, seconds=whole.seconds)
                self._save(entry)

    def share(self, account: DayAccount) -> tuple[float, str]:
        """How much of the limits that concern a call is used up, and which is the nearest."""
        shares = [(0.0, "")]
        for scope, number in account.keys:
            whole = self._sums.get((scope, number), _Sum())
            share, what = self._limits.get(scope, NO_BUDGET).share(Reading(cost=whole.money, seconds=whole.seconds))
            shares.append((share, f"limits.budget.{scope.value}.{what}"))
        return max(shares)

    def close(self, account: DayAccount) -> None:
        """A call has ended: what it had reserved is free."""
        self._open.discard(account)

    def _reserved(self, scope: Scope, number: str) -> _Sum:
        """What calls under way may still need, as far as they have not spent it."""
        money, minutes = self._reserve.money or FREE, self._reserve.minutes or 0.0
        calls = [account for account in self._open if (scope, number) in account.keys]
        return _Sum(
            sum((max(FREE, money - call.money) for call in calls), FREE),
            sum(max(0.0, minutes * MINUTE_S - call.seconds) for call in calls),
        )

    def _turn_to(self, day: date) -> date:
        """The day that counts at `day`."""
        if self._day is None or day > self._day or self._day - day > LONGEST_STEP:
            self._day = day
            self._sums.clear()
        return self._day


class DayAccount:
    """One call's part in the day."""

    def __init__(self, ledger: DayLedger, caller: str, called: str) -> None:
        self._ledger = ledger
        self.keys = _keys(caller, called)
        self.money, self.seconds = FREE, 0.0  # spent so far

    def charge(self, money: Decimal, seconds: float, day: date) -> None:
        """The call has spent so much more."""
        self.money += money
        self.seconds += seconds
        self._ledger.charge(self, money, seconds, day)

    def share(self) -> tuple[float, str]:
        """How much of the day's limits is used up that concern this call, and which is the nearest."""
        return self._ledger.share(self)

    def close(self) -> None:
        """The call has ended; safe to repeat."""
        self._ledger.close(self)


def _keys(caller: str, called: str) -> tuple[tuple[Scope, str], ...]:
    return (Scope.DAY, ""), (Scope.CALLER, caller), (Scope.CALLED, called)
