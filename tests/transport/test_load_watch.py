"""When a call is one too many, and when calls are taken again, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from gateway.sip.reject_reason import RejectReason
from gateway.transport.load_watch import LAG_TICKS, PERIOD_S, LoadLimits, LoadWatch, Threshold, open_descriptors


@dataclass
class Machine:
    """A load that the test decides."""

    now: float = 100.0
    cpu_s: float = 0.0
    descriptors: int = 10

    def watch(self, **limits: float) -> LoadWatch:
        return LoadWatch(
            LoadLimits(**limits),
            clock=lambda: self.now,
            cpu_clock=lambda: self.cpu_s,
            count_descriptors=lambda: self.descriptors,
        )

    def run(self, watch: LoadWatch, seconds: float, *, cpu: float = 0.0, late_s: float = 0.0) -> None:
        """Let time pass with this share of a core used and each tick so late."""
        for _ in range(round(seconds / PERIOD_S)):
            self.now += PERIOD_S
            self.cpu_s += PERIOD_S * cpu
            watch.note(late_s)


def test_a_busy_core_refuses_within_a_second_and_a_half_and_a_quiet_one_does_not() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, 10, cpu=0.8)
    assert watch.refusal(calls=5) is None
    machine.run(watch, 1.4, cpu=0.95)
    assert watch.refusal(calls=5) is RejectReason.CPU


def test_a_second_of_work_is_no_overload() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, 3, cpu=0.1)
    machine.run(watch, 0.6, cpu=1.0)
    assert watch.refusal(calls=5) is None


def test_calls_are_taken_again_when_the_load_stays_clearly_below_its_limit() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, 2, cpu=0.95)
    machine.run(watch, 10, cpu=0.75)  # below the limit, but not clearly
    assert watch.refusal(calls=5) is RejectReason.CPU
    machine.run(watch, 2, cpu=0.5)
    assert watch.refusal(calls=5) is RejectReason.CPU
    machine.run(watch, 2, cpu=0.5)
    assert watch.refusal(calls=5) is None


def test_a_loop_that_is_often_late_refuses() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, 6)
    machine.run(watch, 3 * PERIOD_S, late_s=0.03)
    machine.run(watch, 1)
    assert watch.refusal(calls=1) is RejectReason.LAG
    machine.run(watch, 8)
    assert watch.refusal(calls=1) is None


def test_one_stall_is_no_overload() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, 6)
    machine.run(watch, 2 * PERIOD_S, late_s=1.0)
    machine.run(watch, 1)
    assert watch.refusal(calls=1) is None


def test_a_call_is_taken_whatever_the_load_while_nobody_can_be_harmed() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, 10, cpu=1.0, late_s=1.0)
    assert watch.refusal(calls=0) is None
    assert watch.refusal(calls=1) is RejectReason.LAG


def test_each_limit_can_be_switched_off() -> None:
    machine = Machine()
    watch = machine.watch(cpu_percent=0, lag_ms=0, descriptors_percent=0)
    machine.descriptors = 10**9
    machine.run(watch, 10, cpu=1.0, late_s=1.0)
    assert watch.refusal(calls=1) is None


def test_descriptors_are_counted_and_those_of_calls_to_come_are_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    machine = Machine(descriptors=10)
    watch = machine.watch()
    assert watch.refusal(calls=19) is None  # 10 + 20 * 4 = 90
    assert watch.refusal(calls=20) is RejectReason.DESCRIPTORS
    machine.descriptors = 87
    assert watch.refusal(calls=0) is RejectReason.DESCRIPTORS


def test_the_change_is_told_once_each_way() -> None:
    machine = Machine()
    watch = machine.watch()
    with capture_logs() as lines:
        machine.run(watch, 10, cpu=1.0)
        machine.run(watch, 10)
    assert [(line["event"], line["measure"]) for line in lines] == [
        ("overloaded", "cpu_percent"),
        ("load is back to normal", "cpu_percent"),
    ]


def test_figures_of_the_moment_are_told() -> None:
    machine = Machine()
    watch = machine.watch()
    machine.run(watch, PERIOD_S * LAG_TICKS, cpu=0.5, late_s=0.002)
    load = watch.load()
    assert (load.cpu_percent, load.lag_p99_ms, load.descriptors) == (pytest.approx(50, abs=1), 2.0, 10)


def test_a_threshold_holds_until_relief_has_lasted() -> None:
    threshold = Threshold(10)
    assert [threshold.note(value, now) for value, now in ((11, 0), (9, 1), (7, 2), (7, 2.9), (7, 3.1))] == [
        True,
        False,
        False,
        False,
        True,
    ]


async def test_a_blocked_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = LoadWatch(LoadLimits())
    late: list[float] = []
    monkeypatch.setattr(watch, "note", late.append)
    watch.start()
    await asyncio.sleep(0.05)
    time.sleep(0.1)  # noqa: ASYNC251 - what is tested
    await asyncio.sleep(0.05)
    watch.stop()
    assert max(late) > 0.05
    assert open_descriptors() > 3


def test_the_load_of_the_last_second_is_told_as_it_is_judged() -> None:
    machine, told = Machine(), list[float]()
    watch = LoadWatch(LoadLimits(), clock=lambda: machine.now, cpu_clock=lambda: machine.cpu_s, on_cpu=told.append)
    machine.run(watch, 3, cpu=0.4)
    machine.run(watch, 3, cpu=0.7)
    assert told[:4] == [0.0] * 4
    assert told[10] == pytest.approx(40)
    assert told[-1] == pytest.approx(70)
