"""Who hears the news of which SIP leg: one book for all calls of a process."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.events import Event


class LegDirectory:
    """A leg is entered when it begins and struck out when nobody wants to hear of it any more."""

    def __init__(self) -> None:
        self._listeners: dict[str, Callable[[Event], None]] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    def enter(self, leg_id: str, hear: Callable[[Event], None]) -> None:
        """Let `hear` be told of everything that happens to the leg."""
        self._listeners[leg_id] = hear

    def strike(self, leg_id: str) -> None:
        """Tell nobody any more; safe to repeat."""
        self._listeners.pop(leg_id, None)

    def tell(self, leg_id: str, event: Event) -> bool:
        """Hand `event` to whoever listens; False if that is nobody."""
        hear = self._listeners.get(leg_id)
        if hear is None:
            return False
        hear(event)
        return True
