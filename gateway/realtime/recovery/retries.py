"""Whether a reply that failed is asked for again, and when: after 1, 2 and 4 s, or as the provider says."""

from __future__ import annotations

from random import Random

from gateway.errors import ProviderError
from gateway.realtime.recovery.options import RecoveryOptions

PAUSES_S = (1.0, 2.0, 4.0)
"""Before a reply that failed is asked for again, unless the provider says how long."""


class Retries:
    """One call's; times are monotonic seconds."""

    def __init__(self, options: RecoveryOptions, rng: Random) -> None:
        self._longest_s = options.reconnect_after_s
        self._most = options.reply_retries
        self._rng = rng
        self._made = 0
        self._due: float | None = None

    @property
    def due(self) -> float | None:
        """When `take` has to be called next."""
        return self._due

    def plan(self, error: ProviderError, now: float) -> bool:
        """A reply failed with `error`; whether it will be asked for again."""
        pause_s = error.retry_after_s
        if pause_s is None:
            pause_s = PAUSES_S[min(self._made, len(PAUSES_S) - 1)] * self._rng.uniform(0.5, 1)
        if not error.is_retryable or pause_s > self._longest_s or self._made >= self._most:
            return False
        self._made += 1
        self._due = now + pause_s
        return True

    def drop(self) -> None:
        """The reply is not wanted any more, or another has begun."""
        self._due = None

    def take(self, now: float) -> bool:
        """Whether the reply is to be asked for now; once."""
        if self._due is None or now < self._due:
            return False
        self._due = None
        return True
