"""What scripted providers of every protocol share: a WebSocket on loopback, waiting for a client, and levers.

A fake is a `ProviderServer`, and a `ProviderSession` for each connection, which has the protocol: what it takes, what
it says. Nothing here waits for time to pass: a lever returns when its events are sent, a wait when the event was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Event = dict[str, Any]

PATIENCE_S = 5.0
"""Longest wait for something that must come at once; only a failing test reaches it."""


@dataclass(frozen=True, kw_only=True)
class HttpRefusal:
    """The upgrade is answered with this status."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class ProviderSession(ABC):
    """One client's session: what it sent, and what can be done to its connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.audio = bytearray()
        """All of the caller's."""
        self.close_code: int | None = None
        self._changed = asyncio.Condition()
        self._taken = 0
        self._count = 0

    @abstractmethod
    def kinds(self) -> list[str]:
        """Types of all client events so far, audio left out."""

    @abstractmethod
    async def run(self) -> None:
        """Serve until the connection ends."""

    # --- what the client did ------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Path of the opening request, without the query."""
        return urlsplit(self.request.path).path

    @property
    def query(self) -> dict[str, list[str]]:
        """Query of the opening request."""
        return parse_qs(urlsplit(self.request.path).query)

    def header(self, name: str) -> str | None:
        """A header of the opening request."""
        return self.request.headers.get(name)

    @property
    def request(self) -> Request:
        """The opening request."""
        assert self.connection.request is not None
        return self.connection.request

    async def next_of(self, kind: str) -> int:
        """Index of the next client event of type `kind` that no earlier call returned; those in between are lost."""

        def found() -> int | None:
            kinds = self.kinds()
            return next((index for index in range(self._taken, len(kinds)) if kinds[index] == kind), None)

        await self.wait_until(lambda: found() is not None or self.close_code is not None, kind)
        index = found()
        assert index is not None, f"closed with {self.close_code} before {kind}; {self.account()}"
        self._taken = index + 1
        return index

    async def wait_for_audio(self, size: int) -> bytes:
        """Wait until `size` bytes of audio came; all of it."""
        await self.wait_until(lambda: len(self.audio) >= size or self.close_code is not None, f"{size} bytes of audio")
        assert len(self.audio) >= size, f"closed with {self.close_code} after {len(self.audio)} bytes of audio"
        return bytes(self.audio)

    async def wait_closed(self) -> int:
        """Wait until the connection is gone; the close code the client sent, 1006 without one."""
        await self.wait_until(lambda: self.close_code is not None, "the end")
        assert self.close_code is not None
        return self.close_code

    async def wait_until(self, is_met: Callable[[], bool], what: str) -> None:
        """Wait for something that comes of what the client does."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._changed:
                await self._changed.wait_for(is_met)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; {self.account()}") from None

    def account(self) -> str:
        """What there was, for whoever waited in vain."""
        return f"got {self.kinds()}"

    async def notify(self) -> None:
        """Have those who wait look again."""
        async with self._changed:
            self._changed.notify_all()

    # --- levers -------------------------------------------------------------------------------------------------------

    async def send_text(self, text: str | bytes) -> None:
        """Send anything, garbage too."""
        with contextlib.suppress(ConnectionClosed):
            await self.connection.send(text)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close politely, with any code."""
        await self.connection.close(code, reason)

    def drop(self) -> None:
        """Cut the TCP connection, without a close frame."""
        self.connection.transport.abort()

    def freeze(self) -> None:
        """Go half-open: stay connected, read nothing, answer no ping."""
        self.connection.transport.pause_reading()

    def thaw(self) -> None:
        """Read again."""
        self.connection.transport.resume_reading()


S = TypeVar("S", bound=ProviderSession)


class ProviderServer(ABC, Generic[S]):
    """Listens on a free port of 127.0.0.1; an asynchronous context manager. `PATH` is that of its base URL."""

    PATH = ""

    def __init__(self, refusal: object = None, tls: ssl.SSLContext | None = None) -> None:
        """`refusal`: an `HttpRefusal` turns everybody away before the upgrade; others are the protocol's affair."""
        self.refusal = refusal
        self.sessions: list[S] = []
        """All connections there ever were."""
        self.attempts = 0
        """Upgrade requests, refused ones too."""
        self._tls = tls
        self._opened: asyncio.Queue[S] = asyncio.Queue()
        self._ready: asyncio.Queue[S] = asyncio.Queue()
        self._server: Server | None = None

    @abstractmethod
    def new_session(self, connection: ServerConnection) -> S:
        """The session of a connection, which is not served yet."""

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._run,
            "127.0.0.1",
            0,
            process_request=self._process_request,
            compression=None,
            max_size=32 * 1024 * 1024,
            ping_interval=None,
            close_timeout=1,
            ssl=self._tls,
        )
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        for session in self.sessions:
            session.drop()
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Base URL, as a provider's options want it."""
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}{self.PATH}"

    async def session(self) -> S:
        """The next session that was opened and confirmed."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._ready.get()

    async def connection(self) -> S:
        """The next session that was opened, confirmed or not."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._opened.get()

    def confirm(self, session: S) -> None:
        """A session is confirmed."""
        self._ready.put_nowait(session)

    def _process_request(self, connection: ServerConnection, _request: Request) -> Response | None:
        self.attempts += 1
        if not isinstance(self.refusal, HttpRefusal):
            return None
        response = connection.respond(HTTPStatus(self.refusal.status), "")
        response.body = self.refusal.body
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(self.refusal.body))
        for name, value in self.refusal.headers.items():
            response.headers[name] = value
        return response

    async def _run(self, connection: ServerConnection) -> None:
        session = self.new_session(connection)
        self.sessions.append(session)
        self._opened.put_nowait(session)
        await session.run()
