"""How dear a 20 ms frame is: the batch for all calls, beside its baseline in the same run.

Three things are measured, in CPU time of the whole process, both directions together:

- *transcode*: mu-law to PCM16 24 kHz and back, by the filters of `gateway.media.resample`. The baseline is ``audioop``
  call by call: ``ulaw2lin``, ``ratecv``, ``lin2ulaw``, which filters nothing.
- *engine*: whole ticks, from RTP datagrams to uplink audio and from model audio, in pieces of 100 ms, to RTP datagrams,
  with jitter buffers, playout and ledger. The baseline is the same engine with one leg: what company saves.
- *srtp*: one packet sealed and one opened. The baseline is the whole engine with as many legs: what encryption adds.

Only ratios travel from machine to machine; nanoseconds are this machine's.
"""

from __future__ import annotations

import audioop
import json as json_module
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final, TypeAlias

import numpy as np

from gateway.media import codec, rtp
from gateway.media.codec import PCMU, AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions, PacketBatch
from gateway.media.pacing import TICK_S
from gateway.media.resample import DownSampler, UpSampler
from gateway.sip.sdes import SUITES, SrtpKeys, SrtpPolicy, SrtpTerms
from gateway.transport.srtp import SrtpContext

LEGS: Final = (1, 10, 100, 500)
_FRAME_BYTES: Final = 160
_MODEL_SAMPLES: Final = 480
_PIECE_FRAMES: Final = 5
_ROUNDS: Final = 5

LEGEND: Final = (
    "all: CPU nanoseconds for a leg and 20 ms of its audio, both directions; legs: how many are served together",
    "transcode: mu-law to PCM16 24 kHz and back; audioop: the same call by call, without filters",
    "engine: whole ticks, from RTP to the model's audio and back; alone: the same engine with one leg",
    "srtp: a packet sealed and one opened; engine: the whole engine beside it, so what encryption adds to it",
    "ratio: the baseline / ours; above 1x ours is the cheaper",
)
"""What the tables and their columns are."""

_RateState: TypeAlias = tuple[int, tuple[tuple[int, int], ...]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One size of one pair. Times are CPU nanoseconds per leg and 20 ms frame, both directions."""

    legs: int
    ours_ns: float
    baseline_ns: float

    @property
    def ratio(self) -> float:
        """How many times cheaper than the baseline."""
        return self.baseline_ns / self.ours_ns

    def as_text(self) -> str:
        """The figures of a line of the table."""
        return f"{self.legs:>6}{self.ours_ns:>9.0f} ns{self.baseline_ns:>9.0f} ns{self.ratio:>8.1f}x"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaBench:
    """What was measured."""

    transcode: tuple[BenchRow, ...]
    engine: tuple[BenchRow, ...]
    srtp: tuple[BenchRow, ...]

    def as_json(self) -> dict[str, object]:
        """One document."""
        pairs = {"transcode": self.transcode, "engine": self.engine, "srtp": self.srtp}
        told = {name: [asdict(row) | {"ratio": round(row.ratio, 2)} for row in rows] for name, rows in pairs.items()}
        return {"bench": "media", **told}

    def as_text(self) -> str:
        """A table for people."""
        tables = (
            ("transcode both ways", "audioop", self.transcode),
            ("whole engine tick", "alone", self.engine),
            ("srtp both ways", "engine", self.srtp),
        )
        lines: list[str] = []
        for name, baseline, rows in tables:
            lines.append(f"{name + ', a frame':<28}{'legs':>6}{'ours':>12}{baseline:>12}{'ratio':>9}")
            lines += [f"{'':<28}{row.as_text()}" for row in rows]
        return "\n".join([*lines, *LEGEND])


def run(*, json: bool = False, legs: tuple[int, ...] = LEGS) -> MediaBench:
    """Measure, print a table or one JSON document to stdout, and return what was measured."""
    result = measure(legs)
    sys.stdout.write((json_module.dumps(result.as_json()) if json else result.as_text()) + "\n")
    return result


def measure(legs: tuple[int, ...] = LEGS) -> MediaBench:
    """Measure and print nothing."""
    alone_ns = _measured(1, _EngineRun(1))[0]
    return MediaBench(
        transcode=tuple(_compare(count, _BatchTranscoder(count), _CallTranscoder(count)) for count in legs),
        engine=tuple(
            BenchRow(legs=count, ours_ns=_measured(count, _EngineRun(count))[0], baseline_ns=alone_ns) for count in legs
        ),
        srtp=tuple(_compare(count, _SrtpRun(count), _EngineRun(count)) for count in legs),
    )


def _compare(legs: int, ours: Callable[[], None], baseline: Callable[[], None]) -> BenchRow:
    ours_ns, baseline_ns = _measured(legs, ours, baseline)
    return BenchRow(legs=legs, ours_ns=ours_ns, baseline_ns=baseline_ns)


def _measured(legs: int, *contenders: Callable[[], None]) -> list[float]:
    """CPU nanoseconds per leg of each; in turns, so that a busy machine is busy for all. The median round counts."""
    repeats = max(_PIECE_FRAMES, 300 // legs)
    spent: list[list[float]] = [[] for _ in contenders]
    for round_number in range(_ROUNDS + 1):
        for frame, times in zip(contenders, spent, strict=True):
            started = time.process_time_ns()
            for _ in range(repeats):
                frame()
            if round_number:  # the first one warms up
                times.append((time.process_time_ns() - started) / repeats / legs)
    return [median(times) for times in spent]


def _voice(legs: int, samples: int) -> codec.Samples:
    noise = np.random.default_rng(1).normal(0, 4000, (legs, samples))
    return np.rint(np.clip(noise, -32000, 32000)).astype(np.int16)


class _BatchTranscoder:
    """One frame of every leg, both ways, as the engine does it."""

    def __init__(self, legs: int) -> None:
        self._legs = np.arange(legs)
        self._codes = codec.codes(_voice(legs, _FRAME_BYTES))
        self._up, self._down = UpSampler(3, legs), DownSampler(3)
        self._rows = _voice(legs, self._down.row_samples)

    def __call__(self) -> None:
        self._up.process(self._legs, codec.decode(self._codes))
        codec.encode(self._down.process(self._rows), PCMU)


class _CallTranscoder:
    """The same by ``audioop``, call by call."""

    def __init__(self, legs: int) -> None:
        self.law = [row.tobytes() for row in codec.encode(_voice(legs, _FRAME_BYTES), PCMU)]
        self.model = [row.tobytes() for row in _voice(legs, _MODEL_SAMPLES)]
        self._states: list[tuple[_RateState, _RateState]] = [(None, None)] * legs

    def __call__(self) -> None:
        for index, law in enumerate(self.law):
            self.convert(index, law)

    def convert(self, index: int, law: bytes) -> bytes:
        """A frame up, for nobody, and one down."""
        up, down = self._states[index]
        _, up = audioop.ratecv(audioop.ulaw2lin(law, 2), 2, 1, 8000, 24000, up)
        linear, down = audioop.ratecv(self.model[index], 2, 1, 24000, 8000, down)
        self._states[index] = up, down
        return audioop.lin2ulaw(linear, 2)


class _EngineRun:
    """20 ms of the engine: four ticks, a datagram each way for every leg, model audio for every fifth."""

    def __init__(self, legs: int) -> None:
        self._engine = MediaEngine(MediaOptions(max_legs=legs), seed=1)
        options = LegOptions(
            payload_type=0, format="PCMU", uplink=AudioFormat.PCM16_24K, downlink=AudioFormat.PCM16_24K
        )
        self._legs = np.array([self._engine.open_leg(options, 0.0) for _ in range(legs)])
        self._data = np.zeros((legs, 172), np.uint8)
        self._data[:, 12:] = codec.encode(_voice(legs, _FRAME_BYTES), PCMU)
        self._model = [row.tobytes() for row in _voice(legs, _MODEL_SAMPLES * _PIECE_FRAMES)]
        self._tick = 0

    def __call__(self) -> None:
        for phase in range(4):
            now = self._tick * TICK_S
            self._engine.playout(now)
            self._engine.receive(self._batch(phase), now)
            for leg in self._legs[self._tick // 4 % _PIECE_FRAMES :: _PIECE_FRAMES].tolist() if phase == 0 else []:
                self._engine.play(leg, "item", self._model[leg])
            self._engine.transcode(now)
            self._tick += 1

    def _batch(self, phase: int) -> PacketBatch:
        legs = self._legs[phase::4]
        data, frame = self._data[phase::4], np.full(len(legs), self._tick // 4)
        rtp.build_headers(
            data,
            payload_type=np.zeros_like(frame),
            is_marked=np.zeros(len(legs), np.bool_),
            sequence=frame,
            timestamp=frame * _FRAME_BYTES,
            ssrc=legs,
        )
        length = np.full(len(legs), data.shape[1], np.int32)
        return PacketBatch(data=data, length=length, leg=legs.astype(np.int32))


class _SrtpRun:
    """One frame of every leg sealed, and one opened, each leg under keys of its own."""

    def __init__(self, legs: int) -> None:
        terms = [SrtpTerms.draw(SrtpPolicy.REQUIRED, secrets.token_bytes) for _ in range(legs)]
        keys = [dict(own.fresh_keys)[SUITES[0]] for own in terms]
        # Where both directions have one key, a leg can open what it has sealed.
        self._legs = [SrtpContext(SrtpKeys(suite=SUITES[0], local_key=key, remote_key=key)) for key in keys]
        self._packet = bytearray(b"\x80" + bytes(rtp.HEADER_BYTES + _FRAME_BYTES - 1))
        self._sequence = 0

    def __call__(self) -> None:
        self._packet[2:4] = (self._sequence & 0xFFFF).to_bytes(2, "big")
        self._sequence += 1
        packet = memoryview(self._packet)
        for leg in self._legs:
            leg.open(memoryview(leg.seal(packet)))
