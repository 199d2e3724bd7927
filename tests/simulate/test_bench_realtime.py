"""The realtime bench: its processes with a few calls, and what it makes of what they tell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import ResourceError
from gateway.simulate import bench_realtime
from gateway.simulate.bench_realtime import GatewayRun, RealtimeBenchOptions, Spread, measure

pytestmark = pytest.mark.heavy

BRIEF = RealtimeBenchOptions(calls=3, seconds=1.0, warm_up_s=2.0, baseline_calls=2, set_ups=2)
NO_TIME = Spread(p50=0.0, p99=0.0, max=0.0)


def gateway_run(calls: int = 100, **changes: Any) -> GatewayRun:
    """One that went well."""
    run = GatewayRun(
        calls=calls,
        cpu_us_per_call_second=2000.0,
        cpu_percent=20.0,
        waited_percent=0.0,
        late_ms=NO_TIME,
        own_late_ms=NO_TIME,
        tick_ms=NO_TIME,
        ticks_missed_percent=0.0,
        lost_to_gateway=0,
        lost_from_gateway=0,
        callers_drops=0,
        uplink_ms=NO_TIME,
        downlink_ms=NO_TIME,
        bursts=10,
        bursts_heard=10,
        replies_heard=10,
        memory_per_call_kib=100.0,
        set_ups_per_core_second=100.0,
        lost_sessions=0,
        peers_cpu_percent=30.0,
        peers_waited_percent=0.0,
    )
    return replace(run, **changes)


@pytest.mark.parametrize(
    "options",
    [BRIEF, replace(BRIEF, tls=True, format="pcmu", append_ms=20, baseline_append_ms=20, delta_ms=20)],
    ids=["ws-pcm16", "wss-pcmu"],
)
def test_both_gateways_carry_callers_and_model_to_each_other(
    options: RealtimeBenchOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bench_realtime.run(options, json=True)
    told = json.loads(capsys.readouterr().out)
    assert result.naive is not None
    assert (result.ours.calls, result.naive.calls) == (3, 2)
    for run in (result.ours, result.naive):
        assert run.cpu_us_per_call_second > 0
        assert run.bursts >= run.bursts_heard > 0
        assert run.replies_heard > 0
        assert run.late_ms.max > 0
        assert run.set_ups_per_core_second > 0
        assert run.lost_sessions == 0
    assert told["ratio"] == pytest.approx(
        result.naive.cpu_us_per_call_second / result.ours.cpu_us_per_call_second, abs=0.01
    )
    assert told["ours"]["calls_per_core"] == round(1e6 / result.ours.cpu_us_per_call_second)
    assert told["options"]["tls"] is options.tls


def test_a_gateway_that_cannot_be_started_is_told_as_such() -> None:
    with pytest.raises(ResourceError, match="engine_gateway"):
        measure(replace(BRIEF, append_ms=30, baseline_calls=0))


def test_calls_a_core_follow_from_cpu_time() -> None:
    run = gateway_run(cpu_us_per_call_second=2000.0)
    assert (run.calls_per_core, run.calls_at_limit) == (500, 400)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cpu_percent": 81.0}, "CPU 81 %"),
        ({"late_ms": Spread(p50=1.0, p99=5.0, max=9.0)}, "lateness p99 5.0 ms"),
        ({"lost_to_gateway": 2}, "2 packets lost to the gateway"),
        ({"lost_from_gateway": 3}, "3 frames lost from the gateway"),
        ({"lost_sessions": 1}, "1 sessions lost"),
    ],
)
def test_calls_that_are_too_many_fail_with_a_reason(changes: dict[str, Any], why: str) -> None:
    assert gateway_run(**changes).failures == (why,)
    assert gateway_run().failures == ()


@pytest.mark.parametrize(
    ("changes", "whose"),
    [
        ({"peers_cpu_percent": 98.0}, "callers and model had 98 % of a core"),
        ({"callers_drops": 4}, "dropped 4 packets"),
        ({"waited_percent": 30.0}, "it waited 30 % of the time"),
        ({"lost_to_gateway": 1}, "it did not carry these calls"),
        ({"ticks_missed_percent": 40.0}, "40 % of its ticks"),
    ],
)
def test_figures_that_are_not_the_gateways_are_remarked_on(changes: dict[str, Any], whose: str) -> None:
    run = gateway_run(**changes)
    assert whose in " ".join(run.remarks)
    assert whose in "\n".join(run.lines())
    assert gateway_run().remarks == ()


class ScriptedProcess:
    """A process of the rig that answers what it is told to."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {name.replace("_", " "): answer for name, answer in answers.items()}

    async def ask(self, what: str, **_members: object) -> Any:
        answer = self._answers[what]
        return answer.pop(0) if isinstance(answer, list) and len(answer) > 1 else answer


def usage(at_s: float, cpu_s: float, rss_kib: int = 0) -> dict[str, Any]:
    return {"at_s": at_s, "cpu_s": cpu_s, "waited_s": 0.0, "rss_kib": rss_kib}


async def test_losses_cpu_and_memory_are_the_gateways_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_realtime, "_DRAIN_LOOK_S", 0)
    late = {"count": 1, "p50": 1.0, "p99": 2.0, "max": 3.0}
    own = {"queued_bytes": 20480, "lost_sessions": 0, "own_late_ms": late, "tick_ms": late, "packets_received": 996}
    own |= {"ticks": 300, "ticks_missed": 100}
    seen = {"packets_missing": 7, "kernel_drops": 0, "bursts": 4, "bursts_heard": 4, "replies_heard": 4}
    seen |= {"late_ms": late, "uplink_ms": late, "downlink_ms": late}
    gateway = ScriptedProcess(
        set_up={"cpu_s": 0.5},
        open={"ports": [1, 2], "rss_kib": 1000},
        begin=usage(10.0, 1.0),
        figures=usage(12.0, 1.5, 1220) | own,
    )
    peers = ScriptedProcess(
        start={}, begin=usage(10.0, 0.0), end=usage(12.0, 0.4), hush={"packets_sent": 1000}, figures=seen
    )
    options = replace(BRIEF, seconds=0, warm_up_s=0, set_ups=50)
    run = await bench_realtime._run_calls(gateway, peers, {"callers": [3, 4], "nobody": 5}, options)  # type: ignore[arg-type]
    assert (run.lost_to_gateway, run.lost_from_gateway) == (4, 7)
    assert run.cpu_us_per_call_second == pytest.approx(0.5 / 2 / 2 * 1e6)
    assert run.cpu_percent == pytest.approx(25)
    assert run.ticks_missed_percent == pytest.approx(25)
    assert run.memory_per_call_kib == pytest.approx((220 - 20) / 2)
    assert run.set_ups_per_core_second == pytest.approx(100)
    assert run.peers_cpu_percent == pytest.approx(20)


@pytest.mark.parametrize("first", [20, 100, 130, 131, 200, 5000])
async def test_search_finds_the_most_calls_that_pass(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    most = {bench_realtime.OURS: 130, bench_realtime.NAIVE: 40}

    async def run_gateway(gateway: str, _options: RealtimeBenchOptions, calls: int) -> GatewayRun:
        return gateway_run(calls, lost_to_gateway=int(calls > most[gateway]))

    monkeypatch.setattr(bench_realtime, "run_gateway", run_gateway)
    result = await bench_realtime._measure(replace(BRIEF, calls=first, baseline_calls=30, search=True))
    assert (result.most_calls, result.naive_most_calls) == (result.ours.calls, result.naive and result.naive.calls)
    assert 130 * 0.94 <= result.ours.calls <= 130
    assert result.naive_most_calls in (38, 39, 40)
    assert "passed" in result.as_text()
    assert f"{result.most_calls} here, {result.naive_most_calls} there" in result.as_text()


async def test_search_keeps_what_it_found_when_more_calls_cannot_even_be_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_gateway(_gateway: str, _options: RealtimeBenchOptions, calls: int) -> GatewayRun:
        if calls > 50:
            raise ResourceError("engine_gateway of the bench gave no answer")
        return gateway_run(calls)

    monkeypatch.setattr(bench_realtime, "run_gateway", run_gateway)
    result = await bench_realtime._measure(replace(BRIEF, calls=30, baseline_calls=0, search=True))
    assert result.most_calls == 48
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["engine_gateway with 30 calls: passed", "engine_gateway with 38 calls: passed"]
    assert told[-1] == "engine_gateway with 61 calls: engine_gateway of the bench gave no answer"
    with pytest.raises(ResourceError, match="no answer"):
        await bench_realtime._measure(replace(BRIEF, calls=60, baseline_calls=0, search=True))


async def test_search_in_which_nothing_passes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_gateway(_gateway: str, _options: RealtimeBenchOptions, calls: int) -> GatewayRun:
        return gateway_run(calls, cpu_percent=99.0)

    monkeypatch.setattr(bench_realtime, "run_gateway", run_gateway)
    result = await bench_realtime._measure(replace(BRIEF, calls=2, baseline_calls=0, search=True))
    assert (result.most_calls, result.naive_most_calls, result.naive, result.ratio) == (None, None, None, None)
    assert result.as_text().endswith("most calls within the limits: none here")
