"""How many transfers one caller, or one contact, gets in an hour: what a talked-over model could cost is bounded."""

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


class ContactQuota:
    """A sliding hour for each contact (plan, name), of all its callers. `clock` gives monotonic seconds.

    Shared by all calls of a process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._called: dict[tuple[str, str], deque[float]] = {}

    def has_room(self, contact: tuple[str, str], per_hour: int) -> bool:
        """Whether `contact` may be called once more; `per_hour` at least 1, as the plan in use says at present."""
        called, now = self._called.get(contact, deque()), self._clock()
        return sum(now - at < PERIOD_S for at in called) < per_hour

    def count(self, contact: tuple[str, str]) -> None:
        """It is called now."""
        called, now = self._called.setdefault(contact, deque()), self._clock()
        while called and now - called[0] >= PERIOD_S:
            called.popleft()
        called.append(now)
