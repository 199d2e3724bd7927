"""Comfort noise (RFC 3389): the background that a sender describes while it sends no audio.

A payload is a level and, if the sender cares, the reflection coefficients of the noise's spectrum. Noise of such a
spectrum is white noise through an all-pole filter, kept here as the beginning of its impulse response, so that a frame
of noise is one product for all legs at once. The white noise repeats every second, which nobody hears.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from gateway.media.codec import TELEPHONE_RATE_HZ, Indices, Samples

RESPONSE_SAMPLES: Final = 32
"""How long the impulse response of a spectrum is."""

_FULL_SCALE: Final = 32768.0
_COEFFICIENT_STEP: Final = 258 / 32768  # RFC 3389 3.2
_COEFFICIENT_ZERO: Final = 127
_MOST_COEFFICIENTS: Final = 12
_TRANSFORM_SAMPLES: Final = 256

_Float32 = npt.NDArray[np.float32]

_ONE_SECOND: Final = np.random.default_rng(3389).standard_normal(TELEPHONE_RATE_HZ).astype(np.float32)
_WHITE: Final = np.concatenate([_ONE_SECOND[-RESPONSE_SAMPLES + 1 :], _ONE_SECOND, _ONE_SECOND])
_WINDOWS: Final = sliding_window_view(_WHITE, RESPONSE_SAMPLES)


@lru_cache(maxsize=1024)
def impulse_response(payload: bytes) -> _Float32:
    """What a payload asks for, as float32[RESPONSE_SAMPLES], the newest sample last; zeros for an empty payload.

    The first octet is the level in -dBov, the others reflection coefficients (RFC 3389 3.1, 3.2).
    """
    if not payload:
        return np.zeros(RESPONSE_SAMPLES, np.float32)
    level = _FULL_SCALE * 10 ** (-(payload[0] & 0x7F) / 20)
    predictor = np.ones(1)
    for octet in payload[1 : 1 + _MOST_COEFFICIENTS]:
        reflection = max(-0.98, min(0.98, _COEFFICIENT_STEP * (octet - _COEFFICIENT_ZERO)))
        longer = np.append(predictor, 0.0)
        predictor = longer + reflection * longer[::-1]
    response = np.fft.irfft(1 / np.fft.rfft(predictor, _TRANSFORM_SAMPLES))[:RESPONSE_SAMPLES]
    response *= level / np.sqrt((response**2).sum())
    return response[::-1].astype(np.float32)


def noise(responses: _Float32, start: Indices, samples: int) -> Samples:
    """The next `samples` of each row's noise, where `start` of it were before: int16[n, samples].

    Args:
        responses: float32[n, RESPONSE_SAMPLES], of `impulse_response`.
        start: int64[n].
    """
    places = (start % TELEPHONE_RATE_HZ)[:, None] + np.arange(samples)
    if responses[:, :-1].any():
        made = np.matmul(_WINDOWS[places], responses[:, :, None])[:, :, 0]
    else:
        made = _WHITE[places + RESPONSE_SAMPLES - 1] * responses[:, -1:]
    made_up: Samples = np.rint(np.clip(made, -32768, 32767)).astype(np.int16)
    return made_up
