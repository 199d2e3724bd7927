"""What a request must pass before anybody looks at what it wants (RFC 3261 8.2)."""

from __future__ import annotations

import pytest

from gateway.errors import MessageError
from gateway.sip.hop import Transport
from gateway.sip.inspection import inspect
from gateway.sip.message import Request
from tests.support.wire import PBX, ScriptedPeer

peer = ScriptedPeer()


@pytest.mark.parametrize("method", ["INVITE", "BYE", "OPTIONS", "UPDATE", "INFO", "REFER", "NOTIFY", "CANCEL", "PRACK"])
def test_methods_that_we_serve_pass(method: str) -> None:
    assert inspect(peer.request(method), PBX) is None


@pytest.mark.parametrize("method", ["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"])
def test_methods_that_we_know_but_do_not_serve_are_405_with_allow(method: str) -> None:
    refusal = inspect(peer.request(method), PBX)
    assert refusal is not None
    assert refusal.status == 405
    assert "INVITE" in dict(refusal.headers)["Allow"]


@pytest.mark.parametrize("method", ["JUMP", "invite", "!interesting-Method0123456789_*+`.%indeed'~"])
def test_methods_that_nobody_knows_are_501(method: str) -> None:
    refusal = inspect(peer.request(method), PBX)
    assert refusal is not None
    assert refusal.status == 501


def test_sips_is_refused_where_there_is_no_tls() -> None:
    refusal = inspect(peer.request("INVITE", uri="sips:7000@10.0.0.1"), PBX)
    assert refusal is not None
    assert refusal.status == 416


def test_sips_is_taken_over_tls() -> None:
    """RFC 3261 26.2.2."""
    assert inspect(peer.request("INVITE", uri="sips:7000@10.0.0.1"), PBX._replace(transport=Transport.TLS)) is None
    refusal = inspect(peer.request("INVITE", uri="sips:7000@10.0.0.1"), PBX._replace(transport=Transport.TCP))
    assert refusal is not None
    assert refusal.status == 416


def _with_contacts(method: str, *contacts: str, **parts: object) -> Request:
    fields = tuple(("Contact", contact) for contact in contacts)
    return peer.request(method, has_contact=False, headers=fields, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("to_tag", [None, "1"])
@pytest.mark.parametrize(
    "contacts",
    [
        ("*",),
        ("",),
        ("<sip:a@10.0.0.2>, <sip:b@10.0.0.2>",),
        ("<sip:a@10.0.0.2>", "<sip:b@10.0.0.2>"),
        ("<tel:+4930123456>",),
        ("<http://10.0.0.2/>",),
    ],
)
def test_a_contact_that_is_not_one_sip_uri_is_400(method: str, to_tag: str | None, contacts: tuple[str, ...]) -> None:
    """RFC 3261 8.1.1.8: requests within the dialog go there."""
    refusal = inspect(_with_contacts(method, *contacts, to_tag=to_tag), PBX)
    assert refusal is not None
    assert refusal.status == 400


@pytest.mark.parametrize("contact", ["<sip:a@10.0.0.2>", "sips:a@10.0.0.2;x=y", '"A, B" <sip:10.0.0.2>'])
def test_one_sip_uri_in_contact_passes(contact: str) -> None:
    assert inspect(_with_contacts("INVITE", contact), PBX) is None


def test_contact_may_be_missing_only_where_a_target_is_known_or_before_rfc_3261() -> None:
    refusal = inspect(_with_contacts("INVITE"), PBX)
    assert refusal is not None
    assert refusal.status == 400
    assert inspect(_with_contacts("INVITE", to_tag="1"), PBX) is None
    assert inspect(_with_contacts("INVITE", branch="390skdjuw"), PBX) is None


@pytest.mark.parametrize("method", ["OPTIONS", "BYE", "INFO"])
def test_contact_means_nothing_where_it_makes_no_target(method: str) -> None:
    assert inspect(_with_contacts(method, "*"), PBX) is None


def test_telephone_numbers_may_be_called_as_they_are() -> None:
    assert inspect(peer.request("INVITE", uri="tel:+4930123456"), PBX) is None


def test_required_extensions_that_we_lack_are_named_in_420() -> None:
    headers = (
        ("Require", "timer, 100rel, replaces, precondition"),
        ("Require", "nothingSupportsThis"),
        ("Proxy-Require", "noProxiesDo"),
    )
    refusal = inspect(peer.request("INVITE", headers=headers), PBX)
    assert refusal is not None
    assert refusal.status == 420
    assert refusal.headers == (("Unsupported", "precondition, nothingSupportsThis"),)


def test_require_is_ignored_in_cancel() -> None:
    """RFC 3261 8.2.2.3."""
    assert inspect(peer.request("CANCEL", headers=(("Require", "precondition"),)), PBX) is None


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("INVITE", {"Replaces": "a;to-tag=1;from-tag=2"}, None),
        ("INVITE", {"Replaces": "a;to-tag=1;from-tag=2", "Join": "a;to-tag=1;from-tag=2"}, 400),
        ("INVITE", {"Join": "a;to-tag=1;from-tag=2"}, 420),
        ("BYE", {"Replaces": "a;to-tag=1;from-tag=2"}, 400),
        ("OPTIONS", {"Join": "a;to-tag=1;from-tag=2"}, None),
    ],
)
def test_replaces_and_join_are_for_invites_and_never_together(
    method: str, headers: dict[str, str], status: int | None
) -> None:
    """RFC 3891 3, RFC 3911 4; we join nobody."""
    refusal = inspect(peer.request(method, headers=tuple(headers.items())), PBX)
    assert (refusal.status if refusal else None) == status


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/sdp", None),
        ("text/plain, application/sdp;q=0.5", None),
        ("*/*", None),
        ("application/*", None),
        ("text/nobodyKnowsThis", 406),
        ("", 406),
    ],
)
def test_an_invite_that_does_not_take_sdp_is_not_acceptable(accept: str, status: int | None) -> None:
    refusal = inspect(peer.request("INVITE", headers=(("Accept", accept),)), PBX)
    assert (refusal.status if refusal else None) == status


def test_a_list_that_cannot_be_read_is_the_senders_fault() -> None:
    with pytest.raises(MessageError):
        inspect(peer.request("INVITE", headers=(("Require", 'a, "b'),)), PBX)
