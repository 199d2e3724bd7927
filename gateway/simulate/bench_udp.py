"""What a packet costs at the sockets: `RtpPorts` for all calls at once, beside what Python has for one call.

Each call has a socket here and one at its telephone, over loopback. Measured is our side alone, in CPU nanoseconds of
the process per packet of 172 bytes, the kernel's part included, which is most of it:

- *socket*: ``socket.sendto`` and ``recvfrom``, nothing else: what Python has at its cheapest. It does not know which
  sockets can be read, the others find that out.
- *asyncio*: a ``DatagramProtocol`` per call, ``max_size`` of its transport set to 2048; with the default it costs
  three times as much to receive.

Every packet waits already when reading begins: what an event loop pays for being woken by each is not in here.
"""

from __future__ import annotations

import asyncio
import json as json_module
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final, Protocol

import numpy as np

from gateway.media.rtp import OutgoingPackets
from gateway.sip.message import Address
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts

CALLS: Final = (1, 16, 256)
_HOST: Final = "127.0.0.1"
_PACKET_BYTES: Final = 172
_ROUNDS: Final = 5
_PACKETS_A_ROUND: Final = 1024
_MAX_PACKET_BYTES: Final = 2048
_PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpRow:
    """CPU nanoseconds per packet at one number of calls."""

    calls: int
    ours_ns: float
    socket_ns: float
    asyncio_ns: float

    @property
    def ratio(self) -> float:
        """How many times cheaper than asyncio."""
        return self.asyncio_ns / self.ours_ns

    @property
    def socket_ratio(self) -> float:
        """How many times cheaper than the bare calls."""
        return self.socket_ns / self.ours_ns

    def as_json(self) -> dict[str, float]:
        """All figures by name."""
        return asdict(self) | {"ratio": round(self.ratio, 2), "socket_ratio": round(self.socket_ratio, 2)}

    def as_text(self) -> str:
        """The figures of a line of the table."""
        return (
            f"{self.calls:>6}{self.ours_ns:>9.0f} ns{self.socket_ns:>9.0f} ns{self.asyncio_ns:>9.0f} ns"
            f"{self.socket_ratio:>7.1f}x{self.ratio:>7.1f}x"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpBench:
    """What was measured."""

    send: tuple[UdpRow, ...]
    receive: tuple[UdpRow, ...]

    def as_json(self) -> dict[str, object]:
        """One document."""
        tables = {"send": self.send, "receive": self.receive}
        return {"bench": "udp", **{name: [row.as_json() for row in rows] for name, rows in tables.items()}}

    def as_text(self) -> str:
        """Tables for people."""
        lines: list[str] = []
        for name, rows in (("send, a packet", self.send), ("receive, a packet", self.receive)):
            lines.append(f"{name:<20}{'calls':>6}{'ours':>12}{'socket':>12}{'asyncio':>12}{'ratios':>16}")
            lines += [f"{'':<20}{row.as_text()}" for row in rows]
        return "\n".join(lines)


class _Contender(Protocol):
    """One way of having a socket a call."""

    def send(self) -> None:
        """One packet of each call to its telephone."""

    def receive(self, expected: int) -> None:
        """Take `expected` packets that wait."""

    @property
    def ports(self) -> list[int]:
        """Where the calls receive."""
        ...


def run(*, json: bool = False, calls: tuple[int, ...] = CALLS) -> UdpBench:
    """Measure, print tables or one JSON document to stdout, and return what was measured."""
    result = measure(calls)
    sys.stdout.write((json_module.dumps(result.as_json()) if json else result.as_text()) + "\n")
    return result


def measure(calls: tuple[int, ...] = CALLS) -> UdpBench:
    """Measure and print nothing."""
    rows = [_measure(count) for count in calls]
    return UdpBench(send=tuple(send for send, _ in rows), receive=tuple(receive for _, receive in rows))


def _measure(calls: int) -> tuple[UdpRow, UdpRow]:
    """Sending and receiving, in turns, so that a busy machine is busy for all; the median round counts."""
    with ExitStack() as stack:
        telephones = [stack.enter_context(_socket()) for _ in range(calls)]
        remotes = [telephone.getsockname()[1] for telephone in telephones]
        contenders: list[_Contender] = [make(remotes, stack) for make in (_Ports, _Bare, _Asyncio)]
        sent: list[list[float]] = [[] for _ in contenders]
        received: list[list[float]] = [[] for _ in contenders]
        repeats = max(_PACKETS_A_ROUND // calls, 1)
        for round_number in range(_ROUNDS + 1):
            for contender, send_ns, receive_ns in zip(contenders, sent, received, strict=True):
                spent = _round(contender, telephones, repeats)
                if round_number:  # the first one warms up
                    send_ns.append(spent[0])
                    receive_ns.append(spent[1])
    return _row(calls, sent), _row(calls, received)


def _row(calls: int, spent: list[list[float]]) -> UdpRow:
    ours, by_socket, by_asyncio = (median(rounds) for rounds in spent)
    return UdpRow(calls=calls, ours_ns=ours, socket_ns=by_socket, asyncio_ns=by_asyncio)


def _round(contender: _Contender, telephones: list[socket.socket], repeats: int) -> tuple[float, float]:
    """CPU nanoseconds per packet, sent and received. What the telephones do is not counted."""
    calls, send_ns, receive_ns = len(telephones), 0, 0
    packet = bytes(_PACKET_BYTES)
    targets = [(telephone, (_HOST, port)) for telephone, port in zip(telephones, contender.ports, strict=True)]
    for _ in range(repeats):
        send_ns += _timed(contender.send)
        for telephone in telephones:
            telephone.recv(_MAX_PACKET_BYTES)
        for telephone, address in targets:
            telephone.sendto(packet, address)
        receive_ns += _timed(lambda: contender.receive(calls))
    return send_ns / repeats / calls, receive_ns / repeats / calls


def _timed(work: Callable[[], None]) -> int:
    started = time.process_time_ns()
    work()
    return time.process_time_ns() - started


def _socket() -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((_HOST, 0))
    udp.settimeout(_PATIENCE_S)
    return udp


class _Ports:
    """`RtpPorts`, as the media loop uses them."""

    def __init__(self, remotes: list[int], stack: ExitStack) -> None:
        options = RtpPortOptions(
            bind_host=_HOST, first_port=12000, last_port=31999, quarantine_s=0, trusted_networks=(_HOST,)
        )
        self._ports = RtpPorts(options)
        stack.callback(self._ports.shutdown)
        self.ports: list[int] = []
        for leg, remote in enumerate(remotes):
            port = self._ports.open()
            self._ports.attach(port, leg, Address(_HOST, remote))
            self.ports.append(port.port)
        legs = np.arange(len(remotes), dtype=np.int32)
        self._packets = OutgoingPackets(
            data=np.zeros((len(legs), _PACKET_BYTES), np.uint8),
            length=np.full(len(legs), _PACKET_BYTES, np.int32),
            leg=legs,
        )

    def send(self) -> None:
        self._ports.send(self._packets)

    def receive(self, expected: int) -> None:
        taken = 0
        while taken < expected:
            taken += len(self._ports.receive(0.0).length)


class _Bare:
    """One system call a packet, and a loop around it."""

    def __init__(self, remotes: list[int], stack: ExitStack) -> None:
        self._calls = [(stack.enter_context(_socket()), (_HOST, remote)) for remote in remotes]
        for udp, _ in self._calls:
            udp.setblocking(False)
        self.ports = [udp.getsockname()[1] for udp, _ in self._calls]
        self._packet = bytes(_PACKET_BYTES)

    def send(self) -> None:
        for udp, remote in self._calls:
            udp.sendto(self._packet, remote)

    def receive(self, expected: int) -> None:
        assert expected == len(self._calls)  # noqa: S101 - one waits at each, so that none is asked in vain
        for udp, _ in self._calls:
            udp.recvfrom(_MAX_PACKET_BYTES)


class _CountingProtocol(asyncio.DatagramProtocol):
    def __init__(self, owner: _Asyncio) -> None:
        self._owner = owner

    def datagram_received(self, _data: bytes, _addr: tuple[str, int]) -> None:
        self._owner.note()


class _Asyncio:
    """A datagram protocol a call."""

    def __init__(self, remotes: list[int], stack: ExitStack) -> None:
        self._loop = asyncio.new_event_loop()
        stack.callback(self._loop.close)
        self._calls = [(self._open(), (_HOST, remote)) for remote in remotes]
        stack.callback(self._close)
        self.ports = [transport.get_extra_info("sockname")[1] for transport, _ in self._calls]
        self._packet = bytes(_PACKET_BYTES)
        self._left = 0

    def _open(self) -> asyncio.DatagramTransport:
        opening = self._loop.create_datagram_endpoint(lambda: _CountingProtocol(self), local_addr=(_HOST, 0))
        transport, _ = self._loop.run_until_complete(opening)
        transport.max_size = _MAX_PACKET_BYTES  # type: ignore[attr-defined]
        return transport

    def _close(self) -> None:
        for transport, _ in self._calls:
            transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))

    def note(self) -> None:
        """A packet has come."""
        self._left -= 1
        if not self._left:
            self._loop.stop()

    def send(self) -> None:
        for transport, remote in self._calls:
            transport.sendto(self._packet, remote)

    def receive(self, expected: int) -> None:
        self._left = expected
        self._loop.run_forever()
