"""`gateway call` through a real PBX: whoever answers talks to the model, and the exit status tells how it went."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.interop.conftest import AGENT_TONE_HZ, PhoneMaker
from tests.interop.gateway_process import GREETING, READY_DEADLINE_S, GatewayProcess, GatewaySetup
from tests.interop.pbx import Pbx, free_port, wait_until
from tests.interop.phone import Phone
from tests.support.listening import tone

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def command(registrar: tuple[str, int], tmp_path: Path) -> Iterator[Command]:
    """Starts `gateway call NUMBER --json`; SIP is received on a port of its own unless `sip_port` is given."""
    started: list[subprocess.Popen[str]] = []

    def start(number: str, sip_port: int | None = None) -> subprocess.Popen[str]:
        folder = tmp_path / f"call-{number}"
        folder.mkdir()
        file = GatewaySetup(registrar=registrar).write(folder, sip_port or free_port())
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "call", "-c", str(file), number, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("GATEWAY__")},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def loudest(phone: Phone) -> int:
    return int(np.abs(phone.heard().astype(np.int32)).max(initial=0))


def outcome_of(process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
    out, errors = process.communicate(timeout=READY_DEADLINE_S)
    assert errors == ""
    return process.returncode, json.loads(out)


@pytest.mark.parametrize(
    ("number", "refusal"), [("6003", "busy"), ("6004", "unreachable"), ("6001", "unreachable"), ("6999", "not found")]
)
def test_call_that_nobody_takes_fails_with_the_reason(pbx: Pbx, command: Command, number: str, refusal: str) -> None:
    status, told = outcome_of(command(number))
    assert (status, told["ok"], told["outcome"], told["refusal"]) == (1, False, "refused", refusal)
    pbx.wait_until_idle()


def test_human_who_answers_is_greeted_by_the_model(pbx: Pbx, command: Command, make_phone: PhoneMaker) -> None:
    agent = make_phone("agent", plays=tone(AGENT_TONE_HZ, 60), answers=True)
    process = command("6001")
    agent.wait_for("CALL_ESTABLISHED", timeout_s=READY_DEADLINE_S)
    wait_until(lambda: loudest(agent) > 1000, "the greeting at the agent's telephone", 10)
    time.sleep(4)  # the greeting takes 3 s
    agent.hang_up()
    status, told = outcome_of(process)
    assert (status, told["ok"], told["outcome"]) == (0, True, "callee-hung-up")
    assert [said["text"] for said in told["transcript"]] == [GREETING]  # type: ignore[attr-defined]
    pbx.wait_until_idle()


def test_interrupt_cancels_a_call_that_rings_for_ever(pbx: Pbx, command: Command) -> None:
    process = command("6005")
    wait_until(lambda: "6005@" in pbx.console("core show channels"), "a call that rings", READY_DEADLINE_S)
    process.send_signal(signal.SIGINT)
    status, told = outcome_of(process)
    assert (status, told["outcome"]) == (1, "cancelled")
    pbx.wait_until_idle()


def test_call_beside_a_running_gateway_says_which_port_to_take_and_leaves_it_its_calls(
    pbx: Pbx, gateway_process: GatewayProcess, command: Command
) -> None:
    taken = command("6003", gateway_process.sip_port)
    _, errors = taken.communicate(timeout=READY_DEADLINE_S)
    assert taken.returncode == 1
    assert "GATEWAY__SIP__LISTEN=127.0.0.1:" in errors
    contact = pbx.console("pjsip show contacts")
    assert outcome_of(command("6004"))[0] == 1
    assert f"127.0.0.1:{gateway_process.sip_port}" in contact
    assert f"127.0.0.1:{gateway_process.sip_port}" in pbx.console("pjsip show contacts")
