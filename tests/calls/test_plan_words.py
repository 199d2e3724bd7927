"""What a dialplan says and hears by itself stands in the transcript as far as it was heard."""

from __future__ import annotations

from gateway.calls.plan_words import PlanWords
from gateway.calls.record import Speaker, Speech


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1000
        self.told: list[Speech] = []
        self.words = PlanWords(lambda: self.now_ms, self.told.append)


def test_a_text_is_told_when_it_was_heard_with_the_time_of_its_first_sound() -> None:
    clock = Clock()
    clock.words.sounds("Press one.", 200, 500)
    clock.words.sounds("Press one.", 700, 500)
    clock.words.heard()  # the first piece, before the second has come
    assert clock.told == []
    clock.words.complete()
    clock.now_ms = 2300
    clock.words.heard()
    assert clock.told == [Speech(speaker=Speaker.AGENT, text="Press one.", at_ms=1200)]
    clock.words.heard()
    clock.words.cut()
    assert len(clock.told) == 1


def test_of_a_text_that_is_cut_off_the_words_that_were_heard_are_told() -> None:
    clock = Clock()
    clock.words.sounds("Press one for sales, two for support.", 0, 4000)
    clock.words.complete()
    clock.now_ms = 2100
    clock.words.cut()
    (speech,) = clock.told
    assert speech.heard_ms == 1100
    assert speech.heard_text is not None
    assert speech.heard_text.startswith("Press one")
    assert "support" not in speech.heard_text


def test_what_was_never_audible_is_not_told() -> None:
    clock = Clock()
    clock.words.cut()
    clock.words.heard()
    clock.words.complete()
    assert clock.told == []


def test_what_the_caller_says_is_told_unless_it_gave_no_words() -> None:
    clock = Clock()
    clock.words.caller_said("sales please")
    clock.words.caller_said("")
    assert clock.told == [Speech(speaker=Speaker.CALLER, text="sales please", at_ms=1000)]
