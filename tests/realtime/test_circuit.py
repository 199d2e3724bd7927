"""Circuits and the pace of reconnects, by their clock."""

from __future__ import annotations

import random

import pytest

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.realtime.recovery.circuit import Circuit, CircuitState, ReconnectPace

GONE = ProviderUnavailable("gone", code="unreachable")


def opened(*errors: ProviderError) -> Circuit:
    circuit = Circuit()
    for error in errors:
        circuit.enter(0.0)
        circuit.leave()
        circuit.note_failed(error, 0.0)
    return circuit


@pytest.mark.parametrize(
    ("error", "span_s"),
    [
        (ProviderUnavailable("busy", code="http_429"), 10.0),
        (ProviderUnavailable("busy", code="http_503", retry_after_s=42.0), 42.0),
        (ProviderUnavailable("busy", code="http_429", retry_after_s=9999.0), 300.0),
        (ProviderRefused("no money", code="insufficient_quota"), 60.0),
    ],
)
def test_a_refusal_shuts_new_calls_out_for_its_time(error: ProviderError, span_s: float) -> None:
    circuit = opened(error)
    assert circuit.state(span_s - 0.1) is CircuitState.OPEN
    with pytest.raises(ProviderUnavailable) as caught:
        circuit.enter(span_s - 10.0)
    assert (caught.value.code, caught.value.retry_after_s) == ("circuit_open", pytest.approx(10.0))
    assert circuit.state(span_s) is CircuitState.HALF_OPEN
    assert circuit.sessions == 0


def test_what_is_not_reached_once_may_be_reached_the_next_time() -> None:
    assert opened(*[GONE] * 4).state(0.0) is CircuitState.CLOSED
    assert opened(*[GONE] * 5).state(4.9) is CircuitState.OPEN
    circuit = opened(*[GONE] * 4)
    circuit.note_opened()
    circuit.note_failed(GONE, 0.0)
    assert circuit.state(0.0) is CircuitState.CLOSED


def test_a_refusal_that_may_be_due_to_one_session_s_options_leaves_the_others_alone() -> None:
    refused = ProviderRefused("the tool's parameters are wrong", code="invalid_value")
    assert opened(*[refused] * 9).state(0.0) is CircuitState.CLOSED


def test_a_call_in_progress_tells_only_what_concerns_the_others() -> None:
    circuit = Circuit()
    for _ in range(9):
        assert circuit.note_refused(GONE, 0.0) is None
    assert circuit.state(0.0) is CircuitState.CLOSED
    assert circuit.note_refused(ProviderRefused("no money", code="insufficient_quota"), 0.0) is not None


def test_one_call_at_a_time_finds_out_and_the_next_span_is_twice_as_long() -> None:
    circuit = opened(ProviderUnavailable("busy", code="http_429"))
    circuit.enter(10.0)
    with pytest.raises(ProviderUnavailable):
        circuit.enter(10.0)
    circuit.note_failed(GONE, 11.0)
    assert circuit.state(11.0) is CircuitState.HALF_OPEN  # not reached once: nobody knows more than before
    circuit.enter(11.0)
    circuit.note_failed(ProviderUnavailable("busy", code="http_429"), 12.0)
    assert circuit.state(31.9) is CircuitState.OPEN
    circuit.enter(32.0)
    circuit.note_opened()
    assert circuit.state(32.0) is CircuitState.CLOSED


def test_a_probe_that_was_abandoned_lets_another_through() -> None:
    circuit = opened(ProviderUnavailable("busy", code="http_429"))
    circuit.enter(10.0)
    circuit.leave()
    circuit.note_abandoned()
    circuit.enter(10.0)


def test_an_opening_is_told_once() -> None:
    circuit = Circuit()
    busy = ProviderUnavailable("busy", code="http_429")
    told = [circuit.note_failed(busy, at) for at in (0.0, 1.0, 20.0)]
    assert [news is not None for news in told] == [True, False, False]
    assert circuit.note_failed(ProviderRefused("key", code="invalid_api_key"), 200.0) is not None


def test_calls_in_progress_come_in_whatever_the_limit() -> None:
    circuit = Circuit(max_sessions=1)
    circuit.enter(0.0)
    with pytest.raises(ProviderUnavailable, match="max_sessions"):
        circuit.enter(0.0)
    circuit.reenter()
    assert circuit.sessions == 2


@pytest.mark.parametrize("seed", range(20))
def test_never_more_than_ten_reconnects_within_a_second(seed: int) -> None:
    rng = random.Random(seed)
    pace, now, starts = ReconnectPace(rng), 0.0, []
    for _ in range(200):
        now += rng.choice((0.0, 0.0, 0.01, 0.3))
        starts.append(now + pace.book(now))
    starts.sort()
    assert all(later - earlier > 1.0 for earlier, later in zip(starts, starts[10:], strict=False))


def test_who_comes_alone_does_not_wait_and_new_calls_see_the_queue() -> None:
    pace = ReconnectPace(random.Random(1))
    assert pace.queue_s(0.0) == 0.0
    assert pace.book(0.0) == 0.0
    assert pace.queue_s(0.0) == 0.0
    assert [pace.book(0.0) > 0 for _ in range(16)] == [True] * 16
    assert pace.queue_s(0.0) == pytest.approx(2.0)
    assert pace.book(60.0) == 0.0
