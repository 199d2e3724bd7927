"""IPv6 in SIP: the cases of RFC 5118, section by section, by a gateway and a PBX that have IPv6 alone."""

from __future__ import annotations

import csv
from ipaddress import IPv6Address

import pytest

from gateway.sip.events import CallOffered
from gateway.sip.hop import Hop
from gateway.sip.message import Request, parse_message
from tests.support.ordeal import DATA, Case, Ordeal, Outcome, cases, undergo

GATEWAY = Hop("2001:db8::10", 5060)
PBX = Hop("2001:db8::9:1", 5060)
CASES = cases("rfc5118")


def feed(name: str) -> tuple[Request, Outcome]:
    """A message of the set, and what it leads to."""
    data = next(case.data for case in CASES if case.name == name)
    message = parse_message(data)
    assert isinstance(message, Request)
    return message, Ordeal(GATEWAY, PBX).feed(data)


def offered(name: str) -> CallOffered:
    _, outcome = feed(name)
    (event,) = outcome.events
    assert isinstance(event, CallOffered)
    return event


def test_no_section_is_left_out() -> None:
    with (DATA / "rfc5118" / "index.csv").open(newline="", encoding="utf-8") as index:
        sections = {row["section"] for row in csv.DictReader(index)}
    assert sections == {f"4.{number}" for number in range(1, 11)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_answered_taken_or_dropped_as_the_rfc_says(case: Case) -> None:
    undergo(Ordeal(GATEWAY, PBX), case)


def test_a_reference_is_known_without_its_brackets_and_printed_with_them() -> None:
    message, _ = feed("reference-invite")
    assert (message.uri.host, message.top_via.host) == ("2001:db8::10", "2001:db8::9:1")
    assert message.contacts[0].uri.host == "2001:db8::1"
    assert str(message.contacts[0].uri) == "sip:caller@[2001:db8::1]"
    assert str(message.top_via).startswith("SIP/2.0/UDP [2001:db8::9:1];branch=")


def test_digits_behind_the_last_colon_within_brackets_are_no_port() -> None:
    message, _ = feed("port-ambiguous-options")
    assert (message.uri.host, message.uri.port) == ("2001:db8::10:5070", None)
    message, _ = feed("port-options")
    assert (message.uri.host, message.uri.port) == ("2001:db8::10", 5070)


@pytest.mark.parametrize("name", ["received-brackets", "received-bare"])
def test_received_is_taken_in_both_forms(name: str) -> None:
    message, _ = feed(name)
    assert message.top_via.received == "2001:db8::9:255"


def test_received_names_the_true_source_without_brackets() -> None:
    _, outcome = feed("received-rport")
    assert ";received=2001:db8::9:1;rport=5060" in (outcome.header("Via") or "")


def test_every_via_goes_back_as_it_came() -> None:
    message, outcome = feed("several-addresses")
    answer = parse_message(outcome.sent[0])
    assert answer.vias == message.vias
    assert [via.host for via in answer.vias] == ["2001:db8::9:1", "192.0.2.1", "2001:db8::9:255"]


def test_addresses_of_media_stand_without_brackets() -> None:
    offer = offered("sdp").offer
    assert offer is not None
    assert (offer.connection, offer.origin.address) == ("2001:db8::20", "2001:db8::20")


def test_each_medium_may_have_an_address_of_another_family() -> None:
    offer = offered("sdp-several").offer
    assert offer is not None
    assert [media.connection for media in offer.media] == ["2001:db8::1", "192.0.2.1"]


def test_a_mapped_address_is_kept_as_it_is() -> None:
    event = offered("mapped")
    assert event.offer is not None
    assert IPv6Address(event.offer.connection or "").ipv4_mapped is not None
    message, _ = feed("mapped")
    assert [via.host for via in message.vias] == ["::ffff:192.0.2.10", "::ffff:192.0.2.2"]
    assert message.contacts[0].uri.port == 19823
