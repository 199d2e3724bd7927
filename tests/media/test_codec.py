"""G.711 tables against the standard library, and the vocabulary of audio formats."""

import audioop

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import G711_FORMATS, G722, PCMA, PCMU, AudioFormat

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)
EVERY_OCTET = np.arange(256, dtype=np.uint8)
TO_LAW = {PCMU: audioop.lin2ulaw, PCMA: audioop.lin2alaw}
FROM_LAW = {PCMU: audioop.ulaw2lin, PCMA: audioop.alaw2lin}


@pytest.mark.parametrize("law", G711_FORMATS, ids=lambda law: law.name)
def test_all_65536_samples_are_encoded_as_audioop_does(law):
    assert TO_LAW[law](EVERY_SAMPLE.tobytes(), 2) == codec.encode(EVERY_SAMPLE, law).tobytes()


@pytest.mark.parametrize("law", G711_FORMATS, ids=lambda law: law.name)
def test_all_octets_are_decoded_as_audioop_does(law):
    codes = EVERY_OCTET.astype(np.uint16) | law.first_code
    assert FROM_LAW[law](bytes(range(256)), 2) == codec.decode(codes).tobytes()


@pytest.mark.parametrize("law", G711_FORMATS, ids=lambda law: law.name)
def test_own_octets_pass_untouched_even_the_second_zero_of_mu_law(law):
    codes = EVERY_OCTET.astype(np.uint16) | law.first_code
    assert bytes(range(256)) == codec.octets(codes, law).tobytes()
    assert codec.translate(EVERY_OCTET, law, law) is EVERY_OCTET


@pytest.mark.parametrize(("source", "target"), [(PCMU, PCMA), (PCMA, PCMU)], ids=["u>a", "a>u"])
def test_the_other_law_goes_by_the_linear_value(source, target):
    expected = TO_LAW[target](FROM_LAW[source](bytes(range(256)), 2), 2)
    assert expected == codec.translate(EVERY_OCTET, source, target).tobytes()
    assert expected == codec.octets(EVERY_OCTET.astype(np.uint16) | source.first_code, target).tobytes()


def test_a_missing_sample_is_silence_in_every_form():
    missing = np.array([codec.MISSING], np.uint16)
    assert codec.decode(missing)[0] == 0
    assert codec.octets(missing, PCMU).tobytes() == b"\xff"
    assert codec.octets(missing, PCMA).tobytes() == b"\xd5"


def test_tables_write_into_the_array_they_are_given():
    linear, law = np.empty(2, np.int16), np.empty(2, np.uint8)
    assert codec.decode(np.array([0x180, 0x2D5], np.uint16), out=linear) is linear
    assert codec.encode(linear, PCMU, out=law) is law
    assert linear.tolist() == [32124, 8]


@pytest.mark.parametrize(
    ("audio", "rate", "per_ms", "silence"),
    [
        (AudioFormat.PCM16_24K, 24000, 48, b"\0\0"),
        (AudioFormat.PCM16_16K, 16000, 32, b"\0\0"),
        (AudioFormat.PCM16_8K, 8000, 16, b"\0\0"),
        (AudioFormat.PCMU, 8000, 8, b"\xff"),
        (AudioFormat.PCMA, 8000, 8, b"\xd5"),
    ],
)
def test_audio_formats_know_their_rate_size_and_silence(audio, rate, per_ms, silence):
    assert (rate, per_ms, silence) == (audio.sample_rate_hz, audio.bytes_per_ms, audio.silence)


def test_g722_has_a_clock_of_8000_hz_and_twice_as_many_samples():
    assert (G722.static_payload_type, G722.clock_rate_hz, G722.sample_rate_hz, G722.bytes_per_ms) == (9, 8000, 16000, 8)
    assert [payload.is_wideband for payload in (PCMU, PCMA, G722)] == [False, False, True]


def test_octets_of_g722_mean_nothing_alone_and_are_silence_to_the_tables():
    codes = EVERY_OCTET.astype(np.uint16) | G722.first_code
    assert not codec.decode(codes).any()
    assert codec.octets(codes, PCMU).tobytes() == b"\xff" * 256


def test_payload_formats_are_found_by_name_in_any_case():
    assert PCMA is codec.payload_format("pcma")
    assert (PCMA.clock_rate_hz, PCMA.sample_rate_hz, PCMA.samples_per_ms) == (8000, 8000, 8)
    with pytest.raises(ValueError, match="G726"):
        codec.payload_format("G726-32")
