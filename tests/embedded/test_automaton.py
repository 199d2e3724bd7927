"""The recogniser's machine accepts exactly what the grammar's phrases say, and is as small as can be."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.embedded.automaton import (
    COURTESY_PROBABILITY,
    PAUSE,
    UNEXPECTED_PROBABILITY,
    Automaton,
    compile_grammar,
)
from gateway.embedded.grammar import Grammar, parse_phrase


def compiled(
    *phrases: str,
    slots: dict[str, tuple[str, ...]] | None = None,
    courtesies: tuple[str, ...] = (),
    greetings: tuple[str, ...] = (),
    expected: tuple[str, ...] = (),
) -> Automaton:
    """Each phrase is its own intent."""
    parsed = tuple((phrase, parse_phrase(phrase)) for phrase in phrases)
    grammar = Grammar(phrases=parsed, slots=slots or {}, courtesies=courtesies, greetings=greetings)
    return compile_grammar(grammar, expected)


def accepts(automaton: Automaton, text: str) -> bool:
    """Whether some path from the start to the final state says `text`."""
    return probability(automaton, text) > 0


def probability(automaton: Automaton, text: str) -> float:
    """That of the most probable path that says `text`; 0 where there is none. Pauses are words."""
    states = closure(automaton, {0: 1.0})
    for word in text.split():
        reached: dict[int, float] = {}
        for start, to, by, share in automaton.arcs:
            if by == word and start in states:
                reached[to] = max(reached.get(to, 0.0), states[start] * share)
        states = closure(automaton, reached)
    return states.get(automaton.final, 0.0)


def closure(automaton: Automaton, states: dict[int, float]) -> dict[int, float]:
    reached, unseen = dict(states), list(states)
    while unseen:
        state = unseen.pop()
        for start, to, by, share in automaton.arcs:
            if start == state and not by and reached.get(to, 0.0) < reached[state] * share:
                reached[to] = reached[state] * share
                unseen.append(to)
    return reached


def test_phrases_are_accepted_whole_and_nothing_else() -> None:
    automaton = compiled("where are you [located]", "(when | what time) do you close")
    for text in ("where are you", "where are you located", "when do you close", "what time do you close"):
        assert accepts(automaton, text), text
    for text in ("", "where", "where are", "located", "what do you close", "when do you close located"):
        assert not accepts(automaton, text), text


def test_slots_stand_for_each_of_their_values() -> None:
    automaton = compiled("call {who}", slots={"who": ("front desk", "sales")})
    assert accepts(automaton, "call front desk")
    assert accepts(automaton, "call sales")
    assert not accepts(automaton, "call front")
    assert not accepts(automaton, "call front sales")


def test_courtesies_may_stand_before_and_behind() -> None:
    automaton = compiled("sales", courtesies=("please", "good morning"))
    for text in ("sales", "please sales", "sales please", "good morning sales please"):
        assert accepts(automaton, text), text
    for text in ("please", "please please sales", "good sales", "sales sales"):
        assert not accepts(automaton, text), text


def test_courtesy_without_a_letter_that_can_be_said_is_left_out() -> None:
    assert compiled("sales", courtesies=("…",), greetings=("你好",)) == compiled("sales", courtesies=("…",))


def test_greetings_may_stand_before_a_phrase_alone() -> None:
    automaton = compiled("sales", greetings=("hello",), courtesies=("please",))
    for text in ("hello sales", "hello sales please", "please sales"):
        assert accepts(automaton, text), text
    for text in ("sales hello", "hello please sales", "hello"):
        assert not accepts(automaton, text), text


def test_courtesies_are_less_probable_than_the_same_words_as_a_phrase() -> None:
    automaton = compiled(
        "no thank you", "hello", "thank you", "sales", courtesies=("thank you",), greetings=("hello", "good day")
    )
    assert probability(automaton, "no thank you") == 1.0
    assert probability(automaton, "thank you") == 1.0
    assert math.isclose(probability(automaton, "hello thank you"), COURTESY_PROBABILITY)
    assert math.isclose(probability(automaton, "good day sales thank you"), COURTESY_PROBABILITY**2)


def test_answers_to_a_question_are_more_probable_than_all_else() -> None:
    automaton = compiled(
        "yes", "no [thanks]", "hello", "[talk to] sales", courtesies=("please",), expected=("yes", "x")
    )
    assert probability(automaton, "yes") == 1.0
    assert math.isclose(probability(automaton, "yes please"), COURTESY_PROBABILITY)
    for text in ("no", "no thanks", "hello", "sales", "talk to sales"):
        assert math.isclose(probability(automaton, text), UNEXPECTED_PROBABILITY), text


def test_question_whose_answers_cannot_be_said_changes_nothing() -> None:
    assert compiled("hello", "sales", expected=("yes",)) == compiled("hello", "sales")


def test_silence_is_a_word_at_commas_and_between_a_phrase_and_politeness() -> None:
    automaton = compiled("no, (thanks | not now)", greetings=("good day",), courtesies=("please",))
    for text in ("no thanks", f"no {PAUSE} thanks", f"good day {PAUSE} no {PAUSE} not now {PAUSE} please"):
        assert accepts(automaton, text), text
    for text in (f"no not {PAUSE} now", f"good {PAUSE} day no thanks", f"{PAUSE} no thanks", f"no thanks {PAUSE}"):
        assert not accepts(automaton, text), text


def test_phrases_that_cannot_be_said_are_left_out() -> None:
    automaton = compiled("call {who}", "hello", slots={"who": ()})
    assert accepts(automaton, "hello")
    assert not accepts(automaton, "call")


def test_common_beginnings_and_ends_are_shared() -> None:
    automaton = compiled("talk to sales please", "talk to support please")
    words = [word for _, _, word, _ in automaton.arcs if word]
    assert sorted(words) == ["please", "sales", "support", "talk", "to"]


def test_start_is_the_first_state_and_no_state_is_unused() -> None:
    automaton = compiled("a [b] (c | d e)", "a d e")
    states = {state for start, to, *_ in automaton.arcs for state in (start, to)}
    assert states == set(range(automaton.final + 1))
    assert {start for start, *_ in automaton.arcs} == states - {automaton.final}


PARTS = st.recursive(
    st.sampled_from(["a", "b"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
        st.lists(inner, min_size=2, max_size=2).map(lambda parts: f"({' | '.join(parts)})"),
        inner.map(lambda part: f"[{part}]"),
    ),
    max_leaves=4,
)


@settings(max_examples=60)
@given(st.lists(PARTS, min_size=1, max_size=3))
def test_machine_and_patterns_accept_the_same(phrases: list[str]) -> None:
    parsed = [parse_phrase(phrase) for phrase in phrases]
    grammar = Grammar(phrases=tuple(("x", node) for node in parsed))
    automaton = compile_grammar(grammar)
    for length in range(1, 5):
        for words in itertools.product("ab", repeat=length):
            text = " ".join(words)
            whole = any(pattern.fullmatch(text + " ") for _, pattern in grammar._patterns)
            assert accepts(automaton, text) is whole, (text, phrases)
