"""Filters between the 16 kHz of G.722 and what models and prompts have: 24, 16 and 8 kHz, for all calls in one product.

A tick of the telephone clock (1/8000 s) is a whole number of samples of every rate: 3 at 24 kHz, 2 at 16, 1 at 8. So a
filter turns 160 ticks into 160 ticks, by the block product of `gateway.media.resample`, and everything that counts
telephone samples (positions, items, jitter) counts on in ticks.

16 <-> 24 kHz goes by way of 48 kHz with one low-pass filter for both directions: flat to 7000 Hz, where G.722 ends, and
stopped from 9000 Hz on, which is where an image of 7000 Hz begins and what would fold onto it. 8 <-> 16 kHz has the
filter of the telephone band.

Measured (tests/media/test_wideband_filters.py): ripple <= 0.05 dB in 50-7000 Hz, images and aliases >= 70 dB down,
1.1 ms of delay each way.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from gateway.media.codec import Indices, Samples
from gateway.media.resample import (
    BLOCK_SAMPLES,
    FRAME_SAMPLES,
    PASS_HZ,
    STOP_HZ,
    STOP_WEIGHT,
    TAPS_PER_PHASE,
    BlockProduct,
    Float64,
    design_low_pass,
)

WIDE_PASS_HZ: Final = 7000
WIDE_STOP_HZ: Final = 9000
WIDE_TAPS: Final = 87


@cache
def low_pass(rate_hz: int) -> Float64:
    """The prototype at the rate that both sides of a filter divide: 48000 or 16000 Hz."""
    if rate_hz == 48000:
        return design_low_pass(
            WIDE_TAPS, rate_hz=rate_hz, pass_hz=WIDE_PASS_HZ, stop_hz=WIDE_STOP_HZ, stop_weight=STOP_WEIGHT
        )
    return design_low_pass(
        TAPS_PER_PHASE * 2 - 1, rate_hz=rate_hz, pass_hz=PASS_HZ, stop_hz=STOP_HZ, stop_weight=STOP_WEIGHT
    )


class TickFilter:
    """From `ratio` samples a tick to `out_per_tick`, without state: every row brings the samples around it along.

    What is made at tick k of a stream is centred on its sample `ratio` k, and reaches `lookahead` samples both ways. A
    row for the ticks k .. k+159 is therefore the samples from `ratio` k - `lookahead` on, `row_samples` of them.
    """

    def __init__(self, ratio: int, out_per_tick: int) -> None:
        self.ratio = ratio
        self.out_per_tick = out_per_tick
        common = int(np.lcm(ratio, out_per_tick))
        step_in, step_out = common // ratio, common // out_per_tick
        taps = low_pass(8000 * common) * step_in if ratio != out_per_tick else np.ones(1)
        centre = taps.size // 2
        self.lookahead = (step_out * (out_per_tick - 1) + centre) // step_in
        """Samples that a tick waits for: the delay of the filter."""
        block_out = BLOCK_SAMPLES * out_per_tick
        newest = (step_out * (block_out - 1) + centre) // step_in
        window = step_in * (np.arange(self.lookahead + newest + 1) - self.lookahead)
        offset = step_out * np.arange(block_out)[None, :] - window[:, None]
        matrix = np.where(np.abs(offset) <= centre, taps[np.clip(offset + centre, 0, taps.size - 1)], 0.0)
        self._product = BlockProduct(matrix, hop=BLOCK_SAMPLES * ratio)
        self.row_samples = self._product.row_samples
        """Samples that 20 ms are made of, with those around them."""
        self.frame_samples = FRAME_SAMPLES * ratio
        """Samples from one row to the next."""

    def process(self, rows: Samples) -> Samples:
        """`rows`: int16[n, row_samples]. Returns int16[n, 160 * out_per_tick]."""
        out = np.empty((len(rows), FRAME_SAMPLES * self.out_per_tick), np.int16)
        return self._product(np.ascontiguousarray(rows), out)

    def convert(self, samples: Samples) -> Samples:
        """A whole piece, with silence before and behind: int16[ratio k] to int16[out_per_tick k]."""
        ticks = samples.size // self.ratio
        rows = -(-ticks // FRAME_SAMPLES)
        padded = np.zeros(rows * self.frame_samples + self.row_samples, np.int16)
        padded[self.lookahead : self.lookahead + samples.size] = samples
        starts = np.arange(rows)[:, None] * self.frame_samples
        made = self.process(padded[starts + np.arange(self.row_samples)])
        return made.reshape(-1)[: ticks * self.out_per_tick]


class StreamFilter:
    """A `TickFilter` for streams that come 20 ms at a time, one row of state each; late by its `lookahead`."""

    def __init__(self, ratio: int, out_per_tick: int, legs: int) -> None:
        self._filter = TickFilter(ratio, out_per_tick)
        self._history_samples = self._filter.row_samples - self._filter.frame_samples
        self._history = np.zeros((legs, self._history_samples), np.int16)

    def reset(self, leg: int) -> None:
        """Forget what the leg heard: the next frame follows silence."""
        self._history[leg] = 0

    def process(self, legs: Indices, frames: Samples) -> Samples:
        """The next frame of each of `legs`, distinct ones: int16[n, 160 * ratio] to int16[n, 160 * out_per_tick]."""
        rows = np.concatenate((self._history[legs], frames), axis=1)
        self._history[legs] = rows[:, -self._history_samples :]
        return self._filter.process(rows)
