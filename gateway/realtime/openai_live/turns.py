"""Turns, found in a conversation that has none.

A provider that is full duplex sends sound and silence at the pace at which they are heard, and words without saying
where a turn begins or ends. The rest of the gateway thinks in turns: a sentence must end before the caller is put
through, and a transcript has lines. So turns are made here, of what can be heard and of what is written down::

    sound or words ──> begins ──> goes on ──(0.8 s of the stream with neither)──> ends

Time is the provider's stream: a second of it is a second, silence included. A stream that stalls in mid-sentence ends
no turn, therefore; `ModelTurns.finish` does where it has stopped for good.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.loudness import FRAME_MS, sounding_parts
from gateway.realtime.session import (
    AudioDelta,
    AudioFinished,
    InputTranscript,
    OutputTranscript,
    ResponseFinished,
    ResponseStarted,
    ResponseStatus,
    SessionEvent,
    SpeechStarted,
    SpeechStopped,
)

GAP_MS: Final = 800
"""A longer pause is between two turns, a shorter one between two sentences."""
LEAD_MS: Final = 80
"""Silence put before the first sound of a turn: a soft beginning is in it, and what the network's jitter takes."""


@dataclass(slots=True)
class _Turn:
    name: str
    text: str = ""
    has_audio: bool = False
    quiet_ms: float = 0.0
    """of the stream since the last sound or word"""
    end_ms: int | None = None
    """of the last word, on the provider's time line"""

    def is_over_at(self, start_ms: int | None) -> bool:
        """Whether words that begin at `start_ms` come after a pause that ends a turn."""
        return self.end_ms is not None and start_ms is not None and start_ms - self.end_ms > GAP_MS

    def add(self, text: str, end_ms: int | None) -> None:
        self.text += text
        self.quiet_ms = 0.0
        if end_ms is not None:
            self.end_ms = max(end_ms, self.end_ms or 0)


class ModelTurns:
    """What the model says. `name` is put before the number of each turn, so that no two sessions share one."""

    def __init__(self, form: AudioFormat) -> None:
        self.name = ""
        self._form = form
        self._count = 0
        self._turn: _Turn | None = None
        self._lead: deque[bytes] = deque(maxlen=LEAD_MS // FRAME_MS)
        self._events: list[SessionEvent] = []

    @property
    def is_speaking(self) -> bool:
        """Whether a turn is under way."""
        return self._turn is not None

    def hear(self, audio: bytes) -> list[SessionEvent]:
        """The next audio of the stream, whole samples."""
        for has_sound, part in sounding_parts(audio, self._form):
            if has_sound:
                self._sound(part)
            else:
                self._silence(part)
        return self._told()

    def read(self, text: str, start_ms: int | None, end_ms: int | None) -> list[SessionEvent]:
        """The next words, and where they lie on the provider's time line."""
        if not text:
            return []
        if self._turn is not None and self._turn.is_over_at(start_ms):
            self._finish(self._turn, ResponseStatus.COMPLETED)
        turn = self._turn or self._begin()
        turn.add(text, end_ms)
        self._events.append(_words(turn, text, is_final=False))
        return self._told()

    def finish(self, status: ResponseStatus) -> list[SessionEvent]:
        """End the turn under way, if one is."""
        if self._turn is not None:
            self._finish(self._turn, status)
        return self._told()

    def _sound(self, part: bytes) -> None:
        turn = self._turn or self._begin()
        if not turn.has_audio:
            turn.has_audio = True
            if self._lead:
                self._play(turn, b"".join(self._lead), is_silence=True)
        self._lead.clear()
        turn.quiet_ms = 0.0
        self._play(turn, part, is_silence=False)

    def _silence(self, part: bytes) -> None:
        turn = self._turn
        if turn is not None:
            turn.quiet_ms += len(part) / self._form.bytes_per_ms
            if turn.quiet_ms >= GAP_MS:
                self._finish(turn, ResponseStatus.COMPLETED)
            elif turn.has_audio:
                self._play(turn, part, is_silence=True)
                return
        size = FRAME_MS * self._form.bytes_per_ms
        first = max(len(part) - LEAD_MS * self._form.bytes_per_ms, 0)
        self._lead.extend(part[start : start + size] for start in range(first, len(part), size))

    def _begin(self) -> _Turn:
        self._count += 1
        turn = self._turn = _Turn(f"{self.name}.out{self._count}")
        self._events.append(ResponseStarted(response_id=turn.name))
        return turn

    def _play(self, turn: _Turn, audio: bytes, *, is_silence: bool) -> None:
        self._events.append(
            AudioDelta(response_id=turn.name, item_id=turn.name, content_index=0, audio=audio, is_silence=is_silence)
        )

    def _finish(self, turn: _Turn, status: ResponseStatus) -> None:
        self._turn = None
        if turn.has_audio:
            self._events.append(AudioFinished(response_id=turn.name, item_id=turn.name, content_index=0))
        if turn.text:
            self._events.append(_words(turn, turn.text.strip(), is_final=True))
        self._events.append(ResponseFinished(response_id=turn.name, status=status))

    def _told(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events


class CallerTurns:
    """What the caller says, by what the provider writes down. Without `has_words` the turns alone are told."""

    def __init__(self, *, has_words: bool) -> None:
        self.name = ""
        self._has_words = has_words
        self._count = 0
        self._turn: _Turn | None = None
        self._events: list[SessionEvent] = []

    def read(self, text: str, start_ms: int | None, end_ms: int | None) -> list[SessionEvent]:
        """The next words, and where they lie on the provider's time line."""
        if not text:
            return []
        if self._turn is not None and self._turn.is_over_at(start_ms):
            self._finish(self._turn)
        turn = self._turn or self._begin(start_ms or 0)
        turn.add(text, end_ms)
        if self._has_words:
            self._events.append(InputTranscript(item_id=turn.name, text=text, is_final=False))
        return self._told()

    def pass_time(self, ms: float) -> list[SessionEvent]:
        """So much of the stream has gone by."""
        turn = self._turn
        if turn is not None:
            turn.quiet_ms += ms
            if turn.quiet_ms >= GAP_MS:
                self._finish(turn)
        return self._told()

    def finish(self) -> list[SessionEvent]:
        """End the turn under way, if one is."""
        if self._turn is not None:
            self._finish(self._turn)
        return self._told()

    def _begin(self, start_ms: int) -> _Turn:
        self._count += 1
        turn = self._turn = _Turn(f"{self.name}.in{self._count}")
        self._events.append(SpeechStarted(item_id=turn.name, audio_start_ms=start_ms))
        return turn

    def _finish(self, turn: _Turn) -> None:
        self._turn = None
        if self._has_words:
            self._events.append(InputTranscript(item_id=turn.name, text=turn.text.strip(), is_final=True))
        self._events.append(SpeechStopped(item_id=turn.name, audio_end_ms=turn.end_ms or 0))

    def _told(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events


def _words(turn: _Turn, text: str, *, is_final: bool) -> OutputTranscript:
    return OutputTranscript(response_id=turn.name, item_id=turn.name, content_index=0, text=text, is_final=is_final)
