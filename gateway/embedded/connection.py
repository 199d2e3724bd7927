"""One client of the embedded server: its conversation between its socket and the engines.

Nothing here waits for an engine: tasks go out to worker processes, answers come back as calls, and what the
conversation has to say is sent by one writer. What a client makes us keep is bounded both ways: who does not read is
given up, and who sends speech faster than the ear judges it is not read from until the ear has caught up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

import websockets
from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from gateway.embedded.brain import Reply
from gateway.embedded.caller_words import Recognize
from gateway.embedded.chat import Think
from gateway.embedded.chat_client import ChatClient, Thoughts
from gateway.embedded.conversation import Conversation, Prepare, Task
from gateway.embedded.engines import Engines
from gateway.embedded.hearing import Listen
from gateway.embedded.recognizer import Recognition
from gateway.embedded.response import Speak
from gateway.embedded.worker import FrameKind

log = logging.getLogger(__name__)

MAX_UNSENT_BYTES = 32 << 20
"""What a client may leave unread before it is given up."""
MAX_UNJUDGED_CHUNKS = 1000
"""Chunks of 32 ms that may wait for the ear before no more is read."""
LOOK_S = 0.5
"""How often a connection that waits for the ear is looked at, which may have been closed meanwhile."""


class Pacer:
    """Releases speech at a multiple of real time, in order, after a head start."""

    HEAD_START_S = 0.4

    def __init__(self, speed: float, loop: asyncio.AbstractEventLoop) -> None:
        self._speed = speed
        self._loop = loop
        self._queue: deque[tuple[float, Callable[[], bool]]] = deque()
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, duration_s: float, release: Callable[[], bool]) -> None:
        """Queue one block; `release` sends it and says whether it was wanted and counts."""
        self._queue.append((duration_s, release))
        if self._timer is None:
            self._run()

    def close(self) -> None:
        """Drop everything."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        self._timer = None
        while self._queue:
            now = self._loop.time()
            if self._free_at > now:
                self._timer = self._loop.call_at(self._free_at, self._run)
                return
            duration_s, release = self._queue.popleft()
            if release() and self._speed:
                head_start = self.HEAD_START_S / self._speed
                self._free_at = max(self._free_at, now - head_start) + duration_s / self._speed


class Connection:
    """One client: its conversation between its socket and the engines."""

    def __init__(
        self,
        socket: ServerConnection,
        conversation: Conversation,
        engines: Engines,
        stream: int,
        *,
        audio_speed: float,
        chat: ChatClient | None = None,
    ) -> None:
        self._socket = socket
        self._conversation = conversation
        self._engines = engines
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(audio_speed, self._loop)
        self._thoughts = (
            Thoughts(
                chat,
                on_reply=self._on_thought,
                on_failure=self._on_thought_failed,
                is_awaited=conversation.is_awaited,
            )
            if chat is not None
            else None
        )
        self._unsent: deque[str] = deque()
        self._unsent_bytes = 0
        self._has_unsent = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._unjudged = 0
        self._has_judged = asyncio.Event()
        self._is_open = True

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        writer = asyncio.create_task(self._write(), name=f"embedded writer {self._stream}")
        try:
            self._after_step()
            async for message in self._socket:
                self._conversation.receive(message, self._loop.time())
                self._after_step()
                await self._let_ear_catch_up()
        except websockets.ConnectionClosedError:
            log.debug("! embedded client %d left without a close", self._stream)
        finally:
            self._is_open = False
            self._pacer.close()
            if self._timer is not None:
                self._timer.cancel()
            self._engines.forget(self._stream)
            if self._thoughts is not None:
                await self._thoughts.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _let_ear_catch_up(self) -> None:
        while self._unjudged > MAX_UNJUDGED_CHUNKS and self._socket.state is State.OPEN:
            self._has_judged.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._has_judged.wait()

    def _after_step(self) -> None:
        """Hand on what the conversation has produced, and set its timer. Called after whatever was fed to it."""
        if not self._is_open:
            return
        for task in self._conversation.tasks():
            self._hand_out(task)
        if self._thoughts is not None:
            self._thoughts.drop_unwanted()
        for text in self._conversation.events_to_send():
            self._unsent.append(text)
            self._unsent_bytes += len(text)
        if self._unsent or self._conversation.closing:
            self._has_unsent.set()
        if self._unsent_bytes > MAX_UNSENT_BYTES:
            log.warning("! embedded client %d does not read, giving it up", self._stream)
            self._socket.transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._conversation.get_timer(), self._on_timer)

    def _on_timer(self) -> None:
        self._conversation.handle_timer(self._loop.time())
        self._after_step()

    def _hand_out(self, task: Task) -> None:
        match task:
            case Listen():
                self._unjudged += 1
                self._engines.listen(self._stream, task.chunk, lambda found: self._on_probability(task.number, found))
            case Recognize():
                self._engines.recognize(
                    task.samples,
                    task.listening,
                    lambda heard: self._on_heard(task.number, heard),
                    wants_beginning=task.wants_beginning,
                )
            case Prepare():
                self._engines.prepare(task.listening)
            case Speak():
                self._engines.speak(
                    task.text,
                    voice=task.voice,
                    speed=task.speed,
                    wire_format=task.wire_format,
                    on_frame=lambda kind, audio: self._on_voice(task, kind, audio),
                )
            case Think() if self._thoughts is not None:
                self._thoughts.begin(task)

    def _on_probability(self, number: int, probability: float) -> None:
        self._unjudged -= 1
        self._has_judged.set()
        if self._is_open:
            self._conversation.measured(number, probability, self._loop.time())
            self._after_step()

    def _on_heard(self, number: int, heard: Recognition) -> None:
        if self._is_open:
            self._conversation.recognized(number, heard, self._loop.time())
            self._after_step()

    def _on_thought(self, number: int, reply: Reply, is_whole: bool) -> None:
        if self._is_open:
            self._conversation.thought(number, reply, self._loop.time(), is_whole=is_whole)
            self._after_step()

    def _on_thought_failed(self, number: int) -> None:
        if self._is_open:
            self._conversation.thought_failed(number, self._loop.time())
            self._after_step()

    def _on_voice(self, task: Speak, kind: FrameKind, audio: bytes) -> None:
        if not self._is_open:
            return
        duration_s = len(audio) / (1000 * task.wire_format.bytes_per_ms) if kind is FrameKind.DATA else 0.0
        self._pacer.put(duration_s, lambda: self._release(task.number, kind, audio))

    def _release(self, sentence: int, kind: FrameKind, audio: bytes) -> bool:
        if not self._is_open or not self._conversation.is_wanted(sentence):
            return False
        if kind is FrameKind.DATA:
            self._conversation.spoken(sentence, audio)
        else:
            has_failed = kind is FrameKind.FAILED
            self._conversation.sentence_ended(sentence, self._loop.time(), has_failed=has_failed)
        self._after_step()
        return True

    async def _write(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            while self._unsent:
                text = self._unsent.popleft()
                self._unsent_bytes -= len(text)
                try:
                    await self._socket.send(text)
                except websockets.ConnectionClosed:
                    return
            if self._conversation.closing is not None:
                code, reason = self._conversation.closing
                await self._socket.close(code, reason)
                return
