"""G.722 by libg722: what its users rely on."""

import sys

import numpy as np
import pytest

from gateway.media import g722
from gateway.media.engine import LegOptions
from tests.support.listening import level_dbov, tone

pytest.importorskip("G722", reason="the `wideband` extra is not installed")


@pytest.mark.parametrize("frequency_hz", [300, 1000, 3400, 5000, 6800])
def test_tones_up_to_7_khz_pass_at_their_level(frequency_hz):
    said = tone(frequency_hz, 1.0, rate_hz=16000)
    coder = g722.G722Coder()
    octets = coder.encode(said)
    heard = coder.decode(octets)
    assert (len(octets), heard.size, heard.dtype) == (8000, 16000, np.int16)
    # From the transform, so that the noise of the coding is not counted.
    level = np.abs(np.fft.rfft(heard))[frequency_hz] / np.abs(np.fft.rfft(said))[frequency_hz]
    assert 20 * np.log10(level) == pytest.approx(0, abs=0.3)


def test_pieces_of_a_stream_are_the_stream_in_pieces():
    said = tone(440, 0.2, rate_hz=16000)
    whole, pieces = g722.G722Coder(), g722.G722Coder()
    octets = whole.encode(said)
    assert octets == b"".join(pieces.encode(said[i : i + 160]) for i in range(0, said.size, 160))
    heard = [pieces.decode(octets[i : i + 80]) for i in range(0, len(octets), 80)]
    assert (whole.decode(octets) == np.concatenate(heard)).all()


def test_coded_silence_is_heard_as_silence():
    coder = g722.G722Coder()
    assert level_dbov(coder.decode(coder.encode(np.zeros(16000, np.int16)))) < -75


def test_any_octets_can_be_decoded():
    coder = g722.G722Coder()
    for octet in (0x00, 0x3F, 0x80, 0xC0, 0xFF):
        assert coder.decode(bytes([octet]) * 8000).size == 16000
    noise = np.random.default_rng(4).integers(0, 256, 80_000).astype(np.uint8)
    assert coder.decode(noise.tobytes()).size == 160_000


def test_without_the_library_there_is_no_g722(monkeypatch):
    monkeypatch.setitem(sys.modules, "G722", None)
    g722.is_available.cache_clear()
    try:
        assert not g722.is_available()
        with pytest.raises(ValueError, match="wideband"):
            LegOptions(payload_type=9, format="G722")
        with pytest.raises(ValueError, match="wideband"):
            LegOptions(payload_type=0, format="PCMU", receive_payload_types=((0, "PCMU"), (9, "G722")))
        LegOptions(payload_type=0, format="PCMU")
    finally:
        g722.is_available.cache_clear()
