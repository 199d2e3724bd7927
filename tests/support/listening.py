"""Ears for tests: which tone is in a recording, which of several sentences, at what speed and how faithful.

Pure numpy on `int16[n]` arrays. A test speaks by content alone here: "the caller heard this sentence", never by bytes,
so that codecs, resampling, jitter buffers and other people's phones may lie in between.

- `tone_seconds`: Goertzel's filter per 20 ms block against the block's whole energy.
- `identify`: the candidate sentences' 12-band log-spectra slid along the recording; the best correlated one wins. Only
  the order of the scores means something (a wrong sentence may reach 0.87), so there is no threshold to tune.
- `heard_keys`: the highest peaks of the spectrum below and above 1075 Hz, every 5 ms, and whether little else is there.
- `align`: where the sent audio lies in the received one, separately for pieces along its length. Their distances give
  the speed to a fraction of a percent, the correlation of the pieces says that pitch and waveform are kept.
"""

from __future__ import annotations

import itertools
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.simulate.listening import identify, log_spectrum, sentence_scores, window_sums

__all__ = ["identify", "log_spectrum", "sentence_scores"]

Samples = NDArray[np.int16]

RATE_HZ = 8000
BLOCK_S = 0.02


# ---- files ---------------------------------------------------------------------------------------------------------
def read_wav(path: Path) -> tuple[Samples, int]:
    """The first channel of a 16-bit PCM WAV, and its rate in Hz.

    A recorder that was ended in mid call leaves the length fields unset: the data then runs to the end of the file.
    """
    content = path.read_bytes()
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError(f"{path} is no WAV file")
    position, channels, rate_hz = 12, 1, RATE_HZ
    while position + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"fmt ":
            _, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", content, position)
            if bits != 16:
                raise ValueError(f"{path} has {bits} bits a sample, not 16")
        if name == b"data":
            data = content[position : position + length] if length > 0 else content[position:]
            samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], dtype="<i2")
            return samples[::channels].astype(np.int16), rate_hz
        position += length + (length & 1)
    return np.zeros(0, np.int16), rate_hz


def write_wav(path: Path, samples: Samples, rate_hz: int = RATE_HZ) -> Path:
    """Write `samples` as a mono WAV; returns `path`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


# ---- making --------------------------------------------------------------------------------------------------------
def tone(frequency_hz: float, duration_s: float, *, level_dbov: float = -18.0, rate_hz: int = RATE_HZ) -> Samples:
    """A sine of `duration_s`; 0 dBov is a full-scale square wave's power (ITU-T G.100.1)."""
    amplitude = 32767 * np.sqrt(2) * 10 ** (level_dbov / 20)
    phase = 2 * np.pi * frequency_hz * np.arange(round(duration_s * rate_hz)) / rate_hz
    return np.clip(np.rint(amplitude * np.sin(phase)), -32768, 32767).astype(np.int16)


def silence(duration_s: float, *, rate_hz: int = RATE_HZ) -> Samples:
    return np.zeros(round(duration_s * rate_hz), np.int16)


def resampled(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """The whole recording at another rate, by its spectrum: sharp and without delay. Nothing of ours is in it."""
    length = round(len(samples) * to_hz / from_hz)
    spectrum = np.fft.rfft(samples.astype(np.float64))[: length // 2 + 1]
    spectrum = np.pad(spectrum, (0, length // 2 + 1 - len(spectrum)))
    return np.clip(np.rint(np.fft.irfft(spectrum, length) * to_hz / from_hz), -32768, 32767).astype(np.int16)


# ---- hearing -------------------------------------------------------------------------------------------------------
def level_dbov(samples: Samples) -> float:
    """Power of the whole recording; -100 for digital silence."""
    power = float(np.mean((samples.astype(np.float64) / 32768) ** 2)) if len(samples) else 0.0
    return 10 * np.log10(power) if power > 1e-10 else -100.0


def tone_seconds(samples: Samples, frequency_hz: float, *, rate_hz: int = RATE_HZ) -> float:
    """How long a tone of `frequency_hz` rules the recording: at least two thirds of a 20 ms block's energy."""
    size = round(BLOCK_S * rate_hz)
    blocks = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    if not len(blocks):
        return 0.0
    wheel = np.exp(-2j * np.pi * frequency_hz * np.arange(size) / rate_hz)
    in_tone = np.abs(blocks @ wheel) ** 2 * 2 / size
    energy = np.sum(blocks**2, axis=1)
    audible = energy / size > 100.0**2
    return float(np.count_nonzero(audible & (in_tone > energy * 2 / 3)) * BLOCK_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardKey:
    """A pair of tones of ITU-T Q.23. Levels are of sines, 0 dBov as in `tone`."""

    key: str
    start_s: float
    duration_s: float
    row_hz: float
    column_hz: float
    row_dbov: float
    column_dbov: float


KEY_ROWS_HZ = np.array([697, 770, 852, 941])
KEY_COLUMNS_HZ = np.array([1209, 1336, 1477, 1633])
KEYPAD = "123A456B789C*0#D"


def heard_keys(samples: Samples, *, rate_hz: int = RATE_HZ) -> list[HeardKey]:
    """The keys in a recording, each of 25 ms at least, by the peaks of its spectrum."""
    size, hop = round(BLOCK_S * rate_hz), round(0.005 * rate_hz)
    if len(samples) < size:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[::hop]
    peaks = [_key_peaks(window, rate_hz) for window in windows]
    heard = []
    for key, places in itertools.groupby(range(len(peaks)), lambda place: peaks[place] and peaks[place][0]):
        run = list(places)
        if key is None or len(run) < 5:
            continue
        row_hz, column_hz, row, column = np.median([peaks[place][1:] for place in run], axis=0)
        heard.append(
            HeardKey(
                key=key,
                start_s=(run[0] * hop + size / 2) / rate_hz,
                duration_s=len(run) * hop / rate_hz,
                row_hz=float(row_hz),
                column_hz=float(column_hz),
                row_dbov=_sine_dbov(row),
                column_dbov=_sine_dbov(column),
            )
        )
    return heard


def _sine_dbov(amplitude: float) -> float:
    return float(20 * np.log10(amplitude / 32767 / np.sqrt(2)))


def _key_peaks(window: NDArray[np.float64], rate_hz: int) -> tuple[str, float, float, float, float] | None:
    """Key, frequencies and amplitudes where two peaks near a key's tones hold two thirds of the energy."""
    weight = np.blackman(len(window))
    spectrum = np.abs(np.fft.rfft(window * weight, 4096)) / weight.sum() * 2
    frequencies = np.fft.rfftfreq(4096, 1 / rate_hz)
    low = int(np.argmax(np.where(frequencies < 1075, spectrum, 0)))
    high = int(np.argmax(np.where(frequencies >= 1075, spectrum, 0)))
    row_hz, column_hz = float(frequencies[low]), float(frequencies[high])
    row, column = int(np.argmin(abs(KEY_ROWS_HZ - row_hz))), int(np.argmin(abs(KEY_COLUMNS_HZ - column_hz)))
    is_near = abs(row_hz / KEY_ROWS_HZ[row] - 1) < 0.02 and abs(column_hz / KEY_COLUMNS_HZ[column] - 1) < 0.02
    in_peaks = (spectrum[low] ** 2 + spectrum[high] ** 2) / 2
    energy = float((window**2 * weight**2).sum() / (weight**2).sum())
    if not is_near or energy < 30**2 or in_peaks < energy * 2 / 3:
        return None
    return KEYPAD[row * 4 + column], row_hz, column_hz, float(spectrum[low]), float(spectrum[high])


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Where sent audio was found in received audio.

    `offset_s`: the sent audio's start in the received one. `speed`: 1.0 when it plays as fast as it was sent, above
    when faster; means something only where `correlation` is high. `correlation`: the least of its pieces, 1.0 for the
    same waveform. `jitter_s`: how far a piece lies off the straight line of the others: a gap or a repetition inside
    shows here.
    """

    offset_s: float
    speed: float
    correlation: float
    jitter_s: float


def align(sent: Samples, received: Samples, *, rate_hz: int = RATE_HZ, pieces: int = 6) -> Alignment:
    """Find `sent` in `received` (same rate), piece by piece, each 0.5 s of it where it is loudest."""
    length = rate_hz // 2
    part = len(sent) // pieces
    if part < length or len(received) < length:
        raise ValueError(f"align needs {pieces * length} sent and {length} received samples")
    starts = [_loudest(sent[i * part : (i + 1) * part], length) + i * part for i in range(pieces)]
    found = [_locate(sent[start : start + length], received) for start in starts]
    places = np.array([place for place, _ in found], dtype=np.float64)
    slope, intercept = np.polyfit(starts, places, 1)
    off_line = float(np.abs(places - (slope * np.array(starts) + intercept)).max())
    return Alignment(
        offset_s=float(intercept) / rate_hz,
        speed=float(1 / slope) if slope > 0 else 0.0,
        correlation=min(correlation for _, correlation in found),
        jitter_s=off_line / rate_hz,
    )


def _loudest(samples: Samples, length: int) -> int:
    return int(np.argmax(window_sums(samples.astype(np.float64) ** 2, length)))


def _locate(piece: Samples, received: Samples) -> tuple[int, float]:
    """Where `piece` lies in `received`, and how well it fits there (correlation, -1 to 1)."""
    wanted = piece.astype(np.float64) - piece.mean()
    heard = received.astype(np.float64)
    size = 1 << (len(heard) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    covariance = product[: len(heard) - len(wanted) + 1]
    total, squares = window_sums(heard, len(wanted)), window_sums(heard**2, len(wanted))
    spread = np.sqrt(np.maximum(squares - total**2 / len(wanted), 1.0)) * np.sqrt((wanted**2).sum() + 1e-9)
    best = int(np.argmax(covariance / spread))
    return best, float((covariance / spread)[best])
