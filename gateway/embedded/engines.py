"""The speech engines as the server sees them: jobs submitted, answers by callback.

The voice and the recognisers are worker processes; the network that hears speech is small enough for this one.
Nothing here waits for a job. A worker that dies fails its jobs and is started again; a client that leaves has its jobs
forgotten while the worker finishes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.embedded.audio import WireFormat
from gateway.embedded.ears import check_recognizer
from gateway.embedded.extras import require_engines
from gateway.embedded.recognizer import NOTHING, Listening, Recognition
from gateway.embedded.sections import RecognizerSection, VoiceSection
from gateway.embedded.silero import SpeechModel
from gateway.embedded.speech_judge import SpeechJudge
from gateway.embedded.voices import check_voice
from gateway.embedded.worker import FRAME_HEAD, FrameKind
from gateway.errors import ResourceError

_START_LIMIT_S = 30.0
_END_LIMIT_S = 1.0
_RESTART_PAUSE_S = 1.0
_HANG_LIMIT_S = 10.0
"""Longest time that any process may take for one job."""

log = logging.getLogger(__name__)

OnFrame = Callable[[FrameKind, bytes], None]


@dataclass(frozen=True, slots=True)
class _Child:
    """A running process and its two pipes."""

    process: asyncio.subprocess.Process
    requests: asyncio.StreamWriter
    answers: asyncio.StreamReader

    async def read_frame(self) -> tuple[int, FrameKind, bytes]:
        """The next frame: job, kind, payload."""
        length, job, kind = FRAME_HEAD.unpack(await self.answers.readexactly(FRAME_HEAD.size))
        return job, FrameKind(kind), await self.answers.readexactly(length)

    async def end(self) -> None:
        """Close its input, which ends it; kill it if that does not do."""
        self.requests.close()
        try:
            async with asyncio.timeout(_END_LIMIT_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def _spawn(role: str, *arguments: str) -> _Child:
    """Start a worker process and wait until its engine is loaded.

    Raises:
        ResourceError: it does not come up.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "gateway.embedded.worker",
        role,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise ResourceError(f"the embedded server's {role} process has no pipes")
    child = _Child(process, process.stdin, process.stdout)
    try:
        async with asyncio.timeout(_START_LIMIT_S):
            await child.read_frame()
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        await child.end()
        raise ResourceError(f"the embedded server's {role} process does not start; its message stands above") from error
    return child


class Worker:
    """One child process of one role, started again when it dies."""

    def __init__(self, role: str, *arguments: str) -> None:
        self.role = role
        self._arguments = arguments
        self._jobs: dict[int, OnFrame] = {}
        self._numbers = itertools.count(1)
        self._child: _Child | None = None
        self._reader: asyncio.Task[None] | None = None
        self._last_answer_at = 0.0

    async def start(self) -> None:
        """Start the process and wait until its engine is loaded.

        Raises:
            ResourceError: it does not come up.
        """
        child = await _spawn(self.role, *self._arguments)
        self._child = child
        self._reader = asyncio.create_task(self._read(child), name=f"embedded {self.role}")

    async def close(self) -> None:
        """End the process and forget its jobs."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        child, self._child = self._child, None
        self._jobs.clear()
        if child is not None:
            await child.end()

    @property
    def load(self) -> int:
        """Jobs that are queued or running."""
        return len(self._jobs)

    def submit(self, payload: bytes, on_frame: OnFrame) -> None:
        """Queue one job; `on_frame` gets its answers and at last END or FAILED, never before this returns."""
        loop = asyncio.get_running_loop()
        if not self._jobs:
            self._last_answer_at = loop.time()
        elif self._child is not None and loop.time() - self._last_answer_at > _HANG_LIMIT_S:
            log.error("! embedded %s process hangs, ending it", self.role)
            self._child.process.kill()
            self._child = None
        number = next(self._numbers)
        self._jobs[number] = on_frame
        if self._child is None:
            loop.call_soon(self._finish, number, FrameKind.FAILED, b"")
        else:
            self._child.requests.write(FRAME_HEAD.pack(len(payload), number, 0) + payload)

    async def _read(self, child: _Child) -> None:
        while True:
            try:
                while True:
                    number, kind, payload = await child.read_frame()
                    self._last_answer_at = asyncio.get_running_loop().time()
                    if kind is FrameKind.FAILED:
                        log.error("! embedded %s job failed: %s", self.role, payload.decode(errors="replace"))
                    self._finish(number, kind, payload)
            except (asyncio.IncompleteReadError, ConnectionError):
                log.error("! embedded %s process died, starting another", self.role)
            self._child = None
            await child.end()
            for number in list(self._jobs):
                self._finish(number, FrameKind.FAILED, b"")
            child = self._child = await self._respawn()

    async def _respawn(self) -> _Child:
        while True:
            try:
                return await _spawn(self.role, *self._arguments)
            except (ResourceError, OSError) as error:
                log.error("! embedded %s process does not start: %s", self.role, error)
                await asyncio.sleep(_RESTART_PAUSE_S)

    def _finish(self, number: int, kind: FrameKind, payload: bytes) -> None:
        on_frame = self._jobs.get(number) if kind is FrameKind.DATA else self._jobs.pop(number, None)
        if on_frame is not None:
            try:
                on_frame(kind, payload)
            except Exception:
                log.exception("! embedded %s answer could not be used", self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How many processes each role gets."""

    recognizers: int = 1
    """Turns decoded at once; each takes 30-50 ms of one core."""
    recognizer: RecognizerSection | None = None
    """None: PocketSphinx, with a grammar."""
    voices: Mapping[str, VoiceSection] = field(default_factory=dict)
    """Of other engines than eSpeak, by name."""


class Engines:
    """All workers of one server."""

    def __init__(self, options: EngineOptions | None = None) -> None:
        options = options or EngineOptions()
        self._judge = SpeechJudge(SpeechModel())
        named = (options.recognizer.model_dump_json(),) if options.recognizer else ()
        self._options = options
        self._recognizers = [Worker("recognizer", *named) for _ in range(options.recognizers)]
        self._voice = Worker("voice")

    async def start(self) -> None:
        """Start every process at once.

        Raises:
            ResourceError: the `local` extra or what another engine needs is missing, or a process does not come up.
        """
        require_engines()
        if self._options.recognizer is not None:
            check_recognizer(self._options.recognizer)
        for section in self._options.voices.values():
            check_voice(section)
        results = await asyncio.gather(*(worker.start() for worker in self._workers), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            await self.close()
            raise failures[0]

    async def close(self) -> None:
        """End every process."""
        self._judge.close()
        await asyncio.gather(*(worker.close() for worker in self._workers))

    @property
    def _workers(self) -> list[Worker]:
        return [*self._recognizers, self._voice]

    def listen(self, stream: int, chunk: bytes, on_probability: Callable[[float], None]) -> None:
        """Judge the next chunk, `int16[256]` at 8 kHz, of a stream; answered in the order asked."""
        self._judge.listen(stream, chunk, on_probability)

    def forget(self, stream: int) -> None:
        """A stream has ended; chunks of it that wait are not answered."""
        self._judge.forget(stream)

    def prepare(self, listening: Listening) -> None:
        """Have every recogniser build a grammar's decoder before the first turn needs it."""
        for worker in self._recognizers:
            worker.submit(_grammar_line(listening), _ignore)

    def recognize(
        self,
        samples: bytes,
        listening: Listening,
        on_heard: Callable[[Recognition], None],
        *,
        wants_beginning: bool = False,
    ) -> None:
        """Decode one turn, `int16[n]` at 8 kHz (`Recognizer.recognize`); nothing is heard where decoding fails."""
        heard: list[Recognition] = []

        def answer(kind: FrameKind, payload: bytes) -> None:
            if kind is FrameKind.DATA:
                heard.append(Recognition(**json.loads(payload)))
            else:
                on_heard(heard[0] if heard else NOTHING)

        request = _grammar_line(listening, wants_beginning=wants_beginning) + samples
        min(self._recognizers, key=lambda worker: worker.load).submit(request, answer)

    def speak(self, text: str, *, voice: str, speed: float, wire_format: WireFormat, on_frame: OnFrame) -> None:
        """Speak one sentence; the audio comes in blocks of the wire format."""
        section = self._options.voices.get(voice)
        other = (section.engine, section.voice) if section else None
        request = {"text": text, "voice": voice, "other": other, "speed": speed, "format": wire_format.value}
        self._voice.submit(json.dumps(request).encode(), on_frame)


def _grammar_line(listening: Listening, *, wants_beginning: bool = False) -> bytes:
    automaton = listening.automaton
    request = {"arcs": automaton.arcs, "final": automaton.final, "words": listening.words}
    request |= {"keywords": listening.keywords, "wants_beginning": wants_beginning}
    return json.dumps(request).encode() + b"\n"


def _ignore(_kind: FrameKind, _payload: bytes) -> None:
    """A job whose outcome nobody waits for."""
