"""Caller's audio in little memory: linear samples as mu-law at the telephone's rate, a sixth of 24 kHz PCM16.

What a narrow-band telephone said has nothing above 4 kHz, so that every third sample of 24 kHz holds all of it, and it
comes back by the filter that made it. Of a wide-band one, what is above 4 kHz is folded down: it is heard again only
where a connection broke.
"""

from __future__ import annotations

import numpy as np

from gateway.media import codec
from gateway.media.codec import TELEPHONE_RATE_HZ, AudioFormat, payload_format
from gateway.media.resample import FRAME_SAMPLES, UpSampler

_MU_LAW = payload_format("PCMU")
_LEG = np.zeros(1, np.int64)


class AudioPacker:
    """Of one call, whose audio is of `form`. Pieces of other than whole frames of 20 ms are left as they are."""

    def __init__(self, form: AudioFormat) -> None:
        self._ratio = form.sample_rate_hz // TELEPHONE_RATE_HZ
        self._is_linear = form.bytes_per_sample == 2
        self._frame_bytes = FRAME_SAMPLES * self._ratio * form.bytes_per_sample
        self._up: UpSampler | None = None

    def pack(self, audio: bytes) -> bytes:
        """`audio` in less memory."""
        if not self._is_linear or len(audio) % self._frame_bytes:
            return audio
        return codec.encode(np.frombuffer(audio, "<i2")[:: self._ratio], _MU_LAW).tobytes()

    def unpack(self, packed: bytes, size: int) -> bytes:
        """The audio, which had `size` bytes, from what `pack` made of it. Pieces are to come in their order."""
        if len(packed) == size:
            return packed
        codes = np.frombuffer(packed, np.uint8) | np.uint16(_MU_LAW.first_code)
        samples = codec.decode(codes)
        if self._ratio == 1:
            return samples.astype("<i2").tobytes()
        if self._up is None:
            self._up = UpSampler(self._ratio, 1)
        frames = samples.reshape(-1, 1, FRAME_SAMPLES)
        return b"".join(self._up.process(_LEG, frame).astype("<i2").tobytes() for frame in frames)
