"""Escalations through a real PBX: by a key, by words, by money and by a model that is not there, each to a human."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.interop.conftest import AGENT_TONE_HZ, Speak, fail_if_complained
from tests.interop.gateway_process import GatewayProcess, GatewaySetup
from tests.interop.pbx import HOST, Pbx, free_port
from tests.interop.phone import Phone
from tests.support.listening import read_wav, silence, tone_seconds, write_wav

TALK_S = 1.5
KEY, WORDS, MONEY, FAILURE = "491000001", "491000002", "491000003", "491000004"
PLAN = f"""\
version: 1
name: escalations
timezone: UTC
contacts:
  operator: {{dial: [sip:6001]}}
sessions:
  reception: {{use: default, greeting: "Hello."}}
  unreachable: {{use: unreachable}}
routes:
  - {{name: unreachable, match: {{to: "{FAILURE}"}}, do: [{{session: unreachable}}]}}
  - {{name: reception, do: [{{session: reception}}]}}
escalations:
  - {{name: by-key, when: {{dtmf: "0"}}, do: [{{transfer: operator}}]}}
  - {{name: by-words, when: {{said: [opening hours], session: reception, to: "{WORDS}"}}, do: [{{transfer: operator}}]}}
  - {{name: by-money, when: {{cost_over: 0.01, to: "{MONEY}"}}, do: [{{transfer: operator}}]}}
  - {{name: by-failure, when: {{provider_down: true, session: unreachable}}, do: [{{transfer: operator}}]}}
"""


@pytest.fixture(scope="module")
def gateway(module_pbx: Pbx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for all: the embedded server at 1 cent a second, and a provider that nobody is."""
    nowhere = {"provider": "openai", "url": f"ws://{HOST}:{free_port()}", "model": "m", "api_key": "k"}
    setup = GatewaySetup(
        registrar=module_pbx.address,
        dialplan=PLAN,
        realtime={"prices": {"per_minute": 0.60}},
        further_realtime={"unreachable": nowhere | {"prices": {"per_minute": 0.60}}},
    )
    with GatewayProcess.of(setup, tmp_path_factory.mktemp("escalations") / "gateway") as running:
        running.wait_until_registered()
        yield running
    fail_if_complained([running])


@dataclass(frozen=True)
class Case:
    """What sets an escalation off, at which number, and what the log calls it."""

    number: str
    name: str
    trigger: str
    says: str = ""
    keys: str = ""


CASES = [
    Case(KEY, "by-key", "dtmf", keys="0"),
    Case(WORDS, "by-words", "said", says="What are your opening hours?"),
    Case(MONEY, "by-money", "cost_over"),
    Case(FAILURE, "by-failure", "provider_down"),
]


@pytest.fixture(params=CASES, ids=[case.name for case in CASES])
def case(request: pytest.FixtureRequest) -> Case:
    case: Case = request.param
    return case


@pytest.fixture
def prompt(case: Case, module_pbx: Pbx, speak: Speak, tmp_path: Path) -> str:
    """What the caller says, as the PBX knows it; "" for nothing."""
    if not case.says:
        return ""
    return module_pbx.add_prompt(write_wav(tmp_path / "says.wav", np.concatenate([speak(case.says), silence(1)])))


def test_caller_and_agent_hear_each_other(
    case: Case, prompt: str, pbx: Pbx, gateway: GatewayProcess, agent_phone: Phone
) -> None:
    mark = gateway.mark()
    caller = pbx.originate(case.number, prompt=prompt, keys=case.keys, delay_s=2, stay_s=30, record=case.name)
    fired = gateway.wait_for("escalation", since=mark, timeout_s=15)
    assert (fired["escalation"], fired["trigger"]) == (case.name, case.trigger)
    agent_phone.wait_for("CALL_ESTABLISHED", timeout_s=10)
    ended = gateway.wait_for("call ended", since=mark)
    assert (ended["outcome"], ended["transfer"], ended["escalations"]) == ("transferred", "operator", [case.name])
    time.sleep(TALK_S)
    pbx.hang_up(caller)
    agent_phone.wait_for("CALL_CLOSED")
    pbx.wait_until_idle()
    assert tone_seconds(read_wav(pbx.heard(case.name))[0], AGENT_TONE_HZ) > 1.0
