"""Playout queues: encoded audio of every leg, ready to be sent, in the octets of its payload format.

All queues share one pool of 10 ms rows, so a packet of any length is a gather of whole rows and nothing is coded when
a frame is due::

    append    uint8[any]  ->  pool uint8[rows, 80], row numbers in table int32[legs, 100 a second]
    take      table[legs, head ...]  ->  row numbers int64[n, rows of a frame]  ->  uint8[n, 80 * rows]

A leg's line of the table has room for all it may queue, and is begun at its first column whenever the queue was empty:
what was never queued at once is never in memory.

Rows 0 and 1 of the pool are silence of each law: a leg with nothing to say sends them. A row is filled up with silence
when it is begun, so a frame that an item fills only in part is whole at once.

Positions count samples of the leg's life. `sent` is always at a row's edge; `written` may lie behind it after a frame
that was filled up, and the next sample is then written at `sent`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.media import codec
from gateway.media.codec import PAYLOAD_FORMATS, SAMPLES_PER_MS, Bytes, Codes, Indices, Mask, PayloadFormat
from gateway.media.sparse import sparse_zeros

ROW_SAMPLES: Final = 10 * SAMPLES_PER_MS

_LEAST_GROWTH_ROWS: Final = 4096
"""320 KiB: 41 s of speech for all legs together."""
_GROWTH_SHARE: Final = 4
"""A large pool grows by this part of itself, so that it seldom does."""
_PARTIAL_FRAME_PATIENCE: Final = 3
"""Frames for which the beginning of a frame waits for the rest of it, before it is sent filled up with silence."""


class PlayoutQueues:
    """The queues of all legs. Arguments named `legs` hold distinct legs."""

    def __init__(self, legs: int, *, queue_ms: int) -> None:
        """`queue_ms`: the most that one leg may have queued; the caller of `append` keeps to it."""
        self._pool = np.empty((len(PAYLOAD_FORMATS), ROW_SAMPLES), np.uint8)
        for payload in PAYLOAD_FORMATS:
            self._pool[payload.index] = payload.silence
        self._free = np.empty(0, np.int32)  # a stack of row numbers ...
        self._free_count = 0  # ... of this height
        self._table_rows = queue_ms // 10 + 16
        self._table = sparse_zeros((legs, self._table_rows), np.int32)
        self._origin = np.zeros(legs, np.int64)  # number, in the leg's life, of the row in the first column
        self._law = np.zeros(legs, np.int64)
        self._frame_rows = np.full(legs, 2, np.int64)
        self._sent = np.zeros(legs, np.int64)
        self._written = np.zeros(legs, np.int64)
        self._is_complete = np.zeros(legs, np.bool_)  # nothing will be added to the last frame
        self._waits = np.zeros(legs, np.int64)  # frames for which an incomplete one has waited

    def open(self, leg: int, *, payload: PayloadFormat, frame_ms: int) -> None:
        """Begin with an empty queue at position 0."""
        self.clear(leg)
        self._sent[leg] = self._written[leg] = 0
        self._law[leg] = payload.index
        self._frame_rows[leg] = frame_ms // 10

    def change(self, leg: int, *, payload: PayloadFormat, frame_ms: int) -> None:
        """Go on in another payload format or frame length; what is queued is translated between laws of G.711."""
        source = PAYLOAD_FORMATS[int(self._law[leg])]
        if not source.is_wideband and not payload.is_wideband:
            rows = self._queued_rows(leg)
            self._pool[rows] = codec.translate(self._pool[rows], source, payload)
        self._law[leg] = payload.index
        self._frame_rows[leg] = frame_ms // 10

    def content(self, leg: int) -> Bytes:
        """The octets of a leg that are still to be taken, uint8[queued]."""
        octets: Bytes = self._pool[self._queued_rows(leg)].reshape(-1)
        return octets[: self.queued(leg)]

    def rewrite(self, leg: int, octets: Bytes) -> None:
        """Put other octets in the place of all that are still to be taken, uint8[queued]."""
        rows = self._queued_rows(leg)
        whole = np.full(rows.size * ROW_SAMPLES, PAYLOAD_FORMATS[self._law.item(leg)].silence, np.uint8)
        whole[: octets.size] = octets
        self._pool[rows] = whole.reshape(-1, ROW_SAMPLES)

    @property
    def positions(self) -> Indices:
        """Of every leg: the position up to which everything has been taken. Not to be written."""
        return self._sent

    def sent(self, leg: int) -> int:
        """Position up to which everything has been taken."""
        return self._sent.item(leg)

    def queued(self, leg: int) -> int:
        """Samples of one leg still to be taken."""
        return max(0, self._written.item(leg) - self._sent.item(leg))

    def frame_samples(self, legs: Indices) -> Indices:
        """Length of the frames that `take` gives."""
        samples: Indices = self._frame_rows[legs] * ROW_SAMPLES
        return samples

    def queued_samples(self, legs: Indices) -> Indices:
        """Samples still to be taken."""
        queued: Indices = np.maximum(self._written[legs] - self._sent[legs], 0)
        return queued

    def append(self, leg: int, octets: Bytes) -> int:
        """Queue `octets`, uint8[any], and tell the position of the first."""
        start = position = max(self._written.item(leg), self._sent.item(leg))
        self._is_complete[leg] = False
        if position == self._sent.item(leg):  # nothing is queued
            self._origin[leg] = position // ROW_SAMPLES
        begun = position % ROW_SAMPLES
        if begun and octets.size:
            head = octets[: ROW_SAMPLES - begun]
            row = self._table[leg, (position // ROW_SAMPLES - self._origin[leg]) % self._table_rows]
            self._pool[row, begun : begun + head.size] = head
            octets = octets[head.size :]
            position += head.size
        if octets.size:
            self._append_rows(leg, position // ROW_SAMPLES, octets)
            position += octets.size
        self._written[leg] = position
        return start

    def _append_rows(self, leg: int, place: int, octets: Bytes) -> None:
        """Write octets into new rows, the first of which is row number `place` of the leg's life."""
        whole, rest = divmod(octets.size, ROW_SAMPLES)
        rows = self._allocate(whole + (rest > 0))
        self._pool[rows[:whole]] = octets[: whole * ROW_SAMPLES].reshape(whole, ROW_SAMPLES)
        if rest:
            last = self._pool[rows[-1]]
            last[:rest] = octets[-rest:]
            last[rest:] = PAYLOAD_FORMATS[self._law.item(leg)].silence
        first = (place - self._origin.item(leg)) % self._table_rows
        behind = first + rows.size
        if behind <= self._table_rows:
            self._table[leg, first:behind] = rows
        else:
            self._table[leg, np.arange(first, behind) % self._table_rows] = rows

    def complete(self, leg: int) -> None:
        """No more audio is near: let the last frame go although it is not full."""
        self._is_complete[leg] = True

    def clear(self, leg: int) -> None:
        """Drop what is queued."""
        self._release(self._queued_rows(leg))
        self._written[leg] = self._sent[leg]
        self._is_complete[leg] = False
        self._waits[leg] = 0

    def take(self, legs: Indices, waits: Mask | None = None) -> tuple[Bytes, Indices, Mask]:
        """The next frame of each of `legs`; silence for those that `waits` tells to keep what they have.

        Returns:
            Payloads, uint8[n, longest frame]; the octets of each row that count, int64[n]; and which have audio of the
            queue in them: the others are silence.
        """
        frame_rows = self._frame_rows[legs]
        is_voiced, queued_rows = self._ready(legs, frame_rows)
        if waits is not None:
            is_voiced &= ~waits
        column = np.arange(int(frame_rows.max(initial=0)))
        place = (self._sent[legs] // ROW_SAMPLES - self._origin[legs])[:, None] + column
        is_queued = column < np.where(is_voiced, np.minimum(queued_rows, frame_rows), 0)[:, None]
        rows = np.where(is_queued, self._table[legs[:, None], place % self._table_rows], self._law[legs][:, None])
        payloads = self._pool[rows].reshape(len(legs), column.size * ROW_SAMPLES)
        self._release(rows[is_queued])
        self._sent[legs] += np.where(is_voiced, frame_rows * ROW_SAMPLES, 0)
        return payloads, frame_rows * ROW_SAMPLES, is_voiced

    def codes(self, legs: Indices, payloads: Bytes) -> Codes:
        """What `take` gave for `legs`, as codes."""
        codes: Codes = payloads | (self._law[legs] + 1 << 8).astype(np.uint16)[:, None]
        return codes

    def _ready(self, legs: Indices, frame_rows: Indices) -> tuple[Mask, Indices]:
        """Which legs have a frame to send, and how many rows they have queued. Counts the waiting of the others."""
        queued = self._written[legs] - self._sent[legs]
        is_full = queued >= frame_rows * ROW_SAMPLES
        is_partial = (queued > 0) & ~is_full
        is_voiced = is_full | is_partial & (self._is_complete[legs] | (self._waits[legs] >= _PARTIAL_FRAME_PATIENCE))
        self._waits[legs] = np.where(is_partial & ~is_voiced, self._waits[legs] + 1, 0)
        return is_voiced, -(-queued // ROW_SAMPLES)

    def _queued_rows(self, leg: int) -> Indices:
        first, behind = int(self._sent[leg]) // ROW_SAMPLES, -(-int(self._written[leg]) // ROW_SAMPLES)
        places = (np.arange(first, behind) - self._origin[leg]) % self._table_rows
        rows: Indices = self._table[leg, places].astype(np.int64)
        return rows

    def _allocate(self, count: int) -> Indices:
        while self._free_count < count:
            self._grow()
        self._free_count -= count
        return self._free[self._free_count : self._free_count + count].astype(np.int64)

    def _release(self, rows: Indices) -> None:
        self._free[self._free_count : self._free_count + rows.size] = rows
        self._free_count += rows.size

    def _grow(self) -> None:
        """Add rows to the pool, in place where the system can: no view of it is ever kept."""
        first = len(self._pool)
        growth = max(_LEAST_GROWTH_ROWS, first // _GROWTH_SHARE)
        self._pool.resize((first + growth, ROW_SAMPLES), refcheck=False)
        free = np.empty(len(self._pool), np.int32)
        free[: self._free_count] = self._free[: self._free_count]
        free[self._free_count : self._free_count + growth] = np.arange(len(self._pool) - 1, first - 1, -1)
        self._free = free
        self._free_count += growth
