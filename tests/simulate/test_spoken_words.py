"""Expected words in what was said: in their order, with a little left to chance and no more."""

from __future__ import annotations

import pytest

from gateway.dialplan.phrases import words_of
from gateway.simulate.spoken_words import find_words

OPEN = "We are open from Monday to Friday, from nine in the morning until half past five."


@pytest.mark.parametrize(
    ("expected", "said", "end"),
    [
        ("open from Monday", OPEN, 5),
        ("WE ARE, open!", OPEN, 3),
        ("from nine in the mornings until half", OPEN, 14),  # a long word differs in a letter
        ("open from Monday till Friday", OPEN, 7),  # one of five is another
        ("nine in morning until half", OPEN, 14),
        ("Café", "the cafe is open", 2),
        ("morning until", OPEN, 13),
        ("five", OPEN, 16),
    ],
)
def test_words_are_found_up_to_their_end(expected: str, said: str, end: int) -> None:
    assert find_words(expected, words_of(said)) == end


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ("closed", OPEN),
        ("we are closed", OPEN),  # one of three is too much
        ("open from Sunday", OPEN),
        ("Friday to Monday", OPEN),  # the order counts
        ("open until five", OPEN),  # too far apart
        ("nine to ten in the evening", OPEN),
        ("hours", "our"),
        ("welcome", ""),
    ],
)
def test_other_words_are_not_found(expected: str, said: str) -> None:
    assert find_words(expected, words_of(said)) is None
