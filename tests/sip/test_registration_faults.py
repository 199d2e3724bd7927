"""A registration over several servers, whatever happens to them: it never sticks, and it never believes what is not so.

Random faults, in random order: servers that are silent, refuse, redirect, only say 100; connections that break or are
not taken; servers that are replaced; an application that registers and unregisters meanwhile.
"""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sip.events import RegistrationChanged, RegistrationState
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Request, Response
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    Wire,
    assert_idle,
    gateway_on,
    respond,
    scripted_on,
    trunk_options,
)

HOSTS = (PBX, Hop("10.0.0.3", 5060), Hop("10.0.0.4", 5060))
HOPS = tuple(hop._replace(transport=transport) for hop in HOSTS for transport in (Transport.UDP, Transport.TCP))
PATIENCE_S = 80.0
"""A request that got no further than 100 (32 s), all others silent (15 s), the longest back-off (30 s)."""
HEALTHY = "healthy"
MOODS = (HEALTHY, "silent", "trying", "404", "500", "503", "busy", "brief", "nothing", "302", "challenge", "stale")


class Server:
    """A registrar in a mood."""

    def __init__(self, wire: Wire, hop: Hop) -> None:
        self.wire = wire
        self.peer = scripted_on(wire, hop)
        self.peer.reply_to = self.reply
        self.mood = HEALTHY
        self.bound_until = 0.0
        self.next = HOSTS[0]
        self.nonce = 0

    def reply(self, request: Request) -> Response | None:
        if self.mood == "silent":
            return None
        if request.method != "REGISTER":
            return respond(request, 200 if self.mood == HEALTHY else 503)
        if self.mood == "trying":
            return respond(request, 100)
        if self.mood.isdigit():
            headers = (("Contact", f"<sip:{self.next.host}>"),) if self.mood == "302" else ()
            return respond(request, int(self.mood), headers=headers)
        return self.decide(request)

    def decide(self, request: Request) -> Response:
        asked_s = int(request.headers.get("Expires") or "0")
        if self.mood == "busy":
            return respond(request, 503, headers=(("Retry-After", "7"),))
        if self.mood == "brief" and asked_s < 600:
            return respond(request, 423, headers=(("Min-Expires", "600"),))
        if self.mood in ("challenge", "stale") and ("Authorization" not in request.headers or self.mood == "stale"):
            self.nonce += 1
            value = f'Digest realm="pbx", nonce="n{self.nonce}", qop="auth", stale={str(self.mood == "stale").lower()}'
            return respond(request, 401, headers=(("WWW-Authenticate", value),))
        granted_s = 0 if self.mood == "nothing" else asked_s
        self.bound_until = self.wire.now + granted_s
        return respond(request, 200, headers=(("Expires", str(granted_s)),))


class World:
    """Three servers, a gateway whose trunk knows them all, and its registration."""

    def __init__(self, seed: int, first: Hop) -> None:
        self.wire = Wire(seed=seed)
        self.servers = {hop.address: Server(self.wire, hop) for hop in HOSTS}
        others = tuple(hop._replace(transport=first.transport) for hop in HOSTS if hop.address != first.address)
        self.gateway: Party = gateway_on(self.wire, trunk_options(peer=first, alternates=others))
        self.registration = self.gateway.user_agent._registrations["pbx"]
        self.start()

    def start(self) -> None:
        self.gateway.user_agent.register("pbx", self.wire.now)

    def stop(self) -> None:
        self.gateway.user_agent.unregister("pbx", self.wire.now)

    def relocate(self, chance: Random) -> None:
        hops = tuple(chance.sample(HOPS, chance.randint(1, 3)))
        self.gateway.user_agent.relocate("pbx", hops, self.wire.now)

    def break_connections(self) -> None:
        for hop in HOSTS:
            if frozenset((GATEWAY.address, hop.address)) in self.wire._connections:
                self.wire.break_connection(
                    GATEWAY._replace(transport=Transport.TCP), hop._replace(transport=Transport.TCP)
                )

    def disturb(self, what: str, chance: Random) -> None:
        server = self.servers[chance.choice(HOSTS).address]
        match what:
            case "mood":
                server.mood, server.next = chance.choice(MOODS), chance.choice(HOSTS)
            case "streams":
                self.wire.without_streams ^= {chance.choice(HOSTS).address}
            case "loss":
                self.wire.loss = chance.choice((0.0, 0.3, 1.0))
            case "break":
                self.break_connections()
            case "relocate":
                self.relocate(chance)
            case "start":
                self.start()
            case "stop":
                self.stop()

    def heal(self) -> None:
        self.wire.loss = 0.0
        self.wire.without_streams.clear()
        for server in self.servers.values():
            server.mood = HEALTHY

    def check(self) -> None:
        """A registration that is wanted waits for an answer that will come, or for an alarm that will ring."""
        registration = self.registration
        request, alarm = registration._request, registration._alarm
        is_asking = request is not None and request._transaction is not None and request._transaction.is_open
        is_waiting = alarm is not None and alarm.is_pending
        assert not registration._is_wanted or is_asking or is_waiting
        if registration.state is RegistrationState.REGISTERED and registration._is_wanted and request is None:
            told = self.gateway.last(RegistrationChanged)
            assert told.state is RegistrationState.REGISTERED
            assert told.server == self.gateway.user_agent._trunks.get("pbx").hop  # type: ignore[union-attr]
            assert self.servers[told.server.address].bound_until > self.wire.now


WHAT = st.sampled_from(["mood", "mood", "mood", "streams", "loss", "break", "relocate", "start", "stop"])
STEPS = st.lists(st.tuples(WHAT, st.sampled_from([0.0, 0.01, 0.5, 4.0, 6.0, 33.0, 200.0])), max_size=25)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), first=st.sampled_from(HOPS), steps=STEPS)
def test_a_registration_never_sticks_and_is_back_soon_after_the_last_fault(
    seed: int, first: Hop, steps: list[tuple[str, float]]
) -> None:
    world, chance = World(seed, first), Random(seed)
    for what, duration_s in steps:
        world.disturb(what, chance)
        world.check()
        world.wire.run(duration_s)
        world.check()
    world.heal()
    world.start()
    world.wire.run(PATIENCE_S)
    world.check()
    assert world.registration.state is RegistrationState.REGISTERED
    world.stop()
    world.wire.run(PATIENCE_S)
    assert world.registration.state is RegistrationState.UNREGISTERED
    assert_idle(world.gateway)
