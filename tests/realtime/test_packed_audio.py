"""What is kept of a caller's audio sounds as it did."""

import numpy as np
import pytest

from gateway.media.codec import AudioFormat
from gateway.media.resample import UpSampler
from gateway.realtime.recovery.packed_audio import AudioPacker
from tests.support.listening import tone

LINEAR = [AudioFormat.PCM16_24K, AudioFormat.PCM16_16K, AudioFormat.PCM16_8K]


def of_a_telephone(form, samples):
    """What the media engine makes of it, in appends of 60 ms."""
    ratio = form.sample_rate_hz // 8000
    up = UpSampler(ratio, 1) if ratio > 1 else None
    frames = samples[: len(samples) // 480 * 480].reshape(-1, 160)
    legs = np.zeros(1, np.int64)
    made = [(frame if up is None else up.process(legs, frame[None])[0]).astype("<i2").tobytes() for frame in frames]
    return [b"".join(made[at : at + 3]) for at in range(0, len(made), 3)]


@pytest.mark.parametrize("form", LINEAR)
def test_a_telephones_voice_comes_back_in_its_band_from_a_fraction_of_the_memory(form):
    seconds = 1.2
    mixed = (tone(400, seconds) // 2 + tone(3200, seconds) // 2).astype(np.int16)
    pieces, packer = of_a_telephone(form, mixed), AudioPacker(form)
    packed = [packer.pack(piece) for piece in pieces]
    assert sum(map(len, packed)) * form.bytes_per_ms == sum(map(len, pieces)) * 8
    again = [packer.unpack(few, len(piece)) for few, piece in zip(packed, pieces, strict=True)]
    assert [len(piece) for piece in again] == [len(piece) for piece in pieces]
    before, after = (np.frombuffer(b"".join(all_), "<i2").astype(float) for all_ in (pieces, again))
    # The filter is 1.46 ms late once more.
    length = len(before) // 2
    late = max(range(60), key=lambda shift: np.dot(before[1000 : 1000 + length], after[1000 + shift :][:length]))
    error = after[1000 + late :][:length] - before[1000 : 1000 + length]
    assert 10 * np.log10(np.mean(before**2) / np.mean(error**2)) > 20


@pytest.mark.parametrize("form", [AudioFormat.PCMU, AudioFormat.PCMA])
def test_g711_is_left_as_it_is(form):
    packer = AudioPacker(form)
    assert packer.unpack(packer.pack(b"\x12" * 480), 480) == b"\x12" * 480


def test_pieces_that_are_no_whole_frames_are_left_as_they_are():
    packer = AudioPacker(AudioFormat.PCM16_24K)
    odd = bytes(range(250)) * 4
    assert packer.unpack(packer.pack(odd), len(odd)) == odd
