"""A listening TCP socket: connections are taken in slices, and never more often than there are descriptors for them."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable

import structlog

from gateway.errors import ResourceError
from gateway.sip.hop import Listener, Transport
from gateway.sip.message import Address
from gateway.transport.sip_counters import SLICE_MESSAGES
from gateway.transport.sockets import explain, open_tcp_listener

BACKLOG = 512
NO_DESCRIPTOR_PAUSE_S = 1.0
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("gateway.transport.sip")


def turn_away(tcp: socket.socket) -> None:
    """Close a connection by a reset: nothing is sent, and nothing of it stays in our kernel."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    tcp.close()


class Acceptor:
    """Listens from the start; `accept` gets each connection, to keep or to close.

    Raises: `ResourceError` where the address cannot be bound.
    """

    def __init__(self, listener: Listener, accept: Callable[[socket.socket, Address, Transport], None]) -> None:
        self.transport = listener.transport
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        try:
            self._socket = open_tcp_listener(listener.address, backlog=BACKLOG)
        except OSError as error:
            raise ResourceError(explain(error, listener.address, "tcp")) from error
        self._listen()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(*self._socket.getsockname()[:2])

    def close(self) -> None:
        """Stop at once. Safe to repeat."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._socket, self._on_acceptable)

    def _on_acceptable(self) -> None:
        for _ in range(SLICE_MESSAGES):
            try:
                tcp, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR:
                    self._pause_accepting(error)
                    return
                continue  # the peer had gone before it was let in
            tcp.setblocking(False)
            self._accept(tcp, Address(peer[0], peer[1]), self.transport)

    def _pause_accepting(self, error: OSError) -> None:
        """The next one waits in the kernel: asking again at once would only spin."""
        _log.warning("no connection can be taken: raise LimitNOFILE (systemd) or `ulimit -n`", error=str(error))
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(NO_DESCRIPTOR_PAUSE_S, self._listen)
