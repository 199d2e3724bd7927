"""Silences: when they begin, what breaks them, how often they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from gateway.calls.escalation.silence import LOOK_AGAIN_S, LastHeard, Silence, SilenceWatch


def test_each_length_is_told_once_in_a_silence_and_again_in_the_next() -> None:
    silence = Silence([25.0, 10.0, 10.0])
    silence.look(0.0, 0.0)
    assert silence.look(9.9, 0.0)[0] == []
    assert [silence.look(now, 0.0)[0] for now in (10.0, 10.1, 24.9, 25.0, 90.0)] == [[10.0], [], [], [25.0], []]
    assert silence.look(100.0, 95.0)[0] == []
    assert silence.look(105.0, 95.0)[0] == [10.0]


def test_it_is_looked_again_when_the_next_length_is_due() -> None:
    silence = Silence([10.0, 25.0])
    silence.look(0.0, 0.0)
    assert silence.look(4.0, 0.0)[1] == 6.0
    assert silence.look(10.0, 0.0) == ([10.0], 15.0)
    assert silence.look(26.0, 0.0) == ([25.0], LOOK_AGAIN_S)


def test_time_on_hold_and_before_it_does_not_count() -> None:
    silence = Silence([10.0])
    silence.look(0.0, 0.0)
    silence.look(8.0, 0.0)
    assert silence.look(9.0, None) == ([], LOOK_AGAIN_S)
    assert silence.look(60.0, 0.0)[0] == []
    assert silence.look(69.9, 0.0)[0] == []
    assert silence.look(70.0, 0.0)[0] == [10.0]


def test_nobody_is_heard_from_the_end_of_the_last_voice_on() -> None:
    heard = LastHeard()
    heard.end_caller(1.0)
    assert heard.since(3.0) == 1.0
    heard.hear_agent(until=5.0)
    assert (heard.since(4.0), heard.since(6.0)) == (None, 5.0)
    heard.begin_caller()
    assert heard.since(60.0) is None
    heard.hear_caller(61.0)  # words, while they go on
    assert heard.since(62.0) is None
    heard.end_caller(63.0)
    assert heard.since(64.0) == 63.0
    heard.hear_caller(65.0)  # a key
    assert heard.since(66.0) == 65.0


def test_an_agent_that_is_cut_off_is_heard_no_more() -> None:
    heard = LastHeard()
    heard.hear_agent(until=30.0)
    heard.cut_agent(4.0)
    assert heard.since(4.0) == 4.0
    heard.cut_agent(9.0)
    assert heard.since(9.0) == 4.0


class Clock:
    """A loop that lives by a clock which the test turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loop = asyncio.new_event_loop()
        self.loop.time = lambda: self.now  # type: ignore[method-assign]

    def turn(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.loop.close()


def watch_on(clock: Clock, lengths: list[float], since: Callable[[], float | None]) -> tuple[SilenceWatch, list[float]]:
    told: list[float] = []
    watch = SilenceWatch(lengths, since=since, clock=lambda: clock.now, tell=lambda fact: told.append(fact.seconds))
    clock.loop.call_soon(watch.begin)
    clock.turn(0.1)
    return watch, told


def test_the_watch_tells_of_silences_from_its_first_look_on_and_stops_with_the_call(clock: Clock) -> None:
    since: float | None = 0.0
    watch, told = watch_on(clock, [2.0, 5.0], lambda: since)
    clock.turn(1.9)
    assert told == []
    clock.turn(0.5)
    assert told == [2.0]
    since = None  # somebody is heard
    clock.turn(10)
    since = clock.now
    clock.turn(5.5)
    assert told == [2.0, 2.0, 5.0]
    clock.turn(30)
    assert told == [2.0, 2.0, 5.0]
    since = clock.now
    watch.stop()
    watch.begin()
    clock.turn(30)
    assert told == [2.0, 2.0, 5.0]


def test_without_a_silence_to_wait_for_nothing_runs(clock: Clock) -> None:
    watch_on(clock, [], lambda: 0.0)
    assert clock.loop._scheduled == []  # type: ignore[attr-defined]
