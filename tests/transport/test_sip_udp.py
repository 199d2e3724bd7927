from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from gateway.errors import ResourceError
from gateway.sip.hop import Hop
from gateway.sip.message import Address
from gateway.transport import sip_udp
from gateway.transport.sip_counters import EndpointCounters
from gateway.transport.sip_udp import UdpPorts
from tests.support.aio import eventually

Received = list[tuple[bytes, Hop]]


@pytest.fixture
def received() -> Received:
    return []


@pytest.fixture
async def ports(received: Received) -> AsyncIterator[UdpPorts]:
    """Two addresses of one family, and one of another."""
    addresses = [Address("127.0.0.1", 0), Address("127.0.0.2", 0), Address("::1", 0)]
    ports = UdpPorts(
        addresses,
        lambda data, source: received.append((data, source)),
        EndpointCounters(),
        asyncio.get_running_loop().time,
    )
    ports.open()
    yield ports
    ports.close()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(2)
        yield udp


@pytest.mark.parametrize("index", [0, 1])
async def test_an_answer_leaves_by_the_address_that_was_asked(
    ports: UdpPorts, received: Received, peer: socket.socket, index: int
) -> None:
    asked = list(ports)[index].address
    peer.sendto(b"OPTIONS", asked)
    await eventually(lambda: received)
    assert ports.send(b"200", received[0][1])
    assert peer.recvfrom(10) == (b"200", asked)


async def test_to_somebody_new_it_leaves_by_the_address_of_the_kernels_route(
    ports: UdpPorts, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip_udp, "source_towards", lambda _host: "127.0.0.2")
    assert ports.send(b"INVITE", Hop(*peer.getsockname()))
    assert peer.recvfrom(10) == (b"INVITE", list(ports)[1].address)
    monkeypatch.setattr(sip_udp, "source_towards", lambda _host: None)
    assert ports.send(b"INVITE", Hop(*peer.getsockname()))
    assert peer.recvfrom(10) == (b"INVITE", next(iter(ports)).address)


async def test_answers_that_fail_and_arrive_in_turn_are_told_once_a_minute(peer: socket.socket) -> None:
    now_s = [0.0]
    ports = UdpPorts([Address("127.0.0.1", 0)], lambda _data, _source: None, EndpointCounters(), lambda: now_s[0])
    ports.open()
    there = Hop(*peer.getsockname())
    with capture_logs() as lines:
        for now_s[0] in (0.0, 1.0, 59.0, 60.0, 61.0):
            ports.send(b"x" * 65536, there)
            assert ports.send(b"x", there)
    ports.close()
    assert [line["event"] for line in lines] == ["datagram not sent", "= sending again"] * 2


async def test_each_family_has_its_own_socket(ports: UdpPorts) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        six.bind(("::1", 0))
        six.settimeout(2)
        assert ports.send(b"six", Hop(*six.getsockname()[:2]))
        assert six.recvfrom(10)[1][:2] == list(ports)[2].address


async def test_only_so_many_peers_are_remembered(
    ports: UdpPorts, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip_udp, "MAX_REMEMBERED_PEERS", 2)
    for count in range(1, 4):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", next(iter(ports)).address)
            await eventually(lambda count=count: len(received) == count)  # type: ignore[misc]
            ports.send(b"200", received[-1][1])
    assert list(ports._heard_by) == [source for _, source in received[1:]]


async def test_strangers_who_get_no_answer_do_not_crowd_out_peers(
    ports: UdpPorts, received: Received, peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sip_udp, "MAX_REMEMBERED_PEERS", 2)
    asked = list(ports)[1].address
    peer.sendto(b"INVITE", asked)
    await eventually(lambda: received)
    there = received[0][1]
    assert ports.send(b"100", there)
    for _ in range(3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", next(iter(ports)).address)
    await eventually(lambda: len(received) == 4)
    assert ports.send(b"200", there)
    assert [peer.recvfrom(10) for _ in range(2)] == [(b"100", asked), (b"200", asked)]


async def test_one_address_that_is_taken_leaves_none_bound(peer: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        free = Address(*probe.getsockname())
    taken = Address(*peer.getsockname())
    loop = asyncio.get_running_loop()
    with pytest.raises(ResourceError, match=f"UDP {taken} is taken"):
        UdpPorts([free, taken], lambda _data, _source: None, EndpointCounters(), loop.time).open()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heir:
        heir.bind(free)
