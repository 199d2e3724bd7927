"""Two user agents, or one and a scripted peer, on a wire without a network."""

from __future__ import annotations

from gateway.sip.events import (
    CallAnswered,
    CallEnded,
    CallEstablished,
    CallOffered,
    CallProgressed,
    EndCause,
    Event,
)
from gateway.sip.message import Uri
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    Wire,
    assert_idle,
    assert_sent,
    description,
    gateway_on,
    phone_on,
)

TARGET = Uri.parse("sip:7000@10.0.0.1")


def answering(party: Party, event: Event, now: float) -> None:
    """Take every call."""
    if isinstance(event, CallOffered):
        party.user_agent.answer(event.leg_id, description(party.address.host), now)


def test_a_call_is_offered_answered_and_hung_up_by_the_caller() -> None:
    wire = Wire()
    gateway = gateway_on(wire, application=answering)
    phone = phone_on(wire)

    leg_id = phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    phone.user_agent.bye(leg_id, wire.now)
    wire.run(1)

    assert_sent(wire, "INVITE", "ACK", "BYE", source=PBX)
    assert_sent(wire, "100 INVITE", "200 INVITE", "200 BYE", source=GATEWAY)
    offered = gateway.last(CallOffered)
    assert (offered.trunk, offered.request_uri, offered.source) == ("pbx", TARGET, PBX)
    assert description(PBX.host) == offered.offer
    assert description() == phone.last(CallAnswered).description
    assert offered.leg_id == gateway.last(CallEstablished).leg_id
    assert EndCause.REMOTE_BYE is gateway.last(CallEnded).cause
    assert (gateway.user_agent.leg_count, phone.user_agent.leg_count) == (0, 0)
    wire.run(40)
    assert_idle(gateway, phone)


def test_the_callee_may_hang_up_as_well() -> None:
    wire = Wire()
    gateway = gateway_on(wire, application=answering)
    phone = phone_on(wire)

    phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    gateway.user_agent.bye(gateway.last(CallOffered).leg_id, wire.now, 'Q.850;cause=16;text="done"')
    wire.run(1)

    ended = phone.last(CallEnded)
    assert (ended.cause, ended.status, ended.reason) == (EndCause.REMOTE_BYE, None, "done")
    wire.run(40)
    assert_idle(gateway, phone)


def test_progress_and_early_media_reach_the_caller() -> None:
    wire = Wire()
    gateway = gateway_on(wire)
    phone = phone_on(wire)

    phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    leg_id = gateway.last(CallOffered).leg_id
    gateway.user_agent.progress(leg_id, 180, wire.now)
    wire.run(1)
    gateway.user_agent.progress(leg_id, 183, wire.now, answer=description())
    wire.run(1)

    assert [(180, None), (183, description())] == [(e.status, e.description) for e in phone.all(CallProgressed)]
