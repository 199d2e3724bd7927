"""The ears are tested on audio whose content is known: what they must hear, and what they must not."""

from __future__ import annotations

import audioop
from pathlib import Path

import numpy as np
import pytest

from tests.support.listening import (
    RATE_HZ,
    Samples,
    align,
    identify,
    level_dbov,
    read_wav,
    resampled,
    silence,
    tone,
    tone_seconds,
    write_wav,
)

SENTENCES = (
    "Welcome to the company, how can I help you?",
    "Please hold the line, I am putting you through to a colleague.",
    "Our office is open from nine to five.",
    "I did not understand, please say that again.",
    "Please hold the line, I am putting you through to sales.",
)


def through_telephone(samples: Samples) -> Samples:
    """What mu-law coding leaves of it."""
    return np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(samples.tobytes(), 2), 2), np.int16)


def noise(duration_s: float, level: float) -> Samples:
    return np.rint(np.random.default_rng(7).normal(0, level, round(duration_s * RATE_HZ))).astype(np.int16)


def speech(spoken: dict[str, Samples]) -> Samples:
    """About 12 s in which no half second comes twice: the last sentence begins as the second does."""
    return np.concatenate([spoken[sentence] for sentence in SENTENCES[:-1]])


@pytest.fixture(scope="module")
def spoken() -> dict[str, Samples]:
    pytest.importorskip("espeakng_loader", reason="the `local` extra is not installed")
    from gateway.embedded.voice import speak

    return {sentence: speak(sentence) for sentence in SENTENCES}


def test_a_tone_is_heard_for_as_long_as_it_sounds() -> None:
    recording = np.concatenate([silence(1), tone(1004, 2), silence(1)])
    assert tone_seconds(through_telephone(recording), 1004) == pytest.approx(2.0, abs=0.04)


@pytest.mark.parametrize("other_hz", [440.0, 900.0, 1100.0, 1336.0])
def test_another_tone_is_not_taken_for_it(other_hz: float) -> None:
    assert tone_seconds(tone(other_hz, 2), 1004) == 0


def test_silence_and_noise_hold_no_tone() -> None:
    assert tone_seconds(silence(2), 1004) == 0
    assert tone_seconds(noise(2, 2000), 1004) == 0


def test_speech_holds_no_tone(spoken: dict[str, Samples]) -> None:
    assert tone_seconds(np.concatenate(list(spoken.values())), 1004) < 0.2


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_is_told_from_the_others_on_a_noisy_line(sentence: str, spoken: dict[str, Samples]) -> None:
    line = np.concatenate([silence(0.7), spoken[sentence], silence(1.1)])
    assert identify(through_telephone(line + noise(len(line) / RATE_HZ, 120)), spoken) == sentence


def test_alignment_finds_offset_and_true_speed(spoken: dict[str, Samples]) -> None:
    sent = speech(spoken)
    found = align(sent, through_telephone(np.concatenate([silence(1.25), sent, silence(0.5)])))
    assert found.offset_s == pytest.approx(1.25, abs=0.001)
    assert found.speed == pytest.approx(1.0, abs=0.0001)
    assert found.correlation > 0.99
    assert found.jitter_s < 0.001


def at_speed(samples: Samples, speed: float) -> Samples:
    return np.interp(np.arange(0, len(samples) - 1, speed), np.arange(len(samples)), samples).astype(np.int16)


def test_alignment_measures_a_small_error_of_speed(spoken: dict[str, Samples]) -> None:
    sent = speech(spoken)
    assert align(sent, at_speed(sent, 1.002)).speed == pytest.approx(1.002, abs=0.001)
    assert align(sent, at_speed(sent, 0.998)).speed == pytest.approx(0.998, abs=0.001)


@pytest.mark.parametrize("speed", [0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 3.0])
def test_alignment_knows_audio_at_another_speed_and_pitch_no_more(speed: float, spoken: dict[str, Samples]) -> None:
    sent = speech(spoken)
    found = align(sent, at_speed(np.concatenate([sent, sent, sent]), speed))
    assert found.correlation < 0.8


def test_alignment_sees_a_gap(spoken: dict[str, Samples]) -> None:
    sent = speech(spoken)
    half = len(sent) // 2
    with_gap = np.concatenate([sent[:half], silence(0.2), sent[half:]])
    assert align(sent, with_gap).jitter_s > 0.02


@pytest.mark.parametrize("rate_hz", [16000, 24000])
def test_resampling_keeps_speed_and_pitch(rate_hz: int, spoken: dict[str, Samples]) -> None:
    sent = speech(spoken)
    raised = resampled(sent, 8000, rate_hz)
    assert len(raised) == len(sent) * rate_hz // 8000
    assert tone_seconds(resampled(tone(1004, 2), 8000, rate_hz), 1004, rate_hz=rate_hz) > 1.9
    assert align(sent, resampled(raised, rate_hz, 8000)).correlation > 0.999


def test_level_is_that_of_the_tone() -> None:
    assert level_dbov(tone(1004, 1, level_dbov=-20)) == pytest.approx(-20, abs=0.1)
    assert level_dbov(silence(1)) == -100


def test_wav_survives_writing_and_reading(tmp_path: Path) -> None:
    samples, rate_hz = read_wav(write_wav(tmp_path / "a.wav", tone(440, 0.5), 8000))
    assert rate_hz == 8000
    assert np.array_equal(samples, tone(440, 0.5))


def test_wav_of_a_recorder_that_was_killed_is_read_to_its_end(tmp_path: Path) -> None:
    content = write_wav(tmp_path / "a.wav", tone(440, 0.5)).read_bytes()
    (tmp_path / "b.wav").write_bytes(content[:40] + b"\0\0\0\0" + content[44:])
    assert len(read_wav(tmp_path / "b.wav")[0]) == 4000
