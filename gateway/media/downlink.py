"""Model to caller: what a provider said, in pieces of any size, into the playout queues in the leg's law.

::

    play ─> chunks of a leg ─┬─ PCM16 24K, 16K: rows int16[r, 548 or 365] ─ DownSampler ─> int16[r, 160] ─ take ─> uint8
             (any byte count)├─ PCM16 8K, own prompts: ─ take ─> uint8
                             └─ PCMU, PCMA: untouched or by a table of 256
                                                                    ─> PlayoutQueues.append, Ledger.wrote

What a leg that is sent G.722 hears goes through a `TickFilter` to `WidebandPlayout`, as int16[r, 320]; two samples are
one telephone sample in here.

The filter runs through all items of a leg without a seam: a stage keeps the samples around the next telephone sample
to be made. It waits for 1.46 ms of what follows; when an item has ended, nothing follows and the queue is about to run
dry, silence is taken for it, so the end of a word is neither lost nor late.

Providers send faster than real time. Every tick works on a bounded number of frames, shared by the legs that wait, so a
burst for one leg delays no other; each leg gets at least four times real time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from gateway.media import codec
from gateway.media.codec import (
    PCMA,
    PCMU,
    SAMPLES_PER_MS,
    TELEPHONE_RATE_HZ,
    AudioFormat,
    Bytes,
    Indices,
    PayloadFormat,
    Samples,
)
from gateway.media.ledger import HeardAudio, Ledger, PlayedItem
from gateway.media.playout import PlayoutQueues
from gateway.media.resample import FRAME_SAMPLES, DownSampler
from gateway.media.wideband import WidebandPlayout
from gateway.media.wideband_filters import TickFilter

_FRAMES_PER_TICK: Final = 512
_MAX_FRAMES_PER_LEG: Final = 64
_LEAST_FRAMES_PER_LEG: Final = 16
_HURRIED_FRAMES: Final = 3
"""The longest packet there is."""
_LOW_WATER_SAMPLES: Final = 2 * FRAME_SAMPLES
_NEVER: Final = 1 << 62

_TICKS_PER_SAMPLE: Final = 6
"""Audio of every sample rate is a whole number of ticks of 1/48000 s: six are a telephone sample."""

_Audio: TypeAlias = Samples | Bytes
_Sampler: TypeAlias = DownSampler | TickFilter
_LAWS: Final = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Route:
    """How audio of one format gets to the telephone."""

    sampler: _Sampler | None
    """None for what is at 8 kHz already"""
    law: PayloadFormat | None
    """of G.711 that goes on as such; None for linear audio"""
    decoded: PayloadFormat | None = None
    """law of G.711 that has to become linear audio first"""
    bytes_per_ms: int
    ticks_per_sample: int


def _route(form: AudioFormat) -> _Route:
    ratio = form.sample_rate_hz // TELEPHONE_RATE_HZ
    return _Route(
        sampler=DownSampler(ratio) if ratio > 1 else None,
        law=_LAWS.get(form),
        bytes_per_ms=form.bytes_per_ms,
        ticks_per_sample=_TICKS_PER_SAMPLE // ratio,
    )


def _wideband_route(form: AudioFormat, filters: dict[int, TickFilter]) -> _Route:
    ratio = form.sample_rate_hz // TELEPHONE_RATE_HZ
    return _Route(
        sampler=filters[ratio],
        law=None,
        decoded=_LAWS.get(form),
        bytes_per_ms=form.bytes_per_ms,
        ticks_per_sample=_TICKS_PER_SAMPLE // ratio,
    )


def _linear(audio: _Audio, law: PayloadFormat | None) -> _Audio:
    """Octets of a law of G.711 as samples; anything else as it is."""
    return audio if law is None else codec.decode(audio.astype(np.uint16) | np.uint16(law.first_code))


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFinished:
    """The last sample of an item that was ended has left."""

    leg: int
    item_id: str
    content_index: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Chunk:
    """Audio of one item, on its way."""

    item: PlayedItem
    audio: _Audio
    """int16[any] or, of G.711, uint8[any]"""
    route: _Route

    @property
    def ticks(self) -> int:
        return self.audio.size * self.route.ticks_per_sample


class _Filtering:
    """One leg's way through a filter: the samples around the next telephone sample, and whose they are."""

    def __init__(self, sampler: _Sampler) -> None:
        self.sampler = sampler
        # From `lookahead` before the centre of the next telephone sample on.
        self._samples: Samples = np.zeros(sampler.lookahead, np.int16)
        self._owners: deque[tuple[PlayedItem, int]] = deque()  # each with the number of samples at which its part ends
        self._taken = 0
        self._made = 0

    @property
    def is_empty(self) -> bool:
        """Whether every telephone sample of what was put in has been made."""
        return not self._owners

    @property
    def waiting_samples(self) -> int:
        """Telephone samples still to be made."""
        return -(-self._taken // self.sampler.ratio) - self._made

    def put(self, item: PlayedItem, samples: Samples) -> None:
        """Add samples of an item."""
        self._samples = np.concatenate((self._samples, samples))
        self._taken += samples.size
        if self._owners and self._owners[-1][0] is item:  # one part with what is left of the chunk before
            item.pending_chunks -= 1
            self._owners.pop()
        self._owners.append((item, self._taken))

    def ready(self, *, is_last: bool) -> int:
        """Telephone samples that can be made.

        `is_last`: nothing follows, so all that was put in comes out; otherwise what still waits for `lookahead` stays.
        """
        known = self._taken if is_last else self._taken - self.sampler.lookahead
        return max(0, -(-known // self.sampler.ratio) - self._made)

    def fill(self, rows: Samples, count: int) -> None:
        """Write what the next `count` telephone samples are made of into rows of the sampler: int16[r, row_samples]."""
        samples, hop = self._samples, self.sampler.frame_samples
        lacking = hop * (len(rows) - 1) + rows.shape[1] - samples.size
        padded = np.concatenate((samples, np.zeros(lacking, np.int16))) if lacking > 0 else samples
        rows[:] = np.ndarray(rows.shape, np.int16, padded, strides=(hop * samples.itemsize, samples.itemsize))
        self._samples = samples[count * self.sampler.ratio :]

    def claim(self, count: int) -> list[tuple[PlayedItem, int]]:
        """Whose the next `count` telephone samples are, with how many of each; items that are through lose a chunk."""
        shares: list[tuple[PlayedItem, int]] = []
        upto = self._made + count
        while self._owners:
            item, end_taken = self._owners[0]
            end = -(-end_taken // self.sampler.ratio)
            shares.append((item, min(end, upto) - self._made))
            self._made = min(end, upto)
            if end > upto:
                break
            item.pending_chunks -= 1
            self._owners.popleft()
        return shares


@dataclass(slots=True, kw_only=True, eq=False)
class _Stage:
    """A leg: what its provider sent and the queue does not have yet."""

    leg: int
    law: PayloadFormat
    route: _Route
    """of what the provider sends"""
    ledger: Ledger = field(default_factory=Ledger)
    chunks: deque[_Chunk] = field(default_factory=deque)
    waiting_ticks: int = 0
    """audio in `chunks`"""
    filtering: _Filtering | None = None
    """None after a start, a flush or audio that needs no filter"""
    newest: PlayedItem | None = None

    @property
    def has_tail(self) -> bool:
        """Whether samples wait in the filter for others to follow."""
        return self.filtering is not None and not self.filtering.is_empty


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """So many telephone samples to be made for a stage."""

    stage: _Stage
    filtering: _Filtering
    count: int

    @property
    def rows(self) -> int:
        return -(-self.count // FRAME_SAMPLES)


class Downlink:
    """The stages of all legs in front of their playout queues."""

    def __init__(self, legs: int, *, queues: PlayoutQueues, queue_ms: int) -> None:
        self._queues = queues
        self._limit_ticks = queue_ms * SAMPLES_PER_MS * _TICKS_PER_SAMPLE
        self.wideband = WidebandPlayout(legs, queues=queues)
        """The queues of the legs that are sent G.722."""
        self._routes = {form: _route(form) for form in AudioFormat}
        self._wideband_routes = {form: _wideband_route(form, self.wideband.filters) for form in AudioFormat}
        self._stages: dict[int, _Stage] = {}
        self._busy: dict[int, None] = {}  # legs with chunks, in the order in which they came
        self._has_tail = np.zeros(legs, np.bool_)  # an item's end waits in the filter until the queue is low
        self._finish_at = np.full(legs, _NEVER, np.int64)  # position at which the next complete item is over
        self._overflow_ticks = np.zeros(legs, np.int64)

    def open(self, leg: int, *, law: PayloadFormat, form: AudioFormat) -> None:
        """Begin with nothing to play."""
        self._stages[leg] = _Stage(leg=leg, law=law, route=self._routes_to(law)[form])
        self._overflow_ticks[leg] = 0
        if law.is_wideband:
            self.wideband.open(leg)

    def close(self, leg: int) -> None:
        """Drop everything of a leg."""
        del self._stages[leg]
        self.wideband.close(leg)
        self._busy.pop(leg, None)
        self._has_tail[leg] = False
        self._finish_at[leg] = _NEVER

    def change(self, leg: int, *, law: PayloadFormat, form: AudioFormat) -> None:
        """Encode in that law, and take that format from the provider, from now on."""
        stage = self._stages[leg]
        if law.is_wideband != stage.law.is_wideband:
            self._change_band(stage, law)
        stage.law = law
        stage.route = self._routes_to(law)[form]

    def _change_band(self, stage: _Stage, law: PayloadFormat) -> None:
        """Bring what waits, in the filter, behind it and before it, into the other band."""
        if stage.filtering is not None and not stage.filtering.is_empty:
            self._run(stage.filtering.sampler, [self._job(stage, stage.filtering, is_last=True)])
        stage.filtering = None
        if law.is_wideband:
            self.wideband.widen(stage.leg, stage.law)
        else:
            self.wideband.narrow(stage.leg, law)
        routes = {form.sample_rate_hz: route for form, route in self._routes_to(law).items() if form not in _LAWS}
        for chunk in stage.chunks:
            chunk.audio = _linear(chunk.audio, chunk.route.law)
            chunk.route = routes[TELEPHONE_RATE_HZ * _TICKS_PER_SAMPLE // chunk.route.ticks_per_sample]
        self._review(stage)

    def _routes_to(self, law: PayloadFormat) -> dict[AudioFormat, _Route]:
        return self._wideband_routes if law.is_wideband else self._routes

    def waiting_ms(self, leg: int) -> float:
        """Audio that is not in the playout queue yet."""
        return self._waiting_ticks(self._stages[leg]) / (SAMPLES_PER_MS * _TICKS_PER_SAMPLE)

    def overflow_ms(self, leg: int) -> int:
        """Audio dropped because the queue was full."""
        return int(self._overflow_ticks[leg]) // (SAMPLES_PER_MS * _TICKS_PER_SAMPLE)

    def play(self, leg: int, item_id: str, content_index: int, audio: bytes) -> None:
        """Queue a provider's audio; of what exceeds the limit, the newest is dropped and counted."""
        stage = self._stages[leg]
        route = stage.route
        item = self._item(stage, item_id, content_index, route)
        item.received_bytes += len(audio)
        if route.law is not None or route.decoded is not None:
            self._enqueue(stage, item, _linear(np.frombuffer(audio, np.uint8), route.decoded), route)
            return
        if item.remainder or len(audio) & 1:
            audio = item.remainder + audio
            item.remainder = audio[len(audio) & ~1 :]
        self._enqueue(stage, item, np.frombuffer(audio, "<i2", count=len(audio) // 2), route)

    def play_prompt(self, leg: int, item_id: str, pcm: Samples) -> None:
        """Queue a sound of our own, int16[any] at 8 kHz."""
        stage = self._stages[leg]
        route = self._routes_to(stage.law)[AudioFormat.PCM16_8K]
        item = self._item(stage, item_id, 0, route)
        item.received_bytes += pcm.nbytes
        self._enqueue(stage, item, pcm, route)

    def end_item(self, leg: int, item_id: str) -> None:
        """No more audio for an item."""
        stage = self._stages[leg]
        for item in stage.ledger.parts(item_id):
            item.is_ended = True
            item.remainder = b""
        self._review(stage)

    def flush(self, leg: int) -> tuple[HeardAudio, ...]:
        """Drop all that was not sent, and tell how far each item was heard."""
        stage = self._stages[leg]
        stage.chunks.clear()
        stage.waiting_ticks = 0
        stage.filtering = None
        self._busy.pop(leg, None)
        self._queues.clear(leg)
        self.wideband.clear(leg)
        heard = stage.ledger.interrupt(self._queues.sent(leg))
        stage.newest = None
        self._review(stage)
        return heard

    def process(self) -> list[ItemFinished]:
        """Bring a tick's worth of what waits into the queues; tell which items are over."""
        jobs = [self._job(stage, stage.filtering, is_last=True) for stage in self._tails() if stage.filtering]
        share = max(_FRAMES_PER_TICK // max(1, len(self._busy)), _LEAST_FRAMES_PER_LEG)
        frames = min(share, _MAX_FRAMES_PER_LEG)
        self._work(self._in_turn(frames), frames, jobs)
        over = (self._queues.positions >= self._finish_at).nonzero()[0]
        return [event for leg in over.tolist() for event in self._over(leg)]

    def _in_turn(self, frames: int) -> list[int]:
        """The busy legs that have waited longest, as many as there are frames for in a tick; their turn is over.

        A leg's pieces are worked on whole where they are not very long: in parts they would cost several times as much,
        just when there is most to do.
        """
        legs: list[int] = []
        left = _FRAMES_PER_TICK
        for leg in self._busy:
            if left <= 0:
                break
            legs.append(leg)
            left -= min(frames, self._stages[leg].waiting_ticks // (FRAME_SAMPLES * _TICKS_PER_SAMPLE) + 1)
        for leg in legs:
            self._busy[leg] = self._busy.pop(leg)
        return legs

    def hurry(self, legs: Indices) -> None:
        """Bring the beginning of speech into the queues of `legs` that have none, for the packets that are due now."""
        if self._busy:
            silent = set(legs[self._queues.queued_samples(legs) == 0].tolist())
            self._work([leg for leg in self._busy if leg in silent], _HURRIED_FRAMES, [])

    def _work(self, legs: list[int], frames: int, jobs: list[_Job]) -> None:
        """Bring so many frames of busy legs, and what the jobs are about, into the queues."""
        for leg in legs:
            job = self._advance(self._stages[leg], frames * FRAME_SAMPLES)
            if job is not None:
                jobs.append(job)
        while jobs:
            sampler = jobs[0].filtering.sampler
            self._run(sampler, [job for job in jobs if job.filtering.sampler is sampler])
            jobs = [job for job in jobs if job.filtering.sampler is not sampler]

    def _item(self, stage: _Stage, item_id: str, content_index: int, route: _Route) -> PlayedItem:
        sent = self._queues.sent(stage.leg)
        stage.newest = item = stage.ledger.item(item_id, content_index, route.bytes_per_ms, sent)
        return item

    def _enqueue(self, stage: _Stage, item: PlayedItem, audio: _Audio, route: _Route) -> None:
        excess = self._queued_ticks(stage) + audio.size * route.ticks_per_sample - self._limit_ticks
        if excess > 0:
            keep = max(0, audio.size - -(-excess // route.ticks_per_sample))
            self._overflow_ticks[stage.leg] += (audio.size - keep) * route.ticks_per_sample
            audio = audio[:keep]
        if audio.size:
            chunk = _Chunk(item=item, audio=audio, route=route)
            item.pending_chunks += 1
            stage.chunks.append(chunk)
            stage.waiting_ticks += chunk.ticks
            self._busy[stage.leg] = None
            self._has_tail[stage.leg] = False
        else:
            self._review(stage)

    def _waiting_ticks(self, stage: _Stage) -> int:
        filtered = stage.filtering.waiting_samples if stage.filtering else 0
        return stage.waiting_ticks + filtered * _TICKS_PER_SAMPLE

    def _queued_ticks(self, stage: _Stage) -> int:
        return self._queues.queued(stage.leg) * _TICKS_PER_SAMPLE + self._waiting_ticks(stage)

    def _review(self, stage: _Stage) -> None:
        """After any change: what happens when the queue runs low, and when the next item is over."""
        leg = stage.leg
        is_ended = not stage.chunks and stage.newest is not None and stage.newest.is_ended
        self._has_tail[leg] = is_ended and stage.has_tail
        if is_ended and not stage.has_tail:
            self._queues.complete(leg)
        end = stage.ledger.next_end()
        self._finish_at[leg] = _NEVER if end is None else end

    def _tails(self) -> list[_Stage]:
        legs = self._has_tail.nonzero()[0]
        return [self._stages[leg] for leg in legs[self._queues.queued_samples(legs) <= _LOW_WATER_SAMPLES].tolist()]

    def _advance(self, stage: _Stage, samples: int) -> _Job | None:
        """Take up to so many telephone samples from a leg's chunks: into the queue, or into a job for the filter."""
        sampler = stage.chunks[0].route.sampler
        filtering = stage.filtering
        if filtering is not None and not filtering.is_empty and filtering.sampler is not sampler:
            return self._job(stage, filtering, is_last=True)
        if sampler is None:
            self._append_unfiltered(stage, samples)
            return None
        if filtering is None or filtering.sampler is not sampler or self._is_after_pause(stage, filtering):
            filtering = stage.filtering = _Filtering(sampler)
        budget = samples * sampler.ratio
        while stage.chunks and budget and stage.chunks[0].route.sampler is sampler:
            chunk = self._next_part(stage, budget)
            filtering.put(chunk.item, chunk.audio.astype(np.int16, copy=False))
            budget -= chunk.audio.size
        return self._job(stage, filtering, is_last=False)

    def _is_after_pause(self, stage: _Stage, filtering: _Filtering) -> bool:
        return filtering.is_empty and not self._queues.queued(stage.leg)

    def _append_unfiltered(self, stage: _Stage, budget: int) -> None:
        stage.filtering = None
        while stage.chunks and budget and stage.chunks[0].route.sampler is None:
            chunk = self._next_part(stage, budget)
            law = chunk.route.law
            if law is None:
                octets = codec.encode(chunk.audio.astype(np.int16, copy=False), stage.law)
            else:
                octets = codec.translate(chunk.audio.astype(np.uint8, copy=False), law, stage.law)
            self._assign(stage, self._queues.append(stage.leg, octets), [(chunk.item, octets.size)])
            chunk.item.pending_chunks -= 1
            budget -= octets.size
        self._review(stage)

    def _next_part(self, stage: _Stage, samples: int) -> _Chunk:
        """The oldest chunk, or its first `samples`."""
        chunk = stage.chunks.popleft()
        if chunk.audio.size > samples:
            rest = _Chunk(item=chunk.item, audio=chunk.audio[samples:], route=chunk.route)
            chunk.audio = chunk.audio[:samples]
            chunk.item.pending_chunks += 1
            stage.chunks.appendleft(rest)
        stage.waiting_ticks -= chunk.ticks
        if not stage.chunks:
            del self._busy[stage.leg]
        return chunk

    @staticmethod
    def _job(stage: _Stage, filtering: _Filtering, *, is_last: bool) -> _Job:
        return _Job(stage=stage, filtering=filtering, count=filtering.ready(is_last=is_last))

    def _run(self, sampler: _Sampler, jobs: list[_Job]) -> None:
        """All jobs of one filter as one batch of rows, encoded in each law of G.711 that is asked for."""
        rows = np.empty((sum(job.rows for job in jobs), sampler.row_samples), np.int16)
        first = 0
        for job in jobs:
            job.filtering.fill(rows[first : first + job.rows], job.count)
            first += job.rows
        made = sampler.process(rows)
        samples, per_tick = made.reshape(-1), made.shape[1] // FRAME_SAMPLES
        laws = {job.stage.law.index: job.stage.law for job in jobs if not job.stage.law.is_wideband}
        encoded = {index: codec.encode(samples, law) for index, law in laws.items()}
        first = 0
        for job in jobs:
            leg, behind = job.stage.leg, first + job.count
            if job.stage.law.is_wideband:
                position = self.wideband.append(leg, samples[first * per_tick : behind * per_tick])
            else:
                position = self._queues.append(leg, encoded[job.stage.law.index][first:behind])
            first += job.rows * FRAME_SAMPLES
            self._assign(job.stage, position, job.filtering.claim(job.count))
            self._review(job.stage)

    def _assign(self, stage: _Stage, position: int, shares: list[tuple[PlayedItem, int]]) -> None:
        """Enter in the ledger whose the samples queued from `position` on are."""
        sent = self._queues.sent(stage.leg)
        for item, samples in shares:
            if samples:
                stage.ledger.wrote(item, position, samples, sent)
                position += samples

    def _over(self, leg: int) -> list[ItemFinished]:
        stage = self._stages[leg]
        items = stage.ledger.take_finished(self._queues.sent(leg))
        self._review(stage)
        return [ItemFinished(leg=leg, item_id=item.item_id, content_index=item.content_index) for item in items]
