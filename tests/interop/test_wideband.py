"""G.722 through a real PBX: what the telephone network cannot carry reaches the model and the caller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.interop.conftest import GatewayMaker, Speak, SpeechServerMaker
from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ
from tests.support.listening import (
    Samples,
    align,
    level_dbov,
    read_wav,
    resampled,
    silence,
    tone,
    tone_seconds,
    write_wav,
)

pytest.importorskip("G722", reason="the `wideband` extra is not installed")

WIDE_RATE_HZ = 16000
CALLER_HZ, MODEL_HZ = 5500.0, 6300.0
SENTENCE = "The library opens at ten and closes at six, except on the first Sunday of the month."


def wideband_gateway(make_gateway: GatewayMaker, url: str) -> GatewayProcess:
    """A gateway at an account that speaks G.722 alone."""
    codecs = {"codecs": ["PCMU", "G722"]}
    gateway = make_gateway(account="gateway-wideband", realtime_url=url, trunk=codecs)
    gateway.wait_until_registered()
    return gateway


def above_4_khz_db(samples: Samples, rate_hz: int) -> float:
    """Power above 4 kHz against all of it."""
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    return float(10 * np.log10(power[len(power) * 8000 // rate_hz :].sum() / power.sum()))


def test_tones_above_the_telephone_band_pass_in_both_directions(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, tmp_path: Path
) -> None:
    server = make_speech_server([tone(MODEL_HZ, 2.0, rate_hz=MODEL_RATE_HZ)])
    gateway = wideband_gateway(make_gateway, server.url)
    prompt = write_wav(tmp_path / "high.wav16", tone(CALLER_HZ, 2.0, rate_hz=WIDE_RATE_HZ), WIDE_RATE_HZ)
    pbx.originate("7016", prompt=pbx.add_prompt(prompt), delay_s=4, stay_s=0.5, record="high", is_wideband=True)
    conversation = server.wait_for_conversation()
    wait_until(lambda: not conversation.is_open, "the end of the call", 30)
    pbx.wait_until_idle(20)
    assert gateway.wait_for("call ended")["codec"] == "G722"
    assert tone_seconds(conversation.uplink, CALLER_HZ, rate_hz=MODEL_RATE_HZ) == pytest.approx(2.0, abs=0.15)
    heard, rate_hz = read_wav(pbx.heard("high"))
    assert rate_hz == WIDE_RATE_HZ
    assert tone_seconds(heard, MODEL_HZ, rate_hz=WIDE_RATE_HZ) == pytest.approx(2.0, abs=0.15)
    assert level_dbov(heard[np.abs(heard) > 1000]) == pytest.approx(-18, abs=1.5)


def test_speech_passes_with_its_sibilants_in_both_directions(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, speak: Speak, tmp_path: Path
) -> None:
    said, answer = speak(SENTENCE, sample_rate_hz=WIDE_RATE_HZ), speak(SENTENCE, sample_rate_hz=MODEL_RATE_HZ)
    server = make_speech_server([silence(0.1, rate_hz=MODEL_RATE_HZ), answer])
    wideband_gateway(make_gateway, server.url)
    name = pbx.add_prompt(write_wav(tmp_path / "speech.wav16", said, WIDE_RATE_HZ))
    pbx.originate("7016", prompt=name, delay_s=9, stay_s=0.5, record="speech", is_wideband=True)
    conversation = server.wait_for_conversation()
    wait_until(lambda: conversation.uplink_s > 1, "a second of the call", 10)
    conversation.answer()
    wait_until(lambda: not conversation.is_open, "the end of the call", 30)
    pbx.wait_until_idle(20)
    heard, _ = read_wav(pbx.heard("speech"))
    at_model, answered = (resampled(sound, MODEL_RATE_HZ, WIDE_RATE_HZ) for sound in (conversation.uplink, answer))
    for original, arrived in ((said, at_model), (answered, heard)):
        found = align(original, arrived, rate_hz=WIDE_RATE_HZ, pieces=4)
        assert found.speed == pytest.approx(1.0, abs=0.005)
        assert found.correlation > 0.95
        start = round(found.offset_s * WIDE_RATE_HZ)
        passed_db = above_4_khz_db(arrived[start : start + len(said)], WIDE_RATE_HZ)
        assert passed_db == pytest.approx(above_4_khz_db(original, WIDE_RATE_HZ), abs=2)
