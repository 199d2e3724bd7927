"""The shell around a `UserAgent`: its sockets and connections, its one timer, its events in their order.

::

    sockets ──> receive_datagram(data, source, now) ─┐
    timer ────> handle_timer(now) ───────────────────┼──> transmit(): messages out, events up, the timer set anew
    broken ───> handle_transport_error(hop, now) ────┤        └──> on_event(event), one after the other
    on_event -> commands to the user agent ──────────┘

`transmit` is what everybody calls after having fed or commanded the user agent, event handlers included; an event that
arises inside a handler is handled after it, never within it. What cannot be sent is told to the user agent after that,
for the same reason.

Signalling must not take the media's time: a wake-up reads at most 16 messages or 2 ms worth of them and leaves the
rest to the loop's next round, so that a flood waits in the kernel and RTP goes out between its slices.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from gateway.sip.events import Event
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address, MessageRefused
from gateway.transport import sip_trace
from gateway.transport.sip_connection import StreamOptions
from gateway.transport.sip_counters import EndpointCounters
from gateway.transport.sip_streams import Streams, StreamUser
from gateway.transport.sip_trace import Direction, Trace
from gateway.transport.sip_udp import UdpPorts
from gateway.transport.tls import TlsContexts

SHORTEST_TIMER_S = 0.001
"""So that a core whose deadline stays in the past slows the loop down instead of stopping it."""

UNSENT = (
    "no such port, or an address of another family than we listen on",
    "too much waits for it already, or it is no address that can be connected to",
)
"""Why nothing goes there, by datagram and by stream."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.sip")


class SipCore(Protocol):
    """What the shell needs of `gateway.sip.user_agent.UserAgent`."""

    def admits(self, source: Hop, now: float, /) -> bool: ...

    def receive_datagram(self, data: bytes, source: Hop, now: float, /) -> None: ...

    def receive_refusal(self, error: MessageRefused, source: Hop, /) -> None: ...

    def handle_transport_error(self, hop: Hop, now: float, reason: str, /) -> None: ...

    def handle_timer(self, now: float, /) -> None: ...

    def get_timer(self) -> float | None: ...

    def datagrams_to_send(self) -> Sequence[tuple[bytes, Hop]]: ...

    def events(self) -> Sequence[Event]: ...


class SipEndpoint:
    """Where one user agent is reached. Everything happens on the loop that `start` was called on.

    `server_names` tells whom the certificate of a TLS server at a hop may name; none: its address.
    """

    def __init__(
        self,
        user_agent: SipCore,
        listeners: Sequence[Listener],
        on_event: Callable[[Event], None],
        *,
        streams: StreamOptions | None = None,
        tls: TlsContexts | None = None,
        server_names: Callable[[Hop], Sequence[str]] = lambda _hop: (),
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user_agent = user_agent
        self._on_event = on_event
        self._trace = trace
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._events: deque[Event] = deque()
        self._is_dispatching = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._failed: dict[Hop, str] = {}
        self._failures_shown: set[type[Exception]] = set()
        self.counters = EndpointCounters()
        udp = [one.address for one in listeners if one.transport is Transport.UDP and one.is_open]
        self._udp = UdpPorts(udp, self._receive, self.counters, clock)
        user = StreamUser(
            message=self._receive,
            refusal=self._receive_refusal,
            failure=self._note_unreachable,
            is_known=lambda source: user_agent.admits(source, clock()),
            server_names=server_names,
        )
        self._streams = Streams(
            listeners, user, self.counters, options=streams or StreamOptions(), tls=tls, clock=clock
        )

    @property
    def listening(self) -> list[Hop]:
        """Where we are reached; with the ports the kernel chose where 0 was asked for, once started."""
        return [Hop(*port.address) for port in self._udp] + self._streams.listening

    @property
    def address(self) -> Address:
        """The first UDP address."""
        return next(iter(self._udp)).address

    @property
    def connection_count(self) -> int:
        """Connections of both directions, those included that are being opened or closed."""
        return len(self._streams)

    def kernel_drops(self) -> int:
        """Datagrams the kernel dropped because we did not read fast enough."""
        return sum(port.kernel_drops() for port in self._udp)

    def replace_tls(self, contexts: TlsContexts) -> None:
        """Use other certificates for connections from now on; those that are open keep theirs."""
        self._streams.tls = contexts

    def start(self) -> None:
        """Bind, receive, and send what the user agent has queued by now.

        Raises:
            ResourceError: an address cannot be bound; says which, who holds it and what to do. Then none is.
        """
        if self._loop is not None:
            return
        self._udp.open()
        try:
            self._streams.open()
        except BaseException:
            self._udp.close()
            raise
        self._loop = asyncio.get_running_loop()
        self.transmit()

    def close(self) -> None:
        """Stop at once; nothing is sent or reported after this. Safe to repeat, and in an event handler."""
        if self._loop is None:
            return
        self._loop = None
        self._udp.close()
        self._streams.close()
        self._set_timer(None)
        self._events.clear()
        self._failed.clear()

    def transmit(self) -> None:
        """Send what is queued, dispatch what happened, set the timer. Cheap where there is nothing to do."""
        if self._loop is None:
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
        if self._loop is not None:
            self._set_timer(self._user_agent.get_timer())

    def _drain(self) -> None:
        for data, destination in self._user_agent.datagrams_to_send():
            self._send(data, destination)
        self._events.extend(self._user_agent.events())

    def _dispatch(self, event: Event) -> None:
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - one call's handler must never cost the others
            self.counters.failures += 1
            _log.exception("event handler failed", event_type=type(event).__name__)

    # In.

    def _receive(self, data: bytes, source: Hop) -> None:
        self.counters.received += 1
        self._show("<", data, source)
        try:
            self._user_agent.receive_datagram(data, source, self._clock())
        except Exception as error:  # noqa: BLE001 - one message must never cost the others
            self._note_failure(error, "receive_datagram")
        self.transmit()

    def _receive_refusal(self, refusal: MessageRefused, source: Hop) -> None:
        self.counters.received += 1
        try:
            self._user_agent.receive_refusal(refusal, source)
        except Exception as error:  # noqa: BLE001 - as above
            self._note_failure(error, "receive_refusal")
        self.transmit()

    # Out.

    def _send(self, data: bytes, destination: Hop) -> None:
        if self._loop is None:
            return
        self._show(">", data, destination)
        way = self._streams if destination.transport.is_reliable else self._udp
        if not way.send(data, destination):
            self._note_unreachable(destination, UNSENT[destination.transport.is_reliable])

    def _note_unreachable(self, hop: Hop, reason: str) -> None:
        if self._loop is not None and not self._failed:
            self._loop.call_soon(self._report_unreachable)
        self._failed[hop] = reason

    def _report_unreachable(self) -> None:
        failed, self._failed = self._failed, {}
        for hop, reason in failed.items():
            try:
                self._user_agent.handle_transport_error(hop, self._clock(), reason)
            except Exception as error:  # noqa: BLE001 - one neighbour's end must never cost the others
                self._note_failure(error, "handle_transport_error")
            self.transmit()

    def _show(self, direction: Direction, data: bytes, hop: Hop) -> None:
        is_logged = sip_trace.shows(hop)
        if not is_logged and self._trace is None:
            return
        masked = sip_trace.mask_secrets(data)
        if is_logged:
            sip_trace.log_datagram(direction, masked, hop)
        if self._trace is not None:
            self._trace(direction, masked, hop)

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
