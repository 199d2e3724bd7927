"""A realtime session with OpenAI, and with every server that speaks its protocol (GA): the protocol on a WebSocket.

`OpenAIProtocol` decides, this module moves text. Between the caller's audio and the socket stands one bound: what the
link does not take is held for `uplink_backlog_ms`, of which socket and kernel get a share that cannot be taken back.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Sequence
from pathlib import Path

from gateway import __version__
from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.realtime import openai_codec as codec
from gateway.realtime.openai_errors import FATAL, close_verdict
from gateway.realtime.openai_protocol import OpenAIProtocol
from gateway.realtime.session import (
    Capabilities,
    EventCallback,
    Role,
    SessionChange,
    SessionClosed,
    SessionEvent,
    SessionFailed,
    SessionOptions,
    SessionReady,
    SessionStatistics,
)
from gateway.realtime.uplink import UplinkBacklog
from gateway.transport.websocket import WebSocketConnection, WebSocketOptions

SOCKET_SHARE_MS = 200
"""Audio that may stand unsent in our socket, and as much again in the kernel."""
MIN_SOCKET_SHARE_BYTES = 4096

CAPABILITIES = Capabilities(
    input_formats=tuple(codec.FORMATS),
    output_formats=tuple(codec.FORMATS),
    turn_detections=("server_vad", "semantic_vad", "none"),
    has_truncate=True,
    has_cancel=True,
    has_tools=True,
    usage_unit="tokens",
    max_session_s=3600.0,
    has_questions=True,
    has_deletion=True,
    has_update=True,
)


class OpenAIRealtimeSession:
    """`gateway.realtime.session.RealtimeSession` for the OpenAI protocol family."""

    def __init__(self, options: SessionOptions) -> None:
        for direction, asked in (("input", options.input_format), ("output", options.output_format)):
            if asked not in codec.FORMATS:
                known = ", ".join(known.name for known in codec.FORMATS)
                raise ProviderRefused(f"the provider has no {asked.name} {direction} (it has {known})", code="format")
        self._options = options
        self._url = codec.realtime_url(options)
        self._protocol = OpenAIProtocol(options)
        self._backlog = UplinkBacklog(
            limit_ms=max(options.uplink_backlog_ms - 2 * SOCKET_SHARE_MS, SOCKET_SHARE_MS),
            bytes_per_ms=options.input_format.bytes_per_ms,
        )
        self._socket: WebSocketConnection | None = None
        self._on_event: EventCallback | None = None
        self._early: list[SessionEvent] = []
        self._ready: asyncio.Future[None] | None = None
        self._is_ending = False
        self._is_over = False

    @property
    def capabilities(self) -> Capabilities:
        """What the protocol offers."""
        return CAPABILITIES

    @property
    def statistics(self) -> SessionStatistics:
        """Live counters."""
        return self._protocol.statistics

    # --- opening and ending -------------------------------------------------------------------------------------------

    async def connect(self, on_event: EventCallback) -> None:
        """See `RealtimeSession.connect`."""
        try:
            await self._open()
        except ProviderError as error:
            self._drop()
            raise _by_code(error) from error.__cause__
        except BaseException:
            self._drop()
            raise
        self._on_event = on_event
        for event in self._early:
            on_event(event)

    async def _open(self) -> None:
        """Connect and wait for the confirmed session, both before one deadline; events wait in `_early`."""
        seconds = self._options.connect_timeout_s
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._ready = loop.create_future()
        self._socket = WebSocketConnection(
            on_message=self._on_message,
            on_closed=self._on_closed,
            on_writable=self._on_writable,
            options=WebSocketOptions(open_timeout_s=seconds, high_water_bytes=self._socket_share_bytes()),
        )
        context = _trusting(self._options.ca_file) if self._url.startswith("wss:") else None
        await self._socket.connect(self._url, headers=self._headers(), ssl_context=context)
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready
        except TimeoutError as error:
            text = f"the provider sent no {self._protocol.phase.value} within {seconds:g} s"
            raise ProviderUnavailable(text, code="timeout") from error

    def _drop(self) -> None:
        """Leave nothing of a `connect` that failed."""
        self._is_over = True
        if self._socket is not None:
            self._socket.abort()
        if self._ready is not None and not self._ready.cancel() and not self._ready.cancelled():
            self._ready.exception()  # taken, so that asyncio does not report it as forgotten

    async def close(self) -> None:
        """See `RealtimeSession.close`."""
        self._is_ending = True
        if self._socket is not None:
            self._socket.close()
            await self._socket.wait_closed()

    def abort(self) -> None:
        """See `RealtimeSession.abort`."""
        self._is_ending = True
        if self._socket is not None:
            self._socket.abort()

    def _headers(self) -> list[tuple[str, str]]:
        headers = [("User-Agent", f"sip-voice-gateway/{__version__}")]
        if self._options.api_key:
            headers.append(("Authorization", f"Bearer {self._options.api_key.reveal().strip()}"))
        return headers + list(self._options.headers)

    def _socket_share_bytes(self) -> int:
        """SOCKET_SHARE_MS of audio as it goes over the wire."""
        wire_bytes = codec.append_size(SOCKET_SHARE_MS * self._options.input_format.bytes_per_ms)
        return max(wire_bytes, MIN_SOCKET_SHARE_BYTES)

    # --- commands -----------------------------------------------------------------------------------------------------

    def append_audio(self, audio: bytes) -> None:
        """See `RealtimeSession.append_audio`."""
        socket = self._socket
        if socket is None or self._is_over:
            return
        if not socket.is_writable:
            self.statistics.dropped_uplink_ms += self._backlog.hold(audio)
        else:
            socket.send_text(codec.append(audio))

    def commit_audio(self) -> None:
        """See `RealtimeSession.commit_audio`."""
        if not self._is_over:
            self._protocol.commit_audio()
            self._transmit()

    def send_text(self, role: Role, text: str) -> None:
        """See `RealtimeSession.send_text`."""
        if not self._is_over:
            self._protocol.send_text(role, text)
            self._transmit()

    def say(self, text: str) -> None:
        """See `RealtimeSession.say`."""
        self.respond(codec.say_instructions(text))

    def ask(self, question_id: str, instructions: str) -> None:
        """See `RealtimeSession.ask`."""
        if not self._is_over:
            self._protocol.ask(question_id, instructions)
            self._transmit()

    def delete_item(self, item_id: str) -> None:
        """See `RealtimeSession.delete_item`."""
        if not self._is_over:
            self._protocol.delete_item(item_id)
            self._transmit()

    def replace_items(self, item_ids: Sequence[str], summary_id: str, summary: str) -> None:
        """See `RealtimeSession.replace_items`."""
        if not self._is_over:
            self._protocol.replace_items(item_ids, summary_id, summary)
            self._transmit()

    def update(self, change: SessionChange) -> None:
        """See `RealtimeSession.update`."""
        if not self._is_over:
            self._protocol.update(change)
            self._transmit()

    def respond(self, instructions: str | None = None) -> None:
        """See `RealtimeSession.respond`."""
        if not self._is_over:
            self._protocol.respond(instructions)
            self._transmit()

    def cancel_response(self) -> None:
        """See `RealtimeSession.cancel_response`."""
        if not self._is_over:
            self._protocol.cancel_response()
            self._transmit()

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """See `RealtimeSession.truncate`."""
        if not self._is_over:
            self._protocol.truncate(item_id, content_index, audio_end_ms)
            self._transmit()

    def send_tool_result(self, call_id: str, output: str, respond: bool = True) -> None:
        """See `RealtimeSession.send_tool_result`."""
        if not self._is_over:
            self._protocol.send_tool_result(call_id, output, respond=respond)
            self._transmit()

    # --- socket -------------------------------------------------------------------------------------------------------

    def _on_message(self, document: str | bytes) -> None:
        if isinstance(document, bytes):
            self.statistics.malformed_events += 1
            return
        events = self._protocol.receive(document)
        self._transmit()
        for event in events:
            self._tell(event)

    def _on_closed(self, code: int, reason: str) -> None:
        if not self._is_ending:
            self._tell(SessionFailed(error=close_verdict(code, reason)))
        self._is_over = True
        self._tell(SessionClosed(code=code, reason=reason))

    def _on_writable(self) -> None:
        socket = self._socket
        if socket is not None:
            self._backlog.release(lambda audio: socket.send_text(codec.append(audio)), lambda: socket.is_writable)

    def _transmit(self) -> None:
        """Send what the protocol wants sent."""
        if self._socket is not None:
            for message in self._protocol.messages_to_send():
                self._socket.send_text(message)

    def _tell(self, event: SessionEvent) -> None:
        """Give an event to the call; until `connect` returns, events wait and decide how it returns."""
        if self._on_event is not None:
            self._on_event(event)
        else:
            self._early.append(event)
        if isinstance(event, SessionFailed):
            self._is_ending = True
            self._settle(event.error)
            if self._socket is not None:
                self._socket.close()
        elif isinstance(event, SessionReady):
            self._settle(None)

    def _settle(self, error: ProviderError | None) -> None:
        """Let `connect` go on."""
        if self._ready is None or self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)


def _by_code(error: ProviderError) -> ProviderError:
    """An upgrade may be refused with a status that invites another try and a code that forbids it."""
    if error.is_retryable and error.code in FATAL:
        return ProviderRefused(str(error), code=error.code)
    return error


@functools.cache
def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the system, or the certificates in `ca_file`; made once, it takes milliseconds."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ProviderRefused(
            f"{ca_file}: no usable certificates: {error.strerror or error}", code="ca_file"
        ) from error
