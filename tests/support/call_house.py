"""Whole calls without sockets or waiting: `CallManager` on the wire, media that are only booked, a scripted model.

The event loop's clock is the wire's, so that timers of calls and of SIP run together and minutes pass at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np

from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.facts import NumberPolicy
from gateway.calls.lines.media_hosts import MediaHost, MediaHosts
from gateway.calls.manager import CallManager, CallOptions, TrunkPolicy
from gateway.calls.record import CallRecord, Speech
from gateway.calls.services import CallServices
from gateway.calls.spending import Accounting
from gateway.dialplan.model import Dialplan
from gateway.errors import ProviderError, ResourceError
from gateway.media.engine import LegStatistics, PeerSigns
from gateway.realtime import session as realtime
from gateway.realtime.openai.session import CAPABILITIES
from gateway.realtime.recovery.endpoints import Endpoints, Endurance
from gateway.sip.events import Event
from gateway.transport.rtp_port import PortCounters
from tests.support.wire import GATEWAY, PBX, Application, Party, Wire, gateway_on, phone_on

CALLER_AUDIO, CONTACT_AUDIO, MODEL_AUDIO = b"caller" * 10, b"contact" * 10, b"model" * 12
LAST_PIECE = np.ones((2, 100), np.int16)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP_S = 0.02
SETTLING_ROUNDS = 6


@dataclass(eq=False)
class BookedPort:
    port: int
    counters: PortCounters = field(default_factory=PortCounters)


@dataclass(eq=False)
class BookedLeg:
    """A media leg: where its audio goes, and what it was given to play."""

    port: BookedPort
    remote: Any
    sink: Any
    options: Any = None
    played: list[bytes] = field(default_factory=list)
    packets: int = 0
    keys: list[tuple[str, int]] = field(default_factory=list)


class BookedPorts:
    """Counts ports; `limit` of them can be open."""

    def __init__(self) -> None:
        self.open_now: set[BookedPort] = set()
        self.limit = 64
        self._numbers = count(10000, 2)

    @property
    def open_count(self) -> int:
        return len(self.open_now)

    def open(self, _host: str) -> BookedPort:
        if len(self.open_now) >= self.limit:
            raise ResourceError("no port left")
        port = BookedPort(next(self._numbers))
        self.open_now.add(port)
        return port

    def close(self, port: BookedPort, _now: float) -> None:
        self.open_now.discard(port)


class BookedMedia:
    """Stands for `MediaLoop` and its engine: books who is given and who plays what, and moves audio in `tick`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ports = BookedPorts()
        self.engine = self
        self.legs: dict[int, BookedLeg] = {}
        self.silent_ports: set[int] = set()
        self.mute_ports: set[int] = set()  # whose packets hold digital silence
        self.reporting_ports: set[int] = set()  # who send RTCP
        self.routes: dict[int, Any] = {}
        self.recorded: dict[int, Callable[[Any], None]] = {}
        self.pauses: list[bool] = []
        self.recording_rate_hz = 8000
        self._clock = clock
        self._numbers = count(1)
        self._heard_s: dict[int, float] = {}
        self._reported_s: dict[int, float] = {}
        self._has_sound: set[int] = set()

    def open_leg(self, port: BookedPort, remote: Any, options: object, sink: Any) -> int:
        number = next(self._numbers)
        self.legs[number] = BookedLeg(port, remote, sink, options)
        return number

    def change_leg(self, leg: int, remote: Any, options: object) -> None:
        self.legs[leg].remote, self.legs[leg].options = remote, options

    def secure_leg(self, leg: int, _keys: object) -> None:
        assert leg in self.legs

    def direct_reports(self, leg: int, route: Any) -> None:
        self.routes[leg] = route

    def signs(self, leg: int) -> PeerSigns:
        assert leg in self.legs
        return PeerSigns(
            last_received_s=self._heard_s.get(leg),
            last_report_s=self._reported_s.get(leg),
            unheard_reports=0,
            has_sound=leg in self._has_sound,
        )

    def set_direction(self, leg: int, *, send: bool, receive: bool) -> None:
        assert leg in self.legs

    def start_recording(self, leg: int, record: Callable[[Any], None]) -> None:
        assert leg in self.legs
        self.recorded[leg] = record

    def pause_recording(self, leg: int, *, is_paused: bool) -> None:
        self.pauses.append(is_paused)

    def stop_recording(self, leg: int) -> None:
        record = self.recorded.pop(leg, None)
        if record is not None:
            record(LAST_PIECE)

    def close_leg(self, leg: int) -> None:
        assert leg not in self.recorded
        record = self.legs.pop(leg, None)
        if record is not None:
            self.ports.close(record.port, self._clock())

    def statistics(self, leg: int) -> LegStatistics:
        assert leg in self.legs
        figures: dict[str, Any] = dict.fromkeys(LegStatistics.__dataclass_fields__, 0)
        figures |= {"last_received_s": self._heard_s.get(leg), "packets_received": self.legs[leg].packets}
        return LegStatistics(**figures)

    def play(self, leg: int, _item: str, audio: bytes, _index: int = 0) -> None:
        self.legs[leg].played.append(audio)

    def play_pcm(self, leg: int, item: str, _pcm: object) -> None:
        self.legs[leg].played.append(item.encode())

    def send_digits(self, leg: int, digits: str, *, duration_ms: int = 100, gap_ms: int = 100) -> None:
        self.legs[leg].keys.append((digits, duration_ms))

    def end_item(self, leg: int, _item: str) -> None:
        assert leg in self.legs

    def flush(self, leg: int) -> tuple[()]:
        assert leg in self.legs
        return ()

    def queued_ms(self, leg: int) -> float:
        assert leg in self.legs
        return 0.0

    def is_silent(self, leg: int) -> bool:
        return not self.queued_ms(leg)

    def frame_ms(self, leg: int) -> int:
        return self.legs[leg].options.frame_ms

    def tick(self, voice_of: Callable[[BookedLeg], bytes]) -> None:
        """Let everybody say 20 ms."""
        for number, leg in list(self.legs.items()):
            if number in self.legs and leg.remote.port in self.reporting_ports:
                self._reported_s[number] = self._clock()
            if number in self.legs and leg.remote.port not in self.silent_ports:
                self._heard_s[number] = self._clock()
                leg.packets += 1
                if leg.remote.port not in self.mute_ports:
                    self._has_sound.add(number)
                leg.sink.on_audio(voice_of(leg))


@dataclass
class ScriptedSession:
    """A model that does what the test says."""

    options: realtime.SessionOptions
    heard: list[bytes] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    changes: list[realtime.SessionChange] = field(default_factory=list)
    calls: int = 0
    is_closed: bool = False
    capabilities: realtime.Capabilities = CAPABILITIES
    on_event: Callable[[realtime.SessionEvent], None] | None = None
    refusal: ProviderError | None = None
    statistics: realtime.SessionStatistics = field(default_factory=realtime.SessionStatistics)

    async def connect(self, on_event: Callable[[realtime.SessionEvent], None]) -> None:
        if self.refusal is not None:
            self.is_closed = True
            raise self.refusal
        self.on_event = on_event

    def append_audio(self, audio: bytes) -> None:
        self.heard.append(audio)

    def send_text(self, _role: str, text: str) -> None:
        self.told.append(text)

    def send_tool_result(self, call_id: str, output: str, respond: bool = True) -> None:
        assert call_id not in self.results, "a tool call is answered once"
        self.results[call_id] = json.loads(output)
        self.told.append(output)

    def update(self, change: realtime.SessionChange) -> None:
        self.changes.append(change)

    def respond(self, instructions: str | None = None) -> None: ...
    def cancel_response(self) -> None: ...
    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None: ...

    async def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def say(self, text: str | None = None) -> None:
        """Speak; with words, as the gateway wants it."""
        if text is not None:
            self.said.append(text)
        self.emit(realtime.AudioDelta(response_id="r", item_id="i", content_index=0, audio=MODEL_AUDIO))

    def ask(self, name: str, /, **arguments: object) -> str:
        """Call a tool; the call's id."""
        self.calls += 1
        call_id = f"c{self.calls}"
        call = realtime.ToolCall(call_id=call_id, name=name, arguments=arguments, response_id=f"r{self.calls}")
        self.emit(realtime.ToolCalled(call=call))
        return call_id

    def lose(self) -> None:
        self.emit(realtime.SessionClosed(code=1006, reason="lost"))

    def emit(self, event: realtime.SessionEvent) -> None:
        if self.on_event is not None and not self.is_closed:
            self.on_event(event)


class CallHouse:
    """The gateway with everything around it. `pbx_does` is what the PBX makes of what it is told.

    `faults` are exceptions of event handlers: there must be none.
    """

    def __init__(
        self,
        plan: Dialplan,
        pbx_does: Application,
        *,
        seed: int = 0,
        recordings: Any = None,
        messages: Any = None,
        endurance: Endurance | None = None,
        accounting: Accounting | None = None,
        **policy: Any,
    ) -> None:
        self.wire = Wire(seed=seed)
        self.faults: list[BaseException] = []
        self.ended: list[CallRecord] = []
        self.renamed: list[CallRecord] = []
        self.escalated: list[str] = []
        self.sessions: list[ScriptedSession] = []
        self.on_session: Callable[[ScriptedSession], None] = lambda session: None
        self.media = BookedMedia(lambda: self.wire.now)
        self.gateway = gateway_on(self.wire, application=self._tell)
        self.pbx = phone_on(self.wire, application=pbx_does)
        self.contact_ports: set[int] = set()
        realtime.register_provider("scripted", self._open_session)
        services = CallServices(
            user_agent=self.gateway.user_agent,
            transmit=lambda: None,
            media=self.media,  # type: ignore[arg-type]
            sessions=_AnySession(),
            observer=SimpleNamespace(
                call_started=lambda record: None,
                spoken=self._spoken,
                party_changed=self.renamed.append,
                escalated=lambda _record, escalation: self.escalated.append(escalation.name),
                call_ended=self.ended.append,
            ),
            greetings=GreetingCache(),
            media_hosts=MediaHosts((MediaHost(GATEWAY.host, GATEWAY.host),)),
            max_call_s=600,
            media_timeout_s=30,
            media_start_timeout_s=20,
            clock=lambda: self.wire.now,
            wall_clock=lambda: NOON + timedelta(seconds=self.wire.now),
            recordings=recordings,
            messages=messages,
            endpoints=None if endurance is None else self._endpoints(endurance, seed),
            accounting=accounting or Accounting(),
        )
        self.services = services
        trunk = TrunkPolicy(numbers=NumberPolicy(contact_user="gateway"), referral_host=PBX.host, **policy)
        self.manager = CallManager(CallOptions(), services, {"pbx": trunk}, [plan])

    def _endpoints(self, endurance: Endurance, seed: int) -> Endpoints:
        return Endpoints(
            {"default": endurance}, clock=lambda: self.wire.now, wall_clock=lambda: self.wire.now, seed=seed
        )

    def _open_session(self, options: realtime.SessionOptions) -> Any:
        self.sessions.append(ScriptedSession(options))
        self.on_session(self.sessions[-1])
        return self.sessions[-1]

    def _spoken(self, _record: CallRecord, _speech: Speech) -> None: ...

    def _tell(self, _party: Party, event: Event, _now: float) -> None:
        try:
            self.manager.dispatch(event)
        except Exception as error:  # noqa: BLE001 - collected for the test
            self.faults.append(error)

    async def live(self, seconds: float, each: Callable[[], None] = lambda: None, *, step_s: float = STEP_S) -> None:
        """Let time pass; `each` is called after every step, in which everybody says 20 ms."""
        end = self.wire.now + seconds
        while self.wire.now < end:
            self.wire.run(step_s)
            for _ in range(SETTLING_ROUNDS):
                await asyncio.sleep(0)
            self.media.tick(self._voice_of)
            each()

    def _voice_of(self, leg: BookedLeg) -> bytes:
        return CONTACT_AUDIO if leg.remote.port in self.contact_ports else CALLER_AUDIO

    def assert_nothing_is_left(self) -> None:
        agent = self.gateway.user_agent
        assert (agent.leg_count, agent.transaction_count, len(self.services.legs)) == (0, 0, 0)
        assert (self.media.legs, self.media.ports.open_count, self.manager.call_count) == ({}, 0, 0)
        assert all(session.is_closed for session in self.sessions)
        loop: Any = asyncio.get_running_loop()
        assert [handle for handle in loop._scheduled if not handle.cancelled()] == []
        assert self.faults == []


class _AnySession(Mapping[str, realtime.SessionOptions]):
    def __getitem__(self, _name: str) -> realtime.SessionOptions:
        return realtime.SessionOptions(provider="scripted", url="ws://127.0.0.1", api_key=None)

    def __iter__(self) -> Any:
        return iter(("default",))

    def __len__(self) -> int:
        return 1


def play_out(house: CallHouse, script: Callable[[], Any]) -> None:
    """Run `script` with the house's calls on a loop that lives by the wire's clock."""
    loop = asyncio.new_event_loop()
    loop.time = lambda: house.wire.now  # type: ignore[method-assign]

    async def scene() -> None:
        running = asyncio.create_task(house.manager.run())
        await house.manager.wait_until_open()
        try:
            await script()
            house.manager.close()
        except BaseException:
            running.cancel()
            raise
        finally:
            await asyncio.gather(running, return_exceptions=True)

    try:
        loop.run_until_complete(scene())
    finally:
        loop.close()
