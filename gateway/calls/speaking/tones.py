"""The sounds of a telephone network, made here: int16 at 8 kHz, in the cadences of most of Europe.

ETSI TR 101 041-2 and ITU-T E.180: 425 Hz; ringing 1 s in 5, busy 480 ms in 960, congestion 240 ms in 480.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.dialplan.actions import Tone

RATE_HZ = 8000
AMPLITUDE = 3000
_CADENCES = {
    Tone.RINGING: (425, 1000, 4000),
    Tone.BUSY: (425, 480, 480),
    Tone.CONGESTION: (425, 240, 240),
    Tone.BEEP: (1000, 1000, 0),
}
"""Of each: Hz, and the milliseconds of sound and of silence behind it."""


def samples_of(tone: Tone, seconds: float) -> NDArray[np.int16]:
    """`tone` for so long, int16[samples]; the last cadence may be cut."""
    hz, on_ms, off_ms = _CADENCES[tone]
    at = np.arange(round(seconds * RATE_HZ))
    is_on = at % ((on_ms + off_ms) * RATE_HZ // 1000) < on_ms * RATE_HZ // 1000
    sound = AMPLITUDE * np.sin(2 * np.pi * hz * at / RATE_HZ) * is_on
    return sound.astype(np.int16)
