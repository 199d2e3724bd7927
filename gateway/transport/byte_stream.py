"""A client's TCP connection, encrypted or not, that hundreds can have and none can hold the loop with.

::

    write ──────────> TlsClient ──────────> transport                          never waits, at most one system call
    data_received <── TlsClient <── at most READ_BYTES a turn of the loop      nothing is kept in between

Two buffers do for all connections of a process: what is in them is dealt with before the loop reads again. The loops'
own TLS and read buffers, 300 KiB and more for each, would be most of what a call costs in memory.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol

import aiohappyeyeballs

from gateway.transport.sockets import family_of, make_tcp_socket
from gateway.transport.tls_client import TlsClient

READ_BYTES: Final = 16 * 1024
"""Largest piece read at a time: less than half a millisecond of parsing and decoding. One record of TLS fits."""
TLS_BYTES: Final = 8 * 1024
"""Largest piece that TLS is given at a time. Each connection keeps memory for the largest it ever had, one third more
than that; a piece of speech fits."""
_NEXT_ADDRESS_S: Final = 0.25
"""RFC 8305 8: after this the next address of a name is tried as well."""

_received: Final = memoryview(bytearray(READ_BYTES))
_decrypted: Final = memoryview(bytearray(READ_BYTES))


class StreamOwner(Protocol):
    """Who is told what happens to a stream."""

    def data_received(self, data: memoryview, /) -> None:
        """The peer's next bytes, in the clear. They are gone when this returns."""

    def eof_received(self) -> None:
        """The peer will send no more."""

    def resume_writing(self) -> None:
        """The unsent bytes have drained."""

    def connection_lost(self, reason: Exception | None, /) -> None:
        """The connection is gone, for this reason if it was not closed in order. Told last, and once."""


class ByteStream(asyncio.BufferedProtocol):
    """One connection; made, connected once, and never reused."""

    def __init__(self, owner: StreamOwner, *, high_water_bytes: int, unacknowledged_s: float) -> None:
        """Unsent bytes at which `is_writable` becomes false, here and in the kernel; patience with a dead peer."""
        self._owner = owner
        self._high_water_bytes = high_water_bytes
        self._unacknowledged_s = unacknowledged_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._tls: TlsClient | None = None
        self._secured: asyncio.Future[None] | None = None
        self._fault: ssl.SSLError | None = None
        self.is_writable = True
        """Whether more may be written without piling up here."""

    # Commands.

    async def connect(self, host: str, port: int) -> None:
        """Connect to the first address of `host` that answers (RFC 8305). Raises: `OSError`."""
        sock = await _connected_socket(self._loop, host, port, self._unacknowledged_s)
        try:
            self._tune(sock)
            transport, _ = await self._loop.create_connection(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise
        transport.set_write_buffer_limits(high=self._high_water_bytes)
        self._transport = transport

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypt from here on; return when the peer has proved to be `host`. Raises: `OSError`, `ssl.SSLError` too."""
        self._secured = self._loop.create_future()
        self._tls = TlsClient(context, host)
        self._shake_hands(self._tls, self._secured)
        await self._secured

    def write(self, data: bytes) -> None:
        """Send `data`, now or as soon as the kernel takes it. Swallowed where there is no connection."""
        if self._transport is None:
            return
        if self._tls is not None:
            try:
                self._tls.write(data)
            except ssl.SSLError as error:
                self._break(error)
                return
            data = self._tls.data_to_send()
        self._transport.write(data)

    def close(self) -> None:
        """End the connection once everything is sent."""
        if self._transport is None:
            return
        if self._tls is not None:
            self._tls.close()
            self._transport.write(self._tls.data_to_send())
        self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_connected(self) -> bool:
        """Whether there ever was a connection, whose end will be told or was."""
        return self._transport is not None

    @property
    def backlog_bytes(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _tune(self, sock: socket.socket) -> None:
        """Keep what is unsent where it can still be dropped, and let the kernel notice a dead peer as well."""
        unacknowledged_ms = round(self._unacknowledged_s * 1000)
        for name, value in (("TCP_NOTSENT_LOWAT", self._high_water_bytes), ("TCP_USER_TIMEOUT", unacknowledged_ms)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    # asyncio.BufferedProtocol.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts the peer's next bytes; its wish for more room is not granted."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes of the peer."""
        if nbytes == READ_BYTES and self._transport is not None:
            # A burst. asyncio gets round to others after each read by itself, libuv after 32.
            self._transport.pause_reading()
            self._loop.call_soon(self._transport.resume_reading)
        if self._tls is None:
            self._owner.data_received(_received[:nbytes])
        else:
            self._receive_secure(self._tls, _received[:nbytes])

    def eof_received(self) -> None:
        """The peer will send no more; the loop closes the transport."""
        self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone."""
        if self._secured is not None and not self._secured.done():
            self._secured.set_exception(exc or ConnectionResetError("closed by the peer"))
        self._owner.connection_lost(exc or self._fault)

    def pause_writing(self) -> None:
        """The unsent bytes have reached the high-water mark."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """The unsent bytes have drained."""
        self.is_writable = True
        self._owner.resume_writing()

    # TLS.

    def _shake_hands(self, tls: TlsClient, secured: asyncio.Future[None]) -> None:
        """Go on with the handshake, and tell its outcome."""
        try:
            tls.shake_hands()
        except ssl.SSLError as error:
            if not secured.done():
                secured.set_exception(error)
        if tls.is_secure and not secured.done():
            secured.set_result(None)
        self._write_out(tls)

    def _receive_secure(self, tls: TlsClient, data: memoryview) -> None:
        for start in range(0, len(data), TLS_BYTES):
            tls.receive(data[start : start + TLS_BYTES])
            if not tls.is_secure and self._secured is not None:
                self._shake_hands(tls, self._secured)
            if not tls.is_secure:
                continue
            try:
                while count := tls.read_into(_decrypted):
                    self._owner.data_received(_decrypted[:count])
            except ssl.SSLError as error:
                self._break(error)
                return
        if not tls.is_secure:
            return
        self._write_out(tls)
        if tls.has_ended:
            self._owner.eof_received()
            self.close()

    def _write_out(self, tls: TlsClient) -> None:
        """Send what TLS has to say by itself: its handshake, alerts, new keys."""
        if self._transport is not None and (data := tls.data_to_send()):
            self._transport.write(data)

    def _break(self, error: ssl.SSLError) -> None:
        """What came was not from the peer, or is not TLS."""
        self._fault = error
        self.abort()


async def _connected_socket(
    loop: asyncio.AbstractEventLoop, host: str, port: int, unacknowledged_s: float
) -> socket.socket:
    """Connected to the first address that answers. The loops' own race has a leak (asyncio) or is none (uvloop)."""
    if family_of(host) is not None:
        return await _connected_to_address(loop, host, port, unacknowledged_s)
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    try:
        return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=loop)
    except RuntimeError as error:  # what uvloop says of some failures
        raise OSError(str(error)) from error


async def _connected_to_address(
    loop: asyncio.AbstractEventLoop, host: str, port: int, unacknowledged_s: float
) -> socket.socket:
    sock = make_tcp_socket(host, None, unacknowledged_s=unacknowledged_s)
    try:
        await loop.sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock
