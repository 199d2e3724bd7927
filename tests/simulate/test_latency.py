"""What a gateway adds to the way of speech: which of the callers' words belong to which of the model's turns."""

from __future__ import annotations

import pytest

from gateway.simulate.latency import AddedLatency, Delay, ModelTimes, downlink_delays, uplink_delays
from gateway.simulate.stamped_ports import Onset

MS = 1_000_000
EPOCH = 1_796_000_000_000 * MS


def at(*times_ms: float) -> list[int]:
    return [EPOCH + round(time_ms * MS) for time_ms in times_ms]


def onset(at_ms: float, silent_since_ms: float) -> Onset:
    return Onset(at_ns=at(at_ms)[0], silent_since_ns=at(silent_since_ms)[0])


def test_words_are_behind_the_first_turn_that_follows_them() -> None:
    assert uplink_delays(at(0, 4000), at(30, 4050)) == [30 * MS, 50 * MS]


def test_a_second_turn_within_the_same_words_counts_for_nothing() -> None:
    assert uplink_delays(at(0, 4000), at(30, 700, 4050, 4800)) == [30 * MS, 50 * MS]


@pytest.mark.parametrize("appended_ms", [(), (4050,), (2500, 4050)])
def test_words_that_no_turn_follows_within_two_seconds_are_not_measured(appended_ms: tuple[float, ...]) -> None:
    assert uplink_delays(at(0, 4000), at(*appended_ms)) == ([50 * MS] if appended_ms else [])


def test_a_reply_is_heard_at_the_onset_behind_it() -> None:
    assert downlink_delays(at(100, 5000), [onset(115, 0), onset(5010, 3100)]) == [15 * MS, 10 * MS]


def test_a_reply_while_the_one_before_is_still_heard_has_no_beginning() -> None:
    assert downlink_delays(at(100, 1000), [onset(115, 0), onset(1900, 1800)]) == [15 * MS]


def test_a_reply_that_is_not_heard_before_the_next_is_not_measured() -> None:
    assert downlink_delays(at(100, 900), [onset(915, 0)]) == [15 * MS]
    assert downlink_delays(at(100), [onset(2300, 0)]) == []


def test_all_calls_count_together() -> None:
    added = AddedLatency()
    assert (str(added.uplink), added.downlink) == ("not measured", Delay())
    for delay_ms in (10, 20, 30):
        model = ModelTimes.of({"appended_ns": at(delay_ms), "replied_ns": at(500)})
        added.add(at(0), [onset(500 + delay_ms / 2, 0)], model)
    assert added.uplink == Delay(count=3, p50_ms=20.0, p99_ms=29.8)
    assert added.downlink == Delay(count=3, p50_ms=10.0, p99_ms=14.9)
    assert added.uplink.as_json() == {"count": 3, "p50_ms": 20.0, "p99_ms": 29.8}
