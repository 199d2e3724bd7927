"""How keys go to and fro on one line: what a trunk wants, and the same key told in two ways at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

COPY_S: Final = 1.0
"""How long after a key its copy may come in the other way."""
MAX_UNCOPIED: Final = 64
"""Keys that are remembered for that, however fast they come."""


class DtmfMode(Enum):
    """How our keys are sent to a trunk. Events and INFO of the peer are taken in every mode."""

    AUTO = "auto"
    """RTP events where the peer takes them, else tones; tones of such a peer are keys"""
    RFC4733 = "rfc4733"
    """RTP events or not at all"""
    INBAND = "inband"
    """tones, both ways: no events are offered or agreed to"""
    INFO = "info"
    """SIP INFO"""

    @property
    def takes_events(self) -> bool:
        """Whether RTP events are offered and agreed to."""
        return self is not DtmfMode.INBAND

    @property
    def takes_tones(self) -> bool:
        """Whether keys are tones, both ways, where no events were agreed on."""
        return self in (DtmfMode.AUTO, DtmfMode.INBAND)


@dataclass(frozen=True, slots=True)
class _Told:
    digit: str
    at_s: float
    is_signalled: bool


class PressedKeys:
    """The keys of one peer, some of whom send each as RTP event and as INFO. Each counts once."""

    def __init__(self) -> None:
        self._uncopied: deque[_Told] = deque(maxlen=MAX_UNCOPIED)

    def is_copy(self, digit: str, duration_ms: int, *, is_signalled: bool, now: float) -> bool:
        """Whether a key that ended `now` was told already in the other way; `is_signalled`: it came by INFO.

        INFO comes when the key is pressed or when it is let go, RTP tells it when it was let go.
        """
        pressed_s = now - duration_ms / 1000
        while self._uncopied and self._uncopied[0].at_s < pressed_s - COPY_S:
            self._uncopied.popleft()
        for told in self._uncopied:
            if told.digit == digit and told.is_signalled is not is_signalled:
                self._uncopied.remove(told)
                return True
        self._uncopied.append(_Told(digit, now, is_signalled))
        return False
