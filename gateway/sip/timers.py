"""One queue of alarms for the whole signalling core, so that its shell needs a single timer of the event loop.

Nothing here reads a clock: `expire` is told the time, seconds on any monotonic scale. An alarm that is late (the loop
stood still) rings once, never once for every period it missed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

COMPACTION_MINIMUM = 256


class Alarm:
    """A callback that is due at `deadline`; cancelled ones never ring."""

    __slots__ = ("_callback", "_queue", "deadline")

    def __init__(self, queue: TimerQueue, deadline: float, callback: Callable[[float], None]) -> None:
        self._queue = queue
        self._callback: Callable[[float], None] | None = callback
        self.deadline = deadline

    @property
    def is_pending(self) -> bool:
        """Whether it will still ring."""
        return self._callback is not None

    def cancel(self) -> None:
        """Never ring. Lets go of the callback at once, so that a cancelled alarm keeps nothing alive."""
        if self._callback is not None:
            self._callback = None
            self._queue.note_cancelled()

    def ring(self, now: float) -> None:
        """Call back, once. For the queue."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(now)


class TimerQueue:
    """Alarms in the order of their deadlines; equal deadlines ring in the order in which they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def start(self, deadline: float, callback: Callable[[float], None]) -> Alarm:
        """Call `callback(now)` at `deadline` or as soon as `expire` is called after it."""
        alarm = Alarm(self, deadline, callback)
        heapq.heappush(self._heap, (deadline, next(self._order), alarm))
        return alarm

    def next_deadline(self) -> float | None:
        """When the next alarm is due; None without any."""
        while self._heap and not self._heap[0][2].is_pending:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def expire(self, now: float) -> None:
        """Ring all that is due, and what these alarms set to be due by `now` as well."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            heapq.heappop(self._heap)[2].ring(now)

    def note_cancelled(self) -> None:
        """Keep the heap within twice the live alarms: a busy gateway cancels nearly all it sets. For `Alarm`."""
        self._cancelled += 1
        if self._cancelled > COMPACTION_MINIMUM and self._cancelled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].is_pending]
            heapq.heapify(self._heap)
            self._cancelled = 0
