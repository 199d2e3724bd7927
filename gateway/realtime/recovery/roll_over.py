"""When a session is replaced because its provider will end it.

::

    confirmed ──── roll_over_before its end ────> DUE: another one is opened; taken in the next pause
                                                   └── a third of that time before the end ──> FORCED: taken at once

A provider that allows little time is left a quarter of it.
"""

from __future__ import annotations

MARGIN_S = 15.0
"""Before the end, at which nobody waits for a pause any more."""
LONGEST_RETRY_S = 10.0


class RollOver:
    """One session's end; times are monotonic seconds."""

    def __init__(self, before_s: float) -> None:
        self._before_s = before_s
        self._due: float | None = None
        self._forced: float | None = None
        self._retry_s = LONGEST_RETRY_S

    def expect(self, life_s: float | None, now: float) -> None:
        """The session, just confirmed, ends in `life_s`; None: it does not."""
        self._due = self._forced = None
        if life_s is not None and life_s > 0:
            before_s = min(self._before_s, life_s / 4)
            self._plan(now + life_s - before_s, now + life_s, before_s)

    def warn(self, in_s: float, now: float) -> None:
        """The provider ends the session in `in_s`: the next pause is taken."""
        self._plan(now, now + in_s, in_s)

    def _plan(self, due: float, end: float, before_s: float) -> None:
        self._due = due if self._due is None else min(due, self._due)
        self._forced = end - min(MARGIN_S, before_s / 3)
        self._retry_s = min(LONGEST_RETRY_S, before_s / 4)

    @property
    def due(self) -> float | None:
        """When another session is to be opened."""
        return self._due

    @property
    def forced(self) -> float | None:
        """When it is taken, pause or no pause."""
        return self._forced

    def is_ripe(self, now: float, quiet_at: float | None) -> bool:
        """Whether the session is to be replaced now; `quiet_at` is when a pause may be taken, None: not known yet."""
        if self._due is None or self._forced is None or now < self._due:
            return False
        return now >= self._forced or (quiet_at is not None and now >= quiet_at)

    def ripe_at(self, quiet_at: float | None) -> float | None:
        """When `is_ripe` has to be asked next, as things stand."""
        if self._due is None:
            return None
        return max(self._due, self._forced or self._due if quiet_at is None else quiet_at)

    def put_off(self, now: float) -> None:
        """The other session could not be opened."""
        self._due = now + self._retry_s
