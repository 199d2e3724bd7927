"""The caller's audio that the next session may need: what the lost one may not have heard, and what comes meanwhile.

::

    append ──> past (a few seconds, or the turn under way) ──seize(since)──> pending ──release──> the next session
    append while there is no session ───────────────────────────────────────────^

`pending` is given out faster than real time, a few pieces for each that comes, so that the link is never flooded and
the session catches up within a second or two. All of it is packed (`packed_audio`): there is some of it in every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gateway.media.codec import AudioFormat
from gateway.realtime.recovery.packed_audio import AudioPacker

TURN_S = 20.0
"""Of a turn under way so much is kept."""
CATCH_UP = 8
"""Pieces sent for each new one while the session catches up."""


class _Piece(NamedTuple):
    at: float
    size: int
    packed: bytes


class KeptAudio:
    """Audio of one call. `keep_s` is kept before a loss, and as much in the gap; beyond it the oldest goes."""

    def __init__(self, *, keep_s: float, form: AudioFormat) -> None:
        self._packer = AudioPacker(form)
        self._bytes_per_s = form.bytes_per_ms * 1000
        self._keep_bytes = int(keep_s * self._bytes_per_s)
        self._turn_bytes = int(max(TURN_S, keep_s) * self._bytes_per_s)
        self._past: deque[_Piece] = deque()
        self._past_bytes = 0
        self._pending: deque[_Piece | None] = deque()  # None: the caller's turn was committed here
        self._pending_bytes = 0
        self._pending_limit = self._keep_bytes

    @property
    def pending_ms(self) -> float:
        """Audio that waits for the session."""
        return self._pending_bytes * 1000 / self._bytes_per_s

    @property
    def is_behind(self) -> bool:
        """Something waits for the session."""
        return bool(self._pending)

    def note(self, audio: bytes, now: float, *, is_turn: bool) -> None:
        """`audio` was given to the session at `now`; within a turn of the caller more is remembered."""
        self._note(_Piece(now, len(audio), self._packer.pack(audio)), is_turn=is_turn)

    def _note(self, piece: _Piece, *, is_turn: bool) -> None:
        self._past.append(piece)
        self._past_bytes += piece.size
        limit = self._turn_bytes if is_turn else self._keep_bytes
        while self._past_bytes > limit:
            self._past_bytes -= self._past.popleft().size

    def seize(self, since: float, silence: tuple[float, float] | None = None) -> None:
        """The session is gone and has not heard what came after `since`; what had waited for it stays behind that.

        What came within `silence` is left out.
        """
        start, end = silence or (since, since)
        lost = [piece for piece in self._past if piece.at > since and not start < piece.at <= end]
        self._past.clear()
        self._past_bytes = 0
        self._pending.extendleft(reversed(lost))
        self._pending_bytes += sum(piece.size for piece in lost)
        self._pending_limit = self._pending_bytes + self._keep_bytes

    def hold(self, audio: bytes) -> float:
        """Keep `audio` while there is no session; how many milliseconds had to go for it."""
        self._pending.append(_Piece(0.0, len(audio), self._packer.pack(audio)))
        self._pending_bytes += len(audio)
        dropped = 0
        while self._pending_bytes > self._pending_limit:
            oldest = self._pending.popleft()
            size = 0 if oldest is None else oldest.size
            self._pending_bytes -= size
            dropped += size
        return dropped * 1000 / self._bytes_per_s

    def hold_commit(self) -> None:
        """The caller's turn ends here."""
        self._pending.append(None)

    def release(self, now: float, send: Callable[[bytes | None], None], *, is_turn: bool) -> None:
        """Give the session the next pieces of what waits; None stands for the end of a turn."""
        for _ in range(min(CATCH_UP, len(self._pending))):
            piece = self._pending.popleft()
            if piece is None:
                send(None)
                continue
            self._pending_bytes -= piece.size
            self._note(piece._replace(at=now), is_turn=is_turn)
            send(self._packer.unpack(piece.packed, piece.size))
