"""The socket bench: every contender really carries packets, and the report is computed from what was measured."""

from __future__ import annotations

import json

import pytest

from gateway.simulate import bench_udp


def test_both_reports_tell_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    result = bench_udp.run(json=True, calls=(1, 3))
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "udp"
    assert [row["calls"] for row in told["send"]] == [row["calls"] for row in told["receive"]] == [1, 3]
    for row in (*result.send, *result.receive):
        assert min(row.ours_ns, row.socket_ns, row.asyncio_ns) > 0
        assert row.ratio == row.asyncio_ns / row.ours_ns
        assert row.socket_ratio == row.socket_ns / row.ours_ns
    assert f"{result.receive[1].ours_ns:.0f} ns" in result.as_text()
