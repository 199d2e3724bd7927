"""Whether what a call had to say has been heard: told once, when it is asked for.

::

    wait ──> look, look … nothing left ──PLAYOUT_TAIL_S──> still nothing: `ended`
                             ^─────────────────────────── else: look again
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PLAYOUT_TAIL_S = 0.2
"""What the telephone's own jitter buffer may still hold when our last packet has left."""


class PlayoutWatch:
    """Calls `ended` when `is_over` says so, and the telephone has had time to play it.

    `look` is to be called whenever it may have become so.
    """

    def __init__(self, *, is_over: Callable[[], bool], ended: Callable[[], None]) -> None:
        self._is_over = is_over
        self._ended = ended
        self._is_waiting = False
        self._tail: asyncio.TimerHandle | None = None

    def wait(self) -> None:
        """Tell of the end, once."""
        self._is_waiting = True

    def look(self) -> None:
        """Something may have been heard to its end."""
        if self._is_waiting and self._is_over():
            self._is_waiting = False
            self._tail = asyncio.get_running_loop().call_later(PLAYOUT_TAIL_S, self._end)

    def forget(self) -> None:
        """Nobody waits for the end any more; safe to repeat."""
        self._is_waiting = False
        if self._tail is not None:
            self._tail.cancel()

    def _end(self) -> None:
        if self._is_over():
            self._ended()
        else:
            self._is_waiting = True
