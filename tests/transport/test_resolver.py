"""Questions to a real name server on loopback, to the machine's own files, and to resolvers that do not come back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from gateway.errors import ResourceError
from gateway.sip.message import Address
from gateway.transport import resolver as module
from gateway.transport.resolver import NameServiceError, Pointer, Resolver, ResolverOptions, Service, apart
from tests.support.aio import eventually
from tests.support.name_server import NameServer, Records

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
BOTH = (IPV4, IPV6)


def asking(*servers: NameServer, timeout_s: float = 2.0) -> Resolver:
    return Resolver(ResolverOptions(servers=tuple(server.address for server in servers), timeout_s=timeout_s))


@pytest.fixture
def own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Resolver]:
    """A resolver as this machine is set to, whose files and getaddrinfo are the test's."""

    def make(hosts: str = "", resolv_conf: str = "", others: dict[str, str] | None = None) -> Resolver:
        def ask(host: str, *_arguments: object) -> list[object]:
            if host not in (others or {}):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(IPV4, socket.SOCK_DGRAM, 17, "", ((others or {})[host], 0))]

        monkeypatch.setattr(socket, "getaddrinfo", ask)
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(resolv_conf)
        monkeypatch.setattr(module, "_RESOLV_CONF", tmp_path / "resolv.conf")
        return Resolver(ResolverOptions(timeout_s=0.3), hosts=tmp_path / "hosts")

    return make


async def test_addresses_of_both_families_in_the_order_asked_for() -> None:
    zone = {("pbx.example", "A"): Records(("192.0.2.2", "192.0.2.1"), 300), ("pbx.example", "AAAA"): "2001:db8::1"}
    async with NameServer(zone) as server:
        both = await asking(server).addresses("pbx.example", BOTH)
        assert both.records == ("192.0.2.1", "192.0.2.2", "2001:db8::1")
        assert both.ttl_s == 120  # the shortest
        assert (await asking(server).addresses("pbx.example", (IPV6, IPV4))).records[0] == "2001:db8::1"
        server.asked.clear()
        assert (await asking(server).addresses("pbx.example", (IPV6,))).records == ("2001:db8::1",)
        assert server.count("A") == 0


async def test_numeric_host_is_its_own_address() -> None:
    async with NameServer() as server:
        assert (await asking(server).addresses("127.0.0.1", BOTH)).records == ("127.0.0.1",)
        assert (await asking(server).addresses("::1", BOTH)).records == ("::1",)
        assert (await asking(server).addresses("::1", (IPV4,))).records == ()
        assert server.asked == []


async def test_family_that_fails_does_not_spoil_the_other() -> None:
    zone = {("pbx.example", "A"): "192.0.2.1", ("pbx.example", "AAAA"): dns.rcode.SERVFAIL}
    async with NameServer(zone) as server:
        assert (await asking(server, timeout_s=0.4).addresses("pbx.example", BOTH)).records == ("192.0.2.1",)


@pytest.mark.parametrize(
    ("kind", "lie"),
    [
        ("A", "224.0.1.75"),
        ("A", "0.0.0.0"),  # noqa: S104
        ("A", "0.0.0.7"),
        ("A", "255.255.255.255"),
        ("A", "240.0.0.1"),
        ("AAAA", "ff02::1"),
        ("AAAA", "::"),
        ("AAAA", "::ffff:127.0.0.1"),
        ("AAAA", "fe80::1"),
    ],
)
async def test_address_that_cannot_be_a_peers_is_left_out(kind: str, lie: str) -> None:
    good = "192.0.2.1" if kind == "A" else "2001:db8::1"
    async with NameServer({("pbx.example", kind): (lie, good)}) as server:
        assert (await asking(server).addresses("pbx.example", BOTH)).records == (good,)


async def test_services_and_pointers_are_read() -> None:
    zone = {
        ("_sip._udp.example.org", "SRV"): ("20 5 5062 B.example.org.", "10 0 5060 a.example.org.", "30 0 0 ."),
        ("example.org", "NAPTR"): (
            '50 50 "s" "SIP+D2T" "" _sip._tcp.example.org.',
            '40 10 "u" "E2U+sip" "!^.*$!sip:x@y!" .',
        ),
    }
    async with NameServer(zone) as server:
        resolver = asking(server)
        services = await resolver.services("_sip._udp.example.org")
        assert [one._replace(target=one.target.lower()) for one in services.records] == [
            Service(10, 0, 5060, "a.example.org"),
            Service(20, 5, 5062, "b.example.org"),
            Service(30, 0, 0, ""),
        ]
        pointers = await resolver.pointers("example.org")
        assert pointers.records == (Pointer(50, 50, "S", "SIP+D2T", "_sip._tcp.example.org"),)


async def test_name_that_does_not_exist_and_one_without_such_records_are_empty() -> None:
    async with NameServer({("pbx.example", "TXT"): '"x"'}) as server:
        assert (await asking(server).services("_sip._udp.nowhere.example")).records == ()
        assert (await asking(server).addresses("pbx.example", BOTH)).records == ()


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
async def test_server_that_refuses_is_a_failure_not_an_absence(rcode: dns.rcode.Rcode) -> None:
    async with NameServer(otherwise=rcode) as server:
        with pytest.raises(NameServiceError) as caught:
            await asking(server, timeout_s=0.3).addresses("pbx.example", BOTH)
    assert not caught.value.is_absent
    assert "cannot resolve pbx.example: " in str(caught.value)
    assert "configure its IP address" in str(caught.value)


async def test_dead_server_leaves_time_for_the_next_one() -> None:
    async with NameServer(otherwise=None) as dead, NameServer({("pbx.example", "A"): "192.0.2.1"}) as alive:
        answer = await asking(dead, alive, timeout_s=0.9).addresses("pbx.example", (IPV4,))
        assert answer.records == ("192.0.2.1",)
        assert dead.asked != []


async def test_truncated_answer_is_fetched_by_tcp() -> None:
    async with NameServer({("pbx.example", "A"): "192.0.2.1"}, truncates=True) as server:
        assert (await asking(server).addresses("pbx.example", (IPV4,))).records == ("192.0.2.1",)
        assert [transport for _, _, transport in server.asked] == ["udp", "tcp"]


async def test_aliases_are_followed_and_their_time_counts() -> None:
    zone: dict[tuple[str, str], object] = {(f"a{n}.example", "CNAME"): f"a{n + 1}.example." for n in range(5)}
    zone["a5.example", "A"] = Records(("192.0.2.1",), 600)
    async with NameServer(zone) as server:
        answer = await asking(server).addresses("a0.example", (IPV4,))
        assert (answer.records, answer.ttl_s) == (("192.0.2.1",), 120)


@pytest.mark.parametrize("length", [2, 20])
async def test_aliases_without_end_are_a_failure(length: int) -> None:
    """A loop of two; a chain of twenty that ends."""
    zone: dict[tuple[str, str], object] = {
        (f"a{n}.example", "CNAME"): f"a{(n + 1) % length if length == 2 else n + 1}.example." for n in range(length)
    }
    zone["a20.example", "A"] = "192.0.2.1"
    async with NameServer(zone) as server:
        with pytest.raises(NameServiceError):
            await asking(server, timeout_s=0.4).addresses("a0.example", (IPV4,))


async def test_answer_of_another_kind_than_asked_for_is_a_failure_only() -> None:
    """An UPDATE in place of an answer trips an assertion of dnspython."""

    def update(query: dns.message.Message) -> bytes:
        wire = bytearray(dns.message.make_response(query).to_wire())
        wire[2] = wire[2] & 0x87 | dns.opcode.UPDATE << 3
        return bytes(wire)

    async with NameServer({("pbx.example", "A"): update}) as server:
        with pytest.raises(NameServiceError) as caught:
            await asking(server, timeout_s=0.3).addresses("pbx.example", (IPV4,))
    assert not caught.value.is_absent


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\xff" * 600, b"GET / HTTP/1.1\r\n\r\n"])
async def test_garbage_is_a_failure_only(garbage: bytes) -> None:
    async with NameServer({("pbx.example", "A"): lambda query: query.id.to_bytes(2, "big") + garbage}) as server:
        with pytest.raises(NameServiceError):
            await asking(server, timeout_s=0.3).addresses("pbx.example", (IPV4,))


@pytest.mark.parametrize("truncates", [False, True])
async def test_more_records_than_anybody_needs_are_cut(truncates: bool) -> None:
    zone = {("pbx.example", "A"): tuple(f"198.18.0.{n + 1}" for n in range(200))}
    async with NameServer(zone, truncates=truncates) as server:
        answer = await asking(server).addresses("pbx.example", (IPV4,))
    assert len(answer.records) == module.MAX_RECORDS


@pytest.mark.parametrize("truncates", [False, True])
async def test_answer_too_large_for_its_purpose_is_not_read(truncates: bool) -> None:
    zone = {("pbx.example", "A"): tuple(f"198.18.{n // 250}.{n % 250 + 1}" for n in range(2500))}
    async with NameServer(zone, truncates=truncates) as server:
        with pytest.raises(NameServiceError) as caught:
            await asking(server, timeout_s=0.4).addresses("pbx.example", (IPV4,))
    assert not caught.value.is_absent


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", ("a" * 60 + ".") * 5])
async def test_name_that_is_none_is_absent(name: str) -> None:
    async with NameServer() as server:
        with pytest.raises(ResourceError, match="cannot resolve") as caught:
            await asking(server).addresses(name, (IPV4,))
    assert isinstance(caught.value, NameServiceError)
    assert caught.value.is_absent


# This machine's own way of asking.

HOSTS = "127.0.0.1 localhost\n192.0.2.7\tpbx.example  PBX # the old one\n2001:db8::7 pbx\n\n# 192.0.2.9 pbx\nbroken\n"


@pytest.mark.parametrize("name", ["pbx", "PBX", "pbx."])
async def test_hosts_file_comes_first(own_machine: Callable[..., Resolver], name: str) -> None:
    resolver = own_machine(HOSTS, "nameserver 127.0.0.1\n")
    answer = await resolver.addresses(name, BOTH)
    assert (answer.records, answer.is_ranked) == (("192.0.2.7", "2001:db8::7"), True)
    assert resolver.hosts(name, (IPV6,)) == ("2001:db8::7",)


async def test_name_that_dns_does_not_know_is_asked_of_the_machine(own_machine: Callable[..., Resolver]) -> None:
    resolver = own_machine(others={"pbx.local": "192.0.2.8"})
    assert (await resolver.addresses("pbx.local", BOTH)).records == ("192.0.2.8",)
    assert (await resolver.addresses("pbx.local", (IPV6, IPV4))).records == ("192.0.2.8",)


async def test_machine_without_name_server_is_a_failure_not_an_absence(own_machine: Callable[..., Resolver]) -> None:
    with pytest.raises(NameServiceError, match="no name server is configured") as caught:
        await own_machine().addresses("pbx.example", BOTH)
    assert not caught.value.is_absent


async def test_short_name_is_sought_in_the_machines_domain_and_a_whole_one_is_not(
    own_machine: Callable[..., Resolver], monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = {
        ("pbx.office.example", "A"): "192.0.2.1",
        ("_sip._udp.pbx.office.example", "SRV"): "0 0 5060 pbx.office.example.",
        ("pbx.example.office.example", "A"): "192.0.2.66",
    }
    async with NameServer(zone) as server:
        resolver = own_machine(resolv_conf="search office.example\nnameserver 127.0.0.1\n")
        made = resolver._resolver

        def on_its_port() -> object:
            asking_it = made()
            asking_it.port = server.address.port
            return asking_it

        monkeypatch.setattr(resolver, "_resolver", on_its_port)
        assert (await resolver.addresses("pbx", (IPV4,))).records == ("192.0.2.1",)
        assert (await resolver.services("_sip._udp.pbx")).records == (Service(0, 0, 5060, "pbx.office.example"),)
        assert (await resolver.addresses("pbx.example", (IPV4,))).records == ()


async def test_own_name_servers_are_asked_and_nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked the machine"))
    (tmp_path / "hosts").write_text("192.0.2.7 pbx\n")
    async with NameServer() as server:
        options = ResolverOptions(servers=(server.address,))
        assert (await Resolver(options, hosts=tmp_path / "hosts").addresses("pbx", BOTH)).records == ()
        assert {name for name, _, _ in server.asked} == {"pbx"}


# The thread.


async def test_work_apart_returns_or_raises_where_it_is_awaited() -> None:
    assert await apart(lambda: threading.current_thread().name) == "resolver"
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 // 0)


async def test_resolver_that_hangs_costs_its_budget_and_holds_nobody() -> None:
    hang = threading.Event()
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _loop, context: reported.append(context))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await apart(lambda: hang.wait(10))
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    assert thread.daemon
    hang.set()
    await eventually(lambda: not thread.is_alive())
    await asyncio.sleep(0)  # the answer nobody waits for is delivered
    assert reported == []


def test_an_answer_after_the_loop_has_ended_goes_nowhere() -> None:
    answered = threading.Event()

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await apart(lambda: answered.wait(10))

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    threads = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    answered.set()
    for thread in threads:
        thread.join(5)  # an exception in it would fail the test: warnings are errors
        assert not thread.is_alive()


def test_address_of_a_server_carries_its_port() -> None:
    resolver = Resolver(ResolverOptions(servers=(Address("192.0.2.53", 5353),)))._resolver()
    assert [(server.answer_nameserver(), server.answer_port()) for server in resolver.nameservers] == [
        ("192.0.2.53", 5353)
    ]
