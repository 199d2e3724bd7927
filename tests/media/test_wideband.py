"""Legs that speak G.722, by what both ends hear; the peers' coders are libg722, as in other people's telephones."""

import itertools

import numpy as np
import pytest

from gateway.media import codec
from gateway.media.codec import PCMA, PCMU, AudioFormat
from gateway.media.g722 import G722Coder
from tests.support.listening import _locate, align, level_dbov, resampled, tone, tone_seconds
from tests.support.media_rig import MediaRig, leg_options
from tests.support.rtp_packets import rtp_packet

pytest.importorskip("G722", reason="the `wideband` extra is not installed")

WIDE_HZ = 16000
LINEAR = [AudioFormat.PCM16_24K, AudioFormat.PCM16_16K, AudioFormat.PCM16_8K]
RECEIVE = ((0, "PCMU"), (8, "PCMA"), (9, "G722"))
G722_LEG = {"payload_type": 9, "format": "G722", "receive_payload_types": RECEIVE}
PCMU_LEG = {"payload_type": 0, "format": "PCMU", "receive_payload_types": RECEIVE}


def wide(form=AudioFormat.PCM16_16K, **changes):
    return {**G722_LEG, "uplink": form, "downlink": form, **changes}


def said(samples, *, start_s=0.0, first=0, coder=None, **fields):
    """`samples` at 16 kHz as G.722 packets of 20 ms, `(send time, datagram)`."""
    octets = (coder or G722Coder()).encode(samples)
    return [
        (
            start_s + i * 0.02,
            rtp_packet(first + i, 160 * (first + i), octets[160 * i :][:160], payload_type=9, **fields),
        )
        for i in range(len(octets) // 160)
    ]


def said_in_g711(samples, *, start_s=0.0, first=0):
    octets = codec.encode(samples, PCMU).tobytes()
    return [
        (start_s + i * 0.02, rtp_packet(first + i, 160 * (first + i), octets[160 * i :][:160]))
        for i in range(len(octets) // 160)
    ]


def uplink(rig, leg=0):
    return np.frombuffer(rig.uplink[leg], "<i2")


def heard_by_peer(rig, leg=0):
    """What a peer makes of all that was sent, at 16 kHz; with another codec it begins anew."""
    sent = [packet for packet in rig.sent if packet.leg == leg]
    parts = []
    for payload_type, packets in itertools.groupby(sent, lambda packet: packet.payload_type):
        octets = b"".join(packet.payload for packet in packets)
        if payload_type == 9:
            parts.append(G722Coder().decode(octets))
        else:
            codes = np.frombuffer(octets, np.uint8).astype(np.uint16) | PCMU.first_code
            parts.append(resampled(codec.decode(codes), 8000, WIDE_HZ))
    return np.concatenate(parts)


def voice(seconds, top_hz=6500):
    """Harmonics of a wandering pitch, softer the higher, up to `top_hz`; never the same twice, so it can be placed."""
    time_s = np.arange(round(seconds * WIDE_HZ)) / WIDE_HZ
    pitch_hz = 150 + 40 * np.sin(2 * np.pi * 0.37 * time_s) + 15 * np.sin(2 * np.pi * 1.9 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / WIDE_HZ
    harmonics = sum(np.sin(k * phase + k * k) / k**0.7 for k in range(1, int(top_hz / 205) + 1))
    return np.rint(1800 * harmonics * (0.7 + 0.3 * np.sin(2 * np.pi * 2.3 * time_s))).astype(np.int16)


def in_form(speech, form):
    """16 kHz samples as bytes of a provider's format."""
    made = resampled(speech, WIDE_HZ, form.sample_rate_hz)
    law = {AudioFormat.PCMU: PCMU, AudioFormat.PCMA: PCMA}.get(form)
    return made.tobytes() if law is None else codec.encode(made, law).tobytes()


def largest_step(samples):
    return int(np.abs(np.diff(samples.astype(np.int32))).max())


class TestUplink:
    @pytest.mark.parametrize("form", [AudioFormat.PCM16_24K, AudioFormat.PCM16_16K])
    def test_the_model_hears_what_a_telephone_cannot_carry(self, form):
        rig = MediaRig()
        rig.open_leg(**wide(form))
        rig.arrive(said(tone(5500, 1.0, rate_hz=WIDE_HZ)))
        rig.run(1.2)
        heard = uplink(rig)
        assert heard.size == 1.2 * form.sample_rate_hz
        assert tone_seconds(heard, 5500, rate_hz=form.sample_rate_hz) == pytest.approx(
            1.03, abs=0.05
        )  # 60 ms are made up at its end
        middle = heard[form.sample_rate_hz // 4 : form.sample_rate_hz * 3 // 4]
        assert level_dbov(middle) == pytest.approx(-18, abs=0.3)

    @pytest.mark.parametrize("form", LINEAR)
    def test_the_caller_is_heard_undistorted_at_the_right_time(self, form):
        speech = voice(3.5, top_hz=3000)
        rig = MediaRig()
        rig.open_leg(**wide(form))
        rig.arrive(said(speech))
        rig.run(3.8)
        found = align(resampled(speech, WIDE_HZ, 8000), resampled(uplink(rig), form.sample_rate_hz, 8000))
        assert found.correlation > 0.99
        assert found.speed == pytest.approx(1.0, abs=0.001)
        assert found.offset_s < 0.065

    @pytest.mark.parametrize("form", [AudioFormat.PCMU, AudioFormat.PCMA])
    def test_a_provider_with_g711_alone_hears_the_telephone_band(self, form):
        rig = MediaRig()
        rig.open_leg(**wide(form))
        rig.arrive(
            said(tone(1000, 0.5, rate_hz=WIDE_HZ)) + said(tone(6000, 0.5, rate_hz=WIDE_HZ), start_s=0.5, first=25)
        )
        rig.run(1.1)
        law = {AudioFormat.PCMU: 0x100, AudioFormat.PCMA: 0x200}[form]
        heard = codec.decode(np.frombuffer(rig.uplink[0], np.uint8).astype(np.uint16) | law)
        assert tone_seconds(heard, 1000) == pytest.approx(0.5, abs=0.04)
        assert level_dbov(heard[5200:8000]) < -55  # 6000 Hz is gone, and not folded to 2000

    @pytest.mark.parametrize("form", AudioFormat)
    def test_silence_is_fed_in_real_time_before_and_after_the_peer_sends(self, form):
        rig = MediaRig()
        rig.open_leg(**wide(form))
        rig.run(1.0)
        assert rig.uplink[0] == form.silence * (1000 * form.bytes_per_ms // len(form.silence))
        rig.arrive(said(tone(3000, 0.4, rate_hz=WIDE_HZ), start_s=1.0))
        rig.run(2.0)
        assert len(rig.uplink[0]) == 3000 * form.bytes_per_ms
        last = rig.uplink[0][2000 * form.bytes_per_ms :]
        assert last == form.silence * (len(last) // len(form.silence))

    def test_a_peer_may_go_from_one_codec_to_the_other_and_back(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        narrow = tone(1000, 1.5, level_dbov=-18)
        rig.arrive(said(tone(1000, 1.0, rate_hz=WIDE_HZ)))
        rig.arrive(said_in_g711(narrow, start_s=1.0, first=50))
        rig.arrive(said(tone(5000, 1.0, rate_hz=WIDE_HZ), start_s=2.5, first=125))
        rig.run(3.7)
        heard = uplink(rig)
        assert tone_seconds(heard, 1000, rate_hz=WIDE_HZ) == pytest.approx(2.5, abs=0.08)
        assert tone_seconds(heard, 5000, rate_hz=WIDE_HZ) == pytest.approx(1.03, abs=0.06)
        assert rig.engine.statistics(0).packets_lost == 0

    def test_a_peer_who_stays_with_g711_is_worked_on_with_all_others_again(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(said(tone(1000, 0.2, rate_hz=WIDE_HZ)) + said_in_g711(tone(1000, 2.0), start_s=0.2, first=10))
        rig.run(0.5)
        assert rig.engine._jitter.is_wideband[0]
        rig.run(2.0)
        assert not rig.engine._jitter.is_wideband[0]
        assert tone_seconds(uplink(rig), 1000, rate_hz=WIDE_HZ) == pytest.approx(2.23, abs=0.06)

    def test_reordered_and_doubled_packets_are_decoded_once_and_in_order(self):
        packets = said(voice(2.0))
        clean, rough = MediaRig(), MediaRig()
        for rig in (clean, rough):
            rig.open_leg(**wide())
        clean.arrive(packets)
        for i in range(3, 90, 7):
            (early_s, first), (late_s, second) = packets[i], packets[i + 1]
            packets[i], packets[i + 1] = (early_s, second), (late_s, first)
        rough.arrive(packets + packets[10:20])
        clean.run(2.2)
        rough.run(2.2)
        assert (uplink(clean) == uplink(rough)).all()

    def test_lost_packets_are_covered_and_counted(self):
        rng = np.random.default_rng(7)
        packets = said(tone(700, 4.0, rate_hz=WIDE_HZ))
        kept = [packet for packet in packets if rng.random() > 0.05]
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(kept)
        rig.run(4.2)
        lost = len(packets) - len(kept)
        statistics = rig.engine.statistics(0)
        assert (statistics.packets_lost, statistics.concealed_ms) == (lost, 20 * lost + 60)  # and 60 ms at the end
        heard = uplink(rig)[WIDE_HZ // 10 : 4 * WIDE_HZ]
        blocks = np.sqrt((heard[: heard.size // 80 * 80].reshape(-1, 80).astype(float) ** 2).mean(axis=1))
        assert (blocks > 500).mean() > 0.98  # 5 ms each; the tone has 2900

    def test_after_a_gap_the_voice_goes_on_without_a_step(self):
        packets = said(tone(300, 1.0, rate_hz=WIDE_HZ))
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(packets[:20] + packets[21:30] + packets[32:])
        rig.run(1.0)
        assert largest_step(uplink(rig)) < 3 * largest_step(tone(300, 1.0, rate_hz=WIDE_HZ))

    @pytest.mark.parametrize("lost_packets", [5, 40])
    def test_after_a_long_loss_the_voice_is_clear_again_within_100_ms(self, lost_packets):
        speech = voice(3.0)
        rig = MediaRig()
        rig.open_leg(**wide())
        packets = said(speech)
        rig.arrive(packets[:50] + packets[50 + lost_packets :])
        rig.run(3.1)
        assert _locate(speech[50 * 320 + lost_packets * 320 + WIDE_HZ // 10 :], uplink(rig))[1] > 0.97

    @pytest.mark.parametrize("lost_packets", [3, 5, 20])
    def test_a_voice_that_ends_in_a_loss_leaves_no_bang_behind(self, lost_packets):
        """What a decoder knows of a loud voice makes noise, as loud, of the soft octets that follow."""
        packets = said(np.concatenate([tone(300, 1.0, level_dbov=-8, rate_hz=WIDE_HZ), voice(1.0) // 16]))
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(packets[: 50 - lost_packets + 1] + packets[51:])
        rig.run(2.0)
        assert np.abs(uplink(rig)[round(1.08 * WIDE_HZ) :].astype(int)).max() < 600

    def test_nothing_of_g711_is_left_when_it_comes_again(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        quiet = np.zeros(WIDE_HZ // 5, np.int16)
        rig.arrive(said(quiet) + said_in_g711(tone(1000, 0.2), start_s=0.2, first=10))
        rig.arrive(said(quiet, start_s=0.4, first=20) + said_in_g711(quiet[::2], start_s=0.6, first=30))
        rig.run(1.0)
        assert np.abs(uplink(rig)[round(0.55 * WIDE_HZ) :]).max() < 20

    def test_a_voice_without_pauses_is_shortened_without_a_step(self):
        speech = tone(2503, 8.0, rate_hz=WIDE_HZ)  # 50.06 periods a frame: without one, the waves do not meet
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive([(max(at_s, 0.86) if at_s > 0.7 else at_s, packet) for at_s, packet in said(speech)])
        rig.run(1.1)
        buffered = rig.engine._jitter._end[0] - rig.engine._jitter._head[0]
        rig.run(6.0)
        assert rig.engine._jitter._end[0] - rig.engine._jitter._head[0] <= buffered - 5 * 160
        assert largest_step(uplink(rig)[WIDE_HZ * 6 // 5 : WIDE_HZ * 7]) < 1.1 * largest_step(speech)

    def test_keys_and_comfort_noise_leave_silence_and_no_made_up_voice(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        packets = said(tone(1000, 1.0, rate_hz=WIDE_HZ))
        comfort = (0.5, rtp_packet(25, 160 * 25, b"\x40", payload_type=13))
        rig.arrive(
            [
                *packets[:25],
                comfort,
                *[
                    (at_s + 0.5, datagram)
                    for at_s, datagram in said(tone(1000, 0.5, rate_hz=WIDE_HZ), start_s=0.5, first=50)
                ],
            ]
        )
        rig.run(1.7)
        assert rig.engine.statistics(0).concealed_ms <= 60
        assert not uplink(rig)[round(0.62 * WIDE_HZ) : round(0.98 * WIDE_HZ)].any()

    def test_a_leg_on_hold_is_silent_at_once(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(said(tone(1000, 2.0, rate_hz=WIDE_HZ)))
        rig.run(1.0)
        rig.engine.set_direction(0, send=True, receive=False)
        before = len(rig.uplink[0])
        rig.run(0.5)
        assert not any(rig.uplink[0][before:])

    @pytest.mark.parametrize(("said_by_peer", "has_sound"), [(np.zeros(8000, np.int16), False), (voice(0.5), True)])
    def test_digital_silence_is_told_from_sound(self, said_by_peer, has_sound):
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(said(said_by_peer))
        rig.run(1.0)
        assert rig.engine.signs(0).has_sound is has_sound

    def test_a_delay_that_a_burst_left_is_given_back(self):
        speech = voice(10.0) * np.repeat(np.arange(20) % 2, WIDE_HZ // 2).astype(np.int16)
        packets = [(max(at_s, 0.86) if at_s > 0.7 else at_s, p) for at_s, p in said(speech)]
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.arrive(packets)
        rig.run(10.0)
        place, correlation = _locate(speech[WIDE_HZ * 8 :][: WIDE_HZ * 3 // 2], uplink(rig))
        assert correlation > 0.9
        assert place / WIDE_HZ - 8 < 0.09


class TestDownlink:
    @pytest.mark.parametrize("form", [AudioFormat.PCM16_24K, AudioFormat.PCM16_16K])
    def test_the_peer_hears_what_a_telephone_cannot_carry(self, form):
        rig = MediaRig()
        rig.open_leg(**wide(form))
        rig.run(0.2)
        rig.engine.play(0, "item", tone(6500, 1.0, rate_hz=form.sample_rate_hz).tobytes())
        rig.engine.end_item(0, "item")
        rig.run(1.5)
        heard = heard_by_peer(rig)
        assert tone_seconds(heard, 6500, rate_hz=WIDE_HZ) == pytest.approx(1.0, abs=0.04)
        assert level_dbov(heard[WIDE_HZ // 2 : WIDE_HZ]) == pytest.approx(-18, abs=0.4)
        assert [event.item_id for event in rig.finished] == ["item"]
        assert {packet.payload_type for packet in rig.sent} == {9}
        assert {len(packet.payload) for packet in rig.sent} == {160}

    @pytest.mark.parametrize("form", AudioFormat)
    def test_every_format_arrives_undistorted(self, form):
        speech = voice(3.5, top_hz=3000)
        rig = MediaRig()
        rig.open_leg(**wide(form))
        rig.engine.play(0, "item", in_form(speech, form))
        rig.engine.end_item(0, "item")
        rig.run(4.0)
        found = align(speech, heard_by_peer(rig), rate_hz=WIDE_HZ)
        assert found.correlation > 0.98
        assert found.speed == pytest.approx(1.0, abs=0.001)

    def test_nothing_to_say_is_heard_as_silence_without_a_click(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.run(2.0)
        assert np.abs(heard_by_peer(rig)).max() < 20

    def test_octets_are_those_of_one_coder_that_heard_all_that_was_sent(self):
        """Whatever is flushed, late or filled up: the coder's memory is the peer's."""
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.run(0.1)
        speech = voice(2.0)
        rig.engine.play(0, "one", speech[: WIDE_HZ // 2].tobytes())
        rig.run(0.3)
        (heard,) = rig.engine.flush(0)
        rig.run(0.1)
        rig.engine.play(0, "two", speech[WIDE_HZ:].tobytes())
        rig.engine.end_item(0, "two")
        rig.run(1.5)
        first = next(i for i, packet in enumerate(rig.sent) if packet.marked and i > 0)
        second = next(i for i, packet in enumerate(rig.sent) if packet.marked and i > first)
        sent = np.zeros(len(rig.sent) * 320, np.int16)
        sent[first * 320 :][: heard.heard_ms * 16] = speech[: heard.heard_ms * 16]
        sent[second * 320 :][:WIDE_HZ] = speech[WIDE_HZ:]
        assert rig.sent_audio() == G722Coder().encode(sent)

    def test_interrupted_speech_ends_within_60_ms_and_is_told_exactly(self):
        rig = MediaRig()
        rig.open_leg(**wide(AudioFormat.PCM16_24K))
        rig.engine.play(0, "item", tone(5000, 5.0, rate_hz=24000).tobytes())
        rig.run(1.0)
        at = len(rig.sent)
        (heard,) = rig.engine.flush(0)
        rig.run(1.0)
        listened = heard_by_peer(rig)
        voiced_s = tone_seconds(listened, 5000, rate_hz=WIDE_HZ)
        assert (heard.item_id, heard.received_ms) == ("item", 5000)
        assert heard.heard_ms / 1000 == pytest.approx(voiced_s, abs=0.02)
        assert level_dbov(listened[(at + 3) * 320 :]) < -60

    def test_prompts_of_our_own_are_heard(self):
        rig = MediaRig()
        rig.open_leg(**wide())
        rig.engine.play_pcm(0, "prompt", tone(1000, 0.5))
        rig.engine.end_item(0, "prompt")
        rig.run(1.0)
        assert tone_seconds(heard_by_peer(rig), 1000, rate_hz=WIDE_HZ) == pytest.approx(0.5, abs=0.04)
        assert [event.item_id for event in rig.finished] == ["prompt"]

    @pytest.mark.parametrize("ptime_ms", [10, 30, 60])
    def test_packets_have_the_length_that_the_peer_asked_for(self, ptime_ms):
        rig = MediaRig()
        rig.open_leg(**wide(ptime_ms=ptime_ms))
        rig.engine.play(0, "item", tone(2000, 0.6, rate_hz=WIDE_HZ).tobytes())
        rig.run(1.0)
        assert {len(packet.payload) for packet in rig.sent} == {8 * ptime_ms}
        assert {b.timestamp - a.timestamp for a, b in zip(rig.sent, rig.sent[1:], strict=False)} == {8 * ptime_ms}
        assert tone_seconds(heard_by_peer(rig), 2000, rate_hz=WIDE_HZ) == pytest.approx(0.6, abs=0.04)

    def test_pieces_of_odd_sizes_make_the_same_sound(self):
        speech = in_form(voice(1.5), AudioFormat.PCM16_24K)
        rng = np.random.default_rng(2)
        whole, pieces = MediaRig(), MediaRig()
        for rig in (whole, pieces):
            rig.open_leg(**wide(AudioFormat.PCM16_24K))
        whole.engine.play(0, "item", speech)
        while speech:
            size = int(rng.integers(1, 7000))
            pieces.engine.play(0, "item", speech[:size])
            speech = speech[size:]
        for rig in (whole, pieces):
            rig.engine.end_item(0, "item")
            rig.run(2.0)
        assert np.abs(heard_by_peer(whole).astype(int) - heard_by_peer(pieces)).max() < 200


class TestReconfigured:
    @pytest.mark.parametrize("form", AudioFormat)
    def test_queued_speech_survives_every_change_of_codec(self, form):
        speech = voice(4.0, top_hz=3000)
        rig = MediaRig()
        rig.open_leg(**{**wide(form), **PCMU_LEG})
        rig.engine.play(0, "item", in_form(speech, form))
        rig.engine.end_item(0, "item")
        rig.run(1.0)
        for changes in (G722_LEG, PCMU_LEG, G722_LEG):
            rig.engine.reconfigure_leg(0, leg_options(**{**wide(form), **changes}), rig.now)
            rig.run(1.0)
        rig.run(0.3)
        heard = heard_by_peer(rig)
        for second in range(4):  # the coder of G.722 alone delays by 1.4 ms
            place, correlation = _locate(speech[second * WIDE_HZ :][3200:-3200][: WIDE_HZ - 6400], heard)
            assert correlation > 0.97, f"second {second}"
            assert place / WIDE_HZ - second - 0.2 == pytest.approx(0.0, abs=0.003), f"second {second}"
        assert [event.item_id for event in rig.finished] == ["item"]
        assert [packet.payload_type for packet in rig.sent[::50]][:4] == [0, 9, 0, 9]

    def test_the_ledger_counts_on_through_a_change(self):
        rig = MediaRig()
        rig.open_leg(**{**wide(), **PCMU_LEG})
        rig.engine.play(0, "item", tone(1000, 5.0, rate_hz=WIDE_HZ).tobytes())
        rig.run(1.0)
        rig.engine.reconfigure_leg(0, leg_options(**wide()), rig.now)
        rig.run(1.0)
        rig.engine.reconfigure_leg(0, leg_options(**{**wide(), **PCMU_LEG}), rig.now)
        rig.run(0.5)
        (heard,) = rig.engine.flush(0)
        assert heard.heard_ms / 1000 == pytest.approx(tone_seconds(heard_by_peer(rig), 1000, rate_hz=WIDE_HZ), abs=0.03)
        assert (heard.heard_ms % 20, heard.received_ms) == (0, 5000)

    def test_speech_in_the_pipeline_changes_its_band_with_the_leg(self):
        """A provider that sends faster than a tick can take: chunks, filter and queue all have something."""
        rig = MediaRig()
        form = AudioFormat.PCM16_24K
        rig.open_leg(**{**wide(form), **PCMU_LEG})
        speech = voice(6.0, top_hz=3000)
        rig.engine.play(0, "item", in_form(speech, form))
        rig.engine.end_item(0, "item")
        rig.tick()
        rig.engine.reconfigure_leg(0, leg_options(**wide(form)), rig.now)
        rig.tick()
        rig.engine.reconfigure_leg(0, leg_options(**{**wide(form), **PCMU_LEG}), rig.now)
        rig.run(6.4)
        found = align(speech, heard_by_peer(rig), rate_hz=WIDE_HZ)
        assert found.correlation > 0.97
        assert [event.item_id for event in rig.finished] == ["item"]


class TestRecorded:
    @pytest.mark.parametrize("ptime_ms", [10, 20, 60])
    def test_a_recording_has_the_telephone_band_of_both_sides_without_a_click(self, ptime_ms):
        rig = MediaRig()
        rig.open_leg(**wide(ptime_ms=ptime_ms))
        pieces = []
        rig.engine.start_recording(0, rig.now)
        rig.arrive(said(tone(1000, 1.4, rate_hz=WIDE_HZ)))
        rig.engine.play(0, "item", tone(600, 1.4, rate_hz=WIDE_HZ).tobytes())
        transcode = rig.engine.transcode
        rig.engine.transcode = lambda now: pieces.extend((events := transcode(now)).recorded) or events
        rig.run(2.0)
        pieces += rig.engine.stop_recording(0, rig.now)
        heard, sent = np.concatenate([piece.samples for piece in pieces], axis=1)
        assert tone_seconds(heard, 1000) == pytest.approx(1.43, abs=0.06)
        assert tone_seconds(sent, 600) == pytest.approx(1.4, abs=0.06)
        assert level_dbov(sent[4000:8000]) == pytest.approx(-18, abs=0.1)
        spectrum = np.abs(np.fft.rfft(sent[4000:8000].astype(float)))
        spectrum[295:306] = 0
        assert 20 * np.log10(spectrum.max() / (5830 * 2000)) < -50


class TestKeys:
    def test_keys_of_ours_are_tones_where_the_peer_takes_no_events(self):
        rig = MediaRig()
        rig.open_leg(**wide(telephone_event_payload_type=None))
        rig.run(0.2)
        rig.engine.send_digits(0, "5", duration_ms=400)
        rig.run(1.0)
        heard = heard_by_peer(rig)
        power = np.abs(np.fft.rfft(heard.astype(float), 4 * WIDE_HZ)) ** 2
        loudest = np.argsort(power)[::-1][:40] / 4
        assert {round(float(hz) / 10) * 10 for hz in loudest} <= {760, 770, 780, 1330, 1340}
        assert level_dbov(heard[round(0.3 * WIDE_HZ) : round(0.5 * WIDE_HZ)]) > -15

    def test_tones_of_the_peers_are_keys(self):
        rig = MediaRig()
        rig.open_leg(**wide(telephone_event_payload_type=None, hears_tones=True))
        both = tone(770, 0.2, rate_hz=WIDE_HZ) + tone(1336, 0.2, rate_hz=WIDE_HZ)
        rig.arrive(said(np.concatenate([np.zeros(3200, np.int16), both, np.zeros(3200, np.int16)])))
        rig.run(1.0)
        assert [event.digit for event in rig.digits] == ["5"]


class TestAmongOthers:
    def test_a_leg_of_g711_sends_and_hears_the_same_beside_legs_of_g722(self):
        alone, crowded = MediaRig(max_legs=8), MediaRig(max_legs=8)
        for rig in (alone, crowded):
            rig.open_leg(uplink=AudioFormat.PCM16_24K, downlink=AudioFormat.PCM16_24K)
            rig.arrive(said_in_g711(tone(800, 2.0)))
            rig.engine.play(0, "item", tone(500, 1.5, rate_hz=24000).tobytes())
        for leg in range(1, 8):
            assert crowded.open_leg(**wide(AudioFormat.PCM16_24K)) == leg
            crowded.arrive(said(voice(2.0)), leg=leg)
            crowded.engine.play(leg, "item", tone(5000, 1.5, rate_hz=24000).tobytes())
        for rig in (alone, crowded):
            rig.run(2.0)
        assert alone.sent_audio(0) == crowded.sent_audio(0)
        assert np.abs(uplink(alone).astype(int) - uplink(crowded)).max() <= 1

    def test_a_slot_used_again_remembers_nothing(self):
        rig = MediaRig(max_legs=1)
        rig.open_leg(**wide())
        rig.arrive(said(voice(0.5)))
        rig.engine.play(0, "item", voice(1.0).tobytes())
        rig.run(0.4)
        rig.engine.close_leg(0)
        rig.sent.clear()
        rig.uplink.clear()
        rig.run(0.5)
        assert rig.open_leg(**wide()) == 0
        rig.run(0.5)
        assert not uplink(rig).any()
        assert rig.sent_audio() == G722Coder().encode(np.zeros(len(rig.sent) * 320, np.int16))
        packets = said(voice(0.5))
        rig.uplink.clear()
        rig.arrive([(at_s + rig.elapsed_s, datagram) for at_s, datagram in packets])
        rig.run(1.0)
        fresh = MediaRig(max_legs=1)
        fresh.open_leg(**wide())
        fresh.arrive(packets)
        fresh.run(1.0)
        assert (np.trim_zeros(uplink(rig)) == np.trim_zeros(uplink(fresh))).all()
        rig.engine.close_leg(0)
        rig.sent.clear()
        assert rig.open_leg() == 0
        assert not rig.engine._jitter.is_wideband[0]
        rig.run(0.1)
        assert set(rig.sent_audio()) == {PCMU.silence}

    def test_wideband_speech_is_counted_in_ticks_like_all_other(self):
        rig = MediaRig()
        rig.open_leg(
            **wide(AudioFormat.PCM16_24K),
        )
        rig.engine.play(0, "item", bytes(48 * 1000))
        assert rig.engine.queued_ms(0) == pytest.approx(1000, abs=1)
        rig.run(0.5)
        assert rig.engine.queued_ms(0) == pytest.approx(500, abs=25)
