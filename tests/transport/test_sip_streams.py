"""SIP over TCP and TLS through a `SipEndpoint`: real sockets on loopback, the clock of the patience in our hands."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from gateway.errors import ResourceError
from gateway.simulate.phone import free_sip_port
from gateway.sip.core import UserAgentOptions
from gateway.sip.events import CallAnswered, CallEnded, CallEstablished, CallOffered, Event
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address, Request, Uri, parse_message
from gateway.sip.trunk import TrunkOptions
from gateway.sip.user_agent import UserAgent
from gateway.transport import sip_acceptor
from gateway.transport.sip_connection import (
    MAX_BUFFERED_BYTES,
    READ_BYTES,
    Closure,
    Connection,
    ConnectionState,
    StreamOptions,
)
from gateway.transport.sip_counters import SLICE_MESSAGES, SLICE_S
from gateway.transport.sip_endpoint import SipEndpoint
from gateway.transport.tls import TlsContexts, TlsOptions, load_tls
from tests.support.aio import eventually
from tests.support.certificates import Authority, Identity
from tests.support.scripted_core import ScriptedCore
from tests.support.wire import description

LOOPBACK = "127.0.0.1"
NAME = "pbx.example"
E = TypeVar("E", bound=Event)


def message(text: str = "1", body: bytes = b"") -> bytes:
    return f"INFO sip:a@b SIP/2.0\r\nCall-ID: {text}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def listener(transport: Transport, host: str = LOOPBACK, *, is_open: bool = True) -> Listener:
    address = Address(host, 0)
    return Listener(transport=transport, address=address, advertise=address, is_open=is_open)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """The far end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def address(self) -> Address:
        return Address(*self.writer.get_extra_info("sockname")[:2])

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(2):
            return await self.reader.readexactly(size)

    async def is_closed(self) -> bool:
        """Whether the other side closes within 2 s, without another byte."""
        async with asyncio.timeout(2):
            try:
                return await self.reader.read(1) == b""
            except (ConnectionError, ssl.SSLError):
                return True

    def reset(self) -> None:
        self.writer.transport.abort()


class Server:
    """A PBX that takes connections: `peers` in their order."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self._server: asyncio.Server

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._take, LOOPBACK, 0, ssl=context)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(Peer(reader, writer))

    def hop(self, transport: Transport = Transport.TCP) -> Hop:
        return Hop(*self._server.sockets[0].getsockname(), transport)

    async def peer(self, index: int = 0) -> Peer:
        await eventually(lambda: len(self.peers) > index)
        return self.peers[index]

    async def stop(self) -> None:
        self._server.close()
        for peer in self.peers:
            peer.reset()


Start = Callable[..., SipEndpoint]
Connect = Callable[..., "asyncio.Future[Peer]"]


@pytest.fixture
def core() -> ScriptedCore:
    return ScriptedCore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def start(core: ScriptedCore, clock: Clock) -> AsyncIterator[Start]:
    endpoints: list[SipEndpoint] = []

    def start(
        *listeners: Listener,
        tls: TlsContexts | None = None,
        server_name: str | None = None,
        core: ScriptedCore = core,
        **options: float,
    ) -> SipEndpoint:
        endpoint = SipEndpoint(
            core,
            listeners or (listener(Transport.UDP), listener(Transport.TCP)),
            lambda _event: None,
            streams=StreamOptions(**options),  # type: ignore[arg-type]
            tls=tls,
            server_names=lambda _hop: (server_name,) if server_name else (),
            clock=clock,
        )
        endpoint.start()
        endpoints.append(endpoint)
        return endpoint

    yield start
    for endpoint in endpoints:
        endpoint.close()
    await asyncio.sleep(0)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    peers: list[Peer] = []

    async def connect(
        endpoint: SipEndpoint,
        context: ssl.SSLContext | None = None,
        local: str = LOOPBACK,
        kind: Transport | None = None,
    ) -> Peer:
        kind = kind or (Transport.TLS if context is not None else Transport.TCP)
        hop = next(hop for hop in endpoint.listening if hop.transport is kind)
        # The kernel connects: whether the connection is kept shows afterwards.
        tcp = socket.create_connection(hop.address, timeout=2, source_address=(local, 0))
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(
                sock=tcp, ssl=context, server_hostname="" if context is not None else None
            )
        peers.append(Peer(reader, writer))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.reset()
    await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    yield server
    await server.stop()
    await asyncio.sleep(0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def identity(authority: Authority) -> Identity:
    return authority.issue("pbx", dns=[NAME])


@pytest.fixture
def contexts(authority: Authority, identity: Identity) -> TlsContexts:
    return load_tls(TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca))


@pytest.fixture
def mutual(authority: Authority, identity: Identity) -> TlsContexts:
    return load_tls(TlsOptions(certificate=identity.certificate, key=identity.key, ca=authority.ca, verify_client=True))


def check(endpoint: SipEndpoint) -> None:
    """What happens twice a second."""
    endpoint._streams._check()


# Messages in.


async def test_a_message_reaches_the_user_agent_with_the_number_of_its_connection(
    core: ScriptedCore, start: Start, connect: Connect
) -> None:
    endpoint = start()
    first, second = await connect(endpoint), await connect(endpoint)
    first.send(message("first"))
    await eventually(lambda: core.received)
    second.send(message("second"))
    await eventually(lambda: len(core.received) == 2)
    assert core.received == [
        (message("first"), Hop(*first.address, Transport.TCP, 1)),
        (message("second"), Hop(*second.address, Transport.TCP, 2)),
    ]


async def test_a_message_in_many_segments_is_one_and_two_in_a_segment_are_two(
    core: ScriptedCore, start: Start, connect: Connect
) -> None:
    peer = await connect(start())
    for octet in message("slow", b"body"):
        peer.send(bytes([octet]))
        await asyncio.sleep(0)
    peer.send(message("a") + message("b"))
    await eventually(lambda: len(core.received) == 3)
    assert [data for data, _ in core.received] == [message("slow", b"body"), message("a"), message("b")]


async def test_an_answer_goes_back_over_the_same_connection(core: ScriptedCore, start: Start, connect: Connect) -> None:
    core.on_datagram = lambda data, source: core.outbox.append((b"answer to " + data, source))
    endpoint = start()
    peer = await connect(endpoint)
    peer.send(message())
    assert await peer.read(10 + len(message())) == b"answer to " + message()
    assert endpoint.connection_count == 1


async def test_a_ping_is_answered_with_a_pong(core: ScriptedCore, start: Start, connect: Connect) -> None:
    peer = await connect(start())
    peer.send(b"\r\n\r\n" + message() + b"\r\n\r\n")
    assert await peer.read(4) == b"\r\n\r\n"
    assert [data for data, _ in core.received] == [message()]


async def test_a_stream_that_cannot_be_followed_is_answered_and_closed(
    core: ScriptedCore, start: Start, connect: Connect
) -> None:
    core.on_refusal = lambda refusal, source: core.outbox.append((str(refusal.status).encode(), source))
    endpoint = start()
    peer = await connect(endpoint)
    peer.send(message("before") + b"INFO sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n" + message("behind"))
    assert await peer.read(3) == b"400"
    assert await peer.is_closed()
    assert [data for data, _ in core.received] == [message("before")]
    assert endpoint.counters.closed_malformed == 1
    await eventually(lambda: not endpoint.connection_count)


async def test_what_came_before_a_close_is_still_taken_in(core: ScriptedCore, start: Start, connect: Connect) -> None:
    endpoint = start()
    peer = await connect(endpoint)
    peer.send(b"".join(message(str(number)) for number in range(100)))
    peer.writer.close()
    await eventually(lambda: core.broken)
    assert len(core.received) == 100
    assert core.broken == [core.received[0][1]]
    assert endpoint.connection_count == 0


async def test_a_flood_is_taken_in_slices_with_the_loop_and_other_connections_between(
    core: ScriptedCore, start: Start, connect: Connect
) -> None:
    endpoint = start()
    flooding, quiet = await connect(endpoint), await connect(endpoint)
    at_other_work: list[int] = []

    def speak_up(_data: bytes, _source: Hop) -> None:
        if len(core.received) == 1:
            quiet.send(message("quiet"))

    core.on_datagram = speak_up
    flooding.send(message("flood") * 500)

    def other_work() -> None:
        at_other_work.append(len(core.received))
        if len(core.received) < 501:
            asyncio.get_running_loop().call_soon(other_work)

    other_work()
    await eventually(lambda: len(core.received) == 501)
    assert max(after - before for before, after in pairwise(at_other_work)) <= SLICE_MESSAGES
    assert [data for data, _ in core.received].index(message("quiet")) < 5 * SLICE_MESSAGES


async def test_what_nobody_takes_out_yet_is_left_to_the_kernel(
    core: ScriptedCore, start: Start, connect: Connect, clock: Clock
) -> None:
    kept: list[int] = []

    def slow(_data: bytes, _source: Hop) -> None:
        clock.now += 1  # so that each slice ends after one message
        (connection,) = endpoint._streams._connections.values()
        kept.append(connection._framer.buffered_bytes)

    core.on_datagram = slow
    endpoint = start(head_s=1e9, idle_s=1e9)
    peer = await connect(endpoint)
    peer.send(message("x", b"x" * 8000) * 300)
    await eventually(lambda: len(core.received) == 300)
    assert MAX_BUFFERED_BYTES // 2 < max(kept) <= MAX_BUFFERED_BYTES + READ_BYTES


# Messages out.


async def test_a_connection_is_opened_for_a_message_and_used_for_the_next(
    core: ScriptedCore, start: Start, server: Server
) -> None:
    await server.start()
    endpoint = start()
    core.outbox += [(b"first ", server.hop()), (b"second ", server.hop())]
    endpoint.transmit()
    peer = await server.peer()
    assert await peer.read(13) == b"first second "
    core.outbox.append((b"third", server.hop()))
    endpoint.transmit()
    assert await peer.read(5) == b"third"
    assert len(server.peers) == 1
    assert endpoint.counters.sent == 3
    peer.send(message())
    await eventually(lambda: core.received)
    assert core.received[0][1] == server.hop()._replace(connection=1)


async def test_a_connection_leaves_from_the_address_we_listen_on(
    core: ScriptedCore, start: Start, server: Server
) -> None:
    await server.start()
    endpoint = start(listener(Transport.TCP, "127.0.0.7", is_open=False))
    core.outbox.append((b"x", server.hop()))
    endpoint.transmit()
    peer = await server.peer()
    assert peer.writer.get_extra_info("peername")[0] == "127.0.0.7"
    assert endpoint.listening == []


async def test_a_gone_connection_is_replaced_by_one_to_the_address(
    core: ScriptedCore, start: Start, server: Server
) -> None:
    await server.start()
    endpoint = start()
    core.outbox.append((b"x", server.hop()._replace(connection=77)))
    endpoint.transmit()
    assert await (await server.peer()).read(1) == b"x"


async def test_a_refused_connection_fails_every_hop_that_waited_for_it(core: ScriptedCore, start: Start) -> None:
    with socket.socket() as closed:
        closed.bind((LOOPBACK, 0))
        hop = Hop(*closed.getsockname(), Transport.TCP)
    endpoint = start()
    core.outbox += [(b"x", hop), (b"y", hop), (b"z", hop._replace(connection=9))]
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == [hop, hop._replace(connection=9)]
    assert endpoint.counters.connects_failed == 1
    assert endpoint.connection_count == 0


async def test_a_server_that_does_not_answer_is_given_up(core: ScriptedCore, start: Start) -> None:
    with socket.socket() as full:
        full.bind((LOOPBACK, 0))
        full.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):  # a full backlog drops further SYNs
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            hop = Hop(*full.getsockname(), Transport.TCP)
            endpoint = start(connect_s=0.05)
            core.outbox.append((b"x", hop))
            endpoint.transmit()
            await eventually(lambda: core.broken)
            assert core.broken == [hop]


async def test_nobody_there_is_told_as_that(core: ScriptedCore, start: Start) -> None:
    with socket.socket() as closed:
        closed.bind((LOOPBACK, 0))
        hop = Hop(*closed.getsockname(), Transport.TCP)
    endpoint = start()
    core.outbox.append((b"x", hop))
    endpoint.transmit()
    await eventually(lambda: core.reasons)
    assert core.reasons == ["Connection refused"]


async def test_too_many_messages_for_a_connection_that_is_not_open_yet_fail(
    core: ScriptedCore, start: Start, server: Server
) -> None:
    await server.start()
    endpoint = start(max_queued_messages=2)
    core.outbox += [(b"x", server.hop())] * 3
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == [server.hop()]


async def test_a_host_name_is_never_resolved_here(core: ScriptedCore, start: Start) -> None:
    endpoint = start()
    hops = [Hop("localhost", 5060, Transport.TCP), Hop(LOOPBACK, 70000, Transport.TCP)]
    core.outbox += [(b"x", hop) for hop in hops]
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == hops
    assert endpoint.counters.dropped_not_numeric == 2


async def test_a_broken_connection_is_told_with_its_number_which_is_never_used_again(
    core: ScriptedCore, start: Start, server: Server
) -> None:
    await server.start()
    endpoint = start()
    core.outbox.append((b"x", server.hop()))
    endpoint.transmit()
    peer = await server.peer()
    assert await peer.read(1) == b"x"
    peer.reset()
    await eventually(lambda: core.broken)
    assert core.broken == [server.hop()._replace(connection=1)]
    core.outbox.append((b"y", server.hop()))
    endpoint.transmit()
    again = await server.peer(1)
    again.send(message())
    await eventually(lambda: core.received)
    assert core.received[0][1].connection == 2


async def test_a_peer_that_does_not_read_is_closed(core: ScriptedCore, start: Start, connect: Connect) -> None:
    endpoint = start(max_unsent_bytes=100_000)
    peer = await connect(endpoint)
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(message())
    await eventually(lambda: core.received)
    for _ in range(1000):
        core.outbox.append((b"x" * 60_000, core.received[0][1]))
        endpoint.transmit()
        if endpoint.counters.closed_slow_reader:
            break
    await eventually(lambda: core.broken)
    assert endpoint.counters.closed_slow_reader == 1
    await eventually(lambda: endpoint.connection_count == 0)


async def test_ipv6_is_spoken(core: ScriptedCore, start: Start, connect: Connect) -> None:
    endpoint = start(listener(Transport.TCP, "::1"))
    peer = await connect(endpoint, local="::1")
    peer.send(message())
    await eventually(lambda: core.received)
    assert core.received[0][1] == Hop("::1", peer.address.port, Transport.TCP, 1)


# Strangers and limits.


async def test_a_stranger_is_closed_without_a_byte(core: ScriptedCore, start: Start, connect: Connect) -> None:
    core.known = lambda host: host != "127.0.0.9"
    endpoint = start()
    stranger = await connect(endpoint, local="127.0.0.9")
    assert await stranger.is_closed()
    assert endpoint.counters.strangers_refused == 1
    assert endpoint.connection_count == 0
    assert core.broken == []


async def test_one_source_may_not_have_every_connection(core: ScriptedCore, start: Start, connect: Connect) -> None:
    endpoint = start(max_connections_per_source=2)
    peers = [await connect(endpoint) for _ in range(2)]
    await eventually(lambda: endpoint.connection_count == 2)
    assert await (await connect(endpoint)).is_closed()
    other = await connect(endpoint, local="127.0.0.2")
    other.send(message())
    await eventually(lambda: core.received)
    assert endpoint.counters.limit_refused == 1
    peers[0].reset()
    await eventually(lambda: endpoint.connection_count == 2)
    (await connect(endpoint)).send(message())
    await eventually(lambda: len(core.received) == 2)


async def test_there_is_a_limit_in_all_with_some_left_for_ours(
    core: ScriptedCore, start: Start, connect: Connect, server: Server
) -> None:
    await server.start()
    endpoint = start(max_connections=3, reserved_connections=1)
    for _ in range(2):
        await connect(endpoint)
    await eventually(lambda: endpoint.connection_count == 2)
    assert await (await connect(endpoint)).is_closed()
    core.outbox.append((b"x", server.hop()))
    endpoint.transmit()
    assert await (await server.peer()).read(1) == b"x"
    elsewhere = Hop("127.0.0.3", 5060, Transport.TCP)
    core.outbox.append((b"x", elsewhere))
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == [elsewhere]


async def test_a_head_that_does_not_come_is_waited_for_half_a_minute(
    core: ScriptedCore, start: Start, connect: Connect, clock: Clock
) -> None:
    endpoint = start()
    silent, slow, good = [await connect(endpoint) for _ in range(3)]
    good.send(message())
    await eventually(lambda: core.received)
    clock.now += 20
    slow.send(message() + b"INFO sip:a")
    await eventually(lambda: len(core.received) == 2)
    clock.now += 10.5
    check(endpoint)
    assert await silent.is_closed()
    assert endpoint.connection_count == 2
    slow.send(b"@b SIP/2.0\r\n")
    clock.now += 20
    check(endpoint)
    assert await slow.is_closed()
    assert endpoint.counters.closed_slow == 2
    await eventually(lambda: endpoint.connection_count == 1)


async def test_many_connections_are_closed_in_slices(
    start: Start, connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = start()
    for _ in range(10):
        await connect(endpoint)
    await eventually(lambda: len(endpoint._streams._connections) == 10 and not endpoint._streams._tasks)
    clock.now += 31
    kill = Connection.abort

    def slow(connection: Connection, closure: Closure | None = None) -> None:
        clock.now += SLICE_S * 0.6
        kill(connection, closure)

    monkeypatch.setattr(Connection, "abort", slow)
    check(endpoint)
    assert [one.state for one in endpoint._streams._connections.values()].count(ConnectionState.CLOSING) == 2
    await eventually(lambda: endpoint.connection_count == 0)
    assert endpoint.counters.closed_slow == 10


async def test_an_idle_connection_is_closed_and_told_to_the_user_agent(
    core: ScriptedCore, start: Start, connect: Connect, clock: Clock
) -> None:
    endpoint = start()
    idle, busy = await connect(endpoint), await connect(endpoint)
    for peer in (idle, busy):
        peer.send(message())
    await eventually(lambda: len(core.received) == 2)
    clock.now += 500
    busy.send(b"\r\n\r\n")
    assert await busy.read(2) == b"\r\n"
    clock.now += 101
    check(endpoint)
    assert await idle.is_closed()
    await eventually(lambda: core.broken)
    assert core.broken == [Hop(*idle.address, Transport.TCP, 1)]
    assert endpoint.connection_count == 1
    assert endpoint.counters.closed_idle == 1


async def test_our_connections_are_pinged_when_quiet_and_closed_when_pongs_cease(
    core: ScriptedCore, start: Start, server: Server, clock: Clock
) -> None:
    await server.start()
    endpoint = start()
    core.outbox.append((b"x", server.hop()))
    endpoint.transmit()
    peer = await server.peer()
    assert await peer.read(1) == b"x"
    clock.now += 30
    check(endpoint)
    assert await peer.read(4) == b"\r\n\r\n"
    peer.send(b"\r\n")
    (connection,) = endpoint._streams._connections.values()
    await eventually(lambda: connection._framer.pongs)
    clock.now += 30
    check(endpoint)
    assert await peer.read(4) == b"\r\n\r\n"
    clock.now += 10
    check(endpoint)
    assert endpoint.connection_count == 1
    clock.now += 0.5
    check(endpoint)
    assert await peer.is_closed()
    await eventually(lambda: core.broken)
    assert endpoint.counters.closed_silent == 1


async def test_a_peer_that_never_gives_pongs_is_not_held_to_them(
    core: ScriptedCore, start: Start, server: Server, clock: Clock
) -> None:
    await server.start()
    endpoint = start()
    core.outbox.append((b"x", server.hop()))
    endpoint.transmit()
    peer = await server.peer()
    assert await peer.read(1) == b"x"
    for _ in range(3):
        clock.now += 31
        check(endpoint)
        assert await peer.read(4) == b"\r\n\r\n"
        clock.now += 31
        check(endpoint)
    assert endpoint.connection_count == 1
    assert core.broken == []


async def test_accepting_pauses_while_there_are_no_descriptors(
    core: ScriptedCore, start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip_acceptor, "NO_DESCRIPTOR_PAUSE_S", 0.05)
    endpoint = start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    peer = socket.socket()
    peer.setblocking(False)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (peer.fileno() + 1, hard))
        hop = next(hop for hop in endpoint.listening if hop.transport is Transport.TCP)
        await asyncio.get_running_loop().sock_connect(peer, hop.address)
        (acceptor,) = endpoint._streams._acceptors
        await eventually(lambda: acceptor._pause is not None)
        assert endpoint.connection_count == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await eventually(lambda: endpoint.connection_count == 1)
    peer.close()


@pytest.fixture
def _descriptors() -> Iterator[None]:
    needed = 2 * 2000 + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        pytest.skip(f"needs {needed} descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_descriptors")
async def close_apart(idle: socket.socket) -> None:
    """Close one of very many, and let the loop go on."""
    idle.close()
    await asyncio.sleep(0)


def connections_seen(endpoint: SipEndpoint) -> int:
    """Those that were taken and those that were refused; what waits in the kernel is not seen yet."""
    counters = endpoint.counters
    return endpoint.connection_count + counters.strangers_refused + counters.limit_refused


async def test_two_thousand_idle_connections_are_gone_in_time_while_a_peer_is_served(
    core: ScriptedCore, start: Start, connect: Connect, clock: Clock
) -> None:
    """On a large scale: 30 sources of the access list, and strangers."""
    core.known = lambda host: not host.startswith("127.0.1.")
    core.on_datagram = lambda data, source: core.outbox.append((b"ok", source))
    endpoint = start()
    hop = next(hop for hop in endpoint.listening if hop.transport is Transport.TCP)
    peer = await connect(endpoint)
    async with AsyncExitStack() as stack:
        for number in range(2000):
            host = f"127.0.1.{number % 100 + 1}" if number % 2 else f"127.0.2.{number // 2 // 80 + 1}"
            idle = socket.socket()
            stack.push_async_callback(close_apart, idle)
            idle.setblocking(False)
            idle.bind((host, 0))
            idle.connect_ex(hop.address)
            if number % 100 == 0:
                peer.send(message(str(number)))
                assert await peer.read(2) == b"ok"
                await eventually(lambda: connections_seen(endpoint) > number)  # noqa: B023 - called here and now
        await eventually(lambda: endpoint.counters.strangers_refused == 1000)
        await eventually(lambda: endpoint.connection_count + endpoint.counters.limit_refused == 1001)
        assert endpoint.connection_count == 900
        clock.now += 29
        peer.send(message("again"))
        assert await peer.read(2) == b"ok"
        clock.now += 2
        check(endpoint)
        await eventually(lambda: endpoint.connection_count == 1)
        peer.send(message("after"))
        assert await peer.read(2) == b"ok"
    assert endpoint.counters.closed_slow == 899


# TLS.


def client_context(authority: Authority) -> ssl.SSLContext:
    return load_tls(TlsOptions(ca=authority.ca)).client


async def test_tls_is_spoken_by_the_server(
    core: ScriptedCore, start: Start, connect: Connect, contexts: TlsContexts, authority: Authority
) -> None:
    core.on_datagram = lambda data, source: core.outbox.append((data, source))
    endpoint = start(listener(Transport.TLS), tls=contexts)
    peer = await connect(endpoint, client_context(authority))
    peer.send(message("a") + message("b"))
    assert await peer.read(2 * len(message("a"))) == message("a") + message("b")
    assert core.received[0][1] == Hop(*peer.address, Transport.TLS, 1)


async def test_a_tls_client_is_not_taken_for_the_server_of_its_address(
    core: ScriptedCore, start: Start, connect: Connect, contexts: TlsContexts, authority: Authority
) -> None:
    endpoint = start(listener(Transport.TLS), tls=contexts)
    peer = await connect(endpoint, client_context(authority))
    peer.send(message())
    await eventually(lambda: core.received)
    core.outbox.append((b"secret", Hop(*peer.address, Transport.TLS)))
    endpoint.transmit()
    await eventually(lambda: core.broken)  # nobody listens there
    core.outbox.append((b"answer", core.received[0][1]))
    endpoint.transmit()
    assert await peer.read(6) == b"answer"


async def test_tls_is_spoken_by_the_client_with_its_certificate_and_the_name_it_wants(
    core: ScriptedCore, start: Start, server: Server, mutual: TlsContexts
) -> None:
    context = mutual.server
    assert context is not None
    asked: list[str | None] = []
    context.sni_callback = lambda _tls, name, _context: asked.append(name)
    await server.start(context)
    endpoint = start(listener(Transport.TLS, is_open=False), tls=mutual, server_name=NAME)
    core.outbox.append((b"hello", server.hop(Transport.TLS)))
    endpoint.transmit()
    peer = await server.peer()
    assert await peer.read(5) == b"hello"
    assert asked == [NAME]
    assert peer.writer.get_extra_info("peercert")["subject"] == ((("commonName", "pbx"),),)


async def assert_refused(core: ScriptedCore, endpoint: SipEndpoint, hop: Hop) -> None:
    core.outbox.append((b"REGISTER", hop))
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == [hop]
    assert endpoint.connection_count == 0
    assert endpoint.counters.handshakes_failed == 1


async def test_a_server_that_hangs_up_instead_of_a_handshake_may_be_another_port(
    core: ScriptedCore, start: Start, contexts: TlsContexts
) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), LOOPBACK, 0)
    async with server:
        hop = Hop(*server.sockets[0].getsockname(), Transport.TLS)
        endpoint = start(listener(Transport.TLS, is_open=False), tls=contexts, server_name=NAME)
        core.outbox.append((b"x", hop))
        endpoint.transmit()
        await eventually(lambda: core.reasons)
        assert "is this its port for TLS?" in core.reasons[0]


async def test_a_server_of_another_name_is_refused_before_a_message_is_sent(
    core: ScriptedCore, start: Start, server: Server, contexts: TlsContexts
) -> None:
    await server.start(contexts.server)
    endpoint = start(listener(Transport.TLS, is_open=False), tls=contexts, server_name="other.example")
    await assert_refused(core, endpoint, server.hop(Transport.TLS))
    assert all([await peer.is_closed() for peer in server.peers])


async def test_without_a_name_the_certificate_has_to_name_the_address(
    core: ScriptedCore, start: Start, server: Server, contexts: TlsContexts, authority: Authority
) -> None:
    by_address = authority.issue("numeric", ips=[LOOPBACK])
    numeric = load_tls(TlsOptions(certificate=by_address.certificate, key=by_address.key)).server
    await server.start(numeric)
    endpoint = start(listener(Transport.TLS, is_open=False), tls=contexts)
    core.outbox.append((b"x", server.hop(Transport.TLS)))
    endpoint.transmit()
    assert await (await server.peer()).read(1) == b"x"


async def test_a_server_signed_by_somebody_else_is_refused(
    core: ScriptedCore, start: Start, server: Server, contexts: TlsContexts, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other").issue("impostor", dns=[NAME])
    impostor = load_tls(TlsOptions(certificate=other.certificate, key=other.key)).server
    await server.start(impostor)
    endpoint = start(listener(Transport.TLS, is_open=False), tls=contexts, server_name=NAME)
    await assert_refused(core, endpoint, server.hop(Transport.TLS))


async def test_a_server_without_tls_is_refused(
    core: ScriptedCore, start: Start, server: Server, contexts: TlsContexts
) -> None:
    await server.start()
    endpoint = start(tls=contexts, server_name=NAME)
    core.outbox.append((b"x", server.hop(Transport.TLS)))
    endpoint.transmit()
    (await server.peer()).send(message())
    await eventually(lambda: core.broken)
    assert endpoint.counters.handshakes_failed == 1


async def test_an_outage_is_one_line_and_its_end_another(
    core: ScriptedCore, start: Start, server: Server, contexts: TlsContexts
) -> None:
    await server.start(contexts.server)
    names = ["other.example"]
    endpoint = start(tls=contexts)
    endpoint._streams._user = replace(endpoint._streams._user, server_names=lambda _hop: names)
    with capture_logs() as lines:
        for count in range(3):
            core.outbox.append((b"x", server.hop(Transport.TLS)))
            endpoint.transmit()
            await eventually(lambda count=count: len(core.broken) > count)  # type: ignore[misc]
        names[0] = NAME
        core.outbox.append((b"x", server.hop(Transport.TLS)))
        endpoint.transmit()
        await eventually(lambda: [line for line in lines if line["event"] == "= connected again"])
    told = [line["reason"] for line in lines if line["event"] == "no connection"]
    assert told == ["its certificate is for pbx.example, not for other.example"]


async def test_a_clients_failures_of_each_kind_are_told_again_after_ten_minutes(
    start: Start, connect: Connect, contexts: TlsContexts, authority: Authority, clock: Clock
) -> None:
    endpoint = start(listener(Transport.TLS), tls=contexts)
    with capture_logs() as lines:
        for count, passed_s in enumerate((0, 300, 301)):
            clock.now += passed_s
            for tries, hello in enumerate((b"no handshake", b"GET / HTTP/1.0\r\n\r\n"), start=1):
                (await connect(endpoint, kind=Transport.TLS)).send(hello)
                failures = 2 * count + tries
                await eventually(lambda n=failures: endpoint.counters.handshakes_failed >= n)  # type: ignore[misc]
            await connect(endpoint, client_context(authority))  # a good one in between is no news
    told = [line for line in lines if line["event"] == "no connection"]
    assert [line["peer"] for line in told] == ["127.0.0.1:0/TLS"] * 4
    assert len({line["reason"] for line in told}) == 2
    assert not [line for line in lines if line["event"] == "= connected again"]


async def test_a_name_that_cannot_be_asked_for_fails_the_message_only(
    core: ScriptedCore, start: Start, contexts: TlsContexts
) -> None:
    endpoint = start(tls=contexts, server_name="a" * 70)
    hop = Hop(LOOPBACK, 5061, Transport.TLS)
    core.outbox.append((b"x", hop))
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == [hop]


async def test_without_tls_a_message_for_it_fails(core: ScriptedCore, start: Start) -> None:
    endpoint = start()
    hop = Hop(LOOPBACK, 5061, Transport.TLS)
    core.outbox.append((b"x", hop))
    endpoint.transmit()
    await eventually(lambda: core.broken)
    assert core.broken == [hop]


async def test_a_client_without_the_certificate_that_is_demanded_is_refused(
    start: Start, core: ScriptedCore, connect: Connect, authority: Authority, mutual: TlsContexts
) -> None:
    endpoint = start(listener(Transport.TLS), tls=mutual)
    nameless = await connect(endpoint, client_context(authority))
    nameless.send(message())
    assert await nameless.is_closed()
    known = await connect(endpoint, mutual.client)
    known.send(message("known"))
    await eventually(lambda: core.received)
    assert [data for data, _ in core.received] == [message("known")]
    assert endpoint.counters.handshakes_failed == 1
    assert core.broken == []


async def test_a_handshake_that_does_not_come_is_ended(start: Start, connect: Connect, contexts: TlsContexts) -> None:
    endpoint = start(listener(Transport.TLS), tls=contexts, handshake_s=0.05)
    peer = await connect(endpoint, kind=Transport.TLS)
    await eventually(lambda: endpoint.connection_count == 1)
    assert await peer.is_closed()
    await eventually(lambda: not endpoint.connection_count)
    assert endpoint.counters.handshakes_failed == 1


async def test_a_stranger_never_gets_a_handshake(
    core: ScriptedCore, start: Start, connect: Connect, contexts: TlsContexts
) -> None:
    core.known = lambda _host: False
    endpoint = start(listener(Transport.TLS), tls=contexts)
    stranger = await connect(endpoint, kind=Transport.TLS)
    assert await stranger.is_closed()
    assert (endpoint.counters.strangers_refused, endpoint.counters.handshakes_failed) == (1, 0)


async def test_renewed_certificates_are_for_new_connections_alone(
    core: ScriptedCore, start: Start, connect: Connect, contexts: TlsContexts, authority: Authority
) -> None:
    endpoint = start(listener(Transport.TLS), tls=contexts)
    before = await connect(endpoint, client_context(authority))
    renewed = authority.issue("renewed")
    endpoint.replace_tls(load_tls(TlsOptions(certificate=renewed.certificate, key=renewed.key, ca=authority.ca)))
    after = await connect(endpoint, client_context(authority))
    assert after.writer.get_extra_info("peercert")["subject"] == ((("commonName", "renewed"),),)
    for peer in (before, after):
        peer.send(message())
    await eventually(lambda: len(core.received) == 2)


async def test_where_the_certificate_is_gone_nobody_is_heard_in_plain_text_instead(
    core: ScriptedCore, start: Start, connect: Connect, contexts: TlsContexts, authority: Authority
) -> None:
    endpoint = start(listener(Transport.TLS), tls=contexts)
    endpoint.replace_tls(load_tls(TlsOptions(ca=authority.ca)))
    peer = await connect(endpoint, kind=Transport.TLS)
    peer.send(message())
    assert await peer.is_closed()
    assert core.received == []


async def test_listening_with_tls_needs_a_certificate(core: ScriptedCore, start: Start, authority: Authority) -> None:
    with pytest.raises(ResourceError, match=r"TLS 127\.0\.0\.1:0 has no certificate: configure sip\.tls\.certificate"):
        start(listener(Transport.UDP), listener(Transport.TLS), tls=load_tls(TlsOptions(ca=authority.ca)))


# Life.


async def test_a_taken_port_is_told_with_its_owner_and_leaves_nothing_bound(core: ScriptedCore, start: Start) -> None:
    with socket.socket() as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        address = Address(*taken.getsockname())
        both = [Listener(transport=kind, address=address, advertise=address) for kind in (Transport.UDP, Transport.TCP)]
        with pytest.raises(ResourceError, match=f"TCP {address} is taken by this process itself: stop that program"):
            start(*both)
        udp.bind(address)


async def test_close_ends_every_connection_and_reports_none(
    core: ScriptedCore, start: Start, connect: Connect, server: Server, contexts: TlsContexts
) -> None:
    await server.start()
    endpoint = start(listener(Transport.TCP), tls=contexts)
    peer = await connect(endpoint)
    core.outbox += [(b"x", server.hop()), (b"x", server.hop(Transport.TLS))]  # the second never shakes hands
    endpoint.transmit()
    await server.peer(1)
    endpoint.close()
    endpoint.close()
    assert await peer.is_closed()
    assert endpoint.connection_count == 0
    assert core.broken == []
    endpoint.transmit()


async def test_a_handler_of_a_message_may_close_the_endpoint(
    core: ScriptedCore, start: Start, connect: Connect
) -> None:
    endpoint = start()
    core.on_datagram = lambda _data, _source: endpoint.close()
    peer = await connect(endpoint)
    peer.send(message() * 3)
    assert await peer.is_closed()
    assert len(core.received) == 1


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
async def test_a_call_has_one_connection_from_its_invite_to_a_bye_from_the_other_side(
    transport: Transport, contexts: TlsContexts
) -> None:
    """The caller listens nowhere: whoever is called reaches it over the connection that it opened."""
    port = free_sip_port(LOOPBACK)
    called_at = Hop(LOOPBACK, port, transport)
    async with AsyncExitStack() as stack:
        caller = stack.enter_context(a_party("caller", called_at, 5062, is_open=False, tls=contexts))
        called = stack.enter_context(a_party("called", Hop(LOOPBACK, 5062, transport), port, tls=contexts))
        target = Uri.parse(f"sip:a@{LOOPBACK}:{port};transport={transport.value.lower()}")
        leg = caller.user_agent.invite("peer", target, offer=description(LOOPBACK), now=time.monotonic())
        caller.endpoint.transmit()
        offered = await called.event(CallOffered)
        assert offered.source.transport is transport
        assert offered.source.connection > 0
        called.user_agent.answer(offered.leg_id, description(LOOPBACK, 10002), time.monotonic())
        called.endpoint.transmit()
        assert (await caller.event(CallAnswered)).leg_id == leg
        await called.event(CallEstablished)
        called.user_agent.bye(offered.leg_id, time.monotonic())
        called.endpoint.transmit()
        await caller.event(CallEnded)
        await eventually(lambda: called.user_agent.leg_count == 0)
        assert [party.endpoint.connection_count for party in (caller, called)] == [1, 1]


@dataclass
class RealParty:
    """A real user agent on real sockets, and what has happened to it."""

    user_agent: UserAgent
    endpoint: SipEndpoint
    events: list[Event]

    async def event(self, kind: type[E]) -> E:
        return await eventually(lambda: next((event for event in self.events if isinstance(event, kind)), None))  # type: ignore[return-value]


@contextlib.contextmanager
def a_party(user: str, peer: Hop, port: int, *, tls: TlsContexts, is_open: bool = True) -> Iterator[RealParty]:
    address = Address(LOOPBACK, port)
    listeners = (Listener(transport=peer.transport, address=address, advertise=address, is_open=is_open),)
    trunk = TrunkOptions(name="peer", peer=peer, contact_user=user)
    user_agent = UserAgent(UserAgentOptions(listeners=listeners, trunks=(trunk,)))
    events: list[Event] = []
    endpoint = SipEndpoint(user_agent, listeners, events.append, tls=tls, server_names=lambda _hop: (NAME,))
    endpoint.start()
    yield RealParty(user_agent, endpoint, events)
    endpoint.close()


async def test_the_real_user_agent_answers_a_malformed_stream_and_then_closes_it(connect: Connect) -> None:
    trunk = TrunkOptions(name="pbx", peer=Hop(LOOPBACK, 5060, Transport.TCP), contact_user="gateway")
    listeners = (listener(Transport.TCP),)
    user_agent = UserAgent(UserAgentOptions(listeners=listeners, trunks=(trunk,)))
    endpoint = SipEndpoint(user_agent, listeners, lambda _event: None)
    endpoint.start()
    peer = await connect(endpoint)
    options = (
        "OPTIONS sip:gateway@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK1\r\n"
        "From: <sip:pbx@127.0.0.1>;tag=1\r\nTo: <sip:gateway@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\n"
    )
    peer.send(f"{options}Content-Length: 0\r\n\r\n{options}\r\n".encode())
    answers = await asyncio.wait_for(peer.reader.read(), 2)
    assert answers.startswith(b"SIP/2.0 200 OK\r\n")
    assert b"SIP/2.0 400 " in answers
    endpoint.close()
    assert isinstance(parse_message(f"{options}\r\n".encode()), Request)  # over UDP it would be one
