"""Digits that a caller enters."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.events import (
    Command,
    DigitReceived,
    Play,
    PlayoutEnded,
    StartTimer,
    StopPlaying,
    TimerFired,
    TimerName,
)
from gateway.calls.steps.collect import Collect
from gateway.calls.variables import Variables
from gateway.dialplan.actions import CollectAction, HangUpAction
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PROMPT = Play(file=Path("number.wav"))
TIME_IS_UP = TimerFired(timer=TimerName.STEP)


class Asked:
    """A `Collect` under way."""

    def __init__(self, **fields: Any) -> None:
        self.variables = Variables(BARE_PLAN, None)
        action = CollectAction(prompt=None, into="pin", failed=(HangUpAction(),), **fields)
        self.step = Collect(action, lambda _at: PROMPT, self.variables)
        assert self.step.begin(NOON) == [PROMPT]

    def press(self, digits: str) -> list[Command]:
        commands: list[Command] = []
        for digit in digits:
            commands = self.step.on(DigitReceived(digit=digit), NOON)
        return commands

    def wait(self) -> list[Command]:
        return self.step.on(TIME_IS_UP, NOON)

    @property
    def result(self) -> tuple[str | None, object]:
        return self.variables.values.get("pin"), self.step.follows


def test_the_last_digit_ends_it_and_an_end_key_behind_it_means_nothing() -> None:
    asked = Asked(least=4, most=4)
    asked.press("123")
    assert asked.result == (None, None)
    asked.press("4")
    assert asked.result == ("1234", ())
    assert asked.step.trailing == "#"


@pytest.mark.parametrize(("keys", "expected"), [("12#", "12"), ("1*2#", "12"), ("1A2#", "12")])
def test_the_end_key_ends_it_early_and_other_keys_are_no_digits(keys: str, expected: str) -> None:
    asked = Asked(least=2, most=6)
    asked.press(keys)
    assert asked.result == (expected, ())
    assert asked.step.trailing == ""


def test_a_pause_ends_it_and_each_digit_begins_it_anew() -> None:
    asked = Asked(wait_s=3.0)
    assert asked.press("1") == [StopPlaying(), StartTimer(timer=TimerName.STEP, delay_s=3.0)]
    assert asked.press("2") == [StartTimer(timer=TimerName.STEP, delay_s=3.0)]
    asked.wait()
    assert asked.result == ("12", ())


def test_too_few_digits_are_asked_for_again_and_then_failed() -> None:
    asked = Asked(least=4, most=4, tries=2)
    asked.press("12")
    assert asked.wait()[-1] == PROMPT
    assert asked.press("34") == [StartTimer(timer=TimerName.STEP, delay_s=5.0)]
    asked.wait()
    assert asked.result == (None, (HangUpAction(),))


def test_nothing_at_all_fails_too() -> None:
    asked = Asked(tries=1)
    asked.step.on(PlayoutEnded(), NOON)
    asked.wait()
    assert asked.result == (None, (HangUpAction(),))


def test_without_an_end_key_there_is_none() -> None:
    asked = Asked(end="", most=3)
    asked.press("1#2")
    assert asked.result == (None, None)
    asked.press("3")
    assert asked.result == ("123", ())
    assert not asked.step.takes("#")
