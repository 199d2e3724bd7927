"""Watches a model that ought to speak: how long its caller waits, and how long a connection says nothing at all.

::

    a reply is due ──8 s──> PROMPT ──20 s──> RECONNECT ──40 s──> GIVE_UP time in which the caller speaks apart
    a request went out, no event at all ──8 s──> DEAD

The ladder is climbed over a reconnect: another connection to a model that is silent is no news to the caller. For the
same reason a connection is taken for dead once; from then on the ladder alone decides.
"""

from __future__ import annotations

from enum import Enum

from gateway.realtime.recovery.options import RecoveryOptions


class Verdict(Enum):
    """What is to be done about a silence."""

    PROMPT = "prompt"
    RECONNECT = "reconnect"
    GIVE_UP = "give up"
    DEAD = "dead"


class Vigil:
    """One call's; times are monotonic seconds."""

    def __init__(self, options: RecoveryOptions) -> None:
        self._dead_s = options.no_event_s
        self._ladder = (
            (options.prompt_after_s, Verdict.PROMPT),
            (options.reconnect_after_s, Verdict.RECONNECT),
            (options.give_up_after_s, Verdict.GIVE_UP),
        )
        self._rung = 0
        self._waited_s = 0.0
        self._since: float | None = None
        self._asked: float | None = None
        self._has_died = False

    def waited_s(self, now: float) -> float:
        """How long the caller has waited."""
        return self._waited_s + (now - self._since if self._since is not None else 0.0)

    def wait(self, now: float) -> None:
        """A reply is due."""
        if self._since is None:
            self._since = now

    def pause(self, now: float) -> None:
        """Nothing is due at the moment: the caller speaks, a tool runs, or there is no session."""
        self._waited_s, self._since = self.waited_s(now), None

    def reset(self) -> None:
        """The model speaks, or somebody else has taken its place."""
        self._rung, self._waited_s, self._since, self._has_died = 0, 0.0, None, False

    def ask(self, now: float) -> None:
        """A request went out that is answered by an event, whatever it is."""
        if self._asked is None and not self._has_died and not self._has_reconnected:
            self._asked = now

    def leave(self, now: float) -> None:
        """The session is gone, and whatever was asked of it."""
        self._asked = None
        self.pause(now)

    def hear(self) -> None:
        """An event came."""
        self._asked = None

    @property
    def _has_reconnected(self) -> bool:
        return any(verdict is Verdict.RECONNECT for _, verdict in self._ladder[: self._rung])

    @property
    def due(self) -> float | None:
        """When `check` has to be called next."""
        times = []
        if self._asked is not None:
            times.append(self._asked + self._dead_s)
        if self._since is not None and self._rung < len(self._ladder):
            times.append(self._since + self._ladder[self._rung][0] - self._waited_s)
        return min(times, default=None)

    def check(self, now: float) -> Verdict | None:
        """What is due at `now`; at most one thing at a time."""
        if self._asked is not None and now >= self._asked + self._dead_s:
            self._asked, self._has_died = None, True
            return Verdict.DEAD
        if self._since is None or self._rung == len(self._ladder):
            return None
        after_s, verdict = self._ladder[self._rung]
        if now < self._since + after_s - self._waited_s:
            return None
        self._rung += 1
        return verdict
