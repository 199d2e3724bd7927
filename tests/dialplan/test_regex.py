"""The expression matcher: the language of `re` where both have it, in linear time."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.regex import MAX_POSITIONS, CharacterSet, compile_regex
from gateway.located import WrongValue

ATOMS = st.sampled_from(["a", "b", "1", r"\d", ".", "[ab]", "[^a]", "[0-5b]", r"\+", r"[\]a]", "[a-]"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0}", "{1,}", "{0,2}", "{2,3}"])).map(
            lambda drawn: f"({drawn[0]}){drawn[1]}"
        ),
    ),
    max_leaves=5,
)


@given(EXPRESSIONS, st.text(alphabet="ab1+]-9", max_size=7))
def test_it_agrees_with_the_standard_library(expression: str, text: str) -> None:
    assert compile_regex(expression).fullmatch(text) is (re.fullmatch(expression, text, re.IGNORECASE) is not None)


@pytest.mark.parametrize(
    ("expression", "text", "matches"),
    [
        ("", "", True),
        ("", "a", False),
        (r"\+49(30|40)\d{4,}", "+49301234", True),
        (r"\+49(30|40)\d{4,}", "+493012", False),
        ("7[0-9]{3}", "70000", False),
        ("a|", "", True),
        ("(ab)+", "ababab", True),
        ("(a{2}){2}", "aaaa", True),
        ("(a{2}){2}", "aaaaaa", False),
        ("SALES", "sales", True),
        ("[A-Z]+", "sales", True),
        ("[^A]", "a", False),
        (".", "\n", True),
        ("[-a]", "-", True),
        ("[a^]", "^", True),
    ],
)
def test_expressions_match_whole_texts(expression: str, text: str, matches: bool) -> None:
    assert compile_regex(expression).fullmatch(text) is matches


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("(", "')' is missing, at character 2"),
        (")", "')' closes nothing, at character 1"),
        ("a**", "a repetition is repeated, at character 3"),
        ("*", "'*' is not usable here, at character 1"),
        ("^7", "'^' is not usable here, at character 1"),
        ("7$", "'$' is not usable here, at character 2"),
        ("[a", "']' is missing, at character 3"),
        ("[]", "[] is empty, at character 3"),
        ("[b-a]", "a range in [] has no order, at character 5"),
        (r"[\d-z]", "a range in [] has no order"),
        ("a{", "'{' begins no count"),
        ("a{x}", "'{' begins no count"),
        ("a{3,2}", "a count ends before it begins"),
        ("a{,3}", "'{' begins no count"),
        ("a{1000}", "'{' begins no count"),
        (r"\w", r"'\w' is not supported, at character 2"),
        (r"(a)\1", r"'\1' is not supported"),
        ("(?=a)", "'(?' is not supported, at character 2"),
        ("\\", "nothing follows '\\'"),
        ("((a{99}){99}){99}", "the expression repeats too much"),
        ("(((){999}){999}){999}", "the expression repeats too much"),
        ("(" * 50, "groups are nested too deeply"),
    ],
)
def test_bad_expressions_say_what_is_wrong_and_where(expression: str, problem: str) -> None:
    with pytest.raises(WrongValue) as caught:
        compile_regex(expression)
    assert f"holds a bad expression: {problem}" in str(caught.value)


def test_long_expressions_are_refused() -> None:
    with pytest.raises(WrongValue, match="holds a long expression"):
        compile_regex("a" * 201)


@pytest.mark.parametrize("expression", ["(a+)+b", "(a|a)*b", "(a*)*b", "a*a*a*a*a*a*b", "(.*)(.*)(.*)(.*)b"])
def test_expressions_that_ruin_a_backtracking_matcher_do_not_ruin_this_one(expression: str) -> None:
    # A backtracking matcher takes 2**256 (or 256**6) steps here and would never come back.
    assert not compile_regex(expression).fullmatch("a" * 256)
    assert compile_regex(expression).fullmatch("a" * 255 + "b")


def test_the_work_for_a_character_is_bounded_by_the_size_of_the_expression() -> None:
    steps = 0

    class Counted(CharacterSet):
        def __contains__(self, character: str) -> bool:
            nonlocal steps
            steps += 1
            return super().__contains__(character)

    largest = compile_regex("(.{0,30}a){0,16}")
    counted = replace(largest, sets=tuple(Counted(s.ranges, s.is_negated) for s in largest.sets))
    assert counted.fullmatch("ab" * 127 + "a")
    assert steps == 2 * len(largest.sets) <= 2 * MAX_POSITIONS


def test_a_text_beyond_the_bound_does_not_match() -> None:
    assert compile_regex("a*").fullmatch("a" * 256)
    assert not compile_regex("a*").fullmatch("a" * 257)
