"""The order and the pauses of tries."""

from __future__ import annotations

import random

import pytest

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.realtime.recovery.attempts import Attempts
from gateway.realtime.recovery.options import RecoveryOptions

GONE = ProviderUnavailable("gone", code="unreachable")
FATAL = ProviderRefused("key", code="invalid_api_key")


def search(*errors: ProviderError, first: int = 0, excluded: tuple[int, ...] = (), seed: int = 0) -> list[list[float]]:
    """Pauses before each try, by provider in the order of their turns; every try takes 0.1 s."""
    rng = random.Random(seed)
    attempts = Attempts(providers=3, first=first, excluded=excluded, options=RecoveryOptions(), rng=rng, now=0.0)
    now, turns, order = 0.0, [], list(errors)
    last = -1
    while (attempt := attempts.next()) is not None:
        if attempt.index != last:
            turns.append([float(attempt.index)])
            last = attempt.index
        turns[-1].append(attempt.delay_s)
        now += attempt.delay_s + 0.1
        attempts.note_failed(order.pop(0) if order else GONE, now)
    return turns


@pytest.mark.parametrize("seed", range(10))
def test_each_provider_has_five_tries_the_first_at_once_the_others_after_random_pauses(seed: int) -> None:
    turns = search(seed=seed)
    assert [turn[0] for turn in turns] == [0, 1, 2]
    for _, *pauses in turns:
        assert len(pauses) == 5
        assert pauses[0] == 0
        assert all(0 <= pause <= limit for pause, limit in zip(pauses[1:], (0.25, 0.5, 1.0, 2.0), strict=True))


def test_the_present_provider_comes_first_and_those_of_no_use_never() -> None:
    assert [turn[0] for turn in search(first=1)] == [1, 0, 2]
    assert [turn[0] for turn in search(first=1, excluded=(1, 2))] == [0]


def test_a_refusal_for_good_ends_a_provider_s_turn() -> None:
    assert [len(turn) - 1 for turn in search(FATAL, GONE, FATAL, FATAL)] == [1, 2, 1]


def test_a_provider_that_asks_for_more_patience_than_there_is_loses_its_turn() -> None:
    soon = ProviderUnavailable("busy", code="http_429", retry_after_s=3.0)
    late = ProviderUnavailable("busy", code="http_429", retry_after_s=30.0)
    turns = search(soon, late)
    assert turns[0] == [0, 0, 3.0]
    assert turns[1][0] == 1
