"""When somebody speaks, by the sound alone."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.simulate.listening import FRAME_MS, first_pause_ms, first_sound_ms, last_sound_ms
from tests.support.listening import silence, tone

HISS = np.random.default_rng(1).integers(-40, 40, 8000).astype(np.int16)


def test_silence_and_line_noise_are_nobody() -> None:
    assert first_sound_ms(silence(1)) is None
    assert first_sound_ms(HISS) is None
    assert last_sound_ms(HISS) == 0
    assert first_sound_ms(np.zeros(0, np.int16)) is None


@pytest.mark.parametrize("start_s", [0.0, 0.1, 0.55])
def test_first_and_last_sound_are_found_to_a_frame(start_s: float) -> None:
    pcm = np.concatenate([silence(start_s), tone(700, 0.4), silence(0.3)])
    assert first_sound_ms(pcm) == pytest.approx(start_s * 1000, abs=FRAME_MS)
    assert last_sound_ms(pcm) == pytest.approx((start_s + 0.4) * 1000, abs=FRAME_MS)


def test_pause_is_the_first_that_is_long_enough() -> None:
    pcm = np.concatenate([tone(700, 0.2), silence(0.1), tone(700, 0.2), silence(0.5), tone(700, 0.2)])
    assert first_pause_ms(pcm, 300) == pytest.approx(500, abs=FRAME_MS)
    assert first_pause_ms(pcm, 80) == pytest.approx(200, abs=FRAME_MS)
    assert first_pause_ms(pcm, 600) is None
