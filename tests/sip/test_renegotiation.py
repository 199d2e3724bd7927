"""Re-INVITE and UPDATE in both directions, and what happens when they meet (RFC 3261 14, RFC 3311)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import StateError
from gateway.sip.events import (
    CallEnded,
    CallEstablished,
    CallOffered,
    EndCause,
    OfferAnswered,
    OfferReceived,
    OfferRefused,
)
from gateway.sip.message import Uri
from tests.support.calls import OURS, RunningCall, placed_call, taken_call
from tests.support.wire import PBX, Party, Wire, assert_idle, description, gateway_on, phone_on, respond

CHANGED = description(version=1)
BOTH_ROLES = pytest.mark.parametrize("make", [taken_call, placed_call])
Make = Callable[..., RunningCall]


# ------------------------------------------------------------------------------------------------------- theirs


@BOTH_ROLES
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_their_offer_goes_up_and_our_answer_down(make: Make, method: str) -> None:
    call = make()
    offer = call.offer(method)
    event = call.gateway.last(OfferReceived)
    assert (event.leg_id, event.method, event.offer) == (call.leg_id, method, description(PBX.host, 20002, version=1))
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    ok = call.pbx.responses(200, method)[-1]
    assert (ok.body, ok.content_type) == (CHANGED.to_bytes(), "application/sdp")
    assert [str(contact.uri) for contact in ok.contacts] == ["sip:gateway@10.0.0.1:5060"]
    if method == "INVITE":
        call.ack(offer)
    call.wire.run(60)
    assert len(call.pbx.responses(200, method)) == (2 if make is taken_call and method == "INVITE" else 1)
    assert call.gateway.all(CallEnded) == []


@BOTH_ROLES
def test_our_2xx_to_a_reinvite_is_repeated_until_ack_and_then_the_call_ends(make: Make) -> None:
    call = make()
    call.offer()
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(33)
    assert call.gateway.last(CallEnded).cause is EndCause.NO_ACK
    assert len(call.pbx.requests("BYE")) >= 1
    call.wire.run(70)
    assert_idle(call.gateway)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_refused_offer_leaves_the_call_as_it_was(method: str) -> None:
    call = taken_call()
    offer = call.offer(method)
    call.user_agent.reject_offer(call.leg_id, 488, call.wire.now)
    call.wire.run(0.1)
    assert call.statuses(method, offer)[-1] == 488
    second = call.offer(method)
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    assert call.statuses(method, second)[-1] == 200


def test_an_offer_the_application_forgets_is_refused_in_time() -> None:
    call = taken_call(command_timeout_s=10)
    offer = call.offer("UPDATE")
    call.wire.run(11)
    assert call.statuses("UPDATE", offer) == [500]
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    with pytest.raises(StateError):
        call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)


def test_a_reinvite_without_offer_gets_ours_and_its_ack_brings_the_answer() -> None:
    call = taken_call()
    invite = call.send("INVITE")
    assert call.gateway.last(OfferReceived).offer is None
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    assert call.pbx.responses(200, "INVITE")[-1].body == CHANGED.to_bytes()
    answer = description(PBX.host, 20004)
    call.ack(invite, answer.to_bytes())
    assert call.gateway.last(CallEstablished).description == answer


def test_an_ack_without_the_answer_it_owes_leaves_the_session_as_it_was() -> None:
    call = taken_call()
    invite = call.send("INVITE")
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.ack(invite, b"nonsense")
    assert call.gateway.last(CallEstablished).description is None
    assert call.gateway.all(CallEnded) == []


def test_an_update_without_offer_is_answered_without_asking_and_refreshes_the_target() -> None:
    call = taken_call()
    request = call.request("UPDATE")
    request.headers.set("Contact", "<sip:moved@10.0.0.2:5080>")
    call.pbx.send(request)
    call.wire.run(0.1)
    assert call.statuses("UPDATE") == [200]
    assert call.gateway.all(OfferReceived) == []
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    assert call.wire.sent("BYE")[0].destination.address == ("10.0.0.2", 5080)


def test_a_refused_reinvite_does_not_move_the_target() -> None:
    """RFC 6141 4: what is refused changes nothing."""
    call = taken_call()
    request = call.request("INVITE", body=OURS.to_bytes(), content_type="application/sdp")
    request.headers.set("Contact", "<sip:moved@10.0.0.2:5080>")
    call.pbx.send(request)
    call.wire.run(0.1)
    call.user_agent.reject_offer(call.leg_id, 488, call.wire.now)
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    assert call.wire.sent("BYE")[0].destination == PBX


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [(b"nonsense", "application/sdp", 400), (b"<x/>", "text/xml", 415)],
)
def test_an_offer_that_cannot_be_read_is_refused(body: bytes, content_type: str, status: int) -> None:
    call = taken_call()
    request = call.send("UPDATE", body=body, content_type=content_type)
    assert call.statuses("UPDATE", request) == [status]
    assert call.gateway.all(OfferReceived) == []


def test_cancel_of_a_reinvite_withdraws_the_offer_and_keeps_the_call() -> None:
    call = taken_call()
    request = call.request("INVITE", body=OURS.to_bytes(), content_type="application/sdp")
    request.headers.set("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKre;rport")
    cancel = call.request("CANCEL", cseq=request.cseq.number)
    cancel.headers.set("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKre;rport")
    for message in (request, cancel):
        call.pbx.send(message)
        call.wire.run(0.1)
    assert call.statuses("CANCEL") == [200]
    assert call.statuses("INVITE", request)[-1] == 487
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    assert call.statuses("INVITE", request)[-1] == 487
    assert call.gateway.all(CallEnded) == []


def test_their_bye_answers_an_open_reinvite_with_487() -> None:
    """RFC 3261 15.1.2."""
    call = taken_call()
    offer = call.offer()
    call.send("BYE")
    assert call.statuses("INVITE", offer)[-1] == 487
    assert call.gateway.last(CallEnded).cause is EndCause.REMOTE_BYE
    with pytest.raises(StateError):
        call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)


def test_accepting_what_was_never_offered_is_a_state_error() -> None:
    call = taken_call()
    with pytest.raises(StateError):
        call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    with pytest.raises(StateError):
        call.user_agent.reject_offer(call.leg_id, 488, call.wire.now)


# --------------------------------------------------------------------------------------------------------- ours


@BOTH_ROLES
def test_our_offer_is_acknowledged_and_its_answer_told(make: Make) -> None:
    call = make()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    invite = call.pbx.requests("INVITE")[-1]
    assert (invite.body, invite.to.tag is not None) == (CHANGED.to_bytes(), True)
    answer = description(PBX.host, 20006)
    for _ in range(3):
        call.reply("INVITE", 200, answer=answer)
    acks = [ack for ack in call.pbx.requests("ACK") if ack.cseq.number == invite.cseq.number]
    assert len(acks) >= 3
    assert [event.description for event in call.gateway.all(OfferAnswered)] == [answer]


@pytest.mark.parametrize("status", [488, 403, 500, 603])
def test_our_offer_refused_is_told_and_the_call_goes_on(status: int) -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", status)
    assert call.gateway.last(OfferRefused).status == status
    assert call.gateway.all(CallEnded) == []
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)


@pytest.mark.parametrize(("status", "cause"), [(481, EndCause.ERROR), (408, EndCause.TIMEOUT)])
def test_our_offer_to_a_peer_that_lost_the_call_ends_it(status: int, cause: EndCause) -> None:
    """RFC 3261 14.1, 12.2.1.2."""
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", status)
    assert (call.gateway.last(CallEnded).cause, call.gateway.last(CallEnded).status) == (cause, status)
    assert len(call.pbx.requests("BYE")) == 1


def test_our_offer_to_a_silent_peer_ends_the_call() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(33)
    assert call.gateway.last(CallEnded).cause is EndCause.TIMEOUT
    call.wire.run(40)
    assert_idle(call.gateway)


def test_our_offer_that_only_gets_progress_is_cancelled_and_refused_in_the_end() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 180)
    call.wire.run(33)
    assert len(call.pbx.requests("CANCEL")) >= 1
    call.reply("INVITE", 487)
    assert call.gateway.last(OfferRefused).status == 487


def test_an_unreadable_answer_to_our_offer_is_a_refusal() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    broken = respond(call.pbx.requests("INVITE")[-1], 200, to_tag=None)
    broken.headers.set("Content-Type", "application/sdp")
    broken.body = b"nonsense"
    call.pbx.send(broken)
    call.wire.run(0.1)
    assert call.gateway.last(OfferRefused).status == 488
    assert len(call.pbx.requests("ACK")) == 1


@pytest.mark.parametrize("ends", ["their BYE", "our BYE"])
def test_an_answer_to_our_offer_that_comes_after_bye_is_acknowledged_and_no_news(ends: str) -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    if ends == "their BYE":
        call.send("BYE")
    else:
        call.user_agent.bye(call.leg_id, call.wire.now)
    call.reply("INVITE", 200, answer=description(PBX.host))
    assert len(call.pbx.requests("ACK")) == 1
    assert call.gateway.all(OfferAnswered) == []
    call.wire.run(70)
    assert_idle(call.gateway)


def test_one_offer_at_a_time() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    with pytest.raises(StateError):
        call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    other = taken_call()
    other.offer()
    with pytest.raises(StateError):
        other.user_agent.reoffer(other.leg_id, CHANGED, other.wire.now)


def test_our_offer_waits_behind_a_missing_ack() -> None:
    call = taken_call()
    offer = call.offer()
    call.user_agent.accept_offer(call.leg_id, OURS, call.wire.now)
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(1)
    assert call.pbx.requests("INVITE") == []
    call.ack(offer)
    assert [invite.body for invite in call.pbx.requests("INVITE")] == [CHANGED.to_bytes()]


# ------------------------------------------------------------------------------------------------- when they meet


@BOTH_ROLES
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_their_offer_while_ours_is_open_is_491(make: Make, method: str) -> None:
    call = make()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    offer = call.offer(method)
    assert call.statuses(method, offer)[-1] == 491
    assert call.gateway.all(OfferReceived) == []


@pytest.mark.parametrize(("first", "second"), [("INVITE", "INVITE"), ("INVITE", "UPDATE"), ("UPDATE", "INVITE")])
def test_their_second_offer_while_their_first_is_open_is_500_with_retry_after(first: str, second: str) -> None:
    call = taken_call()
    call.offer(first)
    offer = call.offer(second)
    refusal = next(response for response in call.pbx.responses(500) if response.cseq == offer.cseq)
    assert 0 <= int(refusal.headers.get("Retry-After") or "") <= 10
    assert len(call.gateway.all(OfferReceived)) == 1
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)


def test_an_update_without_offer_never_collides() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.send("UPDATE")
    assert call.statuses("UPDATE") == [200]


def test_their_offer_while_our_2xx_with_an_offer_waits_for_its_answer_is_491() -> None:
    call = taken_call()
    call.send("INVITE")
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    offer = call.offer("UPDATE")
    assert call.statuses("UPDATE", offer) == [491]


def test_a_reinvite_proves_that_our_2xx_arrived_even_if_its_ack_is_lost() -> None:
    """RFC 5407 3.1.4."""
    wire = Wire()
    wire.drop = lambda sent: sent.label == "ACK"
    call = taken_call(wire)
    assert call.gateway.all(CallEstablished) == []
    call.offer()
    assert len(call.gateway.all(CallEstablished)) == 1
    assert len(call.gateway.all(OfferReceived)) == 1
    before = len(call.wire.sent("200 INVITE"))
    call.wire.run(5)
    assert len(call.wire.sent("200 INVITE")) == before


def test_a_reinvite_to_a_call_that_only_waits_for_its_ack_to_hang_up_is_481() -> None:
    wire = Wire()
    wire.drop = lambda sent: sent.label == "ACK"
    call = taken_call(wire)
    call.user_agent.bye(call.leg_id, wire.now)
    offer = call.offer()
    assert call.statuses("INVITE", offer)[-1] == 481
    assert len(call.pbx.requests("BYE")) == 1
    assert call.gateway.all(OfferReceived) == []


def test_our_offer_that_waited_for_theirs_goes_out_behind_it() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 491)
    call.offer("UPDATE")
    call.wire.run(3)
    sent = len({invite.cseq.number for invite in call.pbx.requests("INVITE")})
    call.user_agent.accept_offer(call.leg_id, OURS, call.wire.now)
    call.wire.run(0.1)
    assert (sent, len({invite.cseq.number for invite in call.pbx.requests("INVITE")})) == (1, 2)


@pytest.mark.parametrize(("make", "low", "high"), [(placed_call, 2.1, 4.0), (taken_call, 0.0, 2.0)])
@pytest.mark.parametrize("seed", range(4))
def test_our_offer_is_made_again_after_491_the_caller_waiting_longer(
    make: Make, low: float, high: float, seed: int
) -> None:
    """RFC 3261 14.1."""
    call = make(Wire(seed=seed))
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 491)
    refused_at = call.wire.sent("491 INVITE")[0].at + 0.005
    sent = len(call.pbx.requests("INVITE"))
    call.wire.run(5)
    invites = [entry for entry in call.wire.sent("INVITE") if entry.at >= refused_at]
    assert low <= round(invites[0].at - refused_at, 3) <= high
    assert len(call.pbx.requests("INVITE")) > sent
    call.reply("INVITE", 200, answer=description(PBX.host))
    assert len(call.gateway.all(OfferAnswered)) == 1


def test_our_offer_is_given_up_after_three_collisions() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    for _ in range(3):
        call.reply("INVITE", 491)
        call.wire.run(2.1)
    assert call.gateway.last(OfferRefused).status == 491
    assert len({invite.cseq.number for invite in call.pbx.requests("INVITE")}) == 3


def test_our_offer_is_made_again_after_500_with_retry_after() -> None:
    call = taken_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 500, headers=(("Retry-After", "3"),))
    call.wire.run(2.5)
    assert len({invite.cseq.number for invite in call.pbx.requests("INVITE")}) == 1
    call.wire.run(1)
    assert len({invite.cseq.number for invite in call.pbx.requests("INVITE")}) == 2


def test_an_offer_that_waits_for_its_next_try_lets_theirs_pass_and_dies_with_the_call() -> None:
    call = placed_call()
    call.user_agent.reoffer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 491)
    call.offer("UPDATE")
    call.user_agent.accept_offer(call.leg_id, OURS, call.wire.now)
    call.wire.run(0.1)
    assert call.statuses("UPDATE") == [200]
    call.send("BYE")
    count = len(call.wire.sent("INVITE"))
    call.wire.run(10)
    assert len(call.wire.sent("INVITE")) == count


@pytest.mark.parametrize("seed", range(8))
def test_both_sides_reach_the_same_session_when_their_offers_cross(seed: int) -> None:
    """With two user agents of ours."""
    wire = Wire(seed=seed)

    def take(party: Party, event: object, now: float) -> None:
        if isinstance(event, CallOffered):
            party.user_agent.answer(event.leg_id, description(party.address.host), now)
        if isinstance(event, OfferReceived):
            party.user_agent.accept_offer(event.leg_id, description(party.address.host, version=9), now)

    gateway, phone = gateway_on(wire, application=take), phone_on(wire, application=take)
    leg_id = phone.user_agent.invite(
        "gateway", Uri.parse("sip:7000@10.0.0.1"), offer=description(PBX.host), now=wire.now
    )
    wire.run(1)
    phone.user_agent.reoffer(leg_id, description(PBX.host, 30000), wire.now)
    gateway.user_agent.reoffer(gateway.last(CallOffered).leg_id, description(port=11000), wire.now)
    wire.run(20)
    for party in (gateway, phone):
        assert len(party.all(OfferAnswered)) + len(party.all(OfferReceived)) == 2
        assert party.all(OfferRefused) == []
    phone.user_agent.bye(leg_id, wire.now)
    wire.run(40)
    assert_idle(gateway, phone)


def test_a_reinvite_before_we_answered_the_first_is_refused() -> None:
    """RFC 3261 14.2."""
    call = taken_call()
    call.pbx.send(call.pbx.invite(call_id="another@pbx"))
    call.wire.run(0.1)
    leg_id = call.gateway.last(CallOffered).leg_id
    call.user_agent.progress(leg_id, 180, call.wire.now)
    call.wire.run(0.1)
    early = call.pbx.responses(180)[-1]
    request = call.pbx.invite(call_id="another@pbx", to_tag=early.to.tag, cseq=2)
    call.pbx.send(request)
    call.wire.run(0.1)
    assert call.statuses("INVITE", request)[-1] == 500


@pytest.mark.parametrize(("body", "status"), [(OURS.to_bytes(), 491), (b"", 200)])
def test_an_update_in_our_early_dialog_may_refresh_but_not_offer(body: bytes, status: int) -> None:
    """RFC 3311 5.2: our offer is open until the 2xx answers it."""
    wire = Wire()
    call = placed_call(wire)
    call.user_agent.invite("pbx", Uri.parse("sip:6002@10.0.0.2"), offer=OURS, now=wire.now)
    wire.run(0.1)
    invite = call.pbx.requests("INVITE")[-1]
    call.pbx.send(respond(invite, 180, to_tag="early"))
    wire.run(0.1)
    content_type = "application/sdp" if body else None
    update = call.pbx.backwards("UPDATE", invite, cseq=1, tag="early", body=body, content_type=content_type)
    call.pbx.send(update)
    wire.run(0.1)
    assert call.statuses("UPDATE") == [status]


# ----------------------------------------------------------------------------------------------------- refreshes

REFRESHED_BY_US = ("Session-Expires", "90;refresher=uac")
NO_UPDATE = ("Allow", "INVITE, ACK, BYE")


def refreshing(*headers: tuple[str, str]) -> RunningCall:
    """A call that we refresh after 45 s."""
    return placed_call(headers=(REFRESHED_BY_US, *headers))


@pytest.mark.parametrize(("allow", "method"), [("INVITE, ACK, BYE, UPDATE", "UPDATE"), ("INVITE, ACK, BYE", "INVITE")])
def test_a_refresh_goes_by_what_the_peer_last_said_it_allows(allow: str, method: str) -> None:
    call = refreshing(("Allow", "INVITE, ACK, BYE, UPDATE" if method == "INVITE" else "INVITE"))
    call.send("UPDATE", headers=(("Allow", allow), ("Supported", "timer"), ("Session-Expires", "90;refresher=uas")))
    before = len(call.pbx.requests(method))
    call.wire.run(46)
    assert len(call.pbx.requests(method)) > before


@pytest.mark.parametrize(("port", "is_news"), [(20002, False), (20000, True)])
@pytest.mark.parametrize("has_offer", [True, False])
def test_a_refresh_is_news_only_if_its_answer_differs_from_what_holds(
    port: int, is_news: bool, has_offer: bool
) -> None:
    """What holds is what their last re-INVITE, or its ACK, said."""
    call = refreshing(NO_UPDATE)
    held = description(PBX.host, 20002, version=1)
    headers = (("Supported", "timer"), ("Session-Expires", "90;refresher=uas"))
    request = call.offer(headers=headers) if has_offer else call.send("INVITE", headers=headers)
    call.user_agent.accept_offer(call.leg_id, OURS, call.wire.now)
    call.wire.run(0.1)
    call.ack(request, b"" if has_offer else held.to_bytes())
    call.wire.run(46)
    call.reply("INVITE", 200, answer=held if port == 20002 else description(PBX.host, port))
    assert bool(call.gateway.all(OfferAnswered)) is is_news


# ---------------------------------------------------------------------------------------------------- no change


@BOTH_ROLES
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("version", [0, 5])
def test_an_offer_that_changes_nothing_is_answered_with_what_holds(make: Make, method: str, version: int) -> None:
    """Asterisk sends it, its version up, to tell who is connected now."""
    call = make()
    body = description(PBX.host, 20000, version=version).to_bytes()
    request = call.send(method, body=body, content_type="application/sdp")
    assert call.statuses(method, request)[-1] == 200
    assert call.pbx.responses(200, method)[-1].body == OURS.to_bytes()
    assert call.gateway.all(OfferReceived) == []
    if method == "INVITE":
        call.ack(request)
    call.wire.run(60)
    assert call.gateway.all(CallEnded) == []


def test_the_same_offer_under_another_session_is_a_change() -> None:
    call = taken_call()
    other = description(PBX.host, 20000)
    body = other.to_bytes().replace(b" 1 0 IN", b" 2 0 IN")
    assert body != other.to_bytes()
    call.send("INVITE", body=body, content_type="application/sdp")
    assert call.gateway.last(OfferReceived).method == "INVITE"


def test_what_holds_is_what_was_agreed_last() -> None:
    call = taken_call()
    offer = call.offer()
    call.user_agent.accept_offer(call.leg_id, CHANGED, call.wire.now)
    call.wire.run(0.1)
    call.ack(offer)
    again = call.offer()
    assert call.statuses("INVITE", again)[-1] == 200
    assert call.pbx.responses(200, "INVITE")[-1].body == CHANGED.to_bytes()
    assert len(call.gateway.all(OfferReceived)) == 1
