"""Which of the dialplan's escalations follows from what has happened, and when; pure, and part of `Call`.

A key may fire its escalation again and again; what a lost session or a budget fires happens once in a call. A budget
that is reached while the caller is elsewhere waits here until they are back with the model.
"""

from __future__ import annotations

from gateway.calls.events import BudgetReached, CallNotes
from gateway.dialplan.actions import Action
from gateway.dialplan.model import Dialplan
from gateway.dialplan.triggers import DigitPressed, Escalation, ProviderDown


class Escalations:
    """The escalations of one call, each kept in its `notes` when it fires."""

    def __init__(self, plan: Dialplan, notes: CallNotes) -> None:
        self._plan = plan
        self._notes = notes
        self._budget: BudgetReached | None = None  # what is to be answered, or is, once the model has finished

    def on_key(self, digit: str) -> tuple[Action, ...] | None:
        """The caller pressed a key; None: it has no meaning."""
        return self._fire(self._plan.react(DigitPressed(digit=digit)))

    def on_session_lost(self) -> tuple[Action, ...] | None:
        """The model is gone; None: nothing is provided for that, or it was tried."""
        return self._fire_once(self._plan.react(ProviderDown()))

    @property
    def budget(self) -> BudgetReached | None:
        """The budget that waits for its answer, or for the model to finish."""
        return self._budget

    def expect(self, budget: BudgetReached) -> None:
        """This one is to be answered now."""
        self._budget = budget

    def expect_later(self, budget: BudgetReached) -> None:
        """The caller is not with the model: it is answered when they are. What is used up counts most."""
        if not self._is_used_up:
            self._budget = budget

    def outdoes(self, budget: BudgetReached) -> bool:
        """Whether `budget` decides what follows, though another is being answered."""
        return budget.is_final and not self._is_used_up

    def on_budget(self) -> tuple[Action, ...]:
        """What follows from the budget that waits."""
        escalation = None if self._budget is None else self._plan.react(self._budget.mark)
        return self._fire_once(escalation) or ()

    def settle_budget(self) -> BudgetReached | None:
        """The answer was given: which budget it was."""
        budget, self._budget = self._budget, None
        return budget

    @property
    def _is_used_up(self) -> bool:
        return self._budget is not None and self._budget.is_final

    def _fire_once(self, escalation: Escalation | None) -> tuple[Action, ...] | None:
        return None if escalation is not None and escalation.name in self._notes.escalations else self._fire(escalation)

    def _fire(self, escalation: Escalation | None) -> tuple[Action, ...] | None:
        if escalation is None:
            return None
        self._notes.escalations.append(escalation.name)
        return escalation.actions
