"""The recogniser's machine accepts exactly what the grammar's phrases say, and is as small as can be."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.embedded.automaton import Automaton, compile_grammar
from gateway.embedded.grammar import Grammar, parse_phrase


def compiled(
    *phrases: str, slots: dict[str, tuple[str, ...]] | None = None, courtesies: tuple[str, ...] = ()
) -> Automaton:
    parsed = tuple((phrase, parse_phrase(phrase)) for phrase in phrases)
    return compile_grammar(Grammar(phrases=parsed, slots=slots or {}, courtesies=courtesies))


def accepts(automaton: Automaton, text: str) -> bool:
    """Whether some path from the start to the final state says `text`."""
    states = closure(automaton, {0})
    for word in text.split():
        states = closure(automaton, {to for start, to, by in automaton.arcs if start in states and by == word})
    return automaton.final in states


def closure(automaton: Automaton, states: set[int]) -> set[int]:
    reached = set(states)
    while more := {to for start, to, by in automaton.arcs if not by and start in reached} - reached:
        reached |= more
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


def test_phrases_that_cannot_be_said_are_left_out() -> None:
    automaton = compiled("call {who}", "hello", slots={"who": ()})
    assert accepts(automaton, "hello")
    assert not accepts(automaton, "call")


def test_common_beginnings_and_ends_are_shared() -> None:
    automaton = compiled("talk to sales please", "talk to support please")
    words = [word for _, _, word in automaton.arcs if word]
    assert sorted(words) == ["please", "sales", "support", "talk", "to"]


def test_start_is_the_first_state_and_no_state_is_unused() -> None:
    automaton = compiled("a [b] (c | d e)", "a d e")
    states = {state for start, to, _ in automaton.arcs for state in (start, to)}
    assert states == set(range(automaton.final + 1))
    assert {start for start, _, _ in automaton.arcs} == states - {automaton.final}


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
