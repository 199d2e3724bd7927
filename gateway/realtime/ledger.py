"""Which audio of the model arrived, item by item, and which of it nobody wants any more.

After a barge-in the provider still sends what it had under way; played, it would talk over the caller. And a truncation
beyond what was received is an error at the provider. Both need one account per item, kept here and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

ItemPart: TypeAlias = tuple[str, int]
"""Item id and content index."""

Key = TypeVar("Key")
Entry = TypeVar("Entry")

MAX_ENTRIES = 256
"""Items and replies remembered; a call has heard the older ones long ago."""


@dataclass(slots=True, kw_only=True)
class _Received:
    response_id: str
    received_bytes: int = 0
    is_finished: bool = False


class AudioLedger:
    """Account of received and interrupted audio of one session. ``bytes_per_ms`` is the output format's."""

    def __init__(self, bytes_per_ms: int) -> None:
        self._bytes_per_ms = bytes_per_ms
        self._parts: dict[ItemPart, _Received] = {}
        self._interrupted: dict[str, None] = {}

    def take(self, response_id: str, part: ItemPart, size: int) -> bool:
        """Note `size` bytes of audio; False when they are late and must be dropped."""
        if response_id in self._interrupted or part[0] in self._interrupted:
            return False
        entry = self._parts.get(part)
        if entry is None:
            entry = self._parts[part] = _Received(response_id=response_id)
            _trim(self._parts)
        entry.received_bytes += size
        return True

    def finish(self, part: ItemPart) -> bool:
        """Note the end of an item's audio; False when it ended before, or nobody waits for it."""
        entry = self._parts.get(part)
        if entry is None or entry.is_finished or self.is_interrupted(part[0]):
            return False
        entry.is_finished = True
        return not self.is_interrupted(entry.response_id)

    def unfinished(self, response_id: str) -> list[ItemPart]:
        """Items of a reply that got audio and no end."""
        return [
            part for part, entry in self._parts.items() if entry.response_id == response_id and not entry.is_finished
        ]

    def received_ms(self, part: ItemPart) -> int | None:
        """Whole milliseconds received of an item; None when nothing of it is known."""
        entry = self._parts.get(part)
        return None if entry is None else entry.received_bytes // self._bytes_per_ms

    def interrupt(self, identifier: str) -> None:
        """Drop what may still come of an item or of a whole reply."""
        self._interrupted[identifier] = None
        _trim(self._interrupted)

    def is_interrupted(self, identifier: str) -> bool:
        """Whether an item or reply was interrupted."""
        return identifier in self._interrupted


def _trim(entries: dict[Key, Entry]) -> None:
    """Forget the oldest entry of a dict that has grown beyond MAX_ENTRIES."""
    if len(entries) > MAX_ENTRIES:
        del entries[next(iter(entries))]
