"""A stock pyVoIP telephone calls the gateway through the PBX, is understood, and is handed to a human."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.interop.conftest import AGENT_TONE_HZ, Speak
from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import Pbx
from tests.interop.phone import Phone
from tests.interop.test_speech import OTHER_SENTENCES
from tests.support.listening import identify, read_wav, silence, tone_seconds, write_wav

CONNECTING = "One moment, I am connecting you to operator."  # as the embedded model's receptionist says it
ATTEMPTS = 3
CALL_S = 26


def call(pbx_port: int, said: Path, heard: Path) -> dict[str, object]:
    """Let pyVoIP call 7010, which is recorded; what it tells. It may lose its INVITE and hang: then it calls again."""
    command = [sys.executable, "-m", "tests.interop.pyvoip_caller", str(pbx_port), "7010", str(said), str(heard)]
    for _ in range(ATTEMPTS):
        caller = subprocess.run(
            [*command, str(CALL_S), "--after", "5"], capture_output=True, text=True, check=False, timeout=CALL_S + 40
        )
        if caller.returncode == 0:
            return dict(json.loads(caller.stdout))
    raise AssertionError(f"pyVoIP made no call in {ATTEMPTS} attempts: {caller.stderr}")


def test_a_stock_pyvoip_phone_is_understood_and_connected(
    pbx: Pbx, gateway_process: GatewayProcess, agent_phone: Phone, tmp_path: Path, speak: Speak
) -> None:
    """The caller asks up to three times: pyVoIP sends some 5 % of its frames too late, and words drown in that.

    For the same reason sentences are told from what the PBX sent it, and only the agent's tone from what it took in.
    """
    request = np.concatenate([speak("I want to talk to a human."), silence(4)])
    said = write_wav(tmp_path / "said.wav", np.concatenate([request, request, request]))
    told = call(pbx.ports.sip, said, tmp_path / "heard.wav")
    assert told["answered_after_s"] < 10
    assert gateway_process.wait_for("call ended")["outcome"] == "transferred"
    agent_phone.wait_for("CALL_ESTABLISHED")
    assert tone_seconds(read_wav(tmp_path / "heard.wav")[0], AGENT_TONE_HZ) > 2.0
    sent_to_it, _ = read_wav(pbx.recordings / "7010-gateway.wav")
    sentences = {text: speak(text, voice="marin") for text in (CONNECTING, *OTHER_SENTENCES)}
    assert identify(sent_to_it, sentences) == CONNECTING
