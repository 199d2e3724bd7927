"""In which order, and after which pauses, connections are tried when one was lost."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from gateway.errors import ProviderError
from gateway.realtime.recovery.options import RecoveryOptions

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Try provider number ``index`` in ``delay_s`` seconds."""

    index: int
    delay_s: float


class Attempts:
    """One search for a session, over the providers of a call.

    It begins with the present one: at once, then after pauses drawn from 0 to 0.25, 0.5, 1 and 2 s (full jitter), or
    as long as the provider asks. One that refuses for good is left at once, and one whose tries are spent; then the
    others follow in their order.
    """

    def __init__(
        self,
        *,
        providers: int,
        first: int,
        excluded: Collection[int],
        options: RecoveryOptions,
        rng: random.Random,
        now: float,
    ) -> None:
        self._left = [first, *(index for index in range(providers) if index != first)]
        self._left = [index for index in self._left if index not in excluded]
        self._options = options
        self._rng = rng
        self._tries = 0
        self._since = now
        self._delay_s = 0.0

    def next(self) -> Attempt | None:
        """What to try next; None when nothing is left."""
        return Attempt(index=self._left[0], delay_s=self._delay_s) if self._left else None

    def note_failed(self, error: ProviderError, now: float) -> None:
        """The attempt that `next` named has failed at `now`."""
        self._tries += 1
        ceiling_s = min(FIRST_PAUSE_S * 2 ** (self._tries - 1), LONGEST_PAUSE_S)
        delay_s = max(self._rng.uniform(0, ceiling_s), error.retry_after_s or 0.0)
        is_spent = self._tries >= self._options.attempts or now + delay_s - self._since > self._options.window_s
        if error.is_retryable and not is_spent:
            self._delay_s = delay_s
            return
        del self._left[0]
        self._tries, self._since, self._delay_s = 0, now, 0.0
