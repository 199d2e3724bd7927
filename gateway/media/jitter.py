"""Jitter buffers: every leg's received audio on its own time line, read 20 ms at a time.

The bank is one array of codes (see `gateway.media.codec`), a ring of about a second for each leg::

    write   codes uint16[n, payload]  ->  ring uint16[legs, 8160 + 1460]     at the packet's RTP timestamp
    read    ring  ->  codes uint16[n, 160]                                   at the head, which moves 20 ms a read

The place of a sample follows from its timestamp alone, so packets may come in any order, with any number of
milliseconds in them, more than once, or after a pause. What no packet brought is `MISSING`, and concealed for a while.

Delay. What a model is told has to come whole and soon, not evenly. The first packet of a stream is placed so that it
waits `delay_ms` at least; a read whose packet is late waits for it in turn, up to `patience_ms`, and the reads behind
it catch up at once. Where packets are later than that, `gateway.media.delay` says how many frames the wait should be
longer. Frames without sound are left out, or played twice, first. Where a voice goes on, a passage is awaited at which
it resembles itself 20 ms away, and spliced there; the longer the way to go, the shorter the wait. Packets that come too
late make the delay grow at once, for then a gap is heard anyway. What does not fit between `max_delay_ms` ahead and as
much behind is not placed: either it is a stray, or the sender's time line has jumped, which the receiver decides.

Gaps. Missing samples are made up by `gateway.media.concealment` and fade over into the first that were received. In a
pause that the sender told, comfort noise is played instead, if it told that, too (RFC 3389).

A position counts samples of the leg's life, from 0, and never wraps; the head is a multiple of 160.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from gateway.media import codec
from gateway.media.codec import G722, MISSING, SAMPLES_PER_MS, Bytes, Codes, Indices, Mask, Samples
from gateway.media.comfort_noise import RESPONSE_SAMPLES, impulse_response, noise
from gateway.media.concealment import MAX_HISTORY_SAMPLES, Concealment, PitchRepetition
from gateway.media.delay import DelayControl
from gateway.media.rtp import MAX_PAYLOAD_BYTES, timestamp_distance
from gateway.media.splice import splice

FRAME_SAMPLES: Final = 20 * SAMPLES_PER_MS

_RING_SAMPLES: Final = 51 * FRAME_SAMPLES
_ROW_SAMPLES: Final = _RING_SAMPLES + MAX_PAYLOAD_BYTES
_KEPT_SAMPLES: Final = MAX_HISTORY_SAMPLES  # already read, whole frames
_QUIET_LEVEL: Final = 500  # of 32768: below, a frame may be left out unheard
_ALIKE: Final = 0.6  # normalised cross-correlation from which on a splice is hardly heard
_SPLICE_SPACING_FRAMES: Final = 50  # for one frame too many; n of them are left out n times as fast ...
_LEAST_SPACING_FRAMES: Final = 4  # ... but not faster than this
_SPLICES_AT_ONCE: Final = 8
_PATIENCE: Final = 4  # spacings after which it is spliced where nothing is alike
MAX_PATIENCE_MS: Final = 200
"""A read that waits longer would be taken for a stall of ours, whose frames are skipped."""
_FADED: Final = 1 << 40
_NEVER: Final = 1 << 50


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterOptions:
    """How long received audio waits."""

    delay_ms: int = 0
    """a packet that is on time waits at least this long"""
    meets_arrivals: bool = True
    """whether a leg is read from the first tick on at which its first packet is wanted; else from any of the four that
    20 ms have, up to 20 ms later"""
    patience_ms: int = 60
    """how long a read waits for a packet that is not there, before it is made up: what a model is told need not come
    evenly, only whole and soon"""
    max_delay_ms: int = 300
    """no packet waits longer; what would is taken for a jump of the sender's clock"""

    def __post_init__(self) -> None:
        if not 0 <= self.patience_ms <= MAX_PATIENCE_MS:
            raise ValueError(f"patience_ms is 0 to {MAX_PATIENCE_MS}, not {self.patience_ms}")
        if not 0 <= self.delay_ms <= self.max_delay_ms <= 500:
            raise ValueError(f"0 <= delay_ms <= max_delay_ms <= 500, not {self.delay_ms} and {self.max_delay_ms}")


class JitterBuffers:
    """The bank. Arguments named `legs` hold distinct legs; `wait` is the time until the head is read, in samples."""

    def __init__(self, legs: int, options: JitterOptions, concealment: Concealment | None = None) -> None:
        self.options = options
        self._delay = options.delay_ms * SAMPLES_PER_MS
        self._max_delay = options.max_delay_ms * SAMPLES_PER_MS
        self._concealment: Concealment = PitchRepetition() if concealment is None else concealment
        self._ring = np.zeros((legs, _ROW_SAMPLES), np.uint16)
        self._windows_by_length: dict[int, Codes] = {}
        self._frames = self._windows(FRAME_SAMPLES)
        self._head = np.zeros(legs, np.int64)
        self._end = np.zeros(legs, np.int64)  # behind the newest sample
        self._anchor = np.zeros(legs, np.int64)  # this position ...
        self._anchor_timestamp = np.zeros(legs, np.int64)  # ... has this timestamp
        self._is_quiet = np.zeros(legs, np.bool_)  # the sender told of a pause, and no audio has come since
        self._quiet_from = np.zeros(legs, np.int64)  # the pause that was told last lies between these positions ...
        self._quiet_until = np.zeros(legs, np.int64)
        self._has_noise = np.zeros(legs, np.bool_)  # ... and is to be heard as noise
        self._response = np.zeros((legs, RESPONSE_SAMPLES), np.float32)
        self._gap = np.full(legs, _FADED, np.int64)  # samples since what is missing at the head began, 0 if nothing is
        self._history = np.zeros((legs, self._concealment.history_samples), np.int16)
        self._control = DelayControl(
            legs,
            delay_samples=self._delay,
            patience_samples=options.patience_ms * SAMPLES_PER_MS,
            frame_samples=FRAME_SAMPLES,
        )
        self._is_given_up = np.ones(legs, np.bool_)  # what is missing at the head has been waited for
        self._turn = 0  # whose delay is worked on first where too many are wrong
        self._unspliced = np.zeros(legs, np.int64)  # reads for which the delay was wrong and nothing was done
        self.late = np.zeros(legs, np.int64)
        """Packets, or parts of them, that came after their place was read."""
        self.concealed = np.zeros(legs, np.int64)
        """Samples made up."""
        self.expects_wideband = False
        """Whether any leg may get G.722."""
        self.is_wideband = np.zeros(legs, np.bool_)
        """Legs that got G.722: gaps are left `MISSING`, and only `hold` and `read_surplus` change their delay."""
        self._is_held = np.zeros(legs, np.bool_)  # of those: the head shall stand still for one read

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
        zeros = (self._head, self._end, self._quiet_until, self._unspliced, self.late, self.concealed)
        for zero in zeros:
            zero[leg] = 0
        self._is_quiet[leg] = self._has_noise[leg] = False
        self.is_wideband[leg] = self._is_held[leg] = False
        self._is_given_up[leg] = True
        self._gap[leg] = _FADED
        self._control.begin(leg)

    def begin(self, leg: int, timestamp: int, wait: int, behind: int = 0) -> None:
        """Give a leg a new time line, on which `timestamp` is heard after the least delay. Later audio is forgotten.

        `behind`: so many samples before `timestamp` are left to be heard as well.
        """
        frames = -(-max(self._delay - max(wait, 0), behind) // FRAME_SAMPLES)
        self._anchor[leg] = place = int(self._head[leg]) + frames * FRAME_SAMPLES
        self._anchor_timestamp[leg] = timestamp
        if self._end[leg] > place:
            self._ring[leg, (np.arange(place, int(self._end[leg])) % _RING_SAMPLES)] = MISSING
            self._end[leg] = place
        self._is_given_up[leg] = False
        self._control.begin(leg)

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

    def buffered(self, legs: Indices) -> Indices:
        """Samples from the head to the newest, gaps among them."""
        buffered: Indices = np.maximum(self._end[legs] - self._head[legs], 0)
        return buffered

    def delay_ms(self, leg: int) -> float:
        """What a packet that was on time waited of late."""
        return float(self._control.on_time[leg]) / SAMPLES_PER_MS

    def is_missing(self, legs: Indices) -> Mask:
        """Whether the frame read last ended in a gap that the sender did not tell of."""
        missing: Mask = (self._gap[legs] > 0) & ~self._is_quiet[legs]
        return missing

    def quiet(self, legs: Indices) -> None:
        """The sender pauses (RFC 4733 events): what is missing behind its audio is silence and no loss."""
        new = legs[~self._is_quiet[legs]]
        self._quiet_from[new] = np.maximum(self._end[new], self._head[new])
        self._quiet_until[legs] = _NEVER
        self._is_quiet[legs] = True
        self._has_noise[legs] = False

    def comfort(self, leg: int, payload: bytes) -> None:
        """The sender pauses and says what noise to play meanwhile (RFC 3389 3)."""
        self.quiet(np.array([leg]))
        self._response[leg] = impulse_response(payload)
        self._has_noise[leg] = True

    def insert(self, legs: Indices, timestamp: Indices, payload: Codes, wait: Indices) -> None:
        """Place one packet, of equal length, on the time line of each of `legs`; all of them `fits`.

        Args:
            payload: uint16[n, samples], codes.
        """
        if self.expects_wideband:
            self.is_wideband[legs] |= payload[:, 0] >= G722.first_code
        place = self._place(legs, timestamp)
        head = self._head[legs]
        behind = np.maximum(head - place, 0)
        is_newest = place >= self._end[legs]
        grown = np.where(is_newest, -(-behind // FRAME_SAMPLES) * FRAME_SAMPLES, 0)
        place += grown
        self._anchor[legs] = place
        self._anchor_timestamp[legs] = timestamp
        if self._is_quiet[legs].any():
            self._end_pause(legs, place)
        if grown.any():
            self._control.grew(legs, grown)
        self._control.note(legs, (place - head) // FRAME_SAMPLES * FRAME_SAMPLES + wait)
        is_late = place < head
        if is_late.any():
            self._insert_late(legs[is_late], place[is_late], payload[is_late])
            legs, place, payload = legs[~is_late], place[~is_late], payload[~is_late]
        self._write(legs, place, payload)

    def _end_pause(self, legs: Indices, place: Indices) -> None:
        is_over = self._is_quiet[legs] & (place >= self._quiet_from[legs])
        self._is_quiet[legs[is_over]] = False
        self._quiet_until[legs[is_over]] = place[is_over]

    def _place(self, legs: Indices, timestamp: Indices) -> Indices:
        place: Indices = self._anchor[legs] + timestamp_distance(timestamp, self._anchor_timestamp[legs])
        return place

    def _insert_late(self, legs: Indices, place: Indices, payload: Codes) -> None:
        """Stragglers whose successors came first: keep what can still be heard, and wait a frame longer from now on."""
        self.late[legs] += 1
        has_room = self._end[legs] - self._head[legs] + FRAME_SAMPLES <= self._max_delay
        self._control.wants_more(legs[has_room])
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

    def is_ready(self, legs: Indices, overdue_ms: Indices) -> Mask:
        """Which legs, whose reads have been due for so long, need not wait for what is missing at their heads.

        A read waits once a gap, and in no pause that the sender told.
        """
        index = legs * _ROW_SAMPLES + self._head[legs] % _RING_SAMPLES
        flat = self._ring.reshape(-1)
        is_ready: Mask = (flat[index] != MISSING) & (flat[index + FRAME_SAMPLES - 1] != MISSING)
        if not is_ready.all():
            is_ready |= overdue_ms >= self.options.patience_ms
            is_ready |= self._is_given_up[legs] | self._is_quiet[legs]
        return is_ready

    def read(self, legs: Indices) -> Codes:
        """The next 20 ms of each of `legs`, gaps concealed or left `MISSING`: uint16[n, 160]."""
        self._control.pass_frame(legs)
        codes = self._frames[self._frame_index(legs, 0)]
        self._is_given_up[legs] = codes[:, -1] == MISSING
        is_wideband = self.is_wideband[legs]
        surplus = np.where(is_wideband, 0, self._control.surplus[legs])
        is_moving = self._adjust(legs, codes, surplus) if surplus.any() else None
        missing = np.count_nonzero(codes == MISSING, axis=1)
        if is_wideband.any():
            is_held = self._is_held[legs]
            codes[is_held] = MISSING
            is_moving = ~is_held if is_moving is None else is_moving & ~is_held
            missing[is_wideband] = self._gap[legs[is_wideband]] = 0
            self._is_held[legs] = False
        if missing.any() or self._gap[legs].any():
            self._mend(legs, codes, missing, is_moving)
        moving = legs if is_moving is None else legs[is_moving]
        self._frames[self._frame_index(moving, -_KEPT_SAMPLES)] = MISSING
        self._head[moving] += FRAME_SAMPLES
        return codes

    def is_quiet(self, leg: int) -> bool:
        """Whether the sender told that there is a pause in the frame that was read last."""
        head = self._head[leg]
        return bool(self._quiet_from[leg] < head < self._quiet_until[leg] + FRAME_SAMPLES)

    def surplus(self, leg: int) -> int:
        """Frames by which a leg waits too long, negative: not long enough."""
        return int(self._control.surplus[leg])

    def read_surplus(self, leg: int) -> Codes:
        """One frame more of a leg that was read just now, for its reader to melt the two into one: uint16[160]."""
        legs = np.array([leg])
        codes: Codes = self._frames[self._frame_index(legs, 0)][0]
        self._frames[self._frame_index(legs, -_KEPT_SAMPLES)] = MISSING
        self._head[leg] += FRAME_SAMPLES
        self._control.surplus[leg] -= 1
        self._control.grew(legs, -FRAME_SAMPLES)
        return codes

    def hold(self, leg: int) -> None:
        """Let a leg wait a frame longer: its next frame is missing, and put off."""
        self._is_held[leg] = True
        self._control.surplus[leg] += 1
        self._control.grew(np.array([leg]), FRAME_SAMPLES)

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

    def _adjust(self, legs: Indices, codes: Codes, surplus: Indices) -> Mask:
        """Leave a frame out of those legs that wait too long, or add one, in `codes`. Returns whose head shall move.

        After a stall of ours that is all legs, when there is least time for it: so it is some of them at a time.
        """
        is_moving = np.ones(legs.size, np.bool_)
        for index, is_longer in ((np.flatnonzero(surplus > 0), False), (np.flatnonzero(surplus < 0), True)):
            if index.size > _SPLICES_AT_ONCE:
                self._turn += _SPLICES_AT_ONCE
                index = np.roll(index, -self._turn % index.size)[:_SPLICES_AT_ONCE]  # noqa: PLW2901
            chosen = legs[index]
            is_done = self._spliced(chosen, codes, index, is_longer=is_longer)
            self._unspliced[chosen] = np.where(is_done, 0, self._unspliced[chosen] + 1)
            done = chosen[is_done]
            self._control.surplus[done] += 1 if is_longer else -1
            self._control.grew(done, FRAME_SAMPLES if is_longer else -FRAME_SAMPLES)
            if is_longer:
                is_moving[index[is_done]] = False
            else:
                self._frames[self._frame_index(done, -_KEPT_SAMPLES)] = MISSING
                self._head[done] += FRAME_SAMPLES
        return is_moving

    def _spliced(self, legs: Indices, codes: Codes, index: Indices, *, is_longer: bool) -> Mask:
        """Whether `codes[index]`, the frames at the heads of `legs`, could be made longer or shorter by 20 ms.

        Longer: they lead back to where the frame before them ended. Shorter: they lead to where the next one ends.
        """
        present = codes[index]
        other = self._frames[self._frame_index(legs, -FRAME_SAMPLES if is_longer else FRAME_SAMPLES)]
        is_missing = present == MISSING
        is_gap = is_missing.all(axis=1)
        is_whole = ~(is_missing.any(axis=1) | (other == MISSING).any(axis=1))
        now = codec.decode(present)
        spacing = np.maximum(_SPLICE_SPACING_FRAMES // np.abs(self._control.surplus[legs]), _LEAST_SPACING_FRAMES)
        waited = self._unspliced[legs]
        is_free = (np.abs(now.astype(np.int32)).max(axis=1) < _QUIET_LEVEL) | (waited >= _PATIENCE * spacing)
        tried = np.flatnonzero(is_whole & (is_free | (waited >= spacing)))
        spliced, likeness = splice(now[tried], codec.decode(other[tried]))
        played = tried[is_free[tried] | (likeness >= _ALIKE)]
        codes[index[played]] = codec.codes(spliced[np.isin(tried, played)])
        if not is_longer and is_gap.any():
            self._leap(legs[is_gap])
            codes[index[is_gap]] = other[is_gap]
        is_done: Mask = is_gap
        is_done[played] = True
        return is_done

    def _leap(self, legs: Indices) -> None:
        """Let the frames behind lost ones be met as behind a gap: that of the last sample, if none was there before."""
        begins = legs[self._gap[legs] == 0]
        self._history[begins] = self._before(begins, np.full(begins.size, -1))
        self._gap[begins] = 1

    def _mend(self, legs: Indices, codes: Codes, missing: Indices, is_moving: Mask | None) -> None:
        """Make up what is missing in `codes`, and remember for each leg how to go on in its next frame."""
        reach, gap = self._concealment.reach_samples, self._gap[legs]
        is_quiet = (self._head[legs] + FRAME_SAMPLES > self._quiet_from[legs]) & (
            self._head[legs] < self._quiet_until[legs]
        )
        is_noisy = is_quiet & self._has_noise[legs]
        is_over = (missing == FRAME_SAMPLES) & (gap >= reach) & ~is_noisy
        is_back = (missing == 0) & (gap >= reach)
        rows = np.flatnonzero(((missing > 0) | (gap > 0)) & ~is_over & ~is_back)
        if rows.size:
            codes[rows] = self._mended(legs[rows], codes[rows], is_quiet[rows], is_noisy[rows])
            kept = rows if is_moving is None else rows[is_moving[rows]]
            self._frames[self._frame_index(legs[kept], 0)] = codes[kept]
        self._gap[legs[is_back]] = 0

    def _mended(self, legs: Indices, codes: Codes, is_quiet: Mask, is_noisy: Mask) -> Codes:
        """Frames with gaps, or just behind one, as they are to be heard."""
        place = np.arange(FRAME_SAMPLES)
        reach = self._concealment.reach_samples
        is_missing = codes == MISSING
        begins = self._gap[legs] == 0
        first = is_missing.argmax(axis=1)
        self._history[legs[begins]] = self._before(legs[begins], first[begins])
        start = np.where(begins, first, -self._gap[legs])
        start[begins & is_quiet] -= _FADED
        elapsed = place - start[:, None]
        made_up = self._concealment.fill(self._history[legs], np.clip(elapsed, 0, reach))
        if is_noisy.any():
            sound = noise(self._response[legs[is_noisy]], self._head[legs[is_noisy]], FRAME_SAMPLES)
            made_up[is_noisy] = np.where(elapsed[is_noisy] >= reach, sound, made_up[is_noisy])
        weight = self._weight_of_made_up(is_missing, begins, start)
        is_heard = is_missing & ((elapsed < reach) | is_noisy[:, None])
        blended = (weight > 0) & ~is_missing
        mixed = codec.decode(codes) * (1 - weight) + made_up * weight
        changed = is_heard | blended
        codes[changed] = codec.codes(np.rint(mixed[changed]).astype(np.int16))
        self.concealed[legs] += (is_missing & (elapsed < reach)).sum(axis=1)
        self._gap[legs] = np.where(is_missing[:, -1], np.minimum(elapsed[:, -1] + 1, _FADED), 0)
        return codes

    def _weight_of_made_up(self, is_missing: Mask, begins: Mask, start: Indices) -> npt.NDArray[np.float64]:
        """1 where samples are missing, falling to 0 in those behind a gap that has not faded out: float64[n, 160]."""
        place = np.arange(FRAME_SAMPLES)
        last = np.where(is_missing, place, np.where(begins, -_FADED, -1)[:, None])
        last = np.maximum.accumulate(last, axis=1)  # the newest sample missing so far
        gap = last + 1 - start[:, None]
        merge = np.where(gap < self._concealment.reach_samples, self._concealment.merge_samples(gap), 0)
        merge = np.clip(merge, 0, FRAME_SAMPLES - 1 - last)
        weight: npt.NDArray[np.float64] = np.clip(1 - (place - last) / (merge + 1), 0, 1)
        return weight

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
