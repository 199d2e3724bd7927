"""How long received audio should wait: for each leg the delay that its network asks for, in frames of 20 ms.

The *slack* of a packet is the time between its arrival and the read that needs it. A leg remembers the least slack of
each half second in which packets came, for eight seconds. The third smallest of them tells how late the network
regularly is: up to two stalls in eight seconds leave it alone, and what such a stall cost is given back in the half
second after it; more of them, or steady jitter, are waited for::

    least slack    |  31  28 |  30  |  2  |  29  |  31 | ...     16 half seconds, ms
                                       |     `-- the third smallest: the regular least
                                       `-- an accident

Measured by `python -m tests.bench.delay`: the second smallest keeps the delay of every stall where there is one in five
seconds, the fourth lets more than 1 % be concealed under heavier jitter.

The delay shrinks by whole frames as long as the regular least keeps 5 ms of what a read has patience for, and a packet
that is on time keeps `JitterOptions.delay_ms`. It grows by a frame where either falls short, which is how the buffer
follows a sender whose clock drifts: long before a packet comes too late. What does come too late makes the buffer grow
at once, by itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.media.codec import SAMPLES_PER_MS, Indices

_REVIEW_FRAMES: Final = 25
"""Half a second."""
_REVIEWS: Final = 16
_ACCIDENTS: Final = 2
_KEPT_SLACK: Final = 5 * SAMPLES_PER_MS
_SCARCE_SLACK: Final = 2 * SAMPLES_PER_MS
_SHORT_OF_DELAY: Final = 8 * SAMPLES_PER_MS
_NOTHING: Final = 1 << 40


class DelayControl:
    """The bank. Arguments named `legs` hold distinct legs; slack is in samples."""

    def __init__(self, legs: int, *, delay_samples: int, patience_samples: int, frame_samples: int) -> None:
        """`patience_samples`: how late a packet may be for the read that needs it, for the read waits."""
        self._delay = delay_samples
        self._kept = _KEPT_SLACK - patience_samples
        self._scarce = _SCARCE_SLACK - patience_samples
        self._short = delay_samples - max(_SHORT_OF_DELAY, min(patience_samples, frame_samples))
        self._frame = frame_samples
        self._least = np.full(legs, _NOTHING, np.int64)  # since the last review
        self._most = np.full(legs, -_NOTHING, np.int64)
        self._reviewed = np.full((legs, _REVIEWS), self._kept, np.int64)  # least slacks, the oldest is next
        self._oldest = np.zeros(legs, np.int64)
        self._reads = np.zeros(legs, np.int64)
        self.on_time = np.full(legs, delay_samples, np.int64)
        """What a packet that was on time waited in the last half second in which any came."""
        self.surplus = np.zeros(legs, np.int64)
        """Frames that the delay is too long; negative: too short."""

    def begin(self, leg: int) -> None:
        """Know nothing of a leg's network but that it may be as late as the delay allows."""
        self._least[leg], self._most[leg] = _NOTHING, -_NOTHING
        self._reviewed[leg] = self._kept
        self.on_time[leg] = self._delay
        self.surplus[leg] = self._reads[leg] = 0

    def note(self, legs: Indices, slack: Indices) -> None:
        """Packets arrived, one of each leg."""
        self._least[legs] = np.minimum(self._least[legs], slack)
        self._most[legs] = np.maximum(self._most[legs], slack)

    def grew(self, legs: Indices, samples: Indices | int) -> None:
        """The delay was made longer by so much; negative: shorter."""
        self._least[legs] += samples
        self._most[legs] += samples
        self._reviewed[legs] += np.broadcast_to(samples, legs.shape)[:, None]

    def wants_more(self, legs: Indices) -> None:
        """A straggler came too late for a delay that its successors were in time for."""
        self.surplus[legs] = np.minimum(self.surplus[legs], 0) - 1

    def pass_frame(self, legs: Indices) -> None:
        """A frame was read; every half second, decide anew."""
        self._reads[legs] += 1
        due = legs[self._reads[legs] >= _REVIEW_FRAMES]
        if due.size:
            self._reads[due] = 0
            self._review(due[self._least[due] < _NOTHING // 2])

    def _review(self, legs: Indices) -> None:
        self.on_time[legs] = most = self._most[legs]
        self._reviewed[legs, self._oldest[legs]] = self._least[legs]
        self._oldest[legs] = (self._oldest[legs] + 1) % _REVIEWS
        self._least[legs], self._most[legs] = _NOTHING, -_NOTHING
        regular = np.partition(self._reviewed[legs], _ACCIDENTS, axis=1)[:, _ACCIDENTS]
        surplus = np.minimum(regular - self._kept, most - self._delay) // self._frame
        is_short = (regular < self._scarce) | (most < self._short)
        lacking = np.minimum(self.surplus[legs], np.where(is_short, -1, 0))
        self.surplus[legs] = np.where(surplus > 0, surplus, lacking)
