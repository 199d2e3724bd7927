"""A budget is reached: the conversation goes on, or the model finishes its sentence and the dialplan goes on."""

from __future__ import annotations

from datetime import datetime

from gateway.calls.call_state import CallState
from gateway.calls.course import Course, Transitions
from gateway.calls.events import (
    BridgeAudio,
    BudgetReached,
    CloseSession,
    Command,
    PlayoutEnded,
    StopTimer,
    TimerFired,
    TimerName,
)
from gateway.calls.phases.in_passing import keep_talking
from gateway.dialplan.actions import keeps_talking

CONCLUDING_LIMIT_S = 30.0


def answer_budget(call: Course, at: datetime) -> list[Command]:
    """What the dialplan wants of a budget; where one is used up, the call goes on without the model, if at all."""
    budget = call.escalations.budget
    if budget is None:
        return []
    actions = call.escalations.on_budget(at, call.session)
    if not budget.is_final and keeps_talking(actions):
        call.escalations.settle_budget()
        return keep_talking(call, actions, at)
    call.script.replace(actions)
    call.enter(CallState.CONCLUDING)
    return [BridgeAudio(is_open=False, lets_finish=True), *call.await_sentence(CONCLUDING_LIMIT_S)]


def _on_budget(call: Course, event: BudgetReached, at: datetime) -> list[Command]:
    call.escalations.expect(event)
    return answer_budget(call, at)


def _on_budget_elsewhere(call: Course, event: BudgetReached, _at: datetime) -> list[Command]:
    call.escalations.expect_later(event)
    return []


def _on_budget_late(call: Course, event: BudgetReached, at: datetime) -> list[Command]:
    """The model is about to be silent already; what it has used up since decides what then follows."""
    return _on_budget(call, event, at) if call.escalations.outdoes(event) else []


def _on_concluded(call: Course, _event: PlayoutEnded | TimerFired, at: datetime) -> list[Command]:
    budget = call.escalations.settle_budget()
    quiet: list[Command] = [StopTimer(timer=TimerName.ANNOUNCEMENT)]
    if budget is not None and budget.is_final:
        call.session = call.loss = None
        quiet.append(CloseSession())
        if not call.script.remaining:
            return [*quiet, *call.leave(budget.limit)]
    return [*quiet, *call.go_on(at)]


_S = CallState
_WAITS = (
    _S.PREPARING,
    _S.DIALLING,
    _S.RINGING,
    _S.ANSWERING,
    _S.CONSENTING,
    _S.ACTING,
    _S.ANNOUNCING,
    _S.TRANSFERRING,
)
"""States in which the caller is not with the model, or about to leave it."""

CONCLUDING: Transitions = {
    (_S.TALKING, BudgetReached): _on_budget,
    (_S.CONCLUDING, BudgetReached): _on_budget_late,
    **{(state, BudgetReached): _on_budget_elsewhere for state in _WAITS},
    (_S.CONCLUDING, PlayoutEnded): _on_concluded,
    (_S.CONCLUDING, TimerName.ANNOUNCEMENT): _on_concluded,
}
