"""A speech model that keeps step with its client, in a process of its own on loopback, ws and wss.

It confirms a session as it is asked for, then counts appends and answers every so many of them with so many pieces of
speech, as the name of the model says: ``10-1`` speaks one piece for every ten appends. Time has no part in it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from gateway.simulate.rig.peers import CERTIFICATE

HOST: Final = "127.0.0.1"
_START_LIMIT_S: Final = 20.0
_EVENT: Final = '{"type":"response.output_audio.delta","event_id":"event_%024d","response_id":"resp_%024d",'
_EVENT_REST: Final = '"item_id":"item_%024d","output_index":0,"content_index":0,"delta":"%s"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderUrls:
    """Where it listens."""

    ws: str
    wss: str


def speech_event(audio: bytes, number: int = 0) -> str:
    """One piece of speech in the layout of the hosted provider."""
    return _EVENT % (number, 1) + _EVENT_REST % (1, base64.b64encode(audio).decode())


@contextmanager
def lockstep_provider(audio: bytes) -> Iterator[ProviderUrls]:
    """A provider that speaks `audio`, for as long as the context lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, audio), daemon=True)
    process.start()
    try:
        if not ours.poll(_START_LIMIT_S):
            raise TimeoutError("the provider of the bench did not start")
        plain, secure = ours.recv()
        yield ProviderUrls(ws=f"ws://{HOST}:{plain}/v1", wss=f"wss://{HOST}:{secure}/v1")
    finally:
        process.terminate()
        process.join()


def _serve(told: Connection, audio: bytes) -> None:
    asyncio.run(_listen(told, audio))


async def _listen(told: Connection, audio: bytes) -> None:
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    servers = [
        await loop.create_server(lambda: _Provider(audio), HOST, 0, ssl=security, backlog=1024)
        for security in (None, tls)
    ]
    told.send([server.sockets[0].getsockname()[1] for server in servers])
    await asyncio.Event().wait()


class _Provider(asyncio.Protocol):
    """One connection."""

    def __init__(self, audio: bytes) -> None:
        self._speech = speech_event(audio).encode()
        self._protocol = ServerProtocol()
        self._transport: asyncio.Transport | None = None
        self._appends = self._every = self._pieces = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - by the loop's contract
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._accept(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._answer(bytes(event.data))
        self._flush()

    def _accept(self, request: Request) -> None:
        self._protocol.send_response(self._protocol.accept(request))
        model = parse_qs(urlsplit(request.path).query).get("model", ["1-1"])[0]
        every, _, pieces = model.partition("-")
        self._every, self._pieces = int(every), int(pieces)
        self._send({"type": "session.created", "session": {"id": "sess_1"}})

    def _answer(self, text: bytes) -> None:
        if b"input_audio_buffer.append" not in text[:64]:
            self._send({"type": "session.updated", "session": json.loads(text).get("session", {})})
            return
        self._appends += 1
        if self._appends % self._every == 0:
            for _ in range(self._pieces):
                self._protocol.send_text(self._speech)

    def _send(self, event: dict[str, object]) -> None:
        self._protocol.send_text(json.dumps(event).encode())

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._protocol.data_to_send()))
