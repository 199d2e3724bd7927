"""Audio and payload formats, and G.711 (ITU-T G.711, RFC 3551 4.5.14) as tables. G.722: `gateway.media.g722`.

`AudioFormat` is what a speech model takes or gives, `PayloadFormat` what RTP carries. An RTP clock and a sample rate
are two numbers: G.722 has a clock of 8000 Hz and 16000 samples a second (RFC 3551 4.5.2).

Every table is built once, at import, from ``audioop``, so that a batch of calls and the standard library agree bit for
bit: 256 entries to decode, 65536 to encode. Coding is then one `numpy.take` for all calls together.

A received octet travels through the jitter buffers as a *code*, uint16: the octet, with the number of its payload
format above it, from 1. So calls of both laws, and a peer that changes its law in mid-call, are decoded by one look-up,
and code 0 says that nothing was received. Octets of G.722 travel in the same way, eight a millisecond as well; but they
mean nothing without those before them, so the tables have silence in their place.
"""

from __future__ import annotations

import audioop
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint16]
Samples = npt.NDArray[np.int16]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

TELEPHONE_RATE_HZ: Final = 8000
"""Sample rate of everything between the RTP socket and the resampler."""
SAMPLES_PER_MS: Final = TELEPHONE_RATE_HZ // 1000

MISSING: Final = 0
"""The code of a sample that no packet brought."""


class AudioFormat(Enum):
    """Audio as a provider takes or gives it: mono; PCM is signed, 16 bits, little-endian."""

    PCM16_24K = "pcm16/24000", 24000, b"\0\0"
    PCM16_16K = "pcm16/16000", 16000, b"\0\0"
    PCM16_8K = "pcm16/8000", 8000, b"\0\0"
    PCMU = "pcmu", 8000, b"\xff"
    PCMA = "pcma", 8000, b"\xd5"

    sample_rate_hz: int
    """Samples per second."""
    silence: bytes
    """One sample of silence; repeat it as needed."""
    bytes_per_sample: int
    bytes_per_ms: int
    """Octets per millisecond of audio."""

    def __new__(cls, value: str, sample_rate_hz: int, silence: bytes) -> Self:
        """A member whose value is its name on the wire of logs and configuration."""
        member = object.__new__(cls)
        member._value_ = value
        member.sample_rate_hz = sample_rate_hz
        member.silence = silence
        member.bytes_per_sample = len(silence)
        member.bytes_per_ms = sample_rate_hz * len(silence) // 1000
        return member


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFormat:
    """One way in which RTP carries audio."""

    name: str
    """The encoding name of RFC 3551 6, upper case."""
    index: int
    """Place in the registry."""
    clock_rate_hz: int
    """Ticks of the RTP timestamp per second."""
    sample_rate_hz: int
    """Samples per second after decoding."""
    bytes_per_ms: int
    """Payload octets per millisecond."""
    silence: int
    """The octet that decodes to silence; of G.722, the one that a coder begins to say it with."""
    static_payload_type: int
    """Payload type of RFC 3551 6, valid without an ``a=rtpmap``."""

    @property
    def first_code(self) -> int:
        """The code of its octet 0."""
        return self.index + 1 << 8

    @property
    def samples_per_ms(self) -> int:
        """Decoded samples per millisecond."""
        return self.sample_rate_hz // 1000

    @property
    def is_wideband(self) -> bool:
        """Whether it carries more than telephone samples."""
        return self.sample_rate_hz > TELEPHONE_RATE_HZ


def _g711(name: str, index: int, silence: int, static_payload_type: int) -> PayloadFormat:
    return PayloadFormat(
        name=name,
        index=index,
        clock_rate_hz=8000,
        sample_rate_hz=8000,
        bytes_per_ms=8,
        silence=silence,
        static_payload_type=static_payload_type,
    )


PCMU: Final = _g711("PCMU", 0, 0xFF, 0)
PCMA: Final = _g711("PCMA", 1, 0xD5, 8)

G711_FORMATS: Final = (PCMU, PCMA)

G722: Final = PayloadFormat(
    name="G722",
    index=2,
    clock_rate_hz=8000,
    sample_rate_hz=16000,
    bytes_per_ms=8,
    silence=0xFA,
    static_payload_type=9,
)

PAYLOAD_FORMATS: Final = (*G711_FORMATS, G722)
"""Every payload format, by `PayloadFormat.index`."""
_BY_NAME: Final = {payload.name: payload for payload in PAYLOAD_FORMATS}


def payload_format(name: str) -> PayloadFormat:
    """The format of an encoding name in any case. Raises: ValueError, ours: negotiation knows the same names."""
    found = _BY_NAME.get(name.upper())
    if found is None:
        raise ValueError(f"no payload format {name[:40]!r}; known: {', '.join(_BY_NAME)}")
    return found


_EVERY_OCTET: Final = bytes(range(256))
_EVERY_SAMPLE: Final = np.arange(65536, dtype="<u2").tobytes()
"""0..32767 and then -32768..-1: the order in which an int16 read as uint16 counts."""

_LINEAR_FROM_OCTET: Final = (
    np.frombuffer(audioop.ulaw2lin(_EVERY_OCTET, 2), dtype="<i2").astype(np.int16),
    np.frombuffer(audioop.alaw2lin(_EVERY_OCTET, 2), dtype="<i2").astype(np.int16),
)
_OCTET_FROM_LINEAR: Final = (
    np.frombuffer(audioop.lin2ulaw(_EVERY_SAMPLE, 2), dtype=np.uint8),
    np.frombuffer(audioop.lin2alaw(_EVERY_SAMPLE, 2), dtype=np.uint8),
)


def _octets_as(target: PayloadFormat) -> Bytes:
    """Octets of `target` for every code; those below the first format's are silence."""
    by_source = [
        np.arange(256, dtype=np.uint8) if source is target else encode(_LINEAR_FROM_OCTET[source.index], target)
        for source in G711_FORMATS
    ]
    silence = np.full(256, target.silence, np.uint8)
    return np.concatenate([silence, *by_source, silence])


def decode(codes: Codes, out: Samples | None = None) -> Samples:
    """Linear samples of codes, of any shape. `MISSING`, and whatever is G.722, becomes 0. `out` is written if given."""
    return np.take(_LINEAR_FROM_CODE, codes, mode="clip", out=out)


def encode(samples: Samples, target: PayloadFormat, out: Bytes | None = None) -> Bytes:
    """Octets of linear samples, of any shape, exactly as ``audioop.lin2ulaw`` and ``lin2alaw`` round."""
    return np.take(_OCTET_FROM_LINEAR[target.index], samples.view(np.uint16), mode="clip", out=out)


def codes(samples: Samples) -> Codes:
    """Linear samples that we made ourselves, as codes: of mu-law, the finer one."""
    return encode(samples, PCMU).astype(np.uint16) | np.uint16(PCMU.first_code)


def octets(codes: Codes, target: PayloadFormat, out: Bytes | None = None) -> Bytes:
    """Codes as octets of `target`: its own untouched, the other law's by table. `MISSING` becomes silence."""
    return np.take(_OCTET_FROM_CODE[target.index], codes, mode="clip", out=out)


def translate(payload: Bytes, source: PayloadFormat, target: PayloadFormat) -> Bytes:
    """Octets of `source` as octets of `target`; the same array where they are the same."""
    if source is target:
        return payload
    return np.take(_OCTET_FROM_CODE[target.index][source.first_code :][:256], payload)


_LINEAR_FROM_CODE: Final = np.concatenate([np.zeros(256, np.int16), *_LINEAR_FROM_OCTET, np.zeros(256, np.int16)])
_OCTET_FROM_CODE: Final = tuple(_octets_as(target) for target in G711_FORMATS)
