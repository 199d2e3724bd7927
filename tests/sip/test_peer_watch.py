"""Watching the peers of trunks that do not register (a loss shows within 45 s)."""

from __future__ import annotations

import pytest

from gateway.sip.events import PeerChanged, PeerState
from gateway.sip.hop import Hop
from gateway.sip.message import Uri
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    description,
    gateway_on,
    respond,
    scripted_on,
    trunk_options,
)

SECOND = Hop("10.0.0.3", 5060)


def watched(*servers: Hop, **options: object) -> tuple[Wire, Party, list[ScriptedPeer]]:
    """A trunk without registration whose servers answer everything until told otherwise."""
    wire = Wire()
    peers = [scripted_on(wire, hop) for hop in servers]
    for peer in peers:
        wake(peer)
    trunk = trunk_options(registrar=None, peer=servers[0], alternates=servers[1:])
    gateway = gateway_on(wire, trunk, **options)
    gateway.user_agent.watch_peers(wire.now)
    return wire, gateway, peers


def wake(peer: ScriptedPeer) -> None:
    peer.reply_to = lambda request: respond(request, 404)


def states(gateway: Party) -> list[PeerState]:
    return [change.state for change in gateway.all(PeerChanged)]


def test_a_peer_is_asked_at_once_and_every_30_seconds() -> None:
    wire, gateway, _ = watched(PBX)
    wire.run(95)
    assert [round(sent.at - 1000) for sent in wire.sent("OPTIONS", GATEWAY)] == [0, 30, 60, 90]
    assert states(gateway) == [PeerState.REACHABLE]
    assert gateway.user_agent.peers == (gateway.last(PeerChanged),)


def test_a_peer_is_watched_once_however_often_that_is_asked_for() -> None:
    wire, gateway, _ = watched(PBX)
    gateway.user_agent.watch_peers(wire.now)
    wire.run(31)
    assert len(wire.sent("OPTIONS", GATEWAY)) == 2


def test_a_peer_that_goes_is_missed_within_45_seconds_and_found_again() -> None:
    wire, gateway, (pbx,) = watched(PBX)
    wire.run(31)
    pbx.reply_to = None
    wire.run(45)
    assert states(gateway) == [PeerState.REACHABLE, PeerState.UNREACHABLE]
    wake(pbx)
    wire.run(31)
    assert states(gateway)[-1] is PeerState.REACHABLE


def test_a_peer_that_never_answers_is_not_called_lost() -> None:
    wire, gateway, (pbx,) = watched(PBX)
    pbx.reply_to = None
    wire.run(300)
    assert states(gateway) == []
    assert gateway.user_agent.peers[0].state is PeerState.UNKNOWN


def test_calls_go_to_the_first_server_that_answers() -> None:
    wire, gateway, (pbx, second) = watched(PBX, SECOND)
    pbx.reply_to = None
    wire.run(1)
    for server, peer in ((SECOND, second), (PBX, pbx)):
        gateway.user_agent.invite("pbx", Uri.parse("sip:1@x"), offer=description(), now=wire.now)
        wire.run(1)
        assert len(peer.requests("INVITE")) == 1, server
        wake(pbx)
        wire.run(31)


@pytest.mark.parametrize(("servers", "options"), [((GATEWAY,), {}), ((PBX,), {"probe_interval_s": 0})])
def test_nobody_is_asked_where_that_makes_no_sense(servers: tuple[Hop, ...], options: dict[str, object]) -> None:
    wire, gateway, _ = watched(*servers, **options)
    wire.run(60)
    assert wire.sent("OPTIONS") == []
    assert states(gateway) == []
