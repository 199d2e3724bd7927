"""A call has one timer of each name."""

from __future__ import annotations

import asyncio

from gateway.calls.events import StartTimer, StopTimer, TimerFired, TimerName
from gateway.calls.timers import CallTimers


async def later() -> None:
    """Come back when the timers that are due by now have fired."""
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, due.set)
    await due.wait()


async def test_a_timer_that_is_started_again_fires_once() -> None:
    fired: list[TimerFired] = []
    timers = CallTimers(fired.append)
    for _ in range(2):
        timers.do(StartTimer(timer=TimerName.RING, delay_s=0.0))
    timers.do(StartTimer(timer=TimerName.JOIN, delay_s=0.0))
    await later()
    assert fired == [TimerFired(timer=TimerName.RING), TimerFired(timer=TimerName.JOIN)]


async def test_only_the_timer_of_that_name_is_stopped() -> None:
    fired: list[TimerFired] = []
    timers = CallTimers(fired.append)
    timers.do(StopTimer(timer=TimerName.RING))
    timers.do(StartTimer(timer=TimerName.RING, delay_s=0.0))
    timers.do(StartTimer(timer=TimerName.JOIN, delay_s=0.0))
    timers.do(StopTimer(timer=TimerName.RING))
    await later()
    assert fired == [TimerFired(timer=TimerName.JOIN)]


async def test_none_fires_when_all_are_stopped() -> None:
    fired: list[TimerFired] = []
    timers = CallTimers(fired.append)
    timers.do(StartTimer(timer=TimerName.RING, delay_s=0.0))
    timers.stop()
    timers.stop()
    await later()
    assert fired == []
