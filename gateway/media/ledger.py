"""What the caller has heard of every item the model said: the truth behind ``audio_end_ms`` when it is interrupted.

A leg's playout queue is a stream of samples, counted from 0 over the leg's life; a sample is heard when the packet with
it was handed out for sending. The ledger knows which stretches of that stream belong to which item, and what of an item
was received at all. Times told are rounded down and never exceed what was received: a provider refuses to truncate
beyond the audio it made.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.media.codec import SAMPLES_PER_MS

MAX_ITEMS = 256
"""Items that were played to the end, but never ended by their provider, are forgotten beyond this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardAudio:
    """How far an interrupted item was heard."""

    item_id: str
    content_index: int
    heard_ms: int
    """audio that left on RTP"""
    received_ms: int
    """audio that the provider had sent"""


@dataclass(slots=True, kw_only=True, eq=False)
class PlayedItem:
    """An item in the making. Its owner adds what is received and pending; the ledger the rest."""

    item_id: str
    content_index: int
    bytes_per_ms: int
    received_bytes: int = 0
    remainder: bytes = b""
    """an octet that waits for the other half of its sample"""
    pending_chunks: int = 0
    """pieces that are not in the playout queue yet"""
    is_ended: bool = False
    end: int = 0
    """position behind its newest sample"""
    settled_samples: int = 0
    """heard, in stretches of the queue that are over"""

    @property
    def is_complete(self) -> bool:
        """Whether all its audio is in the queue and no more will come."""
        return self.is_ended and not self.pending_chunks


@dataclass(slots=True, eq=False)
class _Stretch:
    item: PlayedItem
    start: int
    end: int


class Ledger:
    """The items of one leg, in the order in which they came."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, int], PlayedItem] = {}
        self._stretches: deque[_Stretch] = deque()

    def item(self, item_id: str, content_index: int, bytes_per_ms: int, sent: int) -> PlayedItem:
        """The item of that name, begun or begun again if need be. `sent`: the leg's position."""
        key = item_id, content_index
        found = self._items.get(key)
        if found is None:
            if len(self._items) >= MAX_ITEMS:
                self._forget(sent)
            found = self._items[key] = PlayedItem(
                item_id=item_id, content_index=content_index, bytes_per_ms=bytes_per_ms
            )
        found.is_ended = False
        return found

    def parts(self, item_id: str) -> list[PlayedItem]:
        """The contents of an item that may still get audio."""
        return [item for item in self._items.values() if item.item_id == item_id and not item.is_ended]

    def wrote(self, item: PlayedItem, start: int, samples: int, sent: int) -> None:
        """Samples of an item were put into the queue at `start`."""
        self._settle(sent)
        item.end = start + samples
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.item is item and last.end == start:
            last.end = item.end
        else:
            self._stretches.append(_Stretch(item, start, item.end))

    def next_end(self) -> int | None:
        """The position at which the next complete item is over; None while there is no complete one."""
        return min((item.end for item in self._items.values() if item.is_complete), default=None)

    def take_finished(self, sent: int) -> list[PlayedItem]:
        """The complete items that have been heard to their end; they leave the ledger."""
        finished = [item for item in self._items.values() if item.is_complete and item.end <= sent]
        for item in finished:
            del self._items[item.item_id, item.content_index]
        return finished

    def interrupt(self, sent: int) -> tuple[HeardAudio, ...]:
        """How far every item that is not over was heard. The ledger is empty afterwards."""
        heard = {id(item): item.settled_samples for item in self._items.values()}
        for stretch in self._stretches:
            if id(stretch.item) in heard:
                heard[id(stretch.item)] += max(0, min(sent, stretch.end) - stretch.start)
        running = [item for item in self._items.values() if not self._is_over(item, sent)]
        self._stretches.clear()
        self._items = {key: item for key, item in self._items.items() if self._is_over(item, sent)}
        return tuple(self._told(item, heard[id(item)]) for item in running)

    @staticmethod
    def _is_over(item: PlayedItem, sent: int) -> bool:
        return item.is_complete and item.end <= sent

    @staticmethod
    def _told(item: PlayedItem, heard_samples: int) -> HeardAudio:
        received_ms = item.received_bytes // item.bytes_per_ms
        return HeardAudio(
            item_id=item.item_id,
            content_index=item.content_index,
            heard_ms=min(heard_samples // SAMPLES_PER_MS, received_ms),
            received_ms=received_ms,
        )

    def _settle(self, sent: int) -> None:
        """Sum up the stretches that have been heard wholly."""
        while self._stretches and self._stretches[0].end <= sent:
            done = self._stretches.popleft()
            done.item.settled_samples += done.end - done.start

    def _forget(self, sent: int) -> None:
        self._items = {
            key: item for key, item in self._items.items() if item.pending_chunks or item.end > sent or item.is_complete
        }
