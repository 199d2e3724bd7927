"""Server location against a real name server on loopback, and the keeping of what was found on a virtual clock."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import dns.message
import dns.rcode
import dns.rrset
import pytest

from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Address
from gateway.transport.locator import (
    MAX_HOPS,
    Location,
    Locator,
    Target,
    chosen_services,
    in_order_of_trial,
    locate,
    locate_apart,
)
from gateway.transport.resolver import NameServiceError, Pointer, Resolver, ResolverOptions, Service
from tests.support.aio import eventually
from tests.support.name_server import NameServer, Records

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
UDP, TCP, TLS = Transport.UDP, Transport.TCP, Transport.TLS
ANY = (UDP, TCP, TLS)


def resolver_at(server: NameServer, timeout_s: float = 2.0) -> Resolver:
    return Resolver(ResolverOptions(servers=(server.address,), timeout_s=timeout_s))


async def located(
    zone: Mapping[tuple[str, str], object],
    host: str = "example.org",
    port: int | None = None,
    transports: tuple[Transport, ...] = (UDP,),
    families: tuple[socket.AddressFamily, ...] = (IPV4, IPV6),
    **server: object,
) -> list[str]:
    """The hops as text."""
    async with NameServer(zone, **server) as name_server:  # type: ignore[arg-type]
        target = Target(host=host, port=port, transports=transports)
        location = await locate(target, resolver_at(name_server), families, Random(7))
        return [str(hop) for hop in location.hops]


A = {("a.example.org", "A"): "192.0.2.1", ("b.example.org", "A"): "192.0.2.2", ("c.example.org", "A"): "192.0.2.3"}


class TestWithoutService:
    @pytest.mark.parametrize(
        ("host", "port", "transport", "expected"),
        [
            ("192.0.2.9", None, UDP, "192.0.2.9:5060"),
            ("192.0.2.9", 5070, UDP, "192.0.2.9:5070"),
            ("192.0.2.9", None, TLS, "192.0.2.9:5061/TLS"),
            ("2001:db8::9", None, TCP, "[2001:db8::9]:5060/TCP"),
        ],
    )
    async def test_numeric_host_is_itself_and_nobody_is_asked(
        self, host: str, port: int | None, transport: Transport, expected: str
    ) -> None:
        async with NameServer() as server:
            target = Target(host=host, port=port, transports=(transport,))
            location = await locate(target, resolver_at(server), (IPV4,), Random(1))
            assert [str(hop) for hop in location.hops] == [expected]
            assert server.asked == []

    async def test_port_means_addresses_alone(self) -> None:
        zone = {("example.org", "A"): "192.0.2.9", ("_sip._udp.example.org", "SRV"): "0 0 5099 a.example.org.", **A}
        async with NameServer(zone) as server:
            target = Target(host="example.org", port=5070, transports=ANY)
            location = await locate(target, resolver_at(server), (IPV4,), Random(1))
            assert location.hops == (Hop("192.0.2.9", 5070),)
            assert [kind for _, kind, _ in server.asked] == ["A"]

    @pytest.mark.parametrize(("transport", "expected"), [(UDP, "192.0.2.9:5060"), (TLS, "192.0.2.9:5061/TLS")])
    async def test_no_srv_means_addresses_with_the_transports_port(self, transport: Transport, expected: str) -> None:
        assert await located({("example.org", "A"): "192.0.2.9"}, transports=(transport,)) == [expected]

    async def test_name_of_the_hosts_file_needs_no_name_server(self, tmp_path: Path) -> None:
        (tmp_path / "hosts").write_text("192.0.2.7 pbx\n192.0.2.3 pbx\n")
        resolver = Resolver(ResolverOptions(timeout_s=0.2), hosts=tmp_path / "hosts")
        for port, expected in ((None, 5060), (5070, 5070)):
            location = await locate(Target(host="pbx", port=port), resolver, (IPV4,), Random(1))
            assert location.hops == (Hop("192.0.2.7", expected), Hop("192.0.2.3", expected))

    @pytest.mark.parametrize(
        ("families", "expected"),
        [
            ((IPV4,), ["192.0.2.9:5060"]),
            ((IPV6,), ["[2001:db8::9]:5060"]),
            ((IPV4, IPV6), ["192.0.2.9:5060", "[2001:db8::9]:5060"]),
            ((IPV6, IPV4), ["[2001:db8::9]:5060", "192.0.2.9:5060"]),
        ],
    )
    async def test_families_are_those_we_listen_on(
        self, families: tuple[socket.AddressFamily, ...], expected: list[str]
    ) -> None:
        zone = {("example.org", "A"): "192.0.2.9", ("example.org", "AAAA"): "2001:db8::9"}
        assert await located(zone, families=families) == expected

    async def test_no_address_of_our_family_is_an_absence(self) -> None:
        with pytest.raises(NameServiceError, match="no address of a family we listen on") as caught:
            await located({("example.org", "A"): "192.0.2.9"}, families=(IPV6,))
        assert caught.value.is_absent

    async def test_servers_behind_one_name_are_spread_over_the_gateways(self) -> None:
        async with NameServer({("example.org", "A"): ("192.0.2.1", "192.0.2.2", "192.0.2.3")}) as server:
            target = Target(host="example.org", port=5060)
            firsts = {
                (await locate(target, resolver_at(server), (IPV4,), Random(seed))).hops[0].host for seed in range(30)
            }
        assert firsts == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


class TestSrv:
    async def test_targets_in_order_of_priority_with_their_ports(self) -> None:
        services = ("20 0 5062 b.example.org.", "10 0 5061 a.example.org.", "30 0 5063 c.example.org.")
        zone = {("_sip._udp.example.org", "SRV"): services, **A}
        assert await located(zone) == ["192.0.2.1:5061", "192.0.2.2:5062", "192.0.2.3:5063"]

    async def test_transports_of_our_preference_one_after_the_other(self) -> None:
        zone = {
            ("_sip._udp.example.org", "SRV"): "0 0 5060 a.example.org.",
            ("_sip._tcp.example.org", "SRV"): "0 0 5060 b.example.org.",
            ("_sips._tcp.example.org", "SRV"): "0 0 5061 c.example.org.",
            **A,
        }
        everything = ["192.0.2.3:5061/TLS", "192.0.2.2:5060/TCP", "192.0.2.1:5060"]
        assert await located(zone, transports=(TLS, TCP, UDP)) == everything
        assert await located(zone, transports=(TLS,)) == everything[:1]

    async def test_target_has_all_its_addresses(self) -> None:
        zone = {("_sip._udp.example.org", "SRV"): "0 0 5060 d.example.org.", ("d.example.org", "AAAA"): "2001:db8::4"}
        zone["d.example.org", "A"] = "192.0.2.4"
        assert await located(zone) == ["192.0.2.4:5060", "[2001:db8::4]:5060"]

    async def test_target_by_number_is_taken_as_meant(self) -> None:
        zone = {("_sip._udp.example.org", "SRV"): ("0 0 5060 192.0.2.5.", "1 0 5060 224.0.0.1.")}
        assert await located(zone) == ["192.0.2.5:5060"]

    async def test_target_without_address_is_passed_over(self) -> None:
        zone = {("_sip._udp.example.org", "SRV"): ("0 0 5060 gone.example.org.", "9 0 0 a.example.org.")}
        zone["_sip._udp.example.org", "SRV"] += ("10 0 5060 b.example.org.",)
        assert await located({**zone, **A}) == ["192.0.2.2:5060"]

    async def test_root_as_target_says_that_there_is_no_service_and_the_address_is_not_asked_for(self) -> None:
        zone = {("_sip._udp.example.org", "SRV"): "0 0 0 .", ("example.org", "A"): "192.0.2.80"}
        with pytest.raises(NameServiceError, match="offers no SIP") as caught:
            await located(zone)
        assert caught.value.is_absent

    async def test_server_that_fails_for_srv_alone_leaves_the_address_but_not_as_the_whole(self) -> None:
        zone = {("_sip._udp.example.org", "SRV"): dns.rcode.SERVFAIL, ("example.org", "A"): "192.0.2.80"}
        async with NameServer(zone) as server:
            location = await locate(Target(host="example.org"), resolver_at(server, 0.6), (IPV4,), Random(1))
        assert (location.hops, location.is_whole) == ((Hop("192.0.2.80", 5060),), False)

    async def test_shortest_time_counts(self) -> None:
        zone = {
            ("_sip._udp.example.org", "SRV"): Records(("0 0 5060 a.example.org.",), 900),
            ("a.example.org", "A"): Records(("192.0.2.1",), 45),
        }
        async with NameServer(zone) as server:
            location = await locate(Target(host="example.org"), resolver_at(server), (IPV4,), Random(1))
        assert (location.ttl_s, location.is_whole) == (45, True)

    async def test_order_within_a_priority_is_drawn_by_weight(self) -> None:
        light, heavy = Service(1, 25, 5060, "light"), Service(1, 75, 5060, "heavy")
        random = Random(2782)
        firsts = Counter(in_order_of_trial((heavy, light), random)[0].target for _ in range(4000))
        assert firsts["heavy"] / 4000 == pytest.approx(0.75, abs=0.03)

    def test_weights_are_exactly_those_of_rfc_2782(self) -> None:
        """Zero first in the row, the number drawn from 0 to the sum, the first running sum that reaches it."""
        zero, one, three = Service(1, 0, 1, "zero"), Service(1, 1, 1, "one"), Service(1, 3, 1, "three")

        class Drawing(Random):
            def __init__(self, *points: int) -> None:
                super().__init__()
                self.points, self.limits = list(points), list[tuple[int, int]]()

            def randint(self, a: int, b: int) -> int:
                self.limits.append((a, b))
                return self.points.pop(0)

        for points, expected in (
            ((0, 0, 0), (zero, one, three)),
            ((1, 0, 0), (one, zero, three)),
            ((2, 1, 0), (three, one, zero)),
            ((4, 0, 1), (three, zero, one)),
        ):
            drawing = Drawing(*points)
            assert in_order_of_trial((three, one, zero), drawing) == list(expected)
            assert drawing.limits[0] == (0, 4)

    def test_weight_zero_is_last_but_for_a_small_chance(self) -> None:
        random = Random(1)
        services = (Service(1, 0, 1, "zero"), Service(1, 99, 1, "some"))
        firsts = Counter(in_order_of_trial(services, random)[0].target for _ in range(5000))
        assert 10 <= firsts["zero"] <= 120  # 1 in 100

    def test_priority_always_wins_over_weight(self) -> None:
        services = [Service(2, 65535, 1, "backup"), Service(1, 0, 1, "main")]
        assert all(in_order_of_trial(services, Random(n))[0].target == "main" for n in range(100))


class TestNaptr:
    ZONE: Mapping[tuple[str, str], object] = {
        ("example.org", "NAPTR"): (
            '50 50 "s" "SIPS+D2T" "" _sips._tcp.example.org.',
            '90 50 "s" "SIP+D2T" "" _sip._tcp.example.org.',
            '100 50 "S" "sip+d2u" "" _sip._udp.other.example.',
        ),
        ("_sips._tcp.example.org", "SRV"): "0 0 5061 a.example.org.",
        ("_sip._tcp.example.org", "SRV"): "0 0 5060 b.example.org.",
        ("_sip._udp.other.example", "SRV"): "0 0 5062 c.example.org.",
        ("_sip._udp.example.org", "SRV"): "0 0 5099 c.example.org.",
        **A,
    }

    @pytest.mark.parametrize(
        ("transports", "expected"),
        [
            ((UDP, TCP, TLS), ["192.0.2.1:5061/TLS"]),
            ((UDP, TCP), ["192.0.2.2:5060/TCP"]),
            ((UDP,), ["192.0.2.3:5099"]),
        ],
    )
    async def test_lowest_order_that_we_speak_decides_unless_the_transport_is_configured(
        self, transports: tuple[Transport, ...], expected: list[str]
    ) -> None:
        assert await located(self.ZONE, transports=transports) == expected

    async def test_name_to_go_on_with_is_the_records(self) -> None:
        zone = {**self.ZONE, ("example.org", "NAPTR"): '1 1 "s" "SIP+D2U" "" _sip._udp.other.example.'}
        assert await located(zone, transports=ANY) == ["192.0.2.3:5062"]

    async def test_without_pointers_that_we_understand_the_usual_names_are_asked(self) -> None:
        zone = {**self.ZONE, ("example.org", "NAPTR"): '1 1 "u" "E2U+sip" "!^.*$!sip:x@y!" .'}
        assert await located(zone, transports=(UDP, TCP)) == ["192.0.2.3:5099", "192.0.2.2:5060/TCP"]

    def test_preference_orders_what_is_of_one_order(self) -> None:
        pointers = [
            Pointer(10, 20, "S", "SIP+D2U", "u"),
            Pointer(10, 10, "S", "SIP+D2T", "t"),
            Pointer(20, 1, "S", "SIPS+D2T", "later"),
            Pointer(1, 1, "S", "SIP+D2S", "sctp"),
            Pointer(1, 1, "A", "SIP+D2U", "address"),
            Pointer(1, 1, "S", "SIP+D2U", ""),
        ]
        assert chosen_services(pointers, ANY) == [(TCP, "t"), (UDP, "u")]
        assert chosen_services(pointers, (TLS,)) == [(TLS, "later")]
        assert chosen_services([], ANY) == []


class TestTrouble:
    async def test_name_that_does_not_exist_is_an_absence_with_a_remedy(self) -> None:
        with pytest.raises(NameServiceError, match=r"cannot resolve example\.org: no such name.*configure") as caught:
            await located({})
        assert caught.value.is_absent

    @pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
    async def test_server_that_fails_is_not_an_absence(self, rcode: dns.rcode.Rcode) -> None:
        async with NameServer(otherwise=rcode) as server:
            with pytest.raises(NameServiceError) as caught:
                await locate(Target(host="example.org"), resolver_at(server, 0.6), (IPV4,), Random(1))
        assert not caught.value.is_absent

    @pytest.mark.parametrize("transports", [(UDP,), ANY])
    async def test_silence_costs_no_more_than_the_budget(self, transports: tuple[Transport, ...]) -> None:
        loop = asyncio.get_running_loop()
        async with NameServer(otherwise=None) as server:
            began = loop.time()
            target = Target(host="example.org", transports=transports)
            with pytest.raises(NameServiceError) as caught:
                await locate(target, resolver_at(server, 0.4), (IPV4, IPV6), Random(1))
            assert loop.time() - began < 0.6
        assert not caught.value.is_absent

    async def test_silence_about_srv_leaves_time_for_the_address(self) -> None:
        zone = {("_sip._udp.example.org", "SRV"): None, ("example.org", "A"): "192.0.2.80"}
        async with NameServer(zone) as server:
            location = await locate(Target(host="example.org"), resolver_at(server, 0.6), (IPV4,), Random(1))
        assert (location.hops, location.is_whole) == ((Hop("192.0.2.80", 5060),), False)

    async def test_hundreds_of_services_become_few_questions_and_few_hops(self) -> None:
        zone: dict[tuple[str, str], object] = {
            ("_sip._udp.example.org", "SRV"): tuple(f"{n} 0 5060 h{n}.example.org." for n in range(80))
        }
        zone |= {(f"h{n}.example.org", "A"): tuple(f"198.51.{n % 250}.{one}" for one in range(1, 9)) for n in range(80)}
        async with NameServer(zone, truncates=True) as server:
            location = await locate_apart(resolver_at(server), (IPV4,))(Target(host="example.org"), Random(1))
            assert len(location.hops) == MAX_HOPS
            assert {hop.host.rpartition(".")[0] for hop in location.hops} == {"198.51.0", "198.51.1"}  # the preferred
            assert len({name for name, kind, _ in server.asked if kind == "A"}) <= MAX_HOPS

    async def test_services_of_one_target_are_one_question(self) -> None:
        services = tuple(f"0 0 {5000 + n} a.example.org." for n in range(10))
        async with NameServer({("_sip._udp.example.org", "SRV"): services, **A}) as server:
            location = await locate(Target(host="example.org"), resolver_at(server), (IPV4,), Random(1))
            assert (len(location.hops), server.count("A")) == (10, 1)


# Beside the loop ----------------------------------------------------------------------------------------


async def lateness_s(until: asyncio.Future[object]) -> float:
    """The greatest lateness of a 5 ms tick on this loop while `until` is not done."""
    loop, worst = asyncio.get_running_loop(), 0.0
    while not until.done():
        due = loop.time() + 0.005
        await asyncio.sleep(0.005)
        worst = max(worst, loop.time() - due)
    return worst


async def test_black_holed_name_server_leaves_the_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    hole.bind(("127.0.0.1", 0))
    with hole:
        resolver = Resolver(ResolverOptions(servers=(Address(*hole.getsockname()),), timeout_s=0.6))
        locate_it = locate_apart(resolver, (IPV4, IPV6))
        loop = asyncio.get_running_loop()
        began = loop.time()
        asking = asyncio.gather(
            *(locate_it(Target(host=f"pbx{n}.example", transports=ANY), Random(n)) for n in range(4)),
            return_exceptions=True,
        )
        worst = await lateness_s(asking)
        assert [isinstance(error, NameServiceError) for error in await asking] == [True] * 4
        assert 0.3 < loop.time() - began < 1.3
        assert len(hole.recv(512)) > 12  # it was asked
    assert worst < 0.1


async def test_answer_made_to_be_slow_to_read_leaves_the_loop_alone() -> None:
    """60 KB of records whose names are chains of pointers: a third of a second of Python, if it were read."""
    wire = hostile_answer()
    zone = {("_sip._udp.example.org", "SRV"): lambda query: query.id.to_bytes(2, "big") + wire[2:]}
    async with NameServer(zone) as server:
        asking = asyncio.ensure_future(
            locate_apart(resolver_at(server, 0.6), (IPV4,))(Target(host="example.org"), Random(1))
        )
        worst = await lateness_s(asking)
        with pytest.raises(NameServiceError):
            await asking
    assert server.count("SRV") > 0
    assert worst < 0.1


def hostile_answer() -> bytes:
    """3,000 SRV records, each name five pointers deep."""
    header = (0x8180).to_bytes(2, "big") + (1).to_bytes(2, "big")
    question = b"\x04_sip\x04_udp\x07example\x03org\x00" + (33).to_bytes(2, "big") + (1).to_bytes(2, "big")
    wire = bytearray(b"\x00\x00" + header + b"\x00\x00" + bytes(4) + question)
    chain, offsets = bytearray(b"\x01a\x00"), [len(wire) + 12]
    for _ in range(5):
        offsets.append(offsets[0] + len(chain))
        chain += b"\x01a" + (0xC000 | offsets[-2]).to_bytes(2, "big")
    last, count = (0xC000 | offsets[-1]).to_bytes(2, "big"), 1
    wire += b"\xc0\x0c" + _record(65280, bytes(chain))
    while len(wire) < 60000:
        wire += last + _record(33, count.to_bytes(2, "big") + b"\x00\x01\x13\xc4" + last)
        count += 1
    wire[6:8] = count.to_bytes(2, "big")
    return bytes(wire)


def _record(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + b"\x00\x01\x00\x00\x00\x3c" + len(data).to_bytes(2, "big") + data


# Kept -----------------------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Time that passes when told to, whoever sleeps in it."""

    now: float = 0.0
    sleepers: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, duration_s: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + duration_s, future))
        await future

    @property
    def pause_s(self) -> float:
        """How long the next sleeper still sleeps."""
        return min(at for at, _ in self.sleepers) - self.now

    async def advance(self, duration_s: float) -> None:
        end = self.now + duration_s
        while due := sorted((one for one in self.sleepers if one[0] <= end), key=lambda one: one[0]):
            self.now = due[0][0]
            self.sleepers.remove(due[0])
            due[0][1].set_result(None)
            await settle()
        self.now = end


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def at(*hosts: str, ttl_s: float = 100.0, is_whole: bool = True) -> Location:
    return Location(hops=tuple(Hop(host, 5060) for host in hosts), ttl_s=ttl_s, is_whole=is_whole)


def failing(why: str = "no name server answers", *, is_absent: bool = False) -> NameServiceError:
    return NameServiceError("pbx.example", why, is_absent=is_absent)


class Keeping:
    """A locator whose answers are given by the test, and what it told."""

    def __init__(self, trunks: Mapping[str, tuple[str, ...]], **answers: Location | NameServiceError) -> None:
        self.clock = Clock()
        self.answers = answers
        self.asked: list[str] = []
        self.draws: list[float] = []
        self.told: list[tuple[str, list[str]]] = []
        self.failures: list[tuple[str, str, float]] = []
        targets = {name: tuple(Target(host=host) for host in hosts) for name, hosts in trunks.items()}
        self.locator = Locator(targets, self._locate, self, seed=1, clock=self.clock, sleep=self.clock.sleep)

    async def _locate(self, target: Target, random: Random) -> Location:
        self.asked.append(target.host)
        self.draws.append(random.random())
        answer = self.answers[target.host]
        if isinstance(answer, NameServiceError):
            raise answer
        return answer

    def relocated(self, trunk: str, hops: tuple[Hop, ...]) -> None:
        self.told.append((trunk, [hop.host for hop in hops]))

    def not_located(self, trunk: str, error: NameServiceError, retry_in_s: float) -> None:
        self.failures.append((trunk, error.why, retry_in_s))

    def hosts(self, trunk: str) -> list[str]:
        return [hop.host for hop in self.locator.hops(trunk)]


Keep = Callable[..., Awaitable[Keeping]]


@pytest.fixture
async def keep() -> object:
    running: list[asyncio.Task[None]] = []

    async def start(trunks: Mapping[str, tuple[str, ...]], **answers: Location | NameServiceError) -> Keeping:
        keeping = Keeping(trunks, **answers)
        await keeping.locator.start()
        assert keeping.told == []
        keeping.asked.clear()
        running.append(asyncio.create_task(keeping.locator.run()))
        await settle()
        return keeping

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


class TestKeeping:
    async def test_start_tells_the_hops_of_all_targets_in_their_order(self) -> None:
        keeping = Keeping({"one": ("a", "b"), "two": ("b",)}, a=at("192.0.2.1", "192.0.2.2"), b=at("192.0.2.2"))
        hops = await keeping.locator.start()
        assert {name: [hop.host for hop in found] for name, found in hops.items()} == {
            "one": ["192.0.2.1", "192.0.2.2"],
            "two": ["192.0.2.2"],
        }
        assert sorted(keeping.asked) == ["a", "b"]

    @pytest.mark.parametrize(
        ("ttl_s", "pause_s"), [(100, 100), (0, 30), (29, 30), (3599, 3599), (86400, 3600), (2**31, 3600)]
    )
    async def test_question_is_repeated_at_the_answers_end_within_bounds(
        self, keep: Keep, ttl_s: float, pause_s: float
    ) -> None:
        keeping = await keep({"one": ("a",)}, a=at("192.0.2.1", ttl_s=ttl_s))
        assert keeping.clock.pause_s == pause_s
        await keeping.clock.advance(pause_s - 0.1)
        assert keeping.asked == []
        await keeping.clock.advance(0.2)
        assert keeping.asked == ["a"]

    async def test_change_is_told_once_and_the_same_again_is_not(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",), "two": ("b",)}, a=at("192.0.2.1"), b=at("192.0.2.9"))
        await keeping.clock.advance(350)
        assert keeping.told == []
        keeping.answers["a"] = at("192.0.2.5", "192.0.2.1")
        await keeping.clock.advance(350)
        assert keeping.told == [("one", ["192.0.2.5", "192.0.2.1"])]

    async def test_same_records_are_drawn_in_the_same_order_each_time(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=at("192.0.2.1"))
        await keeping.clock.advance(1000)
        assert len(keeping.draws) > 5
        assert len(set(keeping.draws)) == 1

    async def test_last_good_answer_holds_as_long_as_none_can_be_had(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=at("192.0.2.1"))
        keeping.answers["a"] = failing()
        await keeping.clock.advance(100_000)
        assert (keeping.hosts("one"), keeping.told) == (["192.0.2.1"], [])
        assert keeping.failures == [("one", "no name server answers", 1.0)]
        keeping.answers["a"] = at("192.0.2.2")
        await keeping.clock.advance(31)
        assert keeping.told == [("one", ["192.0.2.2"])]

    async def test_name_that_vanished_holds_on_too(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=at("192.0.2.1"))
        keeping.answers["a"] = failing("no such name", is_absent=True)
        await keeping.clock.advance(1000)
        assert keeping.hosts("one") == ["192.0.2.1"]

    async def test_tries_are_1_2_4_to_30_seconds_apart_for_ever(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=failing())
        pauses = []
        for _ in range(8):
            pauses.append(keeping.clock.pause_s)
            await keeping.clock.advance(keeping.clock.pause_s)
        assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
        await keeping.clock.advance(100_000)
        keeping.answers["a"] = at("192.0.2.1", ttl_s=500)
        await keeping.clock.advance(30)
        assert keeping.told == [("one", ["192.0.2.1"])]
        assert keeping.clock.pause_s > 400

    async def test_reason_is_told_when_it_is_new(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=failing())
        await keeping.clock.advance(1000)
        keeping.answers["a"] = failing("refused")
        await keeping.clock.advance(1000)
        keeping.answers["a"] = at("192.0.2.1")
        await keeping.clock.advance(50)
        keeping.answers["a"] = failing("refused")
        await keeping.clock.advance(1000)
        assert [why for _, why, _ in keeping.failures] == ["no name server answers", "refused", "refused"]

    async def test_part_of_an_answer_does_not_take_the_place_of_the_whole(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=at("192.0.2.1", "192.0.2.2"))
        keeping.answers["a"] = at("192.0.2.80", is_whole=False)
        await keeping.clock.advance(3500)
        assert keeping.told == []
        await keeping.clock.advance(300)  # but not for ever
        assert keeping.told == [("one", ["192.0.2.80"])]

    async def test_part_is_better_than_nothing_and_asked_again_soon(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a",)}, a=at("192.0.2.80", ttl_s=3600, is_whole=False))
        assert keeping.hosts("one") == ["192.0.2.80"]
        assert keeping.clock.pause_s == 30

    async def test_numeric_targets_are_never_asked_again(self, keep: Keep) -> None:
        keeping = await keep({"one": ("192.0.2.1",)}, **{"192.0.2.1": at("192.0.2.1")})
        assert keeping.clock.sleepers == []

    async def test_names_that_do_not_exist_are_an_error_at_the_start_if_no_trunk_has_another(self) -> None:
        gone = failing("no such name", is_absent=True)
        with pytest.raises(NameServiceError, match="no such name"):
            await Keeping({"one": ("a",), "two": ("b",)}, a=gone, b=gone).locator.start()
        some = await Keeping({"one": ("a",), "two": ("b",)}, a=gone, b=at("192.0.2.1")).locator.start()
        assert some == {"one": (), "two": (Hop("192.0.2.1", 5060),)}
        assert await Keeping({"one": ("a",), "two": ("b",)}, a=gone, b=failing()).locator.start() == {
            "one": (),
            "two": (),
        }

    async def test_trunk_with_one_target_of_two_found_goes_there(self, keep: Keep) -> None:
        keeping = await keep({"one": ("a", "b")}, a=failing(), b=at("192.0.2.2"))
        assert keeping.hosts("one") == ["192.0.2.2"]
        keeping.answers["a"] = at("192.0.2.1")
        await keeping.clock.advance(1)
        assert keeping.told == [("one", ["192.0.2.1", "192.0.2.2"])]

    async def test_hops_of_a_trunk_are_bounded(self) -> None:
        many = at(*(f"192.0.2.{n}" for n in range(1, 13)))
        more = at(*(f"192.0.2.{n}" for n in range(101, 113)))
        keeping = Keeping({"one": ("a", "b")}, a=many, b=more)
        assert len((await keeping.locator.start())["one"]) == MAX_HOPS


async def test_records_that_change_reach_the_trunk() -> None:
    """From the wire to the observer, with nothing but the clock replaced."""
    zone: dict[tuple[str, str], object] = {("_sip._udp.example.org", "SRV"): "0 0 5060 a.example.org.", **A}
    async with NameServer(zone) as server:
        keeping = Keeping({})
        locator = Locator(
            {"carrier": (Target(host="example.org"),)},
            locate_apart(resolver_at(server), (IPV4,)),
            keeping,
            seed=1,
            clock=keeping.clock,
            sleep=keeping.clock.sleep,
        )
        assert (await locator.start())["carrier"] == (Hop("192.0.2.1", 5060),)
        zone["_sip._udp.example.org", "SRV"] = ("0 0 5060 b.example.org.", "1 0 5070 a.example.org.")
        running = asyncio.create_task(locator.run())
        await settle()
        await keeping.clock.advance(120)
        await eventually(lambda: keeping.told, 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert keeping.told == [("carrier", ["192.0.2.2", "192.0.2.1"])]
