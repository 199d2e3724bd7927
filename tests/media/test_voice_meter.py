"""What counts as somebody speaking."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.codec import Samples
from gateway.media.voice_meter import VoiceMeter
from tests.support.listening import silence, tone

RANDOM = np.random.default_rng(1)


def noise(seconds: float, rms: float) -> Samples:
    return RANDOM.normal(0, rms, round(seconds * 8000)).astype(np.int16)


def speech(seconds: float, level_dbov: float = -25.0) -> Samples:
    """Syllables: 150 ms of sound, 100 ms of none."""
    syllable = np.concatenate([tone(300, 0.15, level_dbov=level_dbov), silence(0.1)])
    return np.tile(syllable, round(seconds / 0.25))


def heard(*sounds: Samples, piece: int = 333) -> VoiceMeter:
    meter, whole = VoiceMeter(), np.concatenate(sounds)
    for start in range(0, len(whole), piece):
        meter.add(whole[start : start + piece])
    return meter


def test_speech_is_voice_and_the_silence_behind_it_is_counted() -> None:
    meter = heard(speech(2.0), silence(3.0))
    assert meter.voiced_ms == pytest.approx(8 * 150, abs=8 * 20)
    assert meter.silent_ms == pytest.approx(3100, abs=40)


def test_silence_counts_from_the_beginning() -> None:
    meter = heard(silence(2.0))
    assert (meter.voiced_ms, meter.silent_ms) == (0, 2000)


@pytest.mark.parametrize("rms", [20, 100, 600, 2000])
def test_a_steady_noise_is_silence_and_speech_above_it_is_not(rms: float) -> None:
    street = noise(4.0, rms)
    assert heard(street).voiced_ms == 0
    loud = speech(4.0, level_dbov=-12.0).astype(np.int32) + street
    assert heard(loud.clip(-32768, 32767).astype(np.int16)).voiced_ms > 1500


def test_a_tone_that_does_not_end_is_nobody() -> None:
    assert heard(tone(425, 10.0)).voiced_ms == 0


def test_clicks_are_nobody() -> None:
    click = np.concatenate([tone(1000, 0.04), silence(0.36)])
    assert heard(silence(0.5), np.tile(click, 10)).voiced_ms == 0


def test_speech_from_the_first_sample_on_is_heard() -> None:
    assert heard(speech(2.0)[:1200], speech(2.0)).voiced_ms > 800
