from __future__ import annotations

from random import Random

import pytest

from gateway.errors import ProviderRefused, ProviderUnavailable
from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.recovery.retries import PAUSES_S, Retries

OVERLOADED = ProviderUnavailable("overloaded")


def make(**changes: float) -> Retries:
    return Retries(RecoveryOptions(**changes), Random(7))  # type: ignore[arg-type]


def test_pauses_grow_and_are_spread_over_their_second_half() -> None:
    retries = make(reply_retries=4)
    for pause_s in (*PAUSES_S, PAUSES_S[-1]):
        assert retries.plan(OVERLOADED, 100.0)
        assert retries.due is not None
        assert 100.0 + pause_s / 2 <= retries.due <= 100.0 + pause_s
    assert not retries.plan(OVERLOADED, 100.0)


def test_the_provider_may_say_how_long() -> None:
    retries = make()
    assert retries.plan(ProviderUnavailable("busy", retry_after_s=5.0), 100.0)
    assert retries.due == 105.0


@pytest.mark.parametrize(
    "error", [ProviderRefused("no quota"), ProviderUnavailable("busy", retry_after_s=1000.0)], ids=["for good", "long"]
)
def test_what_no_retry_helps_is_not_asked_for_again(error: ProviderUnavailable | ProviderRefused) -> None:
    retries = make()
    assert not retries.plan(error, 100.0)
    assert retries.due is None


def test_a_reply_is_asked_for_once_and_not_before_its_time() -> None:
    retries = make()
    retries.plan(ProviderUnavailable("busy", retry_after_s=5.0), 100.0)
    assert [retries.take(now) for now in (104.9, 105.0, 105.0)] == [False, True, False]


def test_one_that_is_not_wanted_any_more_is_not_asked_for() -> None:
    retries = make()
    retries.plan(OVERLOADED, 100.0)
    retries.drop()
    assert not retries.take(200.0)
