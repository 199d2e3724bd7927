"""Which numbers a call has, by what PBXes really send."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.calls.facts import NumberPolicy, facts_of
from gateway.sip.events import CallOffered
from gateway.sip.message import Address, Headers, NameAddr, Uri

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = NumberPolicy(contact_user="gateway")


def offered(
    *,
    uri: str = "sip:gateway@127.0.0.1:5060",
    to: str = "<sip:gateway@127.0.0.1>",
    from_: str = '"Alice" <sip:1001@127.0.0.1>;tag=a',
    **headers: str,
) -> CallOffered:
    fields = Headers()
    for name, value in headers.items():
        fields.add(name.replace("_", "-"), value)
    return CallOffered(
        leg_id="1",
        trunk="pbx",
        call_id="c",
        request_uri=Uri.parse(uri),
        to=NameAddr.parse(to),
        from_=NameAddr.parse(from_),
        headers=fields,
        offer=None,
        source=Address("127.0.0.1", 5070),
    )


@pytest.mark.parametrize(
    ("call", "called"),
    [
        (offered(X_DID="7000"), "7000"),
        (offered(X_DID="<sip:+4930123@pbx>"), "+4930123"),
        (offered(X_DID=""), "gateway"),
        (offered(P_Called_Party_ID="<sip:7001@pbx>"), "7001"),
        (offered(X_DID="7000", P_Called_Party_ID="<sip:7001@pbx>"), "7000"),
        (offered(uri="sip:491234567@127.0.0.1:5060"), "491234567"),
        (offered(uri="sip:491234567@127.0.0.1:5060", X_DID="7000"), "7000"),
        (offered(to="<sip:7005@pbx>"), "7005"),
        (offered(), "gateway"),
        (offered(uri="sip:127.0.0.1"), "gateway"),
    ],
)
def test_number_dialled_is_found_where_the_pbx_tells_it(call: CallOffered, called: str) -> None:
    assert facts_of(call, POLICY, NOON).to == called


@pytest.mark.parametrize(
    ("call", "caller"),
    [
        (offered(), "1001"),
        (offered(from_='"Anonymous" <sip:anonymous@anonymous.invalid>;tag=a'), ""),
        (offered(from_="<sip:Anonymous@pbx>;tag=a", P_Asserted_Identity="<sip:1001@pbx>"), ""),
        (offered(from_="<sip:pbx>;tag=a", P_Asserted_Identity='"A" <sip:+4930@pbx>'), "+4930"),
        (offered(from_="<sip:pbx>;tag=a"), ""),
        (offered(from_="<tel:+49301>;tag=a"), "+49301"),
    ],
)
def test_calling_number_is_withheld_where_the_caller_says_so(call: CallOffered, caller: str) -> None:
    assert facts_of(call, POLICY, NOON).from_ == caller


def test_headers_and_name_go_to_the_dialplan_the_first_of_each_name() -> None:
    call = offered(X_Call_Ref="17")
    call.headers.add("X-Call-Ref", "18")
    facts = facts_of(call, POLICY, NOON)
    assert (facts.display_name, facts.trunk, facts.header("x-call-ref")) == ("Alice", "pbx", "17")


@pytest.mark.parametrize(
    ("headers", "diversion"),
    [
        ({}, ""),
        ({"Diversion": "<sip:+49301234@pbx>;reason=unconditional;counter=1"}, "+49301234"),
        # RFC 5806 4.1: the one on top diverted last.
        ({"Diversion": '"B" <sip:2000@pbx>;reason=no-answer, <tel:+49301>;reason=user-busy'}, "+49301"),
        ({"Diversion": "<sip:"}, "<sip:"),
        ({"History-Info": "<sip:7000@pbx>;index=1"}, ""),
        ({"History-Info": "<sip:1234@pbx>;index=1, <sip:7000@pbx>;index=1.1"}, "1234"),
        (
            {"History-Info": "<sip:7000@gateway>;index=1.10;mp=1, <sip:55@pbx>;index=1.2, <sip:1234@pbx>;index=1"},
            "1234",
        ),
        ({"History-Info": "<sip:7000@pbx>;index=1, <sip:7000@gateway>;index=1.1"}, ""),
        ({"History-Info": "<sip:1234@pbx>, <sip:7000@pbx>"}, ""),
        ({"History-Info": "<sip:1234@pbx>;index=x, <>;index=1"}, ""),
        ({"Diversion": "<sip:1@pbx>", "History-Info": "<sip:2@pbx>;index=1, <sip:3@pbx>;index=1.1"}, "1"),
    ],
)
def test_a_call_that_was_sent_on_tells_which_number_was_called_first(headers: dict[str, str], diversion: str) -> None:
    assert facts_of(offered(**headers), POLICY, NOON).diversion == diversion


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        ("de", ("de",)),
        ("da, en-gb;q=0.8, en;q=0.7", ("da", "en")),
        ("en;q=0.5, fr-CA;q=0.9, DE", ("de", "fr", "en")),
        ("en;q=0, de;q=0.000", ()),
        ("*, x-klingon, deu, de;q=2, en;q=", ()),
        ("", ()),
    ],
)
def test_languages_are_those_that_the_telephone_asks_for(header: str, languages: tuple[str, ...]) -> None:
    assert facts_of(offered(Accept_Language=header), POLICY, NOON).languages == languages


def test_facts_have_the_call_id() -> None:
    assert facts_of(offered(), POLICY, NOON).call_id == "c"


@pytest.mark.parametrize(
    ("octets", "name"),
    [(b"Anna M\xc3\xbcller", "Anna Müller"), (b"Anna M\xfcller", "Anna Müller"), (b"\xed\xa0\x80", "í\xa0\x80")],
)
def test_display_name_is_in_characters_whatever_the_pbx_writes_it_in(octets: bytes, name: str) -> None:
    """An old PBX writes ISO 8859-1; what is no character could be kept and told nowhere."""
    told = octets.decode("utf-8", "surrogateescape")
    assert facts_of(offered(from_=f'"{told}" <sip:1001@pbx>;tag=a'), POLICY, NOON).display_name == name
