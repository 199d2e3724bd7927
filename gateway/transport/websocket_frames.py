"""WebSocket frames where they are frequent: whole text messages, cut out of a server's stream, and masked into ours.

`websockets` does this in a generator with some ten calls a frame, which is most of what a piece of speech costs. Nearly
all frames of a speech model are of one kind, unfragmented text. That kind is dealt with here; every other octet is
handed on, in order, to whoever knows all of RFC 6455::

    octets of the server ── FrameSplitter.split ──┬── str      a whole text message
                                                  └── bytes    all other frames, as they come, and all that is wrong

Frames are told apart by their headers alone (5.2), so the two views of the stream never part.
"""

from __future__ import annotations

import os
import struct
from typing import Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # a build of websockets without its C extension
    from websockets.utils import apply_mask

_FINAL: Final = 0x80
_OPCODE: Final = 0x0F
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_WHOLE_TEXT: Final = _FINAL | _TEXT
_MASKED: Final = 0x80
_SIZE: Final = 0x7F
_SIZE_IN_2: Final = 126
_SIZE_IN_8: Final = 127

_head: Final = struct.Struct("!BB").pack
_head_2: Final = struct.Struct("!BBH").pack
_head_8: Final = struct.Struct("!BBQ").pack


def text_frame(data: bytes) -> bytes:
    """One unfragmented text frame of a client, masked (RFC 6455 5.3) with a key nobody can foresee."""
    size, mask = len(data), os.urandom(4)
    if size < _SIZE_IN_2:
        head = _head(_WHOLE_TEXT, _MASKED | size)
    elif size < 1 << 16:
        head = _head_2(_WHOLE_TEXT, _MASKED | _SIZE_IN_2, size)
    else:
        head = _head_8(_WHOLE_TEXT, _MASKED | _SIZE_IN_8, size)
    return b"".join((head, mask, apply_mask(data, mask)))


class FrameSplitter:
    """The stream of one server, from its first frame on; text beyond `max_message_bytes` is handed on as well."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._begun = bytearray()  # a header or a text frame that is not whole yet ...
        self._missing_bytes = 0  # ... and what has to come at least before it can be
        self._foreign_bytes = 0  # of a frame that is handed on, still to come
        self._is_within_message = False  # between fragments

    def split(self, data: memoryview) -> list[str | bytes]:
        """The messages and the other octets of `data`, which is not needed any more afterwards."""
        if self._begun:
            self._begun += data
            self._missing_bytes -= len(data)
            if self._missing_bytes > 0:
                return []
            data, self._begun = memoryview(self._begun), bytearray()
        parts: list[str | bytes] = []
        start = min(self._foreign_bytes, len(data))
        if start:
            self._foreign_bytes -= start
            parts.append(bytes(data[:start]))
        self._split_frames(data, start, parts)
        return parts

    def take_rest(self) -> bytes:
        """What was kept back for the rest of its frame; the stream ends here."""
        rest, self._begun = bytes(self._begun), bytearray()
        return rest

    def _split_frames(self, data: memoryview, start: int, parts: list[str | bytes]) -> None:
        """All frames from `start` on, of which the last need not be whole."""
        available = len(data)
        while start < available:
            body, stop = _extent(data, start)
            if body > available:
                self._keep(data[start:], body - available)
                return
            if self._is_message(data[start], data[start + 1], stop - body):
                if stop > available:
                    self._keep(data[start:], stop - available)
                    return
                text = _text(data[body:stop])
                if text is not None:
                    parts.append(text)
                    start = stop
                    continue
            if data[start] & _OPCODE <= _BINARY:  # text, binary, or what continues them
                self._is_within_message = not data[start] & _FINAL
            cut = min(stop, available)
            self._foreign_bytes = stop - cut
            parts.append(bytes(data[start:cut]))
            start = cut

    def _is_message(self, first: int, second: int, size: int) -> bool:
        return (
            first == _WHOLE_TEXT
            and not second & _MASKED
            and not self._is_within_message
            and size <= self._max_message_bytes
        )

    def _keep(self, data: memoryview, missing_bytes: int) -> None:
        self._begun, self._missing_bytes = bytearray(data), missing_bytes


def _extent(data: memoryview, start: int) -> tuple[int, int]:
    """Where the payload of the frame at `start` begins and ends; both beyond `data` while the header is cut off."""
    available = len(data) - start
    size = data[start + 1] & _SIZE if available > 1 else 0
    if size < _SIZE_IN_2:
        return start + 2, start + 2 + size
    header = 4 if size == _SIZE_IN_2 else 10
    body = start + header
    return body, body + (int.from_bytes(data[start + 2 : body], "big") if available >= header else 0)


def _text(data: memoryview) -> str | None:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        return None
