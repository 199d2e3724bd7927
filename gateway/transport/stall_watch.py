"""A thread that looks whether the event loop still turns, and tells where it stands if it does not.

Whatever blocks the loop (a lookup, a slow disk, a plug-in's pure Python) silences every call at once, and leaves no
trace afterwards. So its stack is written down while it happens. Code that holds the interpreter's lock cannot be seen
while it runs; its stall is then told with the stack right behind it.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

import structlog

STALL_S = 0.1
LOOK_EVERY_S = 0.05
TOLD_EVERY_S = 10.0
"""A stall within so many seconds of the last one told is only counted."""
SHOWN_FRAMES = 12

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.stall")


class StallWatch:
    """Watches the thread that calls `start`, which must call `beat` far more often than every `STALL_S`."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat = 0.0
        self._told_beat = 0.0
        self._told_at = float("-inf")
        self._watched = 0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.stalls = 0
        """How often the loop stood still for longer than `STALL_S`."""
        self._untold = 0

    def start(self) -> None:
        """Watch this thread."""
        self._watched = threading.get_ident()
        self.beat(self._clock())
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="stall watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; safe to repeat."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None

    def beat(self, now: float) -> None:
        """The loop turns."""
        self._beat = now

    def look(self, now: float, frame: FrameType | None) -> None:
        """Judge; `frame` is where the watched thread is."""
        beat = self._beat
        if now - beat <= STALL_S or beat == self._told_beat:
            return
        self._told_beat = beat
        self.stalls += 1
        if now - self._told_at < TOLD_EVERY_S:
            self._untold += 1
            return
        stack = traceback.format_stack(frame, SHOWN_FRAMES) if frame is not None else []
        _log.warning(
            "event loop stalls", for_ms=round((now - beat) * 1000), others=self._untold, stack="".join(stack).rstrip()
        )
        self._told_at, self._untold = now, 0

    def _run(self) -> None:
        while not self._ending.wait(LOOK_EVERY_S):
            self.look(self._clock(), sys._current_frames().get(self._watched))  # noqa: SLF001 - the way there is
