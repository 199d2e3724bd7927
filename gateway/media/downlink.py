"""Model to caller: what a provider said, in pieces of any size, into the playout queues in the leg's law.

::

    play ─> chunks of a leg ─┬─ PCM16 24K, 16K: rows int16[r, 548 or 365] ─ DownSampler ─> int16[r, 160] ─ take ─> uint8
             (any byte count)├─ PCM16 8K, own prompts: ─ take ─> uint8
                             └─ PCMU, PCMA: untouched or by a table of 256
                                                                    ─> PlayoutQueues.append, Ledger.wrote

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
from gateway.media.codec import PCMA, PCMU, TELEPHONE_RATE_HZ, AudioFormat, Bytes, PayloadFormat, Samples
from gateway.media.ledger import HeardAudio, Ledger, PlayedItem
from gateway.media.playout import PlayoutQueues
from gateway.media.resample import FRAME_SAMPLES, DownSampler

_FRAMES_PER_TICK: Final = 512
_MAX_FRAMES_PER_LEG: Final = 64
_LOW_WATER_SAMPLES: Final = 2 * FRAME_SAMPLES
_NEVER: Final = 1 << 62

_TICKS_HZ: Final = 48000
"""Audio of every sample rate is a whole number of these."""

_LAWS: Final = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}

_Audio: TypeAlias = Samples | Bytes


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
    form: AudioFormat

    @property
    def ticks(self) -> int:
        return self.audio.size * _TICKS_HZ // self.form.sample_rate_hz


class _Filtering:
    """One leg's way through a `DownSampler`: the samples around the next telephone sample, and whose they are."""

    def __init__(self, sampler: DownSampler, form: AudioFormat) -> None:
        self.form = form
        self._sampler = sampler
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
        return -(-self._taken // self._sampler.ratio) - self._made

    def put(self, item: PlayedItem, samples: Samples) -> None:
        """Add samples of an item."""
        self._samples = np.concatenate([self._samples, samples])
        self._taken += samples.size
        self._owners.append((item, self._taken))

    def rows(self, *, is_last: bool) -> tuple[Samples, int]:
        """Rows for the sampler, int16[r, row_samples], and how many telephone samples of the result count.

        `is_last`: nothing follows, so all that was put in comes out; otherwise what still waits for `lookahead` stays.
        """
        sampler = self._sampler
        known = self._taken if is_last else self._taken - sampler.lookahead
        count = max(0, -(-known // sampler.ratio) - self._made)
        rows = -(-count // FRAME_SAMPLES)
        needed = max(0, rows - 1) * sampler.frame_samples + sampler.row_samples
        padded = np.zeros(needed, np.int16)
        present = self._samples[:needed]
        padded[: present.size] = present
        self._samples = self._samples[count * sampler.ratio :]
        windows = np.lib.stride_tricks.sliding_window_view(padded, sampler.row_samples)
        return windows[:: sampler.frame_samples][:rows], count

    def claim(self, count: int) -> list[tuple[PlayedItem, int]]:
        """Whose the next `count` telephone samples are, with how many of each; items that are through lose a chunk."""
        shares: list[tuple[PlayedItem, int]] = []
        upto = self._made + count
        while self._owners:
            item, end_taken = self._owners[0]
            end = -(-end_taken // self._sampler.ratio)
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
    ledger: Ledger = field(default_factory=Ledger)
    chunks: deque[_Chunk] = field(default_factory=deque)
    waiting_ticks: int = 0
    """audio in `chunks`, in 48 kHz ticks"""
    filtering: _Filtering | None = None
    """None after a start, a flush or audio that needs no filter"""
    newest: PlayedItem | None = None

    @property
    def has_tail(self) -> bool:
        """Whether samples wait in the filter for others to follow."""
        return self.filtering is not None and not self.filtering.is_empty


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    stage: _Stage
    filtering: _Filtering
    rows: Samples
    count: int


class Downlink:
    """The stages of all legs in front of their playout queues."""

    def __init__(self, legs: int, *, queues: PlayoutQueues, queue_ms: int) -> None:
        self._queues = queues
        self._limit_ticks = queue_ms * _TICKS_HZ // 1000
        self._samplers = {AudioFormat.PCM16_24K: DownSampler(3), AudioFormat.PCM16_16K: DownSampler(2)}
        self._stages: dict[int, _Stage] = {}
        self._busy: dict[int, None] = {}  # legs with chunks, in the order in which they came
        self._has_tail = np.zeros(legs, np.bool_)  # an item's end waits in the filter until the queue is low
        self._finish_at = np.full(legs, _NEVER, np.int64)  # position at which the next complete item is over
        self.overflow_ticks = np.zeros(legs, np.int64)
        """Audio dropped because the queue was full, in 1/48000 s."""

    def open(self, leg: int, law: PayloadFormat) -> None:
        """Begin with nothing to play."""
        self._stages[leg] = _Stage(leg=leg, law=law)
        self.overflow_ticks[leg] = 0

    def close(self, leg: int) -> None:
        """Drop everything of a leg."""
        del self._stages[leg]
        self._busy.pop(leg, None)
        self._has_tail[leg] = False
        self._finish_at[leg] = _NEVER

    def change(self, leg: int, law: PayloadFormat) -> None:
        """Encode in another law from now on."""
        self._stages[leg].law = law

    def waiting_ms(self, leg: int) -> float:
        """Audio that is not in the playout queue yet."""
        return self._waiting_ticks(self._stages[leg]) * 1000 / _TICKS_HZ

    def play(self, leg: int, name: tuple[str, int], audio: bytes, form: AudioFormat) -> None:
        """Queue audio of an item; of what exceeds the limit, the newest is dropped and counted."""
        stage = self._stages[leg]
        item = stage.ledger.item(*name, form.bytes_per_ms, self._queues.sent(leg))
        item.received_bytes += len(audio)
        stage.newest = item
        if form.is_linear:
            audio = item.remainder + audio
            item.remainder = audio[len(audio) & ~1 :]
            samples: _Audio = np.frombuffer(audio, "<i2", count=len(audio) // 2)
        else:
            samples = np.frombuffer(audio, np.uint8)
        chunk = _Chunk(item=item, audio=samples, form=form)
        self._fit(stage, chunk)
        if chunk.audio.size:
            item.pending_chunks += 1
            stage.chunks.append(chunk)
            stage.waiting_ticks += chunk.ticks
            self._busy[leg] = None
        self._review(stage)

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
        heard = stage.ledger.interrupt(self._queues.sent(leg))
        stage.newest = None
        self._review(stage)
        return heard

    def process(self) -> list[ItemFinished]:
        """Bring a tick's worth of what waits into the queues; tell which items are over."""
        jobs = [job for stage in self._tails() if (job := self._job(stage, is_last=True))]
        frames = min(_MAX_FRAMES_PER_LEG, max(1, _FRAMES_PER_TICK // max(1, len(self._busy))))
        for leg in list(self._busy):
            job = self._advance(self._stages[leg], frames * FRAME_SAMPLES)
            jobs += [job] if job else []
        for form in self._samplers:
            self._run([job for job in jobs if job.filtering.form is form], self._samplers[form])
        over = np.flatnonzero(self._queues.positions >= self._finish_at)
        return [event for leg in over.tolist() for event in self._over(leg)]

    def _waiting_ticks(self, stage: _Stage) -> int:
        filtered = stage.filtering.waiting_samples if stage.filtering else 0
        return stage.waiting_ticks + filtered * (_TICKS_HZ // TELEPHONE_RATE_HZ)

    def _fit(self, stage: _Stage, chunk: _Chunk) -> None:
        """Cut off what the leg may not have queued."""
        queued = int(self._queues.queued_samples(np.array([stage.leg]))[0]) * (_TICKS_HZ // TELEPHONE_RATE_HZ)
        excess = queued + self._waiting_ticks(stage) + chunk.ticks - self._limit_ticks
        if excess > 0:
            keep = max(0, chunk.ticks - excess) * chunk.form.sample_rate_hz // _TICKS_HZ
            whole = chunk.ticks
            chunk.audio = chunk.audio[:keep]
            self.overflow_ticks[stage.leg] += whole - chunk.ticks

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
        form = stage.chunks[0].form
        filtering = stage.filtering
        if filtering is not None and not filtering.is_empty and filtering.form is not form:
            return self._job(stage, is_last=True)
        if form not in self._samplers:
            self._append_unfiltered(stage, samples)
            return None
        is_dry = not self._queues.queued_samples(np.array([stage.leg]))[0]
        if filtering is None or filtering.form is not form or (is_dry and filtering.is_empty):
            filtering = stage.filtering = _Filtering(self._samplers[form], form)
        budget = samples * self._samplers[form].ratio
        while stage.chunks and budget and stage.chunks[0].form is form:
            chunk = self._next_part(stage, budget)
            filtering.put(chunk.item, chunk.audio.astype(np.int16, copy=False))
            budget -= chunk.audio.size
        return self._job(stage, is_last=False)

    def _append_unfiltered(self, stage: _Stage, budget: int) -> None:
        stage.filtering = None
        while stage.chunks and budget and stage.chunks[0].form not in self._samplers:
            chunk = self._next_part(stage, budget)
            law = _LAWS.get(chunk.form)
            if law is None:
                octets = codec.encode(chunk.audio.astype(np.int16, copy=False), stage.law)
            else:
                octets = codec.translate(chunk.audio.astype(np.uint8, copy=False), law, stage.law)
            self._append(stage, octets, [(chunk.item, octets.size)])
            chunk.item.pending_chunks -= 1
            budget -= octets.size
        self._review(stage)

    def _next_part(self, stage: _Stage, samples: int) -> _Chunk:
        """The oldest chunk, or its first `samples`."""
        chunk = stage.chunks.popleft()
        if chunk.audio.size > samples:
            rest = _Chunk(item=chunk.item, audio=chunk.audio[samples:], form=chunk.form)
            chunk.audio = chunk.audio[:samples]
            chunk.item.pending_chunks += 1
            stage.chunks.appendleft(rest)
        stage.waiting_ticks -= chunk.ticks
        if not stage.chunks:
            del self._busy[stage.leg]
        return chunk

    def _job(self, stage: _Stage, *, is_last: bool) -> _Job | None:
        filtering = stage.filtering
        if filtering is None:
            return None
        rows, count = filtering.rows(is_last=is_last)
        return _Job(stage=stage, filtering=filtering, rows=rows, count=count)

    def _run(self, jobs: list[_Job], sampler: DownSampler) -> None:
        """All jobs of one filter as one batch of rows."""
        if not jobs:
            return
        made = sampler.process(np.concatenate([job.rows for job in jobs]))
        first = 0
        for job in jobs:
            samples = made[first : first + len(job.rows)].reshape(-1)[: job.count]
            first += len(job.rows)
            shares = job.filtering.claim(job.count)
            self._append(job.stage, codec.encode(samples, job.stage.law), shares)
            self._review(job.stage)

    def _append(self, stage: _Stage, octets: Bytes, shares: list[tuple[PlayedItem, int]]) -> None:
        position = self._queues.append(stage.leg, octets)
        sent = self._queues.sent(stage.leg)
        for item, samples in shares:
            if samples:
                stage.ledger.wrote(item, position, samples, sent)
                position += samples

    def _over(self, leg: int) -> list[ItemFinished]:
        stage = self._stages[leg]
        items = stage.ledger.take_finished(self._queues.sent(stage.leg))
        self._review(stage)
        return [ItemFinished(leg=stage.leg, item_id=item.item_id, content_index=item.content_index) for item in items]
