"""Calls of ours that are sent elsewhere by a 3xx (RFC 3261 8.1.3.4)."""

from __future__ import annotations

import pytest

from gateway.sip.events import CallAnswered, CallProgressed, CallRefused
from gateway.sip.failure import CallFailure
from gateway.sip.message import Request, Uri
from gateway.sip.redirect import MAXIMUM_TARGETS, by_preference
from tests.support.wire import PBX, ScriptedPeer, Wire, assert_idle, description, gateway_on, respond, scripted_on

ANSWER = description(PBX.host, 20000)


class Calling:
    """A call of the gateway to 6001 that the PBX has not answered."""

    def __init__(self, **options: object) -> None:
        self.wire = Wire()
        self.gateway, self.pbx = gateway_on(self.wire, **options), scripted_on(self.wire)  # type: ignore[arg-type]
        target = Uri.parse("sip:6001@10.0.0.2")
        self.leg_id = self.gateway.user_agent.invite("pbx", target, offer=description(), now=self.wire.now)
        self.wire.run(0.1)

    @property
    def invites(self) -> list[Request]:
        return self.pbx.requests("INVITE")

    @property
    def users(self) -> list[str | None]:
        return [invite.uri.user for invite in self.invites]

    def reply(self, status: int, *contacts: str, **parts: object) -> None:
        headers = tuple(("Contact", contact) for contact in contacts)
        self.pbx.send(respond(self.invites[-1], status, headers=headers, **parts))  # type: ignore[arg-type]
        self.wire.run(0.1)


@pytest.mark.parametrize("status", [300, 301, 302])
def test_a_redirect_within_the_trunk_is_followed_in_the_same_call(status: int) -> None:
    calling = Calling()
    calling.reply(status, "<sip:6002@10.0.0.2:5080;transport=udp?Subject=x>")
    first, second = calling.invites
    assert str(second.uri) == "sip:6002@10.0.0.2:5080;transport=udp"
    assert (second.call_id, second.from_, second.to) == (first.call_id, first.from_, first.to)
    assert second.cseq.number == first.cseq.number + 1
    assert second.top_via.branch != first.top_via.branch
    assert second.body == first.body
    assert calling.wire.sent("INVITE")[-1].destination == PBX
    calling.reply(200, answer=ANSWER)
    assert calling.gateway.last(CallAnswered).leg_id == calling.leg_id
    assert calling.pbx.requests("ACK")[-1].cseq.number == second.cseq.number
    assert calling.gateway.all(CallRefused) == []


def test_the_places_are_tried_by_their_q_one_after_the_other() -> None:
    calling = Calling()
    calling.reply(300, "<sip:low@10.0.0.2>;q=0.1", "<sip:best@10.0.0.2>", "<sip:high@10.0.0.2>;q=0.9")
    calling.reply(486)
    calling.reply(404)
    calling.reply(480)
    assert calling.users == ["6001", "best", "high", "low"]
    assert calling.gateway.last(CallRefused).status == 480


def test_a_refusal_everywhere_ends_the_search() -> None:
    calling = Calling()
    calling.reply(300, "<sip:one@10.0.0.2>", "<sip:two@10.0.0.2>;q=0.5")
    calling.reply(603)
    assert calling.users == ["6001", "one"]
    assert calling.gateway.last(CallRefused).status == 603


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:6002@10.9.9.9>",
        "<sip:6002@evil.example>",
        "<sips:6002@10.0.0.2>",
        "<tel:+4930123>",
        "<sip:10.0.0.2>",
        "<mailto:a@10.0.0.2>",
    ],
)
def test_a_redirect_out_of_the_trunk_is_told_and_not_followed(contact: str) -> None:
    calling = Calling()
    calling.reply(302, contact)
    refused = calling.gateway.last(CallRefused)
    assert len(calling.invites) == 1
    assert (refused.status, refused.failure) == (302, CallFailure.REDIRECTED)
    assert [str(contact) for contact in refused.contacts] == [contact]
    calling.wire.run(40)
    assert_idle(calling.gateway)


@pytest.mark.parametrize("status", [305, 380])
def test_a_proxy_or_another_service_is_not_followed(status: int) -> None:
    calling = Calling()
    calling.reply(status, "<sip:6002@10.0.0.2>")
    assert (len(calling.invites), calling.gateway.last(CallRefused).status) == (1, status)


def test_the_name_of_our_pbx_is_followed_through_the_trunk() -> None:
    """A number at the PBX's own name needs no resolver: it goes where all our calls go."""
    calling = Calling()
    calling.reply(302, "<sip:6002@10.0.0.2;maddr=10.9.9.9>")
    assert str(calling.invites[-1].uri) == "sip:6002@10.0.0.2"
    assert calling.wire.sent("INVITE")[-1].destination == PBX


def test_a_circle_is_left_at_once() -> None:
    calling = Calling()
    calling.reply(302, "<sip:6002@10.0.0.2>")
    calling.reply(302, "<sip:6001@10.0.0.2>", "<sip:6002@10.0.0.2>")
    assert calling.users == ["6001", "6002"]
    assert calling.gateway.last(CallRefused).status == 302


def test_a_chain_has_an_end() -> None:
    calling = Calling()
    for number in range(20):
        if calling.gateway.all(CallRefused):
            break
        calling.reply(302, f"<sip:n{number}@10.0.0.2>")
    assert len(calling.invites) == 1 + MAXIMUM_TARGETS
    assert calling.gateway.last(CallRefused).status == 302


def test_redirects_are_not_followed_where_that_is_switched_off() -> None:
    calling = Calling(follow_redirects=False)
    calling.reply(302, "<sip:6002@10.0.0.2>")
    assert (len(calling.invites), calling.gateway.last(CallRefused).status) == (1, 302)


def test_a_cancelled_call_goes_nowhere_else() -> None:
    calling = Calling()
    calling.reply(180)
    calling.gateway.user_agent.cancel(calling.leg_id, calling.wire.now)
    calling.reply(302, "<sip:6002@10.0.0.2>")
    assert (len(calling.invites), calling.gateway.last(CallRefused).status) == (1, 487)


def test_branches_of_the_place_that_was_left_are_gone() -> None:
    calling = Calling()
    calling.reply(183, to_tag="old", answer=ANSWER)
    old = calling.invites[0]
    calling.reply(302, "<sip:6002@10.0.0.2>")
    calling.pbx.send(calling.pbx.backwards("UPDATE", old, cseq=1, tag="old"))
    calling.wire.run(0.1)
    assert [response.status for response in calling.pbx.responses(method="UPDATE")] == [481]
    calling.reply(180, to_tag="new")
    assert calling.gateway.last(CallProgressed).branch == "new"
    calling.reply(200, to_tag="new", answer=ANSWER)
    assert calling.gateway.last(CallAnswered).branch == "new"


def test_the_new_place_may_ask_for_credentials_and_a_longer_timer() -> None:
    calling = Calling()
    calling.reply(302, "<sip:6002@10.0.0.2>")
    challenge = ("WWW-Authenticate", 'Digest realm="pbx", nonce="n", qop="auth"')
    calling.pbx.send(respond(calling.invites[-1], 401, headers=(challenge,)))
    calling.wire.run(0.1)
    assert "Authorization" in calling.invites[-1].headers
    calling.pbx.send(respond(calling.invites[-1], 422, headers=(("Min-SE", "3600"),)))
    calling.wire.run(0.1)
    assert (calling.users[-1], calling.invites[-1].headers.get("Min-SE")) == ("6002", "3600")
    assert [invite.cseq.number for invite in calling.invites] == [1, 2, 3, 4]


def test_contacts_without_q_come_first_and_broken_q_last() -> None:
    pbx = ScriptedPeer()
    contacts = ("<sip:a@h>;q=x", "<sip:b@h>;q=0.5", "<sip:c@h>", "<sip:d@h>;q=7", "<sip:e@h>;q=nan")
    response = respond(pbx.request("INVITE"), 300, headers=tuple(("Contact", contact) for contact in contacts))
    assert [contact.uri.user for contact in by_preference(response)] == ["c", "b", "a", "d", "e"]
