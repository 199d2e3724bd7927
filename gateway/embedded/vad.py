"""Where a turn begins and ends: a cheap gate, a neural decider, and the state machine between them.

::

    int16[256] 8 kHz, 32 ms ─> SpeechGate (WebRTC, 4 us) ──closed──> probability 0
                                    └──open──> SpeechJudge, all sessions at once (`silero.py`) ──> probability
    probability, level ─> TurnDetector ─> SpeechStarted, SpeechPaused, SpeechStopped

The clock is the audio received, never the wall: a client that sends faster or slower than real time is judged alike.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ
from gateway.embedded.extras import import_engine

CHUNK_SAMPLES = 256
"""Samples at 8 kHz that are judged at once: 32 ms, the network's only frame size."""
CHUNK_MS = CHUNK_SAMPLES * 1000 // LINE_RATE_HZ

_GATE_FRAME_SAMPLES = 240
_GATE_MODE = 1
_GATE_HANGOVER_CHUNKS = 10
_HYSTERESIS = 0.15
_QUIET = 10 ** (-35 / 20)
"""Level, of a turn's loudest chunk, below which nobody speaks: the network itself takes three chunks to believe it."""

PAUSE_MS = 4 * CHUNK_MS
"""Silence in a turn from which it may be over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOptions:
    """When speech counts as begun and as ended."""

    threshold: float = 0.5
    """Probability, 0-1, from which a chunk is speech."""
    prefix_padding_ms: int = 300
    """Audio kept from before the first chunk of speech."""
    silence_duration_ms: int = 500
    """Silence that ends the turn."""
    words_count_from_ms: int | None = None
    """Silence that is not judged before the words are known that came before it (`TurnDetector.end_after`)."""
    onset_chunks: int = 2
    """Chunks of speech in a row that begin a turn: one alone may be a click on the line."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began; `audio_start_ms` counts received audio and includes the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The turn may be over; every `SpeechStopped` that took more than `PAUSE_MS` of silence has one before it."""

    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Speech ended; `audio_end_ms` counts received audio and includes the silence that proved it."""

    audio_end_ms: int


TurnEvent = SpeechStarted | SpeechPaused | SpeechStopped


class _State(enum.Enum):
    SILENCE = enum.auto()
    SPEECH = enum.auto()


class TurnDetector:
    """Turns probabilities into turns. One per connection."""

    def __init__(self, options: TurnOptions) -> None:
        self.options = options
        self._state = _State.SILENCE
        self._speech_chunks = 0
        self._silence_ms = 0
        self._end_silence_ms: int | None = None
        self._loudest = 0.0
        self._earliest_start_ms = 0

    @property
    def is_speaking(self) -> bool:
        """Whether a turn is running."""
        return self._state is _State.SPEECH

    @property
    def silence_ms(self) -> int:
        """Silence of a running turn since it was last heard to speak."""
        return self._silence_ms

    @property
    def awaits_words(self) -> bool:
        """Whether it depends on the words before the pause if the next chunk ends the turn."""
        counts_from_ms = self.options.words_count_from_ms
        if not self.is_speaking or counts_from_ms is None or self._end_silence_ms is not None:
            return False
        return self._silence_ms + CHUNK_MS >= max(counts_from_ms, PAUSE_MS + CHUNK_MS)

    def end_after(self, silence_ms: int) -> None:
        """The words are known: the pause that is now ends the turn when it is so long, if not sooner."""
        self._end_silence_ms = silence_ms

    def reset(self, position_ms: int) -> None:
        """Forget a turn that is running; the next one cannot start before `position_ms`."""
        self._state = _State.SILENCE
        self._speech_chunks = self._silence_ms = 0
        self._loudest = 0.0
        self._earliest_start_ms = position_ms

    def feed(self, end_ms: int, probability: float, level: float = 1.0) -> TurnEvent | None:
        """Judge the chunk that ends at `end_ms` of received audio; `level` is its root mean square in any unit."""
        if self._state is _State.SILENCE:
            return self._await_onset(end_ms, probability)
        self._loudest = max(self._loudest, level)
        return self._await_end(end_ms, probability if level >= _QUIET * self._loudest else 0.0)

    def _await_onset(self, end_ms: int, probability: float) -> SpeechStarted | None:
        self._speech_chunks = self._speech_chunks + 1 if probability >= self.options.threshold else 0
        if self._speech_chunks < self.options.onset_chunks:
            return None
        start_ms = end_ms - self._speech_chunks * CHUNK_MS - self.options.prefix_padding_ms
        self._state = _State.SPEECH
        self._silence_ms = 0
        return SpeechStarted(audio_start_ms=max(self._earliest_start_ms, start_ms))

    def _await_end(self, end_ms: int, probability: float) -> SpeechPaused | SpeechStopped | None:
        # Falling out of speech takes less certainty than falling in, or a weak syllable would cut the turn.
        is_speech = probability >= self.options.threshold - _HYSTERESIS
        self._silence_ms = 0 if is_speech else self._silence_ms + CHUNK_MS
        if self._silence_ms <= PAUSE_MS:
            self._end_silence_ms = None
        longest_ms = self.options.silence_duration_ms
        if self._silence_ms < min(longest_ms, self._end_silence_ms or longest_ms):
            return SpeechPaused(audio_end_ms=end_ms) if self._silence_ms == PAUSE_MS else None
        self.reset(end_ms)
        return SpeechStopped(audio_end_ms=end_ms)


class SpeechGate:
    """Says which chunks are worth the model's time: those within 320 ms of anything WebRTC's detector takes for speech.

    Raises:
        ResourceError: the `local` extra is not installed.
    """

    def __init__(self) -> None:
        self._detector = import_engine("webrtcvad").Vad(_GATE_MODE)
        self._open_chunks = 0

    def is_open(self, chunk: NDArray[np.int16]) -> bool:
        """Whether `int16[256]` at 8 kHz needs the model."""
        if self._detector.is_speech(chunk[:_GATE_FRAME_SAMPLES].tobytes(), LINE_RATE_HZ):
            self._open_chunks = _GATE_HANGOVER_CHUNKS
        else:
            self._open_chunks = max(0, self._open_chunks - 1)
        return self._open_chunks > 0
