"""Through a real PBX, by content: what the caller says reaches the model, and the model's words the caller."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.interop.conftest import GatewayMaker, Speak, SpeechServerMaker
from tests.interop.gateway_process import GREETING, GatewayProcess
from tests.interop.pbx import Pbx, wait_until
from tests.interop.speech_server import MODEL_RATE_HZ
from tests.support.listening import align, identify, level_dbov, read_wav, resampled, silence

HUMAN_PROMPT = "demo-abouttotry"  # 15 s of a human voice
ANSWERS = ("The library opens at ten and closes at six.", "Your parcel has been delivered this morning.")
OTHER_SENTENCES = (
    "The library opens at six and closes at ten.",
    "Please enter your account number.",
    "All our lines are busy, please call again tomorrow.",
    "Welcome to the company, please tell me your name.",
)


def test_human_speech_reaches_the_model_at_its_own_speed_and_pitch(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    server = make_speech_server([silence(0.1, rate_hz=MODEL_RATE_HZ)])
    make_gateway(realtime_url=server.url).wait_until_registered()
    pbx.originate("7000", prompt=HUMAN_PROMPT, delay_s=1, stay_s=0.5)
    conversation = server.wait_for_conversation()
    wait_until(lambda: not conversation.is_open, "the end of the call", 30)
    heard = resampled(conversation.uplink, MODEL_RATE_HZ, 8000)
    found = align(read_wav(pbx.sounds / f"{HUMAN_PROMPT}.wav")[0], heard)
    assert found.speed == pytest.approx(1.0, abs=0.005)
    assert found.correlation > 0.9
    assert found.jitter_s < 0.02


def test_audio_reaches_the_model_while_it_is_spoken(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker
) -> None:
    """Never saved up and never held back: what is late here, the caller waits for."""
    server = make_speech_server([])
    make_gateway(realtime_url=server.url).wait_until_registered()
    pbx.originate("7000", prompt="queue-periodic-announce", delay_s=0.5, stay_s=0.5)
    conversation = server.wait_for_conversation()
    wait_until(lambda: conversation.uplink_s > 0.5, "the first half second", 5)
    ahead_s = []
    started_s, before_s = time.monotonic(), conversation.uplink_s
    while time.monotonic() - started_s < 5:
        time.sleep(0.02)
        ahead_s.append(conversation.uplink_s - before_s - (time.monotonic() - started_s))
    assert np.median(ahead_s) == pytest.approx(0, abs=0.06)
    assert np.ptp(ahead_s) < 0.2


def test_the_models_sentences_reach_the_caller(
    pbx: Pbx, make_gateway: GatewayMaker, make_speech_server: SpeechServerMaker, speak: Speak
) -> None:
    said = [speak(answer, sample_rate_hz=MODEL_RATE_HZ) for answer in ANSWERS]
    server = make_speech_server(said)
    make_gateway(realtime_url=server.url).wait_until_registered()
    pbx.originate("7000", delay_s=9, stay_s=0, record="sentences")
    conversation = server.wait_for_conversation()
    wait_until(lambda: conversation.uplink_s > 4, "4 s of the call", 10)
    conversation.answer()
    pbx.wait_until_idle(20)
    heard, rate_hz = read_wav(pbx.heard("sentences"))
    assert rate_hz == 8000
    candidates = {sentence: speak(sentence) for sentence in (*ANSWERS, *OTHER_SENTENCES)}
    half = len(heard) * 4 // 9
    assert identify(heard[:half], candidates) == ANSWERS[0]
    assert identify(heard[half:], candidates) == ANSWERS[1]
    for sentence, part in zip(said, (heard[:half], heard[half:]), strict=True):
        found = align(resampled(sentence, MODEL_RATE_HZ, 8000), part, pieces=3)
        assert found.speed == pytest.approx(1.0, abs=0.005)
        assert found.correlation > 0.85


def test_the_embedded_model_greets_the_caller(pbx: Pbx, gateway_process: GatewayProcess, speak: Speak) -> None:
    pbx.originate("7000", delay_s=6, stay_s=0, record="greeting")
    pbx.wait_until_idle(20)
    ended = gateway_process.wait_for("call ended")
    heard, _ = read_wav(pbx.heard("greeting"))
    assert level_dbov(heard) > -50
    assert identify(heard, {text: speak(text, voice="marin") for text in (GREETING, *OTHER_SENTENCES)}) == GREETING
    assert ended["outcome"] == "caller-hung-up"
    assert ended["rtp_lost"] == 0
