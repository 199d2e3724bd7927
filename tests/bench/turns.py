"""How surely turns are found: begins, ends and cuts, clean and in noise, by gate, network and state machine.

    python -m tests.bench.turns [--prompts 120]

Voices of eSpeak say sentences with 1.3 s between them, from 250 to 3450 Hz, through mu-law, clean and with pink noise
20 and 10 dB below the speech. Where a sentence begins and ends is taken from the clean speech. A turn is missed that
has no begin of its own, cut where it ends before the sentence does, false where it begins while nobody speaks.
"""

from __future__ import annotations

import argparse
import audioop
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.silero import SpeechModel
from gateway.embedded.vad import (
    CHUNK_MS,
    CHUNK_SAMPLES,
    SpeechGate,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
    TurnOptions,
)
from gateway.simulate.bench_hearing import OFF_TOPIC, REQUESTS, VOICES
from tests.embedded.telephone import said

Samples = NDArray[np.int16]
Judge = Callable[[Samples], float]

SILENCE_MS = 250
PAUSE_MS = 1300
LINES = {"clean": None, "20 dB": 20.0, "10 dB": 10.0}
_AUDIBLE = 0.03
_FRAME_SAMPLES = 80
_SAMPLES_PER_MS = 8
_LATE_MS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of the sentences. Times in ms: onset after the first sound, end after the last."""

    prompts: int
    missed: int
    cuts: int
    false: int
    onsets_ms: tuple[float, ...]
    ends_ms: tuple[float, ...]

    def as_text(self, line: str) -> str:
        """A line of the table."""
        times = [float(np.percentile(ms, share)) for ms in (self.onsets_ms, self.ends_ms) for share in (50, 95)]
        counts = f"{self.missed:>4} of {self.prompts:<4}{self.cuts:>5}{self.false:>6}"
        return f"{line:<7}{counts}   {times[0]:>5.0f} /{times[1]:>4.0f}   {times[2]:>5.0f} /{times[3]:>4.0f}"


def prompts(count: int) -> Iterator[Samples]:
    """Sentences by one voice after another, `int16[n]` at 8 kHz, without silence around them."""
    sentences = (*REQUESTS, *OFF_TOPIC)
    for number in range(count):
        speech = said(sentences[number % len(sentences)], VOICES[number % len(VOICES)])
        frames = np.abs(speech[: len(speech) // _FRAME_SAMPLES * _FRAME_SAMPLES].astype(int)).reshape(
            -1, _FRAME_SAMPLES
        )
        (loud,) = np.nonzero(frames.max(axis=1) > _AUDIBLE * frames.max())
        yield speech[loud[0] * _FRAME_SAMPLES : (loud[-1] + 1) * _FRAME_SAMPLES]


def line_of(speech: list[Samples], snr_db: float | None) -> tuple[Samples, list[tuple[float, float]]]:
    """The sentences with pauses between them and noise under it all, and where each begins and ends in ms."""
    pause = np.zeros(PAUSE_MS * _SAMPLES_PER_MS)
    parts: list[NDArray[np.float64]] = [pause]
    spans = []
    position = len(pause)
    for sentence in speech:
        spans.append((position / _SAMPLES_PER_MS, (position + len(sentence)) / _SAMPLES_PER_MS))
        parts += [sentence.astype(np.float64) * (1500 / sentence.std()), pause]
        position += len(sentence) + len(pause)
    signal = np.concatenate(parts)
    if snr_db is not None:
        signal += pink(len(signal)) * 1500 * 10 ** (-snr_db / 20)
    linear = np.clip(signal, -32768, 32767).astype("<i2").tobytes()
    return np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(linear, 2), 2), "<i2").astype(np.int16), spans


def pink(count: int) -> NDArray[np.float64]:
    """Noise with the same power in each octave of 250 to 3450 Hz; root mean square 1."""
    spectrum = np.fft.rfft(np.random.default_rng(5).standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / 8000)
    spectrum *= np.where((hz >= 250) & (hz <= 3450), 1 / np.sqrt(np.maximum(hz, 1)), 0)
    noise = np.fft.irfft(spectrum, count)
    return noise / noise.std()


def network() -> Judge:
    """The detector of the embedded server, for one stream."""
    model = SpeechModel()
    return lambda chunk: model.probabilities({0: chunk})[0]


def turn_events(samples: Samples, judge: Judge) -> list[TurnEvent]:
    """What a session that hears `samples` says of its turns."""
    gate, detector = SpeechGate(), TurnDetector(TurnOptions(silence_duration_ms=SILENCE_MS, prefix_padding_ms=0))
    chunks = samples[: len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    found = []
    for number, chunk in enumerate(chunks, 1):
        is_open = gate.is_open(chunk)
        level = float(np.sqrt(np.mean(np.square(chunk, dtype=np.float64))))
        event = detector.feed(number * CHUNK_MS, judge(chunk) if is_open else 0.0, level)
        if event is not None:
            # The begin is told when the second chunk of speech has come, and dated back to the first.
            told_ms = number * CHUNK_MS
            found.append(SpeechStarted(told_ms) if isinstance(event, SpeechStarted) else event)
    return found


def measure(line: str, *, count: int, judge: Judge | None = None) -> Found:
    """So many sentences over one of `LINES`."""
    samples, spans = line_of(list(prompts(count)), LINES[line])
    events = turn_events(samples, judge or network())
    begins = [event.audio_start_ms for event in events if isinstance(event, SpeechStarted)]
    stops = [event.audio_end_ms for event in events if isinstance(event, SpeechStopped)]
    missed = cuts = 0
    onsets, ends = [], []
    for begin, end in spans:
        own = [ms for ms in begins if begin <= ms < end + _LATE_MS]
        over = [ms for ms in stops if begin < ms <= end + PAUSE_MS]
        missed += not own
        cuts += sum(ms < end for ms in over)
        onsets += [ms - begin for ms in own[:1]]
        ends += [ms - end for ms in over if ms >= end]
    strays = sum(not any(begin <= ms < end + _LATE_MS for begin, end in spans) for ms in begins)
    return Found(prompts=count, missed=missed, cuts=cuts, false=strays, onsets_ms=tuple(onsets), ends_ms=tuple(ends))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.turns")
    parser.add_argument("--prompts", type=int, default=120)
    count = parser.parse_args().prompts
    sys.stdout.write(f"{'line':<7}{'missed':>11}{'cuts':>6}{'false':>6}   onset med/p95   end med/p95, ms\n")
    for line in LINES:
        sys.stdout.write(measure(line, count=count).as_text(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
