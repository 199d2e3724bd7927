"""The gateway itself: what begins and ends a call from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.dialplan.triggers import BudgetUsed, CostOver


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The dialplan has decided; nothing but 100 Trying has been sent yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandFailed:
    """A command could not be carried out; ``reason`` says why. The call is not worth going on with."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReached:
    """So much of a limit is used up, or so much money is spent. `limit` names the limit that is nearest."""

    mark: BudgetUsed | CostOver
    limit: str

    @property
    def is_final(self) -> bool:
        """Whether nothing is left."""
        return self.mark == BudgetUsed(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpAsked:
    """An operator wants the call to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainBegan:
    """The gateway is going down: the call may go on, but begins nothing new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEnded:
    """The gateway stops now; whoever is still talking is let go."""


ServiceEvent: TypeAlias = Started | CommandFailed | BudgetReached | HangUpAsked | DrainBegan | DrainEnded
