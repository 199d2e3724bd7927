"""Being handed over: REFER in, NOTIFY out (RFC 3515)."""

from __future__ import annotations

import pytest

from gateway.errors import StateError
from gateway.sip.events import CallEnded, CallOffered, TransferProgressed, TransferRequested
from gateway.sip.hop import Hop
from gateway.sip.message import Uri
from tests.support.calls import RunningCall, placed_call, taken_call
from tests.support.wire import PBX, STRANGER, Party, Wire, assert_idle, description, gateway_on, phone_on

REFER_TO = ("Refer-To", '"Bob" <sip:6001@10.0.0.2>')


def referred(call: RunningCall) -> None:
    call.send("REFER", headers=(REFER_TO, ("Referred-By", "<sip:1001@10.0.0.2>")))


def reports(call: RunningCall) -> list[tuple[str, str]]:
    """First line and Subscription-State of our NOTIFYs, repetitions left out."""
    by_number = {request.cseq.number: request for request in call.pbx.requests("NOTIFY")}
    return [(r.body.decode().strip(), r.headers.get("Subscription-State") or "") for r in by_number.values()]


@pytest.mark.parametrize("make", [taken_call, placed_call])
def test_their_refer_goes_up_and_waits_for_a_decision(make: object) -> None:
    call = make()  # type: ignore[operator]
    referred(call)
    event = call.gateway.last(TransferRequested)
    assert (event.leg_id, str(event.refer_to), event.referred_by) == (
        call.leg_id,
        '"Bob" <sip:6001@10.0.0.2>',
        "<sip:1001@10.0.0.2>",
    )
    assert call.statuses("REFER") == []


def test_a_refer_we_accept_is_202_and_reported_on_at_once() -> None:
    call = taken_call()
    referred(call)
    call.user_agent.accept_refer(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    assert call.statuses("REFER") == [202]
    assert reports(call) == [("SIP/2.0 100 Trying", "active;expires=180")]
    notify = call.pbx.requests("NOTIFY")[0]
    assert notify.headers.get("Event") == f"refer;id={call.cseq}"
    assert (notify.content_type, len(notify.contacts)) == ("message/sipfrag", 1)


def test_reports_end_with_the_result() -> None:
    call = taken_call()
    referred(call)
    call.user_agent.accept_refer(call.leg_id, call.wire.now)
    for status, reason in ((180, None), (486, "Busy\r\nInjected: yes")):
        call.user_agent.notify_transfer(call.leg_id, status, reason, call.wire.now)
        call.wire.run(0.1)
        call.reply("NOTIFY", 200)
    assert reports(call) == [
        ("SIP/2.0 100 Trying", "active;expires=180"),
        ("SIP/2.0 180 Ringing", "active;expires=180"),
        ("SIP/2.0 486 Busy Injected: yes", "terminated;reason=noresource"),
    ]
    with pytest.raises(StateError):
        call.user_agent.notify_transfer(call.leg_id, 200, "OK", call.wire.now)


@pytest.mark.parametrize(("status", "state"), [(199, "active;expires=180"), (200, "terminated;reason=noresource")])
def test_a_report_of_200_or_more_is_the_last(status: int, state: str) -> None:
    call = taken_call()
    referred(call)
    call.user_agent.accept_refer(call.leg_id, call.wire.now)
    call.user_agent.notify_transfer(call.leg_id, status, "x", call.wire.now)
    call.wire.run(0.1)
    assert reports(call)[-1] == (f"SIP/2.0 {status} x", state)


def test_a_refer_we_decline_is_answered_so_and_another_may_follow() -> None:
    call = taken_call()
    referred(call)
    call.user_agent.reject_refer(call.leg_id, 603, call.wire.now)
    call.wire.run(0.1)
    assert call.statuses("REFER") == [603]
    with pytest.raises(StateError):
        call.user_agent.reject_refer(call.leg_id, 603, call.wire.now)
    referred(call)
    call.user_agent.accept_refer(call.leg_id, call.wire.now)


def test_a_refer_that_the_application_forgets_is_declined_in_time() -> None:
    call = taken_call(command_timeout_s=10)
    referred(call)
    call.wire.run(11)
    assert call.statuses("REFER") == [603]


def test_one_transfer_at_a_time() -> None:
    call = taken_call()
    referred(call)
    referred(call)
    assert call.statuses("REFER") == [491]
    call.user_agent.accept_refer(call.leg_id, call.wire.now)
    referred(call)
    assert call.statuses("REFER") == [491, 202, 491]


@pytest.mark.parametrize(
    "headers", [(), (REFER_TO, REFER_TO), (("Refer-To", ""),), (("Refer-To", "<not a uri"),)], ids=str
)
def test_a_refer_without_exactly_one_target_is_400(headers: tuple[tuple[str, str], ...]) -> None:
    call = taken_call()
    call.send("REFER", headers=headers)
    assert call.statuses("REFER") == [400]
    assert call.gateway.all(TransferRequested) == []


@pytest.mark.parametrize("status", [481, 489, 603])
def test_a_notify_that_is_refused_ends_the_reports_not_the_call(status: int) -> None:
    """RFC 6665 4.2.2."""
    call = taken_call()
    referred(call)
    call.user_agent.accept_refer(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    call.reply("NOTIFY", status)
    with pytest.raises(StateError):
        call.user_agent.notify_transfer(call.leg_id, 200, "OK", call.wire.now)
    assert call.gateway.all(CallEnded) == []


def test_their_bye_ends_an_open_refer() -> None:
    call = taken_call()
    referred(call)
    call.send("BYE")
    assert call.statuses("REFER") == [487]
    call.wire.run(40)
    assert_idle(call.gateway)


def test_a_refer_outside_a_call_is_declined() -> None:
    call = taken_call()
    call.pbx.send(call.pbx.request("REFER", call_id="out@pbx", headers=(REFER_TO,)))
    call.wire.run(0.1)
    assert call.statuses("REFER") == [603]
    assert call.gateway.all(TransferRequested) == []


@pytest.mark.parametrize("wrong", [{"call_id": "other@pbx"}, {"from_tag": "forged"}, {"to_tag": "forged"}])
def test_a_forged_refer_has_no_effect(wrong: dict[str, str]) -> None:
    call = taken_call()
    right = {"call_id": call.ok.call_id, "from_tag": call.ok.from_.tag, "to_tag": call.ok.to.tag}
    call.pbx.send(call.pbx.request("REFER", cseq=5, headers=(REFER_TO,), **(right | wrong)))
    call.wire.inject(call.request("REFER", headers=(REFER_TO,)).to_bytes(), STRANGER)
    call.wire.inject(call.request("REFER", headers=(REFER_TO,)).to_bytes(), Hop("10.0.0.3", PBX.port))
    call.wire.run(0.1)
    assert call.statuses("REFER") == [481]
    assert call.gateway.all(TransferRequested) == []


def test_a_refer_before_the_call_is_established_must_wait() -> None:
    call = taken_call()
    call.pbx.send(call.pbx.invite(call_id="another@pbx"))
    call.wire.run(0.1)
    call.user_agent.progress(call.gateway.last(CallOffered).leg_id, 180, call.wire.now)
    call.wire.run(0.1)
    tag = call.pbx.responses(180)[0].to.tag
    call.pbx.send(call.pbx.request("REFER", call_id="another@pbx", cseq=2, to_tag=tag, headers=(REFER_TO,)))
    call.wire.run(0.1)
    assert call.statuses("REFER") == [491]


def test_two_user_agents_transfer_a_call() -> None:
    """REFER, 202, NOTIFY and BYE between the gateway and a phone of ours."""
    wire = Wire()

    def take(party: Party, event: object, now: float) -> None:
        agent = party.user_agent
        if isinstance(event, CallOffered):
            agent.answer(event.leg_id, description(party.address.host), now)
        if isinstance(event, TransferRequested):
            agent.accept_refer(event.leg_id, now)
            agent.notify_transfer(event.leg_id, 180, None, now)
            agent.notify_transfer(event.leg_id, 200, "OK", now)

    gateway, phone = gateway_on(wire, application=take), phone_on(wire, application=take)
    phone.user_agent.invite("gateway", Uri.parse("sip:7000@10.0.0.1"), offer=description(PBX.host), now=wire.now)
    wire.run(1)
    leg_id = gateway.last(CallOffered).leg_id
    gateway.user_agent.refer(leg_id, Uri.parse("sip:6001@10.0.0.2"), wire.now)
    wire.run(1)
    assert [(e.status, e.is_final) for e in gateway.all(TransferProgressed)] == [
        (202, False),
        (100, False),
        (180, False),
        (200, True),
    ]
    gateway.user_agent.bye(leg_id, wire.now)
    wire.run(40)
    assert_idle(gateway, phone)
