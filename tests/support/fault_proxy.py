"""A TCP proxy that breaks connections the way networks do, for tests of what has to notice.

::

    client ──> FaultProxy ──> server             `up` is client to server, `down` server to client

    async with FaultProxy(server.port) as proxy:
        ...connect to proxy.port...
        proxy.reset()                            # RST on every connection that is open
        proxy.reset_after(down=5000)             # ... on the next, when so many bytes have come down
        proxy.half_open()                        # nothing passes either way any more, and nobody is told
        proxy.half_open(up=False)                # only what comes down is lost
        proxy.stall() ; proxy.resume()           # held back, then all at once
        proxy.slow(10_000)                       # bytes a second, each way
        proxy.mode = Mode.REFUSE                 # new connections are refused
        proxy.mode = Mode.BLACK_HOLE             # ... are accepted, and nothing follows

What is ordered holds for the connections that are open; `mode` and `reset_after` for those to come.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

PIECE_BYTES = 4096
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Mode(Enum):
    """What becomes of new connections."""

    PASS = "pass"
    REFUSE = "refuse"
    BLACK_HOLE = "black hole"


@dataclass(eq=False)
class Pipe:
    """One direction of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_lost: bool = False
    """What comes is thrown away."""
    may_pass: asyncio.Event = field(default_factory=asyncio.Event)
    rate: float | None = None
    reset_after: int | None = None
    passed: int = 0


@dataclass(eq=False)
class Connection:
    """A client's, and ours to the server."""

    up: Pipe
    down: Pipe
    is_reset: bool = False

    def reset(self) -> None:
        """RST both ways."""
        self.is_reset = True
        for pipe in (self.up, self.down):
            transport = pipe.writer.transport
            endpoint: socket.socket | None = transport.get_extra_info("socket")
            if endpoint is not None and not transport.is_closing():
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            transport.abort()
            pipe.may_pass.set()


class FaultProxy:
    """In front of a server on loopback; an asynchronous context manager."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.mode = Mode.PASS
        self.accepted = 0
        """Connections there ever were, but for refused ones."""
        self.port = 0
        self._connections: dict[Connection, None] = {}  # oldest first
        self._silent: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._reset_after: tuple[int | None, int | None] = (None, None)
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for writer in self._silent:
            writer.transport.abort()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_count(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def reset(self) -> int:
        """Reset every connection that is open; how many."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        return len(connections)

    def reset_one(self, number: int) -> None:
        """Reset one of the connections that are open: the oldest is 0."""
        list(self._connections)[number].reset()

    def reset_after(self, *, up: int | None = None, down: int | None = None) -> None:
        """Reset the next connection when so many bytes have passed."""
        self._reset_after = (up, down)

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        """Lose what is sent from now on, without a word to either side."""
        for connection in self._connections:
            connection.up.is_lost |= up
            connection.down.is_lost |= down

    def stall(self) -> None:
        """Hold everything back."""
        for connection in self._connections:
            connection.up.may_pass.clear()
            connection.down.may_pass.clear()

    def resume(self) -> None:
        """Let everything pass, at full speed."""
        for connection in self._connections:
            for pipe in (connection.up, connection.down):
                pipe.rate = None
                pipe.may_pass.set()

    def slow(self, bytes_per_s: float) -> None:
        """Let no more pass than this, each way."""
        for connection in self._connections:
            connection.up.rate = connection.down.rate = bytes_per_s

    # --- connections --------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:  # the nearest that a listening socket comes to it
            endpoint: socket.socket = writer.get_extra_info("socket")
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()
            return
        self.accepted += 1
        if self.mode is Mode.BLACK_HOLE:
            self._silent.add(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        (up, down), self._reset_after = self._reset_after, (None, None)
        connection = Connection(
            up=Pipe(reader, far_writer, reset_after=up), down=Pipe(far_reader, writer, reset_after=down)
        )
        self._connections[connection] = None
        for pipe in (connection.up, connection.down):
            pipe.may_pass.set()
        try:
            pumps = [asyncio.create_task(self._pump(connection, pipe)) for pipe in (connection.up, connection.down)]
            self._pumps.update(pumps)
            await asyncio.wait(pumps)
            self._pumps.difference_update(pumps)
        finally:
            self._connections.pop(connection, None)
            for end in (writer, far_writer):
                end.transport.abort()

    async def _pump(self, connection: Connection, pipe: Pipe) -> None:
        """Carry bytes until one side has no more, or the connection is reset."""
        with suppress(OSError):
            while data := await pipe.reader.read(PIECE_BYTES):
                await pipe.may_pass.wait()
                if connection.is_reset:
                    return
                if pipe.is_lost:
                    continue
                left = None if pipe.reset_after is None else pipe.reset_after - pipe.passed
                data = data if left is None else data[:left]
                pipe.writer.write(data)
                pipe.passed += len(data)
                await pipe.writer.drain()
                if left is not None and len(data) == left:
                    connection.reset()
                    return
                if pipe.rate is not None:
                    await asyncio.sleep(len(data) / pipe.rate)
        if not pipe.is_lost and not connection.is_reset and not pipe.writer.transport.is_closing():
            with suppress(OSError):
                pipe.writer.write_eof()
