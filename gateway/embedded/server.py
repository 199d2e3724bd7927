"""The shell: the listening socket, who comes in by it, and the engines that all connections share."""

from __future__ import annotations

import asyncio
import contextlib
import http
import itertools
import logging
import random
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from gateway.embedded.admission import Admission, Credentials, NotAdmitted
from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.chat_client import ChatClient
from gateway.embedded.client_secrets import ClientSecrets
from gateway.embedded.connection import Connection
from gateway.embedded.conversation import Conversation, ConversationOptions
from gateway.embedded.engines import EngineOptions, Engines
from gateway.embedded.events import Identities, ServerEvents
from gateway.embedded.front import FrontConnection, error_response, is_secrets_path, is_session_path, json_response
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.protocol import RefusedEvent
from gateway.embedded.vad import SpeechGate
from gateway.errors import ResourceError

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 24 << 20
"""The protocol allows 15 MiB of audio an event, which base64 makes 20."""
PING_INTERVAL_S = 20.0
CLOSE_LIMIT_S = 1.0
"""How long a client may take to answer our close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedOptions:
    """How the embedded realtime server runs."""

    host: str = "127.0.0.1"
    port: int = 8765
    """0: any free port; the url tells which."""
    brain: Path = RECEPTION
    """The dialogue (`brain.py`)."""
    api_key: str | None = field(default=None, repr=False)
    """Bearer token that clients must show; None: everybody may come in, as befits loopback."""
    audio_speed: float = 8.0
    """Seconds of speech sent a second; the real server is faster than real time too. 0: as fast as it is made."""
    max_age_s: float = 3600.0
    """Age at which a session is ended."""
    engines: EngineOptions = field(default_factory=EngineOptions)


class EmbeddedServer:
    """The server, listening. Make it with `serve`."""

    def __init__(
        self, options: EmbeddedOptions, phrasebook: Phrasebook, engines: Engines, chat: ChatClient | None = None
    ) -> None:
        self._options = options
        self._chat = chat
        self._phrasebook = phrasebook
        self._engines = engines
        self._streams = itertools.count(1)
        self._entropy = random.SystemRandom()
        self._secrets = ClientSecrets(Identities(self._entropy))
        self._admission = Admission(options.api_key, self._secrets)
        self._server: Server | None = None
        self._made: weakref.WeakSet[FrontConnection] = weakref.WeakSet()

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
                process_request=self._process_request,
                create_connection=cast("type[ServerConnection]", self._make_connection),
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
            for connection in self._made:
                if connection.state is State.CONNECTING:
                    connection.transport.abort()  # it has asked for nothing yet
            await self._server.wait_closed()
        if self._chat is not None:
            await self._chat.close()
        await self._engines.close()

    def _make_connection(self, *arguments: Any, **options: Any) -> FrontConnection:
        connection = FrontConnection(*arguments, **options)
        self._made.add(connection)
        return connection

    async def _serve(self, socket: ServerConnection) -> None:
        if (request := socket.request) is None:
            return
        try:
            beta = request.headers.get("OpenAI-Beta", "")
            config = self._admission.admit(request.path, _credentials(request), beta=beta, now=time.time())
        except NotAdmitted as refused:
            events = ServerEvents(Identities(self._entropy))
            events.error(refused.code, refused.message)
            await socket.send(events.drain()[0])
            await socket.close(refused.close_code, refused.close_reason)
            return
        loop = asyncio.get_running_loop()
        conversation = Conversation(
            ConversationOptions(config=config, max_age_s=self._options.max_age_s),
            phrasebook=self._phrasebook,
            gate=SpeechGate(),
            entropy=self._entropy,
            now=loop.time(),
            unix_time=time.time(),
        )
        stream = next(self._streams)
        log.debug("< embedded client %d from %s", stream, socket.remote_address)
        speed = self._options.audio_speed
        await Connection(socket, conversation, self._engines, stream, audio_speed=speed, chat=self._chat).run()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no WebSocket; None goes on with the upgrade."""
        posted = connection.posted if isinstance(connection, FrontConnection) else None
        problem = connection.problem if isinstance(connection, FrontConnection) else None
        if problem is not None:
            return error_response(connection, problem, f"{problem.phrase}.")
        if is_secrets_path(request.path):
            return self._make_secret(connection, request, posted)
        if posted is not None or not is_session_path(request.path):
            message = "The realtime server is at /v1/realtime, and makes keys at /v1/realtime/client_secrets."
            return error_response(connection, http.HTTPStatus.NOT_FOUND, message)
        return None

    def _make_secret(self, connection: ServerConnection, request: Request, body: bytes | None) -> Response:
        if body is None:
            return error_response(connection, http.HTTPStatus.METHOD_NOT_ALLOWED, "Use POST.")
        if not self._admission.is_owner(_credentials(request)):
            message = "Incorrect API key provided."
            return error_response(connection, http.HTTPStatus.UNAUTHORIZED, message, code="invalid_api_key")
        try:
            return json_response(connection, http.HTTPStatus.OK, self._secrets.answer(body, time.time()))
        except RefusedEvent as refused:
            status = http.HTTPStatus.BAD_REQUEST
            return error_response(connection, status, refused.message, code=refused.code, parameter=refused.parameter)


def _credentials(request: Request) -> Credentials:
    headers = request.headers
    return Credentials.of(headers.get_all("Authorization"), headers.get_all("Sec-WebSocket-Protocol"))


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
    script = load_script(options.brain)
    chat = ChatClient(script.chat) if script.chat is not None else None
    engines = Engines(replace(options.engines, recognizer=script.recognizer, voices=script.voices))
    server = EmbeddedServer(options, Phrasebook(script), engines, chat)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
