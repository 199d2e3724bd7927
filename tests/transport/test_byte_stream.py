"""The stream beneath the WebSocket: connecting, TLS on a real socket, and reads that leave the loop to others."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from pathlib import Path

import pytest

from gateway.transport import byte_stream
from gateway.transport.byte_stream import READ_BYTES, TLS_BYTES, ByteStream
from gateway.transport.tls_client import TlsClient
from tests.support.aio import eventually
from tests.support.websocket_peer import PeerServer, WebSocketPeer

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback-tls.pem"
HOST = "127.0.0.1"


class Owner:
    """Writes down what a stream tells."""

    def __init__(self) -> None:
        self.stream = ByteStream(self, high_water_bytes=16_384, unacknowledged_s=8)
        self.heard = bytearray()
        self.pieces: list[int] = []
        self.ends: list[str] = []

    def data_received(self, data: memoryview) -> None:
        self.heard += data
        self.pieces.append(len(data))

    def eof_received(self) -> None:
        self.ends.append("end of the peer")

    def resume_writing(self) -> None:
        pass

    def connection_lost(self, reason: Exception | None) -> None:
        self.ends.append(type(reason).__name__ if reason else "lost")

    async def end(self) -> list[str]:
        await eventually(lambda: self.ends and self.ends[-1] != "end of the peer", 5)
        return self.ends


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


async def echo(peer: WebSocketPeer) -> None:
    while data := await peer.reader.read(65536):
        await peer.write(data)


async def test_streams_at_once_keep_their_data_apart() -> None:
    async with PeerServer(echo, tls=server_tls()) as secure, PeerServer(echo) as plain:
        owners = [Owner() for _ in range(10)]
        for number, owner in enumerate(owners):
            server = secure if number % 2 else plain
            await owner.stream.connect(HOST, server.port)
            if server is secure:
                await owner.stream.secure(trust(), HOST)
        said = [bytes([number]) * 300_000 for number in range(10)]
        for owner, words in zip(owners, said, strict=True):
            owner.stream.write(words)
        await eventually(lambda: all(len(owner.heard) == 300_000 for owner in owners), 5)
        assert [bytes(owner.heard) for owner in owners] == said
        assert max(max(owner.pieces) for owner in owners) <= READ_BYTES
        for owner in owners:
            owner.stream.abort()
            assert await owner.end() == ["lost"]


async def test_a_burst_leaves_no_more_memory_with_a_connection_than_a_piece_of_speech(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[int] = []

    class Tls(TlsClient):
        def receive(self, data: memoryview) -> None:
            given.append(len(data))
            super().receive(data)

    monkeypatch.setattr(byte_stream, "TlsClient", Tls)
    async with PeerServer(echo, tls=server_tls()) as server:
        owner = Owner()
        await owner.stream.connect(HOST, server.port)
        await owner.stream.secure(trust(), HOST)
        said = bytes(range(256)) * 1000
        owner.stream.write(said)
        await eventually(lambda: len(owner.heard) == len(said), 5)
        assert owner.heard == said
        assert max(given) == TLS_BYTES < READ_BYTES
        owner.stream.abort()
        assert await owner.end() == ["lost"]


@pytest.mark.parametrize("dead_first", [True, False])
async def test_a_name_is_connected_to_the_address_that_answers(
    dead_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PeerServer(echo) as server:
        with socket.socket() as silent:  # takes no connection, and refuses none
            silent.bind(("127.0.0.2", server.port))
            silent.listen(0)
            waiting = [socket.socket() for _ in range(2)]
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(silent.getsockname())

            async def resolve(_host: str, port: int, **_hints: int) -> list[tuple[object, ...]]:
                hosts = ["127.0.0.2", HOST] if dead_first else [HOST, "127.0.0.2"]
                return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)) for host in hosts]

            owner = Owner()
            monkeypatch.setattr(owner.stream, "_loop", _Resolving(owner.stream._loop, resolve))
            await asyncio.wait_for(owner.stream.connect("provider.example", server.port), 5)
            owner.stream.write(b"there")
            await eventually(lambda: owner.heard == b"there", 5)
            owner.stream.abort()
            await owner.end()
            for one in waiting:
                one.close()


class _Resolving:
    """A loop with a name service of its own; uvloop's attributes cannot be set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, getaddrinfo: object) -> None:
        self._loop = loop
        self.getaddrinfo = getaddrinfo

    def __getattr__(self, name: str) -> object:
        return getattr(self._loop, name)


async def test_a_name_of_which_no_address_answers_is_an_error() -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match="Connect call failed"):
        await Owner().stream.connect("localhost", port)


async def test_the_last_word_of_tls_is_told_as_the_end_of_the_peer() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.write(b"goodbye")

    async with PeerServer(script, tls=server_tls()) as server:
        owner = Owner()
        await owner.stream.connect(HOST, server.port)
        await owner.stream.secure(trust(), HOST)
        assert await owner.end() == ["end of the peer", "lost"]
        assert owner.heard == b"goodbye"


async def test_octets_of_a_stranger_break_the_stream() -> None:
    async def script(peer: WebSocketPeer) -> None:
        sock = peer.writer.transport.get_extra_info("socket")
        await peer.write(b"true")
        assert await peer.reader.readexactly(2) == b"ok"
        with socket.socket(fileno=socket.dup(sock.fileno())) as raw:
            raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await peer.reader.read()

    async with PeerServer(script, tls=server_tls()) as server:
        owner = Owner()
        await owner.stream.connect(HOST, server.port)
        await owner.stream.secure(trust(), HOST)
        await eventually(lambda: owner.heard == b"true", 5)
        owner.stream.write(b"ok")
        assert (await owner.end())[-1] == "SSLError"
        assert owner.heard == b"true"


async def test_a_peer_that_goes_away_during_the_handshake_is_an_error() -> None:
    async def script(peer: WebSocketPeer) -> None:
        await peer.reader.read(100)
        sock = peer.writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with PeerServer(script) as server:
        owner = Owner()
        await owner.stream.connect(HOST, server.port)
        with pytest.raises(ConnectionError):
            await owner.stream.secure(trust(), HOST)


async def test_writing_without_a_connection_is_swallowed() -> None:
    owner = Owner()
    owner.stream.write(b"nobody")
    owner.stream.close()
    owner.stream.abort()
    assert owner.stream.backlog_bytes == 0
