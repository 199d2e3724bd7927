"""Telephone audio into the features of a wideband acoustic model.

The recogniser's model was trained on 16 kHz speech: of its 25 mel bands from 130 to 6800 Hz the telephone carries the
lower 17. Fed with upsampled telephone audio it finds eight empty bands and mishears; so the features are made here, as
its own front end would, and what the empty bands would have held is predicted from the others::

    int16[n] 8 kHz ─> one level, a faint noise ─> mel power float[frames, 17] ─> noise removal ─> log
      ─> 7 frames at a time, and squares: float[frames, 137] ─> @ narrowband.npy ─> cepstra float32[frames, 13]

The matrix is a ridge regression from `train_narrowband.py`, which names its data. It predicts cepstra, which are
linear in the bands. The faint noise stands in for a real room: the digital silence of synthetic speech is like nothing
that the model has heard. Filters, noise removal and cepstra follow PocketSphinx's front end (sphinxbase `fe`), as the
model asks.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FRAMES_PER_S = 100
WINDOW_S = 0.025625
PREEMPHASIS = 0.97
BANDS = 25
LINE_BANDS = 17
"""Bands below 3.4 kHz."""
CEPSTRA = 13
LOWEST_HZ, HIGHEST_HZ = 130.0, 6800.0
BIN_HZ = 31.25
"""Width of a Fourier bin: 512 points at 16 kHz, 256 at 8 kHz."""

CONTEXT_FRAMES = 3
ACTIVE_LEVEL = 1500.0
"""Root mean square to which speech is brought before anything is measured on it."""
NOISE_DB = 30.0
"""How far below speech the added noise lies."""

MATRIX = Path(__file__).parent / "narrowband.npy"

_LOG_FLOOR = 1e-4
_TYPICAL_LOG_POWER = 10.0
_NOISE_SEED = 5


def mel_filters(rate_hz: int, bands: int) -> Floats:
    """The lowest `bands` of the 25 triangular filters of unit area: `float[bands, bins]`."""

    def mel(hz: Floats | float) -> Floats:
        return np.asarray(2595 * np.log10(1 + np.asarray(hz) / 700))

    edges_mel = np.linspace(float(mel(LOWEST_HZ)), float(mel(HIGHEST_HZ)), BANDS + 2)
    edges_hz = np.floor(700 * (10 ** (edges_mel / 2595) - 1) / BIN_HZ + 0.5) * BIN_HZ
    bins_hz = np.arange(round(rate_hz / BIN_HZ) // 2 + 1) * BIN_HZ
    low, centre, high = (edges_hz[k : k + bands, None] for k in range(3))
    slopes = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    return np.asarray(np.clip(slopes, 0, None) * 2 / (high - low))


def mel_power(signal: Floats, rate_hz: int, bands: int) -> Floats:
    """Power in the lowest `bands`, a hundred frames a second: `float[frames, bands]`."""
    size, hop = round(WINDOW_S * rate_hz), rate_hz // FRAMES_PER_S
    if len(signal) < size:
        return np.zeros((0, bands))
    flattened = np.concatenate((signal[:1], signal[1:] - PREEMPHASIS * signal[:-1]))
    frames = np.lib.stride_tricks.sliding_window_view(flattened, size)[::hop] * np.hamming(size)
    power = np.abs(np.fft.rfft(frames, round(rate_hz / BIN_HZ))) ** 2
    return np.asarray(power @ mel_filters(rate_hz, bands).T)


def log_power(power: Floats) -> Floats:
    """Logarithm with the front end's floor."""
    return np.asarray(np.log(power + _LOG_FLOOR))


class _Envelope:
    """A floor under a quantity that falls to it fast and rises slowly; one value a band."""

    def __init__(self, start: Floats) -> None:
        self.level = start

    def follow(self, value: Floats) -> None:
        rises = value >= self.level
        self.level = np.where(rises, 0.999 * self.level + 0.001 * value, 0.5 * self.level + 0.5 * value)


def remove_noise(power: Floats) -> Floats:
    """The front end's noise subtraction with temporal masking (sphinxbase `fe_noise`), on `float[frames, bands]`."""
    if not len(power):
        return power
    bands = power.shape[1]
    lows, highs = np.maximum(np.arange(bands) - 4, 0), np.minimum(np.arange(bands) + 4, bands - 1) + 1
    smoothed, peak = power[0].copy(), np.zeros(bands)
    noise, floor = _Envelope(power[0] / 20), _Envelope(power[0] / 20)
    cleaned = np.empty_like(power)
    for index, frame in enumerate(power):
        smoothed = 0.7 * smoothed + 0.3 * frame
        noise.follow(smoothed)
        signal = np.maximum(smoothed - noise.level, 1.0)
        floor.follow(signal)
        peak *= 0.85
        masked = np.where(signal < 0.85 * peak, peak * 0.2, signal)
        peak = np.maximum(peak, signal)
        gain = np.clip(np.maximum(masked, floor.level) / np.maximum(smoothed, 1e-30), 1 / 20, 20)
        sums = np.concatenate(([0.0], np.cumsum(gain)))
        cleaned[index] = frame * (sums[highs] - sums[lows]) / (highs - lows)
    return cleaned


def cosine_transform() -> Floats:
    """From log bands to liftered cepstra: `float[25, 13]`."""
    order = np.arange(CEPSTRA)
    matrix = np.cos(np.outer(np.arange(BANDS) + 0.5, order) * np.pi / BANDS) * np.sqrt(2 / BANDS)
    matrix[:, 0] = np.sqrt(1 / BANDS)
    return np.asarray(matrix * (1 + 11 * np.sin(order * np.pi / 22)))


@cache
def _noise(samples: int) -> Floats:
    """Half white, half brown noise of unit deviation, always the same."""
    generator = np.random.default_rng(_NOISE_SEED)
    brown = np.cumsum(generator.standard_normal(samples + 800))
    brown = (brown - np.convolve(brown, np.ones(800) / 800, "same"))[:samples]
    return np.asarray(0.7 * brown / brown.std() + 0.7 * generator.standard_normal(samples))


def levelled(samples: NDArray[np.int16], rate_hz: int) -> Floats:
    """`samples` with its speech at `ACTIVE_LEVEL` and the faint noise added."""
    signal = samples.astype(np.float64)
    block = rate_hz // 20
    energy = np.convolve(signal**2, np.ones(block) / block, "same")
    active = energy > energy.max() * 0.01
    level = np.sqrt((signal[active] ** 2).mean()) if active.any() else 1.0
    # Lengths in steps of a second, so that few noises are kept.
    noise = _noise(-(-len(signal) // rate_hz) * rate_hz)[: len(signal)]
    return np.asarray(signal * (ACTIVE_LEVEL / max(level, 1.0)) + noise * ACTIVE_LEVEL * 10 ** (-NOISE_DB / 20))


def features(samples: NDArray[np.int16]) -> Floats:
    """What the matrix is applied to, from `int16[n]` at 8 kHz: `float[frames, 137]`."""
    bands = log_power(remove_noise(mel_power(levelled(samples, 8000), 8000, LINE_BANDS)))
    count = len(bands)
    padded = np.pad(bands, ((CONTEXT_FRAMES, CONTEXT_FRAMES), (0, 0)), "edge") if count else bands
    context = [padded[offset : offset + count] for offset in range(2 * CONTEXT_FRAMES + 1)]
    squares = (bands - _TYPICAL_LOG_POWER) ** 2 / 10
    return np.concatenate((*context, squares, np.ones((count, 1))), axis=1)


@cache
def _matrix() -> NDArray[np.float32]:
    loaded: NDArray[np.float32] = np.load(MATRIX)
    return loaded


def cepstra(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Features for the recogniser from one whole turn, `int16[n]` at 8 kHz: `float32[frames, 13]`."""
    return np.asarray(features(samples) @ _matrix(), dtype=np.float32)
