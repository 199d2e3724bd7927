"""What the dialplan itself says and hears, for the transcript: its texts as far as they were heard, a caller's words.

What a session says and hears is `gateway.calls.transcript`'s.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.calls.record import Speaker, Speech
from gateway.realtime.heard import heard_words


class PlanWords:
    """One call's. `now_ms` is the call's clock, `tell` gets each sentence when it is over."""

    def __init__(self, now_ms: Callable[[], int], tell: Callable[[Speech], None]) -> None:
        self._now_ms = now_ms
        self._tell = tell
        self._text = ""
        self._at_ms = 0
        self._audio_ms = 0.0
        self._is_complete = False

    def sounds(self, text: str, behind_ms: float, audio_ms: float) -> None:
        """More audio of `text` is queued, behind `behind_ms` of other audio."""
        if not self._text:
            self._text, self._at_ms = text, self._now_ms() + round(behind_ms)
            self._audio_ms, self._is_complete = 0.0, False
        self._audio_ms += audio_ms

    def complete(self) -> None:
        """All of the text's audio is queued."""
        self._is_complete = True

    def heard(self) -> None:
        """All that is queued has been heard."""
        if self._text and self._is_complete:
            text, self._text = self._text, ""
            self._tell(Speech(speaker=Speaker.AGENT, text=text, at_ms=self._at_ms))

    def cut(self) -> None:
        """The caller hears no more of the text; nothing where it was heard to its end."""
        if not self._text:
            return
        text, self._text = self._text, ""
        heard_ms = min(max(0, self._now_ms() - self._at_ms), round(self._audio_ms))
        known = heard_words(text, heard_ms, round(self._audio_ms), is_complete=self._is_complete)
        speech = Speech(speaker=Speaker.AGENT, text=text, at_ms=self._at_ms, heard_ms=heard_ms, heard_text=known)
        self._tell(speech)

    def caller_said(self, text: str) -> None:
        """The caller's words, to a menu that hears."""
        if text:
            self._tell(Speech(speaker=Speaker.CALLER, text=text, at_ms=self._now_ms()))
