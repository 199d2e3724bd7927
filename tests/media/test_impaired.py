"""Calls over bad networks, judged by ear: which tones and words the model hears, when, and how long.

A telephone plays a melody or a recording; its packets are lost, late, doubled, or not its own. What the engine hands to
the model is listened to: 24 kHz PCM, the way it goes to most of them. Times count from the opening of the leg.
"""

import audioop
import os
from dataclasses import dataclass

import numpy as np
import pytest

from gateway.media.codec import AudioFormat
from gateway.media.engine import MediaEngine, MediaOptions
from gateway.media.jitter import JitterOptions
from tests.bench.concealment import losses, recordings
from tests.support import listening
from tests.support.media_rig import START_S, MediaRig, leg_options
from tests.support.rtp_packets import packet_batch, rtp_packet

MODEL_HZ = 24_000
DRIFT_MINUTES = int(os.environ.get("DRIFT_MINUTES", "6"))
SCALE_HZ = (400, 500, 630, 800, 1000, 1250, 1600, 2000)
STRANGER_HZ = 2500
NOTE_S, PAUSE_S = 0.4, 0.2
BEAT_S = NOTE_S + PAUSE_S
FILTER_S = 0.0015
WINDOW_S, HOP_S = 0.02, 0.005
FADE_S = 0.06
DELAY_S = 0.02
"""From a sample that is spoken to the tick that hands it off: its packet is 20 ms long, and read as it comes."""


@dataclass(frozen=True)
class Note:
    """A tone that was heard."""

    frequency_hz: int
    start_s: float
    duration_s: float


# ---- what is sent ------------------------------------------------------------------------------------------------
def melody(notes):
    """The scale up and up again: int16[n] at 8 kHz, a tone of 0.4 s and 0.2 s of silence for each note."""
    parts = [(SCALE_HZ[i % len(SCALE_HZ)], NOTE_S) for i in range(notes)]
    return np.concatenate(
        [np.concatenate([listening.tone(hz, s, level_dbov=-15), listening.silence(PAUSE_S)]) for hz, s in parts]
    )


def packets(audio, *, ptime_ms=20, start_s=0.0, sequence=0, timestamp=0, speed=1.0, **fields):
    """`audio` as PCMU: (time, datagram) of each packet, sent when its last sample was spoken."""
    octets, size = audioop.lin2ulaw(audio.astype("<i2").tobytes(), 2), 8 * ptime_ms
    return [
        (
            start_s + speed * (i + 1) * ptime_ms / 1000,
            rtp_packet(sequence + i, timestamp + size * i, octets[size * i :][:size], **fields),
        )
        for i in range(len(octets) // size)
    ]


# ---- what is heard -----------------------------------------------------------------------------------------------
def call(arrivals, seconds, **options):
    """A rig in which one leg, whose model takes 24 kHz PCM, heard the arrivals."""
    rig = MediaRig(jitter=JitterOptions(), **options)
    rig.open_leg(uplink=AudioFormat.PCM16_24K)
    rig.arrive(arrivals)
    rig.run(seconds)
    hole_s = len(rig.uplink[0]) / 2 / MODEL_HZ - seconds
    assert abs(hole_s) < 0.021, "the model's time line has a hole"
    return rig


def heard(rig, leg=0):
    """What the model of a leg heard: int16[n] at 24 kHz."""
    return np.frombuffer(rig.uplink[leg], "<i2")


def notes_in(audio, *, lowest_db=-30.0):
    """The tones in `audio`, in order; a tone that comes back within 0.15 s has gone on. A `Note` each."""
    size, hop = round(WINDOW_S * MODEL_HZ), round(HOP_S * MODEL_HZ)
    windows = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float32), size)[::hop]
    pitches = np.array([*SCALE_HZ, STRANGER_HZ])
    wheels = np.exp(-2j * np.pi * pitches[None, :] * np.arange(size)[:, None] / MODEL_HZ)
    power = np.abs(windows @ wheels.astype(np.complex64)) ** 2 * 2 / size**2
    whole = np.mean(windows**2, axis=1)
    best = power.argmax(axis=1)
    is_tone = (power.max(axis=1) > whole * 2 / 3) & (whole > 32767**2 * 10 ** (lowest_db / 10))
    found = []
    for index in np.flatnonzero(is_tone).tolist():
        hz, at_s = int(pitches[best[index]]), index * HOP_S + WINDOW_S / 2
        if found and found[-1][0] == hz and at_s - found[-1][2] < 0.15:
            found[-1][2] = at_s
        else:
            found.append([hz, at_s, at_s])
    return [Note(hz, first_s, last_s - first_s) for hz, first_s, last_s in found if last_s - first_s > 0.03]


def assert_melody(notes, count, *, delay_s, at_most_s, unsure_s=0.02):
    """All notes are there, in order, each later than it was played by between the two, with its length."""
    assert [note.frequency_hz for note in notes] == [SCALE_HZ[i % len(SCALE_HZ)] for i in range(count)]
    delays_s = np.array([note.start_s - i * BEAT_S for i, note in enumerate(notes)]) - FILTER_S
    assert delay_s - 0.01 <= delays_s.min(), f"{delays_s.round(3)}"
    assert delays_s.max() <= at_most_s + 0.01, f"{delays_s.round(3)}"
    lengths_s = np.array([note.duration_s for note in notes])
    assert np.abs(lengths_s - NOTE_S).max() <= unsure_s + 0.01, f"{lengths_s.round(3)}"


# ---- loss ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("burst", [1.0, 3.0])
@pytest.mark.parametrize("percent", [1, 5, 10, 20])
def test_loss_moves_no_note(percent, burst):
    sent = packets(melody(25))
    is_lost = losses(len(sent), percent=percent, burst=burst, seed=percent)
    is_lost[::30] = is_lost[19::30] = (
        False  # a note whose first or last packet is lost is not heard in its whole length
    )
    rig = call([packet for packet, lost in zip(sent, is_lost, strict=True) if not lost], 15.2)
    assert_melody(notes_in(heard(rig)), 25, delay_s=DELAY_S, at_most_s=DELAY_S, unsure_s=FADE_S)
    assert rig.engine.statistics(0).packets_lost == np.count_nonzero(is_lost[: len(sent) - is_lost[::-1].argmin()])


@pytest.mark.parametrize("lost_ms", [20, 60, 100, 400])
def test_a_hole_in_a_tone_is_filled_for_60_ms_and_silent_beyond(lost_ms):
    sent = packets(listening.tone(500, 2.0))
    rig = call(sent[:50] + sent[50 + lost_ms // 20 :], 2.2)
    hole = heard(rig)[round((1 + DELAY_S) * MODEL_HZ) :][: lost_ms * 24]
    levels = [listening.level_dbov(part) for part in hole.reshape(-1, 240)]
    assert all(level > -45 for level in levels[:5])
    assert all(level < -60 for level in levels[7:])
    assert listening.tone_seconds(hole[:960], 500, rate_hz=MODEL_HZ) >= 0.02
    steps = np.abs(np.diff(heard(rig)[round(0.5 * MODEL_HZ) : round(2.0 * MODEL_HZ)].astype(int)))
    if lost_ms <= 60:
        assert steps.max() <= 1.6 * steps[: MODEL_HZ // 4].max(), "a click"


def test_words_are_recognized_through_ten_percent_of_loss():
    speech = recordings()
    for name, sentence in speech.items():
        sent = packets(sentence)
        is_lost = losses(len(sent), percent=10, burst=1.0, seed=4)
        rig = call([p for p, lost in zip(sent, is_lost, strict=True) if not lost], len(sentence) / 8000 + 0.2)
        audio = listening.resampled(heard(rig), MODEL_HZ, 8000)
        assert listening.identify(audio, speech) == name
        alignment = listening.align(sentence, audio)
        assert alignment.offset_s == pytest.approx(DELAY_S + FILTER_S, abs=0.02)
        assert alignment.jitter_s <= 0.001
        assert alignment.correlation >= 0.8


# ---- order and time ------------------------------------------------------------------------------------------------
def test_swapped_and_doubled_packets_are_not_heard_at_all():
    sent, rng = packets(melody(10)), np.random.default_rng(1)
    clean = call(sent, 6.2)
    late = [(at_s + 0.021 * rng.integers(0, 2), datagram) for at_s, datagram in sent]
    doubled = late + [(at_s + rng.uniform(0, 0.1), datagram) for at_s, datagram in late if rng.random() < 0.3]
    impaired = call(doubled, 6.2)
    assert (heard(impaired) == heard(clean)).all()
    assert impaired.engine.statistics(0).packets_reordered > 20
    assert impaired.engine.statistics(0).packets_duplicate > 50
    assert impaired.engine.statistics(0).packets_lost == 0


@pytest.mark.parametrize("jitter_ms", [20, 40, 80, 150])
def test_jitter_moves_notes_by_no_more_than_itself(jitter_ms):
    rng = np.random.default_rng(jitter_ms)
    arrivals = [(at_s + rng.uniform(0, jitter_ms / 1000), datagram) for at_s, datagram in packets(melody(40))]
    rig = call(arrivals, 24.4)
    most_s = 0.02 + 0.05 + jitter_ms / 1000 + 0.02
    assert_melody(notes_in(heard(rig)), 40, delay_s=0.04, at_most_s=most_s, unsure_s=0.02 + 0.7 * jitter_ms / 1000)
    assert rig.engine.statistics(0).concealed_ms <= (300 if jitter_ms <= 80 else 600)


def test_what_a_stall_held_back_is_heard_and_its_delay_is_gone_with_the_next_pauses():
    sent = packets(melody(12))
    arrivals = [(1.9 if 1.7 <= at_s < 1.9 else at_s, datagram) for at_s, datagram in sent]
    rig = call(arrivals, 7.4)
    notes = notes_in(heard(rig))
    assert [note.frequency_hz for note in notes] == [SCALE_HZ[i % 8] for i in range(12)]
    delays_s = [note.start_s - i * BEAT_S for i, note in enumerate(notes)]
    assert delays_s[2] == pytest.approx(DELAY_S, abs=0.02)
    assert delays_s[5:] == pytest.approx([DELAY_S] * 7, abs=0.02)
    assert notes[3].duration_s == pytest.approx(NOTE_S, abs=0.08)


@pytest.mark.heavy
@pytest.mark.parametrize("ppm", [-200, 200])
def test_drifting_clocks_move_no_note_in_a_minute(ppm):
    rig = call(packets(melody(100), speed=1 - ppm * 1e-6), 60.4, tick_s=0.01)
    notes = notes_in(heard(rig))
    assert [note.frequency_hz for note in notes] == [SCALE_HZ[i % 8] for i in range(100)]
    delays_s = [note.start_s - i * BEAT_S * (1 - ppm * 1e-6) for i, note in enumerate(notes)]
    assert delays_s == pytest.approx([DELAY_S] * 100, abs=0.026)  # ticks of 10 ms


@pytest.mark.heavy
@pytest.mark.timeout(900)  # 30 minutes, as `make test-long` asks for, take one or two on a busy machine
def test_a_long_call_with_drifting_clocks_keeps_its_delay():
    engine, speeds = MediaEngine(MediaOptions(max_legs=2), seed=1), (1 - 200e-6, 1 + 200e-6)
    notes = round(DRIFT_MINUTES * 60 / BEAT_S)
    sent = [packets(np.tile(melody(8), notes // 8), ptime_ms=60, speed=speed) for speed in speeds]
    for _ in speeds:
        leg = engine.open_leg(leg_options(uplink=AudioFormat.PCM16_8K), START_S)
        engine.set_direction(leg, send=False, receive=True)
    uplink, following, ticks_of_scale = [b"", b""], [0, 0], round(8 * BEAT_S / 0.02)
    for tick in range(notes // 8 * ticks_of_scale):
        now_s = tick * 0.02
        arrived = []
        for leg in (0, 1):
            while following[leg] < len(sent[leg]) and sent[leg][following[leg]][0] <= now_s:
                arrived.append((leg, sent[leg][following[leg]][1]))
                following[leg] += 1
        if arrived:
            engine.receive(packet_batch([a[1] for a in arrived], legs=[a[0] for a in arrived]), START_S + now_s)
        for piece in engine.transcode(START_S + now_s).uplink:
            uplink[piece.leg] += piece.audio
        index, rest = divmod(tick + 1, ticks_of_scale)
        if rest == 0:
            for leg, speed in enumerate(speeds):
                if index % 25 == 1 or index == notes // 8:
                    assert_in_place(np.frombuffer(uplink[leg], "<i2"), (index - 1) * 8 * BEAT_S * (speed - 1))
                uplink[leg] = b""
    for leg in (0, 1):
        assert engine.statistics(leg).concealed_ms <= 100, "other than the end of the call was concealed"


def assert_in_place(audio, drift_s):
    """The notes of 4.8 s of uplink, 8 kHz, have the delay of 60 ms packets beside what the clocks drifted apart."""
    whole = notes_in(listening.resampled(audio, 8000, MODEL_HZ))
    found = [note for note in whole if note.start_s > 0.05 and note.duration_s > 0.3]
    beats = np.array([SCALE_HZ.index(note.frequency_hz) for note in found])
    delays_s = np.array([note.start_s for note in found]) - beats * BEAT_S - drift_s
    delays_s -= np.rint(delays_s / (8 * BEAT_S)) * 8 * BEAT_S
    assert len(found) >= 6
    assert np.abs(delays_s - 0.07).max() <= 0.03, f"{delays_s} s where the clocks differ by {drift_s} s"


# ---- numbers that leap ---------------------------------------------------------------------------------------------
def test_wraps_of_sequence_and_timestamp_are_not_heard():
    plain = call(packets(melody(10)), 6.2)
    wrapping = call(packets(melody(10), sequence=65_400, timestamp=2**32 - 20_000), 6.2)
    assert (heard(wrapping) == heard(plain)).all()


CHANGES = {
    "ssrc": {"ssrc": 99, "sequence": 9, "timestamp": 77_777},
    "timestamp": {"sequence": 50, "timestamp": 3_000_000_000},
    "sequence": {"sequence": 33_000, "timestamp": 50 * 160},
}


@pytest.mark.parametrize("pause_s", [0.0, 0.007, 0.3])
@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
def test_a_new_stream_is_heard_within_60_ms_and_nothing_else_between(fields, pause_s):
    old = packets(listening.tone(500, 1.0))
    new = packets(listening.tone(1600, 1.0), start_s=1.0 + pause_s, **fields)
    audio = heard(call(old + new, 2.6))
    first, second = notes_in(audio)
    assert (first.frequency_hz, second.frequency_hz) == (500, 1600)
    assert first.duration_s == pytest.approx(1.0, abs=FADE_S)
    first_packet_s = 1.02 + pause_s
    assert second.start_s - FILTER_S <= first_packet_s + DELAY_S + WINDOW_S / 2
    assert second.duration_s >= 0.93
    between = audio[round((1 + DELAY_S + FADE_S + 0.02) * MODEL_HZ) : round((second.start_s - 0.03) * MODEL_HZ)]
    assert not len(between) or listening.level_dbov(between) < -60


@pytest.mark.parametrize("stolen", [{}, {"sequence": 10, "timestamp": 1600}])
def test_nothing_of_a_stranger_is_heard_while_the_caller_goes_on(stolen):
    caller = packets(melody(10))
    stranger = packets(listening.tone(STRANGER_HZ, 5.5), start_s=0.055, **{"ssrc": 666, **stolen})
    rig = call(caller + stranger, 6.1)
    assert listening.tone_seconds(heard(rig), STRANGER_HZ, rate_hz=MODEL_HZ) == 0
    assert (heard(rig) == heard(call(caller, 6.1))).all()


# ---- lengths and pauses --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("percent", [0, 5])
def test_packets_of_every_length_keep_the_melody(ptime_ms, percent):
    sent = packets(melody(20), ptime_ms=ptime_ms)
    is_lost = losses(len(sent), percent=percent, burst=1.0, seed=7)
    rig = call([packet for packet, lost in zip(sent, is_lost, strict=True) if not lost], 12.4)
    notes = notes_in(heard(rig))
    assert [note.frequency_hz for note in notes] == [SCALE_HZ[i % 8] for i in range(20)]
    delays_s = np.array([note.start_s - i * BEAT_S for i, note in enumerate(notes)])
    usual_s = np.median(delays_s)
    assert 0 <= usual_s - ptime_ms / 1000 <= 0.03
    assert np.abs(delays_s - usual_s).max() <= (0.01 if percent == 0 else ptime_ms / 1000 + 0.01)


@pytest.mark.parametrize("level_dbov", [None, -40, -55])
def test_the_pause_of_a_sender_that_sends_no_silence_is_its_noise_and_its_words_stay_in_place(level_dbov):
    speech = recordings()["man"][:24_000]
    sent = packets(speech)
    again = packets(speech, start_s=5.0, sequence=len(sent) + 1, timestamp=40_000)
    noise = [] if level_dbov is None else [(3.01, rtp_packet(len(sent), 24_000, bytes([-level_dbov]), payload_type=13))]
    if level_dbov is None:
        again = packets(speech, start_s=5.0, sequence=len(sent), timestamp=40_000)
    rig = call(sent + noise + again, 8.2)
    audio = listening.resampled(heard(rig), MODEL_HZ, 8000)
    pause = audio[round(3.15 * 8000) : round(5.01 * 8000)]
    if level_dbov is None:
        assert listening.level_dbov(pause) < -80
    else:
        assert listening.level_dbov(pause) == pytest.approx(level_dbov, abs=1.5)
    for start_s in (0.0, 5.0):
        piece = audio[round(start_s * 8000) :][: len(speech) + 1600]
        alignment = listening.align(speech, piece, pieces=4)
        assert alignment.offset_s == pytest.approx(DELAY_S + FILTER_S, abs=0.005)
        assert alignment.correlation > 0.97
    assert rig.engine.statistics(0).packets_lost == 0
