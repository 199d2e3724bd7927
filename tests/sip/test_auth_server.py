"""Callers that must prove themselves: what is asked, what is believed, what is refused, and what it costs us."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from gateway.errors import MessageError
from gateway.sip.auth import DigestCredentials, parse_challenges, select_challenge
from gateway.sip.auth_server import NONCE_LIFETIME_S, NONCES_REMEMBERED, DigestServer, InboundAuth, Proof
from gateway.sip.events import CallEnded, CallEstablished, CallOffered, RegistrationChanged, RegistrationState
from gateway.sip.hop import Hop
from gateway.sip.message import Request, Response
from gateway.sip.reject_reason import RejectReason
from gateway.sip.trunk import TrunkOptions
from tests.support.wire import (
    GATEWAY,
    PBX,
    STRANGER,
    Party,
    ScriptedPeer,
    Wire,
    assert_idle,
    description,
    gateway_on,
    respond,
    scripted_on,
    trunk_options,
)

HOST = "10.9.9.9"
ACCOUNT = InboundAuth(username="office", password="correct horse")
OTHER = InboundAuth(username="branch", password="battery staple")


def server() -> DigestServer:
    return DigestServer(b"key")


def request(method: str = "INVITE", uri: str = "sip:7000@10.0.0.1") -> Request:
    return ScriptedPeer().request(method, uri=uri)


def asked(of: DigestServer, now: float = 0.0, *, host: str = HOST, account: InboundAuth = ACCOUNT) -> Response:
    response = Response(status=401, reason="", headers=request().headers.copy(), body=b"")
    for name, value in of.challenge(account, host, now, is_stale=False):
        response.headers.add(name, value)
    return response


def credentials(
    challenge: Response, *, account: InboundAuth = ACCOUNT, password: str | None = None, minimum: str = "MD5"
) -> DigestCredentials:
    """What an honest client makes of a challenge."""
    chosen = select_challenge(
        parse_challenges(challenge.headers.get_all("WWW-Authenticate")), minimum_algorithm=minimum
    )
    assert chosen is not None
    return DigestCredentials(chosen, account.username, account.password if password is None else password)


def with_header(of: Request, value: str) -> Request:
    of.headers.set("Authorization", value)
    return of


def proof(of: DigestServer, made: Request, now: float = 0.0, host: str = HOST) -> Proof:
    return of.judge(made, (ACCOUNT, OTHER), host, now).proof


def proven(by: DigestCredentials, method: str = "INVITE", uri: str = "sip:7000@10.0.0.1") -> Request:
    return with_header(request(method, uri), by.authorization(method, uri))


def test_the_strongest_algorithm_is_asked_for_first() -> None:
    """RFC 8760 2.3."""
    challenges = parse_challenges(asked(server()).headers.get_all("WWW-Authenticate"))
    assert [challenge.algorithm for challenge in challenges] == ["SHA-256", "MD5"]
    assert {(challenge.realm, challenge.qop) for challenge in challenges} == {("gateway", ("auth",))}


def test_a_known_digest_is_believed() -> None:
    """By hand, so that client and server cannot be wrong together: RFC 7616 3.4.1 with sha256sum."""
    of = server()
    challenge = parse_challenges(asked(of).headers.get_all("WWW-Authenticate"))[0]

    def h(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    key, what = h("office:gateway:correct horse"), h("INVITE:sip:7000@10.0.0.1")
    response = h(f"{key}:{challenge.nonce}:0000000a:abc:auth:{what}")
    value = (
        f'Digest username="office", realm="gateway", nonce="{challenge.nonce}", uri="sip:7000@10.0.0.1", '
        f'response="{response}", algorithm=SHA-256, cnonce="abc", qop=auth, nc=0000000a'
    )
    assert proof(of, with_header(request(), value)) is Proof.PROVEN


@pytest.mark.parametrize("minimum", ["MD5", "SHA-256"])
def test_honest_clients_are_believed_and_known_by_their_account(minimum: str) -> None:
    of = server()
    judgement = of.judge(proven(credentials(asked(of), minimum=minimum)), (OTHER, ACCOUNT), HOST, 0.0)
    assert (judgement.proof, judgement.account) == (Proof.PROVEN, ACCOUNT)


def test_a_weak_algorithm_is_refused_where_it_was_not_offered() -> None:
    strict = InboundAuth(username="office", password="correct horse", algorithms=("SHA-256",))
    of = server()
    made = proven(credentials(asked(of), minimum="MD5"))
    made.headers.set("Authorization", (made.headers.get("Authorization") or "").replace("SHA-256", "MD5"))
    assert of.judge(made, (strict,), HOST, 0.0).proof is Proof.WRONG


@pytest.mark.parametrize("who", [{"password": "wrong"}, {"account": InboundAuth(username="nobody", password="x")}])
def test_unknown_users_and_wrong_passwords_are_the_same(who: dict[str, object]) -> None:
    of = server()
    assert proof(of, proven(credentials(asked(of), **who))) is Proof.WRONG  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        ('realm="gateway"', 'realm="elsewhere"'),
        ("Digest ", "Basic "),
        ("qop=auth", "qop=auth-int"),
        ("nc=00000001", "nc=1x"),
        ("nc=00000001", "nc=000000001"),
        ("nc=00000001", "nc="),
        ("uri=", "url="),
        ("response=", "answer="),
        ('username="office"', 'username=""'),
        ("Digest username=", "Digest =username"),
    ],
)
def test_what_cannot_be_read_counts_as_no_credentials(change: tuple[str, str]) -> None:
    of = server()
    made = proven(credentials(asked(of)))
    value = made.headers.get("Authorization") or ""
    assert change[0] in value
    assert proof(of, with_header(made, value.replace(*change))) is Proof.ABSENT


def test_a_request_without_credentials_has_none() -> None:
    assert proof(server(), request()) is Proof.ABSENT


def test_a_digest_is_good_for_its_method_and_uri_only() -> None:
    of = server()
    by = credentials(asked(of))
    made = with_header(request("INVITE"), by.authorization("OPTIONS", "sip:7000@10.0.0.1"))
    assert proof(of, made) is Proof.WRONG
    made = with_header(request(uri="sip:00900@10.0.0.1"), by.authorization("INVITE", "sip:7000@10.0.0.1"))
    assert proof(of, made) is Proof.WRONG


def test_a_uri_may_be_spelt_differently() -> None:
    of = server()
    by = credentials(asked(of))
    made = with_header(
        request(uri="sip:7000@gateway.example"), by.authorization("INVITE", "sip:%37000@GATEWAY.example")
    )
    assert proof(of, made) is Proof.PROVEN


def test_a_nonce_ages() -> None:
    of = server()
    by = credentials(asked(of, 10.0))
    assert proof(of, proven(by), 10.0 + NONCE_LIFETIME_S) is Proof.PROVEN
    assert proof(of, proven(by), 12.0 + NONCE_LIFETIME_S) is Proof.STALE


@pytest.mark.parametrize("nonce", ["", "x", "é", "AAAA", "A" * 28, "=" * 28, "A" * 5000])
def test_nonces_that_we_never_made_are_stale(nonce: str) -> None:
    of = server()
    made = proven(credentials(asked(of)))
    value = made.headers.get("Authorization") or ""
    real = parse_challenges(asked(of).headers.get_all("WWW-Authenticate"))[0].nonce
    assert len(real) == 28
    start = value.index('nonce="') + len('nonce="')
    made = with_header(made, value[:start] + nonce + value[start + 28 :])
    assert proof(of, made) in ((Proof.ABSENT,) if not nonce else (Proof.STALE,))


def test_a_nonce_is_good_for_the_host_it_was_sent_to_only() -> None:
    of = server()
    assert proof(of, proven(credentials(asked(of))), host="10.9.9.8") is Proof.STALE


def test_a_nonce_of_another_run_is_stale() -> None:
    assert proof(DigestServer(b"other"), proven(credentials(asked(server())))) is Proof.STALE


def test_credentials_are_good_once() -> None:
    of = server()
    by = credentials(asked(of))
    first, second = proven(by), proven(by)
    assert proof(of, second) is Proof.PROVEN
    assert proof(of, second) is Proof.STALE
    assert proof(of, first) is Proof.STALE
    assert proof(of, proven(by)) is Proof.PROVEN


def test_challenges_of_the_same_moment_do_not_share_a_nonce() -> None:
    of = server()
    by = [credentials(asked(of)) for _ in range(5)]
    assert [proof(of, proven(one)) for one in by] == [Proof.PROVEN] * 5


def test_clients_without_qop_are_believed_once_a_nonce() -> None:
    """RFC 2069 has no nonce count."""
    of = server()
    challenge = asked(of)
    value = challenge.headers.get_all("WWW-Authenticate")[1].replace(', qop="auth"', "")
    challenge.headers.set("WWW-Authenticate", value)
    by = credentials(challenge)
    assert proof(of, proven(by)) is Proof.PROVEN
    assert proof(of, proven(by)) is Proof.STALE


def test_a_used_nonce_that_had_to_be_forgotten_is_stale() -> None:
    of = server()
    old = proven(credentials(asked(of)))
    assert proof(of, old) is Proof.PROVEN
    for _ in range(NONCES_REMEMBERED):
        assert proof(of, proven(credentials(asked(of)))) is Proof.PROVEN
    assert len(of._used) == NONCES_REMEMBERED
    assert proof(of, old) is Proof.STALE


def test_the_password_shows_nowhere() -> None:
    assert "horse" not in repr(ACCOUNT)


@pytest.mark.parametrize("wrong", [{"username": ""}, {"password": ""}, {"algorithms": ()}, {"algorithms": ("SHA-1",)}])
def test_an_account_without_secrets_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"user name|algorithms"):
        InboundAuth(**({"username": "a", "password": "b"} | wrong))  # type: ignore[arg-type]


def test_random_credentials_never_raise() -> None:
    random, of = Random(7), server()
    value = proven(credentials(asked(of))).headers.get("Authorization") or ""
    for _ in range(2000):
        at = random.randrange(len(value))
        broken = value[:at] + chr(random.choice([0x22, 0x2C, 0x3D, 0x5C, 0xDCFF, 0x20, 0x41])) + value[at + 1 :]
        try:
            made = with_header(request(), broken)
        except (ValueError, MessageError):
            continue
        assert proof(of, made) in Proof


# On the wire ---------------------------------------------------------------------------------------------------------


def open_trunk(**changes: object) -> TrunkOptions:
    options: dict[str, object] = {
        "name": "open",
        "peer": Hop("10.0.7.1", 5060),
        "registrar": None,
        "username": None,
        "acl": ("0.0.0.0/0",),
        "inbound_auth": ACCOUNT,
    }
    return trunk_options(**(options | changes))


def world(*trunks: TrunkOptions, **options: object) -> tuple[Wire, Party, ScriptedPeer]:
    """A gateway with an open trunk beside the PBX's, and a caller whom nobody knows by address."""
    wire = Wire()
    gateway = gateway_on(wire, *(trunks or (trunk_options(), open_trunk())), **options)  # type: ignore[arg-type]
    return wire, gateway, scripted_on(wire, STRANGER)


def call_with_credentials(wire: Wire, caller: ScriptedPeer, **who: object) -> Request:
    """INVITE, 401, ACK, INVITE with credentials."""
    first = caller.invite()
    caller.send(first)
    wire.run(0.1)
    challenge = caller.responses(401)[-1]
    caller.send(caller.ack(challenge) if challenge.contacts else caller.request("ACK", to_tag=challenge.to.tag))
    again = caller.invite(cseq=2)
    by = credentials(challenge, **who)  # type: ignore[arg-type]
    again.headers.set("Authorization", by.authorization("INVITE", str(again.uri)))
    caller.send(again)
    wire.run(0.1)
    return again


def test_a_call_with_credentials_is_taken_and_goes_on_without_them() -> None:
    wire, gateway, caller = world()
    call_with_credentials(wire, caller)
    offered = gateway.last(CallOffered)
    assert offered.trunk == "open"
    gateway.user_agent.answer(offered.leg_id, description(), wire.now)
    wire.run(0.1)
    ok = caller.responses(200)[0]
    caller.send(caller.ack(ok))
    wire.run(0.1)
    assert gateway.all(CallEstablished)
    caller.send(caller.within("BYE", ok, cseq=3))
    wire.run(0.1)
    assert gateway.all(CallEnded)
    wire.run(40)
    assert_idle(gateway)


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER", "REFER", "BYE", "INFO", "NOTIFY", "JUMP"])
@pytest.mark.parametrize("tag", [None, "guess"])
def test_without_credentials_there_is_a_401_and_nothing_else(method: str, tag: str | None) -> None:
    """Whatever From claims."""
    wire, gateway, caller = world()
    caller.send(caller.request(method, to_tag=tag, headers=(("P-Asserted-Identity", "<sip:1001@10.0.0.2>"),)))
    wire.run(1)
    assert [response.status for response in caller.responses()] == [401]
    assert gateway.seen == []
    assert gateway.user_agent.counters.rejected[RejectReason.UNAUTHORIZED] == 1
    assert_idle(gateway)


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_what_cannot_be_challenged_is_dropped(method: str) -> None:
    """RFC 3261 22.1."""
    wire, gateway, caller = world()
    caller.send(caller.request(method, to_tag="x" if method == "ACK" else None))
    wire.run(1)
    assert caller.inbox == []
    assert_idle(gateway)


def test_garbage_of_strangers_is_not_answered_although_they_are_read() -> None:
    wire, gateway, caller = world()
    caller.send(caller.request("OPTIONS").to_bytes().replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 BYE"))
    wire.run(1)
    assert (caller.inbox, caller.unreadable) == ([], [])
    assert gateway.user_agent.counters.rejected[RejectReason.MALFORMED] == 1


def test_a_caller_may_cancel_what_he_has_proven() -> None:
    wire, gateway, caller = world()
    invite = call_with_credentials(wire, caller)
    caller.send(caller.request("CANCEL", cseq=2, branch=invite.top_via.branch, uri=str(invite.uri)))
    wire.run(0.1)
    assert [response.status for response in caller.responses(487)] == [487]
    assert gateway.all(CallEnded) or gateway.user_agent.leg_count == 0


def test_another_host_must_show_credentials_to_speak_in_a_call() -> None:
    """Even with Call-ID and tags: the address of an open trunk proves nothing."""
    wire, gateway, caller = world()
    call_with_credentials(wire, caller)
    gateway.user_agent.answer(gateway.last(CallOffered).leg_id, description(), wire.now)
    wire.run(0.1)
    ok = caller.responses(200)[0]
    caller.send(caller.ack(ok))
    wire.run(0.1)
    thief = scripted_on(wire, Hop("10.9.9.8", 5060))
    thief.send(caller.within("BYE", ok, cseq=9))
    wire.run(0.1)
    assert [response.status for response in thief.responses()] == [401]
    assert gateway.all(CallEnded) == []


def test_ten_wrong_passwords_end_in_silence_for_this_source_alone() -> None:
    wire, gateway, caller = world()
    for _ in range(10):
        call_with_credentials(wire, caller, password="guess")
        wire.run(1)
    assert len(caller.responses(401)) == 20
    assert gateway.all(CallOffered) == []
    caller.send(caller.invite(call_id="more@x"))
    wire.run(1)
    assert len(caller.responses()) == 20
    neighbour = scripted_on(wire, Hop("10.9.9.8", 5060))
    call_with_credentials(wire, neighbour)
    assert len(gateway.all(CallOffered)) == 1


def test_unknown_user_and_wrong_password_get_the_same_answer() -> None:
    answers = []
    for who in ({"password": "guess"}, {"account": InboundAuth(username="nobody", password="x")}):
        wire, _, caller = world()
        call_with_credentials(wire, caller, **who)
        response = caller.responses(401)[-1]
        answers.append((response.reason, len(response.to_bytes()), list(response.headers.copy())[:1]))
    assert answers[0] == answers[1]


def test_an_old_nonce_is_told_as_stale() -> None:
    wire, gateway, caller = world()
    caller.send(caller.invite())
    wire.run(0.1)
    by = credentials(caller.responses(401)[0])
    wire.run(NONCE_LIFETIME_S + 5)
    late = caller.invite(cseq=2)
    late.headers.set("Authorization", by.authorization("INVITE", str(late.uri)))
    caller.send(late)
    wire.run(0.1)
    assert all(c.stale for c in parse_challenges(caller.responses(401)[1].headers.get_all("WWW-Authenticate")))
    assert gateway.user_agent.counters.rejected[RejectReason.WRONG_CREDENTIALS] == 0


def test_a_challenge_is_at_most_twice_as_long_as_what_asked_for_it() -> None:
    """Nobody is worth forging an address for."""
    wire, _, caller = world()
    tiny = (
        b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKx\r\n"
        b"From: <sip:a@a>;tag=1\r\nTo: <sip:a@a>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    for data in (tiny, caller.request("OPTIONS").to_bytes(), caller.invite().to_bytes()):
        before = len(wire.log)
        wire.inject(data, STRANGER)
        sent = wire.log[before:]
        assert sum(len(one.data) for one in sent) <= 2 * len(data)


def test_challenges_cost_no_memory_and_are_rationed() -> None:
    wire, gateway, caller = world()
    for number in range(200):
        caller.send(caller.invite(call_id=f"{number}@x"))
    wire.run(0.1)
    assert len(caller.responses(401)) == 20
    assert_idle(gateway)


def test_a_peer_known_by_address_is_not_asked() -> None:
    wire, gateway, _ = world()
    pbx = scripted_on(wire, PBX)
    pbx.send(pbx.invite())
    wire.run(0.1)
    assert gateway.last(CallOffered).trunk == "pbx"


def test_the_account_tells_the_trunk_where_several_are_open() -> None:
    second = open_trunk(name="branch", inbound_auth=OTHER)
    wire, gateway, caller = world(trunk_options(), open_trunk(), second)
    call_with_credentials(wire, caller, account=OTHER)
    assert gateway.last(CallOffered).trunk == "branch"


def test_accounts_of_several_realms_are_all_asked_for() -> None:
    elsewhere = InboundAuth(username="branch", password="battery staple", realm="elsewhere")
    wire, _, caller = world(open_trunk(), open_trunk(name="branch", inbound_auth=elsewhere))
    caller.send(caller.invite())
    wire.run(0.1)
    asked = parse_challenges(caller.responses(401)[0].headers.get_all("WWW-Authenticate"))
    assert [(challenge.realm, challenge.hash_name) for challenge in asked] == [
        ("gateway", "SHA-256"),
        ("gateway", "MD5"),
        ("elsewhere", "SHA-256"),
        ("elsewhere", "MD5"),
    ]


def test_the_gateways_own_address_is_not_in_a_challenge() -> None:
    wire, _, caller = world()
    caller.send(caller.request("OPTIONS", uri="sip:x@y"))
    wire.run(0.1)
    assert GATEWAY.host not in str(list(caller.responses(401)[0].headers.get_all("WWW-Authenticate")))


def registered_with_a_pbx_that_must_prove_itself() -> tuple[Wire, Party, ScriptedPeer]:
    """Registered at a PBX that takes every request of ours."""
    wire = Wire()
    gateway, pbx = gateway_on(wire, trunk_options(inbound_auth=ACCOUNT)), scripted_on(wire)
    pbx.reply_to = lambda request: respond(request, 200)
    gateway.user_agent.register("pbx", wire.now)
    wire.run(1)
    return wire, gateway, pbx


def ask_with(password: str, pbx: ScriptedPeer, wire: Wire, *, times: int) -> None:
    """OPTIONS as a PBX sends them to watch a telephone: with credentials for the last challenge."""
    pbx.send(pbx.request("OPTIONS", call_id="first"))
    wire.run(0.3)
    by = credentials(pbx.responses(401, "OPTIONS")[-1], password=password)
    for number in range(times):
        again = pbx.request("OPTIONS", cseq=2, call_id=f"again-{number}")
        again.headers.set("Authorization", by.authorization("OPTIONS", str(again.uri)))
        pbx.send(again)
    wire.run(0.1)


def test_a_registrar_that_shows_a_wrong_password_keeps_our_registration() -> None:
    wire, gateway, pbx = registered_with_a_pbx_that_must_prove_itself()
    for _ in range(40):
        ask_with("wrong", pbx, wire, times=1)
        wire.run(60)
    assert {change.state for change in gateway.all(RegistrationChanged)} == {
        RegistrationState.REGISTERING,
        RegistrationState.REGISTERED,
    }
    counters = gateway.user_agent.counters
    assert len(pbx.requests("REGISTER")) > 5
    assert (counters.rejected[RejectReason.WRONG_CREDENTIALS], counters.rejected[RejectReason.BANNED]) == (40, 0)
    assert gateway.user_agent.admits(PBX, wire.now)


def test_a_registrar_that_guesses_passwords_is_judged_no_more_often_than_it_is_challenged() -> None:
    wire, gateway, pbx = registered_with_a_pbx_that_must_prove_itself()
    ask_with("wrong", pbx, wire, times=500)
    assert 10 <= gateway.user_agent.counters.rejected[RejectReason.WRONG_CREDENTIALS] <= 30
    wire.run(10)
    ask_with(ACCOUNT.password, pbx, wire, times=1)
    assert len(pbx.responses(200, "OPTIONS")) == 1
