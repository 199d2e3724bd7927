"""Taps for recordings: both directions of chosen legs on one time line, handed off in pieces.

::

    Uplink: what was heard of the peer   int16[n, samples] ──write(HEARD)──┐   ring int16[rows, 2, 300 ticks, tick]
    playout: what left in RTP packets    int16[n, samples] ──write(SENT)───┴─>       │ a piece is over
                                                            take ─> RecordedAudio int16[2, samples]

A frame is placed by the tick at which it was due, which both directions have from the same grid, so that they stay side
by side for hours, however late the frames of one were made. What nobody writes is silence: a direction on hold, frames
that were skipped, keys that were sent instead of audio, a pause.

A row of the ring belongs to a recorded leg; legs that are not recorded cost one comparison a tick, all together.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.media.codec import Indices, Samples
from gateway.media.pacing import TICK_MS

HEARD: Final = 0
"""Channel of what the peer said, as it was heard: after jitter buffer and concealment."""
SENT: Final = 1
"""Channel of what was sent to the peer."""

PIECE_TICKS: Final = 100
LAG_TICKS: Final = 20
"""How long a piece waits for frames that are sent late: more than engine and pacer have patience for."""
RING_TICKS: Final = 3 * PIECE_TICKS
MAX_GAP_TICKS: Final = 2000
"""A stall longer than this shortens the recording, in both directions alike, instead of filling it with silence."""
_GROWTH_ROWS: Final = 16
_NEVER: Final = 1 << 62
_NOBODY: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAudio:
    """The next piece of a leg's recording."""

    leg: int
    samples: Samples
    """int16[2, samples] at the recorder's rate: `HEARD` and `SENT`"""


class Recorder:
    """The taps of all legs. Arguments named `legs` hold distinct legs, `ticks` the ticks their frames were due at."""

    def __init__(self, legs: int, *, rate_hz: int) -> None:
        self.rate_hz: Final = rate_hz
        self._tick_samples = rate_hz * TICK_MS // 1000
        self._row = np.full(legs, -1, np.int64)
        self._free: list[int] = []  # a heap, so that few rows are ever touched
        self._ring = np.zeros((0, 2, RING_TICKS, self._tick_samples), np.int16)
        self._leg = np.zeros(legs, np.int64)  # by row, as what follows
        self._begin = np.full(legs, _NEVER, np.int64)  # the oldest tick in the ring
        self._paused_from = np.full(legs, _NEVER, np.int64)  # frames due between these ticks are not recorded
        self._paused_until = np.full(legs, _NEVER, np.int64)
        self._tick = 0  # the latest there was
        self._count = 0
        self._forced: list[RecordedAudio] = []  # had to make room before its time

    def start(self, leg: int, tick: int) -> None:
        """Record frames that are due from `tick` on."""
        if not self._free:
            self._grow()
        row = heapq.heappop(self._free)
        self._row[leg] = row
        self._leg[row] = leg
        self._begin[row] = tick
        self._paused_from[row] = self._paused_until[row] = _NEVER
        self._tick = max(self._tick, tick)
        self._count += 1

    def is_recorded(self, leg: int) -> bool:
        """Whether the leg has a tap."""
        return bool(self._row[leg] >= 0)

    def pause(self, leg: int, *, is_paused: bool) -> None:
        """Let the time line of a recorded leg go on in silence, or no longer.

        A frame that was due before and is written later, for its packet was late, is still recorded as it was then.
        """
        row = self._row[leg]
        is_paused_now = self._paused_from[row] < self._paused_until[row] == _NEVER
        if is_paused and not is_paused_now:
            self._paused_from[row], self._paused_until[row] = self._tick, _NEVER
        elif is_paused_now and not is_paused:
            self._paused_until[row] = self._tick

    def stop(self, leg: int, tick: int) -> list[RecordedAudio]:
        """End a leg's recording; what has not been taken yet, up to `tick`. Nothing where it was not recorded."""
        row = int(self._row[leg])
        if row < 0:
            return []
        self._make_room(row, tick)
        rest = [piece for piece in self._forced if piece.leg == leg]
        self._forced = [piece for piece in self._forced if piece.leg != leg]
        ticks = tick - int(self._begin[row])
        if ticks > 0:
            rest.append(self._cut(row, ticks))
        self._ring[row] = 0
        self._row[leg] = -1
        self._begin[row] = _NEVER
        self._count -= 1
        heapq.heappush(self._free, row)
        return rest

    def among(self, legs: Indices) -> Indices:
        """Which of `legs` are recorded: indices into it."""
        return (self._row[legs] >= 0).nonzero()[0] if self._count else _NOBODY

    def write(self, channel: int, legs: Indices, ticks: Indices, samples: Samples) -> None:
        """One frame of each of `legs`, which are recorded: int16[n, whole ticks]."""
        count = samples.shape[1] // self._tick_samples
        rows = self._row[legs]
        for index in np.flatnonzero(ticks + count > self._begin[rows] + RING_TICKS):
            self._make_room(int(rows[index]), int(ticks[index]) + count)
        is_wanted = ticks >= self._begin[rows]
        is_wanted &= (ticks < self._paused_from[rows]) | (ticks >= self._paused_until[rows])
        if not is_wanted.all():
            rows, ticks, samples = rows[is_wanted], ticks[is_wanted], samples[is_wanted]
        place = (ticks[:, None] + np.arange(count)) % RING_TICKS
        self._ring[rows[:, None], channel, place] = samples.reshape(len(rows), count, self._tick_samples)

    def take(self, tick: int) -> list[RecordedAudio]:
        """Pieces that nobody will write to any more at `tick`, those of a leg in order."""
        self._tick = tick
        if not self._count:
            return []
        over = tick - PIECE_TICKS - LAG_TICKS
        for row in (self._begin <= over).nonzero()[0].tolist():
            self._make_room(row, tick)
            while self._begin[row] <= over:
                self._forced.append(self._cut(row, PIECE_TICKS))
        pieces, self._forced = self._forced, []
        return pieces

    def _make_room(self, row: int, until: int) -> None:
        """Let a ring reach up to the tick `until`."""
        if until - self._begin[row] > MAX_GAP_TICKS:
            self._forced.append(self._cut(row, RING_TICKS))
            self._begin[row] = until - PIECE_TICKS
        while self._begin[row] + RING_TICKS < until:
            self._forced.append(self._cut(row, PIECE_TICKS))

    def _cut(self, row: int, ticks: int) -> RecordedAudio:
        """Take the oldest part of a ring, and leave silence."""
        begin = int(self._begin[row])
        places = np.arange(begin, begin + ticks) % RING_TICKS
        samples = self._ring[row][:, places].reshape(2, -1)
        self._ring[row][:, places] = 0
        self._begin[row] += ticks
        return RecordedAudio(leg=int(self._leg[row]), samples=samples)

    def _grow(self) -> None:
        """Add rows, in place where the system can: no view of the ring is ever kept."""
        rows = len(self._ring)
        more = min(rows + _GROWTH_ROWS, len(self._leg))
        self._ring.resize((more, *self._ring.shape[1:]), refcheck=False)
        self._free.extend(range(rows, more))
