"""SIP over TCP and TLS: who may connect, which connection a message takes, and what becomes of those that break.

::

    accept ──ACL, limits──> Connection ──> ready ──slices──> user.message(data, hop)
    send(data, hop) ──by number, by address, or a new one──> Connection
                                             broken ──> user.failure(hop, why)

A wake-up takes at most 16 messages or 2 ms worth of them, one from each connection in turn, so that a flood on one
delays neither the others nor the media. Strangers are closed without a byte: they never reach TLS.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypedDict

import structlog

from gateway.errors import ResourceError, shown
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address, MessageRefused
from gateway.transport.sip_acceptor import Acceptor, turn_away
from gateway.transport.sip_connection import CLOSING_S, Closure, Connection, ConnectionState, StreamOptions
from gateway.transport.sip_counters import SLICE_MESSAGES, SLICE_S, EndpointCounters
from gateway.transport.sockets import family_of, give_up_after, make_tcp_socket
from gateway.transport.tls import TlsContexts, server_name_problem

CHECK_INTERVAL_S = 0.5
TELL_AGAIN_S = 600.0
MAX_REMEMBERED_TROUBLES = 256

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.sip")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUser:
    """What connections need of the one they work for. All are called on the event loop and do not raise."""

    message: Callable[[bytes, Hop], None]
    """Gets each message with the connection that it came over."""
    refusal: Callable[[MessageRefused, Hop], None]
    """Gets what could not be framed; its connection closes when this returns."""
    failure: Callable[[Hop, str], None]
    """Gets the hop of what could not be sent, and that of a connection that has ended."""
    is_known: Callable[[Hop], bool]
    """Whether whoever comes from there may connect."""
    server_names: Callable[[Hop], Sequence[str]]
    """Whom the certificate of a TLS server may name; none: its address."""


class Encryption(TypedDict, total=False):
    """What asyncio is told about TLS."""

    ssl: ssl.SSLContext | None
    ssl_handshake_timeout: float
    ssl_shutdown_timeout: float


class ClientEncryption(Encryption, total=False):
    """What it is told besides where we are the client."""

    server_hostname: str


class Streams:
    """All connections of an endpoint."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        user: StreamUser,
        counters: EndpointCounters,
        *,
        options: StreamOptions,
        tls: TlsContexts | None,
        clock: Callable[[], float],
    ) -> None:
        self._user = user
        self._counters = counters
        self._options = options
        self._clock = clock
        self.tls = tls
        """For connections from now on."""
        self._listeners = tuple(one for one in listeners if one.transport.is_reliable)
        self._acceptors: list[Acceptor] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_number = 0
        self._connections: dict[int, Connection] = {}
        self._by_address: dict[tuple[str, int, Transport], Connection] = {}
        self._per_source: Counter[str] = Counter()
        self._ready: deque[Connection] = deque()
        self._is_working = False
        self._tasks: dict[Connection, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._troubled: dict[Hop, str] = {}
        self._told_at: dict[tuple[Hop, str], float] = {}

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def listening(self) -> list[Hop]:
        """Where connections are taken."""
        return [Hop(*acceptor.address, acceptor.transport) for acceptor in self._acceptors]

    def open(self) -> None:
        """Listen. Raises: `ResourceError`: an address is taken, or there is no certificate to listen with."""
        self._loop = asyncio.get_running_loop()
        try:
            for listener in self._listeners:
                if listener.is_open:
                    self._acceptors.append(self._open_acceptor(listener))
        except ResourceError:
            self.close()
            raise

    def _open_acceptor(self, listener: Listener) -> Acceptor:
        if listener.transport is Transport.TLS and (self.tls is None or self.tls.server is None):
            raise ResourceError(f"TLS {listener.address} has no certificate: configure sip.tls.certificate")
        return Acceptor(listener, self._accept)

    def close(self) -> None:
        """Stop at once: nothing is reported after this."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connections = list(self._connections.values())
        self._connections.clear()
        self._by_address.clear()
        self._per_source.clear()
        self._ready.clear()
        for task in self._tasks.values():
            task.cancel()
        for connection in connections:
            connection.abort()
        self._loop = None

    # Out.

    def send(self, data: bytes, hop: Hop) -> bool:
        """Send over the connection that `hop` names, else over one to its address, else over a new one.

        False where that cannot be; what fails later is told to the user.
        """
        if self._loop is None:
            return True
        connection = self._find(hop) or self._connect(hop)
        if connection is None or not connection.send(data, hop):
            return False
        self._counters.sent += 1
        return True

    def _find(self, hop: Hop) -> Connection | None:
        named = self._connections.get(hop.connection)
        if named is not None and named.is_usable and named.hop.transport is hop.transport:
            return named
        there = self._by_address.get(hop[:3])
        return there if there is not None and there.is_usable else None

    def _connect(self, hop: Hop) -> Connection | None:
        if family_of(hop.host) is None or not 0 < hop.port <= 65535:
            self._counters.dropped_not_numeric += 1
            return None
        if len(self._connections) >= self._options.max_connections:
            self._counters.limit_refused += 1
            return None
        connection = self._add(hop.address, hop.transport, is_ours=True)
        self._by_address[hop[:3]] = connection
        self._run(connection, self._open_ours(connection))
        return connection

    async def _open_ours(self, connection: Connection) -> None:
        hop = connection.hop
        loop = asyncio.get_running_loop()
        encryption: ClientEncryption = self._encryption_towards(connection) if hop.transport is Transport.TLS else {}
        tcp = make_tcp_socket(hop.host, self._bind_host(hop), unacknowledged_s=self._options.unacknowledged_s)
        try:
            async with asyncio.timeout(self._options.connect_s):
                await loop.sock_connect(tcp, hop.address)
        except BaseException:
            tcp.close()
            raise
        await loop.create_connection(lambda: connection, sock=tcp, **encryption)

    def _encryption_towards(self, connection: Connection) -> ClientEncryption:
        """How we shake hands with a server, and whom its certificate has to name."""
        if self.tls is None:
            raise ResourceError("no TLS is configured: configure sip.tls")
        hop = connection.hop
        names = self._user.server_names(hop) or (hop.host,)
        asked = hop.host if hop.host in names else names[0]
        asked.encode("idna")  # raises here what would break inside the handshake
        if self.tls.verifies_names:
            connection.check_peer = lambda tls: server_name_problem(tls.getpeercert() or {}, names)
        return {"server_hostname": asked, **self._encryption_by(self.tls.client)}

    def _encryption_by(self, context: ssl.SSLContext | None) -> Encryption:
        return {
            "ssl": context,
            "ssl_handshake_timeout": self._options.handshake_s,
            "ssl_shutdown_timeout": CLOSING_S,
        }

    def _bind_host(self, hop: Hop) -> str | None:
        """The address that peers know us by, where one is configured."""
        hosts = [
            one.address.host
            for one in self._listeners
            if one.transport is hop.transport and family_of(one.address.host) is family_of(hop.host)
        ]
        return None if not hosts or ip_address(hosts[0]).is_unspecified else hosts[0]

    # In.

    def _accept(self, tcp: socket.socket, peer: Address, kind: Transport) -> None:
        """Let a connection in, or turn it away before a byte is read."""
        if not self._user.is_known(Hop(peer.host, peer.port, kind)):
            self._counters.strangers_refused += 1
            turn_away(tcp)
            return
        if kind is Transport.TLS and (self.tls is None or self.tls.server is None):
            turn_away(tcp)  # never in plain text instead
            return
        open_to_others = self._options.max_connections - self._options.reserved_connections
        if (
            self._per_source[peer.host] >= self._options.max_connections_per_source
            or len(self._connections) >= open_to_others
        ):
            self._counters.limit_refused += 1
            turn_away(tcp)
            return
        give_up_after(tcp, self._options.unacknowledged_s)
        connection = self._add(peer, kind, is_ours=False)
        self._per_source[peer.host] += 1
        self._run(connection, self._open_theirs(connection, tcp))

    async def _open_theirs(self, connection: Connection, tcp: socket.socket) -> None:
        encryption: Encryption = {}
        if connection.hop.transport is Transport.TLS and self.tls is not None:
            encryption = self._encryption_by(self.tls.server)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, tcp, **encryption)

    def _work(self) -> None:
        """Take in a slice of what has come, and come back for the rest."""
        self._is_working = False
        began = self._clock()
        for _ in range(SLICE_MESSAGES):
            if not self._ready:
                return
            self._take_from(self._ready.popleft())
            if self._clock() - began > SLICE_S:
                break
        self._come_back()

    def _come_back(self) -> None:
        if self._ready and not self._is_working and self._loop is not None:
            self._is_working = True
            self._loop.call_soon(self._work)

    def _take_from(self, connection: Connection) -> None:
        connection.is_queued = False
        try:
            event = connection.next_event()
        except MessageRefused as error:
            self._user.refusal(error, connection.hop)
            connection.close(Closure.MALFORMED)
            event = None
        if event is not None:
            # Queued before the message is dealt with: whoever deals with it may close everything.
            self._queue(connection)
            if isinstance(event, bytes):
                self._user.message(event, connection.hop)
        elif connection.state is ConnectionState.CLOSED:
            self._report(connection)

    def _queue(self, connection: Connection) -> None:
        if not connection.is_queued:
            connection.is_queued = True
            self._ready.append(connection)

    # Life of connections.

    def _add(self, peer: Address, kind: Transport, *, is_ours: bool) -> Connection:
        self._last_number += 1
        hop = Hop(peer.host, peer.port, kind, self._last_number)
        connection = Connection(hop, self, self._options, self._clock, is_ours=is_ours)
        self._connections[self._last_number] = connection
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(CHECK_INTERVAL_S, self._check)
        return connection

    def _run(self, connection: Connection, opening: Coroutine[None, None, None]) -> None:
        self._tasks[connection] = asyncio.ensure_future(self._await_opening(connection, opening))

    async def _await_opening(self, connection: Connection, opening: Coroutine[None, None, None]) -> None:
        try:
            await opening
        except (OSError, ValueError, ResourceError) as error:
            connection.error = error
            if connection.state is not ConnectionState.CLOSED:
                connection.connection_lost(error)  # it was never made: nobody else says so
        finally:
            self._tasks.pop(connection, None)

    def note_opened(self, connection: Connection) -> None:
        """Whoever is reached again is worth a line."""
        hop = connection.hop
        if connection.is_ours or hop.transport is Transport.TCP:
            # A TLS client has not shown that it is the server of that address.
            self._by_address.setdefault(hop[:3], connection)
        if connection.is_ours and self._troubled.pop(self._trouble_key(connection), None) is not None:
            _log.info("= connected again", peer=str(hop))

    def note_received(self, connection: Connection) -> None:
        """Its turn comes."""
        self._queue(connection)
        self._come_back()

    def note_lost(self, connection: Connection) -> None:
        """What has come over it by now is still taken in, then its end is told."""
        hop = connection.hop
        if self._connections.pop(hop.connection, None) is None:
            return  # we are closed
        if self._by_address.get(hop[:3]) is connection:
            del self._by_address[hop[:3]]
        if not connection.is_ours:
            self._per_source[hop.host] -= 1
            if not self._per_source[hop.host]:
                del self._per_source[hop.host]
        if not connection.is_queued:
            self._report(connection)

    def _report(self, connection: Connection) -> None:
        self._count_end(connection)
        reason = _why(connection)
        for hop in dict.fromkeys(hop for _, hop in connection.take_unsent()):
            self._user.failure(hop, reason)
        if connection.was_open:
            self._user.failure(connection.hop, reason)

    def _count_end(self, connection: Connection) -> None:
        closure, error = connection.closure, connection.error
        if not connection.was_open:
            is_shaking = isinstance(error, ssl.SSLError | ConnectionAbortedError) or not connection.is_ours
            if closure is None and connection.hop.transport is Transport.TLS and is_shaking:
                closure = Closure.HANDSHAKE
            if closure is None:
                self._counters.connects_failed += 1
            self._note_trouble(self._trouble_key(connection), _why(connection))
        if closure is not None:
            self._counters.add(closure.value)
        _log.debug(
            "= connection ended",
            connection=str(connection),
            closure=closure.value if closure is not None else None,
            error=_reason(error) if error is not None else None,
        )

    def _trouble_key(self, connection: Connection) -> Hop:
        """One outage has one line: ours by the address, theirs by the source, whose port changes."""
        hop = connection.hop
        return Hop(hop.host, hop.port if connection.is_ours else 0, hop.transport)

    def _note_trouble(self, peer: Hop, reason: str) -> None:
        """One log line for an outage, however many connections it costs; for one of theirs, every ten minutes."""
        now = self._clock()
        told_at = self._told_at.get((peer, reason), float("-inf"))
        is_told = self._troubled.get(peer) == reason if peer.port else now - told_at < TELL_AGAIN_S
        if is_told:
            return
        for remembered in (self._troubled, self._told_at):
            if len(remembered) >= MAX_REMEMBERED_TROUBLES:
                remembered.clear()
        if peer.port:
            self._troubled[peer] = reason
        else:
            self._told_at[peer, reason] = now
        _log.warning("no connection", peer=str(peer), reason=reason)

    def _check(self) -> None:
        self._timer = None
        self._check_some(iter(list(self._connections.values())))

    def _check_some(self, connections: Iterator[Connection]) -> None:
        """Let connections look at the clock, in slices: a thousand that have to be closed take their time."""
        began = self._clock()
        for connection in connections:
            if self._loop is None:
                return
            connection.check(began)
            if self._clock() - began > SLICE_S:
                self._loop.call_soon(self._check_some, connections)
                return
        if self._connections and self._loop is not None and self._timer is None:
            self._timer = self._loop.call_later(CHECK_INTERVAL_S, self._check)


def _why(connection: Connection) -> str:
    """Why it broke, for people, on one line."""
    if connection.complaint:
        return connection.complaint
    error, reason = connection.error, _reason(connection.error)
    was_hung_up_on = error is None or isinstance(error, ConnectionResetError) or not reason
    if connection.hop.transport is Transport.TLS and not connection.was_open and was_hung_up_on:
        return "it ended the connection in place of a TLS handshake: is this its port for TLS?"
    return reason or "closed by the peer"


def _reason(error: Exception | None) -> str:
    """For people, on one line."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message}; sip.tls.ca names who may sign it"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case TimeoutError():
            return "no answer"
        case OSError() if error.errno:
            return os.strerror(error.errno)
        case None:
            return "closed by the peer"
    return shown(str(error))
