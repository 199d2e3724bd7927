"""What all calls of a process know together of one provider's endpoint: whether new calls should be sent there.

::

    CLOSED ──refused for load, key or account; or MAX_FAILURES times not reached─> OPEN ──its time is over──> HALF_OPEN
      ^                                                                            ^                            │
      └──────────────── a session was opened ──────────────────────────────────────┼────────────────────────────┤
                                                                                   └─────── not opened ─────────┘

While it is open new calls are turned away at once, without a packet; when its time is over one call is let through to
find out. Calls in progress are not asked: what they lost they try to get back.

`ReconnectPace` keeps a provider that restarted from being run over by all calls at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from gateway.errors import ProviderError, ProviderUnavailable

MAX_FAILURES = 5
"""Sessions in a row that were not reached, until nobody tries for a while."""
UNREACHED_S = 5.0
LIMITED_S = 10.0
"""How long a provider that has too much to do is left alone where it does not say how long."""
REFUSED_S = 60.0
"""... and one that refuses the key or the account: somebody has to act first."""
LONGEST_S = 300.0
PACE_S = 0.125
"""A reconnect falls at random into a slot of its own of this length: at most ten within any second."""
PATIENCE_S = 1.0
"""How long a new call waits for those that were cut off before it."""

_LIMITED = frozenset({"http_429", "rate_limit_exceeded", "rate_limit_error", "too_many_requests", "slow_down"})

_ACCOUNT = ("key", "auth", "quota", "billing", "credit", "account", "permission", "http_401", "http_402", "http_403")
"""In the codes of refusals that meet every call with this key; another may be due to one session's options alone."""


class CircuitState(Enum):
    """Whether new calls are let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened:
    """New calls are turned away for so long; told once each time."""

    code: str
    for_s: float


class Circuit:
    """One endpoint with one key. `max_sessions` at once; None for as many as there are calls."""

    def __init__(self, *, max_sessions: int | None = None) -> None:
        self.max_sessions = max_sessions
        self.sessions = 0
        """Sessions that are open or being opened."""
        self._state = CircuitState.CLOSED
        self._code = ""
        self._failures = 0
        self._open_until_s = 0.0
        self._last_span_s = 0.0
        self._is_probed = False

    def state(self, now: float) -> CircuitState:
        """The state at `now`, monotonic seconds."""
        if self._state is CircuitState.OPEN and now >= self._open_until_s:
            return CircuitState.HALF_OPEN
        return self._state

    @property
    def code(self) -> str:
        """Why it was opened last: the provider's word."""
        return self._code

    def enter(self, now: float) -> None:
        """Count a new call's session in. `leave` must follow, and `note_opened` or `note_failed`, if it went well.

        Raises:
            ProviderUnavailable: it is not to be tried now.
        """
        state = self.state(now)
        if state is CircuitState.OPEN or (state is CircuitState.HALF_OPEN and self._is_probed):
            left_s = max(self._open_until_s - now, 1.0)
            text = f"not tried: the provider refused the last sessions ({self._code})"
            raise ProviderUnavailable(text, code="circuit_open", retry_after_s=left_s)
        if self.max_sessions is not None and self.sessions >= self.max_sessions:
            raise ProviderUnavailable(f"{self.sessions} sessions are open (max_sessions)", code="max_sessions")
        self._is_probed = state is CircuitState.HALF_OPEN
        self.sessions += 1

    def reenter(self) -> None:
        """Count a session of a call in progress in, whatever the limit."""
        self.sessions += 1

    def leave(self) -> None:
        """A session is over, or was not opened."""
        self.sessions -= 1

    def note_opened(self) -> None:
        """A session was opened."""
        self._state, self._failures, self._last_span_s, self._is_probed = CircuitState.CLOSED, 0, 0.0, False

    def note_abandoned(self) -> None:
        """A session was given up before anybody knew whether it could be opened."""
        self._is_probed = False

    def note_refused(self, error: ProviderError, now: float) -> CircuitOpened | None:
        """A call in progress was refused something: as `note_failed` where that concerns other calls, too."""
        return self.note_failed(error, now) if _is_for_account(error) or _is_limited(error) else None

    def note_failed(self, error: ProviderError, now: float) -> CircuitOpened | None:
        """A session was not opened; what is to be told of it."""
        self._is_probed = False
        self._failures += error.is_retryable
        if _is_for_account(error):
            span_s = REFUSED_S
        elif _is_limited(error):
            span_s = LIMITED_S if error.retry_after_s is None else error.retry_after_s
        elif error.is_retryable and self._failures >= MAX_FAILURES:
            span_s = UNREACHED_S
        else:
            return None
        state = self.state(now)
        if state is CircuitState.OPEN:  # another call was on its way when it was opened
            self._open_until_s = max(self._open_until_s, now + min(span_s, LONGEST_S))
            return None
        if state is CircuitState.HALF_OPEN:
            span_s = max(span_s, 2 * self._last_span_s)
        span_s = min(span_s, LONGEST_S)
        is_news = state is CircuitState.CLOSED or error.code != self._code
        self._state, self._code = CircuitState.OPEN, error.code
        self._open_until_s, self._last_span_s = now + span_s, span_s
        return CircuitOpened(code=error.code, for_s=span_s) if is_news else None


def _is_for_account(error: ProviderError) -> bool:
    return not error.is_retryable and any(word in error.code.casefold() for word in _ACCOUNT)


def _is_limited(error: ProviderError) -> bool:
    return error.is_retryable and (error.retry_after_s is not None or error.code in _LIMITED)


class ReconnectPace:
    """The slots of a process in which calls reconnect, booked in the order in which they ask."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._free_s = float("-inf")

    def book(self, now: float) -> float:
        """Take the next slot; how many seconds to wait for it. Where nobody waits there is no wait."""
        if now >= self._free_s:
            self._free_s = now + PACE_S
            return 0.0
        slot_s = self._free_s
        self._free_s += PACE_S
        return slot_s - now + self._rng.uniform(0, PACE_S)

    def queue_s(self, now: float) -> float:
        """For how long the slots are booked: new calls stand behind them."""
        return max(self._free_s - PACE_S - now, 0.0)
