"""What calls spend on models: counted as it happens, held against limits, told to the call and to its record.

::

    session event ──> SessionSpending ──> Meter ─┐
    once a second ────────────────────────────────┴──> CallSpending ──> CallRecord.cost, tokens
                                                            ├──> DayAccount (all calls' day)
                                                            └──> BudgetReached into the call, at each mark once

A mark is what the dialplan's escalations wait for (``budget: 80%``, ``cost_over: 0.80``), and 100 % in any case. The
last is repeated for as long as a session is open: a call cannot miss it by being elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

import structlog

from gateway.calls.events import BudgetReached
from gateway.calls.record import CallRecord
from gateway.dialplan.actions import Action, GotoAction, SessionAction
from gateway.dialplan.model import CallFacts, Dialplan, SessionLimits, SessionPlan
from gateway.dialplan.triggers import BudgetUsed, CostOver
from gateway.errors import ResourceError, shown
from gateway.realtime import session as realtime
from gateway.realtime.budget import NO_BUDGET, Budget, Meter, Reading
from gateway.realtime.day_ledger import DayBudgets, DayLedger
from gateway.realtime.prices import CURRENCY, FREE, UNKNOWN_PRICES, SessionPrices

LOOK_EVERY_S = 1.0
SPENT = BudgetUsed(1.0)

_log = structlog.stdlib.get_logger("gateway.calls")


class BudgetSpent(ResourceError):
    """A limit on what calls may cost forbids one more. Trying again soon is of no use."""

    is_retryable = False


@dataclass(slots=True, kw_only=True)
class Accounting:
    """What all calls of a process share: prices, the limits of a call, the day."""

    prices: Mapping[str, SessionPrices] = field(default_factory=dict)
    """By the name of the configuration's realtime session."""
    call: Budget = NO_BUDGET
    ledger: DayLedger = field(default_factory=lambda: DayLedger(DayBudgets()))
    _unpriced: set[tuple[str, str]] = field(default_factory=set, init=False)

    def actions(self, plan: Dialplan, actions: Sequence[Action], facts: CallFacts) -> tuple[Action, ...]:
        """What becomes of a call that the plan gives `actions`: others, where it would cost what nobody may spend.

        A call that needs no model is never refused. Raises: `BudgetSpent` where the plan has nothing else for it.
        """
        limit, actions = None, tuple(actions)
        session = _session_of(plan, actions)
        if session is not None:
            limit = self.ledger.refusal(facts.from_, facts.to, facts.at.date())
        if limit is None:
            return actions
        escalation = plan.react(SPENT, facts, session)
        if escalation is None:
            _refuse(limit)
        _log.info("budget used up", limit=limit, escalation=escalation.name)
        return escalation.actions

    def admit(self, caller: str, called: str, at: datetime) -> None:
        """Whether a call of ours may be placed. Raises: `BudgetSpent`."""
        limit = self.ledger.refusal(caller, called, at.date())
        if limit is not None:
            _refuse(limit)

    def note_unpriced(self, provider: str, model: str) -> None:
        """Say once that nobody knows what a model costs."""
        if (provider, model) not in self._unpriced:
            self._unpriced.add((provider, model))
            remedy = "realtime.NAME.prices in the configuration (docs/budget.md)"
            _log.warning("price unknown", provider=provider, model=shown(model), remedy=remedy)


def _session_of(plan: Dialplan, actions: Sequence[Action]) -> str | None:
    """The session that `actions` come to if nothing stands in the way, in whatever route; None: to none."""
    routes = {route.name: route.actions for route in plan.routes}
    while True:
        goal: str | None = None
        for action in actions:
            if isinstance(action, SessionAction):
                return action.name
            if isinstance(action, GotoAction):
                goal = action.route
        if goal not in routes:
            return None
        actions = routes.pop(goal)


def _refuse(limit: str) -> NoReturn:
    raise BudgetSpent(f"{limit} is used up")


class CallSpending:
    """One call's spending. `dispatch` is told of marks; `clock` gives monotonic seconds, `wall_clock` aware time."""

    def __init__(
        self,
        accounting: Accounting,
        plan: Dialplan,
        record: CallRecord,
        dispatch: Callable[[BudgetReached], None],
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._accounting = accounting
        self._plan = plan
        self._record = record
        self._dispatch = dispatch
        self._clock = clock
        self._wall_clock = wall_clock
        self._account = accounting.ledger.open(record.caller, record.called)
        self._sessions: list[SessionSpending] = []
        self._asides: list[SessionSpending] = []
        self._charged = Reading()
        triggers = [escalation.trigger for escalation in plan.escalations]
        marks = dict.fromkeys(trigger for trigger in triggers if isinstance(trigger, BudgetUsed | CostOver))
        self._marks = [mark for mark in marks if mark != SPENT]
        self._is_watched = False  # whether anything is to be told in time
        self._timer: asyncio.TimerHandle | None = None

    def session(
        self, plan: SessionPlan, chain: Sequence[realtime.SessionOptions], uses: Sequence[str]
    ) -> SessionSpending:
        """Begin to count what a session of the plan spends; the one before it has ended.

        It may be served as each of `chain` says, which are the configuration's sessions called `uses`.
        """
        self.leave()
        session = SessionSpending(self, self._accounting, plan, tuple(zip(uses, chain, strict=True)), self._clock)
        self._sessions.append(session)
        budgets = (self._accounting.call, session.budget)
        is_limited = any(budget.is_limited for budget in budgets) or self._accounting.ledger.is_limited
        self._is_watched = is_limited or bool(self._marks)
        if self._timer is None and self._is_watched:
            self._look_again()
        return session

    def aside(self, chain: Sequence[realtime.SessionOptions], uses: Sequence[str]) -> SessionSpending:
        """Begin to count what a session beside the plan's own spends, as one that speaks a text or listens."""
        aside = SessionSpending(self, self._accounting, None, tuple(zip(uses, chain, strict=True)), self._clock)
        self._asides.append(aside)
        return aside

    def refusal(self) -> str | None:
        """The limit that leaves nothing for a session beside the plan's own; None where one may be opened."""
        if self._accounting.ledger.is_limited:
            self._account.charge(FREE, 0.0, self._wall_clock().date())  # a new day has begun, perhaps
        call, what = self._accounting.call.share(self._charged)
        share, limit = max((call, f"limits.budget.call.{what}"), self._account.share())
        return limit if share >= 1 else None

    def leave(self) -> None:
        """The session is let go; what it is still billed for counts."""
        if self._sessions:
            self._sessions[-1].end()

    def stop(self) -> None:
        """The call is over; safe to repeat."""
        self.leave()
        for aside in self._asides:
            aside.end()
        if self._timer is not None:
            self._timer.cancel()
        self._is_watched = False

    def close(self) -> None:
        """All sessions are closed: the record is final."""
        self.stop()
        self.note()
        self._account.close()

    def note(self) -> None:
        """Something was spent, or time has passed."""
        now = self._clock()
        readings = [session.meter.reading(now) for session in (*self._asides, *self._sessions)]
        whole = sum(readings, Reading())
        more, more_s = whole.cost - self._charged.cost, whole.seconds - self._charged.seconds
        self._charged = whole
        record = self._record
        record.usage, record.transcription = whole.usage, whole.transcription
        record.cost, record.currency = (whole.cost, CURRENCY) if readings and whole.is_priced else (None, CURRENCY)
        if more or more_s:
            self._account.charge(more, more_s, self._wall_clock().date())
        if self._is_watched and self._sessions and self._sessions[-1].meter.is_open:
            self._tell(whole, readings[-1])

    def _tell(self, whole: Reading, present: Reading) -> None:
        call, call_limit = self._accounting.call.share(whole)
        name, budget = self._sessions[-1].name, self._sessions[-1].budget
        session, session_limit = budget.share(present)
        share, limit = max(
            (call, f"limits.budget.call.{call_limit}"),
            (session, f"sessions.{name}.limits.{session_limit}"),
            self._account.share(),
        )
        reached = [mark for mark in self._marks if _is_reached(mark, share, whole)]
        self._marks = [mark for mark in self._marks if mark not in reached]
        if share >= 1:
            self._dispatch(BudgetReached(mark=SPENT, limit=limit))
            return
        for mark in reached:
            self._dispatch(BudgetReached(mark=mark, limit=limit))

    def _look_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._look_again()
        self.note()


def _is_reached(mark: BudgetUsed | CostOver, share: float, spent: Reading) -> bool:
    return share >= mark.share if isinstance(mark, BudgetUsed) else spent.cost > mark.usd


class SessionSpending:
    """What one session spends; `hear` gets all that it tells, also when the call listens no more."""

    def __init__(
        self,
        call: CallSpending,
        accounting: Accounting,
        plan: SessionPlan | None,
        served_by: Sequence[tuple[str, realtime.SessionOptions]],
        clock: Callable[[], float],
    ) -> None:
        self._call = call
        self._accounting = accounting
        self._served_by = served_by
        self._place = 0  # who serves it now
        self._clock = clock
        self._is_over = False
        self.name = "" if plan is None else plan.name
        limits = SessionLimits() if plan is None else plan.limits
        self.budget = Budget(minutes=limits.minutes, money=limits.money)
        self.meter = Meter(self._prices.model, self._prices.transcription)

    def hear(self, event: realtime.SessionEvent) -> None:
        """Count what `event` is billed for."""
        now = self._clock()
        match event:
            case realtime.SessionReady() | realtime.SessionResumed() if not self._is_over:
                self._serve(event.place, now)
            case realtime.SessionSuspended():
                self.meter.end(now)
            case realtime.InputTranscript(usage=usage) if usage is not None:
                self.meter.add_transcript(usage)
                if self._prices.transcription is None:
                    self._accounting.note_unpriced(self._options.provider, self._options.transcription_model or "")
                self._call.note()
            case realtime.ResponseFinished(usage=usage) | realtime.Answered(usage=usage) if usage is not None:
                self._add(usage, now)
            case realtime.UsageReported(usage=usage):
                self._add(usage, now)
            case realtime.SessionClosed():
                self.end()

    def end(self) -> None:
        """The session is let go: its time counts no more."""
        self._is_over = True
        self.meter.end(self._clock())

    @property
    def _options(self) -> realtime.SessionOptions:
        return self._served_by[self._place][1]

    @property
    def _prices(self) -> SessionPrices:
        return self._accounting.prices.get(self._served_by[self._place][0], UNKNOWN_PRICES)

    def _add(self, usage: realtime.Usage, now: float) -> None:
        self.meter.add(usage, now)
        self._call.note()

    def _serve(self, place: int, now: float) -> None:
        """A session stands: count on by what its model costs, whoever served before."""
        if place != self._place:
            self._place = place
            self.meter.reprice(self._prices.model, self._prices.transcription, now)
        self.meter.begin(now)
        if self._prices.model is None:
            self._accounting.note_unpriced(self._options.provider, self._options.model)
