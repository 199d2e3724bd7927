"""Resampling and wire formats: what goes in comes out, in whatever pieces."""

from __future__ import annotations

import audioop

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedded.audio import LineDecoder, Resampler, WireFormat, encode, resample

Samples = np.ndarray[tuple[int], np.dtype[np.int16]]


def tone(hz: float, rate_hz: int, duration_s: float = 0.5) -> Samples:
    time = np.arange(int(rate_hz * duration_s)) / rate_hz
    return (10000 * np.sin(2 * np.pi * hz * time)).astype(np.int16)


def level_db(samples: Samples, hz: float, rate_hz: int) -> float:
    """Level of one frequency against the 10000 of `tone`, in the middle of the signal."""
    middle = samples[len(samples) // 4 : len(samples) * 3 // 4].astype(float)
    wave = np.exp(-2j * np.pi * hz * np.arange(len(middle)) / rate_hz) * np.hanning(len(middle))
    return float(20 * np.log10(max(2 * abs((middle * wave).sum()) / np.hanning(len(middle)).sum() / 10000, 1e-9)))


RATES = [(24000, 8000), (8000, 24000), (22050, 8000), (22050, 24000), (8000, 16000)]


@pytest.mark.parametrize(("source_hz", "target_hz"), RATES)
@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_telephone_band_passes_unchanged(source_hz: int, target_hz: int, hz: int) -> None:
    assert level_db(resample(tone(hz, source_hz), source_hz, target_hz), hz, target_hz) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize(("hz", "image_hz"), [(5000, 3000), (7000, 1000), (9000, 1000)])
def test_what_the_telephone_cannot_carry_does_not_fold_back(hz: int, image_hz: int) -> None:
    assert level_db(resample(tone(hz, 24000), 24000, 8000), image_hz, 8000) < -50


@pytest.mark.parametrize(("hz", "image_hz"), [(1000, 7000), (3000, 5000)])
def test_more_samples_bring_no_images(hz: int, image_hz: int) -> None:
    assert level_db(resample(tone(hz, 8000), 8000, 24000), image_hz, 24000) < -50


@pytest.mark.parametrize(("source_hz", "target_hz"), RATES)
def test_whole_signal_keeps_its_length_and_place(source_hz: int, target_hz: int) -> None:
    samples = np.zeros(source_hz, np.int16)
    samples[source_hz // 2 - 20 : source_hz // 2 + 20] = 10000
    out = resample(samples, source_hz, target_hz)
    assert len(out) == target_hz
    centre_s = (np.abs(out.astype(float)) * np.arange(len(out))).sum() / np.abs(out.astype(float)).sum() / target_hz
    assert centre_s == pytest.approx(0.5, abs=0.0005)


def test_same_rate_is_left_alone() -> None:
    samples = tone(1000, 8000)
    assert resample(samples, 8000, 8000) is samples


@pytest.mark.parametrize(("source_hz", "target_hz"), RATES)
@given(st.lists(st.integers(0, 700), max_size=12))
def test_blocks_of_any_size_come_out_the_same(source_hz: int, target_hz: int, sizes: list[int]) -> None:
    samples = tone(700, source_hz, 0.1)
    whole = Resampler(source_hz, target_hz).process(samples)
    pieces, position, resampler = [], 0, Resampler(source_hz, target_hz)
    for size in [*sizes, len(samples)]:
        pieces.append(resampler.process(samples[position : position + size]))
        position += size
    assert np.array_equal(np.concatenate(pieces), whole)


def test_loudest_signal_is_clipped_and_not_wrapped() -> None:
    square = np.where(np.arange(2400) % 48 < 24, 32767, -32768).astype(np.int16)
    out = resample(square, 24000, 8000)
    assert out[200:208].min() >= 0 or out[200:208].max() <= 32767
    assert np.corrcoef(out, square[::3])[0, 1] > 0.9


@pytest.mark.parametrize("form", list(WireFormat))
def test_format_knows_its_size(form: WireFormat) -> None:
    assert len(encode(np.zeros(form.sample_rate_hz, np.int16), form)) == 1000 * form.bytes_per_ms


@pytest.mark.parametrize(("form", "decode"), [(WireFormat.PCMU, audioop.ulaw2lin), (WireFormat.PCMA, audioop.alaw2lin)])
def test_g711_is_coded_both_ways(form: WireFormat, decode: object) -> None:
    samples = tone(1000, 8000)
    coded = encode(samples, form)
    assert np.array_equal(LineDecoder(form).decode(coded), np.frombuffer(decode(coded, 2), np.int16))  # type: ignore[operator]
    assert np.abs(LineDecoder(form).decode(coded).astype(int) - samples).max() < 600


@given(st.lists(st.integers(0, 301), max_size=10))
def test_pcm_in_torn_pieces_is_decoded_as_one(sizes: list[int]) -> None:
    audio = encode(tone(700, 24000, 0.05), WireFormat.PCM)
    decoder, position, pieces = LineDecoder(WireFormat.PCM), 0, []
    for size in [*sizes, len(audio)]:
        pieces.append(decoder.decode(audio[position : position + size]))
        position += size
    assert np.array_equal(np.concatenate(pieces), LineDecoder(WireFormat.PCM).decode(audio))
