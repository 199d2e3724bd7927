"""Registrations: digest, refresh, 423, back-off, giving back (RFC 3261 10.2, RFC 8760)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from gateway.errors import StateError
from gateway.sip.events import RegistrationChanged, RegistrationState
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Request, Response, Uri
from gateway.sip.reject_reason import RejectReason
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    assert_idle,
    gateway_on,
    respond,
    scripted_on,
    trunk_options,
)

REGISTERED, FAILED = RegistrationState.REGISTERED, RegistrationState.FAILED
UNREGISTERED, REGISTERING = RegistrationState.UNREGISTERED, RegistrationState.REGISTERING
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


class Registrar:
    """A registrar that checks digests by itself, with a switch for everything that registrars do."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.peer = peer
        self.password = "secret"
        self.realm = "pbx"
        self.nonces = ["nonce-1"]
        self.algorithms = ["MD5"]
        self.granted: Callable[[int], int] = lambda asked_s: asked_s
        self.minimum_s = 0
        self.refuses: Callable[[Request], Response | None] = lambda request: None
        self.is_silent = False
        self.counts: list[int] = []
        peer.reply_to = self.reply

    def reply(self, request: Request) -> Response | None:
        if self.is_silent or request.method != "REGISTER":
            return None
        asked_s = int(request.headers.get("Expires") or "0")
        refused = self.refuses(request)
        if refused is not None:
            return refused
        if not self._is_proven(request):
            return self._challenge(request)
        if 0 < asked_s < self.minimum_s:
            return respond(request, 423, headers=(("Min-Expires", str(self.minimum_s)),))
        contact = (("Contact", f"{request.contacts[0]};expires={self.granted(asked_s)}"),) if asked_s else ()
        return respond(request, 200, headers=contact)

    def _challenge(self, request: Request, *, stale: bool = False) -> Response:
        values = (
            ("WWW-Authenticate", f'Digest realm="{self.realm}", nonce="{self.nonces[-1]}", algorithm={a}, qop="auth"')
            for a in self.algorithms
        )
        return respond(request, 401, headers=tuple(values))

    def _is_proven(self, request: Request) -> bool:
        """RFC 7616 3.4.1, computed from the header alone."""
        value = request.headers.get("Authorization")
        if value is None:
            return False
        given = {name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^ ,]+))', value)}

        def digest(text: str) -> str:
            return hashlib.new(_HASHES[given["algorithm"]], text.encode()).hexdigest()

        key = digest(f"gateway:{self.realm}:{self.password}")
        proof = f"{self.nonces[-1]}:{given['nc']}:{given['cnonce']}:auth:{digest('REGISTER:' + given['uri'])}"
        self.counts.append(int(given["nc"], 16))
        return given["nonce"] == self.nonces[-1] and given["response"] == digest(f"{key}:{proof}")


def world(**changes: object) -> tuple[Wire, Party, Registrar]:
    wire = Wire()
    registrar = Registrar(scripted_on(wire))
    # Watching the registrar by OPTIONS is tests/sip/test_probe.py's.
    gateway = gateway_on(wire, trunk_options(**changes), probe_interval_s=0)
    gateway.user_agent.register("pbx", wire.now)
    return wire, gateway, registrar


def states(gateway: Party) -> list[RegistrationState]:
    return [change.state for change in gateway.all(RegistrationChanged)]


def sent_at(wire: Wire) -> list[float]:
    """When REGISTERs left, in seconds since the start, to hundredths."""
    return [round(sent.at - 1000.0, 2) for sent in wire.sent("REGISTER", GATEWAY)]


@pytest.mark.parametrize("algorithms", [["MD5"], ["SHA-256"], ["MD5", "SHA-256"]])
def test_a_challenge_is_answered_and_the_registration_told(algorithms: list[str]) -> None:
    wire, gateway, registrar = world()
    registrar.algorithms = algorithms
    wire.run(1)
    assert states(gateway) == [REGISTERING, REGISTERED]
    change = gateway.last(RegistrationChanged)
    assert (change.trunk, change.status, change.expires_s) == ("pbx", 200, 300)
    first, second = registrar.peer.requests("REGISTER")
    assert (first.call_id, first.from_.tag) == (second.call_id, second.from_.tag)
    assert (first.cseq.number + 1, first.top_via.branch != second.top_via.branch) == (second.cseq.number, True)
    assert algorithms[-1] in (second.headers.get("Authorization") or "")


def test_what_is_registered_is_our_contact_at_the_registrars_domain() -> None:
    wire, _, registrar = world(registrar=Uri.parse("sip:someone@10.0.0.2"), contact_user="7000")
    wire.run(1)
    request = registrar.peer.requests("REGISTER")[0]
    assert request.uri == Uri.parse("sip:10.0.0.2")
    assert str(request.to) == "<sip:7000@10.0.0.2>"
    assert [str(contact) for contact in request.contacts] == ["<sip:7000@10.0.0.1:5060>"]


@pytest.mark.parametrize("seed", range(5))
def test_refresh_comes_at_50_to_90_percent_of_the_time_granted_not_of_the_time_asked(seed: int) -> None:
    wire = Wire(seed=seed)
    registrar = Registrar(scripted_on(wire))
    registrar.granted = lambda asked_s: 100
    gateway = gateway_on(wire, probe_interval_s=0)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1000)
    gaps = [later - earlier for earlier, later in pairwise(sent_at(wire)[1:])]
    assert len(gaps) >= 10
    assert all(50 <= gap <= 90.1 for gap in gaps)
    assert max(gaps) - min(gaps) > 5
    assert {request.headers.get("Expires") for request in registrar.peer.requests("REGISTER")} == {"300"}


def test_a_registrar_that_grants_a_second_less_each_time_is_asked_for_the_full_time_each_time() -> None:
    """asterisk/asterisk#702: who asks for what was granted last ends at zero."""
    wire, gateway, registrar = world()
    registrar.granted = lambda asked_s: asked_s - 1
    wire.run(24 * 3600)
    assert {request.headers.get("Expires") for request in registrar.peer.requests("REGISTER")} == {"300"}
    assert states(gateway) == [REGISTERING, REGISTERED]


def test_the_nonce_is_used_again_with_rising_counts_so_that_a_refresh_is_one_request() -> None:
    wire, _, registrar = world()
    wire.run(1400)
    assert registrar.counts == list(range(1, len(registrar.counts) + 1))
    assert len(registrar.counts) >= 5
    assert len(registrar.peer.requests("REGISTER")) == len(registrar.counts) + 1


def test_a_new_nonce_is_taken_up_without_a_failure() -> None:
    wire, gateway, registrar = world()
    wire.run(1)
    registrar.nonces.append("nonce-2")
    wire.run(300)
    assert states(gateway) == [REGISTERING, REGISTERED]
    assert 'nonce="nonce-2"' in (registrar.peer.requests("REGISTER")[-1].headers.get("Authorization") or "")


def test_a_wrong_password_is_told_after_one_try_and_tried_again_slowly_for_ever() -> None:
    wire, gateway, registrar = world(password="wrong")
    wire.run(1)
    change = gateway.last(RegistrationChanged)
    assert (change.state, change.status) == (FAILED, 401)
    assert "password" in change.reason
    assert len(registrar.peer.requests("REGISTER")) == 2
    wire.run(600)
    proofs = [r for r in registrar.peer.requests("REGISTER") if "Authorization" in r.headers]
    assert 600 / 30 <= len(proofs) <= 600 / 15 + 2
    assert states(gateway) == [REGISTERING, FAILED]
    registrar.password = "wrong"
    wire.run(31)
    assert states(gateway)[-1] is REGISTERED


def test_endless_fresh_nonces_get_two_answers_at_most() -> None:
    """CVE-2020-28242: a registrar that finds every nonce stale made others repeat for ever."""
    wire, gateway, registrar = world()
    numbers = iter(range(10**6))
    registrar.refuses = lambda request: respond(
        request,
        401,
        headers=(("WWW-Authenticate", f'Digest realm="pbx", nonce="n{next(numbers)}", qop="auth", stale=true'),),
    )
    wire.run(1)
    assert len(registrar.peer.requests("REGISTER")) == 3
    assert gateway.last(RegistrationChanged).state is FAILED


def test_a_challenge_for_another_realm_is_never_answered() -> None:
    wire, gateway, registrar = world(auth_realm="pbx")
    registrar.realm = "attacker"
    wire.run(300)
    assert not any("Authorization" in request.headers for request in registrar.peer.requests("REGISTER"))
    change = gateway.last(RegistrationChanged)
    assert change.state is FAILED
    assert "realm" in change.reason


def test_a_challenge_from_another_port_of_the_registrar_is_never_answered() -> None:
    wire = Wire()
    registrar = Registrar(scripted_on(wire))
    registrar.is_silent = True
    gateway = gateway_on(wire, probe_interval_s=0)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(0.1)
    challenge = registrar._challenge(registrar.peer.requests("REGISTER")[0])
    wire.inject(challenge.to_bytes(), Hop(PBX.host, 9999))
    wire.run(100)
    assert not any("Authorization" in request.headers for request in registrar.peer.requests("REGISTER"))


def test_too_brief_an_interval_is_lengthened_at_once() -> None:
    wire, gateway, registrar = world(expires_s=60)
    registrar.minimum_s = 600
    wire.run(1)
    assert gateway.last(RegistrationChanged).expires_s == 600
    assert registrar.peer.requests("REGISTER")[-1].headers.get("Expires") == "600"


@pytest.mark.parametrize("least", [(), (("Min-Expires", "60"),), (("Min-Expires", "soon"),)])
def test_a_423_that_says_nothing_new_is_a_failure_not_a_loop(least: tuple[tuple[str, str], ...]) -> None:
    wire, gateway, registrar = world(expires_s=60)
    registrar.refuses = lambda request: respond(request, 423, headers=least)
    wire.run(1)
    assert gateway.last(RegistrationChanged).state is FAILED
    assert len(registrar.peer.requests("REGISTER")) == 1


def test_a_registrar_that_is_down_is_asked_after_1_2_4_and_at_most_30_seconds_for_ever() -> None:
    wire, gateway, registrar = world()
    registrar.is_silent = True
    wire.run(3600)
    starts: dict[str, float] = {}
    for sent in wire.sent("REGISTER"):
        starts.setdefault(sent.message.top_via.branch, sent.at)  # type: ignore[union-attr,arg-type]
    gaps = [later - earlier - 32 for earlier, later in pairwise(starts.values())]
    limits = [1, 2, 4, 8, 16] + [30] * (len(gaps) - 5)
    assert all(limit / 2 <= gap <= limit for gap, limit in zip(gaps, limits, strict=True)), gaps
    assert len(gaps) > 50
    assert states(gateway) == [REGISTERING, FAILED]
    assert gateway.last(RegistrationChanged).status == 408


@pytest.mark.parametrize("down_s", [40, 100, 600])
def test_registration_is_back_within_31_seconds_of_the_registrars_return(down_s: int) -> None:
    wire, gateway, registrar = world()
    wire.run(1)
    registrar.is_silent = True
    wire.run(300 + down_s)
    assert states(gateway)[-1] is FAILED
    registrar.is_silent = False
    wire.run(31)
    assert states(gateway)[-1] is REGISTERED


def test_registration_is_back_within_5_seconds_when_the_registrar_sends_anything() -> None:
    wire, gateway, registrar = world()
    registrar.is_silent = True
    while gateway.last(RegistrationChanged).retry_in_s is None or wire.now < 1400:
        wire.run(1)
    while gateway.user_agent._registrations["pbx"]._request is not None:
        wire.run(0.5)
    registrar.is_silent = False
    wire.inject(registrar.peer.request("OPTIONS").to_bytes(), PBX)
    wire.run(5)
    assert states(gateway)[-1] is REGISTERED


def test_retry_after_is_kept_even_if_the_registrar_is_heard_of() -> None:
    wire, gateway, registrar = world()
    registrar.refuses = lambda request: respond(request, 503, headers=(("Retry-After", "120 (restart)"),))
    wire.run(1)
    assert gateway.last(RegistrationChanged).retry_in_s == 120
    registrar.refuses = lambda request: None
    wire.inject(registrar.peer.request("OPTIONS").to_bytes(), PBX)
    wire.run(118)
    assert states(gateway)[-1] is FAILED
    wire.run(3)
    assert states(gateway)[-1] is REGISTERED


@pytest.mark.parametrize(
    ("contact", "expires", "granted_s"),
    [
        ("<sip:gateway@10.0.0.1:5060>;expires=120", None, 120),
        ("<sip:other@10.0.0.9>;expires=30, <sip:gateway@10.0.0.1:5060>;expires=120", "60", 120),
        ("<sip:gateway@192.0.2.1:40000>;expires=77", None, 77),
        ("<sip:other@10.0.0.9>;expires=30, <sip:third@10.0.0.9>;expires=30", "90", 90),
        (None, "90", 90),
        (None, None, 300),
        ("<sip:gateway@10.0.0.1:5060>;expires=99999999999999", None, 300),
    ],
)
def test_the_time_granted_is_that_of_our_contact_else_of_expires_else_what_was_asked(
    contact: str | None, expires: str | None, granted_s: int
) -> None:
    wire, gateway, registrar = world()
    headers = [(name, value) for name, value in (("Contact", contact), ("Expires", expires)) if value]

    def reply(request: Request) -> Response:
        response = respond(request, 200)
        response.headers.remove("Contact")
        for name, value in headers:
            response.headers.add(name, value)
        return response

    registrar.refuses = reply
    wire.run(1)
    assert gateway.last(RegistrationChanged).expires_s == granted_s


def test_a_registrar_that_grants_no_time_has_not_registered_us() -> None:
    wire, gateway, registrar = world()
    registrar.granted = lambda asked_s: 0
    wire.run(20)
    assert gateway.last(RegistrationChanged).state is FAILED
    assert len(registrar.peer.requests("REGISTER")) < 12


def test_unregister_gives_the_binding_back_and_stays_silent() -> None:
    wire, gateway, registrar = world()
    wire.run(1)
    gateway.user_agent.unregister("pbx", wire.now)
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(1000)
    last = registrar.peer.requests("REGISTER")[-1]
    assert (last.headers.get("Expires"), str(last.contacts[0].uri)) == ("0", "sip:gateway@10.0.0.1:5060")
    assert len(registrar.peer.requests("REGISTER")) == 3
    assert states(gateway) == [REGISTERING, REGISTERED, UNREGISTERED]
    assert_idle(gateway)
    assert gateway.user_agent.get_timer() is None


def test_unregister_while_a_registration_is_under_way_waits_for_it() -> None:
    wire, gateway, registrar = world()
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(100)
    assert [request.headers.get("Expires") for request in registrar.peer.requests("REGISTER")] == ["300", "300", "0"]
    assert states(gateway)[-1] is UNREGISTERED


def test_unregister_gives_nothing_back_that_was_never_had() -> None:
    wire, gateway, registrar = world()
    registrar.refuses = lambda request: respond(request, 403)
    wire.run(1)
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(100)
    assert len(registrar.peer.requests("REGISTER")) == 1
    assert states(gateway)[-1] is UNREGISTERED


def test_register_again_begins_the_back_off_anew() -> None:
    wire, gateway, registrar = world()
    registrar.refuses = lambda request: respond(request, 500)
    wire.run(200)
    gateway.user_agent.register("pbx", wire.now)
    asked = len(registrar.peer.requests("REGISTER"))
    wire.run(1.1)
    assert len(registrar.peer.requests("REGISTER")) >= asked + 2


def test_a_registrar_that_answered_is_not_woken_up() -> None:
    wire, _, registrar = world()
    registrar.refuses = lambda request: respond(request, 403)
    wire.run(1)
    for _ in range(5):
        wire.inject(registrar.peer.request("OPTIONS").to_bytes(), PBX)
        wire.run(2.5)
    assert len(registrar.peer.requests("REGISTER")) == 1


def test_unregister_ends_even_if_the_registrar_is_gone() -> None:
    wire, gateway, registrar = world()
    wire.run(1)
    registrar.is_silent = True
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(40)
    assert states(gateway)[-1] is UNREGISTERED
    assert gateway.user_agent.get_timer() is None


def test_register_again_while_giving_back_registers_anew() -> None:
    wire, gateway, registrar = world()
    wire.run(1)
    gateway.user_agent.unregister("pbx", wire.now)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    assert [r.headers.get("Expires") for r in registrar.peer.requests("REGISTER")] == ["300", "300", "0", "300"]
    assert states(gateway)[-1] is REGISTERED


def test_register_when_registered_refreshes_at_once() -> None:
    """What a change of network calls for."""
    wire, gateway, registrar = world()
    wire.run(1)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    assert len(registrar.peer.requests("REGISTER")) == 3
    assert states(gateway) == [REGISTERING, REGISTERED]


def test_only_trunks_with_a_registrar_can_be_registered() -> None:
    wire = Wire()
    gateway = gateway_on(wire, trunk_options(registrar=None))
    with pytest.raises(StateError):
        gateway.user_agent.register("pbx", wire.now)
    with pytest.raises(StateError):
        gateway.user_agent.register("nobody", wire.now)


def test_registration_survives_heavy_loss() -> None:
    wire = Wire(seed=3, loss=0.3)
    registrar = Registrar(scripted_on(wire))
    gateway = gateway_on(wire, probe_interval_s=0)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(3600)
    assert FAILED not in states(gateway)
    assert len(registrar.counts) > 12


# Several servers.

SECOND, THIRD = Hop("10.0.0.3", 5060), Hop("10.0.0.4", 5060)


def cluster(**changes: object) -> tuple[Wire, Party, dict[Hop, Registrar]]:
    """A trunk with three registrars that share an account."""
    wire = Wire()
    registrars = {hop: Registrar(scripted_on(wire, hop)) for hop in (PBX, SECOND, THIRD)}
    trunk = trunk_options(alternates=(SECOND, THIRD), **changes)
    gateway = gateway_on(wire, trunk, probe_interval_s=0)
    return wire, gateway, registrars


def servers_asked(wire: Wire, label: str = "REGISTER") -> list[Hop]:
    """In order, each once for a run of requests to it."""
    asked = [sent.destination for sent in wire.sent(label, GATEWAY)]
    return [hop for place, hop in enumerate(asked) if place == 0 or asked[place - 1] != hop]


@pytest.mark.parametrize(("fault", "within_s"), [("silent", 6.0), (503, 0.2), (500, 0.2)])
def test_the_next_server_is_tried_at_once_when_one_fails(fault: str | int, within_s: float) -> None:
    wire, gateway, registrars = cluster()
    registrars[PBX].is_silent = fault == "silent"
    if isinstance(fault, int):
        registrars[PBX].refuses = lambda request: respond(request, fault)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(within_s)
    assert states(gateway) == [REGISTERING, REGISTERED]
    assert gateway.last(RegistrationChanged).server == SECOND
    assert servers_asked(wire) == [PBX, SECOND]


def test_the_back_off_begins_when_all_servers_have_failed_and_starts_with_the_preferred() -> None:
    wire, gateway, registrars = cluster()
    for registrar in registrars.values():
        registrar.refuses = lambda request: respond(request, 503)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(0.5)
    assert servers_asked(wire) == [PBX, SECOND, THIRD]
    assert states(gateway) == [REGISTERING, FAILED]
    wire.run(1.5)
    assert [sent.destination for sent in wire.sent("REGISTER", GATEWAY)][:6] == [PBX, SECOND, THIRD] * 2


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_account_is_not_shown_to_every_server(status: int) -> None:
    wire, gateway, registrars = cluster()
    registrars[PBX].refuses = lambda request: respond(request, status)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(5)
    assert servers_asked(wire) == [PBX]
    assert states(gateway) == [REGISTERING, FAILED]


def test_the_preferred_server_gets_the_registration_back_when_it_answers_again() -> None:
    wire, gateway, registrars = cluster()
    registrars[PBX].is_silent = True
    gateway.user_agent.register("pbx", wire.now)
    wire.run(100)
    assert gateway.last(RegistrationChanged).server == SECOND
    registrar = registrars[PBX]
    registrar.is_silent = False
    answer = registrar.reply
    registrar.peer.reply_to = lambda request: respond(request, 200) if request.method == "OPTIONS" else answer(request)
    wire.run(61)
    assert gateway.last(RegistrationChanged).server == PBX
    assert states(gateway)[-1] is REGISTERED
    assert FAILED not in states(gateway)
    assert gateway.user_agent.registrations == (gateway.last(RegistrationChanged),)


def elsewhere() -> tuple[Wire, Party, dict[Hop, Registrar]]:
    """Registered at the second server since the first was silent, and just about to ask the first again."""
    wire, gateway, registrars = cluster()
    registrars[PBX].is_silent = True
    gateway.user_agent.register("pbx", wire.now)
    while not wire.sent("OPTIONS", GATEWAY):
        wire.run(0.1)
    registrars[PBX].is_silent = False
    return wire, gateway, registrars


def test_the_preferred_server_is_not_shown_the_nonce_of_the_other() -> None:
    wire, gateway, registrars = elsewhere()
    asked = registrars[PBX].peer
    before = len(asked.requests("REGISTER"))
    wire.inject(respond(asked.requests("OPTIONS")[0], 200).to_bytes(), PBX)
    wire.run(1)
    assert gateway.last(RegistrationChanged).server == PBX
    assert ["Authorization" in request.headers for request in asked.requests("REGISTER")[before:]] == [False, True]


def test_a_server_that_is_back_gets_one_registration_however_often_it_says_so() -> None:
    wire, _, registrars = elsewhere()
    asked = registrars[PBX].peer
    before = len(asked.requests("REGISTER"))
    for status in (100, 183, 200):
        wire.inject(respond(asked.requests("OPTIONS")[0], status).to_bytes(), PBX)
    wire.run(1)
    assert len(asked.requests("REGISTER")) == before + 2


def test_a_server_that_is_back_gets_nothing_that_is_not_wanted_any_more() -> None:
    wire, gateway, registrars = elsewhere()
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(1)
    before = len(wire.sent("REGISTER"))
    wire.inject(respond(registrars[PBX].peer.requests("OPTIONS")[0], 200).to_bytes(), PBX)
    wire.run(100)
    assert len(wire.sent("REGISTER")) == before
    assert states(gateway)[-1] is UNREGISTERED
    assert_idle(gateway)


def test_a_new_server_is_not_shown_the_nonce_of_the_old() -> None:
    wire, gateway, registrars = cluster()
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    gateway.user_agent.relocate("pbx", (THIRD,), wire.now)
    wire.run(1)
    asked = registrars[THIRD].peer.requests("REGISTER")
    assert ["Authorization" in request.headers for request in asked] == [False, True]


def test_a_trunk_that_moves_registers_at_its_new_servers() -> None:
    wire, gateway, _ = cluster()
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    gateway.user_agent.relocate("pbx", (THIRD, PBX), wire.now)
    wire.run(1)
    assert servers_asked(wire) == [PBX]  # where we are is still one of them
    gateway.user_agent.relocate("pbx", (THIRD,), wire.now)
    wire.run(1)
    assert servers_asked(wire) == [PBX, THIRD]
    assert gateway.last(RegistrationChanged).server == THIRD
    with pytest.raises(ValueError, match="without a server"):
        gateway.user_agent.relocate("pbx", (), wire.now)


def test_a_trunk_that_moves_while_a_request_is_under_way_asks_the_new_server_at_once() -> None:
    wire, gateway, registrars = cluster()
    gateway.user_agent.register("pbx", wire.now)
    wire.flush()
    gateway.user_agent.relocate("pbx", (THIRD,), wire.now)
    wire.run(0.5)
    assert servers_asked(wire) == [PBX, THIRD]
    assert (states(gateway)[-1], gateway.last(RegistrationChanged).server) == (REGISTERED, THIRD)
    assert registrars[THIRD].counts == [1]


def test_the_answer_of_the_old_server_is_not_taken_for_one_of_the_new() -> None:
    """It may still come, where the trunk has an ACL."""
    wire, gateway, registrars = cluster(acl=("10.0.0.0/24",))
    registrars[THIRD].is_silent = True
    gateway.user_agent.register("pbx", wire.now)
    wire.flush()
    gateway.user_agent.relocate("pbx", (THIRD,), wire.now)
    wire.run(1)
    assert states(gateway) == [REGISTERING]


def test_a_server_that_was_taken_off_the_list_is_not_tried_any_more() -> None:
    wire, gateway, registrars = cluster()
    registrars[PBX].is_silent = registrars[SECOND].is_silent = True
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    gateway.user_agent.relocate("pbx", (PBX, THIRD), wire.now)
    wire.run(6)
    assert servers_asked(wire) == [PBX, THIRD]
    assert states(gateway) == [REGISTERING, REGISTERED]


def test_the_domain_follows_a_server_that_is_named_by_its_address_only() -> None:
    for registrar, uris in (("sip:10.0.0.2", ["sip:10.0.0.2", "sip:10.0.0.3:5060"]), ("sip:example.com", None)):
        wire, gateway, registrars = cluster(registrar=Uri.parse(registrar))
        registrars[PBX].refuses = lambda request: respond(request, 503)
        gateway.user_agent.register("pbx", wire.now)
        wire.run(1)
        asked = [str(registrars[hop].peer.requests("REGISTER")[0].uri) for hop in (PBX, SECOND)]
        assert asked == (uris or [registrar, registrar])


@pytest.mark.parametrize("status", [301, 302])
def test_a_redirect_within_the_trunk_is_followed(status: int) -> None:
    wire, gateway, registrars = cluster()
    moved = (("Contact", "<sip:10.0.0.4:5060>"),)
    registrars[PBX].refuses = lambda request: respond(request, status, headers=moved)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    assert servers_asked(wire) == [PBX, THIRD]
    assert states(gateway) == [REGISTERING, REGISTERED]
    wire.run(200)
    assert wire.sent("OPTIONS", GATEWAY) == []  # the peer wants us there: nobody asks whether we may go back


@pytest.mark.parametrize("contact", ["<sip:10.9.9.9>", "<sip:evil.example.com>", "<tel:+4930>", None])
def test_a_redirect_to_a_stranger_is_not_followed(contact: str | None) -> None:
    """He would be shown our account (CVE-2021-41158)."""
    wire = Wire()
    registrar, thief = Registrar(scripted_on(wire)), scripted_on(wire, Hop("10.9.9.9", 5060))
    headers = (("Contact", contact),) if contact else ()
    registrar.refuses = lambda request: respond(request, 302, headers=headers)
    gateway = gateway_on(wire, trunk_options(), probe_interval_s=0)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(10)
    assert thief.inbox == []
    assert states(gateway) == [REGISTERING, FAILED]


def test_a_server_that_we_were_once_sent_to_is_like_any_other_when_it_serves_for_want_of_a_better() -> None:
    wire, gateway, registrars = cluster()
    moved = (("Contact", "<sip:10.0.0.4:5060>"),)
    registrars[PBX].refuses = lambda request: respond(request, 302, headers=moved)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    for hop in (PBX, THIRD):
        registrars[hop].refuses = lambda request: respond(request, 503)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    assert gateway.last(RegistrationChanged).server == SECOND
    registrars[SECOND].refuses, registrars[THIRD].refuses = registrars[PBX].refuses, lambda request: None
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    assert gateway.last(RegistrationChanged).server == THIRD
    answer = registrars[PBX].reply
    registrars[PBX].refuses = lambda request: None
    registrars[PBX].peer.reply_to = lambda request: answer(request) or respond(request, 200)
    wire.run(61)
    assert gateway.last(RegistrationChanged).server == PBX


def test_redirects_in_a_circle_end() -> None:
    wire, gateway, registrars = cluster()
    for here, there in ((PBX, SECOND), (SECOND, PBX)):
        moved = (("Contact", f"<sip:{there.host}>"),)
        registrars[here].refuses = lambda request, moved=moved: respond(request, 302, headers=moved)  # type: ignore[misc]
    gateway.user_agent.register("pbx", wire.now)
    wire.run(0.4)
    assert states(gateway) == [REGISTERING, REGISTERED]  # at the third, which does not join in
    assert len(wire.sent("REGISTER", GATEWAY)) <= 8


def test_line_breaks_keep_a_nat_open_where_they_are_wanted() -> None:
    wire, _, _ = world(keepalive_s=20.0)
    wire.run(65)
    breaks = [round(sent.at - 1000) for sent in wire.log if sent.data == b"\r\n\r\n"]
    assert breaks == [20, 40, 60]


def test_line_breaks_keep_their_pace_over_refreshes_and_end_with_the_registration() -> None:
    wire, gateway, _ = world(keepalive_s=20.0)
    wire.run(3600)
    breaks = [sent.at for sent in wire.log if sent.data == b"\r\n\r\n"]
    assert all(later - earlier >= 19.99 for earlier, later in pairwise(breaks))
    assert len(breaks) > 3600 / 40
    gateway.user_agent.unregister("pbx", wire.now)
    wire.run(100)
    assert len([sent for sent in wire.log if sent.data == b"\r\n\r\n"]) == len(breaks)
    assert_idle(gateway)


def test_a_stream_needs_no_line_breaks_from_here() -> None:
    wire, _, _ = world(keepalive_s=20.0, peer=PBX._replace(transport=Transport.TCP))
    wire.run(65)
    assert [sent for sent in wire.log if sent.data == b"\r\n\r\n"] == []


# TCP and TLS.


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_registrar_on_a_stream_is_told_a_contact_of_that_stream(transport: Transport) -> None:
    wire, gateway, registrar = world(peer=PBX._replace(transport=transport))
    wire.run(1)
    assert states(gateway) == [REGISTERING, REGISTERED]
    request = registrar.peer.requests("REGISTER")[0]
    assert request.top_via.transport == transport.value
    assert request.contacts[0].uri.parameter("transport") == transport.value.lower()
    assert {sent.destination.transport for sent in wire.log} == {transport}


def test_a_connection_that_breaks_is_made_anew_within_seconds() -> None:
    """RFC 5626 4.4.1: the registrar reaches us over it."""
    wire, gateway, registrar = world(peer=PBX._replace(transport=Transport.TCP))
    wire.run(1)
    wire.break_connection(GATEWAY._replace(transport=Transport.TCP), PBX._replace(transport=Transport.TCP))
    wire.run(2)
    assert states(gateway) == [REGISTERING, REGISTERED, FAILED, REGISTERED]
    assert "connection" in gateway.all(RegistrationChanged)[2].reason
    assert len(registrar.peer.requests("REGISTER")) >= 3


def test_a_registrar_that_closes_every_connection_at_once_is_asked_ever_more_slowly() -> None:
    """RFC 5626 4.5."""
    wire, gateway, registrar = world(peer=PBX._replace(transport=Transport.TCP))
    for _ in range(6000):
        wire.run(0.1)
        if gateway.last(RegistrationChanged).state is REGISTERED:
            wire.break_connection(GATEWAY._replace(transport=Transport.TCP), PBX._replace(transport=Transport.TCP))
    assert 600 / 30 <= len(registrar.counts) <= 600 / 15 + 6
    wire.run(100)
    assert states(gateway)[-1] is REGISTERED
    wire.break_connection(GATEWAY._replace(transport=Transport.TCP), PBX._replace(transport=Transport.TCP))
    wire.run(2)
    assert states(gateway)[-2:] == [FAILED, REGISTERED]


@pytest.mark.parametrize(
    ("ours", "broken"),
    [
        (Transport.TCP, PBX._replace(host="10.0.0.3", transport=Transport.TCP)),
        (Transport.TCP, PBX._replace(port=40000, transport=Transport.TCP)),
        (Transport.TCP, PBX._replace(transport=Transport.TLS)),
        (Transport.UDP, PBX._replace(transport=Transport.TCP)),
        (Transport.UDP, PBX),
    ],
)
def test_what_the_registrar_does_not_reach_us_over_may_break(ours: Transport, broken: Hop) -> None:
    wire, gateway, registrar = world(peer=PBX._replace(transport=ours), acl=("10.0.0.3",))
    wire.run(1)
    asked = len(registrar.peer.requests("REGISTER"))
    gateway.handle_transport_error(broken._replace(connection=9 * broken.transport.is_reliable), wire.now)
    wire.run(5)
    assert states(gateway) == [REGISTERING, REGISTERED]
    assert len(registrar.peer.requests("REGISTER")) == asked


def test_a_registrar_that_takes_no_connections_counts_as_failed() -> None:
    wire, gateway, _ = world(peer=PBX._replace(transport=Transport.TLS))
    wire.without_streams.add(PBX.address)
    wire.run(0.1)
    assert states(gateway) == [REGISTERING, FAILED]
    assert gateway.last(RegistrationChanged).status == 503
    wire.without_streams.clear()
    wire.run(5)
    assert states(gateway)[-1] is REGISTERED


def test_a_trunk_on_tls_is_not_challenged_in_plain_text() -> None:
    wire, gateway, _ = world(peer=PBX._replace(transport=Transport.TLS))
    wire.flush()
    (request,) = (sent.message for sent in wire.sent("REGISTER"))
    assert isinstance(request, Request)
    challenge = respond(request, 401, headers=(("WWW-Authenticate", 'Digest realm="pbx", nonce="n", qop="auth"'),))
    wire.inject(challenge.to_bytes(), PBX)
    wire.run(0.001)
    assert len(wire.sent("REGISTER")) == 1
    assert gateway.user_agent.counters.rejected[RejectReason.STRANGER] == 1
