"""The UDP shell around a `UserAgent`: its datagrams, its one timer, its events in their order.

::

    socket ──> receive_datagram(data, source, now) ──┐
    timer ───> handle_timer(now) ────────────────────┼──> transmit(): datagrams out, events up, the timer set anew
    on_event -> commands to the user agent ──────────┘        └──> on_event(event), one after the other

`transmit` is what everybody calls after having fed or commanded the user agent, event handlers included; an event that
arises inside a handler is handled after it, never within it.

Signalling must not take the media's time: a wake-up reads at most 16 datagrams or 2 ms worth of them and leaves the
rest to the loop's next round, so that a flood waits in the kernel and RTP goes out between its slices.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.errors import ResourceError
from gateway.sip.events import Event
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Address
from gateway.transport import sip_trace
from gateway.transport.sip_trace import Direction, Trace
from gateway.transport.sockets import explain, family_of, kernel_drops, open_udp_socket

MAX_DATAGRAM_BYTES = 65536
RECEIVE_BUFFER_BYTES = 1 << 20
SLICE_DATAGRAMS = 16
SLICE_S = 0.002
SHORTEST_TIMER_S = 0.001
"""So that a core whose deadline stays in the past slows the loop down instead of stopping it."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.sip")


class SipCore(Protocol):
    """What the shell needs of `gateway.sip.user_agent.UserAgent`."""

    def receive_datagram(self, data: bytes, source: Hop, now: float, /) -> None: ...

    def handle_timer(self, now: float, /) -> None: ...

    def get_timer(self) -> float | None: ...

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Hop]]: ...

    def handle_transport_error(self, hop: Hop, now: float, /) -> None: ...

    def events(self) -> Sequence[Event]: ...


@dataclass(slots=True, kw_only=True)
class EndpointCounters:
    """Since the endpoint was made."""

    received: int = 0
    sent: int = 0
    dropped_buffer_full: int = 0
    """Not sent because the kernel had no room; SIP retransmits what matters."""
    dropped_too_large: int = 0
    """Not sent because no datagram is that large."""
    dropped_not_numeric: int = 0
    """Not sent because a peer gave a host name, or an address of the family we do not listen on."""
    dropped_unreachable: int = 0
    """Not sent because the network refused."""
    receive_errors: int = 0
    """ICMP and other errors reported in place of a datagram."""
    failures: int = 0
    """Exceptions of the user agent or of an event handler: ours to mend."""


class SipEndpoint:
    """One UDP address that speaks SIP. Everything happens on the loop that `start` was called on."""

    def __init__(
        self,
        user_agent: SipCore,
        listen: Address,
        on_event: Callable[[Event], None],
        *,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user_agent = user_agent
        self._listen = listen
        self._on_event = on_event
        self._trace = trace
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._buffer = bytearray(MAX_DATAGRAM_BYTES)
        self._events: deque[Event] = deque()
        self._is_dispatching = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._send_trouble: int | None = None
        self._failures_shown: set[type[Exception]] = set()
        self.counters = EndpointCounters()

    @property
    def address(self) -> Address:
        """Where we listen; with the port the kernel chose where 0 was asked for, once started."""
        if self._socket is None:
            return self._listen
        host, port = self._socket.getsockname()[:2]
        return Address(host, port)

    def kernel_drops(self) -> int:
        """Datagrams the kernel dropped because we did not read fast enough."""
        return 0 if self._socket is None else kernel_drops(self._socket)

    def start(self) -> None:
        """Bind, receive, and send what the user agent has queued by now.

        Raises:
            ResourceError: the address cannot be bound; says which, who holds it and what to do.
        """
        if self._socket is not None:
            return
        try:
            self._socket = open_udp_socket(self._listen, receive_buffer_bytes=RECEIVE_BUFFER_BYTES)
        except OSError as error:
            raise ResourceError(explain(error, self._listen)) from error
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._on_readable)
        self.transmit()

    def close(self) -> None:
        """Stop at once; nothing is sent or reported after this. Safe to repeat, and in an event handler."""
        udp, self._socket = self._socket, None
        if udp is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(udp.fileno())
        udp.close()
        self._set_timer(None)
        self._events.clear()

    def transmit(self) -> None:
        """Send what is queued, dispatch what happened, set the timer. Cheap where there is nothing to do."""
        if self._socket is None:
            return
        self._drain()
        if self._is_dispatching:  # called by an event handler: the loop below, further down the stack, goes on
            return
        self._is_dispatching = True
        try:
            while self._events:
                self._dispatch(self._events.popleft())
                self._drain()
        finally:
            self._is_dispatching = False
        if self._socket is not None:
            self._set_timer(self._user_agent.get_timer())

    def _drain(self) -> None:
        for data, hop in self._user_agent.datagrams_to_send():
            if hop.transport is Transport.UDP:
                self._send(data, hop.address)
            else:
                self._user_agent.handle_transport_error(hop, self._clock())
        self._events.extend(self._user_agent.events())

    def _dispatch(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - one call's handler must never cost the others
            self.counters.failures += 1
            _log.exception("event handler failed", event_type=type(event).__name__)

    # In.

    def _on_readable(self) -> None:
        began = self._clock()
        for _ in range(SLICE_DATAGRAMS):
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
            self.counters.receive_errors += 1
            return True
        self.counters.received += 1
        data, address = bytes(memoryview(self._buffer)[:size]), Address(source[0], source[1])
        self._show("<", data, address)
        try:
            self._user_agent.receive_datagram(data, Hop(*address), self._clock())
        except Exception as error:  # noqa: BLE001 - one datagram must never cost the others
            self._note_failure(error, "receive_datagram")
        self.transmit()
        return True

    # Out.

    def _send(self, data: bytes, destination: Address) -> None:
        if self._socket is None:
            return
        self._show(">", data, destination)
        try:
            if family_of(destination.host) != self._socket.family:
                raise OSError(errno.EAFNOSUPPORT, "not a numeric address of the family we listen on")
            self._socket.sendto(data, (destination.host, destination.port))
        except (OSError, OverflowError) as error:  # OverflowError: no such port
            self._note_unsent(error, data, destination)
            return
        self.counters.sent += 1
        if self._send_trouble is not None:
            self._send_trouble = None
            _log.info("= sending again")

    def _note_unsent(self, error: OSError | OverflowError, data: bytes, destination: Address) -> None:
        """Count it; one log line for an outage, however many datagrams it costs."""
        code = getattr(error, "errno", None) or errno.EINVAL
        match code:
            case errno.EAGAIN | errno.ENOBUFS:
                self.counters.dropped_buffer_full += 1
            case errno.EMSGSIZE:
                self.counters.dropped_too_large += 1
            case errno.EAFNOSUPPORT:
                self.counters.dropped_not_numeric += 1
            case _:
                self.counters.dropped_unreachable += 1
        if code != self._send_trouble:
            self._send_trouble = code
            _log.warning("datagram not sent", peer=str(destination), size_bytes=len(data), error=str(error))

    def _show(self, direction: Direction, data: bytes, address: Address) -> None:
        is_logged = sip_trace.is_logged()
        if not is_logged and self._trace is None:
            return
        masked = sip_trace.mask_secrets(data)
        if is_logged:
            sip_trace.log_datagram(direction, masked, address)
        if self._trace is not None:
            self._trace(direction, masked, address)

    # The one timer.

    def _set_timer(self, deadline: float | None) -> None:
        if deadline == self._deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._deadline = None, deadline
        if deadline is not None and self._loop is not None:
            delay_s = max(deadline - self._clock(), SHORTEST_TIMER_S)
            self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._deadline = None
        try:
            self._user_agent.handle_timer(self._clock())
        except Exception as error:  # noqa: BLE001 - one call's alarm must never cost the others
            self._note_failure(error, "handle_timer")
        self.transmit()

    def _note_failure(self, error: Exception, where: str) -> None:
        """Count it; a traceback for the first of a kind, so that a hostile peer cannot fill the disk with them."""
        self.counters.failures += 1
        if type(error) not in self._failures_shown:
            self._failures_shown.add(type(error))
            _log.error("user agent failed", where=where, exc_info=error)
