"""The beat of the media: an absolute 5 ms clock on the event loop, and the garbage policy that lets it keep time.

The loop's own timers are rounded to milliseconds and drift with the work done between them; a timerfd is neither
(measured p50 0.15 ms against 0.9 ms). Deadlines are the multiples of the period on the monotonic clock whatever
happened before, so that a late tick never makes the next ones late and a step of the wall clock is not noticed.

::

    timerfd (CLOCK_MONOTONIC, absolute) ──readable──> MediaClock ──> callback(now), once, however many periods are due
                                                        └──> lateness (histogram), missed (count)

The clock never catches up: after a stall of 40 ms the callback is called once, and what was due in between is for the
callback to send or to drop. Where there is no timerfd, a timer of the loop set to the same deadlines does instead.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate

_NS_PER_S = 1_000_000_000
_TFD_TIMER_ABSTIME = 1
_EXPIRATIONS_BYTES = 8


class LatenessHistogram:
    """How late something was, as often as one likes, in bounded memory: 50 us steps up to 100 ms and the exact maximum.

    Early counts as 0. Quantiles are the upper edge of their step, so that they never flatter; what was later than
    100 ms is told as the maximum.
    """

    STEP_S = 0.00005
    STEPS = 2000

    def __init__(self) -> None:
        self._counts = [0] * (self.STEPS + 1)
        self.count = 0
        self._max_s = 0.0

    def add(self, late_s: float, times: int = 1) -> None:
        """Note `late_s` seconds, for `times` things that were late together."""
        step = min(max(int(late_s / self.STEP_S), 0), self.STEPS)
        self._counts[step] += times
        self.count += times
        self._max_s = max(self._max_s, late_s)

    def quantile_ms(self, quantile: float) -> float:
        """The lateness in ms that the share `quantile` (0 to 1) did not exceed; 0 where nothing was noted."""
        if not self.count:
            return 0.0
        step = bisect_left(list(accumulate(self._counts)), quantile * self.count)
        return self.max_ms if step >= self.STEPS else min((step + 1) * self.STEP_S * 1000, self.max_ms)

    @property
    def p50_ms(self) -> float:
        """The median."""
        return self.quantile_ms(0.5)

    @property
    def p99_ms(self) -> float:
        """What 99 of 100 did not exceed."""
        return self.quantile_ms(0.99)

    @property
    def max_ms(self) -> float:
        """The worst."""
        return self._max_s * 1000

    def clear(self) -> None:
        """Forget everything: measure from here."""
        self._counts = [0] * (self.STEPS + 1)
        self.count = 0
        self._max_s = 0.0


class MediaClock:
    """Calls back every `period_ms` on the running loop, at whole multiples of the period on the monotonic clock.

    The grid is therefore everybody's: whoever reckons in ticks of the same period finds each one just begun. An
    exception of the callback reaches the loop's exception handler; the clock goes on.
    """

    def __init__(self, *, period_ms: int = 5, is_timerfd_wanted: bool = True) -> None:
        self._callback: Callable[[float], None] = _nothing
        self._period_ns = period_ms * 1_000_000
        self._is_timerfd_wanted = is_timerfd_wanted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timerfd: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started_ns = 0
        self._served = 0
        self.lateness = LatenessHistogram()
        """Of each call of the callback, behind the oldest deadline it served."""
        self.missed = 0
        """Periods that got no call of their own because the loop was busy."""
        self.deadline = 0.0
        """The oldest deadline that the present call of the callback serves, seconds."""

    @property
    def is_running(self) -> bool:
        """Whether ticks will come."""
        return self._loop is not None

    def start(self, callback: Callable[[float], None]) -> None:
        """Call `callback(now)` from now on, `now` in seconds as `time.monotonic` has them; the first within a period.

        For the thread of a running loop. Nothing happens where the clock is running already.
        """
        if self.is_running:
            return
        self._loop, self._callback = asyncio.get_running_loop(), callback
        self._started_ns, self._served = time.monotonic_ns() // self._period_ns * self._period_ns, 0
        self._timerfd = self._open_timerfd() if self._is_timerfd_wanted else None
        if self._timerfd is None:
            self._set_timer(self._loop)
        else:
            self._loop.add_reader(self._timerfd, self._on_readable, self._timerfd)

    def stop(self) -> None:
        """No tick after this; safe to repeat and from within the callback."""
        loop, self._loop = self._loop, None
        timerfd, self._timerfd = self._timerfd, None
        timer, self._timer = self._timer, None
        self._callback = _nothing
        if timer is not None:
            timer.cancel()
        if timerfd is not None:
            if loop is not None:
                loop.remove_reader(timerfd)
            os.close(timerfd)

    def _open_timerfd(self) -> int | None:
        try:
            return open_timerfd(self._started_ns + self._period_ns, self._period_ns)
        except (OSError, AttributeError):  # not Linux, a libc without it, a sandbox that bars it, no descriptor left
            return None

    def _on_readable(self, timerfd: int) -> None:
        try:
            expirations = int.from_bytes(os.read(timerfd, _EXPIRATIONS_BYTES), sys.byteorder)
        except BlockingIOError:
            return
        self._tick(expirations)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        delay_ns = self._started_ns + (self._served + 1) * self._period_ns - time.monotonic_ns()
        self._timer = loop.call_later(max(delay_ns, 0) / _NS_PER_S, self._on_timer)

    def _on_timer(self) -> None:
        due = (time.monotonic_ns() - self._started_ns) // self._period_ns - self._served
        try:
            if due > 0:  # loops round their timers and may ring early
                self._tick(due)
        finally:
            if self._loop is not None:
                self._set_timer(self._loop)

    def _tick(self, expirations: int) -> None:
        self.deadline = (self._started_ns + (self._served + 1) * self._period_ns) / _NS_PER_S
        self._served += expirations
        self.missed += expirations - 1
        now = time.monotonic()
        self.lateness.add(now - self.deadline)
        self._callback(now)


def _nothing(_now: float) -> None:
    """What a clock that stands still calls."""


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


def open_timerfd(first_ns: int, period_ns: int) -> int:
    """A non-blocking timerfd that expires at `first_ns` of the monotonic clock and every `period_ns` after it.

    Raises:
        OSError, AttributeError: this system has none to give.
    """
    if sys.version_info >= (3, 13):
        timerfd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)
        os.timerfd_settime_ns(timerfd, flags=os.TFD_TIMER_ABSTIME, initial=first_ns, interval=period_ns)
        return timerfd
    return _open_timerfd_by_libc(first_ns, period_ns)


def _open_timerfd_by_libc(first_ns: int, period_ns: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    timerfd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)  # TFD_* have these values
    if timerfd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    setting = _Itimerspec(_Timespec(*divmod(period_ns, _NS_PER_S)), _Timespec(*divmod(first_ns, _NS_PER_S)))
    if libc.timerfd_settime(timerfd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None) < 0:
        code = ctypes.get_errno()
        os.close(timerfd)
        raise OSError(code, "timerfd_settime")
    return timerfd


def freeze_garbage() -> None:
    """Take all that lives now out of the collector's sight and stop automatic collections. Call once, after warm-up.

    A full pass over a big heap is the longest pause there is (200-300 ms), longer than any scheduler effect; frozen and
    disabled the same heap keeps a p99 of 1.9 ms. Reference counts free nearly everything here; the cycles that calls
    leave behind are for a `SlackCollector`, which has to be run from then on.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def thaw_garbage() -> None:
    """Undo `freeze_garbage`."""
    gc.unfreeze()
    gc.enable()


class SlackCollector:
    """Explicit collections in moments that can spare them; does nothing while the collector runs by itself.

    Young objects each second (tens of us), the middle generation each ten seconds. The old generation holds what
    survived since `freeze_garbage`: it is visited once a minute while no call is up, and once an hour at the latest.
    """

    YOUNG_EVERY_S = 1.0
    MIDDLE_EVERY_S = 10.0
    OLD_EVERY_S = 60.0
    OLD_AT_LATEST_S = 3600.0

    def __init__(self, now: float) -> None:
        self._collected = [now, now, now]

    def collect(self, now: float, *, is_idle: bool) -> int | None:
        """Collect the oldest generation that is due, and say which it was; None where none is or Python does it."""
        if gc.isenabled() or now - self._collected[0] < self.YOUNG_EVERY_S:
            return None
        generation = self._due(now, is_idle=is_idle)
        gc.collect(generation)
        for younger in range(generation + 1):
            self._collected[younger] = now
        return generation

    def _due(self, now: float, *, is_idle: bool) -> int:
        if now - self._collected[2] >= (self.OLD_EVERY_S if is_idle else self.OLD_AT_LATEST_S):
            return 2
        return 1 if now - self._collected[1] >= self.MIDDLE_EVERY_S else 0
