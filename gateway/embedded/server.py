"""The shell: WebSocket connections, their conversations, and the engines they share.

One `Conversation` a connection. Everything runs on one event loop and nothing on it waits for an engine: tasks go out
to worker processes, answers come back as calls, and what the conversation has to say is sent by one writer a
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import websockets
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.conversation import Conversation, ConversationOptions, Prepare, Recognize, Task
from gateway.embedded.engines import EngineOptions, Engines
from gateway.embedded.events import Identities, ServerEvents
from gateway.embedded.hearing import Listen
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import Recognition
from gateway.embedded.response import Speak
from gateway.embedded.session import SessionConfig
from gateway.embedded.vad import SpeechGate
from gateway.embedded.worker import FrameKind
from gateway.errors import ResourceError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 24 << 20
"""The protocol allows 15 MiB of audio an event, which base64 makes 20."""
MAX_UNSENT_BYTES = 32 << 20
"""What a client may leave unread before it is given up."""
PING_INTERVAL_S = 20.0
CLOSE_LIMIT_S = 1.0
"""How long a client may take to answer our close."""
PATH_SUFFIX = "/realtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """How the embedded realtime server runs."""

    host: str = "127.0.0.1"
    port: int = 8765
    """0: any free port; the url tells which."""
    brain: Path = RECEPTION
    """The dialogue (`brain.py`)."""
    model: str = "embedded"
    """Shown where the client names no model."""
    api_key: str | None = None
    """Bearer token that clients must show; None: everybody may come in, as befits loopback."""
    audio_speed: float = 8.0
    """Seconds of speech sent a second; the real server is faster than real time too. 0: as fast as it is made."""
    max_age_s: float = 3600.0
    """Age at which a session is ended."""
    engines: EngineOptions = field(default_factory=EngineOptions)


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
        self, socket: ServerConnection, conversation: Conversation, engines: Engines, stream: int, audio_speed: float
    ) -> None:
        self._socket = socket
        self._conversation = conversation
        self._engines = engines
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(audio_speed, self._loop)
        self._unsent: deque[str] = deque()
        self._unsent_bytes = 0
        self._has_unsent = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = True

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        writer = asyncio.create_task(self._write(), name=f"embedded writer {self._stream}")
        try:
            self._after_step()
            async for message in self._socket:
                self._conversation.receive(message, self._loop.time())
                self._after_step()
        except websockets.ConnectionClosedError:
            log.debug("! embedded client %d left without a close", self._stream)
        finally:
            self._is_open = False
            self._pacer.close()
            if self._timer is not None:
                self._timer.cancel()
            self._engines.forget(self._stream)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    def _after_step(self) -> None:
        """Hand on what the conversation has produced, and set its timer. Called after whatever was fed to it."""
        if not self._is_open:
            return
        for task in self._conversation.tasks():
            self._hand_out(task)
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
                self._engines.listen(self._stream, task.chunk, lambda found: self._on_probability(task.number, found))
            case Recognize():
                self._engines.recognize(task.samples, task.listening, lambda heard: self._on_heard(task.number, heard))
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

    def _on_probability(self, number: int, probability: float) -> None:
        if self._is_open:
            self._conversation.measured(number, probability, self._loop.time())
            self._after_step()

    def _on_heard(self, number: int, heard: Recognition) -> None:
        if self._is_open:
            self._conversation.recognized(number, heard, self._loop.time())
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


class EmbeddedServer:
    """The server, listening. Make it with `serve`."""

    def __init__(self, options: EmbeddedOptions, phrasebook: Phrasebook, engines: Engines) -> None:
        self._options = options
        self._phrasebook = phrasebook
        self._engines = engines
        self._streams = itertools.count(1)
        self._entropy = random.SystemRandom()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The WebSocket's address."""
        if self._server is None:
            raise ResourceError("the embedded server is not listening")
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"ws://{f'[{host}]' if ':' in host else host}:{port}/v1/realtime"

    async def start(self) -> None:
        """Start the engines, then listen.

        Raises:
            ResourceError: engines are missing or do not start, or the port is taken.
        """
        await self._engines.start()
        try:
            self._server = await serve_websocket(
                self._serve,
                self._options.host,
                self._options.port,
                process_request=_refuse_other_paths,
                select_subprotocol=_select_subprotocol,
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                ping_interval=PING_INTERVAL_S,
                close_timeout=CLOSE_LIMIT_S,
                server_header=None,
            )
        except OSError as error:
            await self._engines.close()
            place = f"{self._options.host}:{self._options.port}"
            raise ResourceError(f"the embedded server cannot listen on {place}: {error.strerror or error}") from error

    async def close(self) -> None:
        """End every connection, then the engines."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await self._engines.close()

    async def _serve(self, socket: ServerConnection) -> None:
        if socket.request is None:
            return
        refusal = self._refusal(socket.request)
        if refusal is not None:
            code, message, close_code = refusal
            events = ServerEvents(Identities(self._entropy))
            events.error(code, message)
            await socket.send(events.drain()[0])
            await socket.close(close_code, f"invalid_request_error.{code}")
            return
        query = parse_qs(urlsplit(socket.request.path).query)
        loop = asyncio.get_running_loop()
        conversation = Conversation(
            ConversationOptions(
                config=SessionConfig(model=query.get("model", [self._options.model])[0]),
                max_age_s=self._options.max_age_s,
            ),
            phrasebook=self._phrasebook,
            gate=SpeechGate(),
            entropy=self._entropy,
            now=loop.time(),
            unix_time=time.time(),
        )
        stream = next(self._streams)
        log.debug("< embedded client %d from %s", stream, socket.remote_address)
        await Connection(socket, conversation, self._engines, stream, self._options.audio_speed).run()

    def _refusal(self, request: Request) -> tuple[str, str, int] | None:
        """Code, message and close code for a client that may not come in; the real server refuses within the socket."""
        if "realtime=v1" in request.headers.get("OpenAI-Beta", ""):
            message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
            return "beta_api_shape_disabled", message, 4000
        key = self._options.api_key
        if key is not None and key not in _shown_keys(request):
            return "invalid_api_key", "Incorrect API key provided.", 3000
        return None


def _shown_keys(request: Request) -> set[str]:
    """Keys by header, or by subprotocol as browsers show them."""
    keys = {value.removeprefix("Bearer ").strip() for value in request.headers.get_all("Authorization")}
    for value in request.headers.get_all("Sec-WebSocket-Protocol"):
        offered = (name.strip() for name in value.split(","))
        keys |= {
            n.removeprefix("openai-insecure-api-key.") for n in offered if n.startswith("openai-insecure-api-key.")
        }
    return keys


def _refuse_other_paths(connection: ServerConnection, request: Request) -> Response | None:
    if urlsplit(request.path).path.rstrip("/").endswith(PATH_SUFFIX):
        return None
    return connection.respond(http.HTTPStatus.NOT_FOUND, "The realtime server is at /v1/realtime.\n")


def _select_subprotocol(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Most clients offer none; browsers offer `realtime` beside their key."""
    return Subprotocol("realtime") if "realtime" in offered else None


@contextlib.asynccontextmanager
async def serve(options: EmbeddedOptions | None = None) -> AsyncIterator[EmbeddedServer]:
    """Run the embedded server for the length of the context.

    Raises:
        ConfigurationError: the brain file cannot be used.
        ResourceError: the `local` extra is missing, an engine does not start, or the port is taken.
    """
    options = options or EmbeddedOptions()
    server = EmbeddedServer(options, Phrasebook(load_script(options.brain)), Engines(options.engines))
    await server.start()
    try:
        yield server
    finally:
        await server.close()
