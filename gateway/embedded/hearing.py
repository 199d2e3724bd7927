"""The caller's side of a conversation: the input buffer, its clock, and the turns found in it.

Audio comes in any block size and wire format and is kept as int16 at 8 kHz. The clock is the number of samples
received. Where turns are found by voice, each 32 ms chunk is judged in order: closed gate at once, open gate by the ear
process, whose answers may come later; a chunk waits for the ones before it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ, LineDecoder, WireFormat
from gateway.embedded.vad import (
    CHUNK_MS,
    CHUNK_SAMPLES,
    SpeechGate,
    SpeechStarted,
    TurnDetector,
    TurnEvent,
    TurnOptions,
)

_SAMPLES_PER_MS = LINE_RATE_HZ // 1000
_LONGEST_BUFFER_MS = 300_000
_BYTES_PER_SAMPLE = 2
_PAUSE_KEPT_MS = 200
"""What of a pause within a turn the recogniser hears: it takes long ones for a sign that no phrase was meant."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Ask the ear for the probability of speech in `chunk` (`int16[256]`); answered with `InputHearing.measured`."""

    number: int
    chunk: bytes


@dataclass(slots=True)
class _Pending:
    number: int
    end_ms: int
    probability: float | None
    level: float


class InputHearing:
    """One connection's input buffer and turn detector."""

    def __init__(self, gate: SpeechGate) -> None:
        self._gate = gate
        self._decoder = LineDecoder(WireFormat.PCM)
        self._detector: TurnDetector | None = None
        self._buffer = bytearray()
        self._buffer_start = 0
        self._received = 0
        self._unjudged: NDArray[np.int16] = np.zeros(0, dtype=np.int16)
        self._pending: deque[_Pending] = deque()
        self._number = 0
        self._turn_start_ms = 0
        self._pauses: list[tuple[int, int]] = []

    @property
    def position_ms(self) -> int:
        """Audio received in this session."""
        return self._received // _SAMPLES_PER_MS

    @property
    def is_speaking(self) -> bool:
        """Whether a turn found by voice is running."""
        return self._detector is not None and self._detector.is_speaking

    @property
    def buffered_ms(self) -> float:
        """Audio that a commit would take: since the last commit, or of the turn that is running."""
        if self._detector is not None and not self._detector.is_speaking:
            return 0.0
        start = self._turn_start_ms * _SAMPLES_PER_MS if self.is_speaking else self._buffer_start
        return (self._received - start) / _SAMPLES_PER_MS

    def configure(self, wire_format: WireFormat, turns: TurnOptions | None) -> None:
        """Take over the session's input format and turn detection (None: the client says where turns end)."""
        if wire_format is not self._decoder.wire_format:
            self._decoder = LineDecoder(wire_format)
        if turns is None:
            self._detector = None
            self._pending.clear()
        elif self._detector is None:
            self._detector = TurnDetector(turns)
            self._detector.reset(self.position_ms)
            self._unjudged = self._unjudged[:0]
        else:
            self._detector.options = turns

    def append(self, audio: bytes) -> list[Listen]:
        """Add audio in the input format; returns what the ear must judge."""
        samples = self._decoder.decode(audio)
        self._received += len(samples)
        self._buffer += samples.tobytes()
        if self._detector is None:
            self._trim(self.position_ms - _LONGEST_BUFFER_MS)
            return []
        return self._cut_chunks(samples)

    def _cut_chunks(self, samples: NDArray[np.int16]) -> list[Listen]:
        unjudged = np.concatenate((self._unjudged, samples)) if len(self._unjudged) else samples
        wanted: list[Listen] = []
        for start in range(0, len(unjudged) - CHUNK_SAMPLES + 1, CHUNK_SAMPLES):
            chunk = unjudged[start : start + CHUNK_SAMPLES]
            end_ms = (self._received - len(unjudged) + start + CHUNK_SAMPLES) // _SAMPLES_PER_MS
            self._number += 1
            is_open = self._gate.is_open(chunk)
            if not is_open:
                self._pending.append(_Pending(self._number, end_ms, 0.0, 0.0))
            else:
                self._pending.append(_Pending(self._number, end_ms, None, _level(chunk)))
                wanted.append(Listen(self._number, chunk.tobytes()))
        self._unjudged = unjudged[len(unjudged) - len(unjudged) % CHUNK_SAMPLES :]
        return wanted

    def measured(self, number: int, probability: float) -> None:
        """The ear has judged a chunk."""
        for pending in self._pending:
            if pending.number == number:
                pending.probability = probability
                return

    def next_turn_event(self) -> TurnEvent | None:
        """Go on through the judged chunks to the next begin, pause or end of speech; None when they are used up.

        None, too, where the words must be known first (`end_after`).
        """
        while self._detector is not None and self._pending and not self._detector.awaits_words:
            head = self._pending[0]
            if head.probability is None:
                return None
            self._pending.popleft()
            paused_ms = self._detector.silence_ms
            event = self._detector.feed(head.end_ms, head.probability, head.level)
            if isinstance(event, SpeechStarted):
                self._turn_start_ms = event.audio_start_ms
                self._pauses.clear()
            elif paused_ms > _PAUSE_KEPT_MS and self._detector.is_speaking and not self._detector.silence_ms:
                self._pauses.append((head.end_ms - CHUNK_MS - paused_ms, head.end_ms - CHUNK_MS))
            if event is not None:
                return event
            if not self._detector.is_speaking:
                self._trim(head.end_ms - self._detector.options.prefix_padding_ms - _margin_ms(self._detector))
            else:
                self._trim(self.position_ms - _LONGEST_BUFFER_MS)
        return None

    def end_after(self, silence_ms: int) -> None:
        """The words before the pause are known: so much silence ends the turn."""
        if self._detector is not None:
            self._detector.end_after(silence_ms)

    def turn_so_far(self, end_ms: int) -> bytes:
        """What was said in the running turn up to `end_ms`, pauses shortened, `int16[n]` at 8 kHz; all of it stays."""
        parts: list[bytes] = []
        start_ms = self._turn_start_ms
        for pause_start_ms, pause_end_ms in self._pauses:
            parts.append(self._slice(start_ms, pause_start_ms + _PAUSE_KEPT_MS // 2))
            start_ms = pause_end_ms - _PAUSE_KEPT_MS // 2
        return b"".join((*parts, self._slice(start_ms, end_ms)))

    def take_turn(self, end_ms: int) -> bytes:
        """The audio of the turn that ended at `end_ms`, `int16[n]` at 8 kHz; what comes after it stays."""
        return self._take(self._turn_start_ms, end_ms)

    def commit(self) -> bytes:
        """Everything buffered (`buffered_ms`), `int16[n]` at 8 kHz."""
        start_ms = self._turn_start_ms if self.is_speaking else self._buffer_start // _SAMPLES_PER_MS
        taken = self._take(start_ms, self.position_ms)
        self._forget_turn()
        return taken

    def clear(self) -> None:
        """Throw the buffer and a running turn away."""
        self._take(0, self.position_ms)
        self._forget_turn()

    def _forget_turn(self) -> None:
        self._pending.clear()
        if self._detector is not None:
            self._detector.reset(self.position_ms)

    def _take(self, start_ms: int, end_ms: int) -> bytes:
        taken = self._slice(start_ms, end_ms)
        self._trim(end_ms)
        return taken

    def _slice(self, start_ms: int, end_ms: int) -> bytes:
        start = max(0, start_ms * _SAMPLES_PER_MS - self._buffer_start) * _BYTES_PER_SAMPLE
        end = max(0, end_ms * _SAMPLES_PER_MS - self._buffer_start) * _BYTES_PER_SAMPLE
        return bytes(self._buffer[start:end])

    def _trim(self, before_ms: int) -> None:
        surplus = before_ms * _SAMPLES_PER_MS - self._buffer_start
        if surplus > 0:
            del self._buffer[: surplus * _BYTES_PER_SAMPLE]
            self._buffer_start += surplus


def _level(chunk: NDArray[np.int16]) -> float:
    """Root mean square."""
    samples = chunk.astype(np.float32)
    return math.sqrt(float(samples @ samples) / len(samples))


def _margin_ms(detector: TurnDetector) -> int:
    """Chunks of an onset that is not yet sure belong to the turn it may become."""
    return detector.options.onset_chunks * CHUNK_SAMPLES // _SAMPLES_PER_MS
