"""A menu: keys, words, wrong ones and none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.calls.events import (
    Command,
    DigitReceived,
    Event,
    Play,
    PlayoutEnded,
    StartTimer,
    StopPlaying,
    StopTimer,
    TimerFired,
    TimerName,
)
from gateway.calls.events.steps import Listen, Speak, SpeechBegan, StopListening, WordsHeard
from gateway.calls.steps.menu import MAX_SOUNDS, SPEECH_LIMIT_S, Menu
from gateway.calls.variables import Variables
from gateway.dialplan.actions import HangUpAction, MenuAction, TransferAction
from tests.support.bare_plan import BARE_PLAN

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PROMPT = Play(file=Path("menu.wav"))
SALES, DESK, WRONG, NOBODY = (TransferAction(contact=name) for name in ("sales", "desk", "wrong", "nobody"))
WAIT = StartTimer(timer=TimerName.STEP, delay_s=5.0)
TIME_IS_UP = TimerFired(timer=TimerName.STEP)
WORDS = {"1": ("Verkauf", "sales department"), "2": ("Büro",)}


def menu(words: Mapping[str, tuple[str, ...]] | None = None, prompt: Command | None = PROMPT, **fields: Any) -> Menu:
    action = MenuAction(
        prompt=None, choices={"1": (SALES,), "2": (DESK,)}, words=words or {}, otherwise=(WRONG,), **fields
    )
    return Menu(action, lambda _at: prompt, Variables(BARE_PLAN, None))


def feed(step: Menu, *events: Event) -> list[Command]:
    commands: list[Command] = []
    for event in events:
        commands = step.on(event, NOON)
    return commands


def key(digit: str) -> DigitReceived:
    return DigitReceived(digit=digit)


def test_a_key_during_the_prompt_stops_it_and_chooses() -> None:
    asked = menu()
    assert asked.begin(NOON) == [PROMPT]
    assert StopPlaying() in feed(asked, key("2"))
    assert asked.follows == (DESK,)


def test_the_wait_begins_at_the_end_of_the_prompt() -> None:
    asked = menu()
    asked.begin(NOON)
    assert feed(asked, PlayoutEnded()) == [WAIT]
    assert StopTimer(timer=TimerName.STEP) in feed(asked, key("1"))
    assert asked.follows == (SALES,)


def test_a_wrong_key_asks_again_and_the_last_one_gives_up() -> None:
    asked = menu(tries=2)
    asked.begin(NOON)
    assert feed(asked, key("7"))[-1] == PROMPT
    assert asked.follows is None
    feed(asked, key("7"))
    assert asked.follows == (WRONG,)


def test_no_key_asks_again_then_goes_on_behind_the_menu_where_nothing_else_is_said() -> None:
    asked = menu(tries=2)
    asked.begin(NOON)
    assert feed(asked, PlayoutEnded(), TIME_IS_UP)[-1] == PROMPT
    feed(asked, PlayoutEnded(), TIME_IS_UP)
    assert asked.follows == ()


def test_no_key_at_all_has_actions_of_its_own() -> None:
    asked = menu(tries=1, timeout=(NOBODY,))
    asked.begin(NOON)
    feed(asked, PlayoutEnded(), TIME_IS_UP)
    assert asked.follows == (NOBODY,)


def test_a_menu_without_prompt_waits_at_once() -> None:
    assert menu(prompt=None).begin(NOON) == [WAIT]


def test_words_choose_also_during_the_prompt_and_nobody_listens_afterwards() -> None:
    asked = menu(WORDS)
    assert asked.begin(NOON) == [Listen(phrases=("Verkauf", "sales department", "Büro")), PROMPT]
    commands = feed(asked, WordsHeard(text="Zum VERKAUF, bitte."))
    assert StopPlaying() in commands
    assert commands[-1] == StopListening()
    assert asked.follows == (SALES,)


def test_other_words_during_the_prompt_mean_nothing() -> None:
    asked = menu(WORDS)
    asked.begin(NOON)
    assert feed(asked, SpeechBegan(), WordsHeard(text="blah")) == []
    assert asked.follows is None


def test_who_begins_to_speak_is_waited_for_and_wrong_words_are_a_wrong_key() -> None:
    asked = menu(WORDS, tries=1)
    asked.begin(NOON)
    assert feed(asked, PlayoutEnded(), SpeechBegan()) == [StartTimer(timer=TimerName.STEP, delay_s=SPEECH_LIMIT_S)]
    assert feed(asked, WordsHeard(text="")) == [WAIT]
    assert StopListening() in feed(asked, WordsHeard(text="Buchhaltung"))
    assert asked.follows == (WRONG,)


def test_the_prompt_that_comes_back_from_a_loudspeaker_is_nobody() -> None:
    asked = menu(WORDS, tries=1)
    asked.opening = Speak(text="Say Verkauf for the sales department, or Büro.")
    asked.begin(NOON)
    assert feed(asked, WordsHeard(text="for the sales department")) == []
    assert feed(asked, PlayoutEnded(), WordsHeard(text="Verkauf for the sales department")) == [WAIT]
    assert asked.follows is None
    feed(asked, WordsHeard(text="the sales department"))
    assert asked.follows == (SALES,)


def test_who_is_asked_again_is_still_listened_to() -> None:
    asked = menu(WORDS, tries=2)
    asked.begin(NOON)
    commands = feed(asked, key("7"))
    assert commands[-1] == PROMPT
    assert StopListening() not in commands
    assert StopListening() in asked.leave()


def test_keys_are_noted_in_the_order_they_were_pressed() -> None:
    variables = Variables(BARE_PLAN, None)
    action = MenuAction(prompt=None, choices={"1": (HangUpAction(),)}, words={})
    asked = Menu(action, lambda _at: None, variables)
    asked.begin(NOON)
    feed(asked, key("7"), key("1"))
    assert variables.keys == "71"


def test_only_keys_with_a_choice_are_its_own() -> None:
    assert [digit for digit in "0123456789*#" if menu().takes(digit)] == ["1", "2"]


def test_noise_does_not_keep_a_menu_for_ever() -> None:
    asked = menu(WORDS, tries=2, timeout=(NOBODY,))
    asked.begin(NOON)
    feed(asked, PlayoutEnded())
    for _ in range(MAX_SOUNDS):
        assert feed(asked, SpeechBegan()) != []
        assert feed(asked, WordsHeard(text="")) == [WAIT]
    assert feed(asked, SpeechBegan()) == []
    assert feed(asked, WordsHeard(text="")) == []
    assert PROMPT in feed(asked, TIME_IS_UP)
    assert feed(asked, PlayoutEnded(), SpeechBegan()) != []
