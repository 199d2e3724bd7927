"""``hang_up_after``: the call is ended after so long, unless the caller speaks or presses a key before.

::

    begin ──so long──> expire: the call ends        a key, or words: no longer
       ╰─ a sound ──> it waits for the words ──the agent's own, or none──> so long again
    the time is up while the caller is elsewhere ──> resume, when they are back: the call ends, or so long again

A second `begin` while the first is under way changes nothing: a question repeated in the silence delays nothing.
"""

from __future__ import annotations

from gateway.calls.escalation.facts import CallerHeard, CallerSaid, Fact
from gateway.calls.escalation.judges import own_words


class Farewell:
    """Of one call; pure. What is to be started is told as seconds."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._has_sound = False
        self._missed: tuple[float, bool] | None = None  # the time that was up elsewhere, and whether it begins again

    def expire(self, *, is_elsewhere: bool = False, begins_again: bool = False) -> bool:
        """The time is up: whether the call ends now. Where it does not, the next `begin` begins again.

        A caller who `is_elsewhere` is hung up on when they are back, or has so long again (`begins_again`).
        """
        seconds, is_due = self._seconds, self._seconds is not None and not self._has_sound
        self.spare()
        if is_due and is_elsewhere and seconds is not None:
            self._missed = (seconds, begins_again)
        return is_due and not is_elsewhere

    def resume(self, *, begins_again: bool = False) -> float | None:
        """The caller is back with a session: the time that begins; 0.0: they had it; None: nothing was missed."""
        if self._missed is None:
            return None
        (seconds, again), self._missed = self._missed, None
        if not (again or begins_again):
            return 0.0
        self._seconds = seconds
        return seconds

    def begin(self, seconds: float) -> float | None:
        """So long from now on; None where it is under way already."""
        if self._seconds is not None or self._missed is not None:
            return None
        self._seconds, self._has_sound = seconds, False
        return seconds

    def spare(self) -> None:
        """The caller is there."""
        self._seconds, self._has_sound, self._missed = None, False, None

    def hear(self, fact: Fact) -> float | None:
        """What the caller does; the time that begins anew, if it does."""
        match fact:
            case CallerHeard() if self._seconds is not None:
                self._has_sound = True
            case CallerSaid() if own_words(fact):
                self.spare()
            case CallerSaid(is_whole=True) if self._seconds is not None and self._has_sound:
                self._has_sound = False
                return self._seconds
            case _:
                pass
        return None
