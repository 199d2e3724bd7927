"""Messages out of a byte stream (RFC 3261 18.3), and the keep-alives between them (RFC 5626 3.5.1).

::

    bytes ──> receive_data ──> buffer ──> next_event ──> a message | a ping | nothing yet
                                              └──> MessageRefused: nobody knows where the next message begins

On a stream only Content-Length tells where a message ends, so one that is missing, doubled, malformed or too large ends
the stream: what follows it could be taken for a message that nobody sent. The refusal carries what an answer needs.

However the stream is cut into pieces, the same events come out, in time linear in its length.
"""

from __future__ import annotations

import re
from enum import Enum

from gateway.errors import MessageError, shown
from gateway.sip.grammar import WHITE_SPACE, parse_number
from gateway.sip.message import DEFAULT_LIMITS, MessageRefused, refusal_of

MAX_HEAD_BYTES = 32768
"""Start line and headers, half of what a message may have."""
_LINE_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
# The value runs to the next line that is not a continuation (RFC 3261 7.3.1).
_content_length = re.compile(rb"\r\n(?:content-length|l)[ \t]*+:(.*?)(?=\r\n(?![ \t])|\Z)", re.IGNORECASE | re.DOTALL)


class KeepAlive(Enum):
    """What peers send to keep a connection open."""

    PING = b"\r\n\r\n"
    PONG = b"\r\n"
    """The answer to a ping."""


class StreamFramer:
    """One direction of one connection."""

    def __init__(self, *, max_bytes: int = DEFAULT_LIMITS.max_bytes, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_head_bytes = max_head_bytes
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer that hold no end of a head
        self._size = 0  # of the message under way; 0 while its head is not complete
        self._is_half_ping = False
        self._is_broken = False
        self.pongs = 0
        """Line breaks that came alone. The first half of a ping counts until the second has come."""

    @property
    def is_within_message(self) -> bool:
        """Whether the rest of a message is awaited."""
        return bool(self._buffer)

    @property
    def buffered_bytes(self) -> int:
        """What is kept: less than a message and one `receive_data`, where `next_event` is asked until it has none."""
        return len(self._buffer)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take what has come; a copy is kept."""
        if not self._is_broken:
            self._buffer += data

    def next_event(self) -> bytes | KeepAlive | None:
        """The next message, or a ping that wants its pong; None where more bytes are needed.

        Raises: `MessageRefused` once, where the stream cannot be followed any further. Its connection is to be closed.
        """
        try:
            return self._next_event()
        except MessageRefused:
            self._is_broken = True
            self._buffer.clear()
            raise

    def _next_event(self) -> bytes | KeepAlive | None:
        while not self._size and self._buffer.startswith(_LINE_END):
            if self._take_line_break():
                return KeepAlive.PING
        if not self._size and not self._find_size():
            return None
        if len(self._buffer) < self._size:
            return None
        message = bytes(memoryview(self._buffer)[: self._size])
        del self._buffer[: self._size]
        self._size = self._searched = 0
        return message

    def _take_line_break(self) -> bool:
        """Take a line break before a message (RFC 3261 7.5); whether it made a ping whole."""
        del self._buffer[: len(_LINE_END)]
        self.pongs += -1 if self._is_half_ping else 1
        self._is_half_ping = not self._is_half_ping
        return not self._is_half_ping

    def _find_size(self) -> bool:
        """Look for the end of the head and learn the size of the message from it."""
        if not self._buffer or self._buffer == _LINE_END[:1]:
            return False
        end_of_search = self._max_head_bytes + len(_HEAD_END)
        end = self._buffer.find(_HEAD_END, self._searched, end_of_search)
        if end < 0:
            if len(self._buffer) >= end_of_search:
                head = bytes(memoryview(self._buffer)[: self._max_head_bytes])
                raise refusal_of(head.rpartition(_LINE_END)[0], f"head over {self._max_head_bytes} bytes", status=513)
            self._searched = max(len(self._buffer) - len(_HEAD_END) + 1, 0)
            return False
        self._is_half_ping = False
        head = bytes(memoryview(self._buffer)[:end])
        self._size = end + len(_HEAD_END) + self._body_size(head)
        return True

    def _body_size(self, head: bytes) -> int:
        fields = _content_length.findall(head)
        if len(fields) != 1:
            # RFC 3261 20.14: over a stream it must be there.
            raise refusal_of(head, "more than one Content-Length" if fields else "no Content-Length on a stream")
        text = fields[0].replace(_LINE_END, b"").decode("utf-8", "surrogateescape").strip(WHITE_SPACE)
        try:
            size = parse_number(text, 2**31, "Content-Length")
        except MessageError as error:
            raise refusal_of(head, error.reason) from error
        if len(head) + len(_HEAD_END) + size > self._max_bytes:
            raise refusal_of(head, f"message over {self._max_bytes} bytes: Content-Length {shown(text)}", status=513)
        return size
