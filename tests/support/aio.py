"""Waiting in tests: for conditions with a deadline, never for a time; and a watch for callbacks that hold the loop."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.002
BLOCKED_MS = float(os.environ.get("BLOCKED_LOOP_MS", "250"))
"""What one callback may take; 0 switches the watch off."""


async def eventually(predicate: Callable[[], T], within_s: float = 2.0) -> T:
    """The first true value of `predicate`, looked at every 2 ms.

    Raises:
        AssertionError: not within `within_s` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not (value := predicate()):
        if loop.time() > deadline:
            raise AssertionError(f"not within {within_s} s: {predicate()!r}")
        await asyncio.sleep(POLL_S)
    return value


def waited_for_cpu_s() -> float:
    """How long this thread was ready but not let run since it began; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def undisturbed_s() -> float:
    """A monotonic clock that stands still while others have the processor that this thread is ready to use.

    For promises of a fraction of a second, which say nothing of how busy the machine is that they are tested on.
    """
    return time.monotonic() - waited_for_cpu_s()


class _Collections:
    """The seconds that the garbage collector has taken, for whoever is being measured to leave out."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._began_s = 0.0

    def __call__(self, phase: str, _details: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.monotonic()
        else:
            self.total_s += time.monotonic() - self._began_s


@contextmanager
def watch_loop(limit_ms: float = BLOCKED_MS) -> Iterator[list[str]]:
    """Collect what held an event loop longer than `limit_ms` at a stretch, as text.

    Time that the machine gave to somebody else is not held against the test, nor are collections of all that a long
    test run has heaped up: a busy machine makes nobody fail.
    """
    blocked: list[str] = []
    run = asyncio.Handle._run
    waited_s = waited_for_cpu_s()
    collections = _Collections()

    def timed(handle: asyncio.Handle) -> None:
        nonlocal waited_s
        began, before, collected_s = time.monotonic(), getrusage(RUSAGE_THREAD), collections.total_s
        run(handle)
        took_s = time.monotonic() - began
        if took_s * 1000 > limit_ms:
            after, garbage_s = getrusage(RUSAGE_THREAD), collections.total_s - collected_s
            waited_before_s, waited_s = waited_s, waited_for_cpu_s()
            own_s = took_s - (waited_s - waited_before_s) - garbage_s
            if after.ru_nvcsw == before.ru_nvcsw:
                # It never gave the processor up: what it has not used, the machine beneath has taken.
                used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                own_s = min(own_s, used_s - garbage_s)
            if own_s * 1000 > limit_ms:
                blocked.append(f"{own_s * 1000:.0f} ms in {handle!r}")

    gc.callbacks.append(collections)
    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield blocked
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.callbacks.remove(collections)
