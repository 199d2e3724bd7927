"""Dialogs: how they come to be, how they number and route requests (RFC 3261 12)."""

from __future__ import annotations

import pytest

from gateway.sip.dialog import Dialog
from gateway.sip.message import Request, Response, Uri
from tests.support.wire import ScriptedPeer, respond

peer = ScriptedPeer()
LOOSE = ("Record-Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>")


def served(*headers: tuple[str, str], **parts: object) -> Dialog:
    """Our side of a call that the peer placed."""
    return Dialog.of_request(peer.request("INVITE", headers=headers, cseq=10, **parts), "ours")  # type: ignore[arg-type]


def placed(*headers: tuple[str, str], status: int = 200) -> Dialog:
    """Our side of a call that we placed."""
    invite = peer.request("INVITE", from_tag="ours", uri="sip:bob@example.com", cseq=10)
    return Dialog.of_response(invite, respond(invite, status, to_tag="theirs", headers=headers))


def routed(request: Request) -> tuple[str, list[str]]:
    return str(request.uri), [str(route.uri) for route in request.route_set("Route")]


def test_a_dialog_of_their_invite_has_their_contact_route_and_tags() -> None:
    dialog = served(LOOSE)
    assert (dialog.call_id, dialog.local.tag, dialog.remote.tag) == ("call-1@pbx", "ours", "pbx-tag")
    assert dialog.remote_target == Uri.parse("sip:asterisk@10.0.0.2:5060")
    assert [str(route.uri) for route in dialog.route_set] == ["sip:p1.example.com;lr", "sip:p2.example.com;lr"]
    assert dialog.remote_cseq == 10


def test_a_dialog_of_our_invite_has_the_route_in_reverse() -> None:
    dialog = placed(LOOSE)
    assert (dialog.local.tag, dialog.remote.tag) == ("ours", "theirs")
    assert [str(route.uri) for route in dialog.route_set] == ["sip:p2.example.com;lr", "sip:p1.example.com;lr"]
    assert (dialog.local_cseq, dialog.remote_cseq) == (10, None)


def test_an_old_caller_without_tag_and_contact_can_still_be_called_back() -> None:
    """RFC 4475 3.4.1."""
    invite = peer.request("INVITE", has_contact=False)
    invite.headers.set("From", "<sip:+1303@ift.example.net;user=phone>")
    dialog = Dialog.of_request(invite, "ours")
    assert dialog.remote_target == Uri.parse("sip:+1303@ift.example.net;user=phone")
    assert dialog.remote.tag is None
    assert dialog.matches(request_of(dialog))


def request_of(dialog: Dialog, *, cseq: int = 11) -> Request:
    """A request of the peer within `dialog`."""
    request = peer.request("BYE", cseq=cseq, call_id=dialog.call_id, to_tag=dialog.local.tag)
    request.headers.set("From", str(dialog.remote))
    return request


@pytest.mark.parametrize("wrong", [{"call_id": "other"}, {"from_tag": "other"}, {"to_tag": "other"}, {"to_tag": None}])
def test_a_request_with_another_call_id_or_tag_is_not_of_the_dialog(wrong: dict[str, str | None]) -> None:
    right = {"call_id": "call-1@pbx", "from_tag": "pbx-tag", "to_tag": "ours"}
    dialog = served()
    assert dialog.matches(peer.request("BYE", **right))  # type: ignore[arg-type]
    assert not dialog.matches(peer.request("BYE", **(right | wrong)))  # type: ignore[arg-type]


def test_our_requests_are_numbered_up_and_acks_have_the_number_of_their_invite() -> None:
    dialog = placed()
    assert [str(dialog.make_request(method).cseq) for method in ("INFO", "BYE")] == ["11 INFO", "12 BYE"]
    assert str(dialog.make_request("ACK", cseq=10).cseq) == "10 ACK"
    assert str(dialog.make_request("BYE").cseq) == "13 BYE"


def test_their_requests_must_be_numbered_up() -> None:
    dialog = served()
    assert [dialog.accepts_cseq(request_of(dialog, cseq=cseq)) for cseq in (10, 11, 15, 12, 15, 16)] == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]


def test_their_first_number_in_a_dialog_of_ours_may_be_any() -> None:
    dialog = placed()
    assert dialog.accepts_cseq(request_of(dialog, cseq=0))


def test_without_a_route_requests_go_to_the_target() -> None:
    dialog = placed()
    assert routed(dialog.make_request("BYE")) == ("sip:asterisk@10.0.0.2:5060", [])
    assert dialog.next_hop == Uri.parse("sip:asterisk@10.0.0.2:5060")


def test_loose_routing_keeps_the_target_in_the_request_uri() -> None:
    dialog = served(LOOSE)
    assert routed(dialog.make_request("BYE")) == (
        "sip:asterisk@10.0.0.2:5060",
        ["sip:p1.example.com;lr", "sip:p2.example.com;lr"],
    )
    assert dialog.next_hop == Uri.parse("sip:p1.example.com;lr")


def test_strict_routing_puts_the_first_route_into_the_request_uri_and_the_target_last() -> None:
    """RFC 3261 12.2.1.1; what a Request-URI may not have is left out."""
    dialog = served(("Record-Route", "<sip:p1.example.com;method=INVITE?Subject=x>, <sip:p2.example.com;lr>"))
    assert routed(dialog.make_request("BYE")) == (
        "sip:p1.example.com",
        ["sip:p2.example.com;lr", "sip:asterisk@10.0.0.2:5060"],
    )
    assert dialog.next_hop.host == "p1.example.com"


def test_a_target_refresh_replaces_the_target_but_never_the_route() -> None:
    dialog = served(LOOSE)
    update = request_of(dialog)
    update.headers.set("Contact", "<sip:new@10.0.0.9:5080?Subject=x>")
    update.headers.set("Record-Route", "<sip:evil.example.com;lr>")
    dialog.refresh_target(update)
    assert dialog.remote_target == Uri.parse("sip:new@10.0.0.9:5080")
    assert routed(dialog.make_request("BYE"))[1] == ["sip:p1.example.com;lr", "sip:p2.example.com;lr"]
    update.headers.remove("Contact")
    dialog.refresh_target(update)
    assert dialog.remote_target == Uri.parse("sip:new@10.0.0.9:5080")


def test_the_2xx_gives_an_early_dialog_its_final_route() -> None:
    dialog = placed(LOOSE, status=180)
    response: Response = respond(peer.request("INVITE"), 200, headers=(("Record-Route", "<sip:p9.example.com;lr>"),))
    dialog.refresh_route(response)
    assert [str(route.uri) for route in dialog.route_set] == ["sip:p9.example.com;lr"]


def test_requests_name_both_parties_as_the_dialog_does() -> None:
    request = served().make_request("BYE")
    assert str(request.from_) == "<sip:7000@10.0.0.1>;tag=ours"
    assert str(request.to) == '"Alice" <sip:1001@10.0.0.2>;tag=pbx-tag'
    assert request.headers.get("Max-Forwards") == "70"


def test_a_call_to_a_sips_uri_is_secure() -> None:
    assert served(uri="sips:7000@10.0.0.1").is_secure
    assert not served().is_secure
