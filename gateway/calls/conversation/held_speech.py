"""What a caller says while a protected prompt is heard: held without its long pauses, and given to the model after it.

::

    hear ──> last moments ──a voice──> held ──pause──> last moments …       while the model does not hear the caller
    next(audio) ──> a few held pieces for each new one, then the new one    once it does

So nobody has to say again what they said into a disclaimer, and silence costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from gateway.media.codec import AudioFormat
from gateway.media.narrowing import Narrowing
from gateway.media.voice_meter import VoiceMeter

HELD_MS: Final = 15_000
"""So much is held; beyond it the oldest goes."""
BEFORE_MS: Final = 300
"""What is held of the time before a voice: the meter needs some of it to know one."""
PAUSE_MS: Final = 1000
"""What is held of a pause: the model takes it for the end of a turn, as it was."""
CATCH_UP: Final = 8
"""Pieces given out for each new one."""


class HeldSpeech:
    """One caller's, in the session's input format."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._held = _Pieces(HELD_MS * audio_format.bytes_per_ms)
        self._clear()

    def _clear(self) -> None:
        self._last_moments = _Pieces(BEFORE_MS * self._format.bytes_per_ms)
        self._narrowing, self._meter = Narrowing(), VoiceMeter()

    def forget(self) -> None:
        """Nothing of it is of interest any more."""
        self._held.take(len(self._held))
        self._clear()

    def hear(self, audio: bytes) -> None:
        """What the caller says now, and the model does not hear."""
        self._meter.add(self._narrowing.add(audio, self._format))
        self._last_moments.add(audio)
        if self._meter.voiced_ms and self._meter.silent_ms <= PAUSE_MS:
            self._hold_last_moments()

    def next(self, audio: bytes) -> Sequence[bytes]:
        """What the model is to hear now that the caller says `audio`."""
        if not self._held and not self._last_moments:
            return (audio,)
        self._hold_last_moments()
        self._clear()
        self._held.add(audio)
        return self._held.take(CATCH_UP)

    def _hold_last_moments(self) -> None:
        for piece in self._last_moments.take(len(self._last_moments)):
            self._held.add(piece)


class _Pieces:
    """Audio in pieces, at most so many octets of it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pieces: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, piece: bytes) -> None:
        """One more; the oldest goes for it."""
        self._pieces.append(piece)
        self._bytes += len(piece)
        while self._bytes > self._limit_bytes:
            self._bytes -= len(self._pieces.popleft())

    def take(self, count: int) -> list[bytes]:
        """The oldest, at most so many."""
        taken = [self._pieces.popleft() for _ in range(min(count, len(self._pieces)))]
        self._bytes -= sum(map(len, taken))
        return taken
