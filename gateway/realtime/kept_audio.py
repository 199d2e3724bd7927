"""The caller's audio that the next session may need: what the lost one may not have heard, and what comes meanwhile.

::

    append ──> past (a few seconds, or the turn under way) ──seize(since)──> pending ──release──> the next session
    append while there is no session ───────────────────────────────────────────^

`pending` is given out faster than real time, a few pieces for each that comes, so that the link is never flooded and
the session catches up within a second or two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

TURN_S = 20.0
"""Of a turn under way so much is kept."""
CATCH_UP = 8
"""Pieces sent for each new one while the session catches up."""


class KeptAudio:
    """Audio of one call. `keep_s` is kept before a loss, and as much in the gap; beyond it the oldest goes."""

    def __init__(self, *, keep_s: float, bytes_per_ms: int) -> None:
        self._bytes_per_s = bytes_per_ms * 1000
        self._keep_bytes = int(keep_s * self._bytes_per_s)
        self._turn_bytes = int(max(TURN_S, keep_s) * self._bytes_per_s)
        self._past: deque[tuple[float, bytes]] = deque()
        self._past_bytes = 0
        self._pending: deque[bytes | None] = deque()  # None: the caller's turn was committed here
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
        self._past.append((now, audio))
        self._past_bytes += len(audio)
        limit = self._turn_bytes if is_turn else self._keep_bytes
        while self._past_bytes > limit:
            self._past_bytes -= len(self._past.popleft()[1])

    def seize(self, since: float, silence: tuple[float, float] | None = None) -> None:
        """The session is gone and has not heard what came after `since`; what had waited for it stays behind that.

        What came within `silence` is left out.
        """
        start, end = silence or (since, since)
        lost = [audio for at, audio in self._past if at > since and not start < at <= end]
        self._past.clear()
        self._past_bytes = 0
        self._pending.extendleft(reversed(lost))
        self._pending_bytes += sum(map(len, lost))
        self._pending_limit = self._pending_bytes + self._keep_bytes

    def hold(self, audio: bytes) -> float:
        """Keep `audio` while there is no session; how many milliseconds had to go for it."""
        self._pending.append(audio)
        self._pending_bytes += len(audio)
        dropped = 0
        while self._pending_bytes > self._pending_limit:
            oldest = self._pending.popleft()
            size = 0 if oldest is None else len(oldest)
            self._pending_bytes -= size
            dropped += size
        return dropped * 1000 / self._bytes_per_s

    def hold_commit(self) -> None:
        """The caller's turn ends here."""
        self._pending.append(None)

    def release(self, now: float, send: Callable[[bytes | None], None], *, is_turn: bool) -> None:
        """Give the session the next pieces of what waits; None stands for the end of a turn."""
        for _ in range(min(CATCH_UP, len(self._pending))):
            audio = self._pending.popleft()
            if audio is not None:
                self._pending_bytes -= len(audio)
                self.note(audio, now, is_turn=is_turn)
            send(audio)
