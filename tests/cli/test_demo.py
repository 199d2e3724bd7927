"""The demo as a newcomer runs it: everything real, and believed only by what the telephone heard."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

from gateway.calls.record import Speaker, Speech
from gateway.cli.demo import DemoResult, is_heard
from gateway.embedded.voice import DEFAULT_VOICE, speak
from gateway.simulate.sentence_check import DECOYS

LIMIT_S = 150
ANSWER = "We are open from Monday to Friday, from nine in the morning until half past five."


def said(text: str) -> list[Speech]:
    return [Speech(speaker=Speaker.AGENT, text=text, at_ms=0)]


def test_demo_asks_interrupts_is_transferred_and_hears_all_of_it(tmp_path: Path) -> None:
    wav = tmp_path / "demo.wav"
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--json", "--wav", str(wav)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["ok"] is True
    words = [(line["who"], line["text"].lower()) for line in result["transcript"]]
    assert ("agent", ANSWER.lower()) in words
    assert any(who == "caller" and "opening hours" in text for who, text in words)
    assert result["first_audio_ms"] > 0
    assert 0 < result["barge_in_ms"] < 2000
    assert result["transfer_ms"] > result["first_audio_ms"]
    assert result["rtp"]["received"] > 500
    assert result["rtp"]["lost"] == 0
    with wave.open(str(wav)) as recording:
        assert (recording.getnchannels(), recording.getframerate()) == (2, 8000)
        both = np.frombuffer(recording.readframes(recording.getnframes()), "<i2").reshape(-1, 2)
    assert all(np.abs(both[:, side].astype(np.int32)).max() > 2000 for side in (0, 1))


def test_answer_counts_only_when_it_is_what_was_heard() -> None:
    assert is_heard(speak(ANSWER, voice=DEFAULT_VOICE), said(ANSWER))
    assert not is_heard(speak(DECOYS[0], voice=DEFAULT_VOICE), said(ANSWER))
    assert not is_heard(speak(ANSWER, voice=DEFAULT_VOICE), [])


def test_result_is_good_only_with_answer_and_human() -> None:
    heard = DemoResult(answer_heard=True, human_heard=True)
    assert heard.is_ok
    assert not DemoResult(answer_heard=True).is_ok
    assert not DemoResult(human_heard=True).is_ok
    assert DemoResult(answer_heard=True, is_transfer_expected=False).is_ok
    assert not DemoResult(answer_heard=True, human_heard=True, failure="no").is_ok
    assert set(heard.as_json()) == {"ok", "transcript", "route", "first_audio_ms", "barge_in_ms", "transfer_ms", "rtp"}
