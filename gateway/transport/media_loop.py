"""The media of all calls, one tick after the other.

::

    MediaClock, every 5 ms
      │ now
      1  engine.playout(now)    ──OutgoingPackets──>  ports.send         RTP out first: encoded before, copied now
      2  ports.receive(now)     ──PacketBatch──────>  engine.receive
      3  engine.transcode(now)  ──MediaEvents──┐                         one batch for all legs
                                               ├─ recordings             queued for whoever writes them
      4  ports.rtcp           <──reports──>    │   engine.reports        the few that came or are due
      5  sinks, in slices  <───────────────────┘  on_audio, on_digit, on_item_finished
      6  garbage, when there is time to spare

What has a deadline comes first, and whatever the sinks do (a WebSocket write takes some 25 us) is done in slices, with
the event loop running in between: the next tick's packets never wait for more than one slice.

Nothing that one leg's sink does reaches another leg, and nothing raised in here stops the clock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog

from gateway.media.codec import Samples
from gateway.media.dtmf import DigitReceived
from gateway.media.engine import (
    ItemFinished,
    LegOptions,
    LegStatistics,
    MediaEngine,
    MediaEvents,
    PeerSigns,
    RecordedAudio,
    UplinkAudio,
)
from gateway.sip.message import Address
from gateway.sip.rtcp_route import RtcpRoute
from gateway.sip.sdes import SrtpKeys
from gateway.transport.media_clock import LatenessHistogram, MediaClock, SlackCollector
from gateway.transport.rtp_ports import PortCounters, RtpPort, RtpPorts, SourcePolicy

SLICE_EVENTS = 16
SLICE_SHARE = 8
"""A backlog is handed off by at least this part at a time, so that it cannot grow without end."""
SLACK_S = 0.002
"""What must be left of a tick for a collection of garbage."""
TICK_S = 0.005

_LegEvent: TypeAlias = UplinkAudio | DigitReceived | ItemFinished

_NO_EVENTS = MediaEvents(uplink=[], digits=[], finished=[])

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.media")


class MediaSink(Protocol):
    """Where a leg's media events go. Called on the event loop, one at a time; must not block."""

    def on_audio(self, audio: bytes, /) -> None:
        """The caller's audio, in the leg's uplink format."""

    def on_digit(self, digit: str, duration_ms: int, /) -> None:
        """A key was pressed."""

    def on_item_finished(self, item_id: str, content_index: int, /) -> None:
        """The last sample of what was played under that name has left."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Leg:
    port: RtpPort
    sink: MediaSink
    is_closed: bool = False
    failures: int = 0
    record: Callable[[Samples], None] | None = None


class MediaLoop:
    """Owns the engine, the ports and the clock, and ties each leg to its port and its sink."""

    def __init__(
        self,
        engine: MediaEngine,
        ports: RtpPorts,
        clock: MediaClock | None = None,
        *,
        time_source: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.ports = ports
        self.clock = clock or MediaClock()
        self._time = time_source
        self._wall_clock_offset_s = wall_clock() - time_source()  # once: a step of the clock is no round trip
        self._legs: dict[int, _Leg] = {}
        self._pending: deque[tuple[_Leg, _LegEvent]] = deque()
        self._is_slice_scheduled = False
        self._collector = SlackCollector(time_source())
        self._failures_shown: set[type[Exception]] = set()
        self.failures = 0
        """Ticks cut short by an exception of engine or ports, and calls of sinks that raised: all ours to mend."""
        self.send_lateness = LatenessHistogram()
        """Of each packet sent: when the kernel had its whole batch, behind the deadline of the tick."""
        self.tick_time = LatenessHistogram()
        """How long each tick took, without the slices that followed."""

    # Life.

    def start(self) -> None:
        """Tick on the running loop until `stop`."""
        self.clock.start(self.tick)

    def stop(self) -> None:
        """No tick, no packet and no call of a sink after this; every socket is closed. Legs may still be closed."""
        self.clock.stop()
        self._pending.clear()
        self.ports.shutdown()

    @property
    def leg_count(self) -> int:
        """Legs that are open."""
        return len(self._legs)

    # Legs.

    def open_leg(
        self,
        port: RtpPort,
        remote: Address,
        options: LegOptions,
        sink: MediaSink,
        source_policy: SourcePolicy | None = None,
    ) -> int:
        """Begin to send to and hear `remote` on an open `port`; the leg's number for engine and statistics.

        The port belongs to the leg from here: `close_leg` closes it.
        """
        leg = self.engine.open_leg(options, self._time())
        try:
            self.ports.attach(port, leg, remote, source_policy)
        except BaseException:
            self.engine.close_leg(leg)
            raise
        self._legs[leg] = _Leg(port=port, sink=sink)
        return leg

    def change_leg(self, leg: int, remote: Address, options: LegOptions) -> None:
        """Go on with another address or format (re-INVITE, UPDATE); streams and what is queued go on as well."""
        self.engine.reconfigure_leg(leg, options, self._time())
        self.ports.change_remote(self._legs[leg].port, remote)

    def secure_leg(self, leg: int, keys: SrtpKeys | None) -> None:
        """Speak SRTP under `keys` from the next packet on, plain RTP without; see `gateway.transport.srtp`."""
        self._legs[leg].port.use_srtp(keys)

    def direct_reports(self, leg: int, route: RtcpRoute | None) -> None:
        """Exchange RTCP with the leg's peer on `route` from now on; none where that is None or no socket can be had."""
        if self.ports.rtcp.open(self._legs[leg].port, route):
            self.engine.reports.open(leg, self._time())
        else:
            self.engine.reports.close(leg)

    def close_leg(self, leg: int) -> None:
        """End the leg and give its port back. Its sink hears nothing any more. Safe to repeat."""
        record = self._legs.pop(leg, None)
        if record is None:
            return
        record.is_closed = True
        farewell = self.engine.reports.farewell(leg, self._time(), self._wall_clock_offset_s)
        if farewell is not None:
            self.ports.rtcp.send(leg, farewell)
        self.engine.close_leg(leg)
        self.ports.close(record.port, self._time())

    def start_recording(self, leg: int, record: Callable[[Samples], None]) -> None:
        """Give both directions of a leg to `record`, which must not block: int16[2, samples], received and sent."""
        self._legs[leg].record = record
        self.engine.start_recording(leg, self._time())

    def stop_recording(self, leg: int) -> None:
        """Give the rest of a leg's recording away; nothing follows. Safe to repeat, and after `close_leg`."""
        if leg in self._legs:
            self._hand_off_recordings(self.engine.stop_recording(leg, self._time()))
            self._legs[leg].record = None

    def statistics(self, leg: int) -> LegStatistics:
        """What the engine counted of an open leg."""
        return self.engine.statistics(leg)

    def signs(self, leg: int) -> PeerSigns:
        """Whether the peer of an open leg is there and heard; cheap."""
        return self.engine.signs(leg)

    def port_counters(self, leg: int) -> PortCounters:
        """What the port of an open leg counted: strangers, ICMP errors, drops."""
        return self.ports.counters(self._legs[leg].port)

    # The tick.

    def tick(self, now: float) -> None:
        """Do what is due at `now`; for the clock."""
        began = self._time()
        try:
            events = self._move_packets(now)
        except Exception as error:  # noqa: BLE001 - a tick lost is 5 ms of silence, a clock lost is every call
            self._note_failure(error, "tick")
            return
        self._hand_off_recordings(events.recorded)
        happened: tuple[_LegEvent, ...] = (*events.uplink, *events.digits, *events.finished)
        for event in happened:
            leg = self._legs.get(event.leg)
            if leg is not None:
                self._pending.append((leg, event))
        self._exchange_reports(now)
        took_s = self._time() - began
        self.tick_time.add(took_s)
        if self._pending and not self._is_slice_scheduled:
            self._hand_off_slice()
        elif not self._pending and took_s < TICK_S - SLACK_S:
            self._collector.collect(now, is_idle=not self._legs)

    def _move_packets(self, now: float) -> MediaEvents:
        if not self._legs:  # an engine without legs has nothing to do, ports that rest have to be read all the same
            self.ports.receive(now)
            return _NO_EVENTS
        sent = self.ports.send(self.engine.playout(now))
        if sent:
            self.send_lateness.add(self._time() - self.clock.deadline, sent)
        batch = self.ports.receive(now)
        if len(batch.length):
            self.engine.receive(batch, now)
        return self.engine.transcode(now)

    def _exchange_reports(self, now: float) -> None:
        try:
            for leg, datagram in self.ports.rtcp.receive():
                if self.engine.reports.receive(leg, datagram, now, self._wall_clock_offset_s):
                    self.ports.rtcp.note_received(leg)
            for report in self.engine.reports.due(now, self._wall_clock_offset_s):
                self.ports.rtcp.send(report.leg, report.datagram)
        except Exception as error:  # noqa: BLE001 - reports are the least of a call
            self._note_failure(error, "reports")

    def _hand_off_recordings(self, pieces: Sequence[RecordedAudio]) -> None:
        """At once: that is a queue's append, and two pieces a second and recorded leg."""
        for piece in pieces:
            leg = self._legs.get(piece.leg)
            if leg is None or leg.record is None:
                continue
            try:
                leg.record(piece.samples)
            except Exception as error:  # noqa: BLE001 - a recording is never worth a call
                leg.record = None
                self._note_failure(error, "recording")

    def _hand_off_slice(self) -> None:
        self._is_slice_scheduled = False
        left = max(SLICE_EVENTS, len(self._pending) // SLICE_SHARE)
        while self._pending and left:
            leg, event = self._pending.popleft()
            if not leg.is_closed:  # by another event of this very batch, perhaps
                self._deliver(leg, event)
                left -= 1
        if self._pending:
            self._is_slice_scheduled = True
            asyncio.get_running_loop().call_soon(self._hand_off_slice)

    def _deliver(self, leg: _Leg, event: _LegEvent) -> None:
        try:
            match event:
                case UplinkAudio():
                    leg.sink.on_audio(event.audio)
                case DigitReceived():
                    leg.sink.on_digit(event.digit, event.duration_ms)
                case ItemFinished():
                    leg.sink.on_item_finished(event.item_id, event.content_index)
        except Exception as error:  # noqa: BLE001 - one call's sink must never cost the others
            self.failures += 1
            leg.failures += 1
            if leg.failures == 1:
                _log.error("media sink failed", leg=event.leg, event_type=type(event).__name__, exc_info=error)

    def _note_failure(self, error: Exception, where: str) -> None:
        """Count it; a traceback for the first of a kind, not 200 a second."""
        self.failures += 1
        if type(error) not in self._failures_shown:
            self._failures_shown.add(type(error))
            _log.error("media failed", where=where, exc_info=error)
