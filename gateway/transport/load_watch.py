"""How much this process can still take: CPU time, lateness of the event loop, file descriptors.

::

    a timer every 20 ms ──lateness, CPU time──> LoadWatch ──refusal(calls)──> None, or the reason to answer 503
          └──beat──> StallWatch (a thread): the stack of the loop's thread, where it stands still

A call too many costs every caller some audio, so that new ones are refused while those that are up are served badly.
CPU is this process's own, in percent of one core, over the last second: the loop cannot use more than one core, however
many the machine has. Lateness sees the rest, other processes that take the core included: it is the 99th percentile of
the last five seconds, so that one stall does not count but repeated ones do. Descriptors are counted when a call comes.

Both CPU and lateness must come down clearly, and stay down, before calls are taken again: no flapping. While no call
is up nobody can be harmed, and a call is taken whatever they say.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.sip.reject_reason import RejectReason
from gateway.transport.stall_watch import StallWatch

PERIOD_S = 0.02
JUDGED_EVERY_TICKS = 10
LAG_TICKS = 250
"""Ticks whose lateness counts: five seconds."""
CPU_WINDOW_S = 1.0
RELIEF = 0.8
"""Share of a limit that a value must not exceed ..."""
RELIEF_S = 2.0
"""... for so long, until calls are taken again."""
DESCRIPTORS_A_CALL = 4
"""RTP, RTCP, the provider's socket, and one to spare for a file or a lookup."""

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.load")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """Beyond these, new calls are answered 503. 0 switches a limit off."""

    cpu_percent: float = 85.0
    """Of one core, over a second."""
    lag_ms: float = 20.0
    """Lateness of the event loop, the 99th percentile of five seconds."""
    descriptors_percent: float = 90.0
    """Of the process's limit (RLIMIT_NOFILE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The figures of the moment."""

    cpu_percent: float
    lag_p99_ms: float
    descriptors: int
    descriptor_limit: int


class Threshold:
    """Whether a value is too high: at once above `limit`, no more after `RELIEF_S` below `RELIEF` of it."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._high_at = float("-inf")
        self.is_exceeded = False

    def note(self, value: float, now: float) -> bool:
        """Take a value; True where `is_exceeded` has changed by it."""
        if not self._limit:
            return False
        if value > self._limit * RELIEF:
            self._high_at = now
        before = self.is_exceeded
        self.is_exceeded = value > self._limit or (before and now - self._high_at < RELIEF_S)
        return before != self.is_exceeded


class LoadWatch:
    """Watches the running loop from `start` to `stop`."""

    def __init__(
        self,
        limits: LoadLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        count_descriptors: Callable[[], int] | None = None,
        stall_watch: StallWatch | None = None,
        on_cpu: Callable[[float], None] | None = None,
    ) -> None:
        """`on_cpu` is told the percentage of a core that the last second took, every time it is judged."""
        self._limits = limits
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._count_descriptors = count_descriptors or open_descriptors
        self._stall_watch = stall_watch
        self._on_cpu = on_cpu
        self._idle_descriptors = self._count_descriptors()
        self._lateness: deque[float] = deque(maxlen=LAG_TICKS)
        self._cpu: deque[tuple[float, float]] = deque()  # time, CPU time used until then
        self._cpu_limit = Threshold(limits.cpu_percent)
        self._lag_limit = Threshold(limits.lag_ms)
        self._ticks = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0

    def start(self) -> None:
        """Watch the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._idle_descriptors = self._count_descriptors()
        if self._stall_watch is not None:
            self._stall_watch.start()
        self._arm(self._loop)

    def stop(self) -> None:
        """Watch no more; safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = self._timer = None
        if self._stall_watch is not None:
            self._stall_watch.stop()

    def load(self) -> Load:
        """The figures of the moment."""
        return Load(
            cpu_percent=round(self._cpu_percent(), 1),
            lag_p99_ms=round(self._lag_p99_ms(), 1),
            descriptors=self._count_descriptors(),
            descriptor_limit=descriptor_limit(),
        )

    def refusal(self, calls: int) -> RejectReason | None:
        """Why a call beside `calls` others cannot be taken now; None where it can."""
        share = self._limits.descriptors_percent / 100
        expected = self._idle_descriptors + (calls + 1) * DESCRIPTORS_A_CALL
        if share and max(self._count_descriptors() + DESCRIPTORS_A_CALL, expected) > descriptor_limit() * share:
            return RejectReason.DESCRIPTORS
        if not calls:
            return None
        if self._lag_limit.is_exceeded:
            return RejectReason.LAG
        return RejectReason.CPU if self._cpu_limit.is_exceeded else None

    def note(self, late_s: float) -> None:
        """Take the lateness of one tick; every tenth time, judge."""
        now = self._clock()
        if self._stall_watch is not None:
            self._stall_watch.beat(now)
        self._lateness.append(late_s)
        self._ticks += 1
        if self._ticks % JUDGED_EVERY_TICKS == 0:
            self._judge(now)

    def _judge(self, now: float) -> None:
        self._cpu.append((now, self._cpu_clock()))
        while len(self._cpu) > 2 and now - self._cpu[1][0] >= CPU_WINDOW_S:
            self._cpu.popleft()
        if self._on_cpu is not None:
            self._on_cpu(self._cpu_percent())
        for name, threshold, value in (
            ("cpu_percent", self._cpu_limit, self._cpu_percent()),
            ("lag_p99_ms", self._lag_limit, self._lag_p99_ms()),
        ):
            if threshold.note(value, now):
                event = "overloaded" if threshold.is_exceeded else "load is back to normal"
                _log.warning(event, measure=name, value=round(value, 1), limit=getattr(self._limits, _LIMITS[name]))

    def _cpu_percent(self) -> float:
        """Over the last second; 0 as long as less than that is known."""
        if len(self._cpu) < 2:
            return 0.0
        (began, used_then), (now, used_now) = self._cpu[0], self._cpu[-1]
        return 100 * (used_now - used_then) / (now - began) if now - began >= CPU_WINDOW_S else 0.0

    def _lag_p99_ms(self) -> float:
        """0 as long as the window is not full."""
        if len(self._lateness) < LAG_TICKS:
            return 0.0
        return sorted(self._lateness)[-1 - LAG_TICKS // 100] * 1000

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._deadline = self._clock() + PERIOD_S  # the loop's own time may have whole milliseconds only
        self._timer = loop.call_later(PERIOD_S, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop is None:
            return
        self.note(max(self._clock() - self._deadline, 0.0))
        self._arm(self._loop)


_LIMITS = {"cpu_percent": "cpu_percent", "lag_p99_ms": "lag_ms"}


def open_descriptors() -> int:
    """How many are open; 0 where the system does not tell (no /proc)."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - half the time; one of them is that of the listing
    except OSError:  # also where there is none left to list them with: the RTP ports see to that
        return 0


def descriptor_limit() -> int:
    """How many may be open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
