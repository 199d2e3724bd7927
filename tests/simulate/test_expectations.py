"""What a call has come to, beside what was expected: each word can fail, and says what is so."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from gateway.calls.events import Outcome
from gateway.dialplan.dialogue import OUTCOMES, Expected
from gateway.simulate.expectations import Facts, asked_for, missing

FACTS = Facts(
    route="day",
    session="reception",
    tools=("lookup", "note", "transfer"),
    escalations=("vip", "zero"),
    transfer="sales",
    messages=("Please call me back about my order",),
    voicemails=("night",),
    callbacks=("desk",),
    vars={"pin": "1234"},
    reject=None,
    outcome="transferred",
)


@pytest.mark.parametrize(
    "expected",
    [
        Expected(),
        Expected(route="day", session="reception"),
        Expected(tools=("lookup", "transfer")),
        Expected(escalation="zero"),
        Expected(transfer="sales", outcome="transferred"),
        Expected(message="call me back"),
        Expected(voicemail="night", callback="desk"),
        Expected(vars={"pin": "1234"}),
    ],
)
def test_what_is_so_is_not_missing(expected: Expected) -> None:
    assert missing(expected, FACTS) == []


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        (Expected(route="night"), "expected route night, but it is day"),
        (Expected(session="sales"), "expected session sales, but it is reception"),
        (
            Expected(tools=("transfer", "lookup")),
            "expected tools transfer, lookup, but the model used lookup, note, transfer",
        ),
        (
            Expected(tools=("lookup", "lookup")),
            "expected tools lookup, lookup, but the model used lookup, note, transfer",
        ),
        (Expected(escalation="down"), "expected escalation down, but vip, zero has fired"),
        (Expected(transfer="desk"), "expected transfer desk, but it is sales"),
        (
            Expected(message="a complaint"),
            "expected message 'a complaint', but there is 'Please call me back about my order'",
        ),
        (Expected(voicemail="desk"), "expected voicemail desk, but night has one"),
        (Expected(callback="night"), "expected callback night, but desk has one"),
        (Expected(vars={"pin": "9"}), "expected vars.pin '9', but it is '1234'"),
        (Expected(vars={"name": "x"}), "expected vars.name 'x', but it is not set"),
        (Expected(reject=603), "expected reject 603, but it was not refused"),
        (Expected(outcome="failed"), "expected outcome failed, but it is transferred"),
    ],
)
def test_what_is_not_so_is_told_with_what_is(expected: Expected, difference: str) -> None:
    assert missing(expected, FACTS) == [difference]


def test_nothing_at_all_has_words_of_its_own() -> None:
    everything = Expected(
        route="a",
        tools=("b",),
        escalation="c",
        transfer="d",
        message="e",
        voicemail="h",
        callback="i",
        vars={"f": "g"},
        reject=486,
        outcome="failed",
    )
    assert missing(everything, Facts()) == [
        "expected route a, but there is none",
        "expected reject 486, but it was not refused",
        "expected outcome failed, but the call goes on",
        "expected tools b, but the model used none",
        "expected escalation c, but none has fired",
        "expected transfer d, but the caller was not connected",
        "expected message 'e', but there is none",
        "expected voicemail h, but no mailbox has one",
        "expected callback i, but no mailbox has one",
        "expected vars.f 'g', but it is not set",
    ]


def test_a_contact_that_is_only_called_is_no_connection() -> None:
    facts = replace(FACTS, transfer=None, reached_for="sales", is_calling=True)
    assert missing(Expected(transfer="sales"), facts) == [
        "expected transfer sales, but the caller was not connected, sales is being called"
    ]


def test_each_word_can_be_asked_for() -> None:
    values = {"tools": ("x",), "vars": {"v": "1"}, "reject": 486}
    for field in fields(Expected):
        expected = Expected(**{field.name: values.get(field.name, "word")})
        assert asked_for(expected).startswith(field.name)
        assert missing(expected, Facts()) != []


def test_outcomes_are_those_of_records() -> None:
    assert list(OUTCOMES) == [outcome.value for outcome in Outcome]
