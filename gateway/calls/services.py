"""What all calls of a process need of the world, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.calls.directory import LegDirectory
from gateway.calls.greeting import GreetingCache
from gateway.calls.media_hosts import MediaHosts
from gateway.calls.record import CallObserver
from gateway.realtime.session import SessionOptions
from gateway.sip.user_agent import UserAgent
from gateway.transport.media_loop import MediaLoop


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
    media_timeout_s: float
    clock: Callable[[], float]  # monotonic seconds, as user agent and media have them
    wall_clock: Callable[[], datetime]  # aware; for opening hours and records
    legs: LegDirectory = field(default_factory=LegDirectory)
