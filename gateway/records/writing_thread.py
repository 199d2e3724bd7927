"""The thread that writes what is kept of calls: jobs in turn, and a queue that makes nobody wait.

::

    event loop               │ thread
    WritingThread.put(job) ──┼─> upkeep, now and then; job(); … ─> at_end

It holds no lock while it works: a disk that hangs costs the queue its room, and no call anything.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

UPKEEP_S = 3600.0
"""How long the thread waits for a job before it looks after its folder again."""

Job: TypeAlias = Callable[[], None]


class WritingThread:
    """A thread, and the jobs that wait for it. Methods are for the thread of the event loop."""

    def __init__(
        self,
        name: str,
        *,
        max_waiting_bytes: int,
        upkeep: Job,
        on_failure: Callable[[Exception], None],
        at_end: Job = lambda: None,
    ) -> None:
        """`upkeep` is done before each job and every `UPKEEP_S`, `at_end` last of all; `on_failure` hears of jobs."""
        self._max_waiting_bytes = max_waiting_bytes
        self._upkeep = upkeep
        self._on_failure = on_failure
        self._at_end = at_end
        self._jobs: queue.SimpleQueue[tuple[Job, int] | None] = queue.SimpleQueue()
        self._queued_bytes = 0  # by the event loop alone
        self._done_bytes = 0  # by the thread alone
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def waiting_bytes(self) -> int:
        """Audio that the disk has not taken yet."""
        return self._queued_bytes - self._done_bytes

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self, patience_s: float) -> bool:
        """Do what is queued, for `patience_s` at most, and end; whether all was done. Blocks."""
        self._jobs.put(None)
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def put(self, job: Job, size_bytes: int = 0) -> bool:
        """Queue a job that holds so much audio; whether there was room (a job without audio has it always)."""
        if size_bytes and self.waiting_bytes + size_bytes > self._max_waiting_bytes:
            return False
        self._queued_bytes += size_bytes
        self._jobs.put((job, size_bytes))
        return True

    # In the thread.

    def _run(self) -> None:
        while True:
            self._upkeep()
            try:
                entry = self._jobs.get(timeout=UPKEEP_S)
            except queue.Empty:
                continue
            if entry is None:
                self._at_end()
                return
            job, size_bytes = entry
            try:
                job()
            except Exception as error:  # noqa: BLE001 - one job must not cost the others
                self._on_failure(error)
            self._done_bytes += size_bytes
