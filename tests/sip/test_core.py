"""What registrations and legs share: names, Via, Contact, where requests go."""

from __future__ import annotations

from random import Random

import pytest

from gateway.sip.core import Core, Counters
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address, Uri, make_response
from gateway.sip.reject_reason import RejectReason
from gateway.sip.trunk import Trunk
from tests.support.wire import GATEWAY, PBX, ScriptedPeer, gateway_options, trunk_options, udp_listener


def core(**changes: object) -> Core:
    return Core(gateway_options(**changes), Random(1))  # type: ignore[arg-type]


def trunk(**changes: object) -> Trunk:
    return Trunk(trunk_options(**changes), lambda: "cnonce")


def test_names_are_long_and_never_the_same() -> None:
    of = core()
    tokens = {of.new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {16}
    assert len(of.new_call_id()) == 32


def test_our_via_has_a_new_branch_the_advertised_address_and_asks_for_rport() -> None:
    of = core(listeners=(udp_listener(advertise=Hop("198.51.100.7", 5062)),))
    branches = set()
    for _ in range(3):
        request = ScriptedPeer().request("OPTIONS")
        of.add_via(request, PBX)
        via = request.top_via
        assert (via.host, via.port, via.has_rport, via.transport) == ("198.51.100.7", 5062, True, "UDP")
        branches.add(via.branch)
        assert len(request.vias) == 2
    assert len(branches) == 3
    assert all((branch or "").startswith("z9hG4bK") and len(branch or "") >= 20 for branch in branches)


@pytest.mark.parametrize(
    ("via", "expected"),
    [
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx", True),
        ("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx", True),
        ("SIP/2.0/UDP 10.0.0.1:5061;branch=z9hG4bKx", False),
        ("SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKx", False),
        ("SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx", False),
    ],
)
def test_a_response_is_for_us_if_its_via_is_ours(via: str, expected: bool) -> None:
    """RFC 3261 18.1.2, RFC 4475 3.3.11."""
    response = make_response(ScriptedPeer().request("OPTIONS"), 200)
    response.headers.set("Via", via)
    assert core().has_sent(response) is expected


@pytest.mark.parametrize("ours", ["2001:db8::1", "2001:DB8:0::1"])
@pytest.mark.parametrize("theirs", ["2001:db8::1", "2001:DB8:0:0::1"])
def test_our_address_is_ours_in_all_its_forms(ours: str, theirs: str) -> None:
    of = core(listeners=(udp_listener(Hop(ours, 5060)),))
    response = make_response(ScriptedPeer().request("OPTIONS"), 200)
    response.headers.set("Via", f"SIP/2.0/UDP [{theirs}]:5060;branch=z9hG4bKx")
    assert of.has_sent(response)
    assert of.is_own(Address(theirs, 5060))
    peer = Hop("2001:DB8::2", 5060, Transport.TCP, 7)
    trunk_there = trunk(peer=peer._replace(connection=0), acl=("2001:db8::/32",))
    assert of.destination_of(Uri.parse(f"sip:x@[{theirs}]:5060"), trunk_there, peer) == peer
    assert of.destination_of(Uri.parse("sip:x@[2001:db8::2]"), trunk_there, peer).connection == 7


def test_our_contact_is_where_we_are_advertised() -> None:
    of = core(listeners=(udp_listener(advertise=Hop("2001:db8::1", 5060)),))
    assert str(of.contact(trunk(contact_user="7000"), PBX)) == "<sip:7000@[2001:db8::1]:5060>"


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("sip:x@10.0.0.2", Hop("10.0.0.2", 5060)),
        ("sip:x@10.0.0.2:5099", Hop("10.0.0.2", 5099)),
        ("sip:x@10.0.5.5", Hop("10.0.5.5", 5060)),
        ("sip:x@10.1.0.0", PBX),
        ("sip:x@pbx.example.com", PBX),
        ("tel:+4930", PBX),
        ("sip:x@10.0.0.1:5060", PBX),
        ("sip:x@10.0.0.1:5061", Hop("10.0.0.1", 5061)),
        ("sip:x@224.0.0.5", PBX),
        ("sip:x@[::ffff:10.0.0.2]:5099", Hop("10.0.0.2", 5099)),
        ("sip:x@[::ffff:10.0.0.1]:5060", PBX),
        ("sip:x@[::ffff:224.0.0.5]", PBX),
        ("sip:x@[2001:DB8:0::2]", Hop("2001:db8::2", 5060)),
        ("sip:x@[2001:DB8:0::1]", PBX),
        ("sip:x@[ff02::1]", PBX),
        ("sip:x@0.0.0.0:5099", PBX),
        ("sip:x@255.255.255.255", PBX),
    ],
)
def test_a_next_hop_is_taken_at_its_word_within_the_trunk_only(hop: str, expected: Hop) -> None:
    of = core(listeners=(udp_listener(Hop("0.0.0.0", 5060), GATEWAY), udp_listener(Hop("2001:db8::1", 5060))))  # noqa: S104
    acl = ("10.0.0.0/16", "224.0.0.0/8", "0.0.0.0/32", "255.255.255.255/32", "2001:db8::/32", "ff02::/16")
    assert of.destination_of(Uri.parse(hop), trunk(acl=acl), PBX) == expected


def test_responses_have_a_tag_and_our_name_where_we_tell_it() -> None:
    of = core(product="gateway/1")
    of.transactions.accept_request(ScriptedPeer().request("OPTIONS"), PBX, 0.0)
    (transaction,) = of.transactions._servers.values()
    response = of.reply(transaction, 200, 0.0)
    assert response.to.tag is not None
    assert response.headers.get("Server") == "gateway/1"
    assert of.datagrams == [(response.to_bytes(), PBX)]


def test_requests_name_us_only_where_we_tell_it() -> None:
    for product, expected in (("gateway/1", "gateway/1"), ("", None)):
        request = ScriptedPeer().request("OPTIONS")
        core(product=product).add_product(request)
        assert request.headers.get("User-Agent") == expected


def test_counters_can_be_read_by_name() -> None:
    counters = Counters(received=3)
    counters.rejected.add(RejectReason.STRANGER)
    counts = counters.as_dict()
    assert (counts["received"], counts["rejected_stranger"], counts["rejected_no_codec"]) == (3, 1, 0)
    own = {"received", "sent", "keepalives", "stray_responses", "stray_acks"}
    assert set(counts) == own | {f"rejected_{reason.value}" for reason in RejectReason}


def test_what_is_sent_is_counted() -> None:
    of = core()
    of.send(b"x", GATEWAY)
    assert of.counters.sent == 1


# Transports.

TCP_PBX = PBX._replace(transport=Transport.TCP, connection=7)
TLS_PBX = PBX._replace(transport=Transport.TLS, connection=8)


def listener(transport: Transport, host: str, port: int) -> Listener:
    return Listener(transport=transport, address=Address(host, port), advertise=Address(host, port))


LISTENERS = (
    listener(Transport.UDP, "10.0.0.1", 5060),
    listener(Transport.TCP, "10.0.0.1", 5060),
    listener(Transport.TLS, "10.0.0.1", 5061),
    listener(Transport.UDP, "2001:db8::1", 5060),
)


@pytest.mark.parametrize(
    ("hop", "contact", "via"),
    [
        (PBX, "<sip:gateway@10.0.0.1:5060>", "SIP/2.0/UDP 10.0.0.1:5060"),
        (TCP_PBX, "<sip:gateway@10.0.0.1:5060;transport=tcp>", "SIP/2.0/TCP 10.0.0.1:5060"),
        (TLS_PBX, "<sip:gateway@10.0.0.1:5061;transport=tls>", "SIP/2.0/TLS 10.0.0.1:5061"),
        (Hop("2001:db8::2", 5060), "<sip:gateway@[2001:db8::1]:5060>", "SIP/2.0/UDP [2001:db8::1]:5060"),
    ],
)
def test_a_neighbour_is_told_the_listener_of_its_transport_and_family(hop: Hop, contact: str, via: str) -> None:
    of = core(listeners=LISTENERS)
    assert str(of.contact(trunk(), hop)) == contact
    request = ScriptedPeer().request("OPTIONS")
    of.add_via(request, hop)
    assert str(request.top_via).startswith(f"{via};branch=")


def test_the_contact_of_a_sips_dialog_is_sips() -> None:
    """RFC 3261 12.1.1."""
    contact = core(listeners=LISTENERS).contact(trunk(), TLS_PBX, is_secure=True)
    assert str(contact) == "<sips:gateway@10.0.0.1:5061>"


@pytest.mark.parametrize(
    ("uri", "fallback", "expected"),
    [
        ("sip:x@10.0.0.2:5066", TCP_PBX, Hop("10.0.0.2", 5066, Transport.TCP, 7)),
        ("sip:x@10.0.0.2;transport=udp", TCP_PBX, Hop("10.0.0.2", 5060)),
        ("sip:x@10.0.0.2;transport=tcp", PBX, Hop("10.0.0.2", 5060, Transport.TCP)),
        ("sip:x@10.0.0.3", TCP_PBX, Hop("10.0.0.3", 5060, Transport.TCP)),
        ("sip:x@10.0.0.2;transport=udp", TLS_PBX, Hop("10.0.0.2", 5061, Transport.TLS, 8)),
        ("sips:x@10.0.0.2", TLS_PBX, Hop("10.0.0.2", 5061, Transport.TLS, 8)),
        ("sips:x@10.0.0.2", PBX, Hop("10.0.0.2", 5061, Transport.TLS)),
        ("sip:x@10.0.0.2;transport=sctp", PBX, Hop("10.0.0.2", 5060)),
        ("sip:x@[::ffff:10.0.0.2]", TCP_PBX, Hop("10.0.0.2", 5060, Transport.TCP, 7)),
        ("sip:x@10.0.0.2;transport=tcp", TLS_PBX, Hop("10.0.0.2", 5061, Transport.TLS, 8)),
    ],
)
def test_a_dialog_stays_on_its_connection_and_never_leaves_tls(uri: str, fallback: Hop, expected: Hop) -> None:
    assert core().destination_of(Uri.parse(uri), trunk(acl=("10.0.0.3",)), fallback) == expected
