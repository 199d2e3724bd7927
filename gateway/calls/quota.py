"""How many transfers one caller gets in an hour: what a talked-over model could cost is bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

PERIOD_S = 3600.0
MAX_CALLERS = 10_000


class TransferQuota:
    """A sliding hour for each caller's number. `clock` gives monotonic seconds. Shared by all calls of a process.

    Callers who withhold their number are one caller. The caller heard of least recently is forgotten beyond
    `MAX_CALLERS`.
    """

    def __init__(self, per_hour: int, clock: Callable[[], float]) -> None:
        self._per_hour = per_hour
        self._clock = clock
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, caller: str) -> bool:
        """Whether `caller` may be transferred once more; if so, it counts."""
        now = self._clock()
        taken = self._taken.setdefault(caller, deque(maxlen=self._per_hour))
        self._taken.move_to_end(caller)
        if len(self._taken) > MAX_CALLERS:
            self._taken.popitem(last=False)
        if len(taken) == self._per_hour and now - taken[0] < PERIOD_S:
            return False
        taken.append(now)
        return True
