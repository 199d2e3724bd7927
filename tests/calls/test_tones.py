"""Tones of the telephone network."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.calls.speaking.tones import RATE_HZ, samples_of
from gateway.dialplan.actions import Tone


@pytest.mark.parametrize(("tone", "share"), [(Tone.RINGING, 0.2), (Tone.BUSY, 0.5), (Tone.CONGESTION, 0.5)])
def test_a_tone_sounds_for_its_part_of_each_cadence(tone: Tone, share: float) -> None:
    samples = samples_of(tone, 24.0)
    assert len(samples) == 24 * RATE_HZ
    loud = np.abs(samples.reshape(-1, 80)).max(axis=1) > 1000
    assert loud.mean() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(("tone", "hz"), [(Tone.BEEP, 1000), (Tone.BUSY, 425)])
def test_a_tone_has_its_pitch(tone: Tone, hz: int) -> None:
    samples = samples_of(tone, 0.4)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * RATE_HZ / len(samples) == pytest.approx(hz, abs=3)
