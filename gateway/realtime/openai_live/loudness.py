"""Where there is a sound in a provider's audio and where there is none.

Made for streams that carry silence as well as speech: what a speech model says is tens of decibels above what it sends
while it listens, which is zeros but for rounding. So one fixed threshold does, and nothing has to be learned.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np

from gateway.media import codec
from gateway.media.codec import AudioFormat, Mask, PayloadFormat, Samples

FRAME_MS: Final = 20
SILENCE_RMS: Final = 33
"""Of samples in 16 bits, -60 dBov. A-law has no zero: its silence has 8."""

_LAWS: Final[dict[AudioFormat, PayloadFormat]] = {AudioFormat.PCMU: codec.PCMU, AudioFormat.PCMA: codec.PCMA}


def sounding_parts(audio: bytes, form: AudioFormat) -> list[tuple[bool, bytes]]:
    """`audio`, whole samples of `form`, in its parts in order: whether there is a sound, and the part itself.

    It is looked at in frames of 20 ms; what is left behind the last whole one is a frame, too.
    """
    size = FRAME_MS * form.bytes_per_ms
    has_sound = _has_sound(audio, form)
    edges = [0, *((has_sound[1:] != has_sound[:-1]).nonzero()[0] + 1).tolist(), len(has_sound)]
    return [
        (bool(has_sound[first]), audio[first * size : behind * size])
        for first, behind in itertools.pairwise(edges)
        if first < behind
    ]


def _has_sound(audio: bytes, form: AudioFormat) -> Mask:
    """Of each frame of `audio`."""
    samples = _linear(audio, form)
    frame = FRAME_MS * form.sample_rate_hz // 1000
    squares = np.square(samples, dtype=np.float32)
    starts = np.arange(0, samples.size, frame)
    lengths = np.minimum(frame, samples.size - starts)
    loud: Mask = np.add.reduceat(squares, starts) > SILENCE_RMS**2 * lengths if samples.size else np.zeros(0, np.bool_)
    return loud


def _linear(audio: bytes, form: AudioFormat) -> Samples:
    law = _LAWS.get(form)
    if law is None:
        return np.frombuffer(audio, "<i2")
    return codec.decode(np.frombuffer(audio, np.uint8).astype(np.uint16) | np.uint16(law.first_code))
