"""Whether a thought is all said, by its words."""

from __future__ import annotations

import math

import pytest
import yaml

from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.grammar import Grammar, normalize
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import NOTHING, Recognition
from gateway.embedded.thought import ENDINGS, WAITS, Endings, Thought, endings_of, thought_of

GRAMMAR = Phrasebook(load_script(RECEPTION)).phrases(()).grammar
ENGLISH = endings_of("en")
NO_GRAMMAR = Grammar(phrases=())
CERTAIN, UNSURE, REJECTED = 3.0, -1.0, -5.0


def heard(text: str, fit: float, beginning: str = "", beginning_fit: float = -math.inf) -> Recognition:
    return Recognition(text=text, fit=fit, beginning=beginning, beginning_fit=beginning_fit)


@pytest.mark.parametrize(
    ("recognition", "thought"),
    [
        # All of a phrase, and no other one begun.
        (heard("where are you", CERTAIN), Thought.WHOLE),
        (heard("where are you", UNSURE), Thought.WHOLE),
        (heard("who am i talking to", CERTAIN), Thought.WHOLE),
        # Another phrase begun, which is no reason to wait.
        (heard("i want to talk to someone", CERTAIN, "i want to talk to a real", 4.0), Thought.WHOLE),
        (heard("yes", CERTAIN, "the", REJECTED), Thought.WHOLE),
        # Nothing of the last words was said: the grammar has put them in.
        (heard("what time do you open", CERTAIN, "what time do you", 4.0), Thought.UNFINISHED),
        (heard("where are you", UNSURE, "where are", 4.0), Thought.UNFINISHED),
        (heard("what time do you open", CERTAIN, "what time do you", REJECTED), Thought.WHOLE),
        # An ending that is none, of a phrase that fits better.
        (heard("put me through to someone", UNSURE, "put me through with the", 1.0), Thought.UNFINISHED),
        (heard("correct hi", CERTAIN, "can i", 4.0), Thought.UNCLEAR),
        (heard("correct hi", CERTAIN, "can i", 2.0), Thought.WHOLE),
        # No phrase fits.
        (heard("", -math.inf, "i would like to speak to", 4.0), Thought.UNFINISHED),
        (heard("billing", REJECTED, "give me", 0.0), Thought.UNFINISHED),
        (heard("where are you", REJECTED), Thought.UNCLEAR),
        (heard("where are you", REJECTED, "where are", REJECTED), Thought.UNCLEAR),
        (NOTHING, Thought.UNCLEAR),
    ],
)
def test_grammar_tells_what_is_all_said(recognition: Recognition, thought: Thought) -> None:
    assert thought_of(recognition, GRAMMAR, ENGLISH) is thought


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("I lost my password.", Thought.WHOLE),
        ("Can you help me?", Thought.WHOLE),
        ("I would like to speak to", Thought.UNFINISHED),
        ("I'd", Thought.UNFINISHED),
        ("It is about the", Thought.UNFINISHED),
        ("My printer is broken and", Thought.UNFINISHED),
        ("Um.", Thought.UNFINISHED),
        ("I was calling because, uh,", Thought.UNFINISHED),
        ("Let me think...", Thought.UNFINISHED),
        ("My number is five five", Thought.UNCLEAR),
        ("It is 42", Thought.UNCLEAR),
        ("?", Thought.UNCLEAR),
    ],
)
def test_words_without_a_grammar_go_by_the_last_one(text: str, thought: Thought) -> None:
    assert thought_of(heard(text, 0.5), NO_GRAMMAR, ENGLISH) is thought


def test_phrase_of_the_dialogue_is_whole_whatever_word_it_ends_with() -> None:
    assert thought_of(heard("Who am I talking to?", 0.5), GRAMMAR, ENGLISH) is Thought.WHOLE
    assert thought_of(heard("Hello, who am I talking to, please?", 0.5), GRAMMAR, ENGLISH) is Thought.WHOLE
    assert thought_of(heard("Tell me who am I talking to", 0.5), GRAMMAR, ENGLISH) is Thought.UNFINISHED


@pytest.mark.parametrize("language", ["en", "en-US", "EN"])
def test_language_may_have_a_country(language: str) -> None:
    assert endings_of(language).is_open("the")


def test_language_that_is_not_known_has_no_endings() -> None:
    assert endings_of("de") == Endings()
    assert endings_of("de").thought("ich will to") is Thought.WHOLE


def test_every_word_of_the_lists_can_be_heard() -> None:
    for rows in yaml.safe_load(ENDINGS.read_text()).values():
        for lists in rows.values():
            for word in (word for row in lists for word in row):
                assert normalize(word) == word


def test_less_eager_waits_longer_and_more_words_never_longer_than_fewer() -> None:
    for waits in WAITS.values():
        assert waits.whole_ms < waits.unclear_ms < waits.unfinished_ms
    for thought in Thought:
        assert WAITS["high"].after(thought) < WAITS["medium"].after(thought) < WAITS["low"].after(thought)
    assert WAITS["auto"] == WAITS["medium"]
