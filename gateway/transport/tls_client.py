"""The client side of TLS without input or output, for connections of which there are hundreds.

The loops' own TLS keeps a read buffer of 256 KiB for each connection, decrypts as much at a stretch, and takes every
message through a second transport. OpenSSL needs none of it; octets go in and out of its two memory queues::

    octets of the peer ── receive ──> incoming ─┐                ┌─> outgoing ── data_to_send ──> octets to the peer
                                                ├ TLS (RFC 8446) ┤
    what the peer says <── read_into ───────────┘                └── write <── what we say
"""

from __future__ import annotations

import contextlib
import ssl


class TlsClient:
    """One connection. The peer's certificate must be for `host` and be trusted, unless `context` says otherwise."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.is_secure = False
        """Whether the handshake is done; nothing can be written or read before."""
        self.has_ended = False
        """Whether the peer said that nothing more will come."""

    def receive(self, data: memoryview) -> None:
        """Take what came from the peer."""
        self._incoming.write(data)

    def data_to_send(self) -> bytes:
        """What the peer is to be sent now; each octet is given out once."""
        return self._outgoing.read()

    def shake_hands(self) -> None:
        """Go on with the handshake as far as what was received allows.

        Raises:
            ssl.SSLError: it failed, for the certificate or for anything else. An alert to the peer may wait to be sent.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self.is_secure = True

    def write(self, data: bytes) -> None:
        """Say `data`."""
        self._tls.write(data)

    def read_into(self, buffer: memoryview) -> int:
        """Bring what the peer says into `buffer`; the count of octets, 0 where no more is there at present.

        Raises:
            ssl.SSLError: what came is no TLS, or not the peer's.
        """
        if not self._incoming.pending and not self._tls.pending():
            return 0  # known without asking, and an exception is dear
        try:
            count = int(self._tls.read(len(buffer), buffer))  # a count, whatever its type is said to be
        except ssl.SSLWantReadError:
            return 0
        self.has_ended = not count
        return count

    def close(self) -> None:
        """Say that nothing more will come (RFC 8446 6.1); the peer's own word is not waited for."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
