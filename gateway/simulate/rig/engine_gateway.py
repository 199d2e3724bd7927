"""The gateway of the realtime bench: the media path of production as it is, without SIP.

Media loop, ports, engine, bridge and provider session are those of ``gateway run``, tied together as a call does it.
Started by `gateway.simulate.rig.control`, with options as JSON in its one argument: ``cores``, ``calls``, ``url``,
``format``, ``append_ms``, ``jitter_ms``, ``ca_file``.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from gateway.calls import events as call_events
from gateway.calls.conversation.bridge import SessionBridge
from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.record import CallRecord, Speech
from gateway.dialplan.triggers import Escalation
from gateway.errors import ResourceError
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.media.jitter import JitterOptions
from gateway.realtime.recovery.endpoints import Endpoints
from gateway.realtime.session import SessionOptions
from gateway.simulate.rig.caller import HOST
from gateway.simulate.rig.control import Answer, serve_gateway, settle
from gateway.sip.message import Address
from gateway.transport import event_loop
from gateway.transport.media_clock import freeze_garbage
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_port import RtpPort
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts

RTP_PORTS = (12000, 31999)
CONNECT_LIMIT_S = 30.0
FORMATS = {"pcm16": AudioFormat.PCM16_24K, "pcmu": AudioFormat.PCMU}


class _Call:
    """One leg and one session, and the bridge between them."""

    def __init__(
        self, media: MediaLoop, greetings: GreetingCache, options: SessionOptions, endpoints: Endpoints
    ) -> None:
        self._media = media
        self.is_lost = False
        self.leg: int | None = None
        record = CallRecord(
            call_id="bench",
            trunk="bench",
            caller="",
            called="",
            route="bench",
            started_at=datetime.now(UTC),
            offered_s=time.monotonic(),
        )
        self.bridge = SessionBridge(
            options=options,
            greeting=None,
            media=media,
            greetings=greetings,
            record=record,
            observer=_Nobody(),
            dispatch=self._dispatch,
            on_quiet=lambda: None,
            clock=time.monotonic,
            open_session=lambda: endpoints.session(["bench"], [options]),
        )

    async def open(self, port: RtpPort, caller: Address, options: LegOptions) -> None:
        """Open both sides and let them hear each other. Raises: ResourceError."""
        self.leg = self._media.open_leg(port, caller, options, self)
        await self.bridge.open()
        if self.is_lost:
            raise ResourceError("the speech model of the bench was not reached; its message stands above")
        self.bridge.start(self.leg)
        self.bridge.set_open(is_open=True)

    async def close(self) -> None:
        """End both."""
        self.bridge.abandon(self.leg)
        if self.leg is not None:
            self._media.close_leg(self.leg)
        await self.bridge.close()

    def _dispatch(self, event: call_events.Event) -> None:
        match event:
            case call_events.CallerSpoke():
                self.bridge.barge_in()
            case call_events.SessionLost():
                self.is_lost = True
            case _:
                pass

    def on_audio(self, audio: bytes) -> None:
        """The caller's audio."""
        self.bridge.append_audio(audio)

    def on_digit(self, _digit: str, _duration_ms: int) -> None:
        """Nobody presses keys."""

    def on_item_finished(self, item_id: str, _content_index: int) -> None:
        """The model was heard."""
        self.bridge.note_heard(item_id)


class _Nobody:
    """Keeps no records."""

    def call_started(self, record: CallRecord) -> None:
        """Not kept."""

    def spoken(self, record: CallRecord, speech: Speech) -> None:
        """Not kept."""

    def party_changed(self, record: CallRecord) -> None:
        """Not kept."""

    def escalated(self, record: CallRecord, escalation: Escalation) -> None:
        """Not kept."""

    def call_ended(self, record: CallRecord) -> None:
        """Not kept."""


class EngineGateway:
    """`gateway.simulate.rig.control.GatewayUnderTest` by our own media engine."""

    def __init__(self, options: Answer) -> None:
        first, last = RTP_PORTS
        ports = RtpPortOptions(
            bind_host=HOST, first_port=first, last_port=last, quarantine_s=0, trusted_networks=(HOST,)
        )
        media_options = MediaOptions(
            max_legs=options["calls"] + 1,
            append_ms=options["append_ms"],
            jitter=JitterOptions(delay_ms=options["jitter_ms"]),
        )
        self._media = MediaLoop(MediaEngine(media_options), RtpPorts(ports))
        self._greetings = GreetingCache()
        self._calls: dict[int, _Call] = {}
        self._missed_before = 0
        audio = FORMATS[options["format"]]
        self._leg_options = LegOptions(payload_type=0, format="PCMU", uplink=audio, downlink=audio)
        self._endpoints = Endpoints({})
        self._session_options = SessionOptions(
            url=options["url"],
            ca_file=Path(options["ca_file"]),
            input_format=audio,
            output_format=audio,
            connect_timeout_s=CONNECT_LIMIT_S,
        )

    def start(self) -> None:
        """Begin to tick, as the service does."""
        self._media.start()
        freeze_garbage()

    async def open(self, number: int, caller_port: int) -> int:
        """See `GatewayUnderTest.open`."""
        port = self._media.ports.open()
        url = f"{self._session_options.url}?{urlencode({'call': number})}"
        call = self._calls[number] = _Call(
            self._media, self._greetings, replace(self._session_options, url=url), self._endpoints
        )
        await call.open(port, Address(HOST, caller_port), self._leg_options)
        return port.port

    async def close(self, number: int) -> None:
        """See `GatewayUnderTest.close`."""
        await self._calls.pop(number).close()

    def begin(self) -> None:
        """See `GatewayUnderTest.begin`."""
        self._media.send_lateness.clear()
        self._media.tick_time.clear()
        self._missed_before = self._media.clock.missed

    def figures(self) -> Answer:
        """See `GatewayUnderTest.figures`."""
        legs = [call.leg for call in self._calls.values() if call.leg is not None]
        statistics = [self._media.statistics(leg) for leg in legs]
        late, tick = self._media.send_lateness, self._media.tick_time
        queued_ms = sum(self._media.engine.queued_ms(leg) for leg in legs)
        return {
            "packets_received": sum(leg.packets_received for leg in statistics),
            "packets_sent": sum(leg.packets_sent for leg in statistics),
            "queued_bytes": int(queued_ms * AudioFormat.PCMU.bytes_per_ms),
            "lost_sessions": sum(call.is_lost for call in self._calls.values()),
            "own_late_ms": {"p50": late.p50_ms, "p99": late.p99_ms, "max": late.max_ms},
            "ticks": tick.count,
            "ticks_missed": self._media.clock.missed - self._missed_before,
            "tick_ms": {"p50": tick.p50_ms, "p99": tick.p99_ms, "max": tick.max_ms},
        }


async def _serve(options: Answer) -> None:
    gateway = EngineGateway(options)
    gateway.start()
    await serve_gateway(gateway)


def main() -> None:
    """Run the process."""
    options = json.loads(sys.argv[1])
    settle(options["cores"])
    event_loop.run(_serve(options))


if __name__ == "__main__":
    main()
