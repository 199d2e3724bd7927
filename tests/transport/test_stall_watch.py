"""A loop that stands still is told with the place where it stands; often, but not a thousand times."""

from __future__ import annotations

import sys
import threading
import time

from structlog.testing import capture_logs

from gateway.transport.stall_watch import TOLD_EVERY_S, StallWatch
from tests.support.aio import eventually


def test_a_stall_is_told_with_its_stack() -> None:
    watch = StallWatch()
    watch.beat(10.0)
    with capture_logs() as lines:
        watch.look(10.09, sys._getframe())
        watch.look(10.15, sys._getframe())
    (line,) = lines
    assert (line["event"], line["for_ms"]) == ("event loop stalls", 150)
    assert "test_a_stall_is_told_with_its_stack" in line["stack"]


def test_a_long_stall_is_told_once_and_the_next_one_soon_after_is_counted() -> None:
    watch = StallWatch()
    with capture_logs() as lines:
        for start in (10.0, 11.0, 12.0):
            watch.beat(start)
            for look in range(5):
                watch.look(start + 0.2 + look / 10, None)
        watch.beat(10.0 + TOLD_EVERY_S + 1)
        watch.look(10.0 + TOLD_EVERY_S + 2, None)
    assert [line["others"] for line in lines] == [0, 2]
    assert watch.stalls == 4


async def test_the_real_thread_sees_the_real_loop_stand() -> None:
    watch = StallWatch()
    with capture_logs() as lines:
        watch.start()
        time.sleep(0.2)  # noqa: ASYNC251 - what is tested
        await eventually(lambda: lines, 2)
        watch.stop()
    assert "test_the_real_thread_sees_the_real_loop_stand" in lines[0]["stack"]
    assert "stall watch" not in [thread.name for thread in threading.enumerate()]
