"""Every leg on its absolute grid: 50 frames a second whatever the clock does."""

import numpy as np
import pytest

from gateway.media.pacing import PHASE_GROUPS, FramePacer, append_ms_for, tick_of


def test_ticks_are_steps_of_5_ms_from_time_zero():
    assert [tick_of(now) for now in (0.0, 0.004, 0.005, 0.0149, 123456.785)] == [0, 0, 1, 2, 24691357]
    assert all(tick_of(k * 0.005) == k for k in range(0, 2_000_000, 997))
    assert all(tick_of(1e6 + k * 0.005) == 200_000_000 + k for k in range(0, 100_000, 97))


def test_thirty_thousand_ticks_are_exactly_fifty_frames_a_second():
    pacer = FramePacer(4, patience_ms=60)
    for leg in range(4):
        pacer.open(leg, tick=0, frame_ms=20)
    counts = np.zeros(4, int)
    for tick in range(30_000):
        legs, skipped = pacer.due(tick)
        counts[legs] += 1
        assert not skipped.any()
    assert counts.tolist() == [7500] * 4


def test_a_jittery_clock_changes_nothing_in_the_long_run():
    rng = np.random.default_rng(1)
    pacer = FramePacer(1, patience_ms=60)
    pacer.open(0, tick=0, frame_ms=20)
    times = np.sort(np.arange(30_000) * 0.005 + rng.uniform(0, 0.012, 30_000))
    assert sum(pacer.due(tick_of(now))[0].size for now in times) in {7500, 7501}


@pytest.mark.parametrize("frame_ms", [10, 20, 30, 40, 60])
def test_frames_of_any_length_keep_their_period(frame_ms):
    pacer = FramePacer(1, patience_ms=60)
    pacer.open(0, tick=7, frame_ms=frame_ms)
    due = [tick for tick in range(2000) if pacer.due(tick)[0].size]
    assert set(np.diff(due)) == {frame_ms // 5}
    assert 7 <= due[0] <= 10


def test_legs_are_spread_evenly_over_the_phase_groups_as_they_come_and_go():
    pacer = FramePacer(100, patience_ms=60)
    for leg in range(100):
        pacer.open(leg, tick=3, frame_ms=20)
    for leg in range(0, 100, 3):
        pacer.close(leg)
    for leg in range(0, 100, 3):
        pacer.open(leg, tick=9, frame_ms=20)
    sizes = [pacer.due(tick)[0].size for tick in range(3, 20)]
    assert sizes[-PHASE_GROUPS:] == [25] * PHASE_GROUPS


def test_up_to_60_ms_late_is_caught_up_one_frame_a_call():
    pacer = FramePacer(1, patience_ms=60)
    pacer.open(0, tick=0, frame_ms=20)
    pacer.due(0)
    calls = [(legs.size, skipped.tolist()) for legs, skipped in (pacer.due(16) for _ in range(5))]
    assert calls == [(1, [0])] * 4 + [(0, [])]


def test_beyond_60_ms_what_is_late_is_skipped_and_the_grid_kept():
    pacer = FramePacer(1, patience_ms=60)
    pacer.open(0, tick=0, frame_ms=20)
    pacer.due(0)
    legs, skipped = pacer.due(41)  # frames of ticks 4 to 40 are due; the last of them is just 5 ms late
    assert (legs.tolist(), skipped.tolist()) == ([0], [9])
    assert pacer.due(41)[0].size == 0
    assert pacer.due(43)[0].size == 0
    assert pacer.due(44)[0].size == 1


def test_waits_are_told_in_samples_and_negative_for_the_overdue():
    pacer = FramePacer(2, patience_ms=60)
    pacer.open(1, tick=4, frame_ms=20)
    legs = np.array([1])
    assert [pacer.wait_samples(legs, now).item() for now in (0.0, 0.0193, 0.02, 0.05)] == [160, 6, 0, -240]


def test_a_closed_leg_is_never_due():
    pacer = FramePacer(2, patience_ms=60)
    pacer.open(1, tick=0, frame_ms=20)
    pacer.close(1)
    assert pacer.due(100)[0].size == 0


def test_appends_grow_with_the_load_and_shrink_only_when_it_is_well_below():
    lengths, present = [], 20
    for cpu_percent in (10, 49, 51, 40, 61, 50, 44, 36, 34, 20, 76, 65, 61, 59, 100, 0):
        present = append_ms_for(cpu_percent, present)
        lengths.append(present)
    assert lengths == [20, 20, 40, 40, 60, 60, 40, 40, 20, 20, 100, 100, 100, 60, 100, 20]


@pytest.mark.parametrize("calls_percent", range(10, 150, 2))
def test_no_length_of_appends_undoes_itself(calls_percent):
    """A load that falls by what a longer append saves does not bring the shorter one back."""
    cost = {20: 1.0, 40: 0.77, 60: 0.68, 100: 0.59}
    present, told = 20, []
    for _ in range(20):
        present = append_ms_for(calls_percent * cost[present], present)
        told.append(present)
    assert len(set(told[5:])) == 1
