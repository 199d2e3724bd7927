"""The section ``limits.budget``: what calls may spend on models, and where the day is kept."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gateway.located import Section
from gateway.realtime.budget import Budget
from gateway.realtime.day_ledger import RESERVE, DayBudgets

_Money = Annotated[Decimal, Field(gt=0)]
_Minutes = Annotated[float, Field(gt=0)]


class DaySection(Section):
    """What may be spent in a day. Money is USD."""

    minutes: _Minutes | None = None
    money: _Money | None = None

    def budget(self) -> Budget:
        """The same, to hold a reading against."""
        return Budget(minutes=self.minutes, money=self.money)


class CallSection(Section):
    """What one call may spend. Money is USD."""

    minutes: _Minutes | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    money: _Money | None = None

    def budget(self) -> Budget:
        """The same, to hold a reading against."""
        return Budget(minutes=self.minutes, tokens=self.tokens, money=self.money)


class ReserveSection(Section):
    """What a call that begins is taken to need of a day. Money is USD."""

    minutes: Annotated[float, Field(ge=0)] = RESERVE.minutes or 0.0
    money: Annotated[Decimal, Field(ge=0)] = RESERVE.money or Decimal(0)


class BudgetSection(Section):
    """What calls may spend on models."""

    call: CallSection = CallSection()
    caller: DaySection = DaySection()
    called: DaySection = DaySection()
    day: DaySection = DaySection()
    reserve: ReserveSection = ReserveSection()
    state: Path | None = None

    @property
    def money_limits(self) -> tuple[str, ...]:
        """Those that count money, as the file names them."""
        sections: dict[str, CallSection | DaySection]
        sections = {"call": self.call, "caller": self.caller, "called": self.called, "day": self.day}
        return tuple(f"limits.budget.{name}.money" for name, section in sections.items() if section.money is not None)

    def day_budgets(self) -> DayBudgets:
        """What may be spent in a day."""
        return DayBudgets(
            day=self.day.budget(),
            caller=self.caller.budget(),
            called=self.called.budget(),
            reserve=Budget(minutes=self.reserve.minutes, money=self.reserve.money),
        )
