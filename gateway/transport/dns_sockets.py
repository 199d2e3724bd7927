"""dnspython's sockets with a bound on what comes out of them.

An answer of 64 KB whose names are chains of pointers takes Python a third of a second to read, and the interpreter lock
with it, on whichever thread. No answer about SIP needs a tenth of that.
"""

from __future__ import annotations

from typing import Protocol, Self, cast

import dns.asyncbackend

MAX_ANSWER_BYTES = 4096

_Place = tuple[str, int]


class _Socket(Protocol):
    """What dnspython's datagram and stream sockets can do, each its part."""

    family: int
    type: int

    async def close(self) -> None: ...

    async def sendto(self, data: bytes, destination: _Place, within_s: float | None, /) -> int: ...

    async def recvfrom(self, size: int, within_s: float | None, /) -> tuple[bytes, _Place]: ...

    async def sendall(self, data: bytes, within_s: float | None, /) -> None: ...

    async def recv(self, size: int, within_s: float | None, /) -> bytes: ...


class _Backend(Protocol):
    async def make_socket(self, *arguments: object) -> _Socket: ...

    async def sleep(self, interval: float, /) -> None: ...

    def datagram_connection_required(self) -> bool: ...


class BoundedBackend:
    """dnspython's asyncio backend; datagrams are cut at `MAX_ANSWER_BYTES`, longer answers over TCP are not read."""

    def __init__(self) -> None:
        self._inner = cast("_Backend", dns.asyncbackend.get_backend("asyncio"))
        self.sleep = self._inner.sleep
        self.datagram_connection_required = self._inner.datagram_connection_required

    async def make_socket(self, *arguments: object) -> _BoundedSocket:
        """A socket as the asyncio backend makes it, bounded."""
        return _BoundedSocket(await self._inner.make_socket(*arguments))


class _BoundedSocket:
    def __init__(self, inner: _Socket) -> None:
        self.family, self.type = inner.family, inner.type
        self._inner = inner
        self.close = inner.close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def sendto(self, data: bytes, destination: _Place, within_s: float | None) -> int:
        return await self._inner.sendto(data, destination, within_s)

    async def recvfrom(self, size: int, within_s: float | None) -> tuple[bytes, _Place]:
        data, source = await self._inner.recvfrom(size, within_s)
        return data[:MAX_ANSWER_BYTES], source

    async def sendall(self, data: bytes, within_s: float | None) -> None:
        await self._inner.sendall(data, within_s)

    async def recv(self, size: int, within_s: float | None) -> bytes:
        """`size` is what is left of the message, which its first two bytes have told."""
        if size > MAX_ANSWER_BYTES:
            raise EOFError(f"an answer of {size} bytes")
        return await self._inner.recv(size, within_s)
