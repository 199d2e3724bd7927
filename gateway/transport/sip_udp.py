"""SIP over UDP: the sockets of all UDP listeners, read in slices, and the one among them that a message leaves by."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import structlog

from gateway.errors import ResourceError
from gateway.sip.hop import Hop
from gateway.sip.message import Address
from gateway.transport.sip_counters import SLICE_MESSAGES, SLICE_S, EndpointCounters
from gateway.transport.sockets import explain, family_of, kernel_drops, open_udp_socket, source_towards

MAX_DATAGRAM_BYTES = 65536
RECEIVE_BUFFER_BYTES = 1 << 20
MAX_REMEMBERED_PEERS = 4096
TELL_AGAIN_S = 60.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.sip")


class UdpPort:
    """One bound socket. `receive` gets each datagram with its source."""

    def __init__(
        self,
        listen: Address,
        receive: Callable[[UdpPort, bytes, Hop], None],
        counters: EndpointCounters,
        clock: Callable[[], float],
    ) -> None:
        self._listen = listen
        self._receive_datagram = receive
        self._counters = counters
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._buffer = bytearray(MAX_DATAGRAM_BYTES)
        self._send_trouble: int | None = None
        self._told_at = float("-inf")
        self._is_told = False

    @property
    def address(self) -> Address:
        """Where it listens; with the port the kernel chose where 0 was asked for, once open."""
        return self._listen if self._socket is None else Address(*self._socket.getsockname()[:2])

    @property
    def family(self) -> socket.AddressFamily | None:
        """IPv4 or IPv6."""
        return family_of(self._listen.host)

    def kernel_drops(self) -> int:
        """Datagrams the kernel dropped because we did not read fast enough."""
        return 0 if self._socket is None else kernel_drops(self._socket)

    def open(self) -> None:
        """Bind and receive. Raises: `ResourceError`: says which address, who holds it and what to do."""
        try:
            self._socket = open_udp_socket(self._listen, receive_buffer_bytes=RECEIVE_BUFFER_BYTES)
        except OSError as error:
            raise ResourceError(explain(error, self._listen)) from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop at once. Safe to repeat."""
        udp, self._socket = self._socket, None
        if udp is not None and self._loop is not None:
            self._loop.remove_reader(udp.fileno())
            udp.close()

    def _on_readable(self) -> None:
        began = self._clock()
        for _ in range(SLICE_MESSAGES):
            if not self._receive() or self._clock() - began > SLICE_S:
                return

    def _receive(self) -> bool:
        """Take in one datagram; False when there is none."""
        if self._socket is None:
            return False
        try:
            size, source = self._socket.recvfrom_into(self._buffer)
        except BlockingIOError:
            return False
        except OSError:  # an ICMP error: it says nothing about anybody else's datagrams
            self._counters.receive_errors += 1
            return True
        self._receive_datagram(self, bytes(memoryview(self._buffer)[:size]), Hop(source[0], source[1]))
        return True

    def send(self, data: bytes, destination: Hop) -> bool:
        """Send a datagram; False where none can ever arrive.

        What a full buffer or the network of this moment does not let through (no route, a firewall) is dropped: SIP
        repeats what matters, and networks come back.
        """
        if self._socket is None:
            return True
        try:
            self._socket.sendto(data, destination.address)
        except (OSError, OverflowError) as error:  # OverflowError: no such port
            return self._note_unsent(error, data, destination)
        self._counters.sent += 1
        self._send_trouble = None
        if self._is_told:
            self._is_told = False
            _log.info("= sending again")
        return True

    def _note_unsent(self, error: OSError | OverflowError, data: bytes, destination: Hop) -> bool:
        """Count it; one log line for an outage, however many datagrams it costs, and one a minute.

        Peers can make answers fail and arrive in turn, by requests so long that the answers are too long.
        """
        code = getattr(error, "errno", None) or errno.EINVAL
        match code:
            case errno.EAGAIN | errno.ENOBUFS:
                self._counters.dropped_buffer_full += 1
            case errno.EMSGSIZE:
                self._counters.dropped_too_large += 1
            case _:
                self._counters.dropped_unreachable += 1
        is_new, self._send_trouble = code != self._send_trouble, code
        if is_new and self._clock() - self._told_at >= TELL_AGAIN_S:
            self._is_told, self._told_at = True, self._clock()
            _log.warning("datagram not sent", peer=str(destination), size_bytes=len(data), error=str(error))
        return code not in (errno.EINVAL, errno.EAFNOSUPPORT)


class UdpPorts:
    """All UDP sockets of an endpoint."""

    def __init__(
        self,
        addresses: Sequence[Address],
        receive: Callable[[bytes, Hop], None],
        counters: EndpointCounters,
        clock: Callable[[], float],
    ) -> None:
        self._receive = receive
        self._counters = counters
        self._ports = [UdpPort(address, self._on_datagram, counters, clock) for address in addresses]
        # Of those who were answered: strangers, who never are, cannot crowd them out.
        self._heard_by: OrderedDict[Hop, UdpPort] = OrderedDict()
        self._latest: tuple[Hop, UdpPort] | None = None
        self._is_name_shown = False

    def __iter__(self) -> Iterator[UdpPort]:
        return iter(self._ports)

    def open(self) -> None:
        """Bind them all, or none. Raises: `ResourceError`."""
        try:
            for port in self._ports:
                port.open()
        except ResourceError:
            self.close()
            raise

    def close(self) -> None:
        """Stop at once. Safe to repeat."""
        for port in self._ports:
            port.close()

    def send(self, data: bytes, destination: Hop) -> bool:
        """Send a datagram; False where it can never arrive."""
        port = self._port_towards(destination)
        if port is not None:
            return port.send(data, destination)
        self._counters.dropped_not_numeric += 1
        if not self._is_name_shown:
            self._is_name_shown = True
            _log.warning("datagram not sent, no numeric address of a family we listen on", peer=str(destination))
        return False

    def _on_datagram(self, port: UdpPort, data: bytes, source: Hop) -> None:
        self._latest = (source, port)
        self._receive(data, source)

    def _remember(self, peer: Hop, port: UdpPort) -> None:
        self._heard_by[peer] = port
        self._heard_by.move_to_end(peer)
        if len(self._heard_by) > MAX_REMEMBERED_PEERS:
            self._heard_by.popitem(last=False)

    def _port_towards(self, destination: Hop) -> UdpPort | None:
        family = family_of(destination.host)
        ports = [port for port in self._ports if port.family is family] if family is not None else []
        if len(ports) < 2:
            return ports[0] if ports else None
        # RFC 3581 4: a response leaves by the address that its request arrived at.
        if self._latest is not None and self._latest[0] == destination:
            self._remember(*self._latest)
        heard_by = self._heard_by.get(destination)
        if heard_by is not None:
            return heard_by
        source = source_towards(destination.host)
        return next((port for port in ports if port.address.host == source), ports[0])
