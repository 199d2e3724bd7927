"""What is played where packets are missing. `Concealment` is the seam, `PitchRepetition` what calls use.

`PitchRepetition` is of the class of ITU-T G.711 Appendix I, for many legs at once and without its delay of 3.75 ms: a
voice repeats itself with its pitch, so a gap is filled by the last pitch period before it, over and over. What is
heard first is one period, from 10 ms on two, lest it sounds like a machine, and it fades from 10 ms on to silence at
60 ms. The appendix takes a third period from 20 ms on; measured on speech, that gains nothing (0.01 of a MOS less).
`python -m tests.bench.concealment` holds it against `Repetition` and `Silence`.

All three are without state: what they make follows from the samples before the gap and the distance into it.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from gateway.media.codec import SAMPLES_PER_MS, Indices, Samples

MAX_HISTORY_SAMPLES: Final = 60 * SAMPLES_PER_MS
"""What a jitter buffer keeps of the audio already read."""

_LEAST_PERIOD_MS: Final = 5  # 200 Hz; a higher voice is found at a multiple of its period
_GREATEST_PERIOD_MS: Final = 15  # 66 Hz
_TEMPLATE_MS: Final = 12
_STEP_MS: Final = 10
_MOST_PERIODS: Final = 2
_LEAST_MERGE_MS: Final = 4
_MERGE_MS_PER_STEP: Final = 4
_GREATEST_MERGE_MS: Final = 10
_REACH_MS: Final = 60

_Float32 = npt.NDArray[np.float32]


class Concealment(Protocol):
    """Makes up missing samples from those before them, for many legs at once."""

    @property
    def history_samples(self) -> int:
        """How many samples before the gap it wants; at most `MAX_HISTORY_SAMPLES`."""

    @property
    def reach_samples(self) -> int:
        """Length of a gap that it fills; what is missing beyond is silence."""

    def fill(self, history: Samples, elapsed: Indices) -> Samples:
        """The samples at the given distances into each gap, silence beyond `reach_samples`.

        Args:
            history: int16[n, history_samples], the last samples before each gap, the newest last.
            elapsed: int64[n, m], 0 for the first missing sample of the gap.

        Returns:
            int16[n, m].
        """

    def merge_samples(self, gap: Indices) -> Indices:
        """How many samples behind gaps of such lengths fade over from what is made up to what was received."""


class PitchRepetition:
    """Pitch periods repeated with overlap-add at every seam; see the module. `samples_per_ms`: 16 for wideband."""

    def __init__(self, samples_per_ms: int = SAMPLES_PER_MS) -> None:
        self._per_ms = samples_per_ms
        self._step = _STEP_MS * samples_per_ms
        greatest = _GREATEST_PERIOD_MS * samples_per_ms
        self.history_samples: Final = _MOST_PERIODS * greatest + greatest // 4
        self.reach_samples: Final = _REACH_MS * samples_per_ms

    def fill(self, history: Samples, elapsed: Indices) -> Samples:
        """See `Concealment.fill`."""
        past = history.astype(np.float32)
        period = _periods(past, self._per_ms)[:, None]
        quarter = period // 4
        voice = _cycles(past, period, 1, 0, elapsed)
        for periods in range(2, _MOST_PERIODS + 1):
            start = (periods - 1) * self._step
            if elapsed.max() >= start:
                weight = _ramp(elapsed - start, quarter)
                voice += weight * (_cycles(past, period, periods, start, elapsed) - voice)
        before = np.take_along_axis(past, self.history_samples - 1 - period, axis=1)
        voice += (past[:, -1:] - before) * (1 - _ramp(elapsed, quarter))
        fading = self.reach_samples - self._step
        voice *= np.clip((self.reach_samples - elapsed) / np.float32(fading), 0, 1)
        return np.rint(np.clip(voice, -32768, 32767)).astype(np.int16)

    def merge_samples(self, gap: Indices) -> Indices:
        """See `Concealment.merge_samples`: 4 ms, and 4 ms more for every 10 ms of gap after the first, up to 10 ms."""
        later_steps = np.maximum(gap - 1, 0) // self._step
        merge: Indices = np.minimum(_LEAST_MERGE_MS + _MERGE_MS_PER_STEP * later_steps, _GREATEST_MERGE_MS)
        return merge * self._per_ms


def _periods(past: _Float32, per_ms: int) -> Indices:
    """The lag at which the last 12 ms resemble what came before them most: int64[n], samples.

    By normalised cross-correlation: a louder stretch is not a better one.
    """
    length, greatest = _TEMPLATE_MS * per_ms, _GREATEST_PERIOD_MS * per_ms
    template = past[:, -length:]
    span = past[:, -length - greatest : -_LEAST_PERIOD_MS * per_ms]
    windows = sliding_window_view(span, length, axis=1)  # the greatest lag first
    likeness = np.matmul(windows, template[:, :, None])[:, :, 0]
    sums = np.cumsum(np.square(span, dtype=np.float64), axis=1)
    energy = sums[:, length - 1 :].copy()
    energy[:, 1:] -= sums[:, :-length]
    score = likeness / np.sqrt(np.maximum(energy, 1.0))
    lag: Indices = greatest - score.argmax(axis=1)
    return lag


def _cycles(past: _Float32, period: Indices, periods: int, start: int, elapsed: Indices) -> _Float32:
    """The last `periods` pitch periods in a circle, entered at distance `start` where the phase fits: float32[n, m].

    The end of the circle fades over into what came before its beginning, so that it closes without a seam.
    """
    length, quarter, samples = periods * period, period // 4, past.shape[1]
    phase = (elapsed - start + start % period) % length
    circle = np.take_along_axis(past, samples - length + phase, axis=1)
    before = np.take_along_axis(past, np.maximum(samples - 2 * length + phase, 0), axis=1)
    closing: _Float32 = circle + _ramp(phase - (length - quarter), quarter) * (before - circle)
    return closing


def _ramp(distance: Indices, length: Indices) -> _Float32:
    """0 before distance 0, 1 from `length` on, and straight between them."""
    ramp: _Float32 = np.clip((distance + 1) / (length + 1).astype(np.float32), 0, 1).astype(np.float32)
    return ramp


class Repetition:
    """The last 20 ms over and over, fading to silence within 60 ms: what `PitchRepetition` is measured against."""

    history_samples: Final = 20 * SAMPLES_PER_MS
    reach_samples: Final = 60 * SAMPLES_PER_MS

    def fill(self, history: Samples, elapsed: Indices) -> Samples:
        """See `Concealment.fill`."""
        repeated = np.take_along_axis(history, elapsed % self.history_samples, axis=1)
        gain = np.clip(1 - elapsed / self.reach_samples, 0, None)
        return np.rint(repeated * gain).astype(np.int16)

    def merge_samples(self, gap: Indices) -> Indices:
        """See `Concealment.merge_samples`: none."""
        return np.zeros_like(gap)


class Silence:
    """Nothing at all."""

    history_samples: Final = 1
    reach_samples: Final = 0

    def fill(self, history: Samples, elapsed: Indices) -> Samples:
        """See `Concealment.fill`."""
        return np.zeros(elapsed.shape, np.int16)

    def merge_samples(self, gap: Indices) -> Indices:
        """See `Concealment.merge_samples`: none."""
        return np.zeros_like(gap)
