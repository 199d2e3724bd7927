"""Who is looked at, who is dropped, who is banned; and that a flood leaves nothing behind but numbers."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import pytest

from gateway.sip.auth_server import InboundAuth
from gateway.sip.guard import REPORTED_SOURCES, Guard, GuardOptions, GuardReport, SourceReport, source_of
from gateway.sip.hop import Hop, Transport
from gateway.sip.reject_reason import RejectReason, RejectTable
from gateway.sip.trunk import Trunk, TrunkOptions, Trunks

PBX, STRANGER = Hop("10.0.0.2", 5060), Hop("10.9.9.9", 5060)


def guard(*trunks: TrunkOptions, **options: object) -> Guard:
    """A guard before these trunks, or before one to the PBX."""
    names = trunks or (TrunkOptions(name="pbx", peer=PBX),)
    return Guard(GuardOptions(**options), RejectTable(), Trunks(Trunk(t, lambda: "c") for t in names).of)  # type: ignore[arg-type]


def open_trunk() -> TrunkOptions:
    """A trunk that anybody may speak for who knows its password."""
    auth = InboundAuth(username="phone", password="secret")
    return TrunkOptions(name="open", peer=Hop("10.0.7.1", 5060), acl=("0.0.0.0/0",), inbound_auth=auth)


def counted(of: Guard, reason: RejectReason) -> int:
    return of._rejected[reason]


def test_only_hosts_of_an_acl_are_read() -> None:
    door = guard()
    assert [trunk.name for trunk in door.admit(PBX, 0.0)] == ["pbx"]
    assert not door.admit(STRANGER, 0.0)
    assert (counted(door, RejectReason.STRANGER), counted(door, RejectReason.BANNED)) == (1, 0)


def test_a_stranger_is_banned_after_ten_hits_for_ten_minutes() -> None:
    door = guard()
    for second in range(9):
        door.admit(STRANGER, second)
    assert door.bans(9.0) == 0
    door.admit(STRANGER, 9.0)
    assert door.bans(9.0) == 1
    door.admit(STRANGER, 10.0)
    assert (counted(door, RejectReason.STRANGER), counted(door, RejectReason.BANNED)) == (10, 1)
    assert (door.bans(608.9), door.bans(609.1)) == (1, 0)


def test_hits_are_forgotten_with_time() -> None:
    door = guard(ban_after=3, ban_s=60)
    for second in (0, 1, 62, 63, 124):
        door.admit(STRANGER, second)
        assert door.bans(second) == 0


def test_nobody_is_banned_where_the_operator_wants_none() -> None:
    door = guard(ban_s=0)
    for _ in range(100):
        door.admit(STRANGER, 0.0)
    assert door.bans(0.0) == 0
    assert counted(door, RejectReason.STRANGER) == 100


def test_a_peer_is_never_banned_for_being_busy() -> None:
    door = guard()
    assert all(door.admit(PBX, 0.0) for _ in range(1000))
    assert door.bans(0.0) == 0


def test_wrong_passwords_lead_to_a_ban_although_the_acl_is_open() -> None:
    door = guard(open_trunk())
    for _ in range(10):
        assert door.admit(STRANGER, 0.0)
        door.note_wrong_credentials(STRANGER.host, 0.0)
    assert not door.admit(STRANGER, 1.0)
    assert door.admit(Hop("10.9.9.8", 5060), 1.0)
    assert door.admit(STRANGER, 601.0)
    assert (counted(door, RejectReason.WRONG_CREDENTIALS), counted(door, RejectReason.BANNED)) == (10, 1)


def test_a_right_password_makes_up_for_slips() -> None:
    door = guard(open_trunk())
    for _ in range(3):
        for _ in range(9):
            door.note_wrong_credentials(STRANGER.host, 0.0)
        door.note_right_credentials(STRANGER.host)
    assert door.admit(STRANGER, 1.0)


def test_a_peer_whose_address_is_proof_is_read_whatever_it_gets_wrong() -> None:
    door = guard(TrunkOptions(name="pbx", peer=PBX), open_trunk())
    for _ in range(20):
        door.note_wrong_credentials(PBX.host, 0.0)
    assert door.admit(PBX, 1.0)


def asking_trunk(peer: Hop = PBX) -> TrunkOptions:
    """A trunk whose own server must show an account."""
    return TrunkOptions(name="pbx", peer=peer, inbound_auth=InboundAuth(username="phone", password="secret"))


@pytest.mark.parametrize("host", [PBX.host, "2001:db8:1:2::5"])
def test_a_trunks_own_server_is_read_and_rationed_whatever_passwords_it_shows(host: str) -> None:
    server = Hop(host, 5060)
    door = guard(asking_trunk(server), challenges_per_s=1, challenge_burst=3)
    for _ in range(9):
        door.note_wrong_credentials(host, 0.0)
    assert all(door.may_judge(host, 0.0) for _ in range(20))
    door.note_wrong_credentials(host, 0.0)
    assert door.admit(server, 1.0)
    assert door.bans(1.0) == 0
    assert [door.may_judge(host, 1.0) for _ in range(5)] == [True, True, True, False, False]
    assert door.may_judge(host, 2.0)
    door.note_right_credentials(host)
    assert all(door.may_judge(host, 2.0) for _ in range(20))
    assert counted(door, RejectReason.BANNED) == 0


def test_the_ration_of_a_trunks_own_server_ends_as_a_ban_would() -> None:
    door = guard(asking_trunk(), challenge_burst=1)
    for _ in range(10):
        door.note_wrong_credentials(PBX.host, 0.0)
    assert [door.may_judge(PBX.host, 599.9) for _ in range(2)] == [True, False]
    assert all(door.may_judge(PBX.host, 600.1) for _ in range(20))


def test_a_neighbour_who_guesses_passwords_does_not_shut_out_a_trunks_own_server() -> None:
    server, neighbour = Hop("2001:db8:1:2::5", 5060), Hop("2001:db8:1:2::6", 5060)
    door = guard(replace(asking_trunk(server), acl=("::/0",)))
    for _ in range(10):
        door.note_wrong_credentials(neighbour.host, 0.0)
    assert (bool(door.admit(server, 1.0)), bool(door.admit(neighbour, 1.0))) == (True, False)


def test_a_report_names_the_trunk_whose_server_shows_wrong_credentials() -> None:
    door = guard(asking_trunk(), open_trunk())
    for host in (PBX.host, PBX.host, STRANGER.host):
        door.note_wrong_credentials(host, 0.0)
    told = {row.source: (row.wrong_credentials, row.is_banned, row.trunks) for row in door.report(1.0).sources}
    assert told == {PBX.host: (2, False, ("pbx",)), STRANGER.host: (1, False, ())}


def test_whoever_owns_an_ipv6_network_is_one_source() -> None:
    door = guard()
    for number in range(10):
        door.admit(Hop(f"2001:db8:1:2::{number:x}", 5060), 0.0)
    assert door.bans(0.0) == 1
    assert source_of("2001:db8:1:2:3::4%eth0") == "2001:db8:1:2::/64"
    assert source_of("::ffff:10.0.0.9") == "10.0.0.9"
    assert source_of("not an address:") == "not an address:"


def test_a_flood_from_forged_addresses_leaves_no_more_than_the_table_holds() -> None:
    door = guard(max_sources=100)
    for number in range(10_000):
        door.admit(Hop(f"10.1.{number // 256}.{number % 256}", 5060), 0.0)
    assert len(door._strangers) == 100
    report = door.report(60.0)
    assert len(report.sources) == REPORTED_SOURCES
    named = sum(source.dropped for source in report.sources)
    assert (report.other_sources + REPORTED_SOURCES, report.other_dropped + named) == (10_000, 10_000)


def test_a_flood_from_forged_addresses_does_not_wash_away_the_ban_of_who_guesses_passwords() -> None:
    door = guard(open_trunk(), TrunkOptions(name="pbx", peer=PBX), max_sources=50)
    for _ in range(10):
        door.note_wrong_credentials(STRANGER.host, 0.0)
    for number in range(1000):
        door._drop(door._strangers, Hop(f"10.1.0.{number}", 5060), 1.0, RejectReason.STRANGER)
    assert not door.admit(STRANGER, 2.0)


def test_a_report_names_the_worst_sources_once() -> None:
    door = guard()
    for _ in range(12):
        door.admit(STRANGER, 0.0)
    door.admit(Hop("10.9.9.8", 5060), 0.0)
    assert door.report(1.0) == GuardReport(
        sources=(
            SourceReport(source=STRANGER.host, dropped=12, wrong_credentials=0, is_banned=True),
            SourceReport(source="10.9.9.8", dropped=1, wrong_credentials=0, is_banned=False),
        )
    )
    assert door.report(2.0) == GuardReport()


def test_challenges_to_one_source_are_rationed() -> None:
    door = guard(open_trunk(), challenges_per_s=1, challenge_burst=3)
    assert [door.may_challenge(STRANGER.host, 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert door.may_challenge("10.9.9.8", 0.0)
    assert door.may_challenge(STRANGER.host, 1.0)


def test_the_rations_of_so_many_sources_are_remembered_the_latest_ones() -> None:
    door = guard(challenges_per_s=0.001, challenge_burst=1, max_sources=2)
    assert [door.may_challenge(f"10.9.9.{n}", 0.0) for n in (1, 2, 1, 3, 1, 2)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]
    assert len(door._buckets) == 2


def test_plain_text_does_not_speak_for_a_trunk_on_tls() -> None:
    door = guard(TrunkOptions(name="pbx", peer=Hop(PBX.host, 5061, Transport.TLS)))
    for _ in range(20):
        assert not door.admit(PBX, 0.0)
    assert door.admit(Hop(PBX.host, 40000, Transport.TLS), 0.0)


def test_whoever_forges_the_address_of_a_trunk_on_tls_does_not_get_it_banned() -> None:
    door = guard(TrunkOptions(name="pbx", peer=Hop(PBX.host, 5061, Transport.TLS)))
    for _ in range(25):
        door.admit(PBX, 0.0)
        door.admit(STRANGER, 0.0)
    assert door.bans(0.0) == 1
    assert {(row.source, row.dropped, row.is_banned) for row in door.report(0.0).sources} == {
        (PBX.host, 25, False),
        (STRANGER.host, 25, True),
    }


@pytest.mark.parametrize("hosts", [1, 60_000])
def test_a_stranger_costs_microseconds(hosts: int) -> None:
    """Generous by a factor of ten for a busy machine; see docs/security.md for what was measured."""
    door = guard()
    names = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(hosts)] * (60_000 // hosts)
    began = perf_counter()
    for name in names:
        door.admit(Hop(name, 5060), 0.0)
    assert (perf_counter() - began) / len(names) < 100e-6
