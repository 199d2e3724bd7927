"""A realtime session on a WebSocket, for every provider that has one: its protocol decides, this module moves text.

A provider brings a `SpeechProtocol` without input or output, an address and headers; everything that takes time or may
hang is here: one deadline for the whole opening, events that come before `connect` returns, the end in its order, and
the one bound between the caller's audio and the socket. What the link does not take is held for `uplink_backlog_ms`,
of which socket and kernel get a share that cannot be taken back.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway import __version__
from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable, shown
from gateway.realtime.scrub import scrubber
from gateway.realtime.session import (
    Answered,
    AudioDelta,
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
from gateway.realtime.speech_protocol import SpeechProtocol
from gateway.realtime.uplink import UplinkBacklog
from gateway.transport.websocket import WebSocketConnection, WebSocketOptions

_log = logging.getLogger(__name__)

SOCKET_SHARE_MS = 200
"""Audio that may stand unsent in our socket, and as much again in the kernel."""
MIN_SOCKET_SHARE_BYTES = 4096


class SocketSession:
    """`gateway.realtime.session.RealtimeSession` by a `SpeechProtocol` on a WebSocket.

    `url` is ws or wss and may hold a credential in its query: it is never shown. `headers` are the provider's own;
    those of the options come after them.
    """

    def __init__(
        self,
        options: SessionOptions,
        *,
        protocol: SpeechProtocol,
        capabilities: Capabilities,
        url: str,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        _check_formats(options, capabilities)
        self._options = options
        self._protocol = protocol
        self._capabilities = capabilities
        self._url = url
        self._headers = [("User-Agent", f"sip-voice-gateway/{__version__}"), *headers, *options.headers]
        self._backlog = UplinkBacklog(
            limit_ms=max(options.uplink_backlog_ms - 2 * SOCKET_SHARE_MS, SOCKET_SHARE_MS),
            bytes_per_ms=options.input_format.bytes_per_ms,
        )
        self._socket: WebSocketConnection | None = None
        self._on_event: EventCallback | None = None
        self._early: list[SessionEvent] = []
        self._opening: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._questions: list[str] = []  # asked and not answered
        self._is_ending = False
        self._is_over = False

    @property
    def capabilities(self) -> Capabilities:
        """What the provider offers."""
        return self._capabilities

    @property
    def statistics(self) -> SessionStatistics:
        """Live counters."""
        return self._protocol.statistics

    # --- opening and ending -------------------------------------------------------------------------------------------

    async def connect(self, on_event: EventCallback) -> None:
        """See `RealtimeSession.connect`; a session that is closed meanwhile is unavailable."""
        self._opening = asyncio.create_task(self._open())
        try:
            await self._opening
            self._on_event = on_event
            early, self._early = self._early, []
            for event in early:
                on_event(event)
        except ProviderError as error:
            self._drop()
            raise self._protocol.opening_verdict(error) from error.__cause__
        except asyncio.CancelledError:
            self._drop()
            task = asyncio.current_task()
            if self._is_ending and task is not None and not task.cancelling():
                raise ProviderUnavailable("the session was closed while it was opened", code="closed") from None
            raise
        except BaseException:
            self._drop()
            raise

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
        await self._socket.connect(self._url, headers=self._headers, ssl_context=context)
        self._transmit()
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready
        except TimeoutError as error:
            text = f"the provider sent no {self._protocol.awaited} within {seconds:g} s"
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
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        elif self._socket is not None:
            self._socket.close()
            await self._socket.wait_closed()

    def abort(self) -> None:
        """See `RealtimeSession.abort`."""
        self._is_ending = True
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
        elif self._socket is not None:
            self._socket.abort()

    def _socket_share_bytes(self) -> int:
        """SOCKET_SHARE_MS of audio as it goes over the wire."""
        wire_bytes = self._protocol.audio_message_size(SOCKET_SHARE_MS * self._options.input_format.bytes_per_ms)
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
            self._send_audio(socket, audio)

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
        if not self._is_over:
            self._protocol.say(text)
            self._transmit()

    def ask(self, question_id: str, instructions: str) -> None:
        """See `RealtimeSession.ask`."""
        if not self._is_over:
            self._questions.append(question_id)
            events = self._protocol.ask(question_id, instructions)
            self._transmit()
            for event in events:
                asyncio.get_running_loop().call_soon(self._tell_later, event)

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
        events = self._protocol.receive(document)
        self._transmit()
        for event in events:
            if type(event) is AudioDelta and self._on_event is not None:  # nearly all of them
                self._on_event(event)
            else:
                self._tell(event)

    def _on_closed(self, code: int, reason: str) -> None:
        reason = scrubber(self._options)(reason)
        _log.debug("= session closed: %d %s", code, shown(reason))
        try:
            if not self._is_ending:
                self._tell(SessionFailed(error=self._protocol.close_verdict(code, reason)))
        finally:  # a fault of whoever is told: this is the end all the same
            self._is_over = True
            self._tell(SessionClosed(code=code, reason=reason))

    def _on_writable(self) -> None:
        socket = self._socket
        if socket is not None:
            self._backlog.release(lambda audio: self._send_audio(socket, audio), lambda: socket.is_writable)

    def _send_audio(self, socket: WebSocketConnection, audio: bytes) -> None:
        message = self._protocol.audio_message(audio)
        self._transmit()
        socket.send_text(message)

    def _transmit(self) -> None:
        """Send what the protocol wants sent."""
        if self._socket is not None:
            for message in self._protocol.messages_to_send():
                self._socket.send_text(message)

    def _tell(self, event: SessionEvent) -> None:
        """Give an event to the call; until `connect` returns, events wait and decide how it returns."""
        match event:
            case SessionFailed(error=error):
                self._answer_rest(error)
                self._pass_on(event)
                self._is_ending = True
                self._settle(error)
                if self._socket is not None:
                    self._socket.close()
            case SessionClosed(code=code):
                self._answer_rest(ProviderUnavailable("the session has ended", code=str(code)))
                self._pass_on(event)
            case Answered(question_id=question_id):
                if question_id in self._questions:
                    self._questions.remove(question_id)
                    self._pass_on(event)
            case SessionReady():
                self._pass_on(event)
                self._settle(None)
            case _:
                self._pass_on(event)

    def _pass_on(self, event: SessionEvent) -> None:
        if self._on_event is not None:
            self._on_event(event)
        else:
            self._early.append(event)

    def _answer_rest(self, error: ProviderError) -> None:
        """The session is at its end: whoever waits for the answer to a question has it now."""
        while self._questions:
            self._tell(Answered(question_id=self._questions[0], text="", error=error))

    def _tell_later(self, event: SessionEvent) -> None:
        """Tell what a command has led to at once, unless the session ended meanwhile."""
        if not self._is_over:
            self._tell(event)

    def _settle(self, error: ProviderError | None) -> None:
        """Let `connect` go on."""
        if self._ready is None or self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)


def _check_formats(options: SessionOptions, capabilities: Capabilities) -> None:
    """See that the provider takes and gives the audio that is asked for.

    Raises:
        ProviderRefused: it does not; `code` is ``format``.
    """
    for direction, asked, known in (
        ("input", options.input_format, capabilities.input_formats),
        ("output", options.output_format, capabilities.output_formats),
    ):
        if asked not in known:
            names = ", ".join(form.name for form in known)
            raise ProviderRefused(f"the provider has no {asked.name} {direction} (it has {names})", code="format")


@functools.cache
def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts the system, or the certificates in `ca_file`; made once, it takes milliseconds."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ProviderRefused(
            f"{ca_file}: no usable certificates: {error.strerror or error}", code="ca_file"
        ) from error
