"""A call over a trunk with several servers, some of them stuck for a while: one call comes of it, or none."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.sip.events import CallAnswered, CallEnded, CallEstablished, CallOffered, CallRefused, Event
from gateway.sip.hop import Hop
from gateway.sip.message import Uri
from gateway.sip.user_agent import UserAgent
from tests.support.wire import GATEWAY as US
from tests.support.wire import (
    PBX,
    Party,
    Wire,
    assert_idle,
    description,
    gateway_on,
    gateway_options,
    respond,
    scripted_on,
    trunk_options,
    udp_listener,
)

HOPS = (PBX, Hop("10.0.0.3", 5060), Hop("10.0.0.4", 5060))
NEVER = 1e9
TARGET = Uri.parse("sip:7000@10.0.0.2")


class Server(Party):
    """A server that is stuck until some time, and then takes everything that came meanwhile."""

    def __init__(self, wire: Wire, hop: Hop, *, stuck_s: float, answer_after_s: float, status: int) -> None:
        self.stuck_until = wire.now + stuck_s
        self.answer_after_s = answer_after_s
        self.status = status
        self._waiting: list[tuple[bytes, Hop]] = []
        options = gateway_options(
            trunk_options(name="gateway", peer=US, registrar=None), listeners=(udp_listener(hop),)
        )
        super().__init__(UserAgent(options, Random(hop.host)), hop, _decide)
        wire.attach(self, hop)

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        if now < self.stuck_until:
            self._waiting.append((data, source))
            return
        super().receive_datagram(data, source, now)

    def get_timer(self) -> float | None:
        deadline = super().get_timer()
        if not self._waiting:
            return deadline
        return self.stuck_until if deadline is None else min(deadline, self.stuck_until)

    def handle_timer(self, now: float) -> None:
        if now >= self.stuck_until:
            waiting, self._waiting = self._waiting, []
            for data, source in waiting:
                super().receive_datagram(data, source, now)
        super().handle_timer(now)

    @property
    def calls(self) -> int:
        """Calls that are established and have not ended."""
        return len(self.all(CallEstablished)) - len(self.all(CallEnded))


def _decide(party: Party, event: Event, now: float) -> None:
    if not isinstance(event, CallOffered) or not isinstance(party, Server):
        return
    agent = party.user_agent
    if party.status >= 300:
        agent.reject(event.leg_id, party.status, now)
        return
    agent.progress(event.leg_id, 180, now)

    def answer(now: float) -> None:
        try:
            agent.answer(event.leg_id, description(party.address.host), now)
        except StateError:
            return

    agent._core.timers.start(now + party.answer_after_s, answer)


SERVER = st.tuples(
    st.sampled_from([0.0, 0.0, 4.99, 5.005, 6.0, 12.0, 31.0, NEVER]),
    st.sampled_from([0.0, 0.2, 3.0, 20.0]),
    st.sampled_from([200, 200, 200, 503, 486]),
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(servers=st.lists(SERVER, min_size=1, max_size=3), cancel_after_s=st.sampled_from([None, 0.0, 1.0, 5.002, 8.0]))
def test_no_server_is_left_with_a_call_that_we_do_not_have(
    servers: list[tuple[float, float, int]], cancel_after_s: float | None
) -> None:
    wire = Wire()
    hops = HOPS[: len(servers)]
    parties = [
        Server(wire, hop, stuck_s=stuck_s, answer_after_s=answer_after_s, status=status)
        for hop, (stuck_s, answer_after_s, status) in zip(hops, servers, strict=True)
    ]
    gateway = gateway_on(wire, trunk_options(registrar=None, peer=hops[0], alternates=hops[1:]))
    agent = gateway.user_agent
    leg_id = agent.invite("pbx", TARGET, offer=description(), now=wire.now)
    if cancel_after_s is not None:
        wire.run(cancel_after_s)
        agent.bye(leg_id, wire.now)
    wire.run(100)
    is_up = bool(gateway.all(CallAnswered)) and cancel_after_s is None
    assert sum(server.calls for server in parties) == int(is_up)
    assert len(gateway.all(CallAnswered)) + len(gateway.all(CallRefused)) <= 1
    agent.bye(leg_id, wire.now)
    wire.run(100)
    assert sum(server.calls for server in parties) == 0
    assert_idle(gateway)
    for server in parties:
        if server.stuck_until < wire.now:
            assert_idle(server)


def test_a_server_that_answers_late_is_hung_up_while_the_call_goes_on_at_the_other() -> None:
    wire = Wire()
    late = Server(wire, PBX, stuck_s=7.0, answer_after_s=0.0, status=200)
    ready = Server(wire, HOPS[1], stuck_s=0.0, answer_after_s=0.5, status=200)
    gateway = gateway_on(wire, trunk_options(registrar=None, alternates=(HOPS[1],)))
    gateway.user_agent.invite("pbx", TARGET, offer=description(), now=wire.now)
    wire.run(20)
    assert len(late.all(CallEstablished)) + len(late.all(CallEnded)) in (0, 2)
    assert (ready.calls, late.calls) == (1, 0)
    assert gateway.all(CallEnded) == []


@pytest.mark.parametrize("registrar", [None, Uri.parse("sip:10.0.0.2")])
def test_the_server_that_wants_a_longer_session_timer_gets_the_repetition(registrar: Uri | None) -> None:
    wire = Wire()
    scripted_on(wire)
    second = scripted_on(wire, HOPS[1])
    second.reply_to = lambda request: (
        respond(request, 422, headers=(("Min-SE", "3600"),)) if request.cseq.number == 1 else None
    )
    gateway = gateway_on(wire, trunk_options(registrar=registrar, alternates=(HOPS[1],)))
    gateway.user_agent.invite("pbx", TARGET, offer=description(), now=wire.now)
    wire.run(5.1)
    invites = second.requests("INVITE")
    assert [invite.cseq.number for invite in invites] == [1, 2]
    assert invites[1].headers.get("Min-SE") == "3600"
