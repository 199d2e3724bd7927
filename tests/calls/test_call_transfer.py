"""What a call makes of its contacts' ways: summaries, numbers, other trunks, and mailboxes for when nobody takes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.call import Call, CallState
from gateway.calls.transfers.refusal import Refusal
from gateway.dialplan.contacts import TransferMode
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, Dialplan
from tests.support.plans import write_plan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BUSY = e.TargetRefused(refusal=Refusal.BUSY, status=486, reason="Busy Here")
PLAN = """
version: 1
name: test
timezone: UTC
hours: {office: {mon-fri: "09:00-11:00"}}
contacts:
  plain: {dial: [sip:6001], mode: attended}
  desk: {dial: [sip:6001, sip:6002], summary: [whisper, header], accept: {key: "5"}, music: closed.wav, else: night}
  shift: {dial: [sip:6003], when: office, else: night}
  mobile: {dial: [sip:6004], trunk: carrier, mode: attended}
  told: {dial: [sip:6005], mode: blind, summary: webhook, webhook: {url: "https://crm.example/"}}
  staff: {pattern: "/[1-7][0-9]{3}/"}
mailboxes:
  night: {beep: false, transcript: false}
sessions:
  reception: {use: default, tools: [transfer]}
routes:
  - {name: queue, match: {to: "1"}, do: [{queue: desk}]}
  - {name: number, match: {to: "2"}, do: [{set: {who: "4711"}}, {transfer: {to: staff, number: "{vars.who}"}}]}
  - {name: talk, do: [{session: reception}]}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return load_dialplan(write_plan(tmp_path, PLAN))


def call_to(plan: Dialplan, number: str, trunk: str = "pbx") -> Call:
    facts = CallFacts(to=number, from_="+49301", at=NOON, trunk=trunk)
    return Call(plan=plan, actions=plan.decide(facts).actions, facts=facts, trunk=trunk)


def feed(call: Call, *events: e.Event, at: datetime = NOON) -> list[e.Command]:
    commands: list[e.Command] = []
    for event in events:
        commands = call.step(event, at)
    return commands


def asked(contact: str, **arguments: object) -> e.ToolAsked:
    return e.ToolAsked(call_id=f"c-{contact}", name="transfer", arguments={"contact": contact, **arguments})


def talking(plan: Dialplan, trunk: str = "pbx") -> Call:
    call = call_to(plan, "7000", trunk)
    feed(call, e.Started(), e.SessionOpened(), e.Established())
    assert call.state is CallState.TALKING
    return call


def test_a_warm_contacts_summary_is_asked_for_before_the_announcing_sentence_is_heard_out(plan: Dialplan) -> None:
    call = talking(plan)
    assert feed(call, asked("desk"))[0] == e.AskSummary(contact="desk", mode=TransferMode.WARM)
    music = e.PlayRinging(is_on=True, music=plan.contacts["desk"].music)
    assert feed(call, e.CallerSpoke()) == [e.BargeIn()]  # who interrupts it does not cancel the transfer
    assert feed(call, e.PlayoutEnded())[-2:] == [music, e.AwaitSummary()]
    assert isinstance(feed(call, e.SummaryReady())[0], e.CallTarget)
    feed(call, e.TargetProgressed(status=180), e.TargetAnswered(), e.WhisperEnded())
    feed(call, e.TargetPressed(digit="5"))
    feed(call, e.TransferReported(status=200, reason="OK", is_final=True))
    assert (call.state, call.notes.outcome) == (CallState.ENDED, e.Outcome.TRANSFERRED)


def test_contacts_who_are_told_nothing_ask_the_model_nothing(plan: Dialplan) -> None:
    call = talking(plan)
    assert not any(isinstance(command, e.AskSummary) for command in feed(call, asked("plain")))


def test_a_web_service_is_told_of_blind_transfers_too(plan: Dialplan) -> None:
    call = talking(plan)
    assert e.AskSummary(contact="told", mode=TransferMode.BLIND) in feed(call, asked("told"))
    assert any(isinstance(command, e.Refer) for command in feed(call, e.PlayoutEnded()))


def test_a_queue_is_the_pbxs_whatever_the_contacts_mode(plan: Dialplan) -> None:
    call = call_to(plan, "1")
    commands = feed(call, e.Started(), e.Established())
    assert [type(command) for command in commands[-1:]] == [e.Refer]
    assert not any(isinstance(command, e.AskSummary) for command in commands)


def test_an_action_names_the_number_of_a_contact_with_a_pattern(plan: Dialplan) -> None:
    call = call_to(plan, "2")
    [refer] = [command for command in feed(call, e.Started(), e.Established()) if isinstance(command, e.Refer)]
    assert str(refer.target) == "sip:4711"


def test_another_trunk_is_named_and_the_callers_own_is_not(plan: Dialplan) -> None:
    for trunk, named in (("pbx", "carrier"), ("carrier", None)):
        call = talking(plan, trunk)
        feed(call, asked("mobile"))
        [called] = [command for command in feed(call, e.PlayoutEnded()) if isinstance(command, e.CallTarget)]
        assert called.trunk == named
        feed(call, e.TargetAnswered())
        assert (call.state is CallState.JOINED) == (named is not None)


def test_a_caller_whom_nobody_takes_leaves_a_message_in_the_contacts_mailbox_and_the_model_is_out(
    plan: Dialplan,
) -> None:
    call = talking(plan)
    feed(call, asked("desk"), e.PlayoutEnded(), e.SummaryReady(), BUSY, e.SummaryReady())
    commands = feed(call, BUSY)
    assert e.CloseSession() in commands
    assert not any(isinstance(command, e.ReplyToTool | e.TellModel) for command in commands)
    assert call.state is CallState.ACTING


def test_outside_the_hours_the_mailbox_takes_the_caller_and_the_refusal_is_noted(plan: Dialplan) -> None:
    call = talking(plan)
    commands = feed(call, asked("shift"))
    assert isinstance(commands[0], e.NoteRefusedTransfer)
    assert commands[0].contact == "shift"
    assert e.CloseSession() in commands
    assert call.state is CallState.ACTING


def test_a_limit_is_no_reason_for_a_mailbox(plan: Dialplan) -> None:
    contacts = dict(plan.contacts)
    contacts["desk"] = replace(contacts["desk"], quota=replace(contacts["desk"].quota, per_call=0))
    call = talking(replace(plan, contacts=contacts))
    commands = feed(call, asked("desk"))
    assert isinstance(commands[-1], e.ReplyToTool)
    assert call.state is CallState.TALKING
