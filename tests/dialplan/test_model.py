"""Decisions, reactions, transfers, tools and instructions of a loaded plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.actions import (
    Action,
    AnswerLength,
    AnswersAction,
    HangUpAction,
    PlayAction,
    RecordingAction,
    RecordingChange,
    RejectAction,
    SessionAction,
    TransferAction,
)
from gateway.dialplan.contacts import TransferMode
from gateway.dialplan.model import (
    NO_ROUTE,
    CallFacts,
    Consent,
    Dialplan,
    RecordPlan,
    RefusalReason,
    SessionLimits,
    TransferGranted,
    TransferRefused,
)
from gateway.dialplan.triggers import BudgetUsed, CostOver, DigitPressed, ProviderDown, Trigger
from tests.support.plans import PLAN, load_plan

OPEN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)  # Friday, 10:00 in Berlin
CLOSED = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Dialplan:
    return load_plan(tmp_path_factory.mktemp("plan"))


def facts(to: str = "7000", from_: str = "+49301", at: datetime = OPEN, **more: str) -> CallFacts:
    headers = {"x-queue": "Gold"} if more.get("trunk") else {}
    return CallFacts(to=to, from_=from_, at=at, headers=headers, **more)


# Decisions.


def test_the_first_route_that_matches_wins(plan: Dialplan) -> None:
    decision = plan.decide(facts(from_="+49 90 1", trunk="pbx"))
    assert (decision.route, decision.actions) == ("blocked", (RejectAction(status=603),))
    assert plan.decide(facts(trunk="pbx")).actions == (TransferAction(contact="sales"), SessionAction(name="reception"))


def test_actions_keep_their_order_and_files_their_folder(plan: Dialplan) -> None:
    played = PlayAction(file=plan.file.parent / "closed.wav")
    assert plan.decide(facts(at=CLOSED)).actions == (played, HangUpAction())


def test_a_call_that_no_route_takes_is_not_found(plan: Dialplan) -> None:
    decision = plan.decide(facts(to="8000"))
    assert (decision.route, decision.is_routed) == (NO_ROUTE, False)
    assert decision.actions == (RejectAction(status=404),)
    assert [rule.matched for rule in decision.trace] == [False, False, False]


def test_the_trace_has_every_route_tried_and_each_criterion(plan: Dialplan) -> None:
    blocked, day, closed = (
        plan.decide(facts(at=CLOSED, trunk="lab", from_="")).trace[:1]
        + plan.decide(facts(at=CLOSED, trunk="lab")).trace[1:]
    )
    assert (blocked.matched, blocked.reason) == (True, "from is withheld and matches anonymous")
    assert [(c.criterion, c.matched) for c in day.criteria] == [
        ("to", True),
        ("trunk", False),
        ("header X-Queue", True),
        ("hours", False),
    ]
    assert day.reason == "trunk lab is not pbx; office is closed on fri 2026-11-20 18:00 (fri: 09:00-17:30)"
    assert (closed.matched, closed.reason) == (True, "to 7000 matches /7[0-9]{3}/")


def test_the_trace_ends_with_the_chosen_route(plan: Dialplan) -> None:
    assert [rule.route for rule in plan.decide(facts(from_="anonymous")).trace] == ["blocked"]


def test_a_missing_header_and_trunk_are_told(plan: Dialplan) -> None:
    reason = plan.decide(facts()).trace[1].reason
    assert reason == "the trunk is not known; it has to be pbx; header X-Queue is missing"


def test_text_of_callers_is_shown_on_one_line(plan: Dialplan) -> None:
    reasons = [rule.reason for rule in plan.decide(facts(to="x\r\ny" + "z" * 500)).trace]
    assert all(reason.isprintable() and len(reason) < 300 for reason in reasons)


def test_a_decision_is_the_same_in_every_zone(plan: Dialplan) -> None:
    here = plan.decide(facts(trunk="pbx"))
    assert here == plan.decide(facts(trunk="pbx", at=OPEN.astimezone(plan.zone)))


def test_facts_need_an_aware_time() -> None:
    with pytest.raises(ValueError, match="time zone"):
        facts(at=OPEN.replace(tzinfo=None))


# Reactions.


def test_events_find_their_escalation(plan: Dialplan) -> None:
    zero, down = plan.react(DigitPressed("0")), plan.react(ProviderDown())
    assert zero is not None
    assert down is not None
    assert (zero.name, zero.actions) == ("zero", (TransferAction(contact="desk"),))
    assert (down.name, down.actions) == ("down", (RejectAction(status=503, reason="Busy"),))
    assert plan.react(DigitPressed("1")) is None


# Transfers.


def test_a_contact_resolves_to_its_targets_in_order(plan: Dialplan) -> None:
    granted = plan.resolve_transfer("desk", OPEN)
    assert isinstance(granted, TransferGranted)
    assert ([str(target) for target in granted.targets], granted.ring_s) == (["sip:6001", "tel:+49301234"], 15.0)
    assert granted.mode is TransferMode.BLIND


def test_a_contact_may_ask_for_attended_transfers(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN.replace("ring: 15s", "mode: attended"))
    attended = [name for name, contact in plan.contacts.items() if contact.mode is TransferMode.ATTENDED]
    granted = plan.resolve_transfer(attended[0], OPEN)
    assert isinstance(granted, TransferGranted)
    assert granted.mode is TransferMode.ATTENDED


def test_outside_its_hours_the_stand_in_is_called(plan: Dialplan) -> None:
    by_day, by_night = plan.resolve_transfer("sales", OPEN), plan.resolve_transfer("sales", CLOSED)
    assert isinstance(by_day, TransferGranted)
    assert isinstance(by_night, TransferGranted)
    assert (by_day.contact, by_night.contact, by_night.asked) == ("sales", "desk", "sales")


def test_a_closed_contact_without_stand_in_is_refused(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN.replace(", else: desk", ""))
    refused = plan.resolve_transfer("sales", CLOSED)
    assert isinstance(refused, TransferRefused)
    assert refused.reason is RefusalReason.CLOSED


@pytest.mark.parametrize(
    "asked", ["6001", "sip:6001", "Sales", "sales ", "", "tel:+49301234", "sales\n", "desk;x", "*"]
)
def test_numbers_and_near_names_are_refused(plan: Dialplan, asked: str) -> None:
    refused = plan.resolve_transfer(asked, OPEN)
    assert isinstance(refused, TransferRefused)
    assert refused.reason is RefusalReason.UNKNOWN_CONTACT
    assert refused.message.endswith("The contacts are: sales, desk.")


@pytest.mark.heavy
@settings(max_examples=10_000)
@given(
    asked=st.text(max_size=20)
    | st.text(alphabet="+0123456789*#", max_size=15)
    | st.text(alphabet="salesdk ;\n@:ip", max_size=8)
    | st.sampled_from(["sales", "desk", "SALES", "sip:sales", "sales,desk"])
)
def test_nothing_but_the_exact_name_of_a_contact_ever_resolves(plan: Dialplan, asked: str) -> None:
    assert isinstance(plan.resolve_transfer(asked, OPEN), TransferGranted) is (asked in ("sales", "desk"))


# Tools and instructions.


def test_the_transfer_tool_offers_exactly_the_contacts(plan: Dialplan) -> None:
    tool = plan.transfer_tool("reception", OPEN)
    assert tool is not None
    assert tool.name == "transfer"
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "contact": {"type": "string", "enum": ["sales", "desk"], "description": "- sales: Orders\n- desk"}
        },
        "required": ["contact"],
        "additionalProperties": False,
    }


def test_the_transfer_tool_says_who_is_closed(plan: Dialplan, tmp_path: Path) -> None:
    assert "sales: Orders (closed now, desk takes the call)" in str(plan.transfer_tool("reception", CLOSED))
    alone = load_plan(tmp_path, PLAN.replace(", else: desk", ""))
    assert "sales: Orders (closed now, cannot be reached)" in str(alone.transfer_tool("reception", CLOSED))


def test_a_session_has_the_tools_the_plan_gives_it(plan: Dialplan, tmp_path: Path) -> None:
    assert [tool.name for tool in plan.tools("reception", OPEN)] == ["transfer", "hang_up"]
    assert load_plan(tmp_path, PLAN.replace("    tools: [transfer, hang_up]\n", "")).tools("reception", OPEN) == ()


def test_instructions_are_filled_in_for_the_call(tmp_path: Path) -> None:
    text = "{caller.name}|{caller.number}|{called.number}|{now}|{dialplan.name}|{contacts}"
    plan = load_plan(tmp_path, PLAN.replace("You are {dialplan.name}.", f'"{text}"'))
    call = facts(display_name='Eve" {now}')
    assert plan.instructions("reception", call) == (
        '"Eve\' {now}"|"+49301"|"7000"|Friday 2026-11-20 10:00 (Europe/Berlin)|acme|- sales: Orders\n- desk'
    )


def test_what_a_caller_withholds_is_named_so(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN.replace("You are {dialplan.name}.", '"{caller.name}|{caller.number}"'))
    assert plan.instructions("reception", facts(from_="Anonymous")) == "unknown|withheld"


def test_a_session_without_instructions_leaves_them_to_the_configuration(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN.replace("    instructions: You are {dialplan.name}.\n", ""))
    assert plan.instructions("reception", facts()) is None


def test_instructions_can_be_a_file_beside_the_plan(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "r.md").write_text("Be {dialplan.name}, ümläut.\n", encoding="utf-8")
    plan = load_plan(tmp_path, PLAN.replace("You are {dialplan.name}.", "prompts/r.md"))
    assert plan.instructions("reception", facts()) == "Be acme, ümläut.\n"


def test_names_of_the_configuration_are_checked_against_it(plan: Dialplan) -> None:
    assert plan.check_references(["default"], ["pbx"]) == ()
    found = [
        str(problem).removeprefix(f"{plan.file}:") for problem in plan.check_references(["defualt"], ["lab", "pbx2"])
    ]
    assert found == [
        "11:10: the configuration has no realtime session 'default' (did you mean 'defualt'?)",
        "20:47: the configuration has no trunk 'pbx' (did you mean 'pbx2'?)",
    ]


def recording(folder: Path, record: str, escalation: str = "{transfer: desk}") -> Dialplan:
    text = PLAN.replace("greeting: Hello.", f"record: {record}").replace("{transfer: desk}", escalation)
    return load_plan(folder, text)


def test_nobody_is_recorded_unless_the_plan_says_so(plan: Dialplan) -> None:
    assert plan.sessions["reception"].record is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("{consent: given}", RecordPlan(consent=Consent.GIVEN)),
        ("{consent: announce, play: closed.wav}", RecordPlan(consent=Consent.ANNOUNCE, play=Path("closed.wav"))),
        (
            '{consent: ask, play: closed.wav, agree: "*", decline: a, wait: 5s, contacts: true}',
            RecordPlan(
                consent=Consent.ASK, play=Path("closed.wav"), agree="*", decline="A", wait_s=5, has_contacts=True
            ),
        ),
    ],
)
def test_a_session_says_how_callers_agree_to_be_recorded(tmp_path: Path, record: str, expected: RecordPlan) -> None:
    made = recording(tmp_path, record).sessions["reception"].record
    assert made is not None
    assert made.play in (None, tmp_path / "closed.wav")
    assert replace(made, play=expected.play) == expected


def test_a_plan_that_records_needs_a_folder_in_the_configuration(tmp_path: Path) -> None:
    plan = recording(tmp_path, "{consent: given}")
    assert plan.check_references(["default"], ["pbx"], keeps_recordings=True) == ()
    (problem,) = plan.check_references(["default"], ["pbx"], keeps_recordings=False)
    assert str(problem) == (
        f"{plan.file}:12:5: the configuration keeps no recordings (expected records.recordings.folder there)"
    )


def test_a_key_can_interrupt_the_recording(tmp_path: Path) -> None:
    plan = recording(tmp_path, "{consent: given}", "{recording: pause}")
    escalation = plan.react(DigitPressed("0"))
    assert escalation is not None
    assert escalation.actions == (RecordingAction(change=RecordingChange.PAUSE),)


SPENDING = """  - {name: dear, when: {budget: 80%}, do: [{answers: short}]}
  - {name: dearer, when: {cost_over: 0.80}, do: [{transfer: desk}]}
  - {name: spent, when: {budget: 100%}, do: [{reject: 480}]}
tests:
"""


def spending(folder: Path, limits: str = "{minutes: 2.5, money: 0.80}") -> Dialplan:
    text = PLAN.replace("greeting: Hello.", f"limits: {limits}").replace("tests:\n", SPENDING)
    return load_plan(folder, text)


def test_a_session_says_what_one_call_may_spend_in_it(plan: Dialplan, tmp_path: Path) -> None:
    assert plan.sessions["reception"].limits == SessionLimits()
    limited = spending(tmp_path).sessions["reception"].limits
    assert limited == SessionLimits(minutes=2.5, money=Decimal("0.80"))


@pytest.mark.parametrize(
    ("event", "actions"),
    [
        (BudgetUsed(0.8), (AnswersAction(length=AnswerLength.SHORT),)),
        (CostOver(Decimal("0.8")), (TransferAction(contact="desk"),)),
        (BudgetUsed(1.0), (RejectAction(status=480),)),
        (BudgetUsed(0.5), None),
        (CostOver(Decimal(1)), None),
    ],
)
def test_escalations_wait_for_what_is_spent(tmp_path: Path, event: Trigger, actions: tuple[Action, ...] | None) -> None:
    escalation = spending(tmp_path).react(event)
    assert (escalation.actions if escalation else None) == actions


def test_a_plan_that_counts_money_needs_to_know_the_price(tmp_path: Path) -> None:
    plan = spending(tmp_path)
    assert plan.check_references(["default"], ["pbx"]) == ()
    problems = plan.check_references(["default"], ["pbx"], unpriced=["default", "other"])
    what = "the configuration does not know what realtime session 'default' costs, its model or its transcription"
    remedy = "(expected realtime.default.prices there, see docs/budget.md)"
    assert [str(problem) for problem in problems] == [
        f"{plan.file}:12:35: {what} {remedy}",
        f"{plan.file}:29:38: {what} {remedy}",
    ]
