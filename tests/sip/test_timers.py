"""The one queue of alarms."""

from __future__ import annotations

from gateway.sip.timers import COMPACTION_MINIMUM, TimerQueue


def test_alarms_ring_in_the_order_of_their_deadlines_and_equal_ones_as_they_were_set() -> None:
    queue, rung = TimerQueue(), []
    for name, deadline in (("late", 3.0), ("first", 1.0), ("second", 1.0)):
        queue.start(deadline, lambda now, name=name: rung.append((name, now)))

    queue.expire(2.0)
    assert rung == [("first", 2.0), ("second", 2.0)]
    assert queue.next_deadline() == 3.0


def test_an_alarm_that_an_alarm_sets_rings_in_the_same_round_if_it_is_due() -> None:
    queue, rung = TimerQueue(), []
    queue.start(1.0, lambda now: queue.start(1.5, rung.append))

    queue.expire(2.0)
    assert rung == [2.0]


def test_a_cancelled_alarm_never_rings_and_wakes_nobody() -> None:
    queue, rung = TimerQueue(), []
    alarm = queue.start(1.0, rung.append)
    alarm.cancel()
    alarm.cancel()

    assert queue.next_deadline() is None
    queue.expire(2.0)
    assert rung == []
    assert len(queue) == 0


def test_cancelled_alarms_are_cleared_away_before_they_are_due() -> None:
    queue = TimerQueue()
    kept = queue.start(10.0, lambda now: None)
    for _ in range(20 * COMPACTION_MINIMUM):
        queue.start(1000.0, lambda now: None).cancel()

    assert len(queue) == 1
    assert len(queue._heap) <= 2 * COMPACTION_MINIMUM
    assert kept.is_pending
