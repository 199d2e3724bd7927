"""What all calls of a process need of the world, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.lines.directory import LegDirectory
from gateway.calls.lines.media_hosts import MediaHosts
from gateway.calls.lines.media_watch import OneWayAudio
from gateway.calls.message_keeper import MessageKeeper
from gateway.calls.record import CallObserver
from gateway.calls.recording import RecordingStore
from gateway.calls.speaking.speech import SpeechStore
from gateway.calls.spending import Accounting
from gateway.calls.tools.services import ToolServices
from gateway.realtime.recovery.endpoints import Endpoints
from gateway.realtime.session import RealtimeSession, SessionOptions, open_session
from gateway.sip.user_agent import UserAgent
from gateway.transport.media_loop import MediaLoop


class CallerBook(Protocol):
    """Who has called before. Neither blocks."""

    def last_seen(self, number: str) -> datetime | None:
        """When `number` called last; None: not that we knew."""

    def note(self, number: str, at: datetime) -> None:
        """`number` calls `at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallServices:
    """What a call needs of the world; one for all calls of a process."""

    user_agent: UserAgent
    transmit: Callable[[], None]
    media: MediaLoop
    sessions: Mapping[str, SessionOptions]  # by the name dialplans use
    observer: CallObserver
    greetings: GreetingCache
    media_hosts: MediaHosts
    max_call_s: float
    media_timeout_s: float  # a peer who was heard and sends nothing for so long has gone
    media_start_timeout_s: float  # ... and so has one who was never heard
    has_rtcp: bool = False
    reports_are_life: bool = False  # whether RTCP alone keeps a silent peer
    clock: Callable[[], float]  # monotonic seconds, as user agent and media have them
    wall_clock: Callable[[], datetime]  # aware; for opening hours and records
    legs: LegDirectory = field(default_factory=LegDirectory)
    one_way_audio: OneWayAudio = field(default_factory=OneWayAudio)
    accounting: Accounting = field(default_factory=Accounting)
    recordings: RecordingStore | None = None  # None: nothing is recorded
    messages: MessageKeeper | None = None  # None: nobody can leave a message
    callers: CallerBook | None = None  # None: nobody has called before
    tools: ToolServices = field(default_factory=ToolServices)
    speech: SpeechStore = field(default_factory=SpeechStore)
    endpoints: Endpoints | None = None  # None: a session that is lost stays lost

    def chain(self, use: str) -> tuple[str, ...]:
        """The kinds of sessions that serve where `use` is asked for: itself, then those that take over."""
        return (use, *(self.endpoints.fallbacks(use) if self.endpoints is not None else ()))

    def open_session(self, uses: Sequence[str], chain: Sequence[SessionOptions]) -> RealtimeSession:
        """A session, not connected, of the kinds `uses` as `chain` has them. Raises: `ProviderRefused`."""
        return open_session(chain[0]) if self.endpoints is None else self.endpoints.session(uses, chain)
