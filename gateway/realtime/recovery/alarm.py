"""One timer, moved as what is awaited changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` at the time it is set to, once."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, at: float | None, loop: asyncio.AbstractEventLoop) -> None:
        """Ring at `at`, the time of `loop`, in the place of what was set before; None: not at all."""
        if self._handle is not None and self._at == at:
            return
        self.cancel()
        if at is not None:
            self._handle, self._at = loop.call_at(at, self._go_off), at

    def cancel(self) -> None:
        """Do not ring. Safe to repeat."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _go_off(self) -> None:
        self._handle = None
        self._ring()
