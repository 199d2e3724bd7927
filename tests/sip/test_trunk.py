"""Who may speak for a trunk, and whom its account is shown to."""

from __future__ import annotations

from itertools import count

import pytest

from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Request, Uri, make_response
from gateway.sip.trunk import MAXIMUM_SERVERS, TokenBucket, Trunk, Trunks, is_stale
from tests.support.wire import PBX, ScriptedPeer, trunk_options

STRONG = 'Digest realm="pbx", nonce="n2", algorithm=SHA-256, qop="auth"'
WEAK = 'Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"'


def trunk(**changes: object) -> Trunk:
    numbers = count()
    return Trunk(trunk_options(**changes), lambda: f"cnonce{next(numbers)}")


def challenge(*values: str, status: int = 401) -> object:
    request = ScriptedPeer().request("REGISTER")
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return make_response(request, status, headers=[(name, value) for value in values])


def answer(
    of: Trunk, *values: str, source: Hop = PBX, is_in_dialog: bool = False, status: int = 401
) -> tuple[str | None, Request]:
    request = ScriptedPeer().request("REGISTER")
    response = challenge(*values, status=status)
    return of.account.answer(request, response, source=source, is_in_dialog=is_in_dialog), request  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("acl", "host", "expected"),
    [
        ((), "10.0.0.2", True),
        ((), "10.0.0.3", False),
        (("10.0.1.0/24",), "10.0.1.77", True),
        (("10.0.1.0/24",), "10.0.0.2", True),
        (("10.0.1.7/24",), "10.0.1.9", True),
        (("10.0.1.0/24",), "::ffff:10.0.1.77", True),
        (("2001:db8::/32",), "2001:db8::5", True),
        (("2001:db8::/32",), "2001:db9::5", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        ((), "pbx.example.com", False),
        ((), "", False),
    ],
)
def test_the_acl_decides_by_network_and_always_holds_the_peer(acl: tuple[str, ...], host: str, expected: bool) -> None:
    assert trunk(acl=acl).allows(host) is expected


def test_an_acl_entry_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        trunk(acl=("pbx.example.com",))


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        (Hop("10.0.0.2", 5061, Transport.TLS, 7), "b"),
        (Hop("10.0.0.2", 5060), "a"),
        (Hop("10.0.0.2", 40000, Transport.TCP, 3), "a"),
        (Hop("10.0.0.9", 5060, Transport.TLS), "c"),
        (Hop("10.0.3.1", 5060), "b"),
        (Hop("10.9.9.9", 5060), None),
    ],
)
def test_the_trunk_at_a_hop_is_that_of_the_server_else_of_its_host_else_of_its_network(
    hop: Hop, expected: str | None
) -> None:
    trunks = Trunks(
        [
            trunk(name="a", peer=Hop("10.0.0.2", 5060)),
            trunk(name="b", peer=Hop("10.0.0.2", 5061, Transport.TLS), acl=("10.0.3.0/24",)),
            trunk(name="c", peer=Hop("10.0.0.8", 5060), alternates=(Hop("10.0.0.9", 5060),)),
        ]
    )
    found = trunks.at(hop)
    assert (found.name if found is not None else None) == expected


def test_the_address_of_record_is_at_the_registrar_and_else_at_the_peer() -> None:
    assert str(trunk(contact_user="7000").address_of_record) == "<sip:7000@10.0.0.2>"
    assert str(trunk(registrar=None).address_of_record) == "<sip:gateway@10.0.0.2:5060>"
    assert str(trunk(display_name="AI").caller("1001", None)) == '"AI" <sip:1001@10.0.0.2>'


def test_the_password_shows_in_no_text() -> None:
    assert "secret" not in repr(trunk_options())


def test_the_strongest_challenge_is_answered() -> None:
    refusal, request = answer(trunk(), WEAK, STRONG)
    assert refusal is None
    assert "algorithm=SHA-256" in (request.headers.get("Authorization") or "")


def test_a_proxy_is_answered_in_its_own_header() -> None:
    refusal, request = answer(trunk(), WEAK, status=407)
    assert refusal is None
    assert "Authorization" not in request.headers
    assert "Proxy-Authorization" in request.headers


@pytest.mark.parametrize(
    ("changes", "values", "source", "because"),
    [
        ({"username": None}, [WEAK], PBX, "no account"),
        ({}, [WEAK], Hop("10.0.0.3", 5060), "belongs to 10.0.0.2:5060"),
        ({}, [WEAK], Hop("10.0.0.2", 5062), "belongs to 10.0.0.2:5060"),
        ({"auth_realm": "home"}, [WEAK], PBX, "another realm"),
        ({"minimum_algorithm": "SHA-256"}, [WEAK], PBX, "SHA-256 or better"),
        ({}, ['Basic realm="pbx"'], PBX, "no challenge"),
        ({}, ['Digest realm="pbx", nonce="n", qop="auth-int"'], PBX, "no challenge"),
        ({}, ['Digest realm="pbx"'], PBX, "no challenge"),
        ({}, [], PBX, "no challenge"),
    ],
)
def test_no_digest_is_made_for_anybody_else(
    changes: dict[str, object], values: list[str], source: Hop, because: str
) -> None:
    refusal, request = answer(trunk(**changes), *values, source=source)
    assert because in (refusal or "")
    assert "Authorization" not in request.headers


def test_a_challenge_inside_a_call_must_name_the_realm_that_is_known_by_then() -> None:
    """CVE-2021-41158: whoever we call or are called by could otherwise ask for a digest under a realm of his."""
    of = trunk()
    assert answer(of, WEAK, is_in_dialog=True)[0] is not None
    assert answer(of, WEAK)[0] is None
    assert answer(of, WEAK, is_in_dialog=True)[0] is None
    assert answer(of, WEAK.replace("pbx", "attacker"), is_in_dialog=True)[0] is not None


def test_a_nonce_that_still_serves_is_used_again_with_the_next_count() -> None:
    of = trunk()
    _, first = answer(of, WEAK)
    counts = [first.headers.get("Authorization")]
    for _ in range(2):
        request = ScriptedPeer().request("REGISTER")
        of.account.preempt(request)
        counts.append(request.headers.get("Authorization"))
    assert [
        "nc=00000001" in (counts[0] or ""),
        "nc=00000002" in (counts[1] or ""),
        "nc=00000003" in (counts[2] or ""),
    ] == [True] * 3
    of.account.forget()
    request = ScriptedPeer().request("REGISTER")
    of.account.preempt(request)
    assert "Authorization" not in request.headers


def test_staleness_is_read_from_the_challenge() -> None:
    assert is_stale(challenge(WEAK + ", stale=TRUE"))  # type: ignore[arg-type]
    assert not is_stale(challenge(WEAK))  # type: ignore[arg-type]


def test_a_token_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=2.0, burst=3)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.6)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    bucket = TokenBucket(rate_per_s=1.0, burst=1)
    assert [bucket.take(100.0), bucket.take(50.0), bucket.take(50.5)] == [True, False, False]


def test_the_user_part_is_escaped() -> None:
    assert trunk(contact_user="desk 7#").address_of_record.uri == Uri.parse("sip:desk%207%23@10.0.0.2")


TLS_PBX, TLS_SECOND = Hop("10.0.0.2", 5061, Transport.TLS), Hop("10.0.0.3", 5061, Transport.TLS)


def test_a_trunk_on_tls_has_no_servers_in_plain_text() -> None:
    """It would send there what nobody may read, and hear no answer."""
    of = trunk(peer=TLS_PBX, alternates=(PBX, TLS_SECOND, PBX._replace(transport=Transport.TCP)))
    assert of.hops == (TLS_PBX, TLS_SECOND)
    assert of.others == (TLS_SECOND,)
    of.relocate((TLS_SECOND, PBX))
    assert (of.hops, of.is_secure) == ((TLS_SECOND,), True)
    of.relocate((PBX, TLS_PBX))
    assert (of.hops, of.is_secure) == ((PBX, TLS_PBX), False)


@pytest.mark.parametrize(
    ("server", "source"),
    [
        ("10.0.0.2", "::ffff:10.0.0.2"),
        ("2001:db8::2", "2001:DB8:0:0::2"),
        ("fe80::2", "fe80::2%eth0"),
        ("fe80::2%eth0", "fe80::2%eth0"),
    ],
)
def test_a_server_is_the_same_in_all_forms_of_its_address(server: str, source: str) -> None:
    of = trunk(peer=Hop(server, 5060))
    assert of.allows(source)
    assert of.has_server(Hop(source, 5060))
    assert not of.has_server(Hop(source, 5061))
    assert answer(of, WEAK, source=Hop(source, 5060))[0] is None


def test_a_server_on_tls_is_none_in_plain_text_but_one_in_plain_text_may_be_on_tls() -> None:
    of = trunk(peer=TLS_PBX)
    assert of.has_server(TLS_PBX._replace(connection=3))
    for transport in (Transport.UDP, Transport.TCP):
        plain = TLS_PBX._replace(transport=transport)
        assert not of.has_server(plain)
        assert answer(of, WEAK, source=plain)[0] is not None
    assert trunk().has_server(PBX._replace(transport=Transport.TLS))


def test_other_servers_may_take_long_requests_by_tcp() -> None:
    of = trunk()
    of.without_tcp.add(PBX.address)
    of.relocate((PBX, Hop("10.0.0.3", 5060)))
    assert of.without_tcp == set()


def test_a_link_local_address_of_another_network_is_another_server() -> None:
    assert not trunk(peer=Hop("fe80::2%eth0", 5060)).has_server(Hop("fe80::2%eth1", 5060))


def test_the_others_are_those_behind_the_present_one_and_then_those_before_it() -> None:
    hops = tuple(Hop(f"10.0.0.{number}", 5060) for number in range(2, 6))
    of = trunk(alternates=hops[1:])
    of.hop = hops[2]
    assert of.others == (hops[3], hops[0], hops[1])
    of.hop = Hop("10.0.0.9", 5060)
    assert of.others == hops


def test_a_redirect_is_remembered_as_a_server_and_forgotten_when_the_list_changes() -> None:
    of = trunk()
    for number in range(3, 40):
        of.redirect(Hop(f"10.0.0.{number}", 5060))
    assert (len(of.hops), of.hops[0], of.hops[-1]) == (MAXIMUM_SERVERS, PBX, of.hop)
    assert not of.is_elsewhere
    assert of.relocate((PBX,))
    assert (of.hops, of.hop) == ((PBX,), PBX)
    of.redirect(TLS_SECOND._replace(transport=Transport.UDP))
    assert not of.relocate((PBX, of.hop))
    assert not of.is_elsewhere


def test_a_network_is_all_of_it_and_no_more_and_of_its_own_version() -> None:
    of = trunk(acl=("192.0.2.4/30", "::a09:909/128"))
    hosts = [
        "192.0.2.3",
        "192.0.2.4",
        "192.0.2.7",
        "192.0.2.8",
        "10.9.9.9",
        "::a09:909",
        "::ffff:192.0.2.5",
        "pbx",
        PBX.host,
    ]
    assert [host for host in hosts if of.allows(host)] == [
        "192.0.2.4",
        "192.0.2.7",
        "::a09:909",
        "::ffff:192.0.2.5",
        PBX.host,
    ]
