"""What the embedded server hears, and how soon it answers: callers in real time against its processes on one core.

::

    caller: question, 20 ms mu-law frames in real time, then silence ──WebSocket──> server and its workers, one core
            <── speech_stopped, first response.output_audio.delta ───────────────

The time runs from the frame with the caller's last sound to the first audio of the answer; the silence that ends a turn
(250 ms) is in it. The callers are on the other cores, where there are others. CPU is that of all processes of the
server, from the beginning of the first question to the end of the last answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json as json_module
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from gateway.embedded.audio import WireFormat, encode
from gateway.embedded.voice import DEFAULT_VOICE, EspeakVoice, stream
from gateway.embedded.voices import Synthesizer, open_voice
from gateway.errors import ResourceError
from gateway.simulate.bench_hearing import HEAD, LINES, HearingRow, Samples, measure_hearing, turn
from gateway.simulate.bench_hearing import VOICES as CALLERS

QUESTION: Final = "What are your opening hours?"
SILENCE_MS: Final = 250
_FRAME_SAMPLES: Final = 160
_FRAME_S: Final = 0.02
_AUDIBLE: Final = 0.03
"""Share of the peak below which the question has ended."""
_REST_S: Final = 1.0
_PATIENCE_S: Final = 30.0
_START_LIMIT_S: Final = 60.0
_SENTENCE: Final = "We are open from Monday to Friday, from nine in the morning until half past five."


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """Callers at once, each asking several times. Times from the caller's last sound, in ms."""

    calls: int
    turns: int
    median_ms: float
    p95_ms: float
    turn_detection_ms: float
    """Of the median: until the server has told that the turn is over."""
    cpu_percent_per_call: float
    memory_mb: float
    """Of all the server's processes, what they share counted once."""

    def as_json(self) -> dict[str, object]:
        """One flat object."""
        return asdict(self)

    def as_text(self) -> str:
        """A line of the table."""
        times = f"{self.median_ms:>8.0f}{self.p95_ms:>8.0f}{self.turn_detection_ms:>11.0f}"
        return f"{self.calls:>5}{self.turns:>7}{times}{self.cpu_percent_per_call:>10.1f} %{self.memory_mb:>9.0f} MB"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceRow:
    """How soon one voice has something to send, and how much faster than speech it is."""

    voice: str
    first_audio_ms: float
    times_real: float

    def as_json(self) -> dict[str, object]:
        """One flat object."""
        return asdict(self)

    def as_text(self) -> str:
        """A line of the table."""
        return f"{self.voice:<13}first audio after {self.first_audio_ms:.1f} ms, {self.times_real:.0f} times real time"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBench:
    """What was measured."""

    hearing: tuple[HearingRow, ...]
    voices: tuple[VoiceRow, ...]
    latency: tuple[LatencyRow, ...]

    def as_json(self) -> dict[str, object]:
        """One document."""
        return {
            "bench": "embedded",
            "hearing": [row.as_json() for row in (*self.hearing, *sums(self.hearing))],
            "voices": [row.as_json() for row in self.voices],
            "latency": [row.as_json() for row in self.latency],
        }

    def as_text(self) -> str:
        """Tables for people."""
        latency_head = (
            f"{'calls':>5}{'turns':>7}{'median':>8}{'p95':>8}{'detection':>11}{'CPU a call':>12}{'memory':>12}"
        )
        hearing_rows = "\n".join(row.as_text() for row in (*self.hearing, *sums(self.hearing)))
        parts = [
            f"embedded\n{HEAD}\n{hearing_rows}" if hearing_rows else "embedded",
            "\n".join(row.as_text() for row in self.voices),
            f"{latency_head}   end of speech to first audio, ms\n" + "\n".join(row.as_text() for row in self.latency),
        ]
        return "\n\n".join(filter(None, parts))


def sums(rows: tuple[HearingRow, ...]) -> tuple[HearingRow, ...]:
    """One row for each set of sentences and line: all voices."""
    names = dict.fromkeys((row.sentences, row.line) for row in rows)
    found = []
    for sentences, line in names:
        of = [row for row in rows if (row.sentences, row.line) == (sentences, line)]
        found.append(
            HearingRow(
                sentences=sentences,
                voice="all",
                line=line,
                total=sum(row.total for row in of),
                right=sum(row.right for row in of),
                unsure=sum(row.unsure for row in of),
                baseline_right=_sum(row.baseline_right for row in of),
            )
        )
    return tuple(found)


def _sum(figures: Iterable[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


def run(
    *, json: bool = False, turns: int = 4, calls: tuple[int, ...] = (), over_calls: tuple[HearingRow, ...] = ()
) -> EmbeddedBench:
    """Measure, print tables or one JSON document to stdout, and return what was measured.

    With `calls` only how soon so many callers at once are answered. `over_calls` is what was heard over the telephone,
    and becomes part of the tables.

    Raises:
        ResourceError: the `local` extra is not installed.
    """
    if calls:
        result = EmbeddedBench(hearing=(), voices=(), latency=asyncio.run(measure_latency(calls, turns)))
    else:
        result = measure(turns=turns)
    result = replace(result, hearing=result.hearing + over_calls)
    sys.stdout.write((json_module.dumps(result.as_json()) if json else result.as_text()) + "\n")
    return result


def measure(
    *,
    voices: tuple[str, ...] = CALLERS,
    lines: tuple[str, ...] = tuple(LINES),
    calls: tuple[int, ...] = (1, 8, 20),
    turns: int = 4,
) -> EmbeddedBench:
    """Hearing by `voices` over `lines`, and answers to `calls` at once, each asking `turns` times."""
    return EmbeddedBench(
        hearing=measure_hearing(voices=voices, lines=lines),
        voices=tuple(_voices()),
        latency=asyncio.run(measure_latency(calls, turns)),
    )


def voice_row(name: str, voice: Synthesizer) -> VoiceRow:
    """The median of ten sentences, in this process."""
    # The first sentence also loads what the voice needs.
    firsts_ms, speeds = zip(*(_spoken(voice) for _ in range(11)), strict=True)
    return VoiceRow(voice=name, first_audio_ms=median(firsts_ms[1:]), times_real=median(speeds[1:]))


def _spoken(voice: Synthesizer) -> tuple[float, float]:
    """Time to the first block in ms, and seconds of audio made a second."""
    blocks: list[tuple[float, int]] = []
    began = time.perf_counter()
    stream(_SENTENCE, voice, 1.0, WireFormat.PCMU, lambda block: blocks.append((time.perf_counter(), len(block))))
    spent_s = time.perf_counter() - began
    return (blocks[0][0] - began) * 1000, sum(size for _, size in blocks) / 8000 / spent_s


def _voices() -> Iterator[VoiceRow]:
    """eSpeak, and flite where it is."""
    yield voice_row("espeak", EspeakVoice(DEFAULT_VOICE))
    for name in ("slt", "rms", "kal16"):
        with contextlib.suppress(ResourceError):
            yield voice_row(f"flite {name}", open_voice("flite", name))


# --- latency ----------------------------------------------------------------------------------------------------------


async def measure_latency(calls: tuple[int, ...], turns: int) -> tuple[LatencyRow, ...]:
    """One row for each number of callers, who each ask `turns` times.

    Raises:
        ResourceError: the server does not start.
    """
    async with _server_on_one_core() as (url, pid):
        await _talk(url, Caller(0), 1)  # decoders and voices are made at the first turn
        return tuple([await _latency_row(url, pid, count, turns) for count in calls])


async def _latency_row(url: str, pid: int, calls: int, turns: int) -> LatencyRow:
    callers = [Caller(number) for number in range(calls)]
    cpu_s, began = cpu_seconds(pid), time.monotonic()
    await asyncio.gather(*(_talk(url, caller, turns) for caller in callers))
    spent_s, wall_s = cpu_seconds(pid) - cpu_s, time.monotonic() - began
    answers_ms = sorted(answer_ms for caller in callers for answer_ms in caller.answers_ms)
    return LatencyRow(
        calls=calls,
        turns=len(answers_ms),
        median_ms=median(answers_ms),
        p95_ms=answers_ms[min(len(answers_ms) - 1, int(0.95 * len(answers_ms)))],
        turn_detection_ms=median(end_ms for caller in callers for end_ms in caller.ends_ms),
        cpu_percent_per_call=100 * spent_s / wall_s / calls,
        memory_mb=memory_mb(pid),
    )


class Caller:
    """One caller's question, and when its parts came back."""

    def __init__(self, number: int) -> None:
        self.delay_s = number * 0.37
        """Callers do not all end in the same frame."""
        samples = turn(QUESTION, CALLERS[number % len(CALLERS)], "clean", np.random.default_rng(number))
        self.question, self.last_sound = question_frames(samples)
        self.answers_ms: list[float] = []
        self.ends_ms: list[float] = []


def question_frames(samples: Samples) -> tuple[list[bytes], int]:
    """`int16[n]` in frames of 20 ms mu-law, and the number of the frame with the last sound."""
    whole = samples[: len(samples) // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    peaks = np.abs(whole.astype(np.int32)).max(axis=1)
    (loud,) = np.nonzero(peaks > _AUDIBLE * peaks.max())
    return [encode(frame, WireFormat.PCMU) for frame in whole], int(loud[-1])


class _Line:
    """What one connection sends: a question when told to, silence otherwise, a frame every 20 ms."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._frames: list[bytes] = []
        self._last_sound = 0
        self.sent_last_sound_at: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def ask(self, frames: list[bytes], last_sound: int) -> asyncio.Future[float]:
        """Put a question on the line; the time at which its last sound is sent."""
        self._frames, self._last_sound = list(frames), last_sound
        self.sent_last_sound_at = asyncio.get_running_loop().create_future()
        return self.sent_last_sound_at

    async def run(self) -> None:
        """Until cancelled."""
        silence = b"\xff" * _FRAME_SAMPLES
        due = time.monotonic()
        while True:
            frame = self._frames.pop(0) if self._frames else silence
            audio = base64.b64encode(frame).decode()
            await self._socket.send(f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}')
            self._last_sound -= 1
            if self._last_sound < 0 and not self.sent_last_sound_at.done():
                self.sent_last_sound_at.set_result(time.monotonic())
            due += _FRAME_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _talk(url: str, caller: Caller, turns: int) -> None:
    async with connect(f"{url}?model=bench", compression=None, max_size=None) as socket, asyncio.timeout(None) as limit:
        await asyncio.sleep(caller.delay_s)
        form = {"type": "audio/pcmu"}
        detection = {"type": "server_vad", "silence_duration_ms": SILENCE_MS}
        audio = {"input": {"format": form, "turn_detection": detection}, "output": {"format": form}}
        await socket.send(
            json_module.dumps({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        )
        line = _Line(socket)
        sending = asyncio.create_task(line.run())
        try:
            for _ in range(turns):
                limit.reschedule(asyncio.get_running_loop().time() + _PATIENCE_S)
                await asyncio.sleep(_REST_S)
                asked = line.ask(caller.question, caller.last_sound)
                stopped_at, heard_at = await _answer(socket)
                caller.ends_ms.append((stopped_at - await asked) * 1000)
                caller.answers_ms.append((heard_at - await asked) * 1000)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending


async def _answer(socket: ClientConnection) -> tuple[float, float]:
    """When the turn was over for the server, and when the first audio of the answer came; waits for its end."""
    times: dict[str, float] = {}
    while True:
        event = json_module.loads(await socket.recv())
        times.setdefault(event["type"], time.monotonic())
        if event["type"] == "response.done":
            return times["input_audio_buffer.speech_stopped"], times["response.output_audio.delta"]


@contextlib.asynccontextmanager
async def _server_on_one_core() -> AsyncIterator[tuple[str, int]]:
    """The server and its workers on one core, and this process on the others."""
    with _shared_out() as (server_core, own_cores):
        _stay_on({server_core})
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "gateway.embedded",
                "--port",
                "0",
                "--parent-watch",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        finally:
            _stay_on(own_cores)
        assert process.stdin is not None  # noqa: S101 - pipes were asked for
        assert process.stdout is not None  # noqa: S101
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_LIMIT_S)
            if not line:
                raise ResourceError("the embedded realtime server did not start; its message stands above")
            yield json_module.loads(line)["url"], process.pid
        finally:
            process.stdin.close()
            await process.wait()


@contextlib.contextmanager
def _shared_out() -> Iterator[tuple[int, set[int]]]:
    """A core for the server and the others for us, as long as the context lasts."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    server_core = max(cores)
    try:
        yield server_core, cores - {server_core} or cores
    finally:
        _stay_on(cores)


def _stay_on(cores: set[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


# --- what a family of processes costs ---------------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """`pid` and all processes that come from it."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for children in _read_each(Path(f"/proc/{parent}/task").glob("*/children")):
            found.extend(map(int, children.split()))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its children alive have taken, theirs that have ended included."""
    ticks = 0
    for status in _read_each(Path(f"/proc/{member}/stat") for member in family(pid)):
        ticks += sum(map(int, status.rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Memory of a process and its children; what several share is counted once (PSS)."""
    kib = 0
    for rollup in _read_each(Path(f"/proc/{member}/smaps_rollup") for member in family(pid)):
        kib += int(rollup.partition("Pss:")[2].split()[0])
    return kib / 1024


def _read_each(paths: Iterable[Path]) -> Iterator[str]:
    """The text of each file that is still there."""
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.read_text(encoding="ascii")
