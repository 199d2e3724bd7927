"""A provider's bytes behind or in place of its upgrade.

However they are cut, they are the messages that `websockets` finds in them, and none too long.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.errors import ProviderError
from gateway.transport.byte_stream import ByteStream
from gateway.transport.websocket import WebSocketConnection, WebSocketOptions

LIMIT_BYTES = 2000
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_OPTIONS = WebSocketOptions(max_message_bytes=LIMIT_BYTES)

# The first octet: 0 as it is, 1 behind a good upgrade; the second: the length of the pieces.
SEEDS = [
    b"\x01\x00\x81\x05hello\x82\x03\x00\x01\x02\x89\x00\x88\x02\x03\xe8",
    b"\x01\x03\x01\x03abc\x00\x03def\x89\x04ping\x80\x03ghi\x8a\x00",
    b"\x01\x01\x81\x7e\x00\x80" + b"a" * 128 + b"\x88\x05\x03\xf3bye",
    b"\x01\x09\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"a" * 40 + b"\xc1\x01a\x81\x81\x00\x00\x00\x00a",
    b"\x01\x00\x81\x02\xc3\x28\x81\x02\xc3\xa4",
    b"\x00\x00HTTP/1.1 401 Unauthorized\r\nContent-Length: 33\r\n\r\n" + b'{"error":{"code":"invalid_key"}}\n',
    b"\x00\x05HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
    b"\x00\x00" + _UPGRADE + b"AAAA\r\n\r\n\x81\x01a",
]


class _Wire(asyncio.Transport):
    """What the connection writes is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0


class _Stream(ByteStream):
    """A connection over such a wire."""

    wire: _Wire

    async def connect(self, host: str, port: int) -> None:
        self.wire = self._transport = _Wire()


def fuzz(data: bytes) -> None:
    upgrades, piece, stream = data[:1] == b"\x01", data[1] if len(data) > 1 else 0, data[2:]
    whole = asyncio.run(_events(stream, len(stream) or 1, upgrades=upgrades))
    if upgrades:
        assert [event[1] for event in whole if event[0] == "message"] == _messages_by_the_library(stream)
    if piece:
        assert asyncio.run(_events(stream, piece, upgrades=upgrades)) == whole


async def _events(stream: bytes, piece: int, *, upgrades: bool) -> list[tuple[object, ...]]:
    """What the connection tells of a stream that comes in such pieces, and that ends with it."""
    told = list[tuple[object, ...]]()
    connection = WebSocketConnection(
        on_message=lambda message: told.append(("message", message)),
        on_closed=lambda code, reason: told.append(("closed", code, reason)),
        options=_OPTIONS,
    )
    connection._stream = shell = _Stream(connection, high_water_bytes=2**20, unacknowledged_s=1)
    opening = asyncio.ensure_future(connection.connect("ws://127.0.0.1/v1/realtime"))
    await asyncio.sleep(0)
    if upgrades:
        _feed(shell, _UPGRADE + _accept(bytes(shell.wire.written)) + b"\r\n\r\n")
    for start in range(0, len(stream), piece):
        _feed(shell, stream[start : start + piece])
    shell.eof_received()
    shell.connection_lost(None)
    try:
        await opening
    except ProviderError as error:
        told.append(("refused", type(error), error.code, str(error)))
    await connection.wait_closed()
    await asyncio.sleep(0)
    closes = [event for event in told if event[0] == "closed"]
    assert len(closes) == (0 if told and told[-1][0] == "refused" else 1), told
    for event in told:
        if event[0] == "message":
            message = event[1]
            assert isinstance(message, str | bytes)
            assert len(message.encode() if isinstance(message, str) else message) <= LIMIT_BYTES
    return told


def _feed(stream: ByteStream, data: bytes) -> None:
    while data:
        room = stream.get_buffer(-1)
        count = min(len(room), len(data))
        room[:count] = data[:count]
        stream.buffer_updated(count)
        data = data[count:]


def _messages_by_the_library(stream: bytes) -> list[str | bytes]:
    """The messages of a stream of frames, by `websockets` alone."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1"), state=State.OPEN, max_size=LIMIT_BYTES)
    protocol.receive_data(stream)
    messages: list[str | bytes] = []
    opcode, data = Opcode.TEXT, b""
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            opcode, data = frame.opcode, bytes(frame.data)
        elif frame.opcode is Opcode.CONT:
            data += frame.data
        if frame.fin and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            try:
                messages.append(data.decode() if opcode is Opcode.TEXT else data)
            except UnicodeDecodeError:
                break
    return messages


def _accept(request: bytes) -> bytes:
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert key
    return base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
