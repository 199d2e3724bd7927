"""Watching a registrar by OPTIONS (its loss shows within 45 s)."""

from __future__ import annotations

import pytest

from gateway.sip.events import RegistrationChanged, RegistrationState
from gateway.sip.hop import Hop
from gateway.sip.message import Request, Response
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    gateway_on,
    respond,
    scripted_on,
    trunk_options,
)

SECOND = Hop("10.0.0.3", 5060)


def registered(**options: object) -> tuple[Wire, Party, ScriptedPeer]:
    """A gateway that is registered; the PBX answers everything until told otherwise."""
    wire = Wire()
    pbx, gateway = scripted_on(wire), gateway_on(wire, **options)  # type: ignore[arg-type]
    pbx.reply_to = lambda request: respond(request, 200)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    return wire, gateway, pbx


def state(gateway: Party) -> RegistrationState:
    return gateway.last(RegistrationChanged).state


def test_the_registrar_is_asked_at_once_and_every_30_seconds_while_we_are_registered() -> None:
    wire, gateway, pbx = registered()
    wire.run(129)
    assert [round(sent.at - 1000) for sent in wire.sent("OPTIONS", GATEWAY)] == [0, 30, 60, 90, 120]
    request = pbx.requests("OPTIONS")[0]
    assert (str(request.uri), request.to.tag, len(request.contacts)) == ("sip:10.0.0.2:5060", None, 1)
    assert len({request.call_id for request in pbx.requests("OPTIONS")}) == 5
    assert state(gateway) is RegistrationState.REGISTERED


@pytest.mark.parametrize("after_s", [0, 10, 28, 40])
def test_a_registrar_that_goes_is_missed_within_45_seconds(after_s: int) -> None:
    wire, gateway, pbx = registered()
    wire.run(after_s)
    pbx.reply_to = None
    gone_at = wire.now
    while state(gateway) is RegistrationState.REGISTERED:
        wire.run(1)
    assert wire.now - gone_at <= 45
    assert "no longer answers" in gateway.last(RegistrationChanged).reason
    pbx.reply_to = lambda request: respond(request, 200)
    wire.run(5)
    assert state(gateway) is RegistrationState.REGISTERED


@pytest.mark.parametrize("status", [100, 200, 401, 404, 503])
def test_any_response_is_a_sign_of_life(status: int) -> None:
    wire, gateway, pbx = registered()

    def reply(request: Request) -> Response:
        return respond(request, 200 if request.method == "REGISTER" else status)

    pbx.reply_to = reply
    wire.run(3600)
    assert state(gateway) is RegistrationState.REGISTERED
    assert len(gateway.all(RegistrationChanged)) == 2


def test_a_registrar_that_never_answers_options_is_left_in_peace() -> None:
    wire = Wire()
    pbx, gateway = scripted_on(wire), gateway_on(wire)
    pbx.reply_to = lambda request: respond(request, 200) if request.method == "REGISTER" else None
    gateway.user_agent.register("pbx", wire.now)
    wire.run(3600)
    assert len(pbx.requests("OPTIONS")) >= 120
    assert [change.state for change in gateway.all(RegistrationChanged)][1:] == [RegistrationState.REGISTERED]


def test_a_registrar_that_ceases_to_answer_options_is_missed_once() -> None:
    wire, gateway, pbx = registered()
    wire.run(40)
    pbx.reply_to = lambda request: respond(request, 200) if request.method == "REGISTER" else None
    wire.run(3600)
    assert state(gateway) is RegistrationState.REGISTERED
    assert sum("no longer answers" in change.reason for change in gateway.all(RegistrationChanged)) == 1


def test_a_server_that_never_answers_options_is_left_in_peace_though_the_one_before_it_did() -> None:
    wire = Wire()
    pbx, second = scripted_on(wire), scripted_on(wire, SECOND)
    pbx.reply_to = lambda request: respond(request, 200)
    second.reply_to = lambda request: respond(request, 200) if request.method == "REGISTER" else None
    gateway = gateway_on(wire, trunk_options(alternates=(SECOND,)))
    gateway.user_agent.register("pbx", wire.now)
    wire.run(40)
    pbx.reply_to = None
    wire.run(60)
    assert gateway.last(RegistrationChanged).server == SECOND
    told = len(gateway.all(RegistrationChanged))
    wire.run(3600)
    assert len(gateway.all(RegistrationChanged)) == told
    pbx.reply_to = lambda request: respond(request, 200)
    wire.run(61)
    assert gateway.last(RegistrationChanged).server == PBX


def test_the_silence_of_a_server_that_we_have_left_is_no_loss() -> None:
    wire = Wire()
    pbx, second = scripted_on(wire), scripted_on(wire, SECOND)
    second.reply_to = lambda request: respond(request, 200)
    gateway = gateway_on(wire, trunk_options(alternates=(SECOND,)))
    gateway.user_agent.register("pbx", wire.now)
    wire.run(64)
    assert gateway.last(RegistrationChanged).server == SECOND
    second.reply_to, pbx.reply_to = None, lambda request: respond(request, 200)
    wire.run(20)
    assert [sent.at for sent in wire.sent("OPTIONS", GATEWAY) if sent.destination == SECOND and sent.at > 1064]
    assert gateway.last(RegistrationChanged).server == PBX
    assert RegistrationState.FAILED not in [change.state for change in gateway.all(RegistrationChanged)]


def test_one_lost_probe_in_a_while_is_no_loss() -> None:
    """The transaction repeats it."""
    wire, gateway, _ = registered()
    wire.drop = lambda sent: sent.label == "OPTIONS" and sent.at % 60 < 2
    wire.run(3600)
    assert state(gateway) is RegistrationState.REGISTERED


def test_nobody_is_asked_after_unregister_or_when_it_is_not_wanted() -> None:
    wire, gateway, pbx = registered()
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(100)
    assert len(pbx.requests("OPTIONS")) == 1
    wire, _, pbx = registered(probe_interval_s=0)
    wire.run(100)
    assert pbx.requests("OPTIONS") == []


def test_nobody_is_asked_while_the_registration_has_failed() -> None:
    wire, _, pbx = registered()
    pbx.reply_to = lambda request: respond(request, 403)
    wire.run(400)
    asked = len(pbx.requests("OPTIONS"))
    wire.run(400)
    assert len(pbx.requests("OPTIONS")) == asked
