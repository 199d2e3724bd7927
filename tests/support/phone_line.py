"""A telephone line as the embedded server's recogniser hears it: band-limited, noisy, and coded by mu-law."""

from __future__ import annotations

import audioop

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

RATE_HZ = 8000


def pause(duration_s: float) -> Samples:
    """Digital silence."""
    return np.zeros(round(duration_s * RATE_HZ), dtype=np.int16)


def carried(speech: Samples, *, noise_db: float | None = None) -> Samples:
    """`int16[n]` at 8 kHz through 250-3450 Hz and mu-law, with noise `noise_db` below the speech."""
    signal = _band(speech.astype(np.float64))
    if noise_db is not None:
        noise = _band(np.random.default_rng(3).standard_normal(len(signal)))
        signal += noise * (signal.std() / noise.std() * 10 ** (-noise_db / 20))
    linear = np.clip(np.rint(signal), -32768, 32767).astype("<i2").tobytes()
    return np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(linear, 2), 2), dtype="<i2").astype(np.int16)


def ulaw(samples: Samples) -> bytes:
    """`int16[n]` as G.711 mu-law."""
    return audioop.lin2ulaw(samples.astype("<i2").tobytes(), 2)


def linear(coded: bytes) -> Samples:
    """G.711 mu-law as `int16[n]`."""
    return np.frombuffer(audioop.ulaw2lin(coded, 2), dtype="<i2").astype(np.int16)


def _band(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    size = len(signal) + 800
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    gain = 1 / (1 + np.exp(np.clip((250 - hz) / 15, -50, 50))) / (1 + np.exp(np.clip((hz - 3450) / 25, -50, 50)))
    return np.asarray(np.fft.irfft(np.fft.rfft(signal, size) * gain, size)[: len(signal)])
