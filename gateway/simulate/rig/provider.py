"""The scripted speech model of the realtime bench: OpenAI Realtime (GA) over a WebSocket, as cheap as can be.

It hears whether an append holds speech, tells turns by that, and answers each with a prepared reply. For cheapness'
sake it is its own WebSocket server on its own event loop, and knows of RFC 6455 what an honest client can notice.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from websockets.utils import apply_mask

from gateway.media.codec import AudioFormat
from gateway.simulate.rig import script
from gateway.simulate.rig.caller import Caller, ask_for_stamps, stamp_ns
from gateway.simulate.rig.diary import SessionDiary

END_OF_TURN_MS: Final = 200
THINKING_MS: Final = (100, 140)
"""At least, at most: a model keeps no step with the caller's packets."""
READ_BYTES: Final = 65536
SEND_BUFFER_BYTES: Final = 1 << 20
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
_NUMBER = re.compile(rb"^GET [^ ]*[?&]call=(-?\d+)", re.MULTILINE)
_KEY = re.compile(rb"^sec-websocket-key: *([^\r\n ]+)", re.MULTILINE | re.IGNORECASE)
_AUDIO = re.compile(rb'"audio": ?"')
_APPEND: Final = b"input_audio_buffer.append"
_HEAD_BYTES: Final = 64
_FORMATS: Final = {
    "audio/pcm": AudioFormat.PCM16_24K,
    "audio/pcmu": AudioFormat.PCMU,
    "audio/pcma": AudioFormat.PCMA,
}
_SILENT_SHARE: Final = 0.97
"""An append with more silence than this is silent; speech shorter than a few milliseconds at its edge is missed."""


class Clock(Protocol):
    """What a connection needs of the loop it lives in."""

    def call_at(self, due_ns: int, what: Callable[[], None], /) -> None:
        """Call `what` at that monotonic time."""


class ProviderConnection:
    """One session. `callers` are those whose audio it is, by number; a session without one is only set up."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        tls: ssl.SSLContext | None,
        piece_ms: int,
        callers: list[Caller],
        clock: Clock,
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        ask_for_stamps(sock)
        self.sock = sock
        self.is_open = True
        self.caller: Caller | None = None
        self.append_delays_ns: list[int] = []
        self.diary = SessionDiary()
        """Of a session without a caller."""
        self.is_measuring = False
        self.is_started = False
        self.bursts_heard = self.appended_bytes = 0
        self._piece_ms = piece_ms
        self._take_format(AudioFormat.PCM16_24K)
        self._callers = callers
        self._clock = clock
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls.wrap_bio(self._tls_in, self._tls_out, server_side=True)
        self._has_shaken_hands = tls is None
        self._is_upgraded = False
        self._incoming = bytearray()
        self._unsent = bytearray()
        self._overhead = 0  # bytes of an append that are no audio
        self._quiet_bytes = 0
        self._is_turn = False
        self._turns = self._replies = 0
        self._is_speaking = False
        self._is_reply_wanted = False

    # Bytes.

    @property
    def wants_to_write(self) -> bool:
        """Whether something waits for room in the kernel."""
        return bool(self._unsent)

    def on_readable(self) -> None:
        """Take what has come."""
        try:
            data, ancillary, _, _ = self.sock.recvmsg(READ_BYTES, 64)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.end()
            return
        arrived_ns = stamp_ns(ancillary)
        try:
            self._incoming += data if self._tls is None else self._decrypted(self._tls, data)
        except ssl.SSLError:
            self.end()
            return
        if self._is_upgraded:
            self._take_frames(arrived_ns)
        elif b"\r\n\r\n" in self._incoming:
            self._upgrade()

    def on_writable(self) -> None:
        """Go on sending."""
        unsent, self._unsent = bytes(self._unsent), bytearray()
        self._put(unsent)

    def end(self) -> None:
        """The connection is gone."""
        if self.is_open:
            self.is_open = False
            self.sock.close()

    def _decrypted(self, tls: ssl.SSLObject, data: bytes) -> bytes:
        self._tls_in.write(data)
        pieces: list[bytes] = []
        try:
            if not self._has_shaken_hands:
                tls.do_handshake()
                self._has_shaken_hands = True
            while piece := tls.read(READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        if self._tls_out.pending:
            self._put(self._tls_out.read())
        return b"".join(pieces)

    def _send(self, data: bytes) -> None:
        if self._tls is None:
            self._put(data)
        else:
            self._tls.write(data)
            self._put(self._tls_out.read())

    def _put(self, data: bytes) -> None:
        if not self.is_open:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.end()
            return
        self._unsent += data[sent:]

    # Frames.

    def _upgrade(self) -> None:
        request, _, rest = bytes(self._incoming).partition(b"\r\n\r\n")
        number, key = _NUMBER.search(request), _KEY.search(request)
        if key is None:
            self.end()
            return
        if number and 0 <= int(number[1]) < len(self._callers):
            self.caller = self._callers[int(number[1])]
        # SHA-1 is the protocol's proof that a WebSocket server has read the request, and secures nothing.
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
        self._send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + script.created()
        )
        self._is_upgraded, self._incoming = True, bytearray(rest)

    def _take_frames(self, arrived_ns: int) -> None:
        """All whole frames of what has come (RFC 6455 5.2); a client's are masked."""
        data, start = self._incoming, 0
        while len(data) >= start + 6:
            size, body = data[start + 1] & 0x7F, start + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, body = int.from_bytes(data[body : body + width], "big"), body + width
            end = body + 4 + size
            if len(data) < end:
                break
            payload = apply_mask(bytes(data[body + 4 : end]), bytes(data[body : body + 4]))
            self._take(data[start] & 0xF, payload, arrived_ns)
            start = end
        del data[:start]

    def _take(self, opcode: int, payload: bytes, arrived_ns: int) -> None:
        if opcode == _CLOSE:
            self._send(script.frame(payload, 0x80 | _CLOSE))
            self.end()
        elif opcode == _PING:
            self._send(script.frame(payload, 0x80 | _PONG))
        elif _APPEND in payload[:_HEAD_BYTES]:
            self._hear(payload, arrived_ns)
        elif opcode != _PONG:
            self._on_event(json.loads(payload))

    def _take_format(self, audio: AudioFormat) -> None:
        """The same in both directions."""
        self._audio = audio
        self._silence = base64.b64encode(audio.silence * 3)[:1]

    def _on_event(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "session.update":
                session = event["session"]
                self._take_format(_FORMATS[session["audio"]["output"]["format"]["type"]])
                self._send(script.updated(session))
            case "response.create":
                self._is_reply_wanted = True
                self._reply_if_due()
            case _:
                pass

    # Turns.

    def start(self) -> None:
        """The telephone is there: what was asked for before may be said now."""
        self.is_started = True
        self._reply_if_due()

    def _hear(self, payload: bytes, arrived_ns: int) -> None:
        if not self._overhead:
            found = _AUDIO.search(payload)
            self._overhead = found.end() + 2 if found else 1
        audio_bytes = (len(payload) - self._overhead) * 3 // 4
        self.appended_bytes += audio_bytes
        is_silent = payload.count(self._silence) > _SILENT_SHARE * (len(payload) - self._overhead)
        if is_silent:
            self._quiet_bytes += audio_bytes
            if self._is_turn and self._quiet_bytes >= END_OF_TURN_MS * self._audio.bytes_per_ms:
                self._end_turn()
            return
        self._quiet_bytes = 0
        if not self._is_turn:
            self._begin_turn(arrived_ns)
        if self.caller is None and self.diary.number is None:
            self.diary.hear(_audio_of(payload), self._audio)

    def _begin_turn(self, arrived_ns: int) -> None:
        self._is_turn = True
        self._turns += 1
        caller = self.caller
        if caller is not None and caller.burst_sent_ns:
            self.bursts_heard += 1
            if self.is_measuring:
                self.append_delays_ns.append(arrived_ns - caller.burst_sent_ns)
            caller.burst_sent_ns = 0
        self.diary.note_turn(arrived_ns)
        self._send(script.turn_began(f"turn_{self._turns}", self._heard_ms))

    def _end_turn(self) -> None:
        self._is_turn = False
        self._send(script.turn_ended(f"turn_{self._turns}", self._heard_ms))
        self._is_reply_wanted = True
        thought_ns = int(random.uniform(*THINKING_MS) * 1_000_000)
        self._clock.call_at(time.monotonic_ns() + thought_ns, self._reply_if_due)

    @property
    def _heard_ms(self) -> int:
        return self.appended_bytes // self._audio.bytes_per_ms

    # Replies.

    def _reply_if_due(self) -> None:
        if self._is_reply_wanted and self.is_started and not self._is_speaking and self.is_open:
            self._is_reply_wanted, self._is_speaking = False, True
            self._replies += 1
            parts = script.reply(self._replies % script.REPLIES, self._audio, self._piece_ms)
            caller = self.caller
            if caller is not None:
                caller.reply_sent_ns = 0 if caller.is_hearing else time.time_ns()
            self.diary.note_reply(time.time_ns())
            at_once = 1 + script.AT_ONCE_MS // self._piece_ms
            self._send(b"".join(parts[:at_once]))
            self._say(parts, at_once, time.monotonic_ns())

    def _say(self, parts: tuple[bytes, ...], index: int, sent_ns: int) -> None:
        """Send the next part when its time has come."""
        due_ns = sent_ns + int(self._piece_ms / script.SPEED * 1_000_000)
        self._clock.call_at(due_ns, lambda: self._say_now(parts, index, due_ns))

    def _say_now(self, parts: tuple[bytes, ...], index: int, due_ns: int) -> None:
        if not self.is_open:
            return
        self._send(parts[index])
        if index + 1 < len(parts):
            self._say(parts, index + 1, due_ns)
        else:
            self._is_speaking = False
            self._reply_if_due()


def _audio_of(append: bytes) -> bytes:
    found = _AUDIO.search(append)
    return base64.b64decode(append[found.end() :].partition(b'"')[0]) if found else b""
