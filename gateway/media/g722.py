"""G.722 at 64 kbit/s (ITU-T G.722, RFC 3551 4.5.2), by libg722, which the extra ``wideband`` installs.

Eight octets a millisecond, each two samples at 16 kHz; the RTP clock counts octets. Either direction of a leg is one
stream, coded in the order in which it is heard: an octet means nothing without those before it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final, Protocol, cast

import numpy as np

from gateway.media.codec import G722, Samples

SAMPLES_PER_OCTET: Final = 2
WIDEBAND_REMEDY: Final = "pip install '.[wideband]' in the gateway's source folder"
_BIT_RATE: Final = 64000


class _Library(Protocol):
    """What libg722 gives for one call of it: a coder and a decoder that know nothing of each other."""

    def encode(self, samples: Samples, /) -> bytes: ...

    def decode(self, octets: bytes, /) -> bytes:
        """In truth ``array.array("h")``, a buffer too."""


@cache
def is_available() -> bool:
    """Whether libg722 can be imported."""
    try:
        import_module("G722")
    except ImportError:
        return False
    return True


class G722Coder:
    """Both directions of one leg. Raises: ImportError where `is_available` is false."""

    def __init__(self) -> None:
        self._coder = cast("_Library", import_module("G722").G722(G722.sample_rate_hz, _BIT_RATE, use_numpy=False))

    def encode(self, samples: Samples) -> bytes:
        """The octets of what is said next: int16[2 n], contiguous, to n octets."""
        return self._coder.encode(samples)

    def decode(self, octets: bytes) -> Samples:
        """The samples of what is heard next: n octets to int16[2 n]. Any octets are G.722, noise at the worst."""
        return np.frombuffer(self._coder.decode(octets), np.int16)
