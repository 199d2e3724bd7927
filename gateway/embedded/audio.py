"""Sample rates and wire formats of the embedded server.

Everything heard is turned into int16 at 8 kHz, the telephone's band, before any engine sees it; everything said leaves
in the format the session asked for. G.711 is the standard library's (audioop), resampling a polyphase windowed sinc.
"""

from __future__ import annotations

import audioop
from dataclasses import dataclass
from enum import Enum
from math import gcd

import numpy as np
from numpy.typing import NDArray

LINE_RATE_HZ = 8000
"""Rate of everything the engines hear."""

_ZERO_CROSSINGS = 16
_KAISER_BETA = 8.0
_PASSBAND = 0.92
_BLOCK_SAMPLES = 8192


class WireFormat(Enum):
    """Audio formats of the protocol: value is the session's `type`, with bytes per millisecond and sample rate."""

    PCM = "audio/pcm"
    PCMU = "audio/pcmu"
    PCMA = "audio/pcma"

    @property
    def sample_rate_hz(self) -> int:
        return 24000 if self is WireFormat.PCM else LINE_RATE_HZ

    @property
    def bytes_per_ms(self) -> int:
        return 48 if self is WireFormat.PCM else 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _FilterBank:
    """Polyphase taps `float32[up, taps]`: output n uses phase (n * down) % up and input ending at (n * down) // up."""

    up: int
    down: int
    taps: NDArray[np.float32]


def _design(source_hz: int, target_hz: int) -> _FilterBank:
    divisor = gcd(source_hz, target_hz)
    up, down = target_hz // divisor, source_hz // divisor
    stretch = max(1.0, source_hz / target_hz)
    per_phase = 2 * int(np.ceil(_ZERO_CROSSINGS * stretch))
    cutoff = _PASSBAND / stretch
    # Tap k of phase p weighs the input that lies (k + p/up) samples before the newest one; the centre is the delay.
    offset = np.arange(per_phase)[None, :] + np.arange(up)[:, None] / up - per_phase / 2
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (offset / (per_phase / 2)) ** 2, 0, None))) / np.i0(_KAISER_BETA)
    taps = cutoff * np.sinc(cutoff * offset) * window
    taps /= taps.sum(axis=1, keepdims=True)
    # Stored oldest input first, so that a window of the input is weighed without being turned round.
    return _FilterBank(up=up, down=down, taps=taps[:, ::-1].astype(np.float32))


_banks: dict[tuple[int, int], _FilterBank] = {}


class Resampler:
    """One direction of one stream between two fixed rates; keeps the history between blocks of any size."""

    def __init__(self, source_hz: int, target_hz: int) -> None:
        if (source_hz, target_hz) not in _banks:
            _banks[source_hz, target_hz] = _design(source_hz, target_hz)
        self._bank = _banks[source_hz, target_hz]
        self._width = self._bank.taps.shape[1]
        self._history = np.zeros(self._width - 1, dtype=np.float32)
        self._position = 0

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Turn `int16[n]` at the source rate into about n * target / source samples of `int16` at the target rate."""
        # In blocks: the windows of a long signal would take a hundred times its memory.
        starts = range(0, len(samples), _BLOCK_SAMPLES)
        blocks = [self._process_block(samples[start : start + _BLOCK_SAMPLES]) for start in starts]
        return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int16)

    def _process_block(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        up, down = self._bank.up, self._bank.down
        heard = np.concatenate((self._history, samples.astype(np.float32)))
        count = max(0, -(-(len(samples) * up - self._position) // down))
        positions = self._position + down * np.arange(count)
        self._position += down * count - len(samples) * up
        self._history = heard[len(heard) - (self._width - 1) :]
        if not count:
            return np.zeros(0, dtype=np.int16)
        windows = np.lib.stride_tricks.sliding_window_view(heard, self._width)[positions // up]
        filtered = np.einsum("nk,nk->n", windows, self._bank.taps[positions % up])
        rounded: NDArray[np.int16] = np.clip(np.rint(filtered), -32768, 32767).astype(np.int16)
        return rounded

    def flush(self) -> NDArray[np.int16]:
        """What the filter's delay still holds back at the end of a stream."""
        return self.process(np.zeros(self._width // 2, dtype=np.int16))


def resample(samples: NDArray[np.int16], source_hz: int, target_hz: int) -> NDArray[np.int16]:
    """Resample one whole signal without delay: `int16[n]` in, `int16[n * target / source]` out."""
    if source_hz == target_hz:
        return samples
    resampler = Resampler(source_hz, target_hz)
    delay = round(_delay_samples(source_hz, target_hz))
    whole = np.concatenate((resampler.process(samples), resampler.flush()))
    return whole[delay : delay + len(samples) * target_hz // source_hz]


def _delay_samples(source_hz: int, target_hz: int) -> float:
    taps: int = _banks[source_hz, target_hz].taps.shape[1]
    return taps / 2 * target_hz / source_hz


class LineDecoder:
    """Audio as a client appends it, turned into int16 at 8 kHz; keeps a torn sample until its other half comes."""

    def __init__(self, wire_format: WireFormat) -> None:
        self.wire_format = wire_format
        self._torn = b""
        self._resampler = Resampler(WireFormat.PCM.sample_rate_hz, LINE_RATE_HZ)

    def decode(self, audio: bytes) -> NDArray[np.int16]:
        """Decode any number of bytes of the wire format to `int16[n]` at 8 kHz."""
        if self.wire_format is WireFormat.PCMU:
            return np.frombuffer(audioop.ulaw2lin(audio, 2), dtype=np.int16)
        if self.wire_format is WireFormat.PCMA:
            return np.frombuffer(audioop.alaw2lin(audio, 2), dtype=np.int16)
        whole = self._torn + audio
        self._torn = whole[len(whole) & ~1 :]
        return self._resampler.process(np.frombuffer(whole[: len(whole) & ~1], dtype="<i2"))


def encode(samples: NDArray[np.int16], wire_format: WireFormat) -> bytes:
    """Encode `int16[n]`, already at the format's own rate, to its bytes on the wire."""
    linear = samples.astype("<i2").tobytes()
    if wire_format is WireFormat.PCMU:
        return audioop.lin2ulaw(linear, 2)
    if wire_format is WireFormat.PCMA:
        return audioop.lin2alaw(linear, 2)
    return linear
