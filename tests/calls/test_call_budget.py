"""What a call makes of a budget that is nearly, or wholly, used up."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts
from gateway.dialplan.triggers import BudgetUsed, CostOver
from tests.support.plans import write_plan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = """
version: 1
name: frugal
timezone: UTC
contacts:
  sales: {dial: [sip:6001]}
sessions:
  reception: {use: default, tools: [transfer, hang_up]}
  modest: {use: cheap}
routes:
  - {name: talk, do: [{session: reception}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: sales}]}
"""
LIMIT = "limits.budget.call.money"
SPENT = e.BudgetReached(mark=BudgetUsed(1.0), limit=LIMIT)
NEARLY = e.BudgetReached(mark=BudgetUsed(0.8), limit=LIMIT)
DEAR = e.BudgetReached(mark=CostOver(Decimal("0.5")), limit=LIMIT)
BUSY = e.TransferReported(status=486, reason="Busy Here", is_final=True)


def call_with(folder: Path, *escalations: str, state: CallState = CallState.TALKING) -> Call:
    text = PLAN + "".join(f"  - {escalation}\n" for escalation in escalations)
    plan = load_dialplan(write_plan(folder, text))
    call = Call(plan=plan, actions=plan.decide(CallFacts(to="7000", from_="1001", at=NOON)).actions)
    for event in (e.Started(), e.SessionOpened(), e.Established()):
        if call.state is not state:
            call.step(event, NOON)
    assert call.state is state
    return call


def feed(call: Call, *events: e.Event) -> list[e.Command]:
    return [command for event in events for command in call.step(event, NOON)]


def test_call_whose_budget_is_used_up_ends_when_the_model_has_finished(tmp_path: Path) -> None:
    call = call_with(tmp_path)
    commands = feed(call, SPENT)
    assert e.BridgeAudio(is_open=False, lets_finish=True) in commands
    assert e.AwaitPlayout() in commands
    assert not any(isinstance(command, e.HangUp | e.BargeIn) for command in commands)
    assert feed(call, e.PlayoutEnded())[-1] == e.HangUp()
    assert (call.notes.outcome, call.notes.cause) == (e.Outcome.GATEWAY_HUNG_UP, LIMIT)


def test_model_that_does_not_finish_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    call = call_with(tmp_path)
    assert e.StartTimer(timer=e.TimerName.ANNOUNCEMENT, delay_s=30) in feed(call, SPENT)
    assert feed(call, e.TimerFired(timer=e.TimerName.ANNOUNCEMENT))[-1] == e.HangUp()


def test_share_without_an_escalation_changes_nothing(tmp_path: Path) -> None:
    call = call_with(tmp_path)
    assert feed(call, NEARLY, DEAR) == []
    assert call.state is CallState.TALKING


@pytest.mark.parametrize(("event", "when"), [(NEARLY, "budget: 80%"), (DEAR, "cost_over: 0.5")])
def test_short_answers_are_asked_for_while_the_conversation_goes_on(
    tmp_path: Path, event: e.BudgetReached, when: str
) -> None:
    call = call_with(tmp_path, f"{{name: dear, when: {{{when}}}, do: [{{answers: short}}]}}")
    assert feed(call, event) == [e.ShortenAnswers()]
    assert call.state is CallState.TALKING
    assert call.notes.escalations == ["dear"]


def test_cheaper_session_takes_over_when_the_model_has_finished(tmp_path: Path) -> None:
    call = call_with(tmp_path, "{name: dear, when: {budget: 80%}, do: [{session: modest}]}")
    assert not any(isinstance(command, e.OpenSession) for command in feed(call, NEARLY))
    assert feed(call, e.PlayoutEnded())[-1] == e.OpenSession(name="modest")
    assert e.Greet() in feed(call, e.SessionOpened())
    assert (call.state, call.notes.session) == (CallState.TALKING, "modest")
    feed(call, SPENT)
    assert feed(call, e.PlayoutEnded())[-1] == e.HangUp()


def test_transfer_at_a_share_that_fails_brings_the_caller_back_to_the_model(tmp_path: Path) -> None:
    call = call_with(tmp_path, "{name: dear, when: {budget: 80%}, do: [{transfer: sales}]}")
    assert any(isinstance(command, e.Refer) for command in feed(call, NEARLY, e.PlayoutEnded()))
    assert e.BridgeAudio(is_open=True) in feed(call, BUSY)
    assert call.state is CallState.TALKING


def test_no_session_is_left_open_for_whom_the_escalation_of_a_used_up_budget_cannot_transfer(tmp_path: Path) -> None:
    call = call_with(tmp_path, "{name: spent, when: {budget: 100%}, do: [{play: closed.wav}, {transfer: sales}]}")
    commands = feed(call, SPENT, e.PlayoutEnded())
    assert e.CloseSession() in commands
    assert any(isinstance(command, e.Play) for command in commands)
    assert any(isinstance(command, e.Refer) for command in feed(call, e.PlayoutEnded()))
    assert feed(call, BUSY) == [e.HangUp()]
    assert call.notes.escalations == ["spent"]


def test_budget_that_is_used_up_while_the_model_finishes_for_a_smaller_share_counts_more(tmp_path: Path) -> None:
    call = call_with(tmp_path, "{name: dear, when: {budget: 80%}, do: [{session: modest}]}")
    feed(call, NEARLY, SPENT)
    commands = feed(call, e.PlayoutEnded())
    assert not any(isinstance(command, e.OpenSession) for command in commands)
    assert commands[-1] == e.HangUp()


def test_used_up_budget_is_told_again_without_effect(tmp_path: Path) -> None:
    call = call_with(tmp_path)
    feed(call, SPENT)
    assert feed(call, SPENT, SPENT, NEARLY) == []
    assert call.state is CallState.CONCLUDING


def test_budget_used_up_before_the_answer_ends_the_call_after_the_first_words(tmp_path: Path) -> None:
    call = call_with(tmp_path, state=CallState.ANSWERING)
    assert feed(call, SPENT) == []
    commands = feed(call, e.Established())
    assert e.Greet() in commands
    assert e.AwaitPlayout() in commands
    assert call.state is CallState.CONCLUDING


def test_budget_used_up_during_a_transfer_that_fails_ends_the_call_when_the_caller_is_back(tmp_path: Path) -> None:
    call = call_with(tmp_path)
    feed(call, e.DigitReceived(digit="0"))
    assert call.state is CallState.TRANSFERRING
    assert feed(call, SPENT, NEARLY) == []
    feed(call, BUSY)
    assert call.state is CallState.CONCLUDING
    assert feed(call, e.PlayoutEnded())[-1] == e.HangUp()


def test_key_of_an_escalation_works_while_the_model_finishes(tmp_path: Path) -> None:
    call = call_with(tmp_path)
    feed(call, SPENT)
    assert any(isinstance(command, e.Refer) for command in feed(call, e.DigitReceived(digit="0")))
    feed(call, BUSY)
    assert call.state is CallState.CONCLUDING


def test_what_a_used_up_budget_wants_is_done_though_a_key_breaks_in_and_comes_to_nothing(tmp_path: Path) -> None:
    spent = "{name: spent, when: {budget: 100%}, do: [{play: closed.wav}, {hang_up: true}]}"
    call = call_with(tmp_path, spent)
    feed(call, SPENT, e.DigitReceived(digit="0"), SPENT, BUSY)
    assert call.state is CallState.CONCLUDING
    commands = feed(call, e.PlayoutEnded())
    assert any(isinstance(command, e.Play) for command in commands)
    assert e.CloseSession() in commands
    assert feed(call, e.PlayoutEnded())[-1] == e.HangUp()
    assert call.notes.escalations == ["spent", "zero"]


def test_a_key_that_only_says_something_does_not_leave_a_used_up_session_open(tmp_path: Path) -> None:
    spent = "{name: spent, when: {budget: 100%}, do: [{play: closed.wav}, {hang_up: true}]}"
    call = call_with(tmp_path, spent, "{name: five, when: {dtmf: 5}, do: [{say: Yes.}]}")
    feed(call, SPENT, e.DigitReceived(digit="5"), e.PlayoutEnded())
    assert call.state is CallState.CONCLUDING
    commands = feed(call, e.PlayoutEnded())
    assert e.CloseSession() in commands
    assert sum(isinstance(command, e.Play) for command in commands) == 1


def test_session_lost_meanwhile_does_not_keep_the_call_alive(tmp_path: Path) -> None:
    call = call_with(tmp_path, "{name: down, when: {provider_down: true}, do: [{session: modest}]}")
    feed(call, SPENT, e.SessionLost(reason="gone"))
    assert feed(call, e.PlayoutEnded())[-1] == e.HangUp()
