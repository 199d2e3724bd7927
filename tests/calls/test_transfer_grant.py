"""Which transfers are granted, and which the caller has to confirm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.calls import events as e
from gateway.calls.transfers.grant import TransferGrants, TransferLimits
from gateway.dialplan.contacts import TransferMode
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan, TransferGranted
from tests.support.plans import write_plan

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLAN = """
version: 1
name: test
timezone: UTC
contacts:
  sales: {dial: [sip:6001, sip:6002]}
  boss: {dial: [sip:6003], confirm: true}
sessions:
  reception: {use: default, tools: [transfer]}
routes:
  - {name: talk, do: [{session: reception}]}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return load_dialplan(write_plan(tmp_path, PLAN))


def asked(turn: int, *, confirmed: bool = False) -> e.ToolAsked:
    return e.ToolAsked(call_id="c", name="transfer", arguments={"confirmed": confirmed}, response_id="r", turn=turn)


def test_a_target_that_leads_back_to_us_is_left_out(plan: Dialplan) -> None:
    granted = TransferGrants(plan, TransferLimits(), {"6001"}).grant("sales", NOON)
    assert isinstance(granted, TransferGranted)
    assert [target.user for target in granted.targets] == ["6002"]
    assert "leads back" in str(TransferGrants(plan, TransferLimits(), {"6003"}).grant("boss", NOON))


def test_only_transfers_that_were_granted_count(plan: Dialplan) -> None:
    grants = TransferGrants(plan, TransferLimits(per_call=1), ())
    assert isinstance(grants.grant("nobody", NOON), str)
    assert isinstance(grants.grant("sales", NOON), TransferGranted)
    assert "limits.transfers_per_call" in str(grants.grant("sales", NOON))


def test_what_the_call_may_not_do_is_not_taken_from_the_caller(plan: Dialplan) -> None:
    taken: list[bool] = []
    grants = TransferGrants(plan, TransferLimits(per_call=0, take=lambda: not taken.append(True)), ())
    assert isinstance(grants.grant("sales", NOON), str)
    assert taken == []


def test_nothing_is_granted_any_more_while_the_gateway_is_shut_down(plan: Dialplan) -> None:
    grants = TransferGrants(plan, TransferLimits(), ())
    grants.drain()
    assert grants.grant("sales", NOON) == "this gateway is being shut down"


def test_words_that_are_no_contact_are_kept_out_of_the_log(plan: Dialplan) -> None:
    grants = TransferGrants(plan, TransferLimits(), ())
    assert grants.note("sales", "why") == e.NoteRefusedTransfer(contact="sales", reason="why")
    assert grants.note("my secret", "my secret").contact == ""
    assert "secret" not in grants.note("my secret", "my secret").reason


def test_a_yes_counts_once_and_only_in_a_later_turn(plan: Dialplan) -> None:
    grants = TransferGrants(plan, TransferLimits(), ())
    has_to_ask = [
        grants.has_to_ask("boss", asked(turn, confirmed=confirmed), NOON)
        for turn, confirmed in ((1, True), (1, False), (1, True), (2, True), (2, True))
    ]
    assert has_to_ask == [True, True, True, False, True]
    assert not grants.has_to_ask("sales", asked(1), NOON)


def test_a_key_may_be_the_callers_yes(plan: Dialplan) -> None:
    grants = TransferGrants(plan, TransferLimits(), ())
    grants.has_to_ask("boss", asked(1), NOON)
    grants.note_key()
    assert not grants.has_to_ask("boss", asked(1, confirmed=True), NOON)


def test_somebody_else_on_the_line_is_asked_anew(plan: Dialplan) -> None:
    grants = TransferGrants(plan, TransferLimits(), ())
    grants.has_to_ask("boss", asked(1), NOON)
    grants.forget_caller()
    assert grants.has_to_ask("boss", asked(2, confirmed=True), NOON)


# Contacts with a pattern, other trunks, quotas.

NUMBERED = PLAN.replace(
    "sessions:",
    """\
  staff: {pattern: "/[1-7][0-9]{3}/", description: extensions}
  mobile: {pattern: "+4917*", confirm: true}
  abroad: {dial: [sip:6009], trunk: carrier, mode: attended, quota: {per_call: 1, per_hour: 2}}
  shift: {dial: [sip:6010], when: office, else: night}
hours:
  office: {mon-fri: "09:00-11:00"}
mailboxes:
  night: {beep: true, transcript: false}
sessions:""",
)


@pytest.fixture
def numbered(tmp_path: Path) -> Dialplan:
    return load_dialplan(write_plan(tmp_path, NUMBERED))


def dialled(granted: TransferGranted | str) -> list[str]:
    return [] if isinstance(granted, str) else [str(target) for target in granted.targets]


def grants_of(plan: Dialplan, trunk: str = "pbx", **limits: Any) -> TransferGrants:
    return TransferGrants(plan, TransferLimits(per_call=1000, **limits), {"7000", "+4930123"}, trunk)


@pytest.mark.parametrize(
    ("contact", "number", "targets"),
    [
        ("staff", "6001", ["sip:6001"]),
        ("staff", "16001", []),
        ("staff", "6001 ", []),
        ("staff", "6001\n", []),
        ("staff", "٦٠٠١", []),
        ("staff", "sip:6001", []),
        ("staff", "+6001", []),
        ("staff", "6001;user=phone", []),
        ("staff", "", []),
        ("mobile", "+49171234567", ["tel:+49171234567"]),
        ("mobile", "+4930123", []),
        ("mobile", "+4917" + "1" * 30, []),
        ("sales", "6003", ["sip:6001", "sip:6002"]),
    ],
)
def test_a_pattern_takes_digits_as_a_whole_and_other_contacts_no_number(
    numbered: Dialplan, contact: str, number: str, targets: list[str]
) -> None:
    granted = grants_of(numbered).grant(contact, NOON, number)
    assert dialled(granted) == targets
    assert targets or "takes other numbers" in str(granted)


@pytest.mark.parametrize(
    ("pattern", "is_dialled"),
    [("/.+/", False), ("/.*30123/", False), ("/[+]49[0-9]+/", True), ("/\\\\+49[0-9]+/", True), ("+49*", True)],
)
def test_a_plus_is_dialled_only_where_the_pattern_means_one(tmp_path: Path, pattern: str, is_dialled: bool) -> None:
    plan = load_dialplan(write_plan(tmp_path, NUMBERED.replace('"/[1-7][0-9]{3}/"', f'"{pattern}"')))
    grants = TransferGrants(plan, TransferLimits(), ())
    assert dialled(grants.grant("staff", NOON, "+4930123")) == (["tel:+4930123"] if is_dialled else [])


def test_a_number_of_our_own_is_not_dialled_however_it_is_written(numbered: Dialplan) -> None:
    assert "leads back" in str(grants_of(numbered).grant("staff", NOON, "7000"))
    for number in ("+49171234567", "0049171234567", "49171234567", "0171234567", "171234567", "01149171234567"):
        own = TransferGrants(numbered, TransferLimits(), {number})
        assert "leads back" in str(own.grant("mobile", NOON, "+49171234567")), number
        assert dialled(own.grant("staff", NOON, "4567")) == ["sip:4567"], "an extension is no end of a number"
    assert dialled(
        TransferGrants(numbered, TransferLimits(), {"+49171234568", ""}).grant("mobile", NOON, "+49171234567")
    )


def test_a_yes_to_one_number_is_none_to_another(numbered: Dialplan) -> None:
    def asks(number: str, turn: int) -> e.ToolAsked:
        arguments = {"confirmed": True, "number": number}
        return e.ToolAsked(call_id="c", name="transfer", arguments=arguments, response_id="r", turn=turn)

    grants = grants_of(numbered)
    assert grants.has_to_ask("mobile", asks("+49171111111", 1), NOON)
    assert grants.has_to_ask("mobile", asks("+49172222222", 2), NOON)
    assert not grants.has_to_ask("mobile", asks("+49171111111", 2), NOON)


def test_a_contact_is_called_as_often_as_its_quota_says_and_refusals_do_not_count(numbered: Dialplan) -> None:
    counted: list[str] = []
    has_room = {"abroad": True}
    grants = grants_of(numbered, has_room=lambda contact, _per_hour: has_room[contact], count=counted.append)
    assert dialled(grants.grant("abroad", NOON)) == ["sip:6009"]
    assert "quota.per_call" in str(grants.grant("abroad", NOON))
    has_room["abroad"] = False
    assert "quota.per_hour" in str(grants_of(numbered, has_room=lambda c, _p: has_room[c]).grant("abroad", NOON))
    assert counted == ["abroad"]


def test_what_a_contacts_quota_refuses_is_not_taken_from_the_caller(numbered: Dialplan) -> None:
    taken: list[bool] = []
    grants = grants_of(numbered, has_room=lambda *_: False, take=lambda: not taken.append(True))
    assert isinstance(grants.grant("abroad", NOON), str)
    assert taken == []


def test_a_queue_of_another_trunk_is_refused_since_no_pbx_can_put_the_caller_there(numbered: Dialplan) -> None:
    assert "another trunk" in str(grants_of(numbered).grant("abroad", NOON, is_queue=True))
    granted = grants_of(numbered, trunk="carrier").grant("abroad", NOON, is_queue=True)
    assert isinstance(granted, TransferGranted)
    assert granted.mode is TransferMode.BLIND


def test_outside_its_hours_a_contacts_mailbox_takes_the_caller(numbered: Dialplan) -> None:
    assert grants_of(numbered).mailbox("shift", NOON) == "night"
    assert grants_of(numbered).mailbox("shift", NOON.replace(hour=10)) is None
    assert grants_of(numbered).mailbox("nobody", NOON) is None
