"""The caller's audio in every provider's format, on the clock."""

import audioop
from collections import Counter, defaultdict

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


class Listener:
    """Notes each piece of a rig's engine, and in which tick it came."""

    def __init__(self, rig):
        self.pieces = defaultdict(list)
        self._rig, self._transcode = rig, rig.engine.transcode
        rig.engine.transcode = self

    def __call__(self, now):
        events = self._transcode(now)
        for piece in events.uplink:
            self.pieces[piece.leg].append((self._rig.ticks, len(piece.audio)))
        return events


@pytest.mark.parametrize("append_ms", [20, 40, 60, 100])
def test_pieces_have_the_length_asked_for_and_join_to_the_same_audio(append_ms):
    rig = MediaRig(append_ms=append_ms)
    listener = Listener(rig)
    rig.open_leg(uplink=AudioFormat.PCM16_24K)
    rig.open_leg(uplink=AudioFormat.PCMU)
    octets = audioop.lin2ulaw(voice(0.6).tobytes(), 2)
    for leg in (0, 1):
        rig.arrive(packets_of(octets), leg=leg)
    rig.run(1.3)
    for leg, bytes_per_ms in ((0, 48), (1, 8)):
        assert {size for _, size in listener.pieces[leg][1:]} == {append_ms * bytes_per_ms}
    assert rig.uplink[1][320 : 320 + len(octets)] == octets
    together = min(len(rig.uplink[0]) // 6, len(rig.uplink[1]))
    assert together >= 1200 * 8
    mono = np.frombuffer(rig.uplink[0][: together * 6], "<i2").astype(float)
    rates = [np.abs(np.fft.rfft(mono[4800:14400])).argmax() * 24000 / 9600]
    assert rates[0] in (300, 1100)


def test_long_pieces_of_many_legs_are_spread_over_the_ticks():
    rig = MediaRig(append_ms=100, max_legs=40)
    listener = Listener(rig)
    for _ in range(40):
        rig.open_leg()
    rig.run(1.0)
    per_tick = Counter(tick for told in listener.pieces.values() for tick, _ in told if tick >= 100)
    assert set(per_tick.values()) == {2}  # 40 legs, a piece each in 20 ticks


def test_the_length_of_pieces_changes_under_way_and_no_audio_is_lost():
    rig = MediaRig(max_legs=8)
    listener = Listener(rig)
    for _ in range(8):
        rig.open_leg()
    octets = bytes(i % 100 for i in range(160) for _ in range(160))
    for leg in range(8):
        rig.arrive(packets_of(octets), leg=leg)
    for append_ms in (20, 60, 100, 40, 100, 60, 20):
        rig.engine.append_ms = append_ms
        changed = rig.ticks
        rig.run(0.43)
        settled = [size for told in listener.pieces.values() for tick, size in told if tick >= changed + 25]
        assert set(settled) == {append_ms * 8}
    rig.run(0.5)
    for leg in range(8):
        assert octets in rig.uplink[leg]
    with pytest.raises(ValueError, match="append_ms"):
        rig.engine.append_ms = 30


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
