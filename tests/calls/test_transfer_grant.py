"""Which transfers are granted, and which the caller has to confirm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.transfer_grant import TransferGrants, TransferLimits
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
