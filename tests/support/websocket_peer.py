"""A server that speaks WebSocket frame by frame, so that a test can do what no library's server would."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from websockets.server import ServerProtocol

PATIENCE_S = 5.0
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocketPeer:
    """One raw connection: bytes in and out, and frames once `upgrade` has run."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = b""
        """The opening request, as it came."""

    async def read_request(self) -> bytes:
        """Read the opening request."""
        self.request = await self.reader.readuntil(b"\r\n\r\n")
        return self.request

    async def upgrade(self, *, followed_by: bytes = b"") -> None:
        """Accept the opening request; `followed_by` leaves in the same segment."""
        protocol = ServerProtocol()
        protocol.receive_data(await self.read_request())
        (event,) = protocol.events_received()
        protocol.send_response(protocol.accept(event))  # type: ignore[arg-type]
        self.writer.write(b"".join(protocol.data_to_send()) + followed_by)
        await self.writer.drain()

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the client's next frame, which must be masked (RFC 6455 5.1)."""
        first, second = await self.reader.readexactly(2)
        assert second & 0x80, "a client's frame must be masked"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def frame(opcode: int, data: bytes, *, is_final: bool = True, size: int | None = None) -> bytes:
    """A server's frame; `size` may lie about the payload that follows."""
    size = len(data) if size is None else size
    first = (0x80 if is_final else 0) | opcode
    if size < 126:
        return struct.pack("!BB", first, size) + data
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + data
    return struct.pack("!BBQ", first, 127, size) + data


class PeerServer:
    """Runs `script` for each connection; an asynchronous context manager. The connection ends with its script."""

    def __init__(
        self, script: Callable[[WebSocketPeer], Awaitable[None]], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._script = script
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._run, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        for _ in range(3):  # turns of the loop in which a connection just accepted becomes a task, to be ended below
            await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._script(WebSocketPeer(reader, writer))
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
