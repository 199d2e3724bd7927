"""Cutting a frame out of audio, or playing one twice, without a click: overlap-add where both sides are most alike."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.media.codec import SAMPLES_PER_MS, Samples

OVERLAP_SAMPLES: Final = 8 * SAMPLES_PER_MS

_RISE: Final = ((np.arange(OVERLAP_SAMPLES) + 1) / (OVERLAP_SAMPLES + 1)).astype(np.float32)


def splice(before: Samples, after: Samples) -> tuple[Samples, npt.NDArray[np.float64]]:
    """A frame that begins as `before` and ends as `after`, and how alike they are where it passes over.

    Args:
        before: int16[n, samples].
        after: int16[n, samples].

    Returns:
        int16[n, samples]; float64[n], the normalised cross-correlation over the 8 ms of the passage, -1 to 1.
    """
    first, second = before.astype(np.float32), after.astype(np.float32)
    product, energies = _sums(first * second), _sums(first**2) * _sums(second**2)
    likeness = product / np.sqrt(np.maximum(energies, 1.0))
    place = likeness.argmax(axis=1)[:, None]
    weight = np.clip(np.arange(before.shape[1]) - place, -1, OVERLAP_SAMPLES)
    rise = np.concatenate([_RISE, np.ones(1, np.float32), np.zeros(1, np.float32)])[weight]
    spliced = np.rint(first + rise * (second - first)).astype(np.int16)
    return spliced, np.take_along_axis(likeness, place, axis=1)[:, 0]


def _sums(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The sum of every run of `OVERLAP_SAMPLES` of a row."""
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    runs = sums[:, OVERLAP_SAMPLES - 1 :].copy()
    runs[:, 1:] -= sums[:, :-OVERLAP_SAMPLES]
    return runs
