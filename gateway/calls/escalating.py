"""Which of the dialplan's escalations follows from what has happened, and when; pure, and part of `Call`.

::

    fact ──> each escalation's judge ──> circumstances hold, and not fired before ──> set off ──> `take`: it fires
    key, lost session, budget ──────────────────────────────────────────────────────────────────> it fires

A key and a silence may fire their escalation again and again; anything else does so once in a call. What is set off
while the caller is elsewhere (a file, a step, a transfer) waits here until they are back with the model; so does a
budget that is reached. Of several that one fact sets off, the first in the file fires, and the others may by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from gateway.calls.escalation.events import AskVerdict
from gateway.calls.escalation.facts import CallerSaid, Fact, TalkLasted
from gateway.calls.escalation.farewell import Farewell
from gateway.calls.escalation.judges import Judge, judge_of, own_words
from gateway.calls.events import BudgetReached, CallNotes, Command, StartTimer, TimerName
from gateway.dialplan.actions import (
    Action,
    keeps_talking,
)
from gateway.dialplan.model import CallFacts, Dialplan
from gateway.dialplan.triggers import (
    DigitPressed,
    Escalation,
    LastedFor,
    ProviderDown,
    SilentFor,
    Trigger,
    VerdictGiven,
)


class Escalations:
    """The escalations of one call, each kept in its `notes` and told to `on_fired` when it fires.

    `facts` are those of the call, for the circumstances of escalations; `values` gives the variables of the call.
    """

    def __init__(
        self,
        plan: Dialplan,
        notes: CallNotes,
        facts: CallFacts | None = None,
        *,
        values: Callable[[], Mapping[str, str]] = dict,
        on_fired: Callable[[Escalation], None] = lambda _escalation: None,
    ) -> None:
        self._plan = plan
        self._notes = notes
        self._facts = facts
        self._values = values
        self._on_fired = on_fired
        judges = ((escalation, judge_of(escalation)) for escalation in plan.escalations)
        self._judged: list[tuple[Escalation, Judge]] = [(e, judge) for e, judge in judges if judge is not None]
        self._set_off: list[Escalation] = []
        self._turns = 0  # of the caller, that had words
        self._minutes: list[float] = []  # that are still to come
        self._budget: BudgetReached | None = None  # what is to be answered, or is, once the model has finished
        self._following: tuple[Action, ...] | None = None  # of that budget, until it is settled
        self.farewell = Farewell()

    # Keys and lost sessions.

    def on_key(self, digit: str, at: datetime, session: str | None) -> tuple[Action, ...] | None:
        """The caller pressed a key; None: it has no meaning."""
        self.farewell.spare()
        escalation = self._react(DigitPressed(digit=digit), at, session)
        return None if escalation is None else self._fire(escalation)

    def on_session_lost(self, at: datetime, session: str | None) -> tuple[Action, ...] | None:
        """The model is gone; None: nothing is provided for that, or it was tried."""
        answering = (e for e in self._plan.escalations if isinstance(e.trigger, ProviderDown) and self._is_armed(e))
        return self._fire_once(next((e for e in answering if self._holds(e, at, session)), None))

    # Facts.

    def begin_session(self) -> list[Command]:
        """The caller begins to talk with a session: its minutes count."""
        lengths = {e.trigger.minutes for e, _ in self._judged if isinstance(e.trigger, LastedFor)}
        self._minutes = sorted(lengths)
        return self._await_minutes(0.0)

    def on_minutes(self, at: datetime, session: str | None) -> list[Command]:
        """The next length of a session is reached."""
        if not self._minutes:
            return []
        minutes = self._minutes.pop(0)
        return [*self.notice(TalkLasted(minutes=minutes), at, session), *self._await_minutes(minutes)]

    def notice(self, fact: Fact, at: datetime, session: str | None) -> list[Command]:
        """Judge `fact`; what it sets off is there to be taken."""
        hit = [escalation for escalation, judge in self._judged if judge.hear(fact)]
        first = next((e for e in hit if self._is_armed(e) and self._holds(e, at, session)), None)
        if first is not None:
            self._set_off.append(first)
        anew = self.farewell.hear(fact)
        commands: list[Command] = [] if anew is None else [StartTimer(timer=TimerName.FAREWELL, delay_s=anew)]
        if isinstance(fact, CallerSaid) and fact.is_whole and own_words(fact):
            commands += self._ask_for_verdicts(fact, at, session)
        return commands

    def begin_farewell(self, seconds: float) -> list[Command]:
        """The call ends after so long, unless the caller is heard of before."""
        begun = self.farewell.begin(seconds)
        return [] if begun is None else [StartTimer(timer=TimerName.FAREWELL, delay_s=begun)]

    def resume_farewell(self, *, begins_again: bool = False) -> list[Command] | None:
        """The caller is back with a session, and with it the time they are given; None: they had it."""
        left_s = self.farewell.resume(begins_again=begins_again)
        if left_s is None:
            return []
        return [StartTimer(timer=TimerName.FAREWELL, delay_s=left_s)] if left_s else None

    def take(self, is_talking: bool, may_interrupt: bool) -> tuple[Action, ...] | None:
        """The actions of the next escalation that was set off, if they can be carried out as the call stands."""
        for escalation in self._set_off:
            if is_talking if keeps_talking(escalation.actions) else may_interrupt:
                self._set_off.remove(escalation)
                return self._fire(escalation)
        return None

    def _ask_for_verdicts(self, said: CallerSaid, at: datetime, session: str | None) -> list[Command]:
        self._turns += 1
        return [
            AskVerdict(
                escalation=escalation.name,
                request=escalation.trigger.request,
                turn=self._turns,
                text=said.text,
                values=self._values(),
            )
            for escalation, _ in self._judged
            if isinstance(escalation.trigger, VerdictGiven)
            and self._is_armed(escalation)
            and self._holds(escalation, at, session)
        ]

    def _await_minutes(self, gone: float) -> list[Command]:
        left = [60 * (minutes - gone) for minutes in self._minutes[:1]]
        return [StartTimer(timer=TimerName.TALK, delay_s=delay_s) for delay_s in left]

    # Budgets.

    @property
    def budget(self) -> BudgetReached | None:
        """The budget that waits for its answer, or for the model to finish."""
        return self._budget

    def expect(self, budget: BudgetReached) -> None:
        """This one is to be answered now."""
        if budget != self._budget:
            self._budget, self._following = budget, None

    def expect_later(self, budget: BudgetReached) -> None:
        """The caller is not with the model: it is answered when they are. What is used up counts most."""
        if not self._is_used_up:
            self.expect(budget)

    def outdoes(self, budget: BudgetReached) -> bool:
        """Whether `budget` decides what follows, though another is being answered."""
        return budget.is_final and not self._is_used_up

    def on_budget(self, at: datetime, session: str | None) -> tuple[Action, ...]:
        """What follows from the budget that waits, also where that was broken off before it began."""
        if self._following is None:
            escalation = None if self._budget is None else self._react(self._budget.mark, at, session)
            self._following = self._fire_once(escalation) or ()
        return self._following

    def settle_budget(self) -> BudgetReached | None:
        """The answer was given: which budget it was."""
        budget, self._budget, self._following = self._budget, None, None
        return budget

    @property
    def _is_used_up(self) -> bool:
        return self._budget is not None and self._budget.is_final

    # What they have in common.

    def _react(self, event: Trigger, at: datetime, session: str | None) -> Escalation | None:
        answering = (escalation for escalation in self._plan.escalations if escalation.trigger == event)
        return next((escalation for escalation in answering if self._holds(escalation, at, session)), None)

    def _holds(self, escalation: Escalation, at: datetime, session: str | None) -> bool:
        return self._plan.holds(escalation.circumstances, self._facts, at, session)

    def _is_armed(self, escalation: Escalation) -> bool:
        """Whether it may be set off: it is not waiting, and has not fired, or may again."""
        may_again = isinstance(escalation.trigger, SilentFor) or escalation.name not in self._notes.escalations
        return may_again and escalation not in self._set_off

    def _fire_once(self, escalation: Escalation | None) -> tuple[Action, ...] | None:
        if escalation is None or escalation.name in self._notes.escalations:
            return None
        return self._fire(escalation)

    def _fire(self, escalation: Escalation) -> tuple[Action, ...]:
        self._notes.escalations.append(escalation.name)
        self._on_fired(escalation)
        return escalation.actions
