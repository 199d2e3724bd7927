"""Messages that mean harm or nothing: each has its exact answer, none costs, tells or leaves more than it may.

The promises are S1 (accepted, refused or dropped, in bounded time), S6 and X6 (no rights, calls or transfers by what
anybody writes), S15 (nothing is sent to third parties, and little to anybody) and S17 (nothing raw in logs).
"""

from __future__ import annotations

import pytest

from gateway.errors import shown
from gateway.sip.events import CallOffered
from tests.support.ordeal import Case, Ordeal, assert_alive, assert_clean, assert_harmless, cases, undergo
from tests.support.wire import STRANGER

CASES = cases("hostile")
CALLS = [case for case in CASES if case.expected in {"offered", "unagreed", "muted"}]


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def offered(name: str) -> CallOffered:
    (event,) = Ordeal().feed(named(name).data).events
    assert isinstance(event, CallOffered)
    return event


def test_the_set_is_whole() -> None:
    assert len(CASES) >= 390
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.data for case in CASES}) == len(CASES)
    assert sum(case.name.startswith("sdp-") for case in CASES) >= 87
    assert sum(case.name.startswith("identity-") for case in CASES) >= 16


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_has_its_exact_answer_and_harms_nobody(case: Case) -> None:
    undergo(Ordeal(), case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_stranger_who_sends_it_gets_nothing_and_costs_nothing(case: Case) -> None:
    ordeal = Ordeal()
    agent = ordeal.gateway.user_agent
    ordeal.gateway.receive_datagram(case.data, STRANGER, ordeal.now)
    assert ordeal.gateway.datagrams_to_send() == []
    assert ordeal.gateway.seen == []
    assert (agent.transaction_count, agent.leg_count) == (0, 0)
    assert agent.counters.last_malformed == ""  # nobody has read it


def test_one_gateway_stands_them_all_one_after_the_other() -> None:
    ordeal = Ordeal()
    for case in CASES:
        ordeal.now += 0.1
        assert_harmless(ordeal.feed(case.data), case.data)
    ordeal.now += 1
    assert_alive(ordeal)
    ordeal.wait()
    agent = ordeal.gateway.user_agent
    assert (agent.leg_count, agent.transaction_count) == (0, 0)


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name)
def test_a_name_of_a_caller_is_shown_without_control_characters(case: Case) -> None:
    (event,) = Ordeal().feed(case.data).events
    assert isinstance(event, CallOffered)
    assert_clean(
        [
            shown(text)
            for text in (event.from_.display_name, event.from_.uri.unescaped_user, event.request_uri.unescaped_user)
        ]
        + [shown(value) for _, value in event.headers]
    )


@pytest.mark.parametrize("name", [case.name for case in CASES if case.name.startswith("identity-")])
def test_identity_is_kept_as_it_came(name: str) -> None:
    """Nobody verifies it here; who wants to gets all of it."""
    lines = [line for line in named(name).data.split(b"\r\n") if line.startswith(b"Identity:")]
    assert offered(name).headers.get_all("Identity") == [
        line.removeprefix(b"Identity:").strip().decode() for line in lines
    ]


def test_a_blank_before_the_colon_makes_no_other_header() -> None:
    """AST-2016-009: who reads names with their blanks takes the sender for somebody else."""
    assert offered("blank-before-colon-from").from_.tag == "pbx-bbc-from"


def test_the_first_of_two_tags_counts() -> None:
    assert offered("from-tag-twice").from_.tag == "1"


def test_escaped_line_breaks_stay_escaped() -> None:
    event = offered("uri-crlf-user")
    assert "\r\nVia: evil" in event.request_uri.unescaped_user
    assert "\n" not in str(event.request_uri)


def test_what_stands_behind_the_body_is_no_message() -> None:
    outcome = Ordeal().feed(named("length-smuggle").data)
    assert outcome.events == ()
    assert len(outcome.sent) == 1
