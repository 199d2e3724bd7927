"""Waiting in tests: for conditions with a deadline, never for a time; and a watch for callbacks that hold the loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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


@contextmanager
def watch_loop(limit_ms: float = BLOCKED_MS) -> Iterator[list[str]]:
    """Collect what held an event loop longer than `limit_ms` at a stretch, as text.

    Time that the machine gave to somebody else is not held against the test: a busy machine makes nobody fail.
    """
    blocked: list[str] = []
    run = asyncio.Handle._run
    waited_s = waited_for_cpu_s()

    def timed(handle: asyncio.Handle) -> None:
        nonlocal waited_s
        began = time.monotonic()
        run(handle)
        took_s = time.monotonic() - began
        if took_s * 1000 > limit_ms:
            waited_before_s, waited_s = waited_s, waited_for_cpu_s()
            own_s = took_s - (waited_s - waited_before_s)
            if own_s * 1000 > limit_ms:
                blocked.append(f"{own_s * 1000:.0f} ms in {handle!r}")

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield blocked
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
