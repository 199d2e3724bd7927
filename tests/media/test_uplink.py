"""The caller's audio in every provider's format, on the clock."""

import audioop

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, AudioFormat
from gateway.media.engine import MediaOptions
from tests.support.media_rig import MediaRig, numbered
from tests.support.rtp_packets import rtp_packet


def voice(seconds=1.0):
    time_s = np.arange(int(8000 * seconds)) / 8000
    return np.rint(6000 * (np.sin(2 * np.pi * 300 * time_s) + np.sin(2 * np.pi * 1100 * time_s))).astype("<i2")


def packets_of(octets, payload_type=0):
    return [
        (i * 0.02, rtp_packet(i, 160 * i, octets[160 * i :][:160], payload_type=payload_type))
        for i in range(len(octets) // 160)
    ]


def heard(form, octets, payload_type=0, **options):
    rig = MediaRig(**options)
    rig.open_leg(uplink=form)
    rig.arrive(packets_of(octets, payload_type))
    rig.run(len(octets) / 8000 + 0.1)
    return rig.uplink[0]


@pytest.mark.parametrize("form", AudioFormat)
def test_silence_is_fed_at_real_time_when_the_peer_sends_nothing(form):
    rig = MediaRig()
    rig.open_leg(uplink=form)
    rig.run(3.0)
    assert rig.uplink[0] == form.silence * (3000 * form.bytes_per_ms // len(form.silence))


@pytest.mark.parametrize("form", AudioFormat)
def test_silence_goes_on_after_the_peer_stopped(form):
    rig = MediaRig()
    rig.open_leg(uplink=form)
    rig.arrive(numbered(20))
    rig.run(2.0)
    assert len(rig.uplink[0]) == 2000 * form.bytes_per_ms
    second = 1000 * form.bytes_per_ms
    assert rig.uplink[0][second:] == form.silence * (second // len(form.silence))


@pytest.mark.parametrize("law", [PCMU, PCMA], ids=["PCMU", "PCMA"])
@pytest.mark.parametrize("form", [AudioFormat.PCMU, AudioFormat.PCMA])
def test_g711_passes_untouched_or_by_the_table(form, law):
    octets = np.random.default_rng(2).integers(0, 256, 3200).astype(np.uint8)
    target = PCMU if form is AudioFormat.PCMU else PCMA
    audio = heard(form, octets.tobytes(), law.static_payload_type)
    assert audio[320:3520] == codec.translate(octets, law, target).tobytes()


def test_linear_at_8_khz_is_decoded():
    octets = audioop.lin2alaw(voice(0.4).tobytes(), 2)
    assert heard(AudioFormat.PCM16_8K, octets, 8)[640:7040] == audioop.alaw2lin(octets, 2)


@pytest.mark.parametrize(("form", "ratio"), [(AudioFormat.PCM16_24K, 3), (AudioFormat.PCM16_16K, 2)])
def test_higher_rates_carry_the_same_voice_and_nothing_above_it(form, ratio):
    octets = audioop.lin2ulaw(voice().tobytes(), 2)
    rate_hz = 8000 * ratio
    audio = np.frombuffer(heard(form, octets), "<i2")[rate_hz // 10 :][: rate_hz // 2].astype(float)
    spectrum = np.abs(np.fft.rfft(audio)) * 2 / audio.size
    hz = np.fft.rfftfreq(audio.size, 1 / rate_hz)
    for tone in (300, 1100):
        assert spectrum[hz == tone][0] == pytest.approx(6000, rel=0.02)
    above = 20 * np.log10(spectrum[hz >= 4600].max() / 6000)
    assert above <= -69, f"image {above:.1f} dB"


@pytest.mark.parametrize("append_ms", [20, 40, 60, 100])
def test_pieces_have_the_length_asked_for_and_join_to_the_same_audio(append_ms):
    rig = MediaRig(append_ms=append_ms)
    rig.open_leg(uplink=AudioFormat.PCM16_24K)
    rig.open_leg(uplink=AudioFormat.PCMU)
    sizes = {0: set(), 1: set()}
    original = rig.engine.transcode

    def transcode(now):
        events = original(now)
        for piece in events.uplink:
            sizes[piece.leg].add(len(piece.audio))
        return events

    rig.engine.transcode = transcode
    octets = audioop.lin2ulaw(voice(0.6).tobytes(), 2)
    for leg in (0, 1):
        rig.arrive(packets_of(octets), leg=leg)
    rig.run(1.2)
    assert sizes == {0: {append_ms * 48}, 1: {append_ms * 8}}
    assert rig.uplink[1][320 : 320 + len(octets)] == octets
    assert len(rig.uplink[0]) == 6 * len(rig.uplink[1]) == 1200 * 48


def test_other_lengths_of_pieces_are_refused():
    with pytest.raises(ValueError, match="append_ms"):
        MediaOptions(append_ms=30)


def test_a_stall_is_caught_up_so_that_the_time_of_the_audio_is_true():
    rig = MediaRig()
    rig.open_leg()
    rig.run(0.5)
    rig.stall(0.4)
    rig.run(0.5)
    assert len(rig.uplink[0]) == 8 * 1400
