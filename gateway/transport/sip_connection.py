"""One TCP or TLS connection that carries SIP: bytes into its framer, messages out, and the patience we have with it.

::

    OPENING ──handshake, name──> OPEN ──close()──> CLOSING ──flushed──> CLOSED
       └───────────────────────────┴──────────────────┴──broken, abort()──┘

Its pool says when to take messages out and when to look at the clock.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, cast

import structlog

from gateway.sip.framing import KeepAlive, StreamFramer
from gateway.sip.hop import Hop

READ_BYTES = 16384
MAX_BUFFERED_BYTES = 65536
"""Received and not yet taken out: more is left to the kernel, whose window stops the peer."""
CLOSING_S = 2.0
"""What a peer has for reading the last of what we sent."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.sip")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Bounds of TCP and TLS connections."""

    max_connections: int = 1000
    """In all, both directions."""
    reserved_connections: int = 100
    """Of these, so many are only for connections that we open."""
    max_connections_per_source: int = 100
    """That one address may open."""
    connect_s: float = 4.0
    """For a connection of ours to be accepted."""
    handshake_s: float = 10.0
    """For a TLS handshake, in either direction."""
    head_s: float = 30.0
    """For a message to be complete since its first byte; on a new connection, since that was accepted."""
    idle_s: float = 600.0
    """A connection that carries nothing for so long is closed."""
    ping_s: float = 30.0
    """On a connection of ours that carries nothing for so long, CRLFCRLF is sent (RFC 5626 4.4.1)."""
    pong_s: float = 10.0
    """For the answer to that, where the peer has ever given one (RFC 5626 4.4.1)."""
    unacknowledged_s: float = 20.0
    """What is sent and not acknowledged for so long breaks a connection."""
    max_unsent_bytes: int = 262144
    """That a peer may leave unread; more closes the connection."""
    max_queued_messages: int = 64
    """For a connection that is not open yet; more fail."""


class ConnectionState(Enum):
    """See the module."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Closure(Enum):
    """Why we ended a connection; the name of its counter."""

    HANDSHAKE = "handshakes_failed"
    SLOW = "closed_slow"
    SLOW_READER = "closed_slow_reader"
    IDLE = "closed_idle"
    SILENT = "closed_silent"
    MALFORMED = "closed_malformed"


class ConnectionOwner(Protocol):
    """The pool, as its connections see it."""

    def note_opened(self, connection: Connection, /) -> None: ...

    def note_received(self, connection: Connection, /) -> None: ...

    def note_lost(self, connection: Connection, /) -> None: ...


# Every connection reads into this one: what it holds is copied before the loop goes on.
_read_buffer = memoryview(bytearray(READ_BYTES))


class Connection(asyncio.BufferedProtocol):
    """See the module. `hop` is the far end, with the connection's number; `is_ours` tells whether we opened it."""

    def __init__(
        self,
        hop: Hop,
        owner: ConnectionOwner,
        options: StreamOptions,
        clock: Callable[[], float],
        *,
        is_ours: bool,
    ) -> None:
        self.hop = hop
        self.is_ours = is_ours
        self.state = ConnectionState.OPENING
        self.error: Exception | None = None
        """What broke it."""
        self.closure: Closure | None = None
        self.check_peer: Callable[[ssl.SSLObject], str | None] = lambda _tls: None
        """Why the peer of a finished handshake is not who was meant; None where it is."""
        self.complaint: str | None = None
        """What `check_peer` said."""
        self.was_open = False
        """Whether it ever carried messages."""
        self.is_queued = False
        """Whether the pool is going to take messages out; the pool's."""
        self._owner = owner
        self._options = options
        self._clock = clock
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._unsent: list[tuple[bytes, Hop]] = []
        self._active_at = self._received_at = clock()
        # Since when a message is awaited: on what others open, the first one at once.
        self._awaiting_since: float | None = None if is_ours else self._active_at
        self._pinged_at: float | None = None
        self._closing_since: float | None = None

    def __str__(self) -> str:
        return f"{self.hop}#{self.hop.connection}"

    @property
    def is_usable(self) -> bool:
        """Whether messages may be given to it."""
        return self.state is ConnectionState.OPEN or (self.state is ConnectionState.OPENING and self.is_ours)

    def _set_state(self, state: ConnectionState) -> None:
        _log.debug("= connection", connection=str(self), before=self.state.value, now=state.value)
        self.state = state

    # The loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opened, and for TLS shaken hands."""
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        self.complaint = self.check_peer(tls) if tls is not None else None
        if self.complaint is not None:
            self.abort(Closure.HANDSHAKE)
            return
        if self.state is not ConnectionState.OPENING:  # closed meanwhile
            self._transport.abort()
            return
        self._active_at = self._received_at = self._clock()
        self.was_open = True
        self._set_state(ConnectionState.OPEN)
        self._owner.note_opened(self)
        unsent, self._unsent = self._unsent, []
        for data, hop in unsent:
            self.send(data, hop)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        del sizehint
        return _read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self._active_at = self._received_at = self._clock()
        self._pinged_at = None
        self._framer.receive_data(_read_buffer[:nbytes])
        if self._framer.buffered_bytes > MAX_BUFFERED_BYTES and self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._owner.note_received(self)

    def eof_received(self) -> bool:
        """The peer will send no more: we close as well."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone, by whomever."""
        self.error = self.error or exc
        self._transport = None
        self._set_state(ConnectionState.CLOSED)
        self._owner.note_lost(self)

    # The pool's side.

    def next_event(self) -> bytes | KeepAlive | None:
        """Take out a message, or a ping, which is answered; None where there is none (yet).

        Raises: `MessageRefused`: the peer is to be told and the connection to be closed.
        """
        event = self._framer.next_event()
        if isinstance(event, KeepAlive):
            self._write(KeepAlive.PONG.value)
            return event
        if event is not None:
            self._awaiting_since = None
            return event
        if self._framer.is_within_message and self._awaiting_since is None:
            self._awaiting_since = self._clock()
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return None

    def send(self, data: bytes, hop: Hop) -> bool:
        """Send a message, or keep it until there is a connection; False where too many are kept already."""
        if self.state is ConnectionState.OPENING:
            self._unsent.append((data, hop))
            return len(self._unsent) <= self._options.max_queued_messages
        self._active_at = self._clock()
        self._write(data)
        return True

    def take_unsent(self) -> list[tuple[bytes, Hop]]:
        """What was given for a connection that did not come about."""
        unsent, self._unsent = self._unsent, []
        return unsent

    def check(self, now: float) -> None:
        """Look at the clock: close what takes too long, ping what is quiet."""
        if self._closing_since is not None and now - self._closing_since > CLOSING_S:
            self._kill()
        if self.state is not ConnectionState.OPEN:
            return
        if self._awaiting_since is not None and now - self._awaiting_since > self._options.head_s:
            self.abort(Closure.SLOW)
        elif now - self._active_at > self._options.idle_s:
            self.close(Closure.IDLE)
        elif self._pinged_at is not None:
            self._check_pong(now - self._pinged_at)
        elif self.is_ours and now - self._received_at >= self._options.ping_s:
            self._pinged_at = now
            self._write(KeepAlive.PING.value)

    def _check_pong(self, waited_s: float) -> None:
        """RFC 5626 4.4.1: no pong within 10 s is a failed flow, of a peer that gives pongs at all."""
        if waited_s <= self._options.pong_s:
            return
        if self._framer.pongs > 0:
            self.abort(Closure.SILENT)
        elif waited_s > self._options.ping_s:
            self._pinged_at = None

    def close(self, closure: Closure | None = None) -> None:
        """Close when everything is sent."""
        if self.state is ConnectionState.OPEN and self._transport is not None:
            self.closure = closure
            self._closing_since = self._clock()
            self._set_state(ConnectionState.CLOSING)
            self._transport.close()
        else:
            self.abort(closure)

    def abort(self, closure: Closure | None = None) -> None:
        """Close at once."""
        self.closure = self.closure or closure
        if self.state is not ConnectionState.CLOSED:
            self._set_state(ConnectionState.CLOSING)
        self._kill()

    def _kill(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is None or self.state is not ConnectionState.OPEN:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._options.max_unsent_bytes:
            self.abort(Closure.SLOW_READER)
