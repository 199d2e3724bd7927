"""One stream of a provider's audio back into telephone samples: for whoever keeps what a caller said.

::

    bytes PCM16 24K, 16K ─ carry ─> int16[k, row_samples] ─ DownSampler ─> int16[160 k]
          PCM16 8K, G.711 ────────────────────────────────────────────> int16[n]       as it comes
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gateway.media.codec import PCMA, PCMU, TELEPHONE_RATE_HZ, AudioFormat, Samples, decode
from gateway.media.resample import DownSampler

_LAWS: Final = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}
_NOTHING: Final = np.zeros(0, np.int16)


class Narrowing:
    """A stream whose format may change on its way. Its length is kept to within 20 ms a change."""

    def __init__(self) -> None:
        self._sampler: DownSampler | None = None
        self._carry = _NOTHING

    def add(self, audio: bytes, audio_format: AudioFormat) -> Samples:
        """What there is now of it: int16[n] at 8 kHz; up to 40 ms wait for what follows them."""
        law = _LAWS.get(audio_format)
        if law is not None:
            return self._plain(decode(np.frombuffer(audio, np.uint8).astype(np.uint16) | np.uint16(law.first_code)))
        samples = np.frombuffer(audio[: len(audio) & ~1], "<i2").astype(np.int16)
        ratio = audio_format.sample_rate_hz // TELEPHONE_RATE_HZ
        if ratio == 1:
            return self._plain(samples)
        done = _NOTHING
        if self._sampler is None or self._sampler.ratio != ratio:
            done = self.finish()
            self._sampler = _sampler(ratio)
            self._carry = np.zeros(self._sampler.lookahead, np.int16)
        self._carry = np.concatenate([self._carry, samples])
        return np.concatenate([done, self._take(self._sampler)])

    def finish(self) -> Samples:
        """The rest."""
        sampler, self._sampler = self._sampler, None
        if sampler is None:
            return _NOTHING
        real = (len(self._carry) - sampler.lookahead) // sampler.ratio
        self._carry = np.concatenate([self._carry, np.zeros(sampler.row_samples, np.int16)])
        return self._take(sampler)[: max(real, 0)]

    def _plain(self, samples: Samples) -> Samples:
        return np.concatenate([self.finish(), samples]) if self._sampler is not None else samples

    def _take(self, sampler: DownSampler) -> Samples:
        if len(self._carry) < sampler.row_samples:
            return _NOTHING
        rows = sliding_window_view(self._carry, sampler.row_samples)[:: sampler.frame_samples]
        self._carry = self._carry[len(rows) * sampler.frame_samples :]
        return sampler.process(rows).reshape(-1)


@cache
def _sampler(ratio: int) -> DownSampler:
    return DownSampler(ratio)
