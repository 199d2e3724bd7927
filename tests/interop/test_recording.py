"""A call through a real PBX is recorded once the caller has pressed the key, and what both said is in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.interop.conftest import MODEL_TONE_HZ, GatewayMaker, SpeechServerMaker
from tests.interop.gateway_process import DIALPLAN
from tests.interop.pbx import Pbx
from tests.interop.speech_server import MODEL_RATE_HZ
from tests.support.listening import tone, tone_seconds, write_wav

CALLER_HZ = 600
ASKING = DIALPLAN.replace(
    "tools: [transfer, hang_up]", "tools: [transfer, hang_up]\n    record: {consent: ask, play: beep.wav}"
)


@pytest.mark.parametrize("file_format", ["wav", "opus"])
def test_caller_who_presses_the_key_is_recorded(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, tmp_path: Path, file_format: str
) -> None:
    server = make_speech_server([tone(MODEL_TONE_HZ, 1.0, rate_hz=MODEL_RATE_HZ)])
    kept = tmp_path / "kept"
    recordings = {"recordings": {"folder": str(kept), "format": file_format, "min_free": "0"}}
    gateway = make_gateway(realtime_url=server.url, dialplan=ASKING, records=recordings)
    gateway.wait_until_registered()
    said = pbx.add_prompt(write_wav(tmp_path / "tone-600.wav", tone(CALLER_HZ, 2)))
    pbx.originate("7000", keys="1", after=said, delay_s=1, stay_s=2)
    ended = gateway.wait_for("call ended", timeout_s=30)
    assert ended["recording_consent"] == "agreed"
    assert [str(file) for file in kept.rglob("*.*") if file.is_file()] == [ended["recording"]]
    recorded, rate_hz = soundfile.read(ended["recording"], dtype="int16")
    left, right = recorded.T
    assert len(recorded) / rate_hz == pytest.approx(ended["recording_s"], abs=0.06)
    assert tone_seconds(left, CALLER_HZ) == pytest.approx(2.0, abs=0.15)
    assert tone_seconds(right, MODEL_TONE_HZ) == pytest.approx(1.0, abs=0.15)
    assert tone_seconds(left, MODEL_TONE_HZ) == tone_seconds(right, CALLER_HZ) == 0
