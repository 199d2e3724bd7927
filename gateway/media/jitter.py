"""Jitter buffers: every leg's received audio on its own time line, read 20 ms at a time.

The bank is one array of codes (see `gateway.media.codec`), a ring of about a second for each leg::

    write   codes uint16[n, payload]  ->  ring uint16[legs, 8160 + 1460]     at the packet's RTP timestamp
    read    ring  ->  codes uint16[n, 160]                                   at the head, which moves 20 ms a read

The place of a sample follows from its timestamp alone, so packets may come in any order, with any number of
milliseconds in them, more than once, or after a pause. What no packet brought is `MISSING`, and concealed for a while.

Delay. The first packet of a stream is placed so that it waits `delay_ms` at least, and 20 ms more at most. The buffer
grows when packets come too late for that, and gives the growth back two seconds after the last that needed it: by
leaving frames out, silent ones first. A packet that does not fit between `max_delay_ms` ahead and as much behind is
not placed: either it is a stray, or the sender's time line has jumped, which the receiver decides.

A position counts samples of the leg's life, from 0, and never wraps; the head is a multiple of 160.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gateway.media import codec
from gateway.media.codec import MISSING, SAMPLES_PER_MS, Bytes, Codes, Indices, Mask, Samples
from gateway.media.concealment import Concealment, RepeatAndFade
from gateway.media.rtp import MAX_PAYLOAD_BYTES, timestamp_distance

FRAME_SAMPLES: Final = 20 * SAMPLES_PER_MS

_RING_SAMPLES: Final = 51 * FRAME_SAMPLES
_ROW_SAMPLES: Final = _RING_SAMPLES + MAX_PAYLOAD_BYTES
_KEPT_SAMPLES: Final = 3 * FRAME_SAMPLES  # already read, for concealment
_REVIEW_FRAMES: Final = 100  # two seconds
_SKIP_SPACING_FRAMES: Final = 10
_QUIET_LEVEL: Final = 500  # of 32768: below, a frame may be left out unheard
_NO_SLACK: Final = 1 << 40
_FADED: Final = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterOptions:
    """How long received audio waits."""

    delay_ms: int = 40
    """a packet that is on time waits at least this long, at most 20 ms longer"""
    max_delay_ms: int = 300
    """no packet waits longer; what would is taken for a jump of the sender's clock"""

    def __post_init__(self) -> None:
        if not 0 <= self.delay_ms <= self.max_delay_ms <= 500:
            raise ValueError(f"0 <= delay_ms <= max_delay_ms <= 500, not {self.delay_ms} and {self.max_delay_ms}")


class JitterBuffers:
    """The bank. Arguments named `legs` hold distinct legs; `wait` is the time until the head is read, in samples."""

    def __init__(self, legs: int, options: JitterOptions, concealment: Concealment | None = None) -> None:
        self._delay = options.delay_ms * SAMPLES_PER_MS
        self._max_delay = options.max_delay_ms * SAMPLES_PER_MS
        self._concealment: Concealment = RepeatAndFade() if concealment is None else concealment
        self._ring = np.zeros((legs, _ROW_SAMPLES), np.uint16)
        self._windows_by_length: dict[int, Codes] = {}
        self._frames = self._windows(FRAME_SAMPLES)
        self._head = np.zeros(legs, np.int64)
        self._end = np.zeros(legs, np.int64)  # behind the newest sample
        self._anchor = np.zeros(legs, np.int64)  # this position ...
        self._anchor_timestamp = np.zeros(legs, np.int64)  # ... has this timestamp
        self._is_quiet = np.zeros(legs, np.bool_)  # the sender itself told that there is nothing to hear
        self._gap = np.full(legs, _FADED, np.int64)  # samples missed in a row up to the head
        self._history = np.zeros((legs, self._concealment.history_samples), np.int16)
        self._holds = np.zeros(legs, np.bool_)  # the head shall stand still for one read
        self._skips = np.zeros(legs, np.int64)  # frames to leave out
        self._slack = np.full(legs, _NO_SLACK, np.int64)  # least wait of a packet since the last review
        self._reads = np.zeros(legs, np.int64)  # since the last review
        self.late = np.zeros(legs, np.int64)
        """Packets, or parts of them, that came after their place was read."""
        self.concealed = np.zeros(legs, np.int64)
        """Samples made up."""

    def _windows(self, samples: int) -> Codes:
        """The flat ring, seen as a run of `samples` codes from every place."""
        found = self._windows_by_length.get(samples)
        if found is None:
            flat = self._ring.reshape(-1)
            found = as_strided(flat, (flat.size - samples + 1, samples), 2 * flat.strides)
            self._windows_by_length[samples] = found
        return found

    def reset(self, leg: int) -> None:
        """Make a leg as new."""
        self._ring[leg] = MISSING
        for zero in (self._head, self._end, self._skips, self._reads, self.late, self.concealed):
            zero[leg] = 0
        self._holds[leg] = False
        self._is_quiet[leg] = False
        self._gap[leg] = _FADED
        self._slack[leg] = _NO_SLACK

    def begin(self, leg: int, timestamp: int, wait: int) -> None:
        """Give a leg a new time line, on which `timestamp` is heard after the least delay. Later audio is forgotten."""
        frames = max(0, -(-(self._delay - wait) // FRAME_SAMPLES))
        self._anchor[leg] = place = int(self._head[leg]) + frames * FRAME_SAMPLES
        self._anchor_timestamp[leg] = timestamp
        if self._end[leg] > place:
            self._ring[leg, (np.arange(place, int(self._end[leg])) % _RING_SAMPLES)] = MISSING
            self._end[leg] = place
        self._holds[leg] = False
        self._skips[leg] = self._reads[leg] = 0
        self._slack[leg] = _NO_SLACK

    def ahead(self, legs: Indices, timestamp: Indices, wait: Indices) -> Indices:
        """How long, in samples, the audio at `timestamp` would wait to be read; negative: it is that late already."""
        return self._place(legs, timestamp) + wait - self._head[legs]

    def fits(self, ahead: Indices) -> Mask:
        """Whether audio that is `ahead` by so much belongs to the leg's time line."""
        fitting: Mask = (ahead <= self._max_delay) & (ahead >= self._delay - self._max_delay)
        return fitting

    def is_dry(self, legs: Indices) -> Mask:
        """Whether nothing received is left to read."""
        dry: Mask = self._end[legs] <= self._head[legs]
        return dry

    def quiet(self, legs: Indices) -> None:
        """The sender pauses (RFC 3389 comfort noise, RFC 4733 events): what is missing now is silence and no loss."""
        self._is_quiet[legs] = True

    def insert(self, legs: Indices, timestamp: Indices, payload: Codes, wait: Indices) -> None:
        """Place one packet, of equal length, on the time line of each of `legs`; all of them `fits`.

        Args:
            payload: uint16[n, samples], codes.
        """
        place = self._place(legs, timestamp)
        head = self._head[legs]
        behind = np.maximum(head - place, 0)
        is_newest = place >= self._end[legs]
        grown = np.where(is_newest, -(-behind // FRAME_SAMPLES) * FRAME_SAMPLES, 0)
        place += grown
        self._anchor[legs] = place
        self._anchor_timestamp[legs] = timestamp
        self._is_quiet[legs] = False
        self._slack[legs] = np.minimum(self._slack[legs], place + wait - head)
        is_late = place < head
        if is_late.any():
            self._insert_late(legs[is_late], place[is_late], payload[is_late])
            legs, place, payload = legs[~is_late], place[~is_late], payload[~is_late]
        self._write(legs, place, payload)

    def _place(self, legs: Indices, timestamp: Indices) -> Indices:
        place: Indices = self._anchor[legs] + timestamp_distance(timestamp, self._anchor_timestamp[legs])
        return place

    def _insert_late(self, legs: Indices, place: Indices, payload: Codes) -> None:
        """Stragglers whose successors came first: keep what can still be heard, and wait a frame longer from now on."""
        self.late[legs] += 1
        self._holds[legs] = self._end[legs] - self._head[legs] + FRAME_SAMPLES <= self._max_delay
        for leg, start, codes in zip(legs, place, payload, strict=True):
            cut = int(self._head[leg] - start)
            if cut < codes.size:
                self._write(np.array([leg]), np.array([start + cut]), codes[None, cut:])

    def _write(self, legs: Indices, place: Indices, payload: Codes) -> None:
        samples = payload.shape[1]
        fits = place + samples <= self._head[legs] + _RING_SAMPLES - _KEPT_SAMPLES
        if not fits.all():
            legs, place, payload = legs[fits], place[fits], payload[fits]
        column = place % _RING_SAMPLES
        self._windows(samples)[legs * _ROW_SAMPLES + column] = payload
        over = column + samples - _RING_SAMPLES
        for index in np.flatnonzero(over > 0):  # ran into the margin of the row: the rest belongs to its beginning
            row = self._ring[legs[index]]
            row[: over[index]] = row[_RING_SAMPLES : _RING_SAMPLES + over[index]]
        self._end[legs] = np.maximum(self._end[legs], place + samples)

    def read(self, legs: Indices) -> Codes:
        """The next 20 ms of each of `legs`, gaps concealed or left `MISSING`: uint16[n, 160]."""
        self._review(legs)
        codes = self._frames[self._frame_index(legs, 0)]
        is_held = self._holds[legs]
        if is_held.any():
            codes[is_held] = MISSING
            self._holds[legs] = False
        skipping = np.flatnonzero((self._skips[legs] > 0) & ~is_held)
        if skipping.size:
            codes[skipping] = self._shortened(legs[skipping], codes[skipping])
        missing = np.count_nonzero(codes == MISSING, axis=1)
        is_over = (missing == FRAME_SAMPLES) & (self._gap[legs] >= self._concealment.reach_samples)
        gaps = np.flatnonzero((missing > 0) & ~is_over)
        if gaps.size:
            codes[gaps] = self._concealed(legs[gaps], codes[gaps])
        self._gap[legs[missing == 0]] = 0
        moving = legs[~is_held]
        self._frames[self._frame_index(moving, -_KEPT_SAMPLES)] = MISSING
        self._head[moving] += FRAME_SAMPLES
        return codes

    def drop(self, legs: Indices, frames: Indices) -> None:
        """Let time pass without a read, for frames that nobody will ask for any more."""
        for leg, count in zip(legs.tolist(), frames.tolist(), strict=True):
            start = int(self._head[leg]) - _KEPT_SAMPLES
            samples = min(count * FRAME_SAMPLES, _RING_SAMPLES)
            self._ring[leg, np.arange(start, start + samples) % _RING_SAMPLES] = MISSING
            self._head[leg] += count * FRAME_SAMPLES

    def _frame_index(self, legs: Indices, offset: int) -> Indices:
        index: Indices = legs * _ROW_SAMPLES + (self._head[legs] + offset) % _RING_SAMPLES
        return index

    def _review(self, legs: Indices) -> None:
        """Every two seconds: if every packet of them waited a frame too long, leave out what was too much."""
        self._reads[legs] += 1
        due = legs[self._reads[legs] >= _REVIEW_FRAMES]
        if due.size:
            spare = np.where(self._slack[due] == _NO_SLACK, 0, self._slack[due] - self._delay)
            self._skips[due] = np.maximum(spare // FRAME_SAMPLES, 0)
            self._slack[due] = _NO_SLACK
            self._reads[due] = 0

    def _shortened(self, legs: Indices, codes: Codes) -> Codes:
        """Leave a frame out where nothing is heard in it, or else, after a while, melt it into the next one."""
        following = self._frames[self._frame_index(legs, FRAME_SAMPLES)]
        level = np.abs(codec.decode(codes).astype(np.int32)).max(axis=1)
        is_silent = level < _QUIET_LEVEL
        is_whole = ~((codes == MISSING).any(axis=1) | (following == MISSING).any(axis=1))
        melts = ~is_silent & is_whole & (self._reads[legs] % _SKIP_SPACING_FRAMES == 0)
        fade = np.linspace(0, 1, FRAME_SAMPLES)
        blend = codec.decode(codes[melts]) * (1 - fade) + codec.decode(following[melts]) * fade
        codes[melts] = codec.codes(np.rint(blend).astype(np.int16))
        codes[is_silent] = following[is_silent]
        left_out = legs[is_silent | melts]
        self._frames[self._frame_index(left_out, -_KEPT_SAMPLES)] = MISSING
        self._head[left_out] += FRAME_SAMPLES
        self._skips[left_out] -= 1
        self._slack[left_out] = _NO_SLACK
        return codes

    def _concealed(self, legs: Indices, codes: Codes) -> Codes:
        """Frames with gaps, filled as far as the concealment reaches; remembers how to go on in the next frame."""
        is_missing = codes == MISSING
        first = is_missing.argmax(axis=1)
        begins = (first > 0) | (self._gap[legs] == 0)
        self._history[legs[begins]] = self._before(legs[begins], first[begins])
        elapsed = np.where(begins, 0, self._gap[legs])[:, None] + np.cumsum(is_missing, axis=1) - is_missing
        elapsed[self._is_quiet[legs] & begins] = _FADED
        in_reach = is_missing & (elapsed < self._concealment.reach_samples)
        filled = self._concealment.fill(self._history[legs], np.minimum(elapsed, self._concealment.reach_samples))
        codes[in_reach] = codec.codes(filled[in_reach])
        self.concealed[legs] += in_reach.sum(axis=1)
        self._gap[legs] = np.where(is_missing[:, -1], np.minimum(elapsed[:, -1] + 1, _FADED), 0)
        return codes

    def _before(self, legs: Indices, first: Indices) -> Samples:
        """The samples before column `first` of the frame at the head."""
        end = self._head[legs] + first
        columns = (end[:, None] - np.arange(self._concealment.history_samples, 0, -1)) % _RING_SAMPLES
        return codec.decode(self._ring[legs[:, None], columns])


def codes_of(payload: Bytes, first_code: Indices) -> Codes:
    """Payload octets uint8[n, samples] as codes of the payload formats told for each row."""
    codes: Codes = payload.astype(np.uint16)
    codes |= first_code.astype(np.uint16)[:, None]
    return codes
