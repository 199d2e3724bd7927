"""A wire that loses every tenth SIP packet, and a caller who sends every twentieth twice.

Every call goes as it should or ends with a reason, none is there twice, nothing is left. `LOSS_CALLS=1000` for more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop import network
from tests.interop.conftest import fail_if_complained, unavailable
from tests.interop.gateway_process import GatewayProcess, GatewaySetup
from tests.interop.pbx import REPOSITORY, wait_until

CALLS = int(os.environ.get("LOSS_CALLS", "60"))
RATE_CPS = 15.0
LOSS_PERCENT = 10
DUPLICATES = 0.05
LEAST_COMPLETED = 0.995
QUIET_S = 5.0
"""Longer than a BYE waits between its repetitions (RFC 3261 17.1.2.2, T2): the caller listens until none comes."""
TRANSACTIONS_LAST_S = 33.0
IS_LONG = CALLS >= 1000
COMPLETED = ("talk: completed", "played: hung up on", "refused: 603", "cancelled: 487", "cancelled: completed")
LONGEST_S = 64.0
"""An INVITE transaction and a BYE's, one after the other, with nothing but bad luck."""


@pytest.fixture
def wire() -> Iterator[network.LossyWire]:
    if reason := network.obstacle():
        unavailable(reason)
    with ExitStack() as laid:
        try:
            wire = laid.enter_context(network.LossyWire(LOSS_PERCENT))
        except network.NotAllowed as error:
            unavailable(f"no network namespaces here: {error}")
        yield wire


def test_calls_survive_a_wire_that_loses_and_doubles(
    wire: network.LossyWire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = GatewaySetup(
        host=wire.far,
        sip_port=network.SIP_PORT,
        trunks={"near": {"peer": wire.near}},
        realtime_url="ws://127.0.0.1:9/v1",  # no call here needs a model
        rtp_ports=4000,
        max_calls=1000,
        log_level="info",
    )
    with GatewayProcess.of(setup, tmp_path / "gateway", wire.within(wire.far)) as gateway:
        gateway.wait_until_ready()
        outcomes = outcomes_of_calls(wire)
        started = gateway.found("call started")
        wait_until(lambda: len(gateway.found("call ended")) == len(started), "the end of every call", LONGEST_S)
        ended, lost = gateway.found("call ended"), wire.lost()
        if IS_LONG:
            time.sleep(TRANSACTIONS_LAST_S)
        figures = gateway.stop()
    fail_if_complained([gateway])
    with capsys.disabled():
        sys.stdout.write(f"\n{dict(outcomes)}; lost to and from the gateway: {lost}\n")
    assert min(lost) > 0
    assert sum(outcomes.values()) == CALLS
    assert sum(outcomes[name] for name in COMPLETED) >= CALLS * LEAST_COMPLETED
    assert len({line["call_id"] for line in started}) == len(started) == CALLS
    assert all(line["outcome"] for line in ended)
    assert (figures["calls_left"], figures["rtp_ports_left"], figures["legs_left"]) == (0, 0, 0)
    if IS_LONG:
        assert figures["transactions_left"] <= 1  # an OPTIONS to the trunk, whom nobody answers here


def outcomes_of_calls(wire: network.LossyWire) -> Counter[str]:
    """Let a caller at the near end make the calls: a quarter each of every kind."""
    command = [sys.executable, "-m", "tests.interop.fast_caller", f"{wire.far}:{network.SIP_PORT}"]
    command += ["--from", wire.near, "--calls", str(CALLS), "--rate", str(RATE_CPS), "--duplicates", str(DUPLICATES)]
    command += ["--linger", str(QUIET_S)]
    command += ["--kinds", "talk=7096,played=7097,refused=7099,cancelled=7096"]
    told = subprocess.run(
        [*wire.within(wire.near), *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=CALLS / RATE_CPS + 3 * LONGEST_S,
    )
    return Counter(json.loads(told.stdout))
