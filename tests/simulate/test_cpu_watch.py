"""Who used the processor: figures of real processes, and the busiest seconds of a run."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from gateway.simulate.cpu_watch import CpuWatch, descendants
from tests.support.aio import eventually

SLEEPS = "import sys; sys.stdin.read()"


def looks(*had: tuple[float, float]) -> CpuWatch:
    """A watch that has looked once a second."""
    watch = CpuWatch({})
    watch._looks = [(float(at_s), {"gateway": what}) for at_s, what in enumerate(had)]
    return watch


def test_cpu_time_of_a_process_is_what_it_used() -> None:
    watch = CpuWatch({"own": lambda: [os.getpid()], "gone": lambda: [2**30]})
    watch.look()
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    watch.look()
    assert watch.cpu_s("own") >= 0.08
    assert watch.cpu_s("gone") == 0


def test_the_busiest_seconds_are_told() -> None:
    watch = looks((0.0, 0.0), (0.1, 0.0), (0.2, 0.1), (1.1, 0.2), (2.0, 0.3), (2.1, 0.3))
    assert watch.busiest("gateway").used == pytest.approx(90)
    assert watch.busiest("gateway").waited == pytest.approx(10)


def test_a_run_shorter_than_a_window_has_no_busiest_seconds() -> None:
    assert looks((0.0, 0.0), (1.0, 0.0)).busiest("gateway").used == 0


async def test_descendants_are_found_at_any_depth() -> None:
    starts_another = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}])"
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", starts_another, stdin=asyncio.subprocess.PIPE)
    try:
        await eventually(lambda: len(descendants(parent.pid)) == 1, 20)
        assert {parent.pid, *descendants(parent.pid)} <= set(descendants(os.getpid()))
    finally:
        await parent.communicate(b"")  # the end of their input is theirs
