"""The provider bench: both forms of its report, and the ratios that every machine must reach."""

from __future__ import annotations

import json

import pytest

from gateway.simulate import bench_provider

pytestmark = pytest.mark.heavy


def test_both_reports_tell_what_was_measured_and_the_plain_client_is_beaten(capsys: pytest.CaptureFixture[str]) -> None:
    result = bench_provider.run(json=True, connections=10, kept=20, rounds=5)
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "provider"
    rows = {row["name"]: row for row in told["rows"]}
    assert {f"{scheme} {name}" for scheme in ("ws", "wss") for name in ("append", "delta", "pair", "set-up")} < set(
        rows
    )
    for row in rows.values():
        assert row["ratio"] == pytest.approx(row["baseline"] / row["ours"], abs=0.01)
        assert row["name"] in result.as_text()
    assert rows["append 60 ms pcm16/24000"]["ratio"] >= 4
    assert rows["delta 100 ms"]["ratio"] >= 2
    assert rows["wss memory"]["ratio"] >= 2
