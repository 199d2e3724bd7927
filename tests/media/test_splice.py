"""Splices: a frame that leads from one place of a recording to another, where they are most alike."""

import numpy as np

from gateway.media.splice import splice


def test_a_period_that_fits_is_cut_out_unheard():
    tone = np.rint(8000 * np.sin(2 * np.pi * 100 * np.arange(480) / 8000)).astype(np.int16)
    spliced, likeness = splice(tone[None, :160], tone[None, 160:320])
    assert likeness[0] > 0.999
    assert np.abs(spliced[0].astype(int) - tone[:160]).max() <= 2


def test_it_begins_as_one_and_ends_as_the_other_without_a_step():
    rng = np.random.default_rng(1)
    waves = [np.sin(2 * np.pi * hz * np.arange(160) / 8000 + rng.uniform(0, 6)) for hz in (150, 170, 230, 290)]
    before, after = (np.rint(6000 * np.stack(part)).astype(np.int16) for part in (waves[:2], waves[2:]))
    spliced, likeness = splice(before, after)
    assert np.abs(spliced[:, 0].astype(int) - before[:, 0]).max() <= 6000 * 2 / 65 + 1
    assert (spliced[:, -1] == after[:, -1]).all() or np.abs(spliced[:, -1].astype(int) - after[:, -1]).max() <= 200
    assert np.abs(np.diff(spliced.astype(int), axis=1)).max() <= 6000 * 2 * np.pi * 290 / 8000 + 12000 / 65
    assert (likeness <= 1.001).all()


def test_the_passage_is_where_both_are_alike():
    rng = np.random.default_rng(2)
    before, after = rng.normal(0, 3000, (2, 160)).astype(np.int16)
    after[60:124] = before[60:124]
    spliced, likeness = splice(before[None], after[None])
    assert likeness[0] > 0.999
    assert (spliced[0, :124] == before[:124]).all()
    assert (spliced[0, 60:] == after[60:]).all()


def test_opposites_are_not_alike_and_silence_does_no_harm():
    wave = np.rint(5000 * np.sin(2 * np.pi * 125 * np.arange(160) / 8000)).astype(np.int16)
    assert splice(wave[None], -wave[None])[1][0] < 0
    assert not splice(np.zeros((3, 160), np.int16), np.zeros((3, 160), np.int16))[0].any()
