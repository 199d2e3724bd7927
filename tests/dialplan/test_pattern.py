"""How numbers, names and header values are compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.pattern import (
    Pattern,
    normal_caller,
    normal_number,
    normal_text,
    parse_caller,
    parse_number,
    parse_text,
)
from gateway.located import WrongValue


@pytest.mark.parametrize(
    ("pattern", "number", "matches"),
    [
        ("7000", "7000", True),
        ("7000", "70001", False),
        ("+49 (30) 90-18.20", "+4930901820", True),
        ("+4930901820", "+49-30-901820", True),
        ("0049301", "+49301", False),
        ("49301", "+49301", False),
        ("+4930*", "+49-30-1", True),
        ("+49-30*", "+4930", True),
        ("+4930*", "+4931", False),
        ("*", "", True),
        ("*", "anything", True),
        ("*97", "*97", True),
        ("*97*", "*9712", True),
        ("#31#*", "#31#7000", True),
        ("Sales", "sales", True),
        ("front-desk", "frontdesk", False),
        ("front.*", "Front.Desk", True),
        ("/7[0-9]{3}/", "7 000", True),
        ("/7[0-9]{3}/", "70000", False),
        ("/(sales|desk).*/", "DESK-2", True),
        ("/", "/", True),
    ],
)
def test_numbers_are_compared_without_separators_and_names_without_case(
    pattern: str, number: str, matches: bool
) -> None:
    assert parse_number(pattern).matches(normal_number(number)) is matches


@pytest.mark.parametrize("written", ["", "anonymous", "Anonymous", " "])
def test_a_withheld_number_matches_anonymous(written: str) -> None:
    assert parse_caller("anonymous").matches(normal_caller(written))
    assert parse_caller("*").matches(normal_caller(written))
    assert not parse_caller("anon*").matches(normal_caller(written))
    assert not parse_caller("+49*").matches(normal_caller(written))


def test_anonymous_is_a_word_for_callers_only() -> None:
    assert not parse_caller("anonymous").matches(normal_caller("+49301"))
    assert parse_number("anonymous").matches(normal_number("Anonymous"))
    assert not parse_number("anonymous").matches(normal_number(""))


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("Gold", " gold ", True),
        ("gold*", "GOLD; level=2", True),
        ("7-000", "7000", False),
        ("*", "", True),
        ("/(de|en)(-.*)?/", "de-AT", True),
    ],
)
def test_header_values_keep_their_separators(pattern: str, value: str, matches: bool) -> None:
    assert parse_text(pattern).matches(normal_text(value)) is matches


@pytest.mark.parametrize("text", ["", "  ", "7*0", "**", "*7*0", "-", "( )*", "/(/", "/a**/"])
def test_impossible_patterns_are_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        parse_number(text)


@pytest.mark.parametrize(
    ("wider", "narrower", "covers"),
    [
        ("*", "7000", True),
        ("*", "/.*/", True),
        ("7*", "7000", True),
        ("7*", "70*", True),
        ("70*", "7*", False),
        ("7000", "7000*", False),
        ("7-000", "7000", True),
        ("7000", "7001", False),
        ("/7.*/", "7000", True),
        ("/7.*/", "/7.*/", True),
        ("/7.*/", "7*", False),
        ("7*", "/7[0-9]/", False),
        ("7000", "*", False),
    ],
)
def test_one_pattern_covers_another_where_that_is_certain(wider: str, narrower: str, covers: bool) -> None:
    assert parse_number(wider).covers(parse_number(narrower)) is covers


PATTERNS = st.sampled_from(
    ["*", "7*", "70*", "7000", "70-00", "+7*", "/7.*/", "/[a-z]+/", "a*", "ab", "anonymous"]
).map(parse_caller)


@given(PATTERNS, PATTERNS, st.text(alphabet="7+0ab-", max_size=5))
def test_what_covers_takes_whatever_the_covered_takes(wider: Pattern, narrower: Pattern, number: str) -> None:
    normal = normal_caller(number)
    if wider.covers(narrower) and narrower.matches(normal):
        assert wider.matches(normal)
