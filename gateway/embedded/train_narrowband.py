"""Makes `narrowband.npy`, the regression from telephone features to the recogniser's own (`narrowband.py`).

Not used at run time. It needs a few minutes and two things that are not part of this repository:

- the `flite` program (CMU, BSD-like licence) with its voices kal16, awb, rms and slt; it speaks random words of the
  recogniser's dictionary. Debian: ``flite``.
- the speech that comes with PocketSphinx's tests (CMU, BSD-2-Clause): five sentences of a LibriVox reading (public
  domain), card names and short commands. Debian: ``pocketsphinx-testdata``.

    python -m gateway.embedded.train_narrowband --recordings /usr/share/pocketsphinx/test/data

Each utterance is heard twice: wideband as the model expects it, and over three telephone lines (band-pass, level,
noise, mu-law). The ridge regression predicts the first's cepstra from the second's features. Everything random is
seeded; the same programs and recordings give the same matrix.
"""

from __future__ import annotations

import argparse
import audioop
import re
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.embedded import narrowband
from gateway.embedded.audio import LINE_RATE_HZ, resample
from gateway.embedded.extras import import_engine

WIDEBAND_HZ = 16000
VOICES = ("rms", "slt", "awb", "kal16")
SENTENCES_PER_VOICE = 40
RIDGE = 1.0
SEED = 7

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A telephone line: pass band in Hz (None: as wide as 8 kHz allows) and noise below speech in dB (None: none)."""

    low_hz: float | None = None
    high_hz: float | None = None
    noise_db: float | None = None

    def carry(self, speech: Samples, generator: np.random.Generator) -> Samples:
        """`int16[n]` at 16 kHz as it arrives at 8 kHz."""
        signal = self._filtered(resample(speech, WIDEBAND_HZ, LINE_RATE_HZ).astype(np.float64))
        signal *= 10 ** generator.uniform(2.7, 3.6) / (signal.std() + 1e-9)
        if self.noise_db is not None:
            noise = np.cumsum(generator.standard_normal(len(signal))) * 0.02 + generator.standard_normal(len(signal))
            noise = self._filtered(noise)
            signal += noise * (signal.std() / noise.std() * 10 ** (-self.noise_db / 20))
        linear = np.clip(np.rint(signal), -32768, 32767).astype("<i2").tobytes()
        return np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(linear, 2), 2), dtype=np.int16)

    def _filtered(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.low_hz is None or self.high_hz is None:
            return signal
        size = len(signal) + 800
        hz = np.fft.rfftfreq(size, 1 / LINE_RATE_HZ)
        gain = 1 / (1 + np.exp(np.clip((self.low_hz - hz) / 15, -50, 50)))
        gain /= 1 + np.exp(np.clip((hz - self.high_hz) / 25, -50, 50))
        return np.asarray(np.fft.irfft(np.fft.rfft(signal, size) * gain, size)[: len(signal)])


LINES = (Line(low_hz=250, high_hz=3450), Line(noise_db=35), Line(low_hz=300, high_hz=3400, noise_db=25))


def read_speech(path: Path) -> Samples:
    """A WAV or headerless file, 16-bit mono at 16 kHz."""
    if path.suffix == ".raw":
        return np.fromfile(path, dtype="<i2")
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def random_sentences(words: list[str], count: int, generator: np.random.Generator) -> Iterator[str]:
    """`count` sequences of five to nine words."""
    for _ in range(count):
        yield " ".join(generator.choice(words, size=generator.integers(5, 10)))


def flite_speech(words: list[str], generator: np.random.Generator) -> Iterator[Samples]:
    """Every voice reads its own random words."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        for voice in VOICES:
            for sentence in random_sentences(words, SENTENCES_PER_VOICE, generator):
                subprocess.run(["flite", "-voice", voice, "-t", sentence, "-o", str(spoken)], check=True)  # noqa: S603, S607
                yield read_speech(spoken)


def recorded_speech(folder: Path) -> Iterator[Samples]:
    """The recordings of PocketSphinx's tests that are speech at 16 kHz."""
    for pattern in ("librivox/*.wav", "cards/*.wav", "goforward.raw", "numbers.raw", "something.raw"):
        yield from map(read_speech, sorted(folder.glob(pattern)))


def target(speech: Samples) -> NDArray[np.float64]:
    """What the recogniser's own front end would make of the wideband speech: `float[frames, 13]`."""
    power = narrowband.mel_power(narrowband.levelled(speech, WIDEBAND_HZ), WIDEBAND_HZ, narrowband.BANDS)
    bands = narrowband.log_power(narrowband.remove_noise(power))
    return np.asarray(bands @ narrowband.cosine_transform())


def fit(utterances: Iterator[Samples], generator: np.random.Generator) -> NDArray[np.float32]:
    """The ridge regression over all utterances and lines: `float32[137, 13]`."""
    gram: NDArray[np.float64] | float = 0.0
    moment: NDArray[np.float64] | float = 0.0
    pause = np.zeros(round(0.15 * WIDEBAND_HZ), dtype=np.int16)
    for utterance in utterances:
        speech = np.concatenate((pause, utterance, pause))
        wanted = target(speech)
        for line in LINES:
            given = narrowband.features(line.carry(speech, generator))
            frames = min(len(given), len(wanted))
            gram = gram + given[:frames].T @ given[:frames]
            moment = moment + given[:frames].T @ wanted[:frames]
    penalty = RIDGE * np.eye(len(np.atleast_2d(gram)))
    penalty[-1, -1] = 0  # the constant is free
    return np.linalg.solve(gram + penalty, np.asarray(moment)).astype(np.float32)


def main() -> int:
    """Train and write the matrix."""
    parser = argparse.ArgumentParser(prog="python -m gateway.embedded.train_narrowband")
    parser.add_argument("--recordings", type=Path, required=True, help="test data of PocketSphinx")
    parser.add_argument("--output", type=Path, default=narrowband.MATRIX)
    given = parser.parse_args()
    dictionary = Path(import_engine("pocketsphinx").get_model_path("en-us")) / "cmudict-en-us.dict"
    words = re.findall(r"^([a-z]+) ", dictionary.read_text(encoding="utf-8"), re.MULTILINE)
    generator = np.random.default_rng(SEED)
    utterances = [*flite_speech(words, generator), *recorded_speech(given.recordings)]
    np.save(given.output, fit(iter(utterances), generator))
    return 0


if __name__ == "__main__":
    sys.exit(main())
