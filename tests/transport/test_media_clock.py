from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.transport import media_clock
from gateway.transport.media_clock import (
    LatenessHistogram,
    MediaClock,
    SlackCollector,
    freeze_garbage,
    open_timerfd,
    thaw_garbage,
)
from tests.support.aio import eventually

both_sources = pytest.mark.parametrize("is_timerfd_wanted", [True, False], ids=["timerfd", "loop timer"])


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@both_sources
async def test_every_period_of_half_a_second_is_ticked_or_counted_as_missed(is_timerfd_wanted: bool) -> None:
    ticks: list[float] = []
    clock = MediaClock(is_timerfd_wanted=is_timerfd_wanted)
    began = time.monotonic()
    clock.start(ticks.append)
    await eventually(lambda: len(ticks) + clock.missed >= 100, within_s=5)
    took_s = time.monotonic() - began
    clock.stop()
    periods = len(ticks) + clock.missed
    assert abs(took_s - periods * 0.005) < 0.05  # absolute: no drift whatever each tick cost
    assert len(ticks) >= 30
    assert ticks == sorted(ticks)


@both_sources
async def test_a_stall_is_one_late_tick_and_missed_periods_not_a_burst(is_timerfd_wanted: bool) -> None:
    ticks: list[float] = []
    clock = MediaClock(is_timerfd_wanted=is_timerfd_wanted)
    clock.start(ticks.append)
    await eventually(lambda: ticks)
    ticks_before, missed_before = len(ticks), clock.missed
    time.sleep(0.06)  # noqa: ASYNC251 - the stall under test
    await eventually(lambda: len(ticks) > ticks_before)
    assert len(ticks) - ticks_before <= 2
    assert clock.missed - missed_before >= 9
    assert clock.lateness.max_ms >= 45
    clock.stop()


async def test_deadlines_are_whole_multiples_of_the_period_and_never_ahead_of_the_tick() -> None:
    ticks: list[tuple[float, float]] = []
    clock = MediaClock()
    clock.start(lambda now: ticks.append((clock.deadline, now)))
    await eventually(lambda: len(ticks) >= 10)
    clock.stop()
    for deadline, now in ticks:
        assert deadline / 0.005 == pytest.approx(round(deadline / 0.005), abs=1e-3)
        assert deadline <= now
    assert clock.lateness.count == len(ticks)


async def test_a_loop_timer_that_rings_early_is_no_tick() -> None:
    ticks: list[float] = []
    clock = MediaClock(period_ms=1000, is_timerfd_wanted=False)
    clock.start(ticks.append)
    clock._started_ns = time.monotonic_ns()
    clock._on_timer()
    assert ticks == []
    assert clock.is_running
    clock.stop()


@both_sources
async def test_no_tick_and_no_descriptor_is_left_after_stop(is_timerfd_wanted: bool) -> None:
    before = descriptors()
    ticks: list[float] = []
    clock = MediaClock(is_timerfd_wanted=is_timerfd_wanted)
    clock.start(ticks.append)
    clock.start(ticks.append)
    await eventually(lambda: ticks)
    clock.stop()
    clock.stop()
    assert not clock.is_running
    assert descriptors() == before
    count = len(ticks)
    after: list[float] = []
    other = MediaClock()
    other.start(after.append)
    await eventually(lambda: len(after) >= 5)
    other.stop()
    assert len(ticks) == count


@both_sources
async def test_the_callback_may_stop_the_clock(is_timerfd_wanted: bool) -> None:
    ticks: list[float] = []

    def once(now: float) -> None:
        ticks.append(now)
        clock.stop()

    clock = MediaClock(is_timerfd_wanted=is_timerfd_wanted)
    clock.start(once)
    await eventually(lambda: ticks)
    assert not clock.is_running


@both_sources
async def test_a_callback_that_raises_does_not_stop_the_clock(is_timerfd_wanted: bool) -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["message"]))

    def broken(_now: float) -> None:
        raise RuntimeError("broken")

    clock = MediaClock(is_timerfd_wanted=is_timerfd_wanted)
    clock.start(broken)
    await eventually(lambda: len(reported) >= 3)
    clock.stop()


async def test_without_a_timerfd_the_loop_timer_keeps_the_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_first_ns: int, _period_ns: int) -> int:
        raise OSError("barred")

    monkeypatch.setattr(media_clock, "open_timerfd", refuse)
    ticks: list[float] = []
    clock = MediaClock()
    clock.start(ticks.append)
    await eventually(lambda: len(ticks) >= 5)
    clock.stop()


def test_both_ways_to_a_timerfd_expire_at_the_absolute_time() -> None:
    for open_one in (open_timerfd, media_clock._open_timerfd_by_libc):
        timerfd = open_one(time.monotonic_ns() - 50_000_000, 10_000_000)
        try:
            assert int.from_bytes(os.read(timerfd, 8), "little") >= 6  # -50, -40, ..., 0 ms: those that are past
        finally:
            os.close(timerfd)


def test_quantiles_are_the_upper_edge_of_a_50_us_step() -> None:
    histogram = LatenessHistogram()
    histogram.add(0.00012, times=98)
    histogram.add(0.00312)
    histogram.add(0.0405)
    assert histogram.count == 100
    assert histogram.p50_ms == pytest.approx(0.15)
    assert histogram.p99_ms == pytest.approx(3.15)
    assert histogram.max_ms == pytest.approx(40.5)
    assert histogram.quantile_ms(1) == pytest.approx(40.5)


def test_lateness_beyond_the_histogram_is_told_as_the_maximum() -> None:
    histogram = LatenessHistogram()
    histogram.add(7.5)
    histogram.add(-1.0)
    assert histogram.p99_ms == pytest.approx(7500)
    assert histogram.p50_ms == pytest.approx(0.05)


def test_an_empty_or_cleared_histogram_says_zero() -> None:
    histogram = LatenessHistogram()
    histogram.add(0.02)
    histogram.clear()
    assert (histogram.count, histogram.p50_ms, histogram.p99_ms, histogram.max_ms) == (0, 0.0, 0.0, 0.0)


@pytest.fixture
def _frozen() -> Iterator[None]:
    freeze_garbage()
    yield
    thaw_garbage()


@pytest.mark.usefixtures("_frozen")
def test_frozen_garbage_is_collected_only_when_told() -> None:
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0
    collector = SlackCollector(now=0.0)
    assert collector.collect(0.5, is_idle=False) is None
    assert collector.collect(1.0, is_idle=False) == 0
    assert collector.collect(1.5, is_idle=False) is None
    assert collector.collect(10.0, is_idle=False) == 1
    assert collector.collect(60.0, is_idle=False) == 1  # a full pass waits for an idle moment
    assert collector.collect(61.0, is_idle=True) == 2
    assert collector.collect(3661.0, is_idle=False) == 2  # but not for ever


@pytest.mark.usefixtures("_frozen")
def test_a_cycle_left_by_a_call_is_freed_by_a_young_collection() -> None:
    class Cycle:
        freed = False

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            Cycle.freed = True

    Cycle()
    assert not Cycle.freed
    assert SlackCollector(now=0.0).collect(1.0, is_idle=False) == 0
    assert Cycle.freed


def test_the_slack_collector_leaves_an_enabled_collector_alone() -> None:
    assert gc.isenabled()
    assert SlackCollector(now=0.0).collect(1000.0, is_idle=True) is None
