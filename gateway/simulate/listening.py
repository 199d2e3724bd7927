"""Ears: when somebody speaks, and which of several sentences is heard in a recording, by its sound alone.

Each candidate is a recording of how the sentence sounds. Its log-spectrum in 12 bands is slid along the recording's;
the best correlated candidate wins. Only the order of the scores means something (a wrong sentence may reach 0.87), so
there is no threshold to tune. Codecs, resampling, jitter buffers and other people's phones may lie in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
FRAME_MS = 20
FRAME_SAMPLES = 160
AUDIBLE_PEAK = 500
"""Peak of a 20 ms frame above which somebody is speaking; codec silence and line noise stay well below."""
BANDS = 12
LOWEST_HZ, HIGHEST_HZ = 250.0, 3450.0
HOP_SAMPLES, WINDOW_SAMPLES = 80, 256
SILENCE_DB = 45.0
AUDIBLE = 300


def log_spectrum(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """float64[frames, BANDS]: band levels in dB every 10 ms at 8 kHz, 45 dB below the loudest taken as silence."""
    if len(samples) < WINDOW_SAMPLES:
        return np.zeros((0, BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW_SAMPLES)[::HOP_SAMPLES]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW_SAMPLES), axis=1)) ** 2
    frequencies = np.fft.rfftfreq(WINDOW_SAMPLES, 1 / RATE_HZ)
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    bands = [(frequencies >= low) & (frequencies < high) for low, high in itertools.pairwise(edges)]
    levels = 10 * np.log10(np.stack([power[:, band].sum(axis=1) for band in bands], axis=1) + 1)
    heard: NDArray[np.float64] = np.maximum(levels, levels.max() - SILENCE_DB)
    return heard


def sentence_scores(samples: NDArray[np.int16], candidates: Mapping[str, NDArray[np.int16]]) -> dict[str, float]:
    """The best correlation (-1 to 1) of each candidate with any place of the recording; both at 8 kHz."""
    heard = log_spectrum(samples)
    return {name: _best_match(heard, log_spectrum(trimmed(said))) for name, said in candidates.items()}


def identify(samples: NDArray[np.int16], candidates: Mapping[str, NDArray[np.int16]]) -> str:
    """Which of the `candidates` (sentence to how it sounds) the recording holds; always one of them."""
    scores = sentence_scores(samples, candidates)
    return max(scores, key=scores.__getitem__)


def trimmed(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Without the silence at both ends, which would match any silence."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples


def window_sums(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The sum of each run of `length` values."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return sums[length:] - sums[:-length]


def _best_match(heard: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    """Pearson's correlation of `said` with every window of `heard` as long as it; the greatest one."""
    if len(said) == 0 or len(heard) < len(said):
        return -1.0
    wanted = said - said.mean()
    size = 1 << (len(heard) + len(said)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size, axis=0) * np.conj(np.fft.rfft(wanted, size, axis=0)), size, axis=0)
    covariance = product[: len(heard) - len(said) + 1].sum(axis=1)
    total, squares = (window_sums((heard**power).sum(axis=1), len(said)) for power in (1, 2))
    spread = np.sqrt(np.maximum(squares - total**2 / wanted.size, 1e-9)) * np.sqrt((wanted**2).sum())
    return float((covariance / spread).max())


def _is_sound(pcm: NDArray[np.int16]) -> NDArray[np.bool_]:
    """For each whole 20 ms of `pcm`, whether somebody is heard: bool[frames]."""
    frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    is_loud: NDArray[np.bool_] = np.abs(frames.astype(np.int32)).max(axis=1, initial=0) > AUDIBLE_PEAK
    return is_loud


def first_sound_ms(pcm: NDArray[np.int16]) -> int | None:
    """Where the first sound of `pcm` (int16[samples], 8 kHz) begins, in ms; None in silence."""
    sound = np.flatnonzero(_is_sound(pcm))
    return int(sound[0]) * FRAME_MS if len(sound) else None


def first_pause_ms(pcm: NDArray[np.int16], lasting_ms: int) -> int | None:
    """Where the first silence of at least `lasting_ms` begins, in ms; None where there is none."""
    wanted, silent = lasting_ms // FRAME_MS, 0
    for index, is_sound in enumerate(_is_sound(pcm)):
        silent = 0 if is_sound else silent + 1
        if silent == wanted:
            return (index + 1 - wanted) * FRAME_MS
    return None


def last_sound_ms(pcm: NDArray[np.int16]) -> int:
    """Where the last sound of `pcm` ends, in ms; 0 in silence."""
    sound = np.flatnonzero(_is_sound(pcm))
    return (int(sound[-1]) + 1) * FRAME_MS if len(sound) else 0
