"""Offers before the call is answered: UPDATE in early dialogs, in both roles and directions (RFC 3311 5)."""

from __future__ import annotations

import pytest

from gateway.errors import StateError
from gateway.sip.events import CallAnswered, CallEnded, CallProgressed, OfferAnswered, OfferReceived, OfferRefused
from gateway.sip.message import Request, Response
from tests.sip.test_reliable import OURS, REQUIRED, SUPPORTED, THEIRS, Calling, Ringing
from tests.support.wire import PBX, assert_idle, description, respond

CHANGED = description(version=1)
NEW_OFFER = description(PBX.host, 20010, version=1)
ALLOW = ("Allow", "INVITE, ACK, UPDATE, PRACK")
SDP = "application/sdp"


def agreed_calling() -> Calling:
    """A call of ours in whose one branch the session is agreed."""
    calling = Calling()
    calling.pbx.reply_to = lambda request: respond(request, 200, to_tag=None) if request.method == "PRACK" else None
    headers = (("Require", "100rel"), ("RSeq", "1"), ALLOW)
    calling.pbx.send(respond(calling.invite, 183, to_tag="one", answer=THEIRS, headers=headers))
    calling.wire.run(0.1)
    return calling


def agreed_ringing() -> Ringing:
    """A call of the PBX in which the session is agreed."""
    ringing = Ringing((*REQUIRED, ALLOW))
    ringing.progress()
    ringing.prack()
    return ringing


def update_calling(calling: Calling, *, cseq: int = 1, tag: str = "one", offer: bytes | None = None) -> list[int]:
    """Let the PBX send UPDATE in a branch; what it was answered with so far."""
    body = NEW_OFFER.to_bytes() if offer is None else offer
    request = calling.pbx.backwards("UPDATE", calling.invite, cseq=cseq, tag=tag, body=body, content_type=SDP)
    calling.pbx.send(request)
    calling.wire.run(0.1)
    return statuses(calling.pbx.responses(method="UPDATE"), request)


def update_ringing(ringing: Ringing, *, cseq: int = 50) -> list[int]:
    first = ringing.pbx.responses(method="INVITE")[-1]
    request = ringing.pbx.within("UPDATE", first, cseq=cseq, body=NEW_OFFER.to_bytes(), content_type=SDP)
    ringing.pbx.send(request)
    ringing.wire.run(0.1)
    return statuses(ringing.pbx.responses(method="UPDATE"), request)


def statuses(responses: list[Response], request: Request) -> list[int]:
    return [response.status for response in responses if response.cseq == request.cseq]


# ------------------------------------------------------------------------------------------------------- theirs


def test_an_update_in_a_branch_of_our_call_goes_up_with_its_branch() -> None:
    calling = agreed_calling()
    assert update_calling(calling) == []
    event = calling.gateway.last(OfferReceived)
    assert (event.method, event.offer, event.branch) == ("UPDATE", NEW_OFFER, "one")
    calling.gateway.user_agent.accept_offer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    (ok,) = calling.pbx.responses(200, "UPDATE")
    assert ok.body == CHANGED.to_bytes()
    assert "Session-Expires" not in ok.headers
    calling.take()
    assert calling.gateway.last(CallAnswered).description == NEW_OFFER


def test_an_update_in_a_call_of_the_peer_changes_what_was_agreed() -> None:
    ringing = agreed_ringing()
    assert update_ringing(ringing) == []
    ringing.agent.accept_offer(ringing.leg_id, description(port=10006, version=1), ringing.wire.now)
    ringing.wire.run(0.1)
    ringing.answer(description(port=10006))
    assert [ok.body for ok in ringing.answers()] == [b""]


def test_an_answer_waits_until_their_early_offer_has_its_own() -> None:
    ringing = agreed_ringing()
    update_ringing(ringing)
    ringing.answer()
    assert ringing.answers() == []
    ringing.agent.accept_offer(ringing.leg_id, CHANGED, ringing.wire.now)
    ringing.wire.run(0.1)
    assert len(ringing.answers()) == 1


def test_an_update_before_the_first_answer_meets_our_open_offer() -> None:
    """RFC 3311 5.2: 491 while our offer is open, 500 with Retry-After while theirs is."""
    calling = Calling()
    calling.pbx.send(respond(calling.invite, 183, to_tag="one", answer=THEIRS))
    calling.wire.run(0.1)
    assert update_calling(calling) == [491]
    calling = Calling(has_offer=False)
    calling.ring(1, answer=THEIRS)
    assert update_calling(calling) == [500]
    ringing = Ringing(REQUIRED)
    ringing.progress()
    assert update_ringing(ringing) == [500]
    assert "Retry-After" in ringing.pbx.responses(500, "UPDATE")[0].headers
    ringing = Ringing(SUPPORTED, has_offer=False)
    ringing.progress()
    assert update_ringing(ringing) == [491]
    assert ringing.gateway.all(OfferReceived) == []


def test_a_second_update_while_the_first_is_open_is_500() -> None:
    calling = agreed_calling()
    assert (update_calling(calling), update_calling(calling, cseq=2)) == ([], [500])


def test_an_update_that_changes_nothing_is_answered_without_asking() -> None:
    calling = agreed_calling()
    assert update_calling(calling, offer=THEIRS.to_bytes()) == [200]
    assert calling.gateway.all(OfferReceived) == []


def test_an_open_update_of_a_branch_that_lost_is_481() -> None:
    calling = agreed_calling()
    update_calling(calling)
    calling.take(tag="two", answer=THEIRS)
    assert [response.status for response in calling.pbx.responses(method="UPDATE")] == [481]
    calling.gateway.user_agent.accept_offer(calling.leg_id, CHANGED, calling.wire.now)
    assert calling.gateway.last(CallAnswered).branch == "two"


# --------------------------------------------------------------------------------------------------------- ours


def test_our_early_offer_goes_by_update_and_its_answer_up() -> None:
    calling = agreed_calling()
    calling.gateway.user_agent.reoffer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    (update,) = calling.pbx.requests("UPDATE")
    assert (update.body, update.to.tag, update.content_type) == (CHANGED.to_bytes(), "one", SDP)
    assert "Session-Expires" not in update.headers
    calling.pbx.send(respond(update, 200, to_tag=None, answer=NEW_OFFER))
    calling.wire.run(0.1)
    assert calling.gateway.last(OfferAnswered).description == NEW_OFFER
    calling.take()
    assert calling.gateway.last(CallAnswered).description == NEW_OFFER
    assert calling.pbx.requests("ACK")[-1].cseq.number == 1


def test_our_early_offer_in_a_call_of_the_peer_goes_by_update_too() -> None:
    ringing = agreed_ringing()
    ringing.agent.reoffer(ringing.leg_id, CHANGED, ringing.wire.now)
    ringing.wire.run(0.1)
    (update,) = ringing.pbx.requests("UPDATE")
    assert update.body == CHANGED.to_bytes()
    ringing.answer(description(version=1))
    assert ringing.answers() == []
    ringing.pbx.send(respond(update, 200, to_tag=None, answer=NEW_OFFER))
    ringing.wire.run(0.1)
    assert len(ringing.answers()) == 1


def test_early_offers_that_collide_are_both_refused_and_ours_is_made_again() -> None:
    calling = agreed_calling()
    calling.gateway.user_agent.reoffer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    assert update_calling(calling) == [491]
    calling.pbx.send(respond(calling.pbx.requests("UPDATE")[0], 491, to_tag=None))
    calling.wire.run(2)
    assert len(calling.pbx.requests("UPDATE")) == 1
    calling.wire.run(2.1)
    first, second = calling.pbx.requests("UPDATE")[:2]
    assert (second.body, second.cseq.number) == (first.body, first.cseq.number + 1)


def test_an_early_offer_that_is_still_waiting_goes_by_reinvite_when_the_call_is_answered() -> None:
    calling = agreed_calling()
    calling.gateway.user_agent.reoffer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    calling.pbx.send(respond(calling.pbx.requests("UPDATE")[0], 491, to_tag=None))
    calling.wire.run(0.1)
    calling.take()
    calling.wire.run(5)
    assert [invite.body for invite in calling.pbx.requests("INVITE")][-1] == CHANGED.to_bytes()
    assert calling.pbx.requests("INVITE")[-1].to.tag == "one"


@pytest.mark.parametrize("status", [408, 481, 488])
def test_an_early_offer_that_is_refused_leaves_the_call_ringing(status: int) -> None:
    calling = agreed_calling()
    calling.gateway.user_agent.reoffer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    calling.pbx.send(respond(calling.pbx.requests("UPDATE")[0], status, to_tag=None))
    calling.wire.run(0.1)
    assert calling.gateway.last(OfferRefused).status == status
    calling.take()
    assert calling.gateway.last(CallAnswered).description == THEIRS
    assert calling.gateway.all(CallEnded) == []


def test_an_early_offer_to_a_branch_that_lost_is_told_as_refused() -> None:
    calling = agreed_calling()
    calling.gateway.user_agent.reoffer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    calling.take(tag="two", answer=THEIRS)
    assert calling.gateway.last(OfferRefused).status == 481
    calling.pbx.send(respond(calling.pbx.requests("UPDATE")[0], 200, to_tag=None, answer=NEW_OFFER))
    calling.wire.run(0.1)
    assert calling.gateway.all(OfferAnswered) == []


def test_no_early_offer_without_agreement_without_update_or_without_a_branch() -> None:
    fresh, forked, ringing = Calling(), agreed_calling(), Ringing(REQUIRED)
    with pytest.raises(StateError):
        fresh.gateway.user_agent.reoffer(fresh.leg_id, CHANGED, fresh.wire.now)
    fresh.ring(1, answer=THEIRS)
    fresh.gateway.user_agent._legs.get(fresh.leg_id).usage.peer_methods = frozenset({"INVITE"})
    with pytest.raises(StateError):
        fresh.gateway.user_agent.reoffer(fresh.leg_id, CHANGED, fresh.wire.now)
    forked.ring(9, tag="two", answer=THEIRS)
    with pytest.raises(StateError):
        forked.gateway.user_agent.reoffer(forked.leg_id, CHANGED, forked.wire.now)
    forked.gateway.user_agent.reoffer(forked.leg_id, CHANGED, forked.wire.now, branch="two")
    forked.wire.run(0.1)
    assert [update.to.tag for update in forked.pbx.requests("UPDATE")] == ["two"]
    ringing.progress()
    with pytest.raises(StateError):
        ringing.agent.reoffer(ringing.leg_id, CHANGED, ringing.wire.now)


# ------------------------------------------------------------------------------------------------------- branches


def test_every_branch_rings_with_media_of_its_own_and_the_answer_says_which_goes_on() -> None:
    calling = Calling()
    one, two = description(PBX.host, 21000), description(PBX.host, 22000)
    for tag, answer in (("one", one), ("two", two), ("one", None)):
        calling.pbx.send(respond(calling.invite, 183, to_tag=tag, answer=answer))
        calling.wire.run(0.1)
    heard = [(event.branch, event.description) for event in calling.gateway.all(CallProgressed)]
    assert heard == [("one", one), ("two", two), ("one", None)]
    calling.take(tag="two")
    answered = calling.gateway.last(CallAnswered)
    assert (answered.branch, answered.description) == ("two", two)


def test_progress_without_a_tag_belongs_to_no_branch() -> None:
    calling = Calling()
    calling.pbx.send(respond(calling.invite, 180, to_tag=None))
    calling.wire.run(0.1)
    assert calling.gateway.last(CallProgressed).branch == ""
    calling.pbx.send(respond(calling.invite, 486))
    calling.wire.run(40)
    assert_idle(calling.gateway)


def test_ours_is_what_the_first_offer_was_until_it_is_changed() -> None:
    calling = agreed_calling()
    calling.take()
    usage = calling.gateway.user_agent._legs.get(calling.leg_id).usage
    assert usage.session.local_description == OURS


def test_our_early_offer_does_not_overtake_the_prack_before_it() -> None:
    """The peer would refuse the PRACK as out of order, and give the call up."""
    calling = Calling()
    headers = (("Require", "100rel"), ("RSeq", "1"), ALLOW)
    calling.pbx.send(respond(calling.invite, 183, to_tag="one", answer=THEIRS, headers=headers))
    calling.wire.run(0.1)
    calling.gateway.user_agent.reoffer(calling.leg_id, CHANGED, calling.wire.now)
    calling.wire.run(0.1)
    assert calling.pbx.requests("UPDATE") == []
    calling.pbx.send(respond(calling.pbx.requests("PRACK")[0], 200, to_tag=None))
    calling.wire.run(0.1)
    assert [update.body for update in calling.pbx.requests("UPDATE")] == [CHANGED.to_bytes()]


def test_a_description_behind_the_answer_is_no_description() -> None:
    calling = agreed_calling()
    calling.pbx.send(respond(calling.invite, 180, to_tag="one", answer=NEW_OFFER))
    calling.wire.run(0.1)
    assert calling.gateway.last(CallProgressed).description is None


def test_an_offer_that_is_not_reliable_is_none() -> None:
    calling = Calling(has_offer=False)
    calling.pbx.send(respond(calling.invite, 183, to_tag="one", answer=THEIRS))
    calling.wire.run(0.1)
    assert calling.gateway.last(CallProgressed).description is None


def test_an_answer_does_not_wait_for_the_next_try_of_an_offer_that_collided() -> None:
    ringing = agreed_ringing()
    ringing.agent.reoffer(ringing.leg_id, CHANGED, ringing.wire.now)
    ringing.answer()
    assert ringing.answers() == []
    (update,) = ringing.pbx.requests("UPDATE")
    ringing.pbx.send(respond(update, 491, to_tag=None))
    ringing.wire.run(0.05)
    (ok,) = ringing.answers()
    ringing.pbx.send(ringing.pbx.ack(ok))
    ringing.wire.run(3)
    assert {(invite.cseq.number, invite.body) for invite in ringing.pbx.requests("INVITE")} == {(2, CHANGED.to_bytes())}
