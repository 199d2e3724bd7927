"""Recordings of a leg: who is heard on which side, when, and for how long; by listening."""

import audioop
import os

import numpy as np
import pytest

from gateway.media.codec import AudioFormat
from gateway.media.recorder import HEARD, MAX_GAP_TICKS, PIECE_TICKS, RING_TICKS, SENT, Recorder
from tests.support.listening import align, level_dbov, silence, tone, tone_seconds
from tests.support.media_rig import MediaRig
from tests.support.rtp_packets import rtp_packet

CALLER_HZ, AGENT_HZ = 440, 1000
JITTER_BUFFER_S = 0.05
"""Of 40 to 60 ms."""


def mu_law(samples):
    return audioop.lin2ulaw(samples.astype("<i2").tobytes(), 2)


def a_law(samples):
    return audioop.lin2alaw(samples.astype("<i2").tobytes(), 2)


def speech(samples, *, start_s=0.0, ptime_ms=20, drift_ppm=0.0, **fields):
    """The packets of a caller who says `samples`, as `(send time, datagram)`."""
    octets, size = mu_law(samples), 8 * ptime_ms
    step_s = ptime_ms / 1000 * (1 - drift_ppm / 1e6)
    return [
        (start_s + i * step_s, rtp_packet(i, size * i, octets[size * i :][:size], **fields))
        for i in range(len(octets) // size)
    ]


class Recording:
    """Records a leg of a rig, and keeps what comes."""

    def __init__(self, rig, leg):
        self.rig, self.leg, self._pieces = rig, leg, []
        rig.engine.start_recording(leg, rig.now)
        transcode = rig.engine.transcode

        def listen(now):
            events = transcode(now)
            self._pieces += [piece.samples for piece in events.recorded if piece.leg == leg]
            return events

        rig.engine.transcode = listen

    def stop(self):
        self._pieces += [piece.samples for piece in self.rig.engine.stop_recording(self.leg, self.rig.now)]
        return np.concatenate(self._pieces, axis=1)


def onset_s(samples, frequency_hz):
    """When the first sound begins, which is a tone of that frequency."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 500)
    assert loud.size, f"{frequency_hz} Hz is never heard"
    assert tone_seconds(samples[loud[0] : loud[0] + 800], frequency_hz) >= 0.08
    return loud[0] / 8000


def one_leg(*, tick_s=0.005, **options):
    rig = MediaRig(tick_s=tick_s)
    leg = rig.open_leg(uplink=AudioFormat.PCM16_24K, downlink=AudioFormat.PCM16_8K, **options)
    return rig, leg


def test_caller_is_on_the_left_and_agent_on_the_right():
    rig, leg = one_leg()
    rig.arrive(speech(tone(CALLER_HZ, 2.0)))
    recording = Recording(rig, leg)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 2.0).tobytes())
    rig.run(3.0)
    left, right = recording.stop()
    assert (tone_seconds(left, CALLER_HZ), tone_seconds(left, AGENT_HZ)) == (pytest.approx(2.0, abs=0.1), 0)
    assert (tone_seconds(right, AGENT_HZ), tone_seconds(right, CALLER_HZ)) == (pytest.approx(2.0, abs=0.1), 0)


@pytest.mark.parametrize("form", ["PCMU", "PCMA"])
@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
def test_both_sides_are_on_one_time_line_whatever_law_and_packets_are(form, ptime_ms):
    rig, leg = one_leg(format=form, payload_type={"PCMU": 0, "PCMA": 8}[form], ptime_ms=ptime_ms)
    rig.arrive(speech(np.concatenate((silence(1.0), tone(CALLER_HZ, 1.0))), payload_type=0))
    recording = Recording(rig, leg)
    rig.run(1.0)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 1.0).tobytes())
    rig.run(2.0)
    left, right = recording.stop()
    assert len(left) == len(right) == 3 * 8000
    assert onset_s(left, CALLER_HZ) == pytest.approx(1.0 + JITTER_BUFFER_S, abs=0.025)
    assert onset_s(right, AGENT_HZ) == pytest.approx(1.0 + ptime_ms / 1000, abs=ptime_ms / 1000 + 0.005)
    assert tone_seconds(right, AGENT_HZ) == pytest.approx(1.0, abs=0.05)


def test_recording_is_what_was_said_and_sent_sample_by_sample():
    rig, leg = one_leg()
    rng = np.random.default_rng(1)
    said, spoken = (np.rint(rng.normal(0, 4000, 8000 * 4)).astype(np.int16) for _ in range(2))
    rig.arrive(speech(said))
    recording = Recording(rig, leg)
    rig.engine.play(leg, "item", spoken.tobytes())
    rig.run(4.5)
    left, right = recording.stop()
    for original, recorded in ((said, left), (spoken, right)):
        found = align(original, recorded)
        assert found.correlation > 0.99
        assert found.jitter_s < 1e-6
    sent = np.frombuffer(rig.sent_audio(leg), np.uint8)
    assert mu_law(right)[: len(sent)].startswith(bytes(sent[: 8000 * 4]))


def test_words_cut_off_by_the_caller_are_cut_on_the_right_side_too():
    rig, leg = one_leg()
    recording = Recording(rig, leg)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 10.0).tobytes())
    rig.run(1.5)
    rig.engine.flush(leg)
    rig.run(1.5)
    _, right = recording.stop()
    assert tone_seconds(right, AGENT_HZ) == pytest.approx(1.5, abs=0.04)
    assert level_dbov(right[int(8000 * 1.6) :]) < -90


def test_direction_on_hold_is_silent_and_the_time_line_goes_on():
    rig, leg = one_leg()
    rig.arrive(speech(tone(CALLER_HZ, 6.0)))
    recording = Recording(rig, leg)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 6.0).tobytes())
    rig.run(2.0)
    rig.engine.set_direction(leg, send=False, receive=False)
    rig.run(2.0)
    rig.engine.set_direction(leg, send=True, receive=True)
    rig.run(2.0)
    left, right = recording.stop()
    for side in (left, right):
        assert not side[int(8000 * 2.1) : int(8000 * 3.9)].any()
    assert onset_s(left[8000 * 3 :], CALLER_HZ) == pytest.approx(1.0 + JITTER_BUFFER_S, abs=0.03)
    assert onset_s(right[8000 * 3 :], AGENT_HZ) == pytest.approx(1.0, abs=0.03)


def test_paused_recording_is_silence_of_the_same_length():
    rig, leg = one_leg()
    rig.arrive(speech(tone(CALLER_HZ, 6.0)))
    recording = Recording(rig, leg)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 6.0).tobytes())
    rig.run(2.0)
    rig.engine.pause_recording(leg, is_paused=True)
    rig.run(2.0)
    rig.engine.pause_recording(leg, is_paused=False)
    rig.run(2.0)
    left, right = recording.stop()
    assert len(left) == 6 * 8000
    for side in (left, right):
        assert not side[int(8000 * 2.03) : int(8000 * 3.97)].any()
        assert level_dbov(side[int(8000 * 4.1) :]) > -25


def test_a_packet_that_is_late_is_recorded_by_when_it_was_due():
    recorder, frame = Recorder(1, rate_hz=8000), np.ones((1, 160), np.int16)
    leg = np.array([0])
    recorder.start(0, 0)
    recorder.take(20)
    recorder.pause(0, is_paused=True)
    recorder.write(HEARD, leg, np.array([16]), 1 * frame)
    recorder.write(HEARD, leg, np.array([20]), 2 * frame)
    recorder.take(32)
    recorder.pause(0, is_paused=False)
    for tick in (24, 28, 32):
        recorder.write(HEARD, leg, np.array([tick]), tick * frame)
    heard = np.concatenate([piece.samples for piece in recorder.stop(0, 40)], axis=1)[HEARD]
    assert heard.reshape(-1, 160)[:, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 32, 0]


def test_keys_that_are_sent_leave_no_audio_that_was_not_sent():
    rig, leg = one_leg()
    recording = Recording(rig, leg)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 3.0).tobytes())
    rig.run(1.0)
    rig.engine.send_digits(leg, "1", duration_ms=400)
    rig.run(1.0)
    _, right = recording.stop()
    assert not right[int(8000 * 1.05) : int(8000 * 1.38)].any()


@pytest.mark.heavy
def test_each_side_is_recorded_when_it_was_heard_over_minutes_with_drift_and_stalls():
    """Every minute both say something; the caller's clock is 150 ppm fast."""
    rig, leg = one_leg(tick_s=0.01)
    minutes, ppm = int(os.environ.get("RECORDING_MINUTES", "1")), 150
    rng = np.random.default_rng(5)
    beep = tone(CALLER_HZ, 0.2)
    said = silence(minutes * 60 * (1 + ppm / 1e6))
    for minute in range(minutes):
        place = round((minute * 60 + 30) * (1 + ppm / 1e6) * 8000)
        said[place : place + len(beep)] = beep
    rig.arrive(speech(said, drift_ppm=ppm))
    recording = Recording(rig, leg)
    heard_s, sent_s = [], []
    for minute in range(minutes):
        rig.run(20)
        rig.stall(float(rng.choice([0, 0.04, 0.2, 0.7])))
        while rig.ticks < minute * 6000 + 3000:
            rig.tick()
        rig.engine.play(leg, "item", tone(AGENT_HZ, 0.2).tobytes())
        rig.engine.end_item(leg, "item")
        while rig.ticks < minute * 6000 + 6000:
            rig.uplink.clear()
            rig.sent.clear()
            rig.tick()
            if len(heard_s) == minute and (np.abs(np.frombuffer(rig.uplink[leg], np.int16)) > 500).any():
                heard_s.append(rig.elapsed_s)
            if len(sent_s) == minute and len(set(rig.sent_audio(leg))) > 2:
                sent_s.append(rig.elapsed_s)
    left, right = recording.stop()
    assert len(left) == len(right) == minutes * 60 * 8000
    assert len(heard_s) == len(sent_s) == minutes
    for minute in range(minutes):
        part, begin_s = slice((minute * 60 + 29) * 8000, (minute * 60 + 32) * 8000), minute * 60 + 29
        assert heard_s[minute] - 0.03 <= begin_s + onset_s(left[part], CALLER_HZ) <= heard_s[minute] + 0.01
        assert sent_s[minute] - 0.03 <= begin_s + onset_s(right[part], AGENT_HZ) <= sent_s[minute] + 0.01


@pytest.mark.parametrize("stall_s", [0.04, 0.5, 1.2, 5.0])
def test_stall_of_the_gateway_shifts_neither_side(stall_s):
    rig, leg = one_leg()
    recording = Recording(rig, leg)
    rig.run(1.0)
    rig.stall(stall_s)
    rig.run(0.5)
    rig.arrive(speech(tone(CALLER_HZ, 1.0), start_s=rig.elapsed_s))
    rig.engine.play(leg, "item", tone(AGENT_HZ, 1.0).tobytes())
    rig.run(2.0)
    left, right = recording.stop()
    assert len(left) / 8000 == pytest.approx(3.5 + stall_s, abs=0.001)
    assert onset_s(right, AGENT_HZ) == pytest.approx(1.5 + stall_s, abs=0.045)
    assert onset_s(left, CALLER_HZ) - onset_s(right, AGENT_HZ) == pytest.approx(JITTER_BUFFER_S, abs=0.05)


def test_recording_begins_when_it_is_started_and_ends_when_it_is_stopped():
    rig, leg = one_leg()
    rig.arrive(speech(tone(CALLER_HZ, 5.0)))
    rig.run(1.0)
    recording = Recording(rig, leg)
    rig.run(1.23)
    left, _ = recording.stop()
    assert len(left) / 8000 == pytest.approx(1.23, abs=0.001)
    before = len(left)
    rig.run(1.0)
    assert recording.stop().shape == (2, before)


def test_legs_that_are_recorded_among_others_have_their_own_audio():
    rig = MediaRig(max_legs=64)
    legs = [rig.open_leg(uplink=AudioFormat.PCM16_24K, downlink=AudioFormat.PCM16_8K) for _ in range(40)]
    recorded = legs[1::2]
    recordings = {leg: Recording(rig, leg) for leg in recorded}
    for leg in legs:
        rig.engine.play(leg, "item", tone(300 + 50 * leg, 1.0).tobytes())
    rig.run(1.2)
    for leg, recording in recordings.items():
        assert tone_seconds(recording.stop()[1], 300 + 50 * leg) > 0.9


def test_slot_that_is_used_again_is_not_recorded_and_brings_nothing_of_the_call_before():
    rig, leg = one_leg()
    Recording(rig, leg)
    rig.engine.play(leg, "item", tone(AGENT_HZ, 1.0).tobytes())
    rig.run(0.3)
    rig.engine.close_leg(leg)
    again = next(new for _ in range(8) if (new := rig.open_leg()) == leg)
    rig.run(0.3)
    assert rig.engine.stop_recording(again, rig.now) == []
    recording = Recording(rig, again)
    rig.engine.pause_recording(again, is_paused=True)  # so that nothing is written over what was there
    rig.run(2.0)
    assert not recording.stop().any()


def test_a_wideband_recorder_takes_frames_of_its_own_rate():
    recorder = Recorder(2, rate_hz=16000)
    recorder.start(1, 100)
    legs, frame = np.array([1]), np.arange(320, dtype=np.int16)[None]
    recorder.write(HEARD, legs, np.array([100]), frame)
    recorder.write(SENT, legs, np.array([104]), frame)
    (piece,) = recorder.stop(1, 108)
    assert piece.samples.shape == (2, 640)
    assert piece.samples.tolist() == [[*range(320), *[0] * 320], [*[0] * 320, *range(320)]]


def test_frames_from_before_the_start_or_already_handed_off_are_left_out():
    recorder = Recorder(1, rate_hz=8000)
    recorder.start(0, 100)
    legs, frame = np.array([0]), np.ones((1, 160), np.int16)
    recorder.write(HEARD, legs, np.array([98]), frame)
    assert [piece.samples.any() for piece in recorder.take(100 + RING_TICKS)] == [False, False]
    recorder.write(HEARD, legs, np.array([100]), frame)
    assert not any(piece.samples.any() for piece in recorder.stop(0, 100 + RING_TICKS))


def test_an_hour_without_ticks_is_cut_out_instead_of_filled():
    recorder = Recorder(1, rate_hz=8000)
    recorder.start(0, 0)
    legs, frame = np.array([0]), np.ones((1, 160), np.int16)
    recorder.write(SENT, legs, np.array([0]), frame)
    hour = 3600 * 200
    recorder.write(SENT, legs, np.array([hour]), frame * 2)
    samples = np.concatenate([piece.samples for piece in recorder.stop(0, hour + 4)], axis=1)
    assert samples.shape[1] <= MAX_GAP_TICKS * 40
    assert (samples[1] == 1).sum() == (samples[1] == 2).sum() == 160
    assert (samples[1][-160:] == 2).all()


def test_pieces_come_while_nothing_is_written_at_all():
    recorder = Recorder(1, rate_hz=8000)
    recorder.start(0, 0)
    pieces = [piece for tick in range(10 * PIECE_TICKS) for piece in recorder.take(tick)]
    assert len(pieces) == 9
    assert all(not piece.samples.any() for piece in pieces)
