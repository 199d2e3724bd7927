"""Keys as pairs of tones in the audio (ITU-T Q.23), for legs whose peer sends no events: heard here, limits of Q.24.

::

    hear   codes uint16[n, 160] ─ those listened to ─> int16[k, 160] ─> windows of 20 ms, one every 5 ms
           float32[k, 4, 160] ─ @ bank[160, 16] ─> power of the eight frequencies, float32[k, 4, 8]
           ─> which key rules each window, int64[k, 4]; nearly always none
    a leg with a key keeps its audio until 20 ms are without the key, then `_measure` decides

One matrix product serves all legs; only one whose windows consist of a row's and a column's tone costs more. Its audio
is then measured as a whole: how long the pair lasted (at -6 dB), its frequencies (by the advance of the phases from
window to window), levels, second harmonics, and what else is there. Speech that looks like a key for a moment is not
as pure, not as steady, or has overtones.

A key is told when it has ended, like one that comes as events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from gateway.media import codec
from gateway.media.codec import SAMPLES_PER_MS, TELEPHONE_RATE_HZ, Codes, Indices, Mask
from gateway.media.dtmf import DigitReceived

ROWS_HZ: Final = (697.0, 770.0, 852.0, 941.0)
COLUMNS_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
KEYPAD: Final = "123A456B789C*0#D"
"""Keys by row and column."""
AMPLITUDE_0_DBM0: Final = 22_650.0
"""Peak of a sine of 0 dBm0: 3.17 dB below the loudest that mu-law can carry (ITU-T G.711)."""

_Signal = npt.NDArray[np.float64]

_FRAME: Final = 20 * SAMPLES_PER_MS
_WINDOW: Final = 20 * SAMPLES_PER_MS
_HOP: Final = 5 * SAMPLES_PER_MS
_HOP_MS: Final = 5
_NONE: Final = -1
_LOST: Final = -2

_LEAST_SHARE: Final = 0.5  # of a window's energy in its two strongest tones; both may lie 1.5 % beside the bank's
_LEAST_WINDOWS: Final = 6  # 30 ms, between the 23 that Q.24 rejects and the 40 that it accepts
_PAUSE_WINDOWS: Final = 4  # 20 ms, between the 10 of an interruption and the 40 of a pause
_BRIDGED_FRAMES: Final = 3  # lost or late ones that end no key
_KEPT_FRAMES: Final = 25  # of a key that is held

_LARGEST_DEVIATION: Final = 0.025  # between the 1.5 % that Q.24 accepts and the 3.5 % that it rejects
_LARGEST_WAVER_HZ: Final = 12.0  # of a tone's frequency from one window to the next; beyond, it has broken off
_LEAST_LEVEL: Final = AMPLITUDE_0_DBM0 * 10 ** (-31 / 20)  # of either tone; 6 dB below what must be accepted
_LARGEST_TWIST_DB: Final = 6.0  # column above row; Q.24 asks for 4
_LEAST_TWIST_DB: Final = -10.0  # column below row; Q.24 asks for 8
_LEAST_PURITY: Final = 0.88  # share of the two tones in all the energy
_LARGEST_HARMONIC: Final = 0.05  # power of a tone's second harmonic, to the tone's
_FIT_SAMPLES: Final = 40 * SAMPLES_PER_MS

_FREQUENCIES: Final = np.array(ROWS_HZ + COLUMNS_HZ)
_HANN: Final = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(_WINDOW) + 0.5) / _WINDOW)
_ENERGY_OF_POWER: Final = 2 * float(np.sum(_HANN**2)) / float(np.sum(_HANN)) ** 2


def _turning(frequencies: _Signal, samples: int) -> npt.NDArray[np.complex128]:
    """What a tone of each frequency is compared with: complex128[samples, frequencies]."""
    turning: npt.NDArray[np.complex128] = np.exp(
        -2j * np.pi * np.arange(samples)[:, None] * frequencies / TELEPHONE_RATE_HZ
    )
    return turning


def _bank() -> npt.NDArray[np.float32]:
    """Real parts of the eight frequencies, then imaginary parts, under the window: float32[160, 16]."""
    wheels = _turning(_FREQUENCIES, _WINDOW) * _HANN[:, None]
    return np.concatenate((wheels.real, wheels.imag), axis=1).astype(np.float32)


def frequencies_hz(key: str) -> tuple[float, float]:
    """Of the row's and the column's tone of a key of `KEYPAD`."""
    row, column = divmod(KEYPAD.index(key), 4)
    return ROWS_HZ[row], COLUMNS_HZ[column]


@dataclass(slots=True, kw_only=True)
class _Press:
    """A key that seems to be pressed."""

    key: int
    frames: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """from 15 ms before its first frame"""
    windows: int = 0
    quiet: int = 0
    """windows without it, since the last one with it"""
    bridged: int = 0
    """frames in a row that were lost or late"""
    left_out: int = 0
    """windows that are not in `frames`, which are enough to judge it by"""


class ToneDetector:
    """The keys in the audio of those legs that are listened to. Arguments named `legs` hold distinct legs."""

    def __init__(self, legs: int) -> None:
        self._bank = _bank()
        self._squared_window = (_HANN**2).astype(np.float32)
        self._is_open = np.zeros(legs, np.bool_)
        self._ignored_until_s = np.zeros(legs)
        self._recent = np.zeros((legs, _WINDOW - _HOP), np.float32)
        self._presses: dict[int, _Press] = {}
        self._told: list[DigitReceived] = []
        self.open_legs = 0
        """How many legs are listened to: while there are none, `hear` has nothing to do."""

    def open(self, leg: int) -> None:
        """Listen to a leg from now on. Safe to repeat."""
        if not self._is_open[leg]:
            self._is_open[leg] = True
            self._recent[leg] = self._ignored_until_s[leg] = 0
            self.open_legs += 1

    def close(self, leg: int) -> None:
        """Listen to it no longer, and forget what was heard. Safe to repeat."""
        self.open_legs -= int(self._is_open[leg])
        self._is_open[leg] = False
        self._presses.pop(leg, None)
        self._told = [digit for digit in self._told if digit.leg != leg]

    def ignore(self, leg: int, until_s: float) -> None:
        """Pass over a leg for a while: it is sent keys itself, and may echo them."""
        self._ignored_until_s[leg] = until_s
        self._presses.pop(leg, None)

    def hear(self, legs: Indices, codes: Codes, *, is_missing: Mask, is_deaf: Mask, now: float) -> None:
        """The next 20 ms of legs, uint16[n, 160]. Those that are not open, or `is_deaf` bool[n], are passed over.

        Args:
            is_missing: bool[n], whether nothing was received of the frame, which says nothing of the end of a key then.
        """
        chosen = self._is_open[legs] & ~is_deaf & (self._ignored_until_s[legs] <= now)
        if not chosen.any():
            return
        legs = legs[chosen]
        audio = np.concatenate((self._recent[legs], codec.decode(codes[chosen]).astype(np.float32)), axis=1)
        self._recent[legs] = audio[:, _FRAME:]
        keys = self._ruling_keys(audio)
        is_active = (keys != _NONE).any(axis=1)
        if self._presses:
            is_active |= np.isin(legs, list(self._presses))
        is_missing = is_missing[chosen]
        for index in np.flatnonzero(is_active).tolist():
            self._follow(int(legs[index]), keys[index].tolist(), audio[index], is_missing=bool(is_missing[index]))

    def take(self) -> list[DigitReceived]:
        """The keys that have ended since the last call."""
        told, self._told = self._told, []
        return told

    def _ruling_keys(self, audio: npt.NDArray[np.float32]) -> Indices:
        """Of each window the key, as index of `KEYPAD`, whose two tones make up most of it, or `_NONE`: int64[n, 4]."""
        windows = sliding_window_view(audio, _WINDOW, axis=1)[:, ::_HOP]
        spectrum = windows @ self._bank
        power = spectrum[:, :, :8] ** 2 + spectrum[:, :, 8:] ** 2
        energy = windows**2 @ self._squared_window
        rows, columns = power[:, :, :4].argmax(axis=2), power[:, :, 4:].argmax(axis=2)
        strongest = power[:, :, :4].max(axis=2) + power[:, :, 4:].max(axis=2)
        is_ruling = strongest * np.float32(_ENERGY_OF_POWER) > _LEAST_SHARE * energy
        is_ruling &= energy > _LEAST_LEVEL**2 / 8 * _WINDOW
        return np.where(is_ruling, rows * 4 + columns, _NONE)

    def _follow(self, leg: int, keys: list[int], audio: npt.NDArray[np.float32], *, is_missing: bool) -> None:
        """Go on with a leg by one frame in which there is a key, or was one just before."""
        press = self._presses.get(leg)
        if press is not None:
            press.bridged = press.bridged + 1 if is_missing else 0
            if 0 < press.bridged <= _BRIDGED_FRAMES:
                keys = [press.key if key == press.key else _LOST for key in keys]
        is_kept = press is not None and len(press.frames) < _KEPT_FRAMES
        if press is not None and is_kept:
            press.frames.append(audio[-_FRAME:])
        for key in keys:
            if press is not None and key == press.key:
                press.windows += 1
                press.quiet = 0
                press.left_out += not is_kept
                continue
            if key == _LOST:
                continue
            if press is not None:
                press.quiet += 1
                if key == _NONE and press.quiet < _PAUSE_WINDOWS:
                    continue
                self._end(leg, press)
                press = None
            if key != _NONE:
                press, is_kept = _Press(key=key, frames=[audio], windows=1), True
        if press is None:
            self._presses.pop(leg, None)
        else:
            self._presses[leg] = press

    def _end(self, leg: int, press: _Press) -> None:
        if press.windows < _LEAST_WINDOWS:
            return
        windows = _measure(np.concatenate(press.frames).astype(np.float64), press.key)
        if windows:
            duration_ms = (windows + press.left_out) * _HOP_MS
            self._told.append(DigitReceived(leg=leg, digit=KEYPAD[press.key], duration_ms=duration_ms))


def _measure(audio: _Signal, key: int) -> int:
    """For how many windows a key lasts in `audio`, float64[any]; 0 where it is none by the limits of Q.24.

    The longest stretch with steady phases decides what it is: a lost packet breaks them.
    """
    nominal = np.array(frequencies_hz(KEYPAD[key]))
    spectrum = (sliding_window_view(audio, _WINDOW)[::_HOP] * _HANN) @ _turning(nominal, _WINDOW)
    power = np.sum(np.abs(spectrum) ** 2, axis=1)
    lasts = power >= power.max() / 4
    if np.count_nonzero(lasts) < _LEAST_WINDOWS:
        return 0
    turned = spectrum[1:] * spectrum[:-1].conj() * np.exp(-2j * np.pi * nominal * _HOP / TELEPHONE_RATE_HZ)
    beside_hz, is_inside = _turn_hz(turned), lasts[1:] & lasts[:-1]
    if not is_inside.any():
        return 0
    is_steady = (np.abs(beside_hz - np.median(beside_hz[is_inside], axis=0)) <= _LARGEST_WAVER_HZ).all(axis=1)
    start, end = _longest_run(is_steady & is_inside)
    if end - start < _LEAST_WINDOWS - 2:
        return 0
    frequencies = nominal + _turn_hz(np.sum(turned[start:end], axis=0))
    if np.abs(frequencies / nominal - 1).max() > _LARGEST_DEVIATION:
        return 0
    inner = audio[start * _HOP + _WINDOW // 2 : end * _HOP + _WINDOW // 2]
    spare = max(0, inner.size - _FIT_SAMPLES) // 2
    places = np.flatnonzero(lasts)
    return int(places[-1] - places[0] + 1) if _is_key(inner[spare : spare + _FIT_SAMPLES], frequencies) else 0


def _turn_hz(turned: npt.NDArray[np.complex128]) -> _Signal:
    """The frequency whose phase advances by the angle of `turned` in a hop."""
    hertz: _Signal = np.angle(turned) * TELEPHONE_RATE_HZ / (2 * np.pi * _HOP)
    return hertz


def _longest_run(is_set: Mask) -> tuple[int, int]:
    """Start of the longest run, and what is behind it; both 0 where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_set.astype(np.int8), [0]))))
    if not edges.size:
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest])


def _is_key(audio: _Signal, frequencies: _Signal) -> bool:
    """Whether the middle of a key is two tones within the limits and nearly nothing else.

    The tones and their second harmonics are fitted together: 2 x 697 Hz is too near to 1336 Hz for anything coarser.
    """
    turning = _turning(np.concatenate((frequencies, 2 * frequencies)), audio.size)
    parts = np.concatenate((turning.real, turning.imag), axis=1)
    weights = np.linalg.lstsq(parts, audio, rcond=None)[0]
    amplitudes = np.hypot(weights[:4], weights[4:])
    tones, harmonics = amplitudes[:2], amplitudes[2:]
    twist_db = 20 * np.log10((tones[1] + 1e-9) / (tones[0] + 1e-9))
    purity = np.sum(tones**2) / 2 * audio.size / (np.sum(audio**2) + 1e-9)
    return bool(
        tones.min() >= _LEAST_LEVEL
        and _LEAST_TWIST_DB <= twist_db <= _LARGEST_TWIST_DB
        and purity >= _LEAST_PURITY
        and (harmonics**2 <= _LARGEST_HARMONIC * tones**2).all()
    )
