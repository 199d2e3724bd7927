"""Finding legs, and forgetting them."""

from __future__ import annotations

import pytest

from gateway.errors import ResourceError, StateError
from gateway.sip.events import CallOffered
from gateway.sip.hop import Transport
from gateway.sip.invite_usage import LegState
from gateway.sip.legs import REMEMBERED
from gateway.sip.replaces import Replaces
from tests.support.calls import taken_call
from tests.support.wire import PBX, STRANGER


def test_a_leg_is_found_by_id_and_dialog_until_it_ends() -> None:
    call = taken_call()
    legs = call.user_agent._legs
    leg = legs.get(call.leg_id)
    bye = call.request("BYE")
    assert legs.ids == [call.leg_id]
    assert legs.find(bye, PBX) is leg
    assert legs.find(bye, STRANGER) is None
    call.pbx.send(bye)
    call.wire.run(0.1)
    assert legs.find(bye, PBX) is None
    assert (len(legs), legs._by_dialog, legs._by_invite) == (0, {}, {})
    with pytest.raises(StateError):
        legs.get(call.leg_id)


def test_a_call_that_began_on_tls_is_not_spoken_for_in_plain_text() -> None:
    call = taken_call()
    legs, bye = call.user_agent._legs, call.request("BYE")
    leg = legs.get(call.leg_id)
    secure = PBX._replace(transport=Transport.TLS, connection=1)
    assert legs.find(bye, secure) is leg
    leg.usage.peer = secure
    wanted = Replaces(call_id=bye.call_id, to_tag=bye.to.tag or "", from_tag=bye.from_.tag or "")
    for plain in (PBX, PBX._replace(transport=Transport.TCP)):
        assert legs.find(bye, plain) is None
        assert legs.find_replaced(wanted, plain) is None
    assert legs.find(bye, secure) is leg
    assert legs.find_replaced(wanted, secure) is leg


def test_legs_that_have_ended_are_known_for_a_while() -> None:
    call = taken_call()
    legs = call.user_agent._legs
    assert not legs.has_ended(call.leg_id)
    call.send("BYE")
    assert legs.has_ended(call.leg_id)
    assert not legs.has_ended("nobody")
    trunk = call.user_agent._trunks.get("pbx")
    assert trunk is not None
    for _ in range(REMEMBERED):
        legs.new_usage(trunk, "x", LegState.CALLING, PBX).close(0.0)
    assert not legs.has_ended(call.leg_id)


def test_a_leg_is_found_by_the_invite_that_offered_it_until_it_ends() -> None:
    call = taken_call()
    call.pbx.send(call.pbx.invite(call_id="ringing@pbx"))
    call.wire.run(0.1)
    legs = call.user_agent._legs
    leg = legs.get(call.gateway.last(CallOffered).leg_id)
    (invite,) = [invite for invite, offered in legs._by_invite.items() if offered is leg]
    assert legs.find_offered(invite) is leg
    call.user_agent.reject(leg.usage.leg_id, 486, call.wire.now)
    assert legs.find_offered(invite) is None


def test_there_is_a_limit() -> None:
    call = taken_call(max_legs=1)
    legs = call.user_agent._legs
    assert legs.is_full
    trunk = legs.get(call.leg_id).usage.trunk
    with pytest.raises(ResourceError):
        legs.new_usage(trunk, "x", LegState.CALLING, PBX)
