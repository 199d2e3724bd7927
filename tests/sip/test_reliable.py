"""Reliable provisional responses and PRACK in both roles (RFC 3262), and what they mean to the session."""

from __future__ import annotations

import pytest

from gateway.errors import MessageError, StateError
from gateway.sip.core import Reliability
from gateway.sip.events import (
    CallAnswered,
    CallCancelled,
    CallEstablished,
    CallOffered,
    CallProgressed,
    CallRefused,
    Event,
    OfferAnswered,
    OfferReceived,
)
from gateway.sip.message import Request, Response, Uri
from gateway.sip.reliable import read_rack, read_rseq
from tests.support.calls import placed_call
from tests.support.wire import (
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    assert_idle,
    description,
    gateway_on,
    phone_on,
    respond,
    scripted_on,
)

OURS = description()
THEIRS = description(PBX.host, 20000)
REQUIRED = (("Require", "100rel"),)
SUPPORTED = (("Supported", "timer, 100REL"),)


# --------------------------------------------------------------------------------------------- calls of the peer


class Ringing:
    """A call of the PBX that waits for the gateway."""

    def __init__(self, headers: tuple[tuple[str, str], ...], *, has_offer: bool = True, **options: object) -> None:
        self.wire = Wire()
        self.gateway, self.pbx = gateway_on(self.wire, **options), scripted_on(self.wire)  # type: ignore[arg-type]
        parts: dict[str, object] = {} if has_offer else {"body": b""}
        self.invite = self.pbx.invite(headers=headers, **parts)
        self.pbx.send(self.invite)
        self.wire.run(0.1)
        self.leg_id = self.gateway.last(CallOffered).leg_id
        self.agent = self.gateway.user_agent
        self.cseq = 1

    def progress(self, status: int = 183, answer: object = OURS) -> None:
        self.agent.progress(self.leg_id, status, self.wire.now, answer=answer)  # type: ignore[arg-type]
        self.wire.run(0.1)

    def answer(self, answer: object = OURS) -> None:
        self.agent.answer(self.leg_id, answer, self.wire.now)  # type: ignore[arg-type]
        self.wire.run(0.1)

    def provisionals(self) -> list[Response]:
        return [response for response in self.pbx.responses(method="INVITE") if 100 < response.status < 200]

    def answers(self) -> list[Response]:
        return self.pbx.responses(200, "INVITE")

    def prack(self, response: Response | None = None, *, rack: str | None = None, **parts: object) -> list[int]:
        """Acknowledge `response`, or the latest; what the PRACK was answered with."""
        response = response or self.provisionals()[-1]
        self.cseq += 1
        rack = rack or f"{response.headers.get('RSeq')} 1 INVITE"
        request = self.pbx.within("PRACK", response, cseq=self.cseq, headers=(("RAck", rack),), **parts)
        self.pbx.send(request)
        self.wire.run(0.1)
        return [found.status for found in self.pbx.responses(method="PRACK") if found.cseq == request.cseq]


def test_every_progress_is_reliable_to_a_peer_that_requires_it() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress(180, None)
    first = ringing.provisionals()[0]
    assert (first.status, first.headers.get("Require")) == (180, "100rel")
    assert 1 <= int(first.headers.get("RSeq") or "0") < 2**31
    assert ringing.prack() == [200]
    ringing.progress(181, None)
    assert int(ringing.provisionals()[-1].headers.get("RSeq") or "0") == int(first.headers.get("RSeq") or "0") + 1


@pytest.mark.parametrize(
    ("headers", "when", "reliable"),
    [
        (SUPPORTED, Reliability.EARLY_MEDIA, [False, True]),
        (SUPPORTED, Reliability.ALWAYS, [True, True]),
        (SUPPORTED, Reliability.REQUIRED, [False, False]),
        (REQUIRED, Reliability.REQUIRED, [True, True]),
        ((), Reliability.ALWAYS, [False, False]),
    ],
)
def test_to_a_peer_that_only_supports_it_the_option_decides(
    headers: tuple[tuple[str, str], ...], when: Reliability, reliable: list[bool]
) -> None:
    ringing = Ringing(headers, reliable_provisionals=when)
    ringing.progress(180, None)
    if reliable[0]:
        ringing.prack()
    ringing.progress(183)
    assert ["RSeq" in response.headers for response in ringing.provisionals()] == reliable


def test_it_is_repeated_at_doubling_intervals_until_prack_comes() -> None:
    ringing = Ringing(REQUIRED)
    sent_at = ringing.wire.now
    ringing.progress()
    ringing.wire.run_until(sent_at + 10)
    times = [round(sent.at - sent_at, 3) for sent in ringing.wire.sent("183 INVITE")]
    assert times == [0, 0.5, 1.5, 3.5, 7.5]
    assert len({response.headers.get("RSeq") for response in ringing.provisionals()}) == 1
    assert ringing.prack() == [200]
    ringing.wire.run(30)
    assert len(ringing.wire.sent("183 INVITE")) == 5


def test_without_prack_the_call_is_refused_after_64_t1() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.wire.run(31)
    assert ringing.gateway.all(CallCancelled) == []
    ringing.wire.run(2)
    assert ringing.gateway.last(CallCancelled).reason == "no PRACK"
    assert len(ringing.pbx.responses(504, "INVITE")) >= 1
    ringing.wire.run(40)
    assert_idle(ringing.gateway)


def test_the_next_one_waits_for_the_prack_of_the_one_before() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress(180, None)
    ringing.progress(181, None)
    ringing.progress(183)
    assert {response.status for response in ringing.provisionals()} == {180}
    assert ringing.prack() == [200]
    assert ringing.provisionals()[-1].status == 181
    assert ringing.prack() == [200]
    assert ringing.provisionals()[-1].status == 183


def test_an_answer_that_was_never_sent_for_want_of_a_prack_stands_in_the_200() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress(180, None)
    ringing.progress(183)
    ringing.answer()
    assert [ok.body for ok in ringing.answers()] == [OURS.to_bytes()]
    assert {response.status for response in ringing.provisionals()} == {180}


def test_of_descriptions_that_wait_the_first_is_sent_and_no_other() -> None:
    ringing = Ringing(REQUIRED)
    for status, answer in ((180, None), (183, OURS), (183, description(port=10002))):
        ringing.progress(status, answer)
    ringing.prack()
    assert ringing.provisionals()[-1].body == OURS.to_bytes()
    ringing.prack()
    assert ringing.provisionals()[-1].body == b""
    ringing.prack()
    ringing.answer()
    assert [ok.body for ok in ringing.answers()] == [b""]


@pytest.mark.parametrize(
    ("rack", "status"),
    [("1 1 INVITE", 481), ("{rseq} 2 INVITE", 481), ("{rseq} 1 UPDATE", 481), ("{rseq}", 400), ("x 1 INVITE", 400)],
)
def test_a_prack_for_anything_else_is_refused_and_acknowledges_nothing(rack: str, status: int) -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    assert ringing.prack(rack=rack.format(rseq=ringing.provisionals()[0].headers.get("RSeq"))) == [status]
    assert ringing.prack() == [200]


def test_a_second_prack_for_the_same_response_is_481() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    assert (ringing.prack(), ringing.prack()) == ([200], [481])


def test_a_prack_without_rack_or_for_a_call_of_ours_is_refused() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    request = ringing.pbx.within("PRACK", ringing.provisionals()[0], cseq=7)
    ringing.pbx.send(request)
    ringing.wire.run(0.1)
    assert [response.status for response in ringing.pbx.responses(method="PRACK")] == [400]
    wire = Wire()
    gateway, pbx = gateway_on(wire), scripted_on(wire)
    invite = placed(wire, gateway, pbx)
    pbx.send(respond(invite, 180))
    wire.run(0.1)
    pbx.send(pbx.backwards("PRACK", invite, cseq=1, headers=(("RAck", "1 1 INVITE"),)))
    wire.run(0.1)
    assert [response.status for response in pbx.responses(method="PRACK")] == [481]


def test_200_waits_for_the_prack_of_the_answer_and_does_not_repeat_it() -> None:
    """RFC 3262 5: the answer was given; what stands in the 2xx would be none."""
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.answer()
    assert ringing.answers() == []
    assert ringing.prack() == [200]
    (ok,) = ringing.answers()
    assert ok.body == b""
    ringing.pbx.send(ringing.pbx.ack(ok))
    ringing.wire.run(0.1)
    assert ringing.gateway.last(CallEstablished).description is None


def test_200_does_not_wait_for_a_prack_that_completes_nothing() -> None:
    """RFC 3262 3: only what holds a description must be acknowledged first. A late PRACK is still answered."""
    ringing = Ringing(REQUIRED)
    ringing.progress(180, None)
    ringing.answer()
    (ok,) = ringing.answers()
    assert ok.body == OURS.to_bytes()
    ringing.wire.run(0.6)
    assert len(ringing.wire.sent("180 INVITE")) == 1
    assert ringing.prack(ringing.provisionals()[0]) == [200]


def test_an_answer_given_twice_is_refused_while_it_is_held_back() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.answer()
    with pytest.raises(StateError):
        ringing.answer()
    with pytest.raises(StateError):
        ringing.progress(180, None)


def test_an_answer_that_differs_from_the_one_given_is_refused() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.prack()
    with pytest.raises(StateError, match="reoffer"):
        ringing.answer(description(port=10002))
    ringing.answer(description(version=7))
    assert [ok.body for ok in ringing.answers()] == [b""]


@pytest.mark.parametrize("how", ["CANCEL", "bye", "BYE"])
def test_a_call_whose_answer_is_held_back_can_still_end(how: str) -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.answer()
    if how == "CANCEL":
        branch = ringing.invite.top_via.branch
        ringing.pbx.send(ringing.pbx.request("CANCEL", branch=branch))
    elif how == "BYE":
        ringing.pbx.send(ringing.pbx.within("BYE", ringing.provisionals()[0], cseq=5))
    else:
        ringing.agent.bye(ringing.leg_id, ringing.wire.now)
    ringing.wire.run(0.1)
    assert [len(ringing.gateway.all(CallCancelled))] == [0 if how == "bye" else 1]
    assert ringing.pbx.responses(480 if how == "bye" else 487, "INVITE") != []
    ringing.wire.run(40)
    assert ringing.answers() == []
    assert_idle(ringing.gateway)


def test_our_offer_in_a_reliable_response_is_answered_by_prack() -> None:
    ringing = Ringing(SUPPORTED, has_offer=False)
    ringing.progress()
    assert ringing.provisionals()[0].body == OURS.to_bytes()
    ringing.answer()
    assert ringing.prack(body=THEIRS.to_bytes(), content_type="application/sdp") == [200]
    assert ringing.gateway.last(OfferAnswered).description == THEIRS
    (ok,) = ringing.answers()
    assert ok.body == b""
    ringing.pbx.send(ringing.pbx.ack(ok))
    ringing.wire.run(0.1)
    assert ringing.gateway.last(CallEstablished).description is None


@pytest.mark.parametrize("body", [b"", b"nonsense"])
def test_a_prack_that_owes_an_answer_and_holds_none_acknowledges_nothing(body: bytes) -> None:
    ringing = Ringing(SUPPORTED, has_offer=False)
    ringing.progress()
    assert ringing.prack(body=body, content_type="application/sdp" if body else None) == [400]
    assert ringing.prack(body=THEIRS.to_bytes(), content_type="application/sdp") == [200]


def test_an_invite_without_offer_hears_nothing_reliable_before_our_offer() -> None:
    """RFC 3261 13.2.1: the first reliable response has to make the offer; an unreliable one must not."""
    ringing = Ringing(REQUIRED, has_offer=False)
    ringing.progress(180, None)
    assert ringing.provisionals() == []
    ringing = Ringing((), has_offer=False)
    ringing.progress(183)
    assert [response.body for response in ringing.provisionals()] == [b""]


def test_a_prack_may_make_an_offer_and_200_waits_for_our_answer_to_it() -> None:
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.answer()
    changed = description(PBX.host, 20008, version=1)
    assert ringing.prack(body=changed.to_bytes(), content_type="application/sdp") == []
    event = ringing.gateway.last(OfferReceived)
    assert (event.method, event.offer, ringing.answers()) == ("PRACK", changed, [])
    ringing.agent.accept_offer(ringing.leg_id, description(version=1), ringing.wire.now)
    ringing.wire.run(0.1)
    (ok,) = ringing.pbx.responses(200, "PRACK")
    assert ok.body == description(version=1).to_bytes()
    assert len(ringing.answers()) == 1


def test_an_offer_in_prack_that_nobody_answers_is_refused_and_the_call_goes_on() -> None:
    ringing = Ringing(REQUIRED, command_timeout_s=5)
    ringing.progress()
    ringing.answer()
    ringing.prack(body=description(PBX.host, 20008, version=1).to_bytes(), content_type="application/sdp")
    ringing.wire.run(6)
    assert len(ringing.pbx.responses(500, "PRACK")) == 1
    assert len(ringing.answers()) >= 1


def test_a_call_that_rings_for_minutes_says_so_under_a_new_number() -> None:
    """RFC 3262 3: under the old one the peer would take it for a repetition."""
    ringing = Ringing(REQUIRED)
    ringing.progress()
    ringing.prack()
    ringing.wire.run(60)
    first, second = ringing.provisionals()[0], ringing.provisionals()[-1]
    assert int(second.headers.get("RSeq") or "0") == int(first.headers.get("RSeq") or "0") + 1
    assert second.body == b""


# ------------------------------------------------------------------------------------------------- calls of ours


def placed(wire: Wire, gateway: Party, pbx: ScriptedPeer, *, has_offer: bool = True) -> Request:
    offer = OURS if has_offer else None
    gateway.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=offer, now=wire.now)
    wire.run(0.1)
    return pbx.requests("INVITE")[-1]


class Calling:
    """A call of the gateway that the PBX has not answered."""

    def __init__(self, *, has_offer: bool = True, **options: object) -> None:
        self.wire = Wire()
        self.gateway, self.pbx = gateway_on(self.wire, **options), scripted_on(self.wire)  # type: ignore[arg-type]
        self.invite = placed(self.wire, self.gateway, self.pbx, has_offer=has_offer)
        (self.leg_id,) = self.gateway.leg_ids

    def ring(self, rseq: object, *, status: int = 183, answer: object = None, tag: str = "one") -> None:
        headers = (("Require", "100rel"), ("RSeq", str(rseq)))
        response = respond(self.invite, status, to_tag=tag, answer=answer, headers=headers)  # type: ignore[arg-type]
        self.pbx.send(response)
        self.wire.run(0.1)

    def take(self, *, answer: object = None, tag: str = "one") -> None:
        self.pbx.send(respond(self.invite, 200, to_tag=tag, answer=answer))  # type: ignore[arg-type]
        self.wire.run(0.1)

    def racks(self) -> list[tuple[str | None, str]]:
        return [(prack.to.tag, prack.headers.get("RAck") or "") for prack in self.pbx.requests("PRACK")]


def test_our_invite_supports_it_and_requires_it_only_on_demand() -> None:
    assert "100rel" in Calling().invite.headers.get_list("Supported")
    assert "Require" not in Calling().invite.headers
    assert Calling(require_reliable_provisionals=True).invite.headers.get("Require") == "100rel"


def test_each_reliable_response_is_acknowledged_once_and_in_its_order() -> None:
    calling = Calling()
    calling.pbx.reply_to = lambda request: respond(request, 200, to_tag=None) if request.method == "PRACK" else None
    for rseq in (988789, 988789, 988791, 988790, 988791):
        calling.ring(rseq, status=180)
    assert [rack for _, rack in calling.racks()] == ["988789 1 INVITE", "988790 1 INVITE", "988791 1 INVITE"]
    assert len(calling.gateway.all(CallProgressed)) == 3
    numbers = [prack.cseq.number for prack in calling.pbx.requests("PRACK")]
    assert numbers == [2, 3, 4]


def test_a_prack_that_gets_lost_is_repeated_by_its_transaction() -> None:
    calling = Calling()
    calling.ring(5)
    calling.wire.run(1)
    pracks = calling.pbx.requests("PRACK")
    assert len(pracks) == 2
    assert len({prack.top_via.branch for prack in pracks}) == 1
    assert str(pracks[0].uri) == "sip:asterisk@10.0.0.2:5060"


def test_every_branch_counts_for_itself() -> None:
    calling = Calling()
    calling.pbx.reply_to = lambda request: respond(request, 200, to_tag=None) if request.method == "PRACK" else None
    calling.ring(1, tag="one")
    calling.ring(77, tag="two")
    calling.ring(2, tag="one")
    assert calling.racks() == [("one", "1 1 INVITE"), ("two", "77 1 INVITE"), ("one", "2 1 INVITE")]


@pytest.mark.parametrize("rseq", ["", "0", "x", 2**32])
def test_a_number_that_is_none_makes_an_ordinary_response(rseq: object) -> None:
    calling = Calling()
    calling.ring(rseq, status=180)
    assert (calling.racks(), calling.gateway.last(CallProgressed).status) == ([], 180)


def test_the_answer_in_a_reliable_response_is_the_answer() -> None:
    """RFC 3261 13.2.1: whatever description follows it is to be ignored."""
    calling = Calling()
    calling.ring(1, answer=THEIRS)
    assert calling.gateway.last(CallProgressed).description == THEIRS
    calling.take(answer=description(PBX.host, 666))
    answered = calling.gateway.last(CallAnswered)
    assert (answered.description, answered.branch) == (THEIRS, "one")


@pytest.mark.parametrize("is_in_2xx", [False, True])
def test_the_offer_in_a_reliable_response_is_answered_in_prack(is_in_2xx: bool) -> None:
    calling = Calling(has_offer=False)
    calling.ring(1, answer=THEIRS)
    assert calling.racks() == []
    progressed = calling.gateway.last(CallProgressed)
    assert (progressed.description, progressed.branch) == (THEIRS, "one")
    calling.gateway.user_agent.acknowledge(calling.leg_id, OURS, calling.wire.now, branch="one")
    calling.wire.run(0.1)
    (prack,) = calling.pbx.requests("PRACK")
    assert (prack.body, prack.content_type) == (OURS.to_bytes(), "application/sdp")
    calling.take(answer=THEIRS if is_in_2xx else None)
    assert calling.gateway.last(CallAnswered).description == THEIRS
    assert [ack.body for ack in calling.pbx.requests("ACK")] == [b""]
    with pytest.raises(StateError):
        calling.gateway.user_agent.acknowledge(calling.leg_id, OURS, calling.wire.now)


def test_an_early_offer_is_answered_where_it_came_from() -> None:
    calling = Calling(has_offer=False)
    agent, now = calling.gateway.user_agent, calling.wire.now
    with pytest.raises(StateError):
        agent.acknowledge(calling.leg_id, OURS, now)
    calling.ring(1, tag="one", answer=THEIRS)
    calling.ring(9, tag="two", answer=THEIRS)
    with pytest.raises(StateError):
        agent.acknowledge(calling.leg_id, OURS, now, branch="three")
    agent.acknowledge(calling.leg_id, OURS, now, branch="two")
    calling.wire.run(0.1)
    assert calling.racks() == [("two", "9 1 INVITE")]


def test_an_early_offer_that_was_not_answered_is_answered_in_ack() -> None:
    calling = Calling(has_offer=False)
    calling.ring(1, answer=THEIRS)
    calling.take()
    assert calling.gateway.last(CallAnswered).description == THEIRS
    calling.gateway.user_agent.acknowledge(calling.leg_id, OURS, calling.wire.now)
    calling.wire.run(0.1)
    assert [ack.body for ack in calling.pbx.requests("ACK")] == [OURS.to_bytes()]


def test_prack_goes_on_while_we_cancel() -> None:
    calling = Calling()
    calling.pbx.send(respond(calling.invite, 100))
    calling.wire.run(0.1)
    calling.gateway.user_agent.cancel(calling.leg_id, calling.wire.now)
    calling.ring(1, status=180)
    assert len(calling.pbx.requests("PRACK")) == 1
    calling.pbx.send(respond(calling.invite, 487))
    calling.wire.run(60)
    assert calling.gateway.last(CallRefused).status == 487
    assert_idle(calling.gateway)


# ----------------------------------------------------------------------------------------------------- both sides


@pytest.mark.parametrize("has_offer", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_two_of_us_agree_before_the_answer_however_much_gets_lost(seed: int, has_offer: bool) -> None:
    wire = Wire(seed=seed, loss=0.25, duplicates=0.1, delay_s=(0.001, 0.05))

    def ring(party: Party, event: Event, now: float) -> None:
        if isinstance(event, CallOffered):
            party.user_agent.progress(event.leg_id, 183, now, answer=THEIRS)
            party.user_agent.answer(event.leg_id, THEIRS, now)

    def call(party: Party, event: Event, now: float) -> None:
        if isinstance(event, CallProgressed) and not has_offer:
            party.user_agent.acknowledge(event.leg_id, OURS, now)

    gateway, phone = gateway_on(wire, application=call), phone_on(wire, application=ring)
    offer = OURS if has_offer else None
    leg_id = gateway.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=offer, now=wire.now)
    wire.run(25)
    assert gateway.last(CallAnswered).description == THEIRS
    assert len(phone.all(CallEstablished)) == 1
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(100)
    assert_idle(gateway, phone)


# ---------------------------------------------------------------------------------------------------- the headers


def test_rack_and_rseq_are_read_as_written() -> None:
    pbx = ScriptedPeer()
    assert read_rack(pbx.request("PRACK", headers=(("RAck", "776656  1 INVITE"),))) == (776656, 1, "INVITE")
    for broken in ("", "1 INVITE", "1 2 3 INVITE", "4294967296 1 INVITE", "1 2147483648 INVITE"):
        with pytest.raises(MessageError):
            read_rack(pbx.request("PRACK", headers=(("RAck", broken),)))
    invite = pbx.request("INVITE")
    assert read_rseq(respond(invite, 183, headers=(("Require", "100rel"), ("RSeq", "5")))) == 5
    assert read_rseq(respond(invite, 183, headers=(("RSeq", "5"),))) is None
    assert read_rseq(respond(invite, 200, headers=(("Require", "100rel"), ("RSeq", "5")))) is None


def test_a_prack_that_came_out_of_order_is_sent_again_three_times_at_most() -> None:
    calling = Calling()
    calling.ring(1, answer=THEIRS)
    for _ in range(5):
        calling.pbx.send(respond(calling.pbx.requests("PRACK")[-1], 500, to_tag=None))
        calling.wire.run(0.1)
    assert calling.racks() == [("one", "1 1 INVITE")] * 3
    assert [prack.cseq.number for prack in calling.pbx.requests("PRACK")] == [2, 3, 4]


@pytest.mark.parametrize("is_in_2xx", [False, True])
def test_a_reinvite_of_ours_may_be_answered_reliably_before_its_2xx(is_in_2xx: bool) -> None:
    call = placed_call()
    changed = description(version=1)
    call.user_agent.reoffer(call.leg_id, changed, call.wire.now)
    call.wire.run(0.1)
    headers = (("Require", "100rel"), ("RSeq", "8"))
    for _ in range(2):
        call.reply("INVITE", 183, answer=THEIRS, headers=headers)
    (prack,) = call.pbx.requests("PRACK")
    assert prack.headers.get("RAck") == f"8 {call.pbx.requests('INVITE')[-1].cseq}"
    call.reply("PRACK", 200)
    call.reply("INVITE", 200, answer=description(PBX.host, 666) if is_in_2xx else None)
    assert call.gateway.last(OfferAnswered).description == THEIRS
