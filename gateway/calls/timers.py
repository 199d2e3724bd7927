"""The timers a call has asked for, at most one of each name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.calls.events import StartTimer, StopTimer, TimerFired, TimerName


class CallTimers:
    """Starts and stops the timers of one call, on the loop that runs; `fire` is told of each that comes to its end."""

    def __init__(self, fire: Callable[[TimerFired], None]) -> None:
        self._fire = fire
        self._running: dict[TimerName, asyncio.TimerHandle] = {}

    def do(self, command: StartTimer | StopTimer) -> None:
        """Start one, anew where it runs already; or stop one, if it runs."""
        running = self._running.pop(command.timer, None)
        if running is not None:
            running.cancel()
        if isinstance(command, StartTimer):
            fired = TimerFired(timer=command.timer)
            self._running[command.timer] = asyncio.get_running_loop().call_later(command.delay_s, self._fire, fired)

    def stop(self) -> None:
        """Stop all; safe to repeat."""
        for running in self._running.values():
            running.cancel()
        self._running.clear()
