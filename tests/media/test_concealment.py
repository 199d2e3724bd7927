"""Made-up audio: continues without a step, fades, and ends."""

import numpy as np

from gateway.media.concealment import RepeatAndFade


def filled(history, samples=600):
    """The gap after one history, from its first missing sample on."""
    return RepeatAndFade().fill(history[None].astype(np.int16), np.arange(samples)[None])[0]


def test_it_begins_with_the_last_sample_and_runs_backwards():
    history = np.arange(1000, 1160)
    assert np.abs(filled(history)[:20] - history[::-1][:20]).max() <= 0.05 * 1160


def test_it_turns_around_without_a_step():
    history = np.rint(8000 * np.sin(np.arange(160) / 11))
    steps = np.abs(np.diff(np.concatenate([history, filled(history)])))
    assert steps.max() <= np.abs(np.diff(history)).max() + 8000 / 480 + 1


def test_it_fades_to_nothing_within_its_reach():
    gap = filled(np.full(160, 20_000))
    assert (np.diff(gap.astype(int)) <= 0).all()
    assert gap[0] > 19_000
    assert not gap[RepeatAndFade.reach_samples - 1 :].any()


def test_every_leg_is_filled_from_its_own_past_and_place():
    histories = np.array([np.full(160, 10_000), np.full(160, -5000)], np.int16)
    gaps = RepeatAndFade().fill(histories, np.array([[0, 240], [479, 0]]))
    assert gaps.tolist() == [[9979, 4979], [0, -4990]]
