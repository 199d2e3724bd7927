"""A relay between a client and the embedded server that keeps every event of both sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.aio import eventually
from tests.support.openai_types import assert_typed

Event = dict[str, Any]

PATIENCE_S = 30.0
"""Longest wait for an event; only a failing test reaches it."""
_HEADERS = ("Authorization", "OpenAI-Beta")


class Wiretap:
    """What went over one relay."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        """For clients that want HTTP and no path of an endpoint: ``http://127.0.0.1:PORT/v1``."""
        self.asked: list[Event] = []
        """What the client sent."""
        self.told: list[Event] = []
        """What the server sent."""

    @property
    def url(self) -> str:
        """The endpoint itself."""
        return self.base_url.replace("http", "ws", 1) + "/realtime"

    def kinds(self) -> set[str]:
        """Types of all events that the server sent."""
        return {event["type"] for event in self.told}

    def errors(self) -> list[Event]:
        """Errors that the server sent."""
        return [event["error"] for event in self.told if event["type"] == "error"]

    def responses(self, status: str) -> list[Event]:
        """Responses that ended so."""
        done = (event["response"] for event in self.told if event["type"] == "response.done")
        return [response for response in done if response["status"] == status]

    def words(self) -> list[str]:
        """What the assistant said, message by message."""
        kind = "response.output_audio_transcript.done"
        return [event["transcript"] for event in self.told if event["type"] == kind]

    async def until(self, is_there: Callable[[], object]) -> None:
        """Wait for what the events tell."""
        await eventually(is_there, PATIENCE_S)

    def assert_typed(self) -> None:
        """Fail unless every event that the server sent is what the official client has for its type."""
        for event in self.told:
            assert_typed(event, "server")


@contextlib.asynccontextmanager
async def tapped(upstream_url: str) -> AsyncIterator[Wiretap]:
    """Relay connections to the server at `upstream_url`, with their query and credentials."""

    async def relay(client: ServerConnection) -> None:
        assert client.request is not None
        query = client.request.path.partition("?")[2]
        headers = [(name, value) for name in _HEADERS for value in client.request.headers.get_all(name)]
        async with connect(
            f"{upstream_url}?{query}", additional_headers=headers, compression=None, max_size=None
        ) as server:
            await asyncio.gather(_pump(client, server, tap.asked), _pump(server, client, tap.told))

    async with serve(relay, "127.0.0.1", 0, compression=None, max_size=None) as front:
        port = next(iter(front.sockets)).getsockname()[1]
        tap = Wiretap(f"http://127.0.0.1:{port}/v1")
        yield tap


async def _pump(
    source: ServerConnection | ClientConnection, sink: ServerConnection | ClientConnection, kept: list[Event]
) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in source:
            event = json.loads(message)
            if event["type"] != "input_audio_buffer.append":
                kept.append(event)
            await sink.send(message)
    await sink.close(source.close_code if source.close_code not in (None, 1005, 1006) else 1000)
