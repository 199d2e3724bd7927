"""Who has a number at the simulated PBX, and what they do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.calls.events import Outcome
from gateway.calls.record import CallRecord
from gateway.calls.transfers.state import TransferState
from gateway.cli.dialogue_stage import Witness, extension_of
from gateway.dialplan.dialogue import Behaviour, Dialogue
from gateway.dialplan.model import Dialplan
from gateway.simulate.pbx import Extension
from tests.support.plans import load_plan

PLAN = """\
version: 1
name: acme
timezone: UTC
contacts:
  sales: {dial: ["sip:6001", "sip:6002"], accept: {key: "5", refuse: "6"}}
  desk: {dial: ["6001"]}
  boss: {dial: ["tel:+49-30-123"]}
  anyone: {pattern: "/2[0-9]{2}/"}
sessions:
  reception: {use: default, tools: [transfer]}
routes:
  - {name: all, do: [{session: reception}]}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Dialplan:
    return load_plan(tmp_path, PLAN)


def test_contacts_take_calls_unless_the_dialogue_says_otherwise(plan: Dialplan) -> None:
    found = extension_of(plan, Dialogue(turns=()), "+4930123")
    assert found == Extension(contact="boss", behaviour=Behaviour.ACCEPTS)


def test_each_target_does_what_stands_at_its_place(plan: Dialplan) -> None:
    dialogue = Dialogue(turns=(), contacts={"sales": (Behaviour.BUSY, Behaviour.REFUSES)})
    first, second = (extension_of(plan, dialogue, number) for number in ("6001", "6002"))
    assert first == Extension(contact="sales", behaviour=Behaviour.BUSY, accept_key="5", refuse_key="6")
    assert second is not None
    assert second.behaviour is Behaviour.REFUSES


def test_the_last_word_holds_for_all_targets_behind_it(plan: Dialplan) -> None:
    found = extension_of(plan, Dialogue(turns=(), contacts={"sales": (Behaviour.BUSY,)}), "6002")
    assert found is not None
    assert found.behaviour is Behaviour.BUSY


def test_of_contacts_with_one_number_the_one_counts_that_is_spoken_of(plan: Dialplan) -> None:
    found = extension_of(plan, Dialogue(turns=(), contacts={"desk": (Behaviour.NO_ANSWER,)}), "6001")
    assert found == Extension(contact="desk", behaviour=Behaviour.NO_ANSWER)


def test_a_pattern_has_all_its_numbers_and_nobody_the_others(plan: Dialplan) -> None:
    found = extension_of(plan, Dialogue(turns=()), "234")
    assert found is not None
    assert found.contact == "anyone"
    assert extension_of(plan, Dialogue(turns=()), "9999") is None


@pytest.mark.parametrize(
    ("state", "outcome", "is_calling"),
    [
        (TransferState.RINGING, None, True),
        (TransferState.WHISPERING, None, True),
        (TransferState.ANSWERED, None, True),
        (TransferState.BRIDGED, None, False),
        (TransferState.FAILED, None, False),
        (TransferState.WHISPERING, Outcome.CALLER_HUNG_UP, False),
        (None, None, False),
    ],
)
def test_a_contact_is_being_called_until_it_is_known_what_becomes_of_it(
    plan: Dialplan, state: TransferState | None, outcome: Outcome | None, is_calling: bool
) -> None:
    record = CallRecord(
        call_id="c", trunk="pbx", caller="1", called="2", route="all", started_at=datetime.now(UTC), offered_s=0
    )
    record.transfer_state, record.transfer_target, record.outcome = state, "sales", outcome
    assert Witness(plan, record=record).facts().is_calling is is_calling
