"""A stock pyVoIP telephone calls the gateway through the PBX, is understood, and is handed to a human."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.interop.conftest import AGENT_TONE_HZ, Speak
from tests.interop.gateway_process import GREETING, GatewayProcess
from tests.interop.pbx import Pbx
from tests.interop.phone import Phone
from tests.interop.test_speech import OTHER_SENTENCES
from tests.support.listening import identify, read_wav, silence, tone_seconds, write_wav


def test_a_stock_pyvoip_phone_is_greeted_and_connected(
    pbx: Pbx, gateway_process: GatewayProcess, agent_phone: Phone, tmp_path: Path, speak: Speak
) -> None:
    request = np.concatenate([speak("I want to talk to a human."), silence(20)])
    said = write_wav(tmp_path / "said.wav", request)
    heard = tmp_path / "heard.wav"
    command = [sys.executable, "-m", "tests.interop.pyvoip_caller", str(pbx.ports.sip), "7000", str(said), str(heard)]
    caller = subprocess.run(
        [*command, "22", "--after", "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert caller.returncode == 0, caller.stderr
    assert json.loads(caller.stdout)["answered_after_s"] < 10
    assert gateway_process.wait_for("call ended")["outcome"] == "transferred"
    agent_phone.wait_for("CALL_ESTABLISHED")
    samples, _ = read_wav(heard)
    sentences = {text: speak(text, voice="marin") for text in (GREETING, *OTHER_SENTENCES)}
    assert identify(samples[: 6 * 8000], sentences) == GREETING
    assert tone_seconds(samples, AGENT_TONE_HZ) > 2.0
