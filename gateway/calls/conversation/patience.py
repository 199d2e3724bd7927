"""Lets a caller know that somebody is still there while the model is not: a soft tone, now and then, in the silence.

::

    begin ──(what was queued is heard, then 1.5 s of silence)──> tone ──2 s──> tone ──> …        end: no more of them
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gateway.calls.speaking.sounds import RATE_HZ
from gateway.transport.media_loop import MediaLoop

PATIENCE_ITEM = "patience"
SILENCE_S = 1.5
REPEAT_S = 2.0
LOOK_EVERY_S = 0.25


def _tone() -> NDArray[np.int16]:
    """A quarter of a second of 440 Hz at -32 dBov, faded in and out."""
    time_s = np.arange(RATE_HZ // 4) / RATE_HZ
    loudness = np.sin(4 * np.pi * time_s) ** 2
    samples: NDArray[np.int16] = (1100 * np.sin(2 * np.pi * 440 * time_s) * loudness).astype(np.int16)
    samples.setflags(write=False)
    return samples


TONE = _tone()


class Patience:
    """One call's. `leg` says where the caller can hear; None where they cannot, or hear somebody else."""

    def __init__(self, media: MediaLoop, leg: Callable[[], int | None]) -> None:
        self._media = media
        self._leg = leg
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_since: float | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the caller is told to wait."""
        return self._timer is not None

    def begin(self, *, has_waited: bool = False) -> None:
        """The caller waits from now on, or `has_waited` in silence already; nothing where they are told to."""
        if self._timer is None:
            self._quiet_since = asyncio.get_running_loop().time() - SILENCE_S if has_waited else None
            self._look()

    def end(self) -> None:
        """The model is back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now, leg = loop.time(), self._leg()
        is_between = self._quiet_since is not None and now < self._quiet_since  # our own tone may still be queued
        if leg is None or (self._media.engine.queued_ms(leg) > 0 and not is_between):
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= SILENCE_S:
            self._quiet_since = now + REPEAT_S - SILENCE_S
            self._media.engine.play_pcm(leg, PATIENCE_ITEM, TONE)
            self._media.engine.end_item(leg, PATIENCE_ITEM)
        due = now + LOOK_EVERY_S if self._quiet_since is None else self._quiet_since + SILENCE_S
        self._timer = loop.call_at(min(due, now + LOOK_EVERY_S), self._look)
