"""Keys for the model wait until the caller pauses."""

from __future__ import annotations

from gateway.calls import events as e
from gateway.calls.gathered_keys import DIGIT_PAUSE_S, MAX_DIGITS, GatheredKeys

WAIT = [e.StartTimer(timer=e.TimerName.DIGITS, delay_s=DIGIT_PAUSE_S)]


def told(digits: str) -> list[e.Command]:
    return [e.TellModel(text=f"The caller pressed these telephone keys: {' '.join(digits)}")]


def test_the_pause_begins_anew_with_each_key_and_all_are_told_once() -> None:
    keys = GatheredKeys()
    assert [keys.add(digit) for digit in "42#"] == [WAIT] * 3
    assert [keys.tell(), keys.tell()] == [told("42#"), []]


def test_of_very_many_keys_the_rest_is_lost() -> None:
    keys = GatheredKeys()
    for _ in range(MAX_DIGITS):
        keys.add("1")
    assert keys.add("2") == []
    assert keys.tell() == told("1" * MAX_DIGITS)


def test_keys_that_are_of_no_interest_any_more_are_not_told() -> None:
    keys = GatheredKeys()
    keys.add("1")
    keys.forget()
    assert keys.tell() == []
