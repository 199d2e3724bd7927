"""Tells a call of silences in it: neither caller nor agent has been heard for as long as the dialplan asks about.

::

    heard ──so long──> SilenceLasted(10) ──> SilenceLasted(25)        heard again: all of it from the beginning

Whoever is on hold, in a transfer or listens to a file is not with the agent: no silence, and none that began before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from gateway.calls.escalation.facts import SilenceLasted

LOOK_AGAIN_S = 0.25
"""How often it is looked for the beginning of a silence while somebody is heard."""


class LastHeard:
    """When caller and agent of one session were heard last; s of one clock, pure."""

    def __init__(self) -> None:
        self._is_caller_speaking = False
        self._caller_s = 0.0
        self._agent_s = 0.0

    def begin_caller(self) -> None:
        """The caller has begun to speak."""
        self._is_caller_speaking = True

    def end_caller(self, now: float) -> None:
        """The caller has ended."""
        self._is_caller_speaking, self._caller_s = False, now

    def hear_caller(self, now: float) -> None:
        """The caller gives a sign of being there: some words, a key."""
        self._caller_s = now

    def hear_agent(self, until: float) -> None:
        """The agent is heard until then."""
        self._agent_s = max(self._agent_s, until)

    def cut_agent(self, now: float) -> None:
        """The agent is heard no more."""
        self._agent_s = min(self._agent_s, now)

    def since(self, now: float) -> float | None:
        """Since when neither has been heard; None where one is."""
        last = max(self._caller_s, self._agent_s)
        return None if self._is_caller_speaking or last > now else last


class Silence:
    """The lengths of silence that are waited for, in s; pure."""

    def __init__(self, lengths: Iterable[float]) -> None:
        self._lengths = tuple(sorted(set(lengths)))
        self._from: float | None = None  # when it was seen that nobody is heard
        self._since: float | None = None
        self._told = 0

    def look(self, now: float, since: float | None) -> tuple[list[float], float]:
        """The lengths reached `now`, of a silence `since` then; and in how many s to look again.

        `since` is None while there is none, and a later one than before where somebody was heard in between. What lies
        before the last time that there was none does not count.
        """
        if since is None:
            self._from = None
            return [], LOOK_AGAIN_S
        self._from = now if self._from is None else self._from
        since = max(since, self._from)
        if since != self._since:
            self._since, self._told = since, 0
        reached = [length for length in self._lengths[self._told :] if now - since >= length]
        self._told += len(reached)
        left = [since + length - now for length in self._lengths[self._told :]]
        return reached, max(left[0], LOOK_AGAIN_S / 10) if left else LOOK_AGAIN_S


class SilenceWatch:
    """Looks for silences in one call, on the loop that runs.

    `since` says since when nobody has been heard (s, `clock`); None where somebody is, or the caller is not with the
    agent. `tell` gets what was found.
    """

    def __init__(
        self,
        lengths: Iterable[float],
        *,
        since: Callable[[], float | None],
        clock: Callable[[], float],
        tell: Callable[[SilenceLasted], None],
    ) -> None:
        lengths = tuple(lengths)
        self._is_wanted = bool(lengths)
        self._silence = Silence(lengths)
        self._since = since
        self._clock = clock
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look from now on; nothing where no silence is waited for."""
        if self._is_wanted and self._timer is None:
            self._look_in(LOOK_AGAIN_S)

    def stop(self) -> None:
        """The call is over; safe to repeat."""
        self._is_wanted = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        reached, delay_s = self._silence.look(self._clock(), self._since())
        self._look_in(delay_s)
        for seconds in reached:
            self._tell(SilenceLasted(seconds=seconds))
