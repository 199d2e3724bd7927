"""RTP ports: bound before SDP promises them, read and written for all calls at once, rested before they are reused.

::

    receive(now)   epoll.poll(0) -> recvfrom_into per readable port -> RtpPort.is_heard, SRTP opened -> PacketBatch
                                    data uint8[n, 2048], length int32[n], leg int32[n]
    send(packets)  OutgoingPackets, rows as above -> SRTP sealed -> RtpPort.send per row: to that leg's address alone

A port's life::

    free ──open──> OPEN ──attach──> ATTACHED ──close──> RESTING ──30 s of silence──> free
                    └─────────────────close────────────────^

A resting port stays bound and is read, so that whoever still sends to it is neither told that it is closed nor heard
by the next call; its rest begins anew with each packet of its old peer.

Ports are a socket a call, which any PBX can talk to. Rows go in and out by leg number, so that sockets shared by many
calls can take their place behind the same two methods.
"""

from __future__ import annotations

import errno
import random
import resource
import select
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Self

import numpy as np

from gateway.errors import ResourceError
from gateway.media.rtcp import is_rtcp
from gateway.media.rtp import OutgoingPackets, PacketBatch
from gateway.sip.grammar import format_host
from gateway.sip.message import Address
from gateway.transport.rtcp_ports import RtcpPorts
from gateway.transport.rtp_destination import canonical_host
from gateway.transport.rtp_port import PortCounters, PortState, RtpPort, SourcePolicy
from gateway.transport.sockets import explain, family_of, open_udp_socket

__all__ = ["PortCounters", "PortState", "RtpDrops", "RtpPort", "RtpPortOptions", "RtpPorts", "SourcePolicy"]

MAX_PACKET_BYTES = 2048
DESCRIPTOR_SHARE = 0.9
"""Of the process's descriptor limit: beyond it calls are refused, so that files and sessions still find some."""
MAX_PORTS_TRIED = 64
"""Of a range that other programs use as well; a try costs some 10 us, and a call is waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpPortOptions:
    """Where media is received."""

    bind_host: str = "0.0.0.0"  # noqa: S104 - the usual choice; SDP names the address, not this
    """Numeric address that ports are bound to where `open` does not say otherwise."""
    first_port: int = 10000
    last_port: int = 19999
    """Both included. Even ports carry RTP, the odd ones between them RTCP (RFC 3550 11)."""
    source_policy: SourcePolicy = "sdp"
    """Whom a leg hears where `attach` does not say otherwise; see `gateway.transport.rtp_port`."""
    quarantine_s: float = 30.0
    """Silence of the old peer before its port is given to another call."""
    receive_buffer_bytes: int = 262144
    """Asked of the kernel for each port: several seconds of one call. More would only make a flood's backlog longer."""
    max_batch_packets: int = 1024
    """Packets taken in one tick over all ports; the rest waits in the kernel for the next one."""
    max_rounds: int = 8
    """Packets taken in one tick of any one port, so that a flood on one does not eat the tick of all."""
    own_sip_addresses: tuple[Address, ...] = ()
    """Where this gateway listens for SIP: RTP is never sent there, whatever SDP says."""

    trusted_networks: tuple[str, ...] = ()
    """Addresses that are sent to without proof that they want it; see `gateway.transport.rtp_proof`."""

    def __post_init__(self) -> None:
        if family_of(self.bind_host) is None:
            raise ValueError(f"bind_host: not a numeric address: {self.bind_host!r}")
        if not 1 <= self.first_port <= self.last_port <= 65535 or not self.ports:
            raise ValueError(f"no even port between {self.first_port} and {self.last_port}")

    @property
    def ports(self) -> range:
        """The even ports of the range."""
        return range(self.first_port + self.first_port % 2, self.last_port + 1, 2)


@dataclass(frozen=True, slots=True)
class RtpDrops:
    """Sums over ports; what each counts is told in `PortCounters`."""

    foreign: int = 0
    muted: int = 0
    srtp_failures: int = 0
    rtcp: int = 0

    @classmethod
    def at(cls, port: RtpPort) -> Self:
        """Those of one port."""
        counters = port.counters
        return cls(counters.foreign, counters.muted, counters.srtp_failures, counters.rtcp_drops)

    def __add__(self, other: RtpDrops) -> RtpDrops:
        return RtpDrops(
            self.foreign + other.foreign,
            self.muted + other.muted,
            self.srtp_failures + other.srtp_failures,
            self.rtcp + other.rtcp,
        )


class RtpPorts:
    """The ports of this process. For the thread of the event loop; no method blocks."""

    def __init__(self, options: RtpPortOptions, *, shuffle_seed: int | None = None) -> None:
        self._options = options
        self._trusted = _networks(options.trusted_networks)
        ports = list(options.ports)
        random.Random(shuffle_seed).shuffle(ports)  # whoever guesses must not know where to begin
        self._free: deque[int] = deque(ports)
        self._resting: dict[int, RtpPort] = {}
        self._next_release = float("inf")
        self._by_leg: dict[int, RtpPort] = {}
        self._by_descriptor: dict[int, RtpPort] = {}
        self._open: set[RtpPort] = set()
        self._drops_before = RtpDrops()  # of ports that were given back
        self._epoll = select.epoll()
        self.rtcp = RtcpPorts(options.own_sip_addresses)
        """The reports that go with the audio."""
        self._data = np.zeros((options.max_batch_packets, MAX_PACKET_BYTES), np.uint8)
        self._rows = [row.data for row in self._data]

    @property
    def open_count(self) -> int:
        """Ports that calls hold."""
        return len(self._open)

    @property
    def drops(self) -> RtpDrops:
        """Packets dropped at all ports since the start."""
        return sum((RtpDrops.at(port) for port in self._open), self._drops_before)

    @property
    def resting_count(self) -> int:
        """Ports in quarantine."""
        return len(self._resting)

    # Life of a port.

    def open(self, host: str | None = None) -> RtpPort:
        """A port bound to numeric `host` that no other call had lately, on any host; the caller owes a `close`.

        Raises:
            ResourceError: the range or the process's descriptors are used up.
        """
        host = host or self._options.bind_host
        for _ in range(min(len(self._free), MAX_PORTS_TRIED)):
            number = self._free.popleft()
            try:
                port = self._bind(Address(host, number))
            except OSError as error:
                self._free.append(number)
                if error.errno == errno.EADDRINUSE:  # another program's: passed over, and tried again in its turn
                    continue
                raise ResourceError(explain(error, Address(host, number))) from error
            self._open.add(port)
            return port
        raise ResourceError(self._exhausted(host))

    def _exhausted(self, host: str) -> str:
        options = self._options
        return (
            f"no RTP port left in {format_host(host)}:{options.first_port}-{options.last_port}: {self.open_count} in "
            f"calls, {self.resting_count} resting up to {options.quarantine_s:g} s after a call, the rest "
            "taken by other programs; configure a wider range"
        )

    def _bind(self, address: Address) -> RtpPort:
        """Bind, giving up the sockets of resting ports where descriptors run short (the ports go on resting)."""
        try:
            return self._bind_within_limit(address)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._shut_resting():
                raise
        return self._bind_within_limit(address)

    def _bind_within_limit(self, address: Address) -> RtpPort:
        udp = open_udp_socket(address, receive_buffer_bytes=self._options.receive_buffer_bytes)
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The kernel gives the lowest free descriptor: its number tells how many are in use, without counting.
        if limit != resource.RLIM_INFINITY and udp.fileno() >= limit * DESCRIPTOR_SHARE:
            udp.close()
            raise OSError(errno.EMFILE, "nearly all descriptors are in use")
        port = RtpPort(port=address.port, udp=udp)
        port.report_icmp_errors()
        return port

    def _shut_resting(self) -> bool:
        bound = [port for port in self._resting.values() if port.state is PortState.RESTING]
        for port in bound:
            self._shut(port)
        return bool(bound)

    def attach(self, port: RtpPort, leg: int, remote: Address, source_policy: SourcePolicy | None = None) -> None:
        """Read and write `port` for the engine's `leg`, whose SDP names `remote`."""
        if port.state is not PortState.OPEN:
            raise ValueError(f"port {port.port} is {port.state.value}")
        port.begin_leg(leg, source_policy or self._options.source_policy)
        self.change_remote(port, remote)
        self._by_leg[leg] = port
        self._watch(port, PortState.ATTACHED)

    def change_remote(self, port: RtpPort, remote: Address) -> None:
        """Send to and hear `remote` from now on (re-INVITE, UPDATE); see `RtpPort.name_remote`."""
        port.name_remote(remote, self._options.own_sip_addresses)
        port.proof.begin(canonical_host(remote.host), is_trusted=self._is_trusted(remote.host))

    def trust(self, networks: Iterable[str]) -> None:
        """Put `networks` in the place of `RtpPortOptions.trusted_networks`, for legs and addresses to come."""
        self._trusted = _networks(networks)

    def _is_trusted(self, host: str) -> bool:
        if family_of(host) is None:
            return False
        address = ip_address(host)
        return any(address in network for network in self._trusted)

    def detach(self, port: RtpPort) -> None:
        """Neither read nor write `port` any more; it stays bound and promised."""
        if port.state is not PortState.ATTACHED:
            return
        del self._by_leg[port.leg], self._by_descriptor[port.udp.fileno()]
        self._epoll.unregister(port.udp)
        self.rtcp.close(port)
        port.end_leg()
        port.state = PortState.OPEN

    def close(self, port: RtpPort, now: float) -> None:
        """Give `port` back: it rests, then serves another call. Safe to repeat."""
        if port.state not in (PortState.OPEN, PortState.ATTACHED):
            return
        self.detach(port)
        port.count_kernel_drops()
        self._open.discard(port)
        self._drops_before += RtpDrops.at(port)
        port.rests_until = now + self._options.quarantine_s
        self._resting[port.port] = port
        self._next_release = min(self._next_release, port.rests_until)
        self._watch(port, PortState.RESTING)

    def _watch(self, port: RtpPort, state: PortState) -> None:
        port.state = state
        self._by_descriptor[port.udp.fileno()] = port
        self._epoll.register(port.udp, select.EPOLLIN)

    def _release_rested(self, now: float) -> None:
        for port in [port for port in self._resting.values() if port.rests_until <= now]:
            del self._resting[port.port]
            self._shut(port)
            self._free.append(port.port)
        self._next_release = min((port.rests_until for port in self._resting.values()), default=float("inf"))

    def _shut(self, port: RtpPort) -> None:
        if port.state is PortState.CLOSED:
            return
        if self._by_descriptor.pop(port.udp.fileno(), None) is not None:
            self._epoll.unregister(port.udp)  # closing alone would not while a child process is being started
        port.udp.close()
        port.state = PortState.CLOSED

    def shutdown(self) -> None:
        """Close every socket; no port can be opened, read or written after this."""
        self.rtcp.shutdown()
        for port in [*self._open, *self._resting.values()]:
            self._shut(port)
        self._open.clear()
        self._resting.clear()
        self._by_leg.clear()
        self._free.clear()
        self._epoll.close()

    def counters(self, port: RtpPort) -> PortCounters:
        """Of `port`, up to date; goes on counting while it lives."""
        port.count_kernel_drops()
        return port.counters

    # Packets.

    def receive(self, now: float) -> PacketBatch:
        """What has arrived for all legs, in each leg's order; also ends the rests that are over by `now`.

        The arrays are views of memory that the next call overwrites.
        """
        if now >= self._next_release:
            self._release_rested(now)
        lengths: list[int] = []
        legs: list[int] = []
        for _ in range(self._options.max_rounds):
            ready = self._epoll.poll(0)
            if not ready or not self._receive_round(ready, lengths, legs, now):
                break
        return PacketBatch(
            data=self._data[: len(legs)], length=np.array(lengths, np.int32), leg=np.array(legs, np.int32)
        )

    def _receive_round(self, ready: Iterable[tuple[int, int]], lengths: list[int], legs: list[int], now: float) -> bool:
        """One packet of each readable port; False when the batch is full."""
        rows, by_descriptor, row = self._rows, self._by_descriptor, len(legs)
        for descriptor, mask in ready:
            if row == len(rows):
                return False
            port, data = by_descriptor[descriptor], rows[row]
            if mask != select.EPOLLIN and not _is_readable(port, mask):
                continue
            try:
                length, source = port.udp.recvfrom_into(data)
            except BlockingIOError:
                continue
            except OSError:
                port.counters.icmp_errors += 1
                continue
            if port.state is PortState.RESTING:
                self._hear_resting(port, source, now)
            elif port.is_heard(source):
                if length == MAX_PACKET_BYTES or (port.shares_rtcp and is_rtcp(data[:length])):
                    self._set_aside(port, data[:length])
                    continue
                if port.srtp is not None:
                    length = port.open_in_place(data[:length], source)
                    if not length:
                        continue
                lengths.append(length)
                legs.append(port.leg)
                row += 1
                port.proof.is_given = True
        return True

    def _set_aside(self, port: RtpPort, datagram: memoryview) -> None:
        if len(datagram) == MAX_PACKET_BYTES:
            port.counters.oversize += 1
        else:
            self.rtcp.share(port, datagram)

    def _hear_resting(self, port: RtpPort, source: tuple[str, int], now: float) -> None:
        if port.is_peer(source):
            port.rests_until = now + self._options.quarantine_s

    def send(self, packets: OutgoingPackets) -> int:
        """Send each row to its leg's address; how many left. Rows of legs that have no port any more are dropped."""
        lengths, legs = packets.length.tolist(), packets.leg.tolist()
        if not legs:
            return 0
        width = packets.data.shape[1]
        flat = np.ascontiguousarray(packets.data).reshape(-1).data
        sent = offset = 0
        for leg, length in zip(legs, lengths, strict=True):
            port = self._by_leg.get(leg)
            if port is not None:
                sent += port.send(flat[offset : offset + length])
            offset += width
        return sent


def _is_readable(port: RtpPort, mask: int) -> bool:
    """Whether a datagram waits at a port; ICMP errors that wait there are counted."""
    if mask & select.EPOLLERR:
        port.count_icmp_errors()
    return bool(mask & select.EPOLLIN)


def _networks(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)
