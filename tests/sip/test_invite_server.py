"""Calls that the peer places: one call per INVITE, 2xx until ACK, CANCEL in every order (RFC 3261 13.3, 9.2)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.errors import StateError
from gateway.sip.events import CallCancelled, CallEnded, CallEstablished, CallOffered, EndCause
from gateway.sip.message import Response
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    ScriptedPeer,
    Sent,
    Wire,
    assert_idle,
    assert_sent,
    description,
    gateway_on,
    scripted_on,
)


def world(**changes: object) -> tuple[Wire, Party, ScriptedPeer]:
    wire = Wire()
    return wire, gateway_on(wire, **changes), scripted_on(wire)  # type: ignore[arg-type]


def offered(wire: Wire, gateway: Party, pbx: ScriptedPeer, **parts: object) -> str:
    """A call that waits for an answer; its leg."""
    pbx.send(pbx.invite(**parts))  # type: ignore[arg-type]
    wire.run(0.1)
    return gateway.last(CallOffered).leg_id


def answered(wire: Wire, gateway: Party, pbx: ScriptedPeer, **parts: object) -> tuple[str, Response]:
    """A call that waits for its ACK; its leg and the 200."""
    leg_id = offered(wire, gateway, pbx, **parts)
    gateway.user_agent.answer(leg_id, description(), wire.now)
    wire.run(0.1)
    return leg_id, pbx.responses(200, "INVITE")[-1]


def statuses(pbx: ScriptedPeer) -> list[int]:
    return [response.status for response in pbx.responses(method="INVITE")]


# --------------------------------------------------------------------------------------------- from INVITE to ACK


def test_trying_goes_out_at_once_and_has_no_tag() -> None:
    wire, _, pbx = world()
    wire.inject(pbx.invite(headers=(("Timestamp", "54"),)).to_bytes(), PBX)
    sent = wire.sent("100 INVITE", GATEWAY)[0]
    assert sent.at == wire.now
    assert isinstance(sent.message, Response)
    assert (sent.message.to.tag, sent.message.headers.get("Timestamp")) == (None, "54")


def test_the_call_goes_up_with_all_that_the_peer_said() -> None:
    wire, gateway, pbx = world()
    offered(wire, gateway, pbx, headers=(("X-DID", "4930123"), ("P-Asserted-Identity", "<sip:1001@pbx>")))
    event = gateway.last(CallOffered)
    assert (event.trunk, event.call_id, event.source) == ("pbx", "call-1@pbx", PBX)
    assert (event.headers.get("X-DID"), event.headers.get("P-Asserted-Identity")) == ("4930123", "<sip:1001@pbx>")
    assert (event.from_.display_name, event.to.uri.user, event.request_uri.user) == ("Alice", "7000", "gateway")
    assert event.offer == description(PBX.host, 20000)


def test_a_repeated_invite_is_one_call_with_the_same_answer() -> None:
    wire, gateway, pbx = world()
    invite = pbx.invite(branch="z9hG4bKsame")
    for _ in range(3):
        pbx.send(invite)
    wire.run(0.1)
    leg_id = gateway.last(CallOffered).leg_id
    gateway.user_agent.progress(leg_id, 180, wire.now)
    pbx.send(invite)
    wire.run(0.1)
    gateway.user_agent.answer(leg_id, description(), wire.now)
    pbx.send(invite)
    wire.run(0.1)
    assert len(gateway.all(CallOffered)) == 1
    assert statuses(pbx) == [100, 100, 100, 180, 180, 200]
    assert len({response.to.tag for response in pbx.responses() if response.status > 100}) == 1


def test_the_answer_tells_where_and_what_we_are() -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx, headers=(("Record-Route", "<sip:p1;lr>"), ("Record-Route", "<sip:p2;lr>")))
    assert [str(contact.uri) for contact in ok.contacts] == ["sip:gateway@10.0.0.1:5060"]
    assert {"UPDATE", "REFER", "BYE"} <= set(ok.headers.get_list("Allow"))
    assert ok.headers.get_all("Record-Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert (ok.content_type, ok.body) == ("application/sdp", description().to_bytes())


def test_headers_of_the_application_are_sent_along() -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    gateway.user_agent.progress(leg_id, 183, wire.now, answer=description(), headers=(("X-Now", "early"),))
    gateway.user_agent.answer(leg_id, description(), wire.now, headers=(("X-Now", "answered"),))
    wire.run(0.1)
    early, final = pbx.responses(183)[0], pbx.responses(200)[0]
    assert (early.headers.get("X-Now"), early.body) == ("early", description().to_bytes())
    assert final.headers.get("X-Now") == "answered"


def test_2xx_is_repeated_up_to_every_t2_until_ack() -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx)
    wire.run(20)
    pbx.send(pbx.ack(ok))
    wire.run(100)
    times = [round(sent.at - wire.sent("200 INVITE")[0].at, 2) for sent in wire.sent("200 INVITE")]
    assert times == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5]
    assert len(gateway.all(CallEstablished)) == 1
    assert gateway.user_agent.leg_count == 1


def test_a_call_whose_ack_never_comes_is_hung_up_after_64_t1() -> None:
    wire, gateway, pbx = world()
    pbx.reply_to = lambda request: None
    leg_id, _ = answered(wire, gateway, pbx)
    started = wire.sent("200 INVITE")[0].at
    wire.run(34)
    ended = gateway.last(CallEnded)
    assert (ended.leg_id, ended.cause, ended.status) == (leg_id, EndCause.NO_ACK, 408)
    assert round(wire.sent("BYE")[0].at - started, 2) == 32
    assert pbx.requests("BYE")[0].headers.get("Reason") == 'SIP;cause=408;text="no ACK"'
    wire.run(40)
    assert_idle(gateway)


def test_a_lost_ack_is_made_good_by_the_next_2xx() -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx)
    wire.drop = lambda sent: sent.label == "ACK" and wire.now < 1002
    pbx.send(pbx.ack(ok))
    wire.run(3)
    assert gateway.all(CallEstablished) == []
    pbx.send(pbx.ack(ok))
    wire.run(1)
    assert len(gateway.all(CallEstablished)) == 1


@pytest.mark.parametrize("wrong", [{"cseq": 2}, {"from_tag": "x"}, {"to_tag": "x"}, {"call_id": "x"}])
def test_a_foreign_ack_has_no_effect(wrong: dict[str, object]) -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx)
    right = {"cseq": 1, "to_tag": ok.to.tag}
    pbx.send(pbx.request("ACK", **(right | wrong)))  # type: ignore[arg-type]
    wire.run(1)
    assert gateway.all(CallEstablished) == []
    pbx.send(pbx.request("ACK", **right))  # type: ignore[arg-type]
    wire.run(1)
    assert len(gateway.all(CallEstablished)) == 1


def test_a_refusal_ends_the_leg_and_is_repeated_until_ack() -> None:
    wire, gateway, pbx = world()
    invite = pbx.invite(branch="z9hG4bKsame")
    pbx.send(invite)
    wire.run(0.1)
    gateway.user_agent.reject(
        gateway.last(CallOffered).leg_id, 486, wire.now, reason="On the phone", headers=(("Retry-After", "60"),)
    )
    assert gateway.user_agent.leg_count == 0
    wire.run(1)
    refusal = pbx.responses(486)[0]
    assert (refusal.reason, refusal.headers.get("Retry-After")) == ("On the phone", "60")
    pbx.send(pbx.request("ACK", branch="z9hG4bKsame", to_tag=refusal.to.tag))
    wire.run(100)
    assert len(pbx.responses(486)) == 2
    assert_idle(gateway)


def test_progress_is_repeated_every_minute_lest_a_proxy_gives_up() -> None:
    """RFC 3261 13.3.1.1."""
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    gateway.user_agent.progress(leg_id, 180, wire.now)
    wire.run(150)
    assert statuses(pbx) == [100, 180, 180, 180]
    times = [sent.at for sent in wire.sent("180 INVITE")]
    assert [round(later - earlier, 3) for earlier, later in pairwise(times)] == [60, 60]


def test_only_the_latest_progress_is_repeated() -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    for status in (101, 180, 199):
        gateway.user_agent.progress(leg_id, status, wire.now)
    wire.run(70)
    assert statuses(pbx) == [100, 101, 180, 199, 199]


def test_a_call_nobody_answers_ends_at_our_limit() -> None:
    wire, gateway, pbx = world(answer_timeout_s=20)
    leg_id = offered(wire, gateway, pbx)
    wire.run(20)
    assert gateway.last(CallCancelled).leg_id == leg_id
    assert statuses(pbx)[-1] == 480
    assert gateway.user_agent.leg_count == 0


def test_expires_of_the_invite_limits_the_ringing() -> None:
    """RFC 3261 13.3.1."""
    wire, gateway, pbx = world()
    offered(wire, gateway, pbx, headers=(("Expires", "5"),))
    wire.run(4)
    assert statuses(pbx) == [100]
    wire.run(2)
    assert 487 in statuses(pbx)


def test_no_limit_runs_on_after_the_answer() -> None:
    wire, gateway, pbx = world(answer_timeout_s=20, session_expires_s=0)
    _, ok = answered(wire, gateway, pbx, headers=(("Expires", "5"),))
    pbx.send(pbx.ack(ok))
    wire.run(100)
    assert gateway.user_agent.leg_count == 1
    assert gateway.user_agent.get_timer() is None


# -------------------------------------------------------------------------------------------------- delayed offer


def test_an_invite_without_offer_gets_ours_and_its_ack_brings_the_answer() -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx, body=b"")
    assert gateway.last(CallOffered).offer is None
    assert ok.body == description().to_bytes()
    pbx.send(pbx.ack(ok, body=description(PBX.host, 20002).to_bytes()))
    wire.run(1)
    assert gateway.last(CallEstablished).description == description(PBX.host, 20002)


@pytest.mark.parametrize("body", [b"", b"v=0\r\nnonsense"])
def test_an_ack_without_the_answer_it_owes_ends_the_call(body: bytes) -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx, body=b"")
    pbx.send(pbx.ack(ok, body=body))
    wire.run(1)
    assert gateway.all(CallEstablished) == []
    assert (gateway.last(CallEnded).cause, gateway.last(CallEnded).status) == (EndCause.ERROR, 488)
    assert len(pbx.requests("BYE")) >= 1


# ------------------------------------------------------------------------------------------------- CANCEL and BYE


def test_cancel_ends_the_call_with_487_and_both_answers_have_the_same_tag() -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx, branch="z9hG4bKsame")
    gateway.user_agent.progress(leg_id, 180, wire.now)
    pbx.send(pbx.request("CANCEL", branch="z9hG4bKsame", headers=(("Reason", 'SIP;cause=200;text="elsewhere"'),)))
    wire.run(0.1)
    assert_sent(wire, "100 INVITE", "180 INVITE", "200 CANCEL", "487 INVITE")
    assert (gateway.last(CallCancelled).leg_id, gateway.last(CallCancelled).reason) == (leg_id, "elsewhere")
    assert len({response.to.tag for response in pbx.responses() if response.status > 100}) == 1
    assert gateway.user_agent.leg_count == 0


def test_cancel_repeated_is_answered_again_and_told_once() -> None:
    wire, gateway, pbx = world()
    offered(wire, gateway, pbx, branch="z9hG4bKsame")
    for _ in range(3):
        pbx.send(pbx.request("CANCEL", branch="z9hG4bKsame"))
    wire.run(0.1)
    assert len(pbx.responses(200, "CANCEL")) == 3
    assert len(gateway.all(CallCancelled)) == 1


def test_cancel_after_our_answer_is_too_late() -> None:
    wire, gateway, pbx = world()
    leg_id, ok = answered(wire, gateway, pbx, branch="z9hG4bKsame")
    pbx.send(pbx.request("CANCEL", branch="z9hG4bKsame"))
    pbx.send(pbx.ack(ok))
    wire.run(0.1)
    assert len(pbx.responses(200, "CANCEL")) == 1
    assert gateway.all(CallCancelled) == []
    assert gateway.last(CallEstablished).leg_id == leg_id


def test_cancel_after_our_refusal_changes_nothing() -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx, branch="z9hG4bKsame")
    gateway.user_agent.reject(leg_id, 486, wire.now)
    pbx.send(pbx.request("CANCEL", branch="z9hG4bKsame"))
    wire.run(0.1)
    assert pbx.responses(200, "CANCEL")[0].to.tag == pbx.responses(486)[0].to.tag
    assert gateway.all(CallCancelled) == []


def test_answering_a_call_that_was_cancelled_is_a_state_error() -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx, branch="z9hG4bKsame")
    pbx.send(pbx.request("CANCEL", branch="z9hG4bKsame"))
    wire.run(0.1)
    with pytest.raises(StateError):
        gateway.user_agent.answer(leg_id, description(), wire.now)


def test_cancel_without_its_invite_is_481() -> None:
    wire, _, pbx = world()
    pbx.send(pbx.request("CANCEL"))
    wire.run(0.1)
    assert [response.status for response in pbx.responses(method="CANCEL")] == [481]


def test_bye_in_an_early_dialog_ends_the_call_with_487() -> None:
    """RFC 3261 15: the caller may."""
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    gateway.user_agent.progress(leg_id, 180, wire.now)
    wire.run(0.1)
    tag = pbx.responses(180)[0].to.tag
    pbx.send(pbx.request("BYE", cseq=2, to_tag=tag))
    wire.run(0.1)
    assert len(pbx.responses(200, "BYE")) == 1
    assert statuses(pbx)[-1] == 487
    assert gateway.last(CallCancelled).leg_id == leg_id


def test_bye_before_ack_ends_the_call_and_the_repetition_of_the_2xx() -> None:
    wire, gateway, pbx = world()
    _, ok = answered(wire, gateway, pbx)
    pbx.send(pbx.within("BYE", ok, cseq=2))
    wire.run(40)
    assert gateway.last(CallEnded).cause is EndCause.REMOTE_BYE
    assert len(wire.sent("200 INVITE")) == 1
    assert gateway.user_agent.leg_count == 0


def test_our_bye_waits_for_the_ack() -> None:
    """RFC 3261 15: the callee must not send BYE before."""
    wire, gateway, pbx = world()
    leg_id, ok = answered(wire, gateway, pbx)
    gateway.user_agent.bye(leg_id, wire.now, 'Q.850;cause=16;text="done"')
    wire.run(1)
    assert pbx.requests("BYE") == []
    pbx.send(pbx.ack(ok))
    wire.run(0.1)
    assert pbx.requests("BYE")[0].headers.get("Reason") == 'Q.850;cause=16;text="done"'
    assert gateway.all(CallEstablished) == []


def test_our_bye_is_sent_at_last_if_the_ack_never_comes() -> None:
    wire, gateway, pbx = world()
    leg_id, _ = answered(wire, gateway, pbx)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(33)
    assert len(pbx.requests("BYE")) >= 1
    assert gateway.all(CallEnded) == []


def test_bye_to_a_call_not_answered_yet_refuses_it() -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(0.1)
    assert statuses(pbx)[-1] == 480
    assert gateway.user_agent.leg_count == 0


# ------------------------------------------------------------------------------------------------ wrong commands


@pytest.mark.parametrize("status", [100, 200, 99])
def test_progress_takes_provisional_statuses_only(status: int) -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    with pytest.raises(ValueError, match="provisional"):
        gateway.user_agent.progress(leg_id, status, wire.now)


@pytest.mark.parametrize("status", [180, 200, 700])
def test_reject_takes_refusals_only(status: int) -> None:
    wire, gateway, pbx = world()
    leg_id = offered(wire, gateway, pbx)
    with pytest.raises(ValueError, match="refuses"):
        gateway.user_agent.reject(leg_id, status, wire.now)
    assert gateway.user_agent.leg_count == 1


def test_a_call_can_be_answered_once() -> None:
    wire, gateway, pbx = world()
    leg_id, _ = answered(wire, gateway, pbx)
    for command in (
        lambda: gateway.user_agent.answer(leg_id, description(), wire.now),
        lambda: gateway.user_agent.reject(leg_id, 486, wire.now),
        lambda: gateway.user_agent.progress(leg_id, 180, wire.now),
        lambda: gateway.user_agent.cancel(leg_id, wire.now),
        lambda: gateway.user_agent.refer(leg_id, gateway.last(CallOffered).request_uri, wire.now),
    ):
        with pytest.raises(StateError):
            command()


def test_the_last_ack_counts_even_when_everything_is_lost_twice() -> None:
    """Loss of the first 2xx and of the first ACK: one call, established once."""
    wire, gateway, pbx = world()
    lost: set[str] = set()

    def lose_first(sent: Sent) -> bool:
        if sent.label in ("200 INVITE", "ACK") and sent.label not in lost:
            lost.add(sent.label)
            return True
        return False

    wire.drop = lose_first
    offered(wire, gateway, pbx)
    gateway.user_agent.answer(gateway.last(CallOffered).leg_id, description(), wire.now)
    for _ in range(20):
        wire.run(0.5)
        for ok in pbx.responses(200, "INVITE")[len([s for s in wire.log if s.label == "ACK"]) :]:
            pbx.send(pbx.ack(ok))
    assert len(gateway.all(CallEstablished)) == 1
