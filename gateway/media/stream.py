"""What has been received of each leg's RTP stream: continuity (RFC 3550 A.1), loss (A.3) and jitter (A.8).

`StreamStatistics` is a bank of arrays, one row a leg. It never decides to follow another stream: it says how a packet
relates to the one it follows, and the receiver, which also knows the time line, tells it to begin anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.media.codec import Indices, Mask
from gateway.media.rtp import sequence_distance, timestamp_distance

MAX_DROPOUT: Final = 3000
"""A greater leap in sequence numbers is a new sequence and no loss (RFC 3550 A.1)."""
_REMEMBERED_PACKETS: Final = 64
_NO_SSRC: Final = -1


class Continuity:
    """How a packet relates to the stream that its leg follows; plain numbers, as they live in arrays."""

    CONTINUES: Final = 0
    REORDERED: Final = 1
    DUPLICATE: Final = 2
    JUMPED: Final = 3
    FOREIGN: Final = 4
    """Another SSRC, or the first packet of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReception:
    """What came of the stream that a leg follows, as reports tell it (RFC 3550 6.4.1)."""

    ssrc: int
    expected: int
    received: int
    """distinct packets"""
    highest_sequence: int
    """with its wraps above bit 16"""
    jitter: int
    """in clock ticks"""


class StreamStatistics:
    """Sequence and jitter state of every leg. Arguments named `legs` hold distinct legs."""

    def __init__(self, legs: int) -> None:
        self._has_stream = np.zeros(legs, np.bool_)
        self._ssrc = np.full(legs, _NO_SSRC, np.int64)
        self._first = np.zeros(legs, np.int64)  # extended sequence numbers: cycles above bit 16
        self._highest = np.zeros(legs, np.int64)
        self._seen = np.zeros(legs, np.uint64)  # bit k: whether `highest - k` came
        self._received = np.zeros(legs, np.int64)
        self._lost_before = np.zeros(legs, np.int64)
        self._timestamp = np.zeros(legs, np.int64)
        self._arrival_s = np.full(legs, np.nan)
        self._jitter = np.zeros(legs)  # clock ticks
        self.duplicates = np.zeros(legs, np.int64)
        self.reordered = np.zeros(legs, np.int64)
        self.gaps = np.zeros(legs, np.int64)
        """Runs of missing sequence numbers, those that were filled later among them."""

    def reset(self, leg: int) -> None:
        """Forget everything about a leg."""
        self._has_stream[leg] = False
        self._ssrc[leg] = _NO_SSRC
        self._arrival_s[leg] = np.nan
        for counter in (self._lost_before, self._received, self._jitter, self.duplicates, self.reordered, self.gaps):
            counter[leg] = 0

    def begin(self, legs: Indices, ssrc: Indices, sequence: Indices) -> None:
        """Follow other streams from these packets on; what earlier ones lost stays counted."""
        self._lost_before[legs] = self.lost(legs)
        self._has_stream[legs] = True
        self._ssrc[legs] = ssrc
        self._first[legs] = sequence
        self._highest[legs] = sequence - 1
        self._seen[legs] = 0
        self._received[legs] = 0
        self._arrival_s[legs] = np.nan

    def is_next(self, legs: Indices, ssrc: Indices, sequence: Indices) -> Mask:
        """Which packets, one for each of `legs`, are the very next of the stream that the leg follows: bool[n]."""
        is_next: Mask = (ssrc == self._ssrc[legs]) & (sequence == self._highest[legs] + 1 & 0xFFFF)
        return is_next

    def advance(self, legs: Indices) -> None:
        """Enter packets that `is_next`: what `count` makes of them, in fewer steps."""
        self._seen[legs] = self._seen[legs] << np.uint64(1) | np.uint64(1)
        self._highest[legs] += 1
        self._received[legs] += 1

    def classify(self, legs: Indices, ssrc: Indices, sequence: Indices) -> Indices:
        """`Continuity` of one packet for each of `legs`, as int64[n]. Nothing is changed."""
        ahead = sequence_distance(sequence, self._highest[legs])
        behind = np.clip(-ahead, 0, _REMEMBERED_PACKETS - 1).astype(np.uint64)
        is_known = (self._seen[legs] >> behind) & np.uint64(1) == 1
        kinds = np.full(len(legs), Continuity.JUMPED, np.int64)
        kinds[(ahead > 0) & (ahead < MAX_DROPOUT)] = Continuity.CONTINUES
        is_recent = (ahead <= 0) & (ahead > -_REMEMBERED_PACKETS)
        kinds[is_recent] = np.where(is_known[is_recent], Continuity.DUPLICATE, Continuity.REORDERED)
        kinds[~self._has_stream[legs] | (ssrc != self._ssrc[legs])] = Continuity.FOREIGN
        return kinds

    def count(self, legs: Indices, sequence: Indices, kinds: Indices) -> None:
        """Enter packets that `classify` found to continue the stream, reordered or duplicate ones among them."""
        self.duplicates[legs] += kinds == Continuity.DUPLICATE
        self.reordered[legs] += kinds == Continuity.REORDERED
        is_new = kinds != Continuity.DUPLICATE
        legs, sequence = legs[is_new], sequence[is_new]
        highest = self._highest[legs]
        ahead = sequence_distance(sequence, highest)
        forward = np.clip(ahead, 0, _REMEMBERED_PACKETS).astype(np.uint64)
        shifted = np.where(forward < _REMEMBERED_PACKETS, self._seen[legs] << (forward & np.uint64(63)), 0)
        behind = np.clip(-ahead, 0, _REMEMBERED_PACKETS - 1).astype(np.uint64)
        self._seen[legs] = shifted | np.uint64(1) << behind
        self._highest[legs] = np.maximum(highest, highest + ahead)
        self._first[legs] = np.minimum(self._first[legs], highest + ahead)
        self._received[legs] += 1
        self.gaps[legs] += ahead > 1

    def time(self, legs: Indices, timestamp: Indices, now: float) -> None:
        """Enter arrivals of audio packets, for `jitter_ms` (RFC 3550 A.8). Not of events: theirs stand still."""
        arrived_before = self._arrival_s[legs]
        spread = (now - arrived_before) * 8000 - timestamp_distance(timestamp, self._timestamp[legs])
        change = (np.abs(spread) - self._jitter[legs]) / 16
        self._jitter[legs] += np.where(np.isnan(arrived_before), 0.0, change)
        self._arrival_s[legs] = now
        self._timestamp[legs] = timestamp

    def has_stream(self, legs: Indices) -> Mask:
        """Whether legs follow a stream at all."""
        return self._has_stream[legs]

    def ssrc(self, leg: int) -> int | None:
        """Synchronization source that the leg follows, None before the first packet."""
        return int(self._ssrc[leg]) if self._has_stream[leg] else None

    def reception(self, leg: int) -> StreamReception | None:
        """What came of the present stream; None before the first packet."""
        if not self._has_stream[leg]:
            return None
        return StreamReception(
            ssrc=int(self._ssrc[leg]),
            expected=int(self._highest[leg] - self._first[leg]) + 1,
            received=int(self._received[leg]),
            highest_sequence=int(self._highest[leg]),
            jitter=int(self._jitter[leg]),
        )

    def received(self, leg: int) -> int:
        """Distinct packets of the present stream."""
        return int(self._received[leg])

    def lost(self, legs: Indices) -> Indices:
        """Packets expected by their sequence numbers and never received, over all streams of the leg."""
        present = self._highest[legs] - self._first[legs] + 1 - self._received[legs]
        return self._lost_before[legs] + np.where(self._has_stream[legs], present, 0)

    def jitter_ms(self, leg: int) -> float:
        """Interarrival jitter (RFC 3550 6.4.1) in milliseconds."""
        return float(self._jitter[leg]) / 8
