"""Keys on their way to the peers: one after the other on each leg, as RTP events (RFC 4733) or as tones (ITU-T Q.23).

A leg that dials says nothing else: its queued speech waits until the pause behind the last key is over. Both ways share
one time line, so a peer that takes events no longer, or from now on, has the key of that moment sent once more in the
other way, and the rest of them so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.media.codec import SAMPLES_PER_MS, TELEPHONE_RATE_HZ, Indices, Mask, PayloadFormat, Samples
from gateway.media.dtmf import KEYS, event_payload
from gateway.media.tones import AMPLITUDE_0_DBM0, frequencies_hz

MAX_KEY_MS: Final = 8000
"""The longest key; beyond 8191 ms an event would need a second segment (RFC 4733 2.5.1.3)."""

_END_PACKETS: Final = 3  # RFC 4733 2.5.1.4: the last packet is sent three times
_LEVELS_DBM0: Final = (-10.0, -8.0)
"""Of the row's and the column's tone: lines take more from the higher one (ETSI ES 201 235-2)."""
_RAMP_SAMPLES: Final = 2 * SAMPLES_PER_MS  # in which a tone rises and falls, so that it does not click


@dataclass(slots=True, kw_only=True)
class _Key:
    """A key that is being sent. Durations in samples."""

    digit: str
    duration: int
    gap: int
    elapsed: int = 0
    timestamp: int | None = None
    """of its event packets; None before the first"""
    ends_sent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPacket:
    """What is sent in place of a frame."""

    payload: bytes
    timestamp: int
    is_first: bool


class Dialling:
    """The keys of all legs."""

    def __init__(self) -> None:
        self._keys: dict[int, deque[_Key]] = {}
        self._payloads: dict[int, PayloadFormat | None] = {}

    def change(self, leg: int, *, payload: PayloadFormat | None) -> None:
        """How a leg sends its keys from now on: as tones in that format, None: as events."""
        if (payload is None) != (self._payloads.get(leg) is None):
            for key in self._keys.get(leg, ()):
                key.elapsed, key.timestamp, key.ends_sent = 0, None, 0
        self._payloads[leg] = payload

    def dial(self, leg: int, digits: str, *, duration_ms: int, gap_ms: int) -> None:
        """Send keys behind those that are not sent yet. Raises: ValueError for what cannot be sent."""
        if not set(digits.upper()) <= set(KEYS):
            raise ValueError(f"keys are {KEYS}, not {digits[:40]!r}")
        if not (0 < duration_ms <= MAX_KEY_MS and gap_ms >= 0):
            raise ValueError(f"a key lasts 1 to {MAX_KEY_MS} ms and has a pause behind it, not {duration_ms}, {gap_ms}")
        duration, gap = duration_ms * SAMPLES_PER_MS, gap_ms * SAMPLES_PER_MS
        if digits:
            keys = self._keys.setdefault(leg, deque())
            keys.extend(_Key(digit=digit.upper(), duration=duration, gap=gap) for digit in digits)

    def forget(self, leg: int) -> None:
        """Drop a leg's keys."""
        self._keys.pop(leg, None)
        self._payloads.pop(leg, None)

    def among(self, legs: Indices) -> Mask | None:
        """Which of `legs` dial, bool[n]; None where nobody does."""
        if not self._keys:
            return None
        dialling = np.isin(legs, list(self._keys))
        return dialling if dialling.any() else None

    def event(self, leg: int, *, timestamp: int, samples: int) -> EventPacket | None:
        """The event packet in place of a frame that begins at `timestamp`; None in the pause behind a key."""
        keys = self._keys[leg]
        key = keys[0]
        is_first = key.timestamp is None
        started = timestamp if key.timestamp is None else key.timestamp
        key.timestamp = started
        key.elapsed += samples
        if key.ends_sent == _END_PACKETS:
            if key.elapsed >= key.duration + key.gap:
                self._next(leg, keys)
            return None
        is_end = key.elapsed >= key.duration
        key.ends_sent += is_end
        payload = event_payload(key.digit, duration=min(key.elapsed, key.duration), is_end=is_end)
        return EventPacket(payload=payload, timestamp=started, is_first=is_first)

    def tones(self, legs: Indices, dialling: Mask, frame_samples: Indices) -> dict[int, Samples]:
        """By row of `legs`, the frames of those that dial by tones, at the sample rates of their payload formats.

        Args:
            dialling: bool[n], what `among` told of `legs`.
            frame_samples: int64[n], length of each leg's frame in telephone samples.
        """
        frames: dict[int, Samples] = {}
        for row in np.flatnonzero(dialling).tolist():
            leg = legs.item(row)
            payload = self._payloads[leg]
            if payload is not None:
                frames[row] = self._tone_frame(leg, frame_samples.item(row), payload.sample_rate_hz)
        return frames

    def _tone_frame(self, leg: int, samples: int, rate_hz: int) -> Samples:
        """The keys of so many telephone samples, and the pauses behind them, at a sample rate: int16[any]."""
        parts: list[Samples] = []
        left, keys = samples, self._keys[leg]
        while left:
            if not keys:
                parts.append(np.zeros(left * rate_hz // TELEPHONE_RATE_HZ, np.int16))
                break
            key = keys[0]
            count = min(left, key.duration + key.gap - key.elapsed)
            parts.append(_tone(key, count, rate_hz))
            key.elapsed += count
            left -= count
            if key.elapsed >= key.duration + key.gap:
                self._next(leg, keys)
        return np.concatenate(parts)

    def _next(self, leg: int, keys: deque[_Key]) -> None:
        keys.popleft()
        if not keys:
            del self._keys[leg]


def _tone(key: _Key, count: int, rate_hz: int) -> Samples:
    """The next `count` telephone samples of a key and the pause behind it, at a sample rate."""
    time = key.elapsed + np.arange(count * rate_hz // TELEPHONE_RATE_HZ) * (TELEPHONE_RATE_HZ / rate_hz)
    edge = np.clip(np.minimum(time + 0.5, key.duration - time - 0.5) / _RAMP_SAMPLES, 0, 1)
    waves = np.zeros(time.size)
    for frequency_hz, level_dbm0 in zip(frequencies_hz(key.digit), _LEVELS_DBM0, strict=True):
        amplitude = AMPLITUDE_0_DBM0 * 10 ** (level_dbm0 / 20)
        waves += amplitude * np.sin(2 * np.pi * frequency_hz * time / TELEPHONE_RATE_HZ)
    samples: Samples = np.rint((0.5 - 0.5 * np.cos(np.pi * edge)) * waves).astype(np.int16)
    return samples
