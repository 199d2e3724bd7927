"""Comfort noise: as loud as told, of the colour told, and not the same in every frame."""

import numpy as np
import pytest

from gateway.media.comfort_noise import impulse_response, noise
from tests.support.listening import level_dbov


def heard(payload, frames=100):
    response = impulse_response(payload)[None]
    return np.concatenate([noise(response, np.array([160 * i]), 160)[0] for i in range(frames)])


def band_share(samples, low_hz, high_hz):
    """Part of the power that lies between two frequencies."""
    power = np.abs(np.fft.rfft(samples.astype(float))) ** 2
    scale = 8000 / len(samples)
    return power[round(low_hz / scale) : round(high_hz / scale)].sum() / power.sum()


@pytest.mark.parametrize("level_dbov_told", [-30, -45, -60])
@pytest.mark.parametrize("coefficients", [b"", bytes([127 - 114]), bytes([127 - 100, 127 + 60, 140])])
def test_it_has_the_level_told_whatever_its_colour(level_dbov_told, coefficients):
    assert level_dbov(heard(bytes([-level_dbov_told]) + coefficients)) == pytest.approx(level_dbov_told, abs=1.0)


def test_a_level_alone_makes_white_noise():
    assert band_share(heard(b"\x28"), 0, 2000) == pytest.approx(0.5, abs=0.03)


def test_reflection_coefficients_make_its_spectrum():
    # A first coefficient of -0.9 is a predictor of one sample by 0.9 of the one before: low frequencies.
    dark, bright = heard(bytes([40, 127 - 114])), heard(bytes([40, 127 + 114]))
    assert band_share(dark, 0, 1000) > 0.8
    assert band_share(bright, 3000, 4000) > 0.8


def test_frames_follow_each_other_without_repeating_for_a_second():
    whole = noise(impulse_response(b"\x28\x10")[None], np.array([0]), 1600)[0]
    assert (heard(b"\x28\x10", 10) == whole).all()
    frames = heard(b"\x28", 50).reshape(-1, 160)
    assert len({frame.tobytes() for frame in frames}) == 50


def test_the_noise_of_a_leg_does_not_depend_on_others_in_the_batch():
    responses = np.stack([impulse_response(payload) for payload in (b"\x28", b"\x32\x10")])
    together = noise(responses, np.array([160, 8000 * 7 + 320]), 160)
    alone = [noise(responses[i : i + 1], np.array([start]), 160)[0] for i, start in enumerate((160, 320))]
    assert np.abs(together - np.stack(alone).astype(int)).max() <= 1


@pytest.mark.parametrize(
    "payload", [b"", b"\x7f", b"\xff", b"\x00" + bytes(40), b"\x00" + b"\xff" * 200, b"\x28\x00\xff"]
)
def test_no_payload_does_harm(payload):
    samples = heard(payload)
    assert np.isfinite(impulse_response(payload)).all()
    assert level_dbov(samples) <= 0
