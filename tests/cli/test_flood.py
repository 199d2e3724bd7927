"""A real process under a flood of strangers, beside live calls. `make test-flood`: 60 s."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.simulate.load import LoadOptions, LoadResult, run_load
from gateway.sip.guard import REPORTED_SOURCES
from tests.support import flood
from tests.support.gateway_rig import HOST, Rig, gateway_rig

SECONDS = float(os.environ.get("FLOOD_SECONDS", "3"))
PER_S = float(os.environ.get("FLOOD_PER_S", "1000"))
CALLS = int(os.environ.get("FLOOD_CALLS", "4"))
IS_MEASURED = "FLOOD_SECONDS" in os.environ
"""The figures of the promise are asked for by `make test-flood` only: the suite's machine may be doing other things."""


def cpu_s(rig: Rig) -> float:
    """CPU time of the gateway."""
    fields = Path(f"/proc/{rig.process.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def flooded(rig: Rig, per_s: float) -> tuple[LoadResult, flood.Outcome, float]:
    """Calls with a flood in their middle: what callers saw, what came of the flood, the gateway's share of a core."""
    load = asyncio.ensure_future(
        run_load(rig.phone, LoadOptions(calls=CALLS, rate_cps=5, hold_s=SECONDS + 3 + CALLS / 5))
    )
    await asyncio.sleep(CALLS / 5 + 1)
    before_s = cpu_s(rig)
    outcome = await asyncio.to_thread(flood.outcome, flood.start(rig.address, HOST, per_s, SECONDS))
    used = (cpu_s(rig) - before_s) / (outcome.seconds + 1)
    return await load, outcome, used


@pytest.mark.heavy
async def test_a_flood_of_strangers_costs_no_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with gateway_rig(tmp_path) as rig:
        _, _, quiet = await flooded(rig, per_s=0.001)
        before_kib = rig.memory_kib
        load, outcome, busy = await flooded(rig, PER_S)
        grown_kib = rig.memory_kib - before_kib
        rig.process.terminate()
        figures = await rig.log("gateway stopped")
    p50, p99 = (float(np.percentile(outcome.options_ms, share)) for share in (50, 99))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{outcome.sent / outcome.seconds:.0f} messages/s for {outcome.seconds:.0f} s beside {CALLS} calls\n"
            f"calls: {load.answered} answered, {load.packets_lost} packets lost, {load.packets_late} late\n"
            f"OPTIONS: {len(outcome.options_ms)} of {outcome.options_asked}, p50 {p50:.1f} ms, p99 {p99:.1f} ms\n"
            f"strangers got {outcome.bytes_back} bytes; memory +{grown_kib} KiB\n"
            f"core: {100 * quiet:.1f} % without the flood, {100 * busy:.1f} % with it\n"
            f"audio sent late: p99 {figures['late_p99_ms']} ms, max {figures['late_max_ms']} ms\n"
        )
    assert outcome.bytes_back == 0
    assert (load.answered, load.refused, load.calls_heard) == (CALLS, 0, CALLS)
    assert grown_kib <= 32 * 1024
    assert len(outcome.options_ms) >= 0.9 * outcome.options_asked
    if IS_MEASURED:
        assert outcome.sent >= 0.95 * PER_S * SECONDS
        assert load.packets_lost == 0
        assert len(outcome.options_ms) >= 0.99 * outcome.options_asked
        assert p99 <= 500
        assert figures["late_p99_ms"] <= 20  # no more than 1 % of the frames
    sources = rig.process.found("source refused")
    minutes = 2 * (SECONDS + 10) / 60
    assert len(sources) <= REPORTED_SOURCES * (2 + minutes)  # one report a minute, one at the end
    assert any(line["source"] == flood.STRANGER and line["banned"] for line in sources)
    assert rig.process.found("more sources refused")
    assert rig.process.complaints() == []


async def test_calls_of_strangers_reach_neither_an_answer_nor_the_provider(tmp_path: Path) -> None:
    """1,000 INVITEs from an address that is in no ACL."""
    async with gateway_rig(tmp_path) as rig:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((flood.STRANGER, 0))
            stranger.setblocking(False)
            for number in range(1000):
                stranger.sendto(flood.request("INVITE", stranger.getsockname(), number, "Asterisk PBX"), rig.address)
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(1)
            with pytest.raises(BlockingIOError):
                stranger.recv(1)
        assert rig.provider.attempts == 0
        call = rig.phone.dial("gateway", "7000")
        async with asyncio.timeout(5):
            await call.answered.wait()
        assert rig.provider.attempts == 1
        call.hang_up()
