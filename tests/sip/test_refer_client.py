"""Handing calls over: one final result for every REFER, whatever the peer does (RFC 3515)."""

from __future__ import annotations

import pytest

from gateway.errors import StateError
from gateway.sip.events import CallEnded, EndCause, TransferProgressed
from gateway.sip.hop import Hop
from gateway.sip.message import Request, Uri
from gateway.sip.reject_reason import RejectReason
from tests.support.calls import OURS, THEIRS, RunningCall, placed_call, taken_call
from tests.support.wire import PBX, STRANGER, assert_idle, respond

AGENT = Uri.parse("sip:6001@10.0.0.2")


def referring(call: RunningCall | None = None, *, response: int | None = 202) -> tuple[RunningCall, Request]:
    """A call whose peer was asked to transfer it; the REFER."""
    call = call or taken_call()
    call.user_agent.refer(call.leg_id, AGENT, call.wire.now)
    call.wire.run(0.1)
    refer = call.pbx.requests("REFER")[-1]
    if response is not None:
        call.reply("REFER", response)
    return call, refer


def notification(
    call: RunningCall,
    line: str | None = "SIP/2.0 200 OK",
    *,
    event: str = "refer",
    state: str = "active;expires=60",
    **parts: object,
) -> Request:
    """A NOTIFY within the call, not sent yet."""
    headers = (("Event", event), ("Subscription-State", state))
    body = (line + "\r\n").encode() if line is not None else b""
    content_type = "message/sipfrag;version=2.0" if body else None
    return call.request("NOTIFY", headers=headers, body=body, content_type=content_type, **parts)


def notify(call: RunningCall, *args: object, **parts: object) -> Request:
    request = notification(call, *args, **parts)  # type: ignore[arg-type]
    call.pbx.send(request)
    call.wire.run(0.1)
    return request


def told(call: RunningCall) -> list[tuple[int, bool]]:
    return [(event.status, event.is_final) for event in call.gateway.all(TransferProgressed)]


def test_refer_names_the_target_and_who_asks() -> None:
    call = taken_call()
    target = Uri.parse("sip:6001@10.0.0.2?Replaces=a%40b%3Bto-tag%3Dx")
    call.user_agent.refer(
        call.leg_id, target, call.wire.now, referred_by="<sip:gateway@10.0.0.1>", headers=(("X-Why", "asked"),)
    )
    call.wire.run(0.1)
    refer = call.pbx.requests("REFER")[0]
    assert refer.headers.get("Refer-To") == "<sip:6001@10.0.0.2?Replaces=a%40b%3Bto-tag%3Dx>"
    assert (refer.headers.get("Referred-By"), refer.headers.get("X-Why")) == ("<sip:gateway@10.0.0.1>", "asked")
    assert len(refer.contacts) == 1


def test_an_attended_transfer_names_the_consultation_as_its_peer_knows_it() -> None:
    call = taken_call()
    target = Uri.parse("sip:6001@10.0.0.2")
    other = call.user_agent.invite("pbx", target, offer=OURS, call_id="a;b@c", now=call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 200, to_tag="their-tag", answer=THEIRS)
    replaces = call.user_agent.replaces_value(other)
    call.user_agent.refer(call.leg_id, target.with_header("Replaces", replaces), call.wire.now)
    call.wire.run(0.1)
    invite = call.pbx.requests("INVITE")[-1]
    escaped = f"a%3Bb%40c%3Bto-tag%3Dtheir-tag%3Bfrom-tag%3D{invite.from_.tag}"
    refer_to = call.pbx.requests("REFER")[0].headers.get("Refer-To") or ""
    assert refer_to == f"<sip:6001@10.0.0.2?Replaces={escaped}>"
    assert invite.call_id == "a;b@c"


@pytest.mark.parametrize("make", [taken_call, placed_call])
def test_a_transfer_is_followed_from_202_to_its_result(make: object) -> None:
    call, _ = referring(make())  # type: ignore[operator]
    notify(call, "SIP/2.0 100 Trying")
    notify(call, "SIP/2.0 180 Ringing")
    notify(call, "SIP/2.0 200 OK", state="terminated;reason=noresource")
    assert told(call) == [(202, False), (100, False), (180, False), (200, True)]
    assert call.statuses("NOTIFY") == [200, 200, 200]
    assert call.gateway.all(CallEnded) == []


@pytest.mark.parametrize("status", [302, 404, 480, 486, 487, 503, 603])
def test_a_transfer_that_fails_is_told_with_its_status_and_the_call_goes_on(status: int) -> None:
    call, _ = referring()
    notify(call, f"SIP/2.0 {status} Reason as given", state="terminated;reason=noresource")
    last = call.gateway.last(TransferProgressed)
    assert (last.status, last.reason, last.is_final) == (status, "Reason as given", True)
    call.wire.run(100)
    assert told(call) == [(202, False), (status, True)]
    assert call.gateway.all(CallEnded) == []


@pytest.mark.parametrize("status", [400, 403, 404, 501, 603])
def test_a_refer_that_is_refused_is_final(status: int) -> None:
    call, _ = referring(response=status)
    assert told(call) == [(status, True)]
    call.wire.run(100)
    assert told(call) == [(status, True)]
    assert call.gateway.all(CallEnded) == []


def test_what_became_of_the_new_call_is_told_apart_from_what_became_of_the_refer() -> None:
    reported, _ = referring()
    notify(reported, "SIP/2.0 487 Request Terminated")
    refused, _ = referring(response=487)
    events = [call.gateway.last(TransferProgressed) for call in (reported, refused)]
    assert [(event.status, event.is_notified) for event in events] == [(487, True), (487, False)]


def test_a_peer_that_lost_the_call_ends_it() -> None:
    call, _ = referring(response=481)
    assert told(call) == [(481, True)]
    assert call.gateway.last(CallEnded).cause is EndCause.ERROR


def test_a_refer_without_any_answer_fails_and_the_call_stays() -> None:
    """Media may well flow on; BYE, session timer or RTP timeout will tell."""
    call, _ = referring(response=None)
    call.wire.run(40)
    assert told(call) == [(408, True)]
    assert call.gateway.all(CallEnded) == []


def test_202_and_then_nothing_is_408_after_30_seconds() -> None:
    call, _ = referring()
    call.wire.run(29)
    assert told(call) == [(202, False)]
    call.wire.run(2)
    assert told(call) == [(202, False), (408, True)]


def test_ringing_for_ever_is_408_as_well() -> None:
    call, _ = referring()
    for _ in range(6):
        notify(call, "SIP/2.0 180 Ringing")
        call.wire.run(5)
    assert told(call)[-1] == (408, True)


def test_a_notify_may_overtake_the_202() -> None:
    call, refer = referring(response=None)
    notify(call, "SIP/2.0 100 Trying")
    notify(call, "SIP/2.0 200 OK", state="terminated")
    call.pbx.send(respond(refer, 202, to_tag=None))
    call.wire.run(0.1)
    assert told(call) == [(100, False), (200, True)]


@pytest.mark.parametrize("line", [None, "SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "nonsense"])
def test_a_subscription_that_ends_without_a_result_is_408(line: str | None) -> None:
    call, _ = referring()
    notify(call, line, state="terminated;reason=timeout")
    assert told(call) == [(202, False), (408, True)]


def test_the_first_result_counts_and_later_ones_are_answered_only() -> None:
    call, _ = referring()
    for line in ("SIP/2.0 486 Busy", "SIP/2.0 200 OK", "SIP/2.0 180 Ringing"):
        notify(call, line)
    notify(call, None, state="terminated")
    assert told(call) == [(202, False), (486, True)]
    assert call.statuses("NOTIFY") == [200] * 4
    late = notify(call)
    assert call.statuses("NOTIFY", late) == [481]


def test_a_repeated_notify_is_told_once() -> None:
    call, _ = referring()
    request = notification(call)
    for _ in range(3):
        call.pbx.send(request)
    call.wire.run(0.1)
    assert told(call) == [(202, False), (200, True)]
    assert call.statuses("NOTIFY") == [200] * 3


def test_the_event_id_is_the_number_of_the_refer() -> None:
    call, refer = referring()
    wrong = notify(call, event=f"refer;id={refer.cseq.number + 1}")
    assert call.statuses("NOTIFY", wrong) == [481]
    assert told(call) == [(202, False)]
    notify(call, event=f"refer ; id={refer.cseq.number}")
    assert told(call) == [(202, False), (200, True)]


def test_the_result_of_an_earlier_transfer_does_not_decide_a_later_one() -> None:
    call, first = referring()
    call.wire.run(31)
    call, second = referring(call)
    notify(call, "SIP/2.0 200 OK", event=f"refer;id={first.cseq.number}", state="terminated")
    assert told(call) == [(202, False), (408, True), (202, False)]
    notify(call, "SIP/2.0 486 Busy", event=f"refer;id={second.cseq.number}", state="terminated")
    assert told(call)[-1] == (486, True)


def test_a_notify_without_id_is_about_the_oldest_transfer_that_is_still_reported_on() -> None:
    call, _ = referring()
    notify(call, "SIP/2.0 486 Busy", state="terminated")
    referring(call)
    notify(call, "SIP/2.0 200 OK", state="terminated")
    assert told(call) == [(202, False), (486, True), (202, False), (200, True)]


def test_a_refer_that_was_refused_is_reported_on_no_more() -> None:
    call, _ = referring(response=603)
    referring(call)
    notify(call, "SIP/2.0 200 OK", state="terminated")
    assert told(call) == [(603, True), (202, False), (200, True)]


def test_a_provisional_response_to_refer_is_no_news() -> None:
    call, _ = referring(response=None)
    call.reply("REFER", 100)
    assert told(call) == []
    call.reply("REFER", 200)
    assert told(call) == [(202, False)]


def test_the_id_is_that_of_the_refer_that_was_repeated_with_credentials() -> None:
    call = placed_call()
    trunk = call.user_agent._trunks.get("pbx")
    assert trunk is not None
    trunk.account._realm = "pbx"
    call, _ = referring(call, response=None)
    call.reply("REFER", 401, headers=(("WWW-Authenticate", 'Digest realm="pbx", nonce="n", qop="auth"'),))
    second = call.pbx.requests("REFER")[-1]
    assert "Authorization" in second.headers
    notify(call, event=f"refer;id={second.cseq.number}")
    assert told(call) == [(200, True)]


def test_one_transfer_at_a_time() -> None:
    call, _ = referring()
    with pytest.raises(StateError):
        call.user_agent.refer(call.leg_id, AGENT, call.wire.now)
    notify(call, "SIP/2.0 486 Busy")
    call.user_agent.refer(call.leg_id, AGENT, call.wire.now)


# ----------------------------------------------------------------------------------------------- around the BYE


def test_a_result_within_a_second_after_our_bye_is_told() -> None:
    call, _ = referring()
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    call.reply("BYE", 200)
    call.wire.run(0.5)
    notify(call, "SIP/2.0 200 OK", state="terminated")
    assert told(call) == [(202, False), (200, True)]
    assert call.user_agent.leg_count == 0


def test_after_that_second_the_call_is_gone() -> None:
    call, _ = referring()
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    call.reply("BYE", 200)
    call.wire.run(1)
    assert call.user_agent.leg_count == 0
    late = notify(call)
    assert call.statuses("NOTIFY", late) == [481]
    assert told(call) == [(202, False)]


def test_a_result_right_after_their_bye_is_told_before_the_end_of_the_call() -> None:
    """Some PBXs hang up as soon as the transfer succeeds, and report it a moment later."""
    call, _ = referring()
    call.send("BYE")
    assert call.gateway.all(CallEnded) == []
    notify(call, "SIP/2.0 200 OK", state="terminated")
    assert [type(event) for event in call.gateway.seen][-2:] == [TransferProgressed, CallEnded]
    assert told(call)[-1] == (200, True)
    assert call.user_agent.leg_count == 0
    call.user_agent.bye(call.leg_id, call.wire.now)
    assert call.pbx.requests("BYE") == []


def test_their_bye_without_a_result_ends_the_call_a_second_later() -> None:
    call, _ = referring()
    call.send("BYE")
    call.wire.run(1)
    assert call.gateway.last(CallEnded).cause is EndCause.REMOTE_BYE
    assert told(call) == [(202, False)]
    call.wire.run(40)
    assert_idle(call.gateway)


def test_their_bye_after_the_result_ends_the_call_at_once() -> None:
    call, _ = referring()
    notify(call)
    call.send("BYE")
    assert call.gateway.last(CallEnded).cause is EndCause.REMOTE_BYE


# ------------------------------------------------------------------------------------------------------ forgeries


def test_a_notify_that_nobody_asked_for_has_no_effect() -> None:
    call = taken_call()
    assert call.statuses("NOTIFY", notify(call)) == [481]
    assert call.statuses("NOTIFY", notify(call, event="message-summary")) == [489]
    assert call.statuses("NOTIFY", notify(call, event="")) == [489]
    assert told(call) == []


@pytest.mark.parametrize("wrong", [{"call_id": "other@pbx"}, {"from_tag": "forged"}, {"to_tag": "forged"}])
def test_a_notify_of_another_dialog_has_no_effect(wrong: dict[str, str]) -> None:
    call, _ = referring()
    request = notification(call)
    parts = {"call_id": request.call_id, "from_tag": request.from_.tag, "to_tag": request.to.tag} | wrong
    headers = (("Event", "refer"), ("Subscription-State", "terminated"))
    forged = call.pbx.request(
        "NOTIFY", cseq=9, headers=headers, body=b"SIP/2.0 200 OK\r\n", content_type="message/sipfrag", **parts
    )
    call.pbx.send(forged)
    call.wire.run(0.1)
    assert call.statuses("NOTIFY", forged) == [481]
    assert told(call) == [(202, False)]


def test_a_notify_from_a_stranger_is_not_even_read() -> None:
    call, _ = referring()
    strangers = call.user_agent.counters.rejected[RejectReason.STRANGER]
    for source in (STRANGER, Hop("10.0.0.3", PBX.port)):
        call.wire.inject(notification(call).to_bytes(), source)
    call.wire.run(1)
    assert told(call) == [(202, False)]
    assert call.user_agent.counters.rejected[RejectReason.STRANGER] == strangers + 2
    assert call.statuses("NOTIFY") == []


def test_a_body_of_another_type_is_no_result() -> None:
    call, _ = referring()
    request = notification(call)
    request.headers.set("Content-Type", "text/plain")
    call.pbx.send(request)
    call.wire.run(0.1)
    assert told(call) == [(202, False)]


def test_transfers_of_one_call_are_bounded() -> None:
    call = taken_call()
    for _ in range(20):
        referring(call, response=603)
    assert len(call.user_agent._legs.get(call.leg_id)._refer_client._subscriptions) <= 8


def test_a_result_that_is_given_up_is_told_to_nobody_and_another_transfer_may_follow() -> None:
    call, first = referring()
    call.user_agent.give_up_transfer(call.leg_id, call.wire.now)
    call, second = referring(call)
    assert second.cseq.number > first.cseq.number
    notify(call, "SIP/2.0 200 OK", event=f"refer;id={first.cseq.number}")
    assert told(call) == [(202, False), (202, False)]
    notify(call, "SIP/2.0 603 Decline")
    assert told(call) == [(202, False), (202, False), (603, True)], "one without an id is of the transfer under way"
    assert call.statuses("NOTIFY") == [200, 200]
    call.user_agent.give_up_transfer(call.leg_id, call.wire.now)
    call.wire.run(100)
    assert len(told(call)) == 3


def test_a_result_that_is_given_up_does_not_delay_the_end_of_the_call() -> None:
    call, _ = referring(response=None)
    call.user_agent.give_up_transfer(call.leg_id, call.wire.now)
    call.reply("REFER", 501)
    assert told(call) == []
    call.pbx.send(call.request("BYE"))
    call.wire.run(0.1)
    assert [event.cause for event in call.gateway.all(CallEnded)] == [EndCause.REMOTE_BYE]
