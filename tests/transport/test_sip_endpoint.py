from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest

from gateway.errors import ResourceError
from gateway.sip.core import UserAgentOptions
from gateway.sip.events import CallCancelled, DigitsSignalled, Event
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address
from gateway.sip.trunk import TrunkOptions
from gateway.sip.user_agent import UserAgent
from gateway.transport import sip_endpoint, sip_udp
from gateway.transport.sip_counters import SLICE_MESSAGES, SLICE_S
from gateway.transport.sip_endpoint import SipEndpoint
from gateway.transport.sip_udp import UdpPort
from tests.support.aio import eventually
from tests.support.scripted_core import ScriptedCore


def udp_at(host: str, port: int = 0) -> tuple[Listener, ...]:
    address = Address(host, port)
    return (Listener(transport=Transport.UDP, address=address, advertise=address),)


def digit(name: str) -> DigitsSignalled:
    return DigitsSignalled(leg_id="leg", digit=name, duration_ms=100)


@pytest.fixture
def core() -> ScriptedCore:
    return ScriptedCore()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(2)
        yield udp


def address_of(udp: socket.socket) -> Hop:
    return Hop(*udp.getsockname())


def port_of(endpoint: SipEndpoint) -> UdpPort:
    return next(iter(endpoint._udp))


@pytest.fixture
async def endpoint(core: ScriptedCore) -> AsyncIterator[SipEndpoint]:
    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), lambda _event: None)
    endpoint.start()
    yield endpoint
    endpoint.close()


async def test_a_datagram_reaches_the_user_agent_with_its_source(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    peer.sendto(b"OPTIONS", endpoint.address)
    await eventually(lambda: core.received)
    assert core.received == [(b"OPTIONS", address_of(peer))]
    assert endpoint.counters.received == 1


async def test_what_the_user_agent_answers_is_sent_at_once(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    core.on_datagram = lambda data, source: core.outbox.append((b"echo " + data, source))
    peer.sendto(b"ping", endpoint.address)
    await eventually(lambda: core.received)
    assert peer.recvfrom(100) == (b"echo ping", endpoint.address)
    assert endpoint.counters.sent == 1


async def test_a_datagram_of_the_greatest_size_arrives_whole(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    peer.sendto(b"x" * 65507, endpoint.address)
    await eventually(lambda: core.received)
    assert len(core.received[0][0]) == 65507


async def test_what_was_queued_before_the_start_is_sent_by_it(core: ScriptedCore, peer: socket.socket) -> None:
    core.outbox.append((b"REGISTER", address_of(peer)))
    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), lambda _event: None)
    endpoint.transmit()
    assert core.outbox != []
    endpoint.start()
    assert peer.recv(100) == b"REGISTER"
    endpoint.close()


async def test_a_taken_port_is_a_resource_error_that_names_owner_and_remedy(
    core: ScriptedCore, peer: socket.socket
) -> None:
    port = address_of(peer).port
    with pytest.raises(ResourceError, match=f"UDP 127.0.0.1:{port} is taken by this process itself: stop that program"):
        SipEndpoint(core, udp_at(*address_of(peer).address), lambda _event: None).start()


async def test_an_address_of_another_machine_is_a_resource_error_that_says_so(core: ScriptedCore) -> None:
    with pytest.raises(ResourceError, match="this machine has no such address"):
        SipEndpoint(core, udp_at("192.0.2.1"), lambda _event: None).start()


async def test_events_come_in_their_order_and_never_inside_one_another(core: ScriptedCore) -> None:
    log: list[str] = []

    def on_event(event: Event) -> None:
        assert isinstance(event, DigitsSignalled)
        log.append(f"begin {event.digit}")
        if event.digit == "1":
            core.happened.append(digit("3"))  # a command made another event
            endpoint.transmit()
        log.append(f"end {event.digit}")

    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), on_event)
    endpoint.start()
    core.happened += [digit("1"), digit("2")]
    endpoint.transmit()
    assert log == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]
    endpoint.close()


async def test_what_a_handler_commands_is_sent_before_the_next_event(core: ScriptedCore, peer: socket.socket) -> None:
    received_at_second: list[bytes] = []

    def on_event(event: Event) -> None:
        assert isinstance(event, DigitsSignalled)
        if event.digit == "1":
            core.outbox.append((b"180 Ringing", address_of(peer)))  # and forgets to transmit
        else:
            received_at_second.append(peer.recv(100))

    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), on_event)
    endpoint.start()
    core.happened += [digit("1"), digit("2")]
    endpoint.transmit()
    assert received_at_second == [b"180 Ringing"]
    endpoint.close()


async def test_a_handler_that_raises_costs_nobody_else_an_event(core: ScriptedCore) -> None:
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        if len(seen) == 1:
            raise RuntimeError("broken")

    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), on_event)
    endpoint.start()
    core.happened += [CallCancelled(leg_id="a"), CallCancelled(leg_id="b")]
    endpoint.transmit()
    assert len(seen) == 2
    assert endpoint.counters.failures == 1
    endpoint.close()


async def test_a_datagram_the_user_agent_chokes_on_does_not_stop_reception(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    def choke(data: bytes, _source: Hop) -> None:
        if data == b"poison":
            raise ValueError("cannot be")

    core.on_datagram = choke
    for data in (b"poison", b"good"):
        peer.sendto(data, endpoint.address)
    await eventually(lambda: len(core.received) == 2)
    assert core.received[1][0] == b"good"
    assert endpoint.counters.failures == 1


async def test_the_timer_rings_at_the_deadline_of_the_user_agent(core: ScriptedCore, endpoint: SipEndpoint) -> None:
    core.deadline = deadline = asyncio.get_running_loop().time() + 0.03
    endpoint.transmit()
    await eventually(lambda: core.rung)
    assert -0.001 < core.rung[0] - deadline < 1  # loops round to milliseconds
    assert len(core.rung) == 1


async def test_an_earlier_deadline_replaces_the_timer(core: ScriptedCore, endpoint: SipEndpoint) -> None:
    now = asyncio.get_running_loop().time()
    core.deadline = now + 3600
    endpoint.transmit()
    core.deadline = now + 0.02
    endpoint.transmit()
    await eventually(lambda: core.rung)


async def test_a_withdrawn_deadline_never_rings(core: ScriptedCore, endpoint: SipEndpoint) -> None:
    loop = asyncio.get_running_loop()
    core.deadline = loop.time() + 0.01
    endpoint.transmit()
    core.deadline = None
    endpoint.transmit()
    later = loop.time() + 0.05
    await eventually(lambda: loop.time() > later)
    assert core.rung == []


async def test_there_is_one_timer_whatever_the_number_of_transmissions(
    core: ScriptedCore, endpoint: SipEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    handles: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def counted(*arguments: object) -> asyncio.TimerHandle:
        handles.append(call_later(*arguments))  # type: ignore[arg-type]
        return handles[-1]

    monkeypatch.setattr(loop, "call_later", counted)
    core.deadline = loop.time() + 3600
    for _ in range(3):
        endpoint.transmit()
    core.deadline += 1
    endpoint.transmit()
    assert len(handles) == 2
    assert [handle.cancelled() for handle in handles] == [True, False]
    endpoint.close()
    assert handles[1].cancelled()


async def test_a_deadline_in_the_past_that_never_moves_leaves_the_loop_alive(
    core: ScriptedCore, endpoint: SipEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings = 0

    def broken(_now: float) -> None:
        nonlocal rings
        rings += 1
        raise RuntimeError("does not move its deadline")

    monkeypatch.setattr(core, "handle_timer", broken)
    core.deadline = 1.0
    endpoint.transmit()
    await eventually(lambda: rings >= 3)
    loop = asyncio.get_running_loop()
    began, before = loop.time(), rings
    await eventually(lambda: loop.time() - began > 0.03)
    assert rings - before <= (loop.time() - began) / sip_endpoint.SHORTEST_TIMER_S + 1
    assert endpoint.counters.failures >= 3


async def test_a_flood_is_read_in_slices_with_the_loop_running_between(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    at_other_work: list[int] = []
    core.on_datagram = lambda _data, _source: None
    for _ in range(100):
        peer.sendto(b"flood", endpoint.address)

    def other_work() -> None:
        at_other_work.append(len(core.received))
        if len(core.received) < 100:
            asyncio.get_running_loop().call_soon(other_work)

    other_work()
    await eventually(lambda: len(core.received) == 100)
    steps = [after - before for before, after in pairwise(at_other_work)]
    assert max(steps) <= SLICE_MESSAGES
    assert len(at_other_work) > 100 // SLICE_MESSAGES


async def test_a_slow_user_agent_ends_the_slice_by_time(core: ScriptedCore, peer: socket.socket) -> None:
    now = 0.0

    def slow(_data: bytes, _source: Hop) -> None:
        nonlocal now
        now += SLICE_S * 0.6

    core.on_datagram = slow
    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), lambda _event: None, clock=lambda: now)
    endpoint.start()
    for _ in range(6):
        peer.sendto(b"slow", endpoint.address)
    port_of(endpoint)._on_readable()
    assert len(core.received) == 2
    endpoint.close()


async def test_a_destination_by_name_is_dropped_without_asking_a_resolver(
    core: ScriptedCore, endpoint: SipEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_arguments: object, **_options: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    core.outbox += [(b"INVITE", Hop("localhost", 5060)), (b"INVITE", Hop("::1", 5060))]
    endpoint.transmit()
    assert endpoint.counters.dropped_not_numeric == 2
    assert endpoint.counters.sent == 0


async def test_a_datagram_too_large_for_udp_is_dropped_and_the_next_one_goes_out(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    core.outbox += [
        (b"x" * 65508, address_of(peer)),
        (b"small", address_of(peer)),
        (b"port", Hop("127.0.0.1", 70000)),
    ]
    endpoint.transmit()
    assert peer.recv(100) == b"small"
    assert endpoint.counters.dropped_too_large == 1
    assert endpoint.counters.dropped_unreachable == 1
    await eventually(lambda: core.broken)
    assert core.broken == [Hop("127.0.0.1", 70000)]  # there is no such port, and never will be


class FailingSocket:
    """A bound UDP socket whose sends and receives fail with the errors given, then work."""

    def __init__(self, udp: socket.socket) -> None:
        self._udp = udp
        self.family = udp.family
        self.send_errors: list[int] = []
        self.receive_errors: list[int] = []

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        if self.send_errors:
            raise OSError(code := self.send_errors.pop(0), errno.errorcode[code])
        return self._udp.sendto(data, address)

    def recvfrom_into(self, buffer: bytearray) -> tuple[int, tuple[str, int]]:
        if self.receive_errors:
            raise OSError(code := self.receive_errors.pop(0), errno.errorcode[code])
        return self._udp.recvfrom_into(buffer)

    def getsockname(self) -> tuple[str, int]:
        return self._udp.getsockname()

    def fileno(self) -> int:
        return self._udp.fileno()

    def close(self) -> None:
        self._udp.close()


async def test_a_full_send_buffer_drops_what_sip_will_send_again(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = FailingSocket(port_of(endpoint)._socket)  # type: ignore[arg-type]
    failing.send_errors = [errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH, errno.EPERM]
    monkeypatch.setattr(port_of(endpoint), "_socket", failing)
    core.outbox += [(data, address_of(peer)) for data in (b"1", b"2", b"3", b"4", b"5")]
    endpoint.transmit()
    assert peer.recv(100) == b"5"
    assert endpoint.counters.dropped_buffer_full == 2
    assert endpoint.counters.dropped_unreachable == 2
    await asyncio.sleep(0)
    assert core.broken == []  # what the network refuses for a moment ends no transaction


async def test_an_icmp_error_does_not_stop_reception(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = FailingSocket(port_of(endpoint)._socket)  # type: ignore[arg-type]
    failing.receive_errors = [errno.ECONNREFUSED]
    monkeypatch.setattr(port_of(endpoint), "_socket", failing)
    peer.sendto(b"after", endpoint.address)
    await eventually(lambda: core.received)
    assert endpoint.counters.receive_errors == 1


async def test_a_closed_peer_port_does_not_stop_the_endpoint(
    core: ScriptedCore, endpoint: SipEndpoint, peer: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        closed = address_of(gone)
    core.outbox += [(b"BYE", closed)] * 3
    endpoint.transmit()
    core.outbox.append((b"alive", address_of(peer)))
    endpoint.transmit()
    assert peer.recv(100) == b"alive"
    peer.sendto(b"and receiving", endpoint.address)
    await eventually(lambda: core.received)


async def test_nothing_happens_after_close(core: ScriptedCore, peer: socket.socket) -> None:
    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), lambda _event: None)
    endpoint.start()
    address = endpoint.address
    endpoint.close()
    endpoint.close()
    core.outbox.append((b"late", address_of(peer)))
    endpoint.transmit()
    assert endpoint.counters.sent == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heir:
        heir.bind(address)  # the port is free again


async def test_an_event_handler_may_close_the_endpoint(core: ScriptedCore, peer: socket.socket) -> None:
    seen: list[Event] = []

    def on_event(event: Event) -> None:
        seen.append(event)
        endpoint.close()

    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), on_event)
    endpoint.start()
    core.on_datagram = lambda _data, _source: core.happened.extend([digit("1"), digit("2")])
    for _ in range(3):
        peer.sendto(b"x", endpoint.address)
    await eventually(lambda: seen)
    assert len(seen) == 1


async def test_ipv6_is_spoken(core: ScriptedCore) -> None:
    endpoint = SipEndpoint(core, udp_at("::1"), lambda _event: None)
    endpoint.start()
    core.on_datagram = lambda data, source: core.outbox.append((data, source))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("::1", 0))
        udp.settimeout(2)
        udp.sendto(b"six", endpoint.address)
        await eventually(lambda: core.received)
        assert core.received[0][1] == Hop("::1", udp.getsockname()[1])
        assert udp.recv(100) == b"six"
    endpoint.close()


async def test_the_trace_sees_both_directions_without_credentials(core: ScriptedCore, peer: socket.socket) -> None:
    seen: list[tuple[str, bytes, Hop]] = []
    endpoint = SipEndpoint(
        core,
        udp_at("127.0.0.1"),
        lambda _event: None,
        trace=lambda direction, data, at: seen.append((direction, data, at)),
    )
    endpoint.start()
    core.on_datagram = lambda data, source: core.outbox.append((data, source))
    register = b'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest response="secret"\r\n\r\n'
    peer.sendto(register, endpoint.address)
    await eventually(lambda: seen)
    masked = b"REGISTER sip:x SIP/2.0\r\nAuthorization: ***\r\n\r\n"
    at = address_of(peer)
    assert seen == [("<", masked, at), (">", masked, at)]
    assert peer.recv(1000) == register
    endpoint.close()


async def test_datagrams_the_kernel_dropped_are_told(
    core: ScriptedCore, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip_udp, "RECEIVE_BUFFER_BYTES", 2048)
    endpoint = SipEndpoint(core, udp_at("127.0.0.1"), lambda _event: None)
    endpoint.start()
    for _ in range(200):
        peer.sendto(b"x" * 500, endpoint.address)
    assert endpoint.kernel_drops() > 100
    endpoint.close()
    assert endpoint.kernel_drops() == 0


async def test_the_real_user_agent_answers_through_it(peer: socket.socket) -> None:
    trunk = TrunkOptions(name="pbx", peer=address_of(peer), contact_user="gateway")
    listen = Address("127.0.0.1", 5060)
    listener = Listener(transport=Transport.UDP, address=listen, advertise=listen)
    user_agent = UserAgent(UserAgentOptions(listeners=(listener,), trunks=(trunk,)))
    endpoint = SipEndpoint(user_agent, udp_at("127.0.0.1"), lambda _event: None)
    endpoint.start()
    host, port = address_of(peer).address
    peer.sendto(
        f"OPTIONS sip:gateway@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK1\r\n"
        f"From: <sip:pbx@{host}>;tag=1\r\nTo: <sip:gateway@127.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
        endpoint.address,
    )
    await eventually(lambda: endpoint.counters.sent)
    assert peer.recv(4096).startswith(b"SIP/2.0 200 OK\r\n")
    endpoint.close()
