"""What a caller's agreement to be recorded permits."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.calls import events as e
from gateway.calls.agreement import NO_LONGER_ASKING, RecordingAgreement
from gateway.calls.events import RecordingConsent
from gateway.dialplan.actions import RecordingChange
from gateway.dialplan.model import Consent, RecordPlan

ASK = RecordPlan(consent=Consent.ASK, play=Path("ask.wav"), agree="1", decline="2")
ANNOUNCE = RecordPlan(consent=Consent.ANNOUNCE, play=Path("told.wav"))
GIVEN = RecordPlan(consent=Consent.GIVEN)


def agreement(consent: RecordingConsent | None = None) -> RecordingAgreement:
    return RecordingAgreement(e.CallNotes(consent=consent))


def test_who_has_not_decided_hears_the_question_first() -> None:
    assert agreement().question(ASK) == Path("ask.wav")
    assert agreement(RecordingConsent.DECLINED).question(ASK) is None
    assert agreement().question(None) is None


def test_who_agreed_elsewhere_is_recorded_at_once() -> None:
    given = agreement()
    assert (given.question(GIVEN), given.begin(GIVEN)) == (None, [e.StartRecording()])


def test_only_the_two_keys_of_a_question_answer_it() -> None:
    asked = agreement()
    answers = [asked.answer(digit, ASK) for digit in "123"]
    assert answers == [RecordingConsent.AGREED, RecordingConsent.DECLINED, None]
    assert asked.answer("1", ANNOUNCE) is None


@pytest.mark.parametrize("consent", list(RecordingConsent))
def test_a_recording_begins_only_where_consent_was_granted(consent: RecordingConsent) -> None:
    recorded = [e.StartRecording()] if consent.is_granted else []
    assert agreement().settle(consent) == [*NO_LONGER_ASKING, *recorded]


def test_a_recording_begins_and_ends_once() -> None:
    agreed = agreement(RecordingConsent.AGREED)
    assert [agreed.begin(ASK), agreed.begin(ASK)] == [[e.StartRecording()], []]
    assert [agreed.stop("over"), agreed.stop("over")] == [[e.StopRecording(why="over")], []]


def test_a_consent_that_was_withdrawn_is_not_asked_for_again() -> None:
    agreed = agreement(RecordingConsent.AGREED)
    agreed.begin(ASK)
    agreed.change(RecordingChange.STOP)
    assert (agreed.question(ASK), agreed.begin(ASK)) == (None, [])


def test_nothing_is_paused_where_nothing_is_recorded() -> None:
    assert agreement(RecordingConsent.DECLINED).change(RecordingChange.PAUSE) == []


@pytest.mark.parametrize("has_contacts", [True, False])
def test_a_contact_is_recorded_only_where_the_dialplan_says_so(has_contacts: bool) -> None:
    record = RecordPlan(consent=Consent.GIVEN, has_contacts=has_contacts)
    agreed = agreement(RecordingConsent.GIVEN)
    agreed.begin(record)
    assert (agreed.join_contact(record) == []) is has_contacts
