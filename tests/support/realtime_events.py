"""What a realtime session told, collected, and waited for by what is told instead of by time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from gateway.realtime.session import AudioDelta, SessionEvent

Told = TypeVar("Told", bound=SessionEvent)

PATIENCE_S = 5.0
"""Longest wait of a test for something that must come at once; only a failing test reaches it."""


class EventLog:
    """The `on_event` of a session under test. `react`, if given, gets each event first, as a call would."""

    def __init__(self, react: Callable[[SessionEvent], None] | None = None) -> None:
        self.events: list[SessionEvent] = []
        self.react = react
        self._arrived = asyncio.Event()
        self._taken = 0

    def __call__(self, event: SessionEvent) -> None:
        self.events.append(event)
        self._arrived.set()
        if self.react is not None:
            self.react(event)

    def of(self, kind: type[Told]) -> list[Told]:
        """All events of a type so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def audio(self, item_id: str | None = None) -> bytes:
        """All audio told, or that of one item, the pauses of a full-duplex provider apart."""
        deltas = [delta for delta in self.of(AudioDelta) if not delta.is_silence]
        return b"".join(delta.audio for delta in deltas if item_id is None or delta.item_id == item_id)

    async def next(self, kind: type[Told]) -> Told:
        """The next event of a type that no earlier call returned; those in between are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for index in range(self._taken, len(self.events)):
                    event = self.events[index]
                    if isinstance(event, kind):
                        self._taken = index + 1
                        return event
                self._arrived.clear()
                await self._arrived.wait()
