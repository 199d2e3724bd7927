"""Whether somebody speaks, by loudness alone: enough to end a message, not to find the turns of a conversation.

A block is voice where it is well above the quietest of the last seconds, so that a noisy street is silence and a steady
tone (dial tone, a fax, a hum) is, too. Speech has gaps, which keep the quietest low.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from gateway.media.codec import TELEPHONE_RATE_HZ, Samples

BLOCK_MS: Final = 20
_BLOCK_SAMPLES: Final = TELEPHONE_RATE_HZ * BLOCK_MS // 1000
QUIET_RMS: Final = 150.0
"""Of 32768, -47 dBov: below it nothing is voice."""
ABOVE_FLOOR: Final = 3.0
"""How many times louder than the quietest: 10 dB."""
FLOOR_S: Final = 5.0
CLICK_MS: Final = 60
"""Voice is at least so long; what is shorter is a click."""


class VoiceMeter:
    """One stream of int16 samples at 8 kHz."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)
        self._levels: deque[float] = deque(maxlen=round(FLOOR_S * 1000 / BLOCK_MS))
        self._run_ms = 0
        self.voiced_ms = 0
        """All voice so far."""
        self.silent_ms = 0
        """Since the last of it, or from the beginning."""

    def add(self, samples: Samples) -> None:
        """Hear more."""
        heard = np.concatenate([self._rest, samples])
        blocks = len(heard) // _BLOCK_SAMPLES
        self._rest = heard[blocks * _BLOCK_SAMPLES :]
        if blocks:
            shaped = heard[: blocks * _BLOCK_SAMPLES].reshape(blocks, _BLOCK_SAMPLES).astype(np.float64)
            for level in np.sqrt((shaped**2).mean(axis=1)).tolist():
                self._hear(level)

    def _hear(self, level: float) -> None:
        self._levels.append(level)
        if level <= max(QUIET_RMS, ABOVE_FLOOR * min(self._levels)):
            self._run_ms = 0
            self.silent_ms += BLOCK_MS
            return
        self._run_ms += BLOCK_MS
        if self._run_ms < CLICK_MS:
            self.silent_ms += BLOCK_MS
            return
        self.voiced_ms += self._run_ms if self._run_ms == CLICK_MS else BLOCK_MS
        self.silent_ms = 0
