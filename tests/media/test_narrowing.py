"""A provider's audio back as telephone samples: the same sound, of the same length, however it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.codec import PCMA, PCMU, AudioFormat, Samples, encode
from gateway.media.narrowing import Narrowing
from tests.support.listening import tone

LAWS = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}
SECONDS = 2.0


def in_format(sound: Samples, audio_format: AudioFormat) -> bytes:
    law = LAWS.get(audio_format)
    return sound.astype("<i2").tobytes() if law is None else encode(sound, law).tobytes()


def narrowed(audio: bytes, audio_format: AudioFormat, piece_ms: int) -> Samples:
    narrowing, step = Narrowing(), piece_ms * audio_format.bytes_per_ms
    pieces = [narrowing.add(audio[start : start + step], audio_format) for start in range(0, len(audio), step)]
    return np.concatenate([*pieces, narrowing.finish()])


def voice(rate_hz: int) -> Samples:
    """Three tones in turn, so that it can be told where one is."""
    return np.concatenate([tone(hz, SECONDS / 4, rate_hz=rate_hz) for hz in (300, 700, 1900, 440)])


@pytest.mark.parametrize("audio_format", list(AudioFormat), ids=lambda audio_format: audio_format.name)
@pytest.mark.parametrize("piece_ms", [20, 40, 100, 3])
def test_sound_and_length_are_kept(audio_format: AudioFormat, piece_ms: int) -> None:
    heard = narrowed(in_format(voice(audio_format.sample_rate_hz), audio_format), audio_format, piece_ms)
    wanted = voice(8000)
    assert len(heard) == len(wanted)
    error = heard[100:-100].astype(float) - wanted[100:-100]
    assert np.sqrt((error**2).mean()) < 0.05 * np.sqrt((wanted.astype(float) ** 2).mean())


def test_a_change_of_format_loses_nothing() -> None:
    narrowing = Narrowing()
    formats = [AudioFormat.PCM16_8K, AudioFormat.PCM16_24K, AudioFormat.PCMU, AudioFormat.PCM16_16K]
    pieces = []
    for number in range(40):
        audio_format = formats[number // 10]
        rate_hz = audio_format.sample_rate_hz
        start = round(number * 0.05 * rate_hz)
        whole = tone(440, SECONDS + 1, rate_hz=rate_hz)
        pieces.append(narrowing.add(in_format(whole[start : start + rate_hz // 20], audio_format), audio_format))
    heard = np.concatenate([*pieces, narrowing.finish()])
    assert len(heard) == 2.0 * 8000
    error = heard[100:-100].astype(float) - tone(440, 2.0)[100:-100]
    assert np.sqrt((error**2).mean()) < 500


def test_nothing_gives_nothing() -> None:
    narrowing = Narrowing()
    assert len(narrowing.finish()) == len(narrowing.add(b"", AudioFormat.PCM16_24K)) == len(narrowing.finish()) == 0
