"""A chat endpoint that answers by a script: one `Answer` a request, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Chunk = dict[str, Any]


def words(*texts: str) -> list[Chunk]:
    """Pieces of text as the protocol streams them."""
    return [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]


def call(name: str, *arguments: str, index: int = 0) -> list[Chunk]:
    """A call whose arguments come in pieces."""
    begun = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [begun, *({"index": index, "function": {"arguments": piece}} for piece in arguments)]
    return [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]


def lines(chunks: Iterable[Chunk], *, is_done: bool = True) -> list[str]:
    """The stream that holds `chunks`, line by line."""
    found = [line for chunk in chunks for line in (f"data: {json.dumps(chunk)}", "")]
    return [*found, "data: [DONE]", ""] if is_done else found


@dataclass(slots=True)
class Answer:
    """How one request is answered. A stream that is not `is_done` breaks off."""

    chunks: list[Chunk] = field(default_factory=list)
    is_done: bool = True
    status: int = 200
    body: str = ""
    waits: bool = False
    """Whether nothing more comes after the chunks until the client goes."""


class ChatServer:
    """What was asked, and when a client went before its answer was over."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.client_left = asyncio.Event()
        self.url = ""
        self.connections: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client has come."""
        self.connections.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        self.headers.append(head)
        self.requests.append(json.loads(await reader.readexactly(length)))
        answer = self.answers.pop(0)
        kind = "text/event-stream" if answer.status == 200 else "application/json"
        writer.write(f"HTTP/1.1 {answer.status} Told\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode())
        if answer.status == 200:
            writer.write("\n".join(lines(answer.chunks, is_done=answer.is_done and not answer.waits)).encode() + b"\n")
        writer.write(answer.body.encode())
        if answer.waits:
            with contextlib.suppress(ConnectionError):  # a client that goes with words unread resets the connection
                await reader.read()
            self.client_left.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def chat_server() -> AsyncIterator[ChatServer]:
    """A server on loopback; `url` is what a brain file's `base_url` names."""
    endpoint = ChatServer()
    server = await asyncio.start_server(endpoint.accept, "127.0.0.1", 0)
    endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield endpoint
    finally:
        server.close()
        await asyncio.gather(*endpoint.connections)
        await server.wait_closed()
