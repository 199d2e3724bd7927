"""The meter and its limits, on times that the tests say."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.realtime.budget import Budget, Meter, Reading
from gateway.realtime.prices import Price, Rates
from gateway.realtime.session import Usage

BY_TOKEN = Price(audio=Rates(input=Decimal(10), cached=Decimal(1), output=Decimal(20)))
BY_TIME = Price(per_second=Decimal("0.01"))
FREE = Price()
SAID = Usage(input_tokens=1000, input_audio_tokens=1000, output_tokens=500, output_audio_tokens=500)


def test_replies_and_transcripts_add_up_at_their_own_prices() -> None:
    meter = Meter(BY_TOKEN, BY_TIME)
    meter.begin(0.0)
    meter.add(SAID, 1.0)
    meter.add(SAID, 2.0)
    meter.add_transcript(Usage(seconds=3.0))
    reading = meter.reading(10.0)
    assert reading.cost == Decimal("0.04") + Decimal("0.03")
    assert (reading.tokens, reading.transcription.seconds, reading.seconds) == (3000, 3.0, 10.0)
    assert reading.is_priced


def test_time_costs_from_the_beginning_to_the_end_and_no_longer() -> None:
    meter = Meter(BY_TIME, FREE)
    assert meter.reading(50.0).cost == 0
    meter.begin(100.0)
    assert meter.reading(107.5).cost == Decimal("0.075")
    meter.begin(108.0)
    meter.end(110.0)
    assert meter.reading(500.0).cost == Decimal("0.1")


def test_what_the_provider_reports_takes_the_place_of_our_clock() -> None:
    meter = Meter(BY_TIME, FREE)
    meter.begin(0.0)
    meter.add(Usage(seconds=9.0), 10.0)
    assert meter.reading(10.0).cost == Decimal("0.09")
    assert meter.reading(15.0).cost == Decimal("0.14")
    meter.add(Usage(seconds=5.2), 15.0)
    meter.end(15.0)
    assert meter.reading(99.0).cost == Decimal("0.142")


def test_each_model_of_a_session_costs_its_own_price() -> None:
    meter = Meter(BY_TIME, FREE)
    meter.begin(0.0)
    meter.reprice(BY_TOKEN, Price(), 10.0)
    meter.add(SAID, 20.0)
    assert meter.reading(30.0).cost == Decimal("0.1") + Decimal("0.02")


@pytest.mark.parametrize("what", ["reply", "transcript", "time"])
def test_usage_without_a_known_price_is_not_taken_for_free(what: str) -> None:
    meter = Meter(None, None)
    assert meter.reading(0.0).is_priced
    if what == "reply":
        meter.add(SAID, 0.0)
    elif what == "transcript":
        meter.add_transcript(SAID)
    else:
        meter.begin(0.0)
    assert not meter.reading(1.0).is_priced


def test_the_nearest_limit_counts() -> None:
    budget = Budget(minutes=2, tokens=10_000, money=Decimal("0.50"))
    assert budget.share(Reading(seconds=30, cost=Decimal("0.40"))) == (0.8, "money")
    assert budget.share(Reading(seconds=120)) == (1.0, "minutes")
    assert budget.share(Reading(usage=SAID)) == (0.15, "tokens")
    assert Budget().share(Reading(seconds=1e9, cost=Decimal(10**9)))[0] == 0.0


def test_readings_of_several_sessions_are_one_bill() -> None:
    one = Reading(usage=SAID, seconds=1, cost=Decimal(1))
    other = Reading(transcription=SAID, seconds=2, cost=Decimal(2), is_priced=False)
    both = one + other
    assert (both.tokens, both.transcription, both.seconds, both.cost) == (1500, SAID, 3, 3)
    assert not both.is_priced
