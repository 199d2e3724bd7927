"""What is played where packets are missing. `Concealment` is the seam; `RepeatAndFade` the simple way."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from gateway.media.codec import SAMPLES_PER_MS, Indices, Samples


class Concealment(Protocol):
    """Makes up missing samples from those before them, for many legs at once."""

    @property
    def history_samples(self) -> int:
        """How many samples before the gap it wants; at most 480."""

    @property
    def reach_samples(self) -> int:
        """Length of a gap that it fills; what is missing beyond is silence."""

    def fill(self, history: Samples, elapsed: Indices) -> Samples:
        """The samples at the given distances into each gap.

        Args:
            history: int16[n, history_samples], the last samples before each gap, the newest last.
            elapsed: int64[n, m], 0 for the first missing sample of the gap.

        Returns:
            int16[n, m].
        """


class RepeatAndFade:
    """The last 20 ms backwards, forwards and backwards again, fading to silence within 60 ms.

    Turning around at the edge of the gap instead of starting the 20 ms anew keeps the waveform without a step.
    """

    history_samples: Final = 20 * SAMPLES_PER_MS
    reach_samples: Final = 60 * SAMPLES_PER_MS

    def fill(self, history: Samples, elapsed: Indices) -> Samples:
        """See `Concealment.fill`."""
        turn, step = np.divmod(elapsed, self.history_samples)
        source = np.where(turn % 2 == 0, self.history_samples - 1 - step, step)
        gain = np.clip(1 - (elapsed + 1) / self.reach_samples, 0, None)
        return np.rint(np.take_along_axis(history, source, axis=1) * gain).astype(np.int16)
