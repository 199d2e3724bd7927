"""Calls that we place: progress, answers, forks, CANCEL in every order, challenges (RFC 3261 13.2, 9.1, 22)."""

from __future__ import annotations

import pytest

from gateway.errors import ResourceError, StateError
from gateway.sip.events import CallAnswered, CallEnded, CallProgressed, CallRefused
from gateway.sip.hop import Hop
from gateway.sip.message import Request, Response, Uri
from gateway.sip.sdp import SessionDescription
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    assert_idle,
    assert_sent,
    description,
    gateway_on,
    respond,
    scripted_on,
    trunk_options,
)

TARGET = Uri.parse("sip:6001@10.0.0.2;user=phone?Subject=x")
ANSWER = description(PBX.host, 20000)
CHALLENGE = ("WWW-Authenticate", 'Digest realm="pbx", nonce="n1", qop="auth"')


def world(**changes: object) -> tuple[Wire, Party, ScriptedPeer]:
    wire = Wire()
    return wire, gateway_on(wire, **changes), scripted_on(wire)  # type: ignore[arg-type]


def call(wire: Wire, gateway: Party, *, offer: SessionDescription | None = None, has_offer: bool = True) -> str:
    """Place a call; its leg."""
    offer = (offer or description()) if has_offer else None
    leg_id = gateway.user_agent.invite("pbx", TARGET, offer=offer, now=wire.now)
    wire.run(0.1)
    return leg_id


def reply(wire: Wire, pbx: ScriptedPeer, status: int, **parts: object) -> Response:
    """Answer the latest INVITE."""
    response = respond(pbx.requests("INVITE")[-1], status, **parts)  # type: ignore[arg-type]
    pbx.send(response)
    wire.run(0.1)
    return response


def established(wire: Wire, gateway: Party, pbx: ScriptedPeer, **parts: object) -> str:
    leg_id = call(wire, gateway)
    reply(wire, pbx, 200, answer=ANSWER, **parts)
    return leg_id


# --------------------------------------------------------------------------------------------------- the INVITE


def test_the_invite_says_who_calls_whom_and_what_we_can() -> None:
    wire, gateway, pbx = world()
    gateway.user_agent.invite(
        "pbx", TARGET, offer=description(), from_user="1001", display_name="AI", headers=(("X-A", "b"),), now=wire.now
    )
    wire.run(0.1)
    invite = pbx.requests("INVITE")[0]
    assert invite.uri == Uri.parse("sip:6001@10.0.0.2;user=phone")
    assert str(invite.to) == "<sip:6001@10.0.0.2;user=phone>"
    assert str(invite.from_).startswith('"AI" <sip:1001@10.0.0.2>;tag=')
    assert [str(contact.uri) for contact in invite.contacts] == ["sip:gateway@10.0.0.1:5060"]
    assert (invite.headers.get("Max-Forwards"), invite.headers.get("X-A")) == ("70", "b")
    assert {"ACK", "BYE", "UPDATE", "NOTIFY"} <= set(invite.headers.get_list("Allow"))
    assert (invite.content_type, invite.body) == ("application/sdp", description().to_bytes())
    assert invite.top_via.has_rport
    assert (invite.top_via.branch or "").startswith("z9hG4bK")


def test_the_invite_names_our_product_if_we_tell_it() -> None:
    wire, gateway, pbx = world(product="gateway/1")
    call(wire, gateway)
    assert pbx.requests("INVITE")[0].headers.get("User-Agent") == "gateway/1"


def test_an_interval_that_is_too_brief_is_asked_for_again_three_times_at_most() -> None:
    """RFC 4028 7.3: 422 with a Min-SE that grows for ever must not keep us calling."""
    wire, gateway, pbx = world()
    call(wire, gateway)
    for minimum in (2000, 3000, 4000):
        reply(wire, pbx, 422, headers=(("Min-SE", str(minimum)),))
    assert [invite.headers.get("Min-SE") for invite in pbx.requests("INVITE")] == ["90", "2000", "3000"]
    assert gateway.last(CallRefused).status == 422


def test_every_call_has_names_of_its_own() -> None:
    wire, gateway, pbx = world()
    for _ in range(3):
        call(wire, gateway)
    invites = pbx.requests("INVITE")
    for names in ({i.call_id for i in invites}, {i.from_.tag for i in invites}, {i.top_via.branch for i in invites}):
        assert len(names) == 3


def test_progress_is_told_and_trying_is_not() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 100)
    reply(wire, pbx, 180)
    reply(wire, pbx, 183, answer=ANSWER)
    assert [(e.leg_id, e.status, e.description) for e in gateway.all(CallProgressed)] == [
        (leg_id, 180, None),
        (leg_id, 183, ANSWER),
    ]


def test_early_media_that_cannot_be_read_is_progress_all_the_same() -> None:
    wire, gateway, pbx = world()
    call(wire, gateway)
    broken = respond(pbx.requests("INVITE")[0], 183)
    broken.headers.set("Content-Type", "application/sdp")
    broken.body = b"nonsense"
    pbx.send(broken)
    wire.run(0.1)
    assert [(e.status, e.description) for e in gateway.all(CallProgressed)] == [(183, None)]


def test_an_answer_is_acknowledged_at_once_and_each_time_it_comes_again() -> None:
    wire, gateway, pbx = world()
    leg_id = established(wire, gateway, pbx)
    for _ in range(2):
        reply(wire, pbx, 200, answer=ANSWER)
    assert [(e.leg_id, e.description) for e in gateway.all(CallAnswered)] == [(leg_id, ANSWER)]
    acks = pbx.requests("ACK")
    assert len(acks) == 3
    assert {ack.to_bytes() for ack in acks} == {acks[0].to_bytes()}
    assert (acks[0].cseq.number, str(acks[0].uri)) == (
        pbx.requests("INVITE")[0].cseq.number,
        "sip:asterisk@10.0.0.2:5060",
    )
    assert acks[0].top_via.branch != pbx.requests("INVITE")[0].top_via.branch


def test_ack_and_bye_follow_the_route_of_the_2xx_not_of_the_180() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180, headers=(("Record-Route", "<sip:old.example.com;lr>"),))
    reply(wire, pbx, 200, answer=ANSWER, headers=(("Record-Route", "<sip:p2;lr>, <sip:p1;lr>"),))
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    for request in (*pbx.requests("ACK"), *pbx.requests("BYE")):
        assert [str(route.uri) for route in request.route_set("Route")] == ["sip:p1;lr", "sip:p2;lr"]


@pytest.mark.parametrize(
    ("contact", "record_route", "destination"),
    [
        ("sip:a@10.0.0.2:5066", None, Hop("10.0.0.2", 5066)),
        ("sip:a@10.0.0.2", None, Hop("10.0.0.2", 5060)),
        ("sip:a@10.0.7.7:5066", None, Hop("10.0.7.7", 5066)),
        ("sip:a@10.0.0.2:5066", "<sip:10.0.7.9;lr>", Hop("10.0.7.9", 5060)),
        ("sip:a@10.0.0.2:5066", "<sip:proxy.example.com;lr>", PBX),
        ("sip:a@pbx.example.com", None, PBX),
        ("sip:a@192.168.1.7", None, PBX),
        ("sip:a@10.9.9.9", None, PBX),
        ("sip:a@10.0.0.1:5060", None, PBX),
        ("tel:+49301234", None, PBX),
    ],
)
def test_requests_go_to_the_next_hop_if_it_is_one_of_the_trunks_addresses_and_else_to_its_peer(
    contact: str, record_route: str | None, destination: Hop
) -> None:
    """No resolver, no favours to strangers, no talking to ourselves."""
    wire = Wire()
    gateway = gateway_on(wire, trunk_options(acl=("10.0.7.0/24", "10.0.0.1")))
    pbx = scripted_on(wire)
    call(wire, gateway)
    ok = respond(pbx.requests("INVITE")[0], 200, answer=ANSWER)
    ok.headers.set("Contact", f"<{contact}>")
    if record_route is not None:
        ok.headers.add("Record-Route", record_route)
    pbx.send(ok)
    wire.run(0.1)
    assert [sent.destination for sent in wire.sent("ACK")] == [destination]


def test_a_refusal_is_told_with_its_headers_and_leaves_nothing() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 302, headers=(("Contact", "<sip:elsewhere@pbx>"),))
    refused = gateway.last(CallRefused)
    assert (refused.leg_id, refused.status, refused.headers.get("Contact")) == (leg_id, 302, "<sip:elsewhere@pbx>")
    assert_sent(wire, "INVITE", "ACK")
    assert gateway.user_agent.leg_count == 0
    wire.run(40)
    assert_idle(gateway)


def test_a_peer_that_never_answers_is_408() -> None:
    wire, gateway, _ = world()
    call(wire, gateway)
    wire.run(33)
    assert gateway.last(CallRefused).status == 408
    assert_idle(gateway)


def test_a_transport_that_fails_is_503() -> None:
    wire, gateway, _ = world()
    call(wire, gateway)
    gateway.user_agent.handle_transport_error(PBX, wire.now)
    assert gateway.last(CallRefused).status == 503


def test_a_call_that_rings_for_ever_is_cancelled_at_our_limit() -> None:
    wire, gateway, pbx = world(answer_timeout_s=20)
    call(wire, gateway)
    reply(wire, pbx, 180)
    wire.run(21)
    assert len(pbx.requests("CANCEL")) >= 1
    reply(wire, pbx, 487)
    assert gateway.last(CallRefused).status == 487


def test_an_answer_that_cannot_be_read_ends_the_call_on_both_sides() -> None:
    wire, gateway, pbx = world()
    call(wire, gateway)
    broken = respond(pbx.requests("INVITE")[0], 200)
    broken.headers.set("Content-Type", "application/sdp")
    broken.body = b"nonsense"
    pbx.send(broken)
    wire.run(0.1)
    assert_sent(wire, "INVITE", "ACK", "BYE")
    assert gateway.last(CallRefused).status == 488
    assert gateway.user_agent.leg_count == 0


# ------------------------------------------------------------------------------------------------------- CANCEL


def test_cancel_waits_for_a_provisional_response() -> None:
    """RFC 3261 9.1: it might overtake the INVITE otherwise."""
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    gateway.user_agent.cancel(leg_id, wire.now)
    wire.run(1)
    assert pbx.requests("CANCEL") == []
    reply(wire, pbx, 180)
    reply(wire, pbx, 180)
    cancel = pbx.requests("CANCEL")[0]
    invite = pbx.requests("INVITE")[0]
    assert len({request.top_via.branch for request in pbx.requests("CANCEL")}) == 1
    assert [str(via) for via in cancel.vias] == [str(invite.top_via)]
    assert (cancel.uri, cancel.call_id, cancel.cseq.number, cancel.to.tag) == (invite.uri, invite.call_id, 1, None)


def test_a_cancelled_call_ends_with_487() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180)
    gateway.user_agent.cancel(leg_id, wire.now)
    wire.run(0.1)
    pbx.send(respond(pbx.requests("CANCEL")[0], 200))
    reply(wire, pbx, 487)
    assert_sent(wire, "INVITE", "CANCEL", "ACK")
    assert gateway.last(CallRefused).status == 487
    assert gateway.user_agent.leg_count == 0
    wire.run(40)
    assert_idle(gateway)


@pytest.mark.parametrize("status", [486, 503, 401])
def test_whatever_refuses_a_cancelled_call_is_487_and_nothing_is_tried_again(status: int) -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    gateway.user_agent.cancel(leg_id, wire.now)
    reply(wire, pbx, status, headers=(CHALLENGE,) if status == 401 else ())
    refused = gateway.last(CallRefused)
    assert (refused.status, refused.reason) == (487, "Request Terminated")
    assert len(pbx.requests("INVITE")) == 1


def test_an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180)
    gateway.user_agent.cancel(leg_id, wire.now)
    reply(wire, pbx, 200, answer=ANSWER)
    assert_sent(wire, "INVITE", "CANCEL", "ACK", "BYE")
    assert gateway.all(CallAnswered) == []
    assert [event.status for event in gateway.all(CallRefused)] == [487]
    assert gateway.user_agent.leg_count == 0


def test_an_answer_before_any_progress_wins_against_a_cancel_that_still_waits() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    gateway.user_agent.cancel(leg_id, wire.now)
    reply(wire, pbx, 200, answer=ANSWER)
    assert_sent(wire, "INVITE", "ACK", "BYE")
    assert [event.status for event in gateway.all(CallRefused)] == [487]


def test_an_answer_that_comes_after_487_was_told_is_hung_up_still() -> None:
    """Two branches of a fork: one was cancelled in time, the other was not. No half call is left."""
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180)
    gateway.user_agent.cancel(leg_id, wire.now)
    reply(wire, pbx, 200, answer=ANSWER, to_tag="one")
    reply(wire, pbx, 200, answer=ANSWER, to_tag="two")
    reply(wire, pbx, 200, answer=ANSWER, to_tag="two")
    assert [ack.to.tag for ack in pbx.requests("ACK")] == ["one", "two", "two"]
    assert sorted({bye.to.tag or "" for bye in pbx.requests("BYE")}) == ["one", "two"]
    assert len(gateway.all(CallRefused)) == 1


def test_a_peer_that_forgets_a_cancelled_call_is_given_up_after_64_t1() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180)
    gateway.user_agent.cancel(leg_id, wire.now)
    wire.run(0.1)
    pbx.send(respond(pbx.requests("CANCEL")[0], 200))
    wire.run(31)
    assert gateway.all(CallRefused) == []
    wire.run(2)
    assert gateway.last(CallRefused).status == 487
    wire.run(10)
    assert_idle(gateway)


def test_bye_to_a_call_that_rings_is_cancel() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180)
    gateway.user_agent.bye(leg_id, wire.now)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert len({cancel.top_via.branch for cancel in pbx.requests("CANCEL")}) == 1
    with pytest.raises(StateError):
        gateway.user_agent.cancel(leg_id, wire.now)


def test_cancel_of_an_answered_call_is_a_state_error() -> None:
    wire, gateway, pbx = world()
    leg_id = established(wire, gateway, pbx)
    with pytest.raises(StateError):
        gateway.user_agent.cancel(leg_id, wire.now)


# -------------------------------------------------------------------------------------------------------- forks


def test_the_first_answer_is_the_call_and_every_other_is_hung_up() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180, to_tag="one")
    reply(wire, pbx, 180, to_tag="two")
    reply(wire, pbx, 200, to_tag="two", answer=ANSWER)
    reply(wire, pbx, 200, to_tag="one", answer=ANSWER)
    reply(wire, pbx, 200, to_tag="three", answer=ANSWER)
    assert [ack.to.tag for ack in pbx.requests("ACK")] == ["two", "one", "three"]
    assert [bye.to.tag for bye in pbx.requests("BYE")] == ["one", "three"]
    assert len(gateway.all(CallAnswered)) == 1
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert pbx.requests("BYE")[-1].to.tag == "two"


def test_a_flood_of_forked_answers_is_bounded() -> None:
    wire, gateway, pbx = world()
    call(wire, gateway)
    for number in range(100):
        reply(wire, pbx, 180, to_tag=f"early{number}")
    for number in range(100):
        reply(wire, pbx, 200, to_tag=f"final{number}", answer=ANSWER)
    assert len({ack.to.tag for ack in pbx.requests("ACK")}) <= 17


def test_an_old_peer_without_a_to_tag_can_be_called() -> None:
    """RFC 2543, RFC 3261 12.1.2."""
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    for status in (180, 200):
        response = respond(pbx.requests("INVITE")[0], status, to_tag=None, answer=ANSWER)
        pbx.send(response)
    wire.run(0.1)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert pbx.requests("BYE")[0].to.tag is None
    assert len(gateway.all(CallAnswered)) == 1


# ------------------------------------------------------------------------------------------------- delayed offer


def test_without_an_offer_the_peer_makes_it_and_our_ack_answers_it() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway, has_offer=False)
    assert pbx.requests("INVITE")[0].body == b""
    reply(wire, pbx, 200, answer=ANSWER)
    reply(wire, pbx, 200, answer=ANSWER)
    assert gateway.last(CallAnswered).description == ANSWER
    assert pbx.requests("ACK") == []
    gateway.user_agent.acknowledge(leg_id, description(), wire.now)
    reply(wire, pbx, 200, answer=ANSWER)
    assert [ack.body for ack in pbx.requests("ACK")] == [description().to_bytes()] * 2
    with pytest.raises(StateError):
        gateway.user_agent.acknowledge(leg_id, description(), wire.now)


def test_a_delayed_offer_that_we_do_not_want_is_acknowledged_and_hung_up() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway, has_offer=False)
    reply(wire, pbx, 200, answer=ANSWER)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert_sent(wire, "INVITE", "ACK", "BYE")


# --------------------------------------------------------------------------------------------------- credentials


def test_a_challenge_is_answered_once_with_a_new_number_and_branch() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 401, headers=(CHALLENGE,))
    first, second = pbx.requests("INVITE")
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert first.top_via.branch != second.top_via.branch
    assert (first.call_id, first.from_.tag) == (second.call_id, second.from_.tag)
    assert second.to.tag is None
    assert second.body == first.body
    reply(wire, pbx, 200, answer=ANSWER)
    ack = pbx.requests("ACK")[-1]
    assert (ack.cseq.number, ack.headers.get("Authorization")) == (2, second.headers.get("Authorization"))
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert pbx.requests("BYE")[0].cseq.number == 3


def test_a_second_refusal_is_final_and_says_why() -> None:
    wire, gateway, pbx = world()
    call(wire, gateway)
    for _ in range(2):
        reply(wire, pbx, 401, headers=(CHALLENGE,))
    refused = gateway.last(CallRefused)
    assert refused.status == 401
    assert "password" in refused.reason
    assert len(pbx.requests("INVITE")) == 2


def test_a_proxy_and_a_server_may_both_ask() -> None:
    wire, gateway, pbx = world()
    call(wire, gateway)
    reply(wire, pbx, 407, headers=(("Proxy-Authenticate", 'Digest realm="pbx", nonce="p", qop="auth"'),))
    reply(wire, pbx, 401, headers=(CHALLENGE,))
    last = pbx.requests("INVITE")[-1]
    assert "Proxy-Authorization" in last.headers
    assert "Authorization" in last.headers


def test_cancel_means_the_invite_that_was_repeated_with_credentials() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 401, headers=(CHALLENGE,))
    reply(wire, pbx, 180)
    gateway.user_agent.cancel(leg_id, wire.now)
    wire.run(0.1)
    assert pbx.requests("CANCEL")[0].top_via.branch == pbx.requests("INVITE")[1].top_via.branch
    assert pbx.requests("CANCEL")[0].cseq.number == 2


@pytest.mark.parametrize("method", ["BYE", "REFER", "INVITE"])
def test_requests_within_the_call_are_authenticated_under_the_known_realm_only(method: str) -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 401, headers=(CHALLENGE,))
    reply(wire, pbx, 200, answer=ANSWER)
    commands = {
        "BYE": lambda: gateway.user_agent.bye(leg_id, wire.now),
        "REFER": lambda: gateway.user_agent.refer(leg_id, TARGET, wire.now),
        "INVITE": lambda: gateway.user_agent.reoffer(leg_id, description(version=1), wire.now),
    }
    commands[method]()
    wire.run(0.1)
    sent = len(pbx.requests(method))
    foreign = ("WWW-Authenticate", 'Digest realm="attacker", nonce="x", qop="auth"')
    pbx.send(respond(pbx.requests(method)[-1], 401, headers=(foreign,)))
    wire.run(0.1)
    assert len(pbx.requests(method)) == sent


def test_a_bye_that_is_challenged_is_repeated_with_credentials() -> None:
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 401, headers=(CHALLENGE,))
    reply(wire, pbx, 200, answer=ANSWER)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    pbx.send(respond(pbx.requests("BYE")[0], 401, headers=(CHALLENGE,)))
    wire.run(0.1)
    first, second = pbx.requests("BYE")
    assert ("Authorization" in first.headers, "Authorization" in second.headers) == (False, True)
    assert second.cseq.number == first.cseq.number + 1
    pbx.send(respond(second, 200))
    wire.run(0.1)
    assert gateway.user_agent.leg_count == 0


# --------------------------------------------------------------------------------------------------- the way out


def test_hanging_up_is_done_when_bye_is_answered() -> None:
    wire, gateway, pbx = world()
    leg_id = established(wire, gateway, pbx)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(1)
    assert gateway.user_agent.leg_count == 1
    pbx.send(respond(pbx.requests("BYE")[0], 200))
    wire.run(0.1)
    assert gateway.user_agent.leg_count == 0
    assert gateway.all(CallEnded) == []
    sent = len(wire.log)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert len(wire.log) == sent


def test_hanging_up_is_done_at_last_if_bye_is_never_answered() -> None:
    wire, gateway, pbx = world()
    leg_id = established(wire, gateway, pbx)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(33)
    assert_idle(gateway)


def test_two_byes_that_cross_end_the_call_without_a_word() -> None:
    wire, gateway, pbx = world()
    leg_id = established(wire, gateway, pbx)
    invite = pbx.requests("INVITE")[0]
    gateway.user_agent.bye(leg_id, wire.now)
    pbx.send(pbx.backwards("BYE", invite, cseq=1))
    wire.run(0.1)
    assert len(pbx.responses(200, "BYE")) == 1
    assert gateway.all(CallEnded) == []
    pbx.send(respond(pbx.requests("BYE")[0], 481))
    wire.run(0.1)
    assert gateway.user_agent.leg_count == 0


def test_a_bye_on_an_early_dialog_of_ours_is_answered_and_the_call_goes_on() -> None:
    """RFC 3261 15: the callee must not send it; another branch may still answer."""
    wire, gateway, pbx = world()
    leg_id = call(wire, gateway)
    reply(wire, pbx, 180, to_tag="one")
    pbx.send(pbx.backwards("BYE", pbx.requests("INVITE")[0], cseq=1, tag="one"))
    wire.run(0.1)
    assert len(pbx.responses(200, "BYE")) == 1
    reply(wire, pbx, 200, to_tag="two", answer=ANSWER)
    assert gateway.last(CallAnswered).leg_id == leg_id


def test_there_is_a_limit_to_calls() -> None:
    wire, gateway, _ = world(max_legs=2)
    for _ in range(2):
        call(wire, gateway)
    with pytest.raises(ResourceError):
        call(wire, gateway)


def test_calls_go_through_known_trunks_only() -> None:
    wire, gateway, _ = world()
    with pytest.raises(StateError):
        gateway.user_agent.invite("nobody", TARGET, offer=None, now=wire.now)


def test_a_header_that_would_smuggle_another_is_refused() -> None:
    wire, gateway, _ = world()
    with pytest.raises(ValueError, match="line break"):
        gateway.user_agent.invite("pbx", TARGET, offer=None, headers=(("X-A", "b\r\nTo: <sip:evil@x>"),), now=wire.now)
    assert_idle(gateway)


def test_requests_differ_from_their_peers_view() -> None:
    """Both directions of one dialog number their requests for themselves."""
    wire, gateway, pbx = world()
    leg_id = established(wire, gateway, pbx)
    pbx.send(pbx.backwards("OPTIONS", pbx.requests("INVITE")[0], cseq=77))
    wire.run(0.1)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert len(pbx.responses(200, "OPTIONS")) == 1
    bye: Request = pbx.requests("BYE")[0]
    assert bye.cseq.number == 2


def test_responses_from_elsewhere_are_not_ours() -> None:
    """A response whose Via is not ours, or that answers nothing we sent, is dropped and counted (RFC 3261 18.1.2)."""
    wire, gateway, pbx = world()
    call(wire, gateway)
    invite = pbx.requests("INVITE")[0]
    forged = respond(invite, 200, answer=ANSWER)
    forged.headers.set("Via", "SIP/2.0/UDP 10.0.0.99;branch=" + (invite.top_via.branch or ""))
    wire.inject(forged.to_bytes(), PBX)
    forged.headers.set("Via", f"SIP/2.0/UDP {GATEWAY.host}:{GATEWAY.port};branch=z9hG4bKguessed")
    wire.inject(forged.to_bytes(), PBX)
    assert gateway.all(CallAnswered) == []
    assert gateway.user_agent.counters.stray_responses == 2
