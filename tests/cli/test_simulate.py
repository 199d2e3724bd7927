"""The load command: real callers against a real gateway, and whose the figures are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.simulate import Simulation, run_simulation
from gateway.simulate.latency import Delay
from gateway.simulate.load import LoadOptions, LoadResult

REPOSITORY = Path(__file__).resolve().parents[2]


def simulation(**changes: Any) -> Simulation:
    """One in which nobody was at a limit."""
    counts = dict.fromkeys(LoadResult.__slots__, 1)
    figures: dict[str, Any] = dict.fromkeys(Simulation.__slots__, 1.0)
    figures |= {"load": LoadResult(**counts), "provider": "light", "uplink": Delay(), "downlink": Delay()}
    return replace(Simulation(**figures), **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gateway_cpu_percent": 97.0}, "the gateway used 97 % of a core: these calls are its limit"),
        ({"callers_cpu_percent": 98.0}, "the callers' process used 98 % of a core"),
        ({"provider_cpu_percent": 180.0, "provider": "configured"}, "--provider light has no speech engines"),
        ({"waited_percent": 40.0}, "lateness is the machine's"),
    ],
)
def test_what_was_at_its_limit_is_told_in_words(changes: dict[str, Any], words: str) -> None:
    (limit,) = simulation(**changes).limits
    assert words in limit
    assert limit in simulation(**changes).summary()
    assert "limits       none was reached" in simulation().summary()


async def test_all_callers_are_there_at_once_and_hear_the_scripted_model() -> None:
    options = LoadOptions(calls=4, rate_cps=4, hold_s=6, leaves_together=True)
    result = await run_simulation(REPOSITORY / "config" / "gateway.yaml", options)
    load = result.load
    assert (load.answered, load.concurrent, load.calls_heard, result.without_model) == (4, 4, 4, 0)
    assert load.call_seconds == pytest.approx(4 * 6 + 0.25 * (0 + 1 + 2 + 3), abs=3)
    assert result.cpu_s > 0
    assert 1 <= result.uplink.count <= 8
    assert 0 < result.uplink.p50_ms <= result.uplink.p99_ms
    assert 1 <= result.downlink.count <= 8
    assert 0 < result.downlink.p50_ms <= result.downlink.p99_ms
    told = result.as_json()
    assert told["limits"] == result.limits
    assert (told["added_uplink_p50_ms"], told["added_downlink_p99_ms"]) == (
        result.uplink.p50_ms,
        result.downlink.p99_ms,
    )


def test_added_latency_is_told_both_ways_and_by_the_number_of_words_it_is_of() -> None:
    measured = simulation(uplink=Delay(count=24, p50_ms=31.0, p99_ms=65.2))
    assert "added        RTP to append p50 31.0 ms, p99 65.2 ms (24); delta to RTP not measured\n" in measured.summary()


def test_callers_that_leave_together_stay_longer_the_sooner_they_came() -> None:
    options = LoadOptions(calls=3, rate_cps=2, hold_s=5, leaves_together=True)
    assert [options.hold_of(index) for index in range(3)] == [6, 5.5, 5]
    assert LoadOptions(calls=3, rate_cps=2, hold_s=5).hold_of(0) == 5
