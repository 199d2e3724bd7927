"""How RTCP of all legs goes in and out: on each leg's RTP port, or on a socket of its own on the port above.

::

    receive()   datagrams of RTP ports that are shared (RFC 5761), told from RTP by `RtpPorts` ─┐
                epoll ─> sockets of the odd ports ─> source, SRTCP opened ──────────────────────┴─> (leg, compound)
    send(leg, compound) ─> SRTCP sealed ─> to the address that SDP named, alone

Most PBXs do not share the port, so that RTCP costs a descriptor a call. It is bound when both sides have agreed and
not before; where it cannot be had (another program's, or few descriptors left) the call goes on without RTCP, and the
audio keeps the descriptors. Whom a leg hears and tells is what `RtpPort` has for audio: the host that SDP names, its
RTCP port or, by ``sdp-address``, the first port heard; and not a packet more to an address without proof. Whatever else
comes is dropped unread and counted.
"""

from __future__ import annotations

import resource
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from gateway.media.rtcp import MAX_DATAGRAM_BYTES
from gateway.sip.message import Address
from gateway.sip.rtcp_route import RtcpRoute
from gateway.transport.rtp_destination import ON_HOLD, canonical_host, reason_to_mute
from gateway.transport.rtp_port import RtpPort
from gateway.transport.sockets import explain, open_udp_socket
from gateway.transport.srtp import Dropped

DESCRIPTOR_SHARE = 0.8
"""Of the process's descriptor limit: beyond it no socket is opened for RTCP, as calls will need them."""
RECEIVE_BUFFER_BYTES = 4096
"""Several reports. A flood on this port is for the kernel to drop."""
MAX_PACKETS_A_TICK = 2
"""Of any one leg; who keeps to the rules sends one in some seconds."""
MAX_LEGS_A_TICK = 64
"""Whose sockets are read in one tick; the others wait for the next."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.rtcp")


@dataclass(slots=True, kw_only=True, eq=False)
class _Path:
    """The RTCP of one leg."""

    rtp: RtpPort
    own: socket.socket | None
    """None: on the socket of RTP"""
    route: RtcpRoute | None = None
    destination: tuple[str, int] | None = None
    source_host: str = ""
    source_port: int | None = None  # None: any; the first one is locked
    arrived: int = 0  # in this tick

    def name_remote(self, route: RtcpRoute, own_sip_addresses: Iterable[Address]) -> None:
        """Send to and hear the address of `route`; the same as before changes nothing (see `RtpPort.name_remote`)."""
        if route == self.route:
            return
        self.route, remote = route, route.remote
        own_port = self.rtp.port + (self.own is not None)
        family = self.rtp.udp.family
        reason = reason_to_mute(remote, family=family, own_port=own_port, own_sip_addresses=own_sip_addresses)
        self.destination = None if reason else (remote.host, remote.port)
        if reason != ON_HOLD:
            self.source_host = canonical_host(remote.host)
            self.source_port = remote.port if self.rtp.source_policy == "sdp" else None

    def hears(self, source: tuple[str, int]) -> bool:
        """Whether a datagram from there may be read."""
        return source[0] == self.source_host and self.source_port in (source[1], None)


class RtcpPorts:
    """The RTCP of this process's ports. For the thread of the event loop; no method blocks."""

    def __init__(self, own_sip_addresses: Iterable[Address] = ()) -> None:
        self._own_sip_addresses = tuple(own_sip_addresses)
        self._by_leg: dict[int, _Path] = {}
        self._by_descriptor: dict[int, _Path] = {}
        self._shared: list[tuple[int, bytes]] = []
        self._epoll = select.epoll()
        self._buffer = memoryview(bytearray(MAX_DATAGRAM_BYTES + 1))

    @property
    def socket_count(self) -> int:
        """Sockets that are open for RTCP alone."""
        return len(self._by_descriptor)

    def open(self, port: RtpPort, route: RtcpRoute | None) -> bool:
        """Exchange RTCP for the leg of `port` on `route` from now on, or no more; whether there is RTCP now."""
        path = self._by_leg.get(port.leg)
        if path is not None and (route is None or route.is_muxed != (path.own is None)):
            self.close(port)
            path = None
        if route is None:
            return False
        if path is None:
            own = None if route.is_muxed else self._bind(port)
            if own is None and not route.is_muxed:
                return False
            path = self._by_leg[port.leg] = _Path(rtp=port, own=own)
            if own is not None:
                self._by_descriptor[own.fileno()] = path
                self._epoll.register(own, select.EPOLLIN)
        path.name_remote(route, self._own_sip_addresses)
        port.shares_rtcp = route.is_muxed
        return True

    def close(self, port: RtpPort) -> None:
        """No more RTCP for the leg of `port`; safe to repeat."""
        path = self._by_leg.pop(port.leg, None)
        port.shares_rtcp = False
        if path is not None and path.own is not None:
            del self._by_descriptor[path.own.fileno()]
            self._epoll.unregister(path.own)
            path.own.close()

    def shutdown(self) -> None:
        """Close every socket of RTCP's own."""
        for path in list(self._by_leg.values()):
            self.close(path.rtp)
        self._epoll.close()

    def _bind(self, port: RtpPort) -> socket.socket | None:
        """The port above, on the same address; None where it cannot be had."""
        address = Address(port.udp.getsockname()[0], port.port + 1)
        try:
            own = open_udp_socket(address, receive_buffer_bytes=RECEIVE_BUFFER_BYTES)
        except OSError as error:
            _log.info("no RTCP", port=address.port, reason=explain(error, address))
            return None
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The kernel gives the lowest free descriptor: its number tells how many are in use.
        if limit != resource.RLIM_INFINITY and own.fileno() >= limit * DESCRIPTOR_SHARE:
            own.close()
            _log.info("no RTCP", port=address.port, reason="few descriptors are left")
            return None
        return own

    # Packets.

    def share(self, port: RtpPort, datagram: memoryview) -> None:
        """Take RTCP that came on a shared port, from whom the leg hears."""
        path = self._by_leg.get(port.leg)
        if path is not None:
            self._take(path, datagram, self._shared)

    def receive(self) -> list[tuple[int, bytes]]:
        """What came since the last call, by leg: compounds, not read yet."""
        arrived, self._shared = self._shared, []
        for leg, _ in arrived:
            if leg in self._by_leg:
                self._by_leg[leg].arrived = 0
        if self._by_descriptor:
            for descriptor, _ in self._epoll.poll(0, MAX_LEGS_A_TICK):
                self._read(self._by_descriptor[descriptor], arrived)
        return arrived

    def _read(self, path: _Path, arrived: list[tuple[int, bytes]]) -> None:
        assert path.own is not None  # noqa: S101 - it was polled
        for _ in range(MAX_PACKETS_A_TICK):
            try:
                length, source = path.own.recvfrom_into(self._buffer)
            except OSError:  # nothing more, or an ICMP error, which means nothing here
                break
            if not path.hears(source):
                path.rtp.counters.rtcp_drops += 1
                continue
            if self._take(path, self._buffer[:length], arrived) and path.source_port is None:
                path.source_port = source[1]
        path.arrived = 0

    def _take(self, path: _Path, datagram: memoryview, arrived: list[tuple[int, bytes]]) -> bool:
        port = path.rtp
        path.arrived += 1
        if path.arrived > MAX_PACKETS_A_TICK or len(datagram) > MAX_DATAGRAM_BYTES:
            port.counters.rtcp_drops += 1
            return False
        opened = bytes(datagram) if port.srtp is None else port.srtp.open_rtcp(datagram)
        if isinstance(opened, Dropped):
            port.counters.rtcp_drops += 1
            return False
        arrived.append((port.leg, opened))
        return True

    def note_received(self, leg: int) -> None:
        """The leg's peer has reported that it receives our stream: proof that it is there (`rtp_proof`)."""
        path = self._by_leg.get(leg)
        if path is not None:
            path.rtp.proof.is_given = True

    def send(self, leg: int, datagram: bytes) -> bool:
        """Send a compound to where the leg's SDP says; whether the kernel took it."""
        path = self._by_leg.get(leg)
        if path is None or path.destination is None or not path.rtp.proof.spend():
            return False
        port = path.rtp
        try:
            sealed = datagram if port.srtp is None else port.srtp.seal_rtcp(datagram)
            (path.own or port.udp).sendto(sealed, path.destination)
        except ConnectionRefusedError:  # of a packet before, on a shared socket
            port.counters.icmp_errors += 1
            return False
        except (OSError, ValueError):
            port.counters.send_errors += 1
            return False
        return True
