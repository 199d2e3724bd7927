"""Made-up audio: it goes on with the pitch of the voice, without a step, fades, and sounds better than its rivals."""

import itertools

import numpy as np
import pytest

from gateway.media.concealment import PitchRepetition, Repetition, Silence
from tests.bench import concealment as bench
from tests.support.listening import level_dbov

pytestmark = pytest.mark.heavy

HISTORY = PitchRepetition().history_samples
REACH = PitchRepetition().reach_samples
PITCHES_HZ = [70, 90, 100, 125, 160, 190]


def voice(pitch_hz, samples, *, level=4000.0):
    """A buzz of ten harmonics below 3400 Hz, as float64[samples]."""
    time_s = np.arange(samples) / 8000
    harmonics = range(1, min(10, 3400 // pitch_hz) + 1)
    return level * sum(np.sin(2 * np.pi * pitch_hz * k * time_s + k * k) / k for k in harmonics)


def as_samples(values):
    return np.rint(np.clip(values, -32768, 32767)).astype(np.int16)


def filled(history, samples=REACH + 80, concealment=None):
    """The gap after one history, from its first missing sample on."""
    concealment = PitchRepetition() if concealment is None else concealment
    return concealment.fill(as_samples(history)[None], np.arange(samples)[None])[0]


@pytest.mark.parametrize("pitch_hz", PITCHES_HZ)
def test_a_steady_voice_goes_on_as_if_nothing_were_missing(pitch_hz):
    truth = voice(pitch_hz, HISTORY + 80)
    error = filled(truth[:HISTORY], 80) - truth[HISTORY:]
    assert level_dbov(as_samples(error)) < level_dbov(as_samples(truth)) - 12


@pytest.mark.parametrize("pitch_hz", PITCHES_HZ)
def test_it_begins_and_goes_on_without_a_step(pitch_hz):
    truth = voice(pitch_hz, HISTORY)
    steps = np.abs(np.diff(np.concatenate([truth, filled(truth)])))
    assert steps[HISTORY - 1 :].max() <= steps[: HISTORY - 1].max() * 1.3


def test_pitch_is_kept_over_the_whole_gap():
    gap = filled(voice(125, HISTORY), 400).astype(float)
    spectrum = np.abs(np.fft.rfft(gap * np.hanning(400), 8000))
    assert 100 <= spectrum[80:150].argmax() + 80 <= 150


def test_ten_milliseconds_keep_their_level_and_after_sixty_all_is_silent():
    gap = filled(voice(100, HISTORY))
    levels = [level_dbov(gap[start : start + 80]) for start in range(0, REACH, 80)]
    assert levels[0] == pytest.approx(level_dbov(as_samples(voice(100, HISTORY))), abs=1.0)
    assert all(later < earlier - 0.5 for earlier, later in itertools.pairwise(levels[1:]))
    assert not gap[REACH:].any()


def test_noise_is_not_made_louder():
    noise = np.random.default_rng(1).normal(0, 1000, HISTORY)
    gap = filled(noise)
    assert np.abs(gap.astype(int)).max() <= np.abs(noise).max() * 1.2
    assert not filled(np.zeros(HISTORY)).any()


def test_full_scale_does_not_wrap():
    square = np.where(np.arange(HISTORY + 80) // 37 % 2, 32767, -32768)
    gap = filled(square[:HISTORY], 80)
    assert (np.sign(gap) == np.sign(square[HISTORY:])).mean() > 0.95


def test_every_leg_is_filled_from_its_own_past_and_place():
    pasts = as_samples(np.stack([voice(100, HISTORY), voice(160, HISTORY, level=900.0)]))
    places = np.stack([np.arange(160), np.arange(200, 360)])
    together = PitchRepetition().fill(pasts, places)
    alone = [PitchRepetition().fill(pasts[i : i + 1], places[i : i + 1])[0] for i in range(2)]
    assert (together == np.stack(alone)).all()
    assert (together[1] == filled(pasts[1])[200:360]).all()


def test_the_longer_the_gap_the_longer_it_fades_over_into_what_comes_after_it():
    merge = PitchRepetition().merge_samples(np.array([1, 80, 81, 160, 240, 480]))
    assert merge.tolist() == [32, 32, 64, 64, 80, 80]


def test_the_rivals_are_what_they_are_called():
    past = np.arange(160) * 100 - 8000
    assert filled(past, 1, Repetition()) == past[0]
    assert np.abs(filled(past, 160, Repetition())[:40] - past[:40]).max() <= 8000 * 40 / 480
    assert not filled(past[-1:], 160, Silence()).any()


@pytest.mark.parametrize("percent", [5, 10])
def test_recorded_speech_with_loss_sounds_better_than_by_repetition_and_far_better_than_by_silence(percent):
    pytest.importorskip("pesq", reason="pesq is not installed: pip install '.[quality]' needs a C compiler")
    mos = bench.mos(percent, 1.0, patterns=4)
    assert mos["ours"] > mos["repetition"] + 0.1, mos
    assert mos["repetition"] > mos["silence"] + 0.1, mos


@pytest.mark.parametrize("burst", [1.0, 3.0])
def test_the_losses_of_the_bench_are_those_it_tells(burst):
    is_lost = bench.losses(100_000, percent=10, burst=burst, seed=1)
    begins = np.count_nonzero(np.diff(is_lost.astype(int)) == 1)
    assert is_lost.mean() == pytest.approx(0.1, rel=0.05)
    assert is_lost.sum() / begins == pytest.approx(burst if burst > 1 else 1 / 0.9, rel=0.05)
