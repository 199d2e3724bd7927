"""A client WebSocket whose writes are synchronous and whose reads arrive as callbacks.

A media tick appends audio for every call and must not await; a burst of the provider must not queue up as tasks. So
the Sans-I/O protocol of `websockets` (RFC 6455: handshake, frames, close) sits right on a stream of bytes, and whole
text messages, of which there are dozens a second in each call, pass it by::

    send_text ─────────────> text_frame ─────────────┐
    close, ping ───────────> ClientProtocol ─────────┴──> ByteStream      never waits
    on_message <────────────────────── str ──┐
    on_message, on_closed <─ ClientProtocol <┴─ FrameSplitter <── ByteStream      at most READ_BYTES

A provider may send a minute of speech at once, and to many calls together. Reads are small, so that the loop gets round
to the media clock between any two of them: with the 256 KiB that asyncio reads by itself, 20 such bursts silenced all
calls for half a second.

What this module adds is time and bounds: a deadline for the handshake and for the close, a ping that finds a half-open
connection, a high-water mark that tells the writer to hold back, and a limit beyond which the connection is given up.

No error and no log line carries a header, a query or a body: each of them may hold a credential.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown
from gateway.transport.byte_stream import ByteStream
from gateway.transport.websocket_frames import FrameSplitter, text_frame

MessageCallback: TypeAlias = Callable[[str | bytes], None]
ClosedCallback: TypeAlias = Callable[[int, str], None]
WritableCallback: TypeAlias = Callable[[], None]

ABNORMAL_CLOSURE = 1006
"""Close code of a connection that ended without a close frame (RFC 6455 7.1.5)."""

_HEAD_END = b"\r\n\r\n"

# `websockets` logs every header at DEBUG, the Authorization header too.
_silent = logging.getLogger(__name__ + ".frames")
_silent.propagate = False
_silent.setLevel(logging.CRITICAL + 1)

_log = logging.getLogger(__name__)

_ERROR_CODE = re.compile(rb'"code"\s*:\s*"([a-z0-9_]{1,64})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """Deadlines and bounds of one connection."""

    open_timeout_s: float = 3.0
    """Name resolution, TCP, TLS and the upgrade together."""
    close_timeout_s: float = 1.0
    """From our close frame to the peer's, and from the close frames to the end of the TCP connection."""
    ping_interval_s: float = 5.0
    pong_timeout_s: float = 3.0
    """Silence after a ping at which the connection is taken for half-open."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Largest message taken, over all its fragments; a larger one ends the connection (1009)."""
    high_water_bytes: int = 16 * 1024
    """Unsent bytes at which `is_writable` becomes false; the kernel is asked to hold no more than as many again."""
    max_backlog_bytes: int = 1024 * 1024
    """Unsent bytes at which the connection is given up."""


class WebSocketConnection:
    """One client connection; made, connected once, and never reused.

    `on_message` gets every text message as str and every binary one as bytes. `on_closed` is told once, on a later turn
    of the loop, if the upgrade succeeded: the peer's close code and reason, or 1006 and what happened here. Either
    may be called before `connect` returns, by a fast peer. `on_writable` follows when a backlog has drained.
    """

    def __init__(
        self,
        *,
        on_message: MessageCallback,
        on_closed: ClosedCallback,
        on_writable: WritableCallback | None = None,
        options: WebSocketOptions | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_writable = on_writable
        self._options = options or WebSocketOptions()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._protocol: ClientProtocol | None = None
        self._splitter: FrameSplitter | None = None
        self._head = b""
        self._timer: asyncio.TimerHandle | None = None
        self._fragments = bytearray()
        self._fragment_opcode = Opcode.TEXT
        self._stage = "resolving and connecting"
        self._is_over = False
        self._has_heard = False
        self._stream = ByteStream(
            self,
            high_water_bytes=self._options.high_water_bytes,
            unacknowledged_s=self._options.ping_interval_s + self._options.pong_timeout_s,
        )

    # --- commands -----------------------------------------------------------------------------------------------------

    async def connect(
        self, url: str, *, headers: Iterable[tuple[str, str]] = (), ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Open the connection: ws and wss URLs; `ssl_context` in place of the system's trust store.

        Raises:
            ProviderUnavailable: no route, no answer in time, TLS trouble, HTTP 408, 425, 429 or 5xx.
            ProviderRefused: an unusable URL or header, an untrusted certificate, any other HTTP status.
        """
        uri, where = _parse(url)
        try:
            async with asyncio.timeout(self._options.open_timeout_s):
                await self._open(uri, headers, ssl_context)
        except TimeoutError as error:
            self._discard()
            waited = f"{self._options.open_timeout_s:g} s"
            raise ProviderUnavailable(
                f"{where}: no WebSocket within {waited} ({self._stage})", code="timeout"
            ) from error
        except (OSError, InvalidHandshake, ValueError) as error:
            self._discard()
            raise _connect_error(error, where, self._stage) from error
        except BaseException:
            self._discard()
            raise
        self._ping_later(self._options.ping_interval_s)

    def send_text(self, data: str | bytes) -> None:
        """Send one text message; bytes are taken for UTF-8. Swallowed once the connection is closing or closed."""
        if self._protocol is None or self._is_over or self._protocol.state is not State.OPEN:
            return
        self._stream.write(text_frame(data.encode() if isinstance(data, str) else data))
        if not self._stream.is_writable and self.backlog_bytes > self._options.max_backlog_bytes:
            self._give_up(f"the link is too slow: {self.backlog_bytes} bytes unsent")

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the close handshake (RFC 6455 7.1.2). A peer that does not answer in time is cut off."""
        if self._protocol is None or self._is_over or self._protocol.state is not State.OPEN:
            return
        self._protocol.send_close(code, reason)
        self._flush()
        seconds = self._options.close_timeout_s
        self._set_timer(seconds, lambda: self._give_up(f"no close frame within {seconds:g} s"))

    def abort(self, reason: str = "aborted") -> None:
        """End the connection now, without a close frame; `on_closed` gets 1006 and `reason`."""
        self._give_up(reason)

    async def wait_closed(self) -> None:
        """Wait until the TCP connection is gone; close_timeout_s after `on_closed` at the latest."""
        await asyncio.shield(self._lost)

    @property
    def is_writable(self) -> bool:
        """Whether more may be sent without piling up here."""
        return self._stream.is_writable

    @property
    def backlog_bytes(self) -> int:
        """Bytes given to `send_text` that the kernel has not taken yet."""
        return self._stream.backlog_bytes

    # --- opening ------------------------------------------------------------------------------------------------------

    async def _open(
        self, uri: WebSocketURI, headers: Iterable[tuple[str, str]], ssl_context: ssl.SSLContext | None
    ) -> None:
        """TCP, TLS and upgrade, one after the other; the caller holds the deadline."""
        await self._stream.connect(uri.host, uri.port)
        if uri.secure:
            self._stage = "TLS handshake"
            await self._stream.secure(ssl_context or _system_trust(), uri.host)
        self._stage = "upgrade to WebSocket"
        self._protocol = ClientProtocol(uri, max_size=self._options.max_message_bytes, logger=_silent)
        request = self._protocol.connect()
        for name, value in headers:
            request.headers[name] = _checked(name, value)
        self._protocol.send_request(request)
        self._flush()
        await self._opened

    def _discard(self) -> None:
        """Drop what a failed `connect` left, telling nobody."""
        self._is_over = True
        if not self._opened.cancel() and not self._opened.cancelled():
            self._opened.exception()  # taken, so that asyncio does not report it as forgotten
        self._stream.abort()
        if not self._stream.is_connected and not self._lost.done():
            self._lost.set_result(None)  # there never was a connection to lose

    # --- gateway.transport.byte_stream.StreamOwner --------------------------------------------------------------------

    def data_received(self, data: memoryview) -> None:
        """Bytes of the peer: parsed, answered where the protocol answers by itself, and told."""
        self._has_heard = True
        protocol = self._protocol
        if protocol is None or protocol.reader.eof:
            return
        if self._splitter is None:
            data = self._receive_head(protocol, data)
        if self._splitter is None:
            self._feed(protocol, bytes(data))
            return
        for part in self._splitter.split(data):
            if self._is_over:
                return
            if isinstance(part, str):
                self._on_message(part)
            else:
                self._feed(protocol, part)

    def eof_received(self) -> None:
        """The peer will send no more."""
        if self._protocol is not None:
            if self._splitter is not None:
                self._feed(self._protocol, self._splitter.take_rest())
            self._protocol.receive_eof()
            self._settle(self._protocol)

    def resume_writing(self) -> None:
        """The unsent bytes have drained."""
        if self._on_writable is not None and not self._is_over:
            self._on_writable()

    def connection_lost(self, reason: Exception | None) -> None:
        """The TCP connection is gone."""
        if not self._opened.done():
            self._opened.set_exception(reason or ConnectionResetError("closed by the peer"))
        self._finish(ABNORMAL_CLOSURE, f"connection lost: {reason}" if reason else "connection lost")
        self._stop_timer()
        if not self._lost.done():
            self._lost.set_result(None)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def _receive_head(self, protocol: ClientProtocol, data: memoryview) -> memoryview:
        """Let the protocol read up to the end of the answer to our upgrade; what stands behind it."""
        known = len(self._head)
        self._head += data
        end = self._head.find(_HEAD_END)
        if end < 0:
            self._head = self._head[-len(_HEAD_END) + 1 :]
            return data
        size = end + len(_HEAD_END) - known
        self._head = b""
        self._feed(protocol, bytes(data[:size]))
        if protocol.state is State.OPEN:
            self._splitter = FrameSplitter(self._options.max_message_bytes)
        return data[size:]

    def _feed(self, protocol: ClientProtocol, data: bytes) -> None:
        """Give bytes to the protocol, and tell what it makes of them."""
        if protocol.reader.eof:
            return
        protocol.receive_data(data)
        self._flush()
        for event in protocol.events_received():
            if self._is_over:
                return
            if isinstance(event, Frame):
                self._handle_frame(protocol, event)
            else:
                self._settle_upgrade(protocol)
        self._settle(protocol)

    def _settle_upgrade(self, protocol: ClientProtocol) -> None:
        """Tell the outcome of the handshake. Frames in the same segment come after it, a close frame too."""
        if self._opened.done():
            return
        if protocol.handshake_exc is not None:
            self._opened.set_exception(protocol.handshake_exc)
        else:
            self._opened.set_result(None)

    def _settle(self, protocol: ClientProtocol) -> None:
        """Tell a fault for which the protocol gave up: no HTTP at all, or a frame against the rules."""
        if protocol.handshake_exc is not None:
            self._settle_upgrade(protocol)
        elif protocol.parser_exc is not None:
            self._finish(ABNORMAL_CLOSURE, shown(str(protocol.parser_exc)))

    def _handle_frame(self, protocol: ClientProtocol, frame: Frame) -> None:
        """Put messages together from their fragments (RFC 6455 5.4) and tell the whole ones."""
        if frame.opcode is Opcode.CLOSE:
            close = protocol.close_rcvd
            self._finish(close.code if close else ABNORMAL_CLOSURE, close.reason if close else "")
        elif frame.opcode is Opcode.CONT:
            self._fragments += frame.data
            if frame.fin:
                whole, self._fragments = bytes(self._fragments), bytearray()
                self._deliver(protocol, self._fragment_opcode, whole)
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            if frame.fin:
                self._deliver(protocol, frame.opcode, frame.data)
            else:
                self._fragment_opcode, self._fragments = frame.opcode, bytearray(frame.data)

    def _deliver(self, protocol: ClientProtocol, opcode: Opcode, data: bytes | bytearray | memoryview) -> None:
        if opcode is Opcode.BINARY:
            self._on_message(bytes(data))
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            # RFC 6455 8.1: bytes that are not UTF-8 fail the connection.
            protocol.fail(CloseCode.INVALID_DATA)
            self._flush()
            self._finish(ABNORMAL_CLOSURE, "text message is not UTF-8")
        else:
            self._on_message(text)

    # --- sending and ending -------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Hand what the protocol wants sent to the stream; an empty piece is its end."""
        if self._protocol is None:
            return
        for piece in self._protocol.data_to_send():
            if piece:
                self._stream.write(piece)
            else:
                self._stream.close()

    def _give_up(self, reason: str) -> None:
        self._finish(ABNORMAL_CLOSURE, reason)
        self._stream.abort()

    def _finish(self, code: int, reason: str) -> None:
        """The one place where a connection ends. The peer closes TCP (RFC 6455 7.1.1), or is made to."""
        if self._is_over:
            return
        self._is_over = True
        if self._stream.is_connected:
            self._set_timer(self._options.close_timeout_s, self._stream.abort)
        if self._opened.done() and not self._opened.cancelled() and self._opened.exception() is None:
            _log.debug("= websocket closed: %d", code)
            self._loop.call_soon(self._on_closed, code, reason)

    def _ping_later(self, seconds: float) -> None:
        if not self._is_over:
            self._set_timer(seconds, self._ping)

    def _ping(self) -> None:
        """Any byte after the ping proves the peer alive: its pong may stand behind a long burst of audio."""
        if self._protocol is None or self._protocol.state is not State.OPEN:
            return
        self._has_heard = False
        self._protocol.send_ping(b"")
        self._flush()
        self._set_timer(self._options.pong_timeout_s, self._check_pong)

    def _check_pong(self) -> None:
        if self._has_heard:
            self._ping_later(max(self._options.ping_interval_s - self._options.pong_timeout_s, 0))
        else:
            self._give_up(f"half-open: nothing heard for {self._options.pong_timeout_s:g} s after a ping")

    def _set_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@functools.cache
def _system_trust() -> ssl.SSLContext:
    """TLS that trusts whom the system trusts; made once, it takes many milliseconds."""
    return ssl.create_default_context()


def _parse(url: str) -> tuple[WebSocketURI, str]:
    """The URL in its parts, and the part of it that errors may show."""
    try:
        uri = parse_uri(url)
    except (InvalidURI, ValueError) as error:
        raise ProviderRefused("not a WebSocket URL (expected ws://HOST... or wss://HOST...)", code="url") from error
    return uri, f"{uri.host}:{uri.port}"


def _checked(name: str, value: str) -> str:
    """`value` if it can stand in a header; the value itself is never shown."""
    if not (value.isascii() and value.isprintable()):
        raise ProviderRefused(f"header {shown(name)}: value is not printable ASCII", code="header")
    return value


def _connect_error(error: Exception, where: str, stage: str) -> ProviderError:
    """The verdict on a failed `connect`: whether the same attempt may succeed later."""
    if isinstance(error, InvalidStatus):
        return _status_error(error.response, where)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ProviderRefused(f"{where}: certificate not trusted: {error.verify_message}", code="certificate")
    if isinstance(error, OSError):
        text = error.strerror or str(error)
        return ProviderUnavailable(f"{where}: {shown(text)} ({stage})", code="unreachable")
    return ProviderUnavailable(f"{where}: the answer is not a WebSocket upgrade ({stage})", code="handshake")


def _status_error(response: Response, where: str) -> ProviderError:
    """The verdict on an HTTP status other than 101. Of the body only an error code is used."""
    status = response.status_code
    found = _ERROR_CODE.search(response.body or b"")
    code = found[1].decode() if found else f"http_{status}"
    text = f"{where}: HTTP {status} {shown(response.reason_phrase)}"
    if status in (408, 425, 429) or status >= 500:
        return ProviderUnavailable(text, code=code, retry_after_s=_retry_after_s(response))
    return ProviderRefused(text, code=code)


def _retry_after_s(response: Response) -> float | None:
    """``Retry-After`` in seconds (RFC 9110 10.2.3); a date there would need a clock, and is passed over."""
    values = response.headers.get_all("Retry-After")
    return float(values[0]) if len(values) == 1 and re.fullmatch(r"[0-9]{1,6}", values[0].strip()) else None
