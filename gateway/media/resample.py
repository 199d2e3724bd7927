"""Telephone rate to model rate and back: linear-phase polyphase filters for all calls in one matrix product.

A model speaks and hears at 24 or 16 kHz, a telephone at 8. Going up by R leaves images of the voice above 4 kHz, going
down folds whatever is above 4 kHz into the voice; the same low-pass filter stops both. It is designed at import by the
exchange algorithm of Parks and McClellan (1972), for the telephone band: flat to 3400 Hz, and stopped from 4600 Hz on,
which is where an image of 3400 Hz begins and what would fold onto 3400 Hz. What lies between folds above 3400 Hz.

Measured (tests/media/test_resample.py): ripple <= 0.05 dB in 300-3400 Hz, images and aliases >= 70 dB down,
1.46 ms of delay each way.

A dense matrix from a frame to a frame would be mostly zeros, so a frame of 160 telephone samples is cut into blocks of
16, each with the samples that its filter reaches, and the blocks of all rows are the rows of one product (im2col)::

    up     int16[rows, 23 + 160]    ->  float32[10 * rows, 39]              @ [39, 16 R]  ->  int16[rows, 160 R]
    down   int16[rows, reach + 160 R] -> float32[10 * rows, reach + 16 R]   @ [.., 16]    ->  int16[rows, 160]

Rows are worked on in sub-batches that stay in the cache. A row is independent of its neighbours: it brings the samples
before it along, so frames of one call that arrived together may share a batch with those of others.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from gateway.media.codec import SAMPLES_PER_MS, TELEPHONE_RATE_HZ, Indices, Samples

FRAME_SAMPLES: Final = 20 * SAMPLES_PER_MS
"""Telephone samples in the frame that every product works on: 20 ms."""

PASS_HZ: Final = 3400
STOP_HZ: Final = 4600
STOP_WEIGHT: Final = 14.0
"""How many times smaller than the ripple in the pass band the error in the stop band shall be."""
TAPS_PER_PHASE: Final = 24

BLOCK_SAMPLES: Final = 16
_BLOCKS: Final = FRAME_SAMPLES // BLOCK_SAMPLES
_SUB_BATCH_ROWS: Final = 200
_PRODUCT_ROWS: Final = 10  # small enough that OpenBLAS never wakes its threads, which would cost more than they bring

_Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def design_low_pass(taps: int, *, rate_hz: int, pass_hz: float, stop_hz: float, stop_weight: float) -> Float64:
    """Minimax linear-phase low-pass filter of an odd number of taps (type I), by Parks and McClellan's exchange.

    Returns:
        float64[taps], symmetric, gain 1 in the pass band.
    """
    order = (taps - 1) // 2
    step_hz = rate_hz / (48 * order)
    low = np.linspace(0, pass_hz, round(pass_hz / step_hz))
    high = np.linspace(stop_hz, rate_hz / 2, round((rate_hz / 2 - stop_hz) / step_hz))
    basis = np.cos(np.outer(2 * np.pi / rate_hz * np.concatenate([low, high]), np.arange(order + 1)))
    wanted = np.repeat([1.0, 0.0], [low.size, high.size])
    weight = np.repeat([1.0, stop_weight], [low.size, high.size])
    extrema = np.linspace(0, wanted.size - 1, order + 2).round().astype(np.int64)
    alternation = (-1.0) ** np.arange(order + 2)
    for _ in range(64):
        system = np.column_stack([basis[extrema], alternation / weight[extrema]])
        *cosines, level = np.linalg.solve(system, wanted[extrema])
        error = weight * (wanted - basis @ np.array(cosines))
        if np.abs(error).max() <= abs(level) * 1.0005:
            break
        extrema = _alternating_extrema(error, order + 2)
    half = np.array(cosines[1:]) / 2
    return np.concatenate([half[::-1], cosines[:1], half])


def _alternating_extrema(error: Float64, count: int) -> Indices:
    """Where `error` is greatest between its changes of sign; the smaller end gives way until `count` remain."""
    runs = np.split(np.arange(error.size), np.flatnonzero(np.diff(np.sign(error))) + 1)
    peaks = [int(run[np.abs(error[run]).argmax()]) for run in runs]
    while len(peaks) > count:
        peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
    return np.array(peaks)


@cache
def _taps(ratio: int) -> Float64:
    return design_low_pass(
        TAPS_PER_PHASE * ratio - 1,
        rate_hz=TELEPHONE_RATE_HZ * ratio,
        pass_hz=PASS_HZ,
        stop_hz=STOP_HZ,
        stop_weight=STOP_WEIGHT,
    )


class BlockProduct:
    """Rows of ``reach + frame`` samples to rows of another frame, by one matrix for every block of each row."""

    def __init__(self, matrix: Float64, *, hop: int) -> None:
        """`matrix`: float[window, block out]; `hop`: input samples from one block to the next."""
        window, block = matrix.shape
        self._matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        self._hop = hop
        self._window = window
        self._out_samples = block * _BLOCKS
        self.row_samples = window + hop * (_BLOCKS - 1)
        self._columns = np.empty((_SUB_BATCH_ROWS, _BLOCKS, window), np.float32)
        self._product = np.empty((_SUB_BATCH_ROWS, _BLOCKS, block), np.float32)

    def __call__(self, rows: Samples, out: Samples) -> Samples:
        """`rows`: int16[n, row_samples], contiguous; `out`: int16[n, frame], written and returned."""
        for first in range(0, len(rows), _SUB_BATCH_ROWS):
            part = rows[first : first + _SUB_BATCH_ROWS]
            count = len(part)
            stride, item = part.strides
            blocks = as_strided(part, (count, _BLOCKS, self._window), (stride, self._hop * item, item), writeable=False)
            columns = self._columns[:count]
            np.copyto(columns, blocks)
            product = self._product[:count]
            self._multiply(columns, product)
            np.rint(product, out=product)
            np.minimum(product, 32767, out=product)
            np.maximum(product, -32768, out=product)
            np.copyto(out[first : first + count].reshape(-1), product.reshape(-1), casting="unsafe")
        return out

    def _multiply(self, columns: _Float32, product: _Float32) -> None:
        """float32[n, 10, window] by the matrix, in stacks of equal products and a rest."""
        even = len(columns) // _PRODUCT_ROWS * _PRODUCT_ROWS
        for first, behind, height in ((0, even, _PRODUCT_ROWS), (even, len(columns), len(columns) - even)):
            if first < behind:
                stacked = columns[first:behind].reshape(-1, height * _BLOCKS, self._window)
                out = product[first:behind].reshape(-1, height * _BLOCKS, self._matrix.shape[1])
                np.matmul(stacked, self._matrix, out=out)


class UpSampler:
    """8 kHz to 8R kHz for a bank of calls, one row of state each, 20 ms at a time, 1.46 ms late."""

    def __init__(self, ratio: int, legs: int) -> None:
        self.ratio = ratio
        self._product = BlockProduct(_up_matrix(ratio), hop=BLOCK_SAMPLES)
        self._reach = TAPS_PER_PHASE - 1
        self._history = np.zeros((legs, self._reach), np.int16)
        self._rows = np.zeros((legs, self._product.row_samples), np.int16)
        self._out = np.zeros((legs, FRAME_SAMPLES * ratio), np.int16)

    def reset(self, leg: int) -> None:
        """Forget what the leg heard: the next frame follows silence."""
        self._history[leg] = 0

    def process(self, legs: Indices, frames: Samples) -> Samples:
        """The next frame of each of `legs`, which are distinct.

        Args:
            legs: int64[n], rows of state.
            frames: int16[n, 160] at 8 kHz.

        Returns:
            int16[n, 160 * ratio]; valid until the next call.
        """
        rows = self._rows[: len(legs)]
        rows[:, : self._reach] = self._history[legs]
        rows[:, self._reach :] = frames
        self._history[legs] = rows[:, -self._reach :]
        return self._product(rows, self._out[: len(legs)])


class DownSampler:
    """8R kHz to 8 kHz without state: every row brings the samples around it along.

    Telephone sample k of a stream is centred on model sample R k and reaches `lookahead` samples to both sides. A row
    for the telephone samples k .. k+159 is therefore the model samples R k - lookahead .. R (k+159) + lookahead.
    """

    def __init__(self, ratio: int) -> None:
        self.ratio = ratio
        self._product = BlockProduct(_down_matrix(ratio), hop=BLOCK_SAMPLES * ratio)
        self.lookahead = (TAPS_PER_PHASE * ratio - 2) // 2
        """Model samples that a telephone sample waits for: the delay of the filter."""
        self.row_samples = self._product.row_samples
        """Model samples that 20 ms are made of, with those around them."""
        self.frame_samples = FRAME_SAMPLES * ratio
        """Model samples from one row to the next."""

    def process(self, rows: Samples) -> Samples:
        """`rows`: int16[n, row_samples]. Returns int16[n, 160]."""
        return self._product(np.ascontiguousarray(rows), np.empty((len(rows), FRAME_SAMPLES), np.int16))


def _up_matrix(ratio: int) -> Float64:
    """float[39, 16 R]: telephone samples of a block and the 23 before it, to the block at the model's rate."""
    taps = _taps(ratio) * ratio
    matrix = np.zeros((BLOCK_SAMPLES + TAPS_PER_PHASE - 1, BLOCK_SAMPLES * ratio))
    for column in range(BLOCK_SAMPLES * ratio):
        newest, phase = divmod(column, ratio)
        polyphase = taps[phase::ratio]  # tap R j + phase meets the input j samples ago
        rows = newest + TAPS_PER_PHASE - 1 - np.arange(polyphase.size)
        matrix[rows, column] = polyphase
    return matrix


def _down_matrix(ratio: int) -> Float64:
    """float[reach + 16 R, 16]: model samples to a block of telephone samples; symmetric taps need no reversal."""
    taps = _taps(ratio)
    matrix = np.zeros((taps.size + ratio * (BLOCK_SAMPLES - 1), BLOCK_SAMPLES))
    for column in range(BLOCK_SAMPLES):
        matrix[column * ratio : column * ratio + taps.size, column] = taps
    return matrix
