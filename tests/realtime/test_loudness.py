"""Sound and silence, in every format that a provider has."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import AudioFormat
from gateway.realtime.openai_live.loudness import sounding_parts

FORMATS = list(AudioFormat)


def sound(form: AudioFormat, ms: int, amplitude: int = 3000) -> bytes:
    """A square wave."""
    count = ms * form.sample_rate_hz // 1000
    samples = np.where(np.arange(count) % 20 < 10, amplitude, -amplitude).astype(np.int16)
    laws = {AudioFormat.PCMU: codec.PCMU, AudioFormat.PCMA: codec.PCMA}
    return codec.encode(samples, laws[form]).tobytes() if form in laws else samples.astype("<i2").tobytes()


def silence(form: AudioFormat, ms: int) -> bytes:
    return form.silence * (ms * form.sample_rate_hz // 1000)


@pytest.mark.parametrize("form", FORMATS)
def test_parts_are_whole_frames_of_one_kind_and_make_up_the_audio(form: AudioFormat) -> None:
    audio = silence(form, 60) + sound(form, 40) + silence(form, 20) + sound(form, 100)
    parts = sounding_parts(audio, form)
    assert [has_sound for has_sound, _ in parts] == [False, True, False, True]
    assert [len(part) // form.bytes_per_ms for _, part in parts] == [60, 40, 20, 100]
    assert b"".join(part for _, part in parts) == audio


@pytest.mark.parametrize("form", FORMATS)
def test_rounding_is_silence_and_quiet_speech_is_not(form: AudioFormat) -> None:
    assert [has for has, _ in sounding_parts(sound(form, 40, amplitude=8), form)] == [False]
    assert [has for has, _ in sounding_parts(sound(form, 40, amplitude=200), form)] == [True]


def test_what_is_left_behind_the_last_whole_frame_is_judged_for_itself() -> None:
    form = AudioFormat.PCM16_24K
    parts = sounding_parts(silence(form, 20) + sound(form, 1), form)
    assert parts == [(False, silence(form, 20)), (True, sound(form, 1))]


def test_nothing_has_no_parts() -> None:
    assert sounding_parts(b"", AudioFormat.PCMU) == []
