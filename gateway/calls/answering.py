"""Who answered a call of ours: the place where a detector of answering machines is let in.

The gateway brings none along: a call is answered by `UNKNOWN` unless `CallManager.place` is given a detector.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class AnsweredBy(Enum):
    """What was at the other end when a call was answered."""

    HUMAN = "human"
    MACHINE = "machine"
    UNKNOWN = "unknown"


class AnswerDetector(Protocol):
    """Listens to one call from its answer on. Must not block, and must not raise."""

    def hear(self, audio: bytes) -> AnsweredBy | None:
        """The next 20 ms of the callee, in the session's input format; a verdict ends the listening."""
