"""Keys in the audio, by the limits of ITU-T Q.24: what must be told, what must not, and that speech is none.

The tones come from a generator of the tests; nothing in here trusts the detector's own tables.
"""

from itertools import product

import numpy as np
import pytest

from gateway.media.codec import PCMA, PCMU
from gateway.media.tones import ToneDetector
from tests.support.key_tones import KEYPAD, amplitude, key_tone, pause, series, through, with_noise

LAWS = [pytest.param(PCMU, id="PCMU"), pytest.param(PCMA, id="PCMA")]
FRAME = 160
LEADS_MS = (60.0, 64.6, 70.0, 77.3)
"""Where in a frame the first key begins."""


def heard(signals, *, law=PCMU, deaf=()):
    """The keys told of each signal, one leg each, and their durations in ms."""
    legs = np.arange(len(signals))
    detector = ToneDetector(len(signals))
    longest = -(-max(signal.size for signal in signals) // FRAME) * FRAME + 2 * FRAME
    codes = np.stack([through(law, np.pad(signal, (0, longest - signal.size))) for signal in signals])
    for leg in legs:
        detector.open(int(leg))
    keys, durations = [""] * len(signals), [[] for _ in signals]
    for start in range(0, longest, FRAME):
        detector.hear(
            legs,
            codes[:, start : start + FRAME],
            is_missing=np.zeros(legs.size, bool),
            is_deaf=np.isin(legs, deaf),
            now=1.0,
        )
        for digit in detector.take():
            keys[digit.leg] += digit.digit
            durations[digit.leg].append(digit.duration_ms)
    return keys, durations


def told(signal, **changes):
    return heard([signal], **changes)[0][0]


WITHIN = [
    {"row_error": row, "column_error": column, "row_dbm0": level, "twist_db": twist}
    for (row, column), level, twist in product(
        [(0, 0), (0.015, 0.015), (-0.015, -0.015), (0.015, -0.015), (-0.015, 0.015)], [0, -4, -12, -17, -25], [4, 0, -8]
    )
    if -25 <= level + twist <= 0
]


@pytest.mark.heavy
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("snr_db", [None, 15])
def test_every_key_within_the_limits_is_told_once(law, snr_db):
    signals = []
    for lead_ms, changes in product(LEADS_MS, WITHIN):
        signal = series(KEYPAD, on_ms=40, off_ms=40, lead_ms=lead_ms, seed=len(signals), **changes)
        if snr_db is not None:
            levels = {name: changes[name] for name in ("row_dbm0", "twist_db")}
            signal = with_noise(signal, snr_db=snr_db, seed=len(signals), **levels)
        signals.append(signal)
    keys, durations = heard(signals, law=law)
    assert keys == [KEYPAD] * len(signals)
    assert all(30 <= duration_ms <= 50 for leg in durations for duration_ms in leg)


OUTSIDE = {
    "too short": {"on_ms": 22.9},
    "row too low": {"row_error": -0.035},
    "row too high": {"row_error": 0.035},
    "column too low": {"column_error": -0.035},
    "column too high": {"column_error": 0.035},
    "both too high": {"row_error": 0.035, "column_error": 0.035},
    "too weak": {"row_dbm0": -40},
    "no column": {"twist_db": -60},
    "no row": {"row_dbm0": -70, "twist_db": 60},
    "column far above": {"row_dbm0": -15, "twist_db": 9},
    "column far below": {"row_dbm0": -5, "twist_db": -13},
}


@pytest.mark.parametrize("snr_db", [None, 15])
@pytest.mark.parametrize("changes", OUTSIDE.values(), ids=OUTSIDE)
def test_what_is_beyond_the_limits_is_no_key(changes, snr_db):
    options = {"on_ms": 60, "off_ms": 60, "row_dbm0": -10, "twist_db": 0, **changes}
    signals = [series(KEYPAD, lead_ms=lead_ms, seed=int(lead_ms), **options) for lead_ms in LEADS_MS]
    if snr_db is not None:
        levels = {name: options[name] for name in ("row_dbm0", "twist_db")}
        signals = [with_noise(signal, snr_db=snr_db, **levels) for signal in signals]
    assert heard(signals)[0] == [""] * len(signals)


@pytest.mark.parametrize("lead_ms", LEADS_MS)
def test_a_pause_of_40_ms_parts_two_equal_keys_and_an_interruption_of_10_ms_does_not(lead_ms):
    assert told(series("777", on_ms=50, off_ms=40, lead_ms=lead_ms)) == "777"
    assert told(series("77", on_ms=50, off_ms=10, lead_ms=lead_ms)) == "7"


@pytest.mark.parametrize("duration_ms", [60, 100, 400, 5000])
def test_a_key_is_told_when_it_ends_with_its_duration(duration_ms):
    keys, durations = heard([np.concatenate((pause(100), key_tone("9", duration_ms), pause(100)))])
    assert keys == ["9"]
    assert durations[0][0] == pytest.approx(duration_ms, abs=10)


def test_a_key_is_not_told_while_it_is_held():
    detector, legs = ToneDetector(1), np.array([0])
    detector.open(0)
    codes = through(PCMU, key_tone("9", 2000))
    for start in range(0, 15_840, FRAME):
        detector.hear(
            legs, codes[None, start : start + FRAME], is_missing=np.array([False]), is_deaf=np.array([False]), now=1.0
        )
        assert detector.take() == []


def test_a_key_in_mid_speech_is_told_though_the_speaker_only_pauses_for_it():
    vowel = _vowel(120.0, (700, 1200, 2500), 600)
    signal = np.concatenate((vowel, key_tone("5", 80), vowel, pause(60)))
    assert told(signal) == "5"


def _vowel(pitch_hz, formants_hz, duration_ms, level=3000.0):
    """A voice on one pitch: every harmonic, the stronger the nearer to a formant."""
    time_s = np.arange(duration_ms * 8) / 8000
    overtones = np.arange(1, int(3600 / pitch_hz)) * pitch_hz
    gains = [max(1 / (1 + ((tone - formant) / 60) ** 2) for formant in formants_hz) for tone in overtones]
    return level * sum(gain * np.sin(2 * np.pi * tone * time_s) for gain, tone in zip(gains, overtones, strict=True))


def test_vowels_whose_formants_lie_on_the_tones_are_no_keys():
    signals = [
        _vowel(pitch_hz, (row, column, 2 * row), 200)
        for pitch_hz in range(80, 330, 7)
        for row, column in ((697, 1209), (770, 1336), (852, 1477), (941, 1633), (697, 1633))
    ]
    assert "".join(heard(signals)[0]) == ""


def test_overtones_betray_a_voice():
    time_s = np.arange(800) / 8000
    overtones = amplitude(-20) * (np.sin(2 * np.pi * 1540 * time_s) + np.sin(2 * np.pi * 2672 * time_s))
    assert told(np.concatenate((pause(60), key_tone("5", 100), pause(60)))) == "5"
    assert told(np.concatenate((pause(60), key_tone("5", 100) + overtones, pause(60)))) == ""


def test_a_tone_that_wavers_is_no_key():
    time_s = np.arange(1600) / 8000
    wavering = 0.9 * np.sin(2 * np.pi * 40 * time_s)
    row, column = (np.sin(2 * np.pi * hertz * time_s + wavering) for hertz in (770, 1336))
    assert told(np.concatenate((pause(60), amplitude(-10) * (row + column), pause(60)))) == ""


def test_noise_music_and_call_progress_tones_are_no_keys():
    rng, time_s = np.random.default_rng(5), np.arange(8000 * 20) / 8000
    chords = [(350, 440), (480, 620), (440, 480), (697, 1394), (700, 1400), (1004,), (425,), (941, 1209, 1477)]
    signals = [rng.normal(0, level, time_s.size) for level in (300, 3000, 8000)]
    signals += [amplitude(-10) * sum(np.sin(2 * np.pi * hertz * time_s) for hertz in chord) for chord in chords]
    signals.append(amplitude(-10) * (np.sin(2 * np.pi * (600 + 50 * time_s) * time_s)))
    assert heard(signals)[0] == [""] * len(signals)


def test_legs_do_not_mix_and_only_open_ones_are_heard():
    signals = [series(key * 3, on_ms=60, off_ms=60) for key in KEYPAD]
    keys, _ = heard(signals, deaf=(3, 8))
    assert keys == ["" if leg in (3, 8) else key * 3 for leg, key in enumerate(KEYPAD)]


def test_what_a_leg_heard_before_is_no_part_of_a_key():
    detector, legs = ToneDetector(1), np.array([0])
    codes = through(PCMU, np.concatenate((key_tone("5", 42.5), pause(97.5))))
    for start in range(0, codes.size, FRAME):
        if start <= FRAME:
            detector.close(0)
            detector.open(0)
        detector.hear(
            legs, codes[None, start : start + FRAME], is_missing=np.array([False]), is_deaf=np.array([False]), now=1.0
        )
    assert detector.take() == []


def test_a_leg_that_is_closed_forgets_what_it_heard():
    detector, legs = ToneDetector(2), np.array([0])
    codes = through(PCMU, series("5", on_ms=80, off_ms=0, lead_ms=0))
    detector.open(0)
    detector.open(0)
    assert detector.open_legs == 1
    for _ in range(2):
        for start in range(0, 480, FRAME):
            detector.hear(
                legs,
                codes[None, start : start + FRAME],
                is_missing=np.array([False]),
                is_deaf=np.array([False]),
                now=1.0,
            )
        detector.close(0)
        detector.close(0)
        assert detector.open_legs == 0
        detector.open(0)
    for _ in range(5):
        detector.hear(
            legs, np.zeros((1, FRAME), np.uint16), is_missing=np.array([False]), is_deaf=np.array([False]), now=1.0
        )
    assert detector.take() == []
