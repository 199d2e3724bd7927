"""Which legs are due, and how much is sent to their providers at once.

Every leg's frames lie on an absolute grid of 5 ms ticks, spread over phase groups.

Nothing here adds up periods of a clock that may be late: a leg's next tick is an integer that moves by whole frames, so
30,000 frames take 600 s whatever the lateness of each. The groups keep a quarter of the legs due in every tick.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.media.codec import TELEPHONE_RATE_HZ, Indices

TICK_S: Final = 0.005
"""Step of the grid in seconds, and the period in which the engine wants to be called."""
TICK_MS: Final = 5
PHASE_GROUPS: Final = 4

APPENDS_MS: Final = (20, 40, 60, 100)
"""Lengths of uplink audio that is handed off at once."""
MAX_APPEND_MS: Final = max(APPENDS_MS)
_LONGER_AT_PERCENT: Final = (50.0, 60.0, 75.0)
_NEVER: Final = 1 << 62
_CROWDED: Final = 1.25
"""How many times its fair share of the legs a phase group may have."""
_FEW: Final = 4
_RELIEF_PERCENT: Final = 15.0
"""More than the longest step saves (20 to 40 ms: a quarter of the load), so that no length undoes itself."""


def append_ms_for(cpu_percent: float, present_ms: int) -> int:
    """The length of appends, one of `APPENDS_MS`, at a load in percent of a core and after a length of `present_ms`.

    Short ones are heard soonest (a model's turn detection waits for whole appends), long ones are cheapest: a message
    costs nearly the same whatever is in it. Longer at 50, 60 and 75 percent; shorter again 15 below that.
    """
    present = APPENDS_MS.index(present_ms)
    longest = sum(cpu_percent >= limit for limit in _LONGER_AT_PERCENT)
    shortest = sum(cpu_percent >= limit - _RELIEF_PERCENT for limit in _LONGER_AT_PERCENT)
    return APPENDS_MS[min(max(present, longest), shortest)]


def tick_of(now: float) -> int:
    """The tick that has begun at `now`, with a microsecond of tolerance for binary fractions."""
    return int((now + 1e-6) // TICK_S)


class FramePacer:
    """The next due tick of every leg, and what became of frames that nobody came for in time."""

    def __init__(self, legs: int, *, patience_ms: int) -> None:
        """`patience_ms`: a frame later than that is not caught up with; it and those after it are skipped."""
        self._patience = patience_ms // TICK_MS
        self._is_open = np.zeros(legs, np.bool_)
        self._has_met = np.zeros(legs, np.bool_)
        self._nothing = np.zeros(legs, np.int64)
        self._group = np.zeros(legs, np.int64)
        self._period = np.ones(legs, np.int64)
        self._next = np.full(legs, _NEVER, np.int64)

    def open(self, leg: int, *, tick: int, frame_ms: int) -> None:
        """Start a leg in the emptiest phase group, at its first tick from `tick` on."""
        crowd = np.bincount(self._group[self._is_open], minlength=PHASE_GROUPS)
        group = int(crowd.argmin())
        self._is_open[leg] = True
        self._group[leg] = group
        self._period[leg] = frame_ms // TICK_MS
        self._next[leg] = tick + (group - tick) % PHASE_GROUPS

    def meet(self, leg: int, tick: int) -> None:
        """Let a leg's next frame be due at `tick`, or in one of the three after it where too many legs are due then."""
        self._has_met[leg] = False
        crowd = np.bincount(self._group[self._has_met], minlength=PHASE_GROUPS)
        most = np.count_nonzero(self._is_open) / PHASE_GROUPS * _CROWDED + _FEW
        due = next((due for due in range(tick, tick + PHASE_GROUPS) if crowd[due % PHASE_GROUPS] < most), tick)
        self._group[leg] = due % PHASE_GROUPS
        self._next[leg] = due
        self._has_met[leg] = True

    def close(self, leg: int) -> None:
        """The leg is never due again."""
        self._is_open[leg] = self._has_met[leg] = False
        self._next[leg] = _NEVER

    def change_period(self, leg: int, frame_ms: int) -> None:
        """Let frames of another length follow the one that is due next."""
        self._period[leg] = frame_ms // TICK_MS

    def wait_samples(self, legs: Indices, now: float) -> Indices:
        """Telephone samples of time until the next frame of each leg is due; negative for the overdue."""
        wait: Indices = np.rint((self._next[legs] * TICK_S - now) * TELEPHONE_RATE_HZ).astype(np.int64)
        return wait

    def begun(self, legs: Indices) -> Indices:
        """The ticks at which the frames began that `due` named last; to be asked before it is called again."""
        begun: Indices = self._next[legs] - self._period[legs]
        return begun

    def due(self, tick: int) -> tuple[Indices, Indices]:
        """Legs with a frame due at `tick` or before, int64[n], and how many frames of each were skipped before it.

        Every leg is named once and moves on by one frame, so a leg that is less than `patience_ms` behind is named in
        each call until it has caught up.
        """
        legs = self.waiting(tick)
        return legs, self.advance(legs, tick)

    def waiting(self, tick: int) -> Indices:
        """Legs with a frame due at `tick` or before, int64[n]; they stay where they are."""
        return (self._next <= tick).nonzero()[0]

    def overdue(self, legs: Indices, tick: int) -> Indices:
        """For how many ticks the next frame of each of `legs` has been due."""
        overdue: Indices = tick - self._next[legs]
        return overdue

    def advance(self, legs: Indices, tick: int) -> Indices:
        """Let `legs`, which are due, move on by a frame; how many of each were skipped before it, as `due` has it."""
        due, period = self._next[legs], self._period[legs]
        if due.min(initial=tick) >= tick - self._patience:
            self._next[legs] = due + period
            return self._nothing[: legs.size]
        late = tick - due
        skipped = np.where(late > self._patience, late // period, 0)
        self._next[legs] = due + (skipped + 1) * period
        return skipped
