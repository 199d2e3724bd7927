"""Marks of callers: each is read as itself behind a telephone's codec, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU
from gateway.media.resample import UpSampler
from gateway.simulate.load import babble
from gateway.simulate.marks import MARK_S, MARKS, RATE_HZ, mark, read_mark


def appends(sound: np.ndarray, rate_hz: int, length_ms: int, offset: int = 0) -> list[np.ndarray]:
    size = rate_hz * length_ms // 1000
    return [sound[start : start + size] for start in range(offset, len(sound) - size + 1, size)]


def test_each_mark_is_read_as_its_number_behind_a_codec() -> None:
    for number in range(MARKS):
        law = (PCMU, PCMA)[number % 2]
        sound = codec.decode(codec.encode(mark(number), law) | np.uint16(law.first_code))
        assert {read_mark(piece, RATE_HZ) for piece in appends(sound, RATE_HZ, 60)} == {number}


@pytest.mark.parametrize("length_ms", [20, 40, 60, 100])
def test_a_mark_is_read_in_appends_of_a_model_that_takes_24_khz(length_ms: int) -> None:
    sampler, frames = UpSampler(3, 1), mark(123).reshape(-1, 160)
    legs = np.array([0])
    heard = np.concatenate([sampler.process(legs, frame[None])[0].copy() for frame in frames])
    read = [read_mark(piece, 24000) for piece in appends(heard, 24000, length_ms, offset=480)]
    assert set(read) == {123}


def test_what_is_no_mark_is_nobody() -> None:
    assert MARK_S >= 0.2
    silence, words = np.zeros(480, np.int16), babble(1.0, 1)
    one_tone = np.rint(6000 * np.sin(np.arange(480) * 2 * np.pi * 1000 / RATE_HZ)).astype(np.int16)
    half = np.concatenate([silence[:240], mark(7)[:240]])
    for sound in (silence, half, mark(7)[:80], *appends(words, RATE_HZ, 60)):
        assert read_mark(sound, RATE_HZ) is None
    assert read_mark(one_tone, RATE_HZ) is None
