from __future__ import annotations

import asyncio

from gateway.realtime.recovery.alarm import Alarm

DEADLINE_S = 20.0


async def test_it_rings_once_at_the_time_it_was_set_to_last() -> None:
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    rings: list[float] = []

    def ring() -> None:
        rings.append(loop.time())
        rung.set()

    alarm, now = Alarm(ring), loop.time()
    alarm.set(now + 3600.0, loop)
    for _ in range(2):
        rung.clear()
        alarm.set(now, loop)
        await asyncio.wait_for(rung.wait(), DEADLINE_S)
    assert len(rings) == 2


async def test_it_is_silent_when_nothing_is_awaited_any_more() -> None:
    loop = asyncio.get_running_loop()
    rings: list[None] = []
    alarm = Alarm(lambda: rings.append(None))
    for stop in (alarm.cancel, lambda: alarm.set(None, loop)):
        alarm.set(loop.time(), loop)
        stop()
        stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert rings == []
