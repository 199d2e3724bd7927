"""The caller's audio on its way to a link that may be slower than speech.

While the link takes everything, nothing is held. When it does not, the newest audio is kept and the oldest goes: a
model that hears what was said long ago answers nobody, and memory must not grow with the length of a stall.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class UplinkBacklog:
    """At most `limit_ms` of audio that the link did not take yet, oldest first."""

    def __init__(self, *, limit_ms: float, bytes_per_ms: int) -> None:
        self._limit_bytes = int(limit_ms * bytes_per_ms)
        self._bytes_per_ms = bytes_per_ms
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0

    def hold(self, audio: bytes) -> float:
        """Keep `audio`; how many milliseconds had to go for it."""
        self._pieces.append(audio)
        self._held_bytes += len(audio)
        dropped_bytes = 0
        while self._held_bytes - dropped_bytes > self._limit_bytes:
            dropped_bytes += len(self._pieces.popleft())
        self._held_bytes -= dropped_bytes
        return dropped_bytes / self._bytes_per_ms

    def release(self, send: Callable[[bytes], None], is_writable: Callable[[], bool]) -> None:
        """Send what is held for as long as the link takes it."""
        while self._pieces and is_writable():
            audio = self._pieces.popleft()
            self._held_bytes -= len(audio)
            send(audio)

    @property
    def held_ms(self) -> float:
        """Audio kept."""
        return self._held_bytes / self._bytes_per_ms
