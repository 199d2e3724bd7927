"""Sounds that name who makes them: two tones at once, found again behind telephone codecs and resamplers.

A speech model is not told which telephone it hears. So each caller of a load begins with a mark of its own; from there
on the model's clock and the caller's can be laid side by side.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt

RATE_HZ: Final = 8000
MARK_S: Final = 0.24
"""At least three whole appends of 60 ms."""
_AMPLITUDE: Final = 6000
_SPACING_HZ: Final = 50
_LOW_HZ: Final = tuple(range(400, 1800, _SPACING_HZ))
_HIGH_HZ: Final = tuple(range(1850, 3350, _SPACING_HZ))
MARKS: Final = len(_LOW_HZ) * len(_HIGH_HZ)
"""Callers that can be told apart."""
_LEAST_SHARE: Final = 0.4
"""Of the energy that each of the two tones has in what is nothing but a mark; half, but for codecs."""


def mark(number: int) -> npt.NDArray[np.int16]:
    """The mark of a number below `MARKS`: int16[samples], 8 kHz."""
    high, low = divmod(number, len(_LOW_HZ))
    time_s = np.arange(round(MARK_S * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * hz * time_s) for hz in (_LOW_HZ[low], _HIGH_HZ[high]))
    sound: npt.NDArray[np.int16] = np.rint(_AMPLITUDE * tones).astype(np.int16)
    return sound


def read_mark(samples: npt.NDArray[np.int16], rate_hz: int) -> int | None:
    """The number whose mark all of `samples` is part of; None where it is anything else, or too short to tell."""
    if len(samples) * _SPACING_HZ < rate_hz:
        return None
    heard = samples.astype(np.float32)
    power = np.abs(_tones(len(heard), rate_hz) @ heard) ** 2
    low, high = int(power[: len(_LOW_HZ)].argmax()), int(power[len(_LOW_HZ) :].argmax())
    weaker = min(float(power[low]), float(power[len(_LOW_HZ) + high])) * 2 / len(heard)
    return high * len(_LOW_HZ) + low if weaker > _LEAST_SHARE * float(np.square(heard).sum()) else None


@functools.cache
def _tones(samples: int, rate_hz: int) -> npt.NDArray[np.complex64]:
    """The discrete Fourier transform at the frequencies of marks: complex64[frequencies, samples]."""
    frequencies = np.array(_LOW_HZ + _HIGH_HZ)[:, None]
    waves: npt.NDArray[np.complex64] = np.exp(-2j * np.pi * frequencies * np.arange(samples) / rate_hz).astype(
        np.complex64
    )
    return waves
