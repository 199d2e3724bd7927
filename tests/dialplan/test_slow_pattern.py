"""Patterns that take long are seen before anybody's words are held against them."""

from __future__ import annotations

import re
import time

import pytest

from gateway.dialplan.slow_pattern import MAX_TEXT_CHARACTERS, slowness


@pytest.mark.parametrize(
    "pattern",
    [
        "^[0-9]{6}$",
        r"^\d{4}-\d{2}-\d{2}$",
        r"^([0-9]{1,3}\.){3}[0-9]{1,3}$",
        r"^[^@]+@[^@]+\.[a-z]{2,16}$",
        "^(yes|no)$",
        "^(a|b)?c*$",
        r"^\(\d+\)$",
        "[*+()|]+",
        r"[]a+*]{2}",
        "(?:ab){2}",
        "a{3}",
        "",
    ],
)
def test_usual_patterns_are_fast_whatever_they_are_held_against(pattern: str) -> None:
    assert slowness(pattern) == ""
    before = time.process_time()
    for text in ("a" * MAX_TEXT_CHARACTERS, "0" * MAX_TEXT_CHARACTERS, "1." * 128, "@." * 128):
        re.search(pattern, text + "!")
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "(a*)*b",
        r"^(\w+\s?)*$",
        "^(a|a)*$",
        "(a|ab){2,}",
        "((a{1,99})b?){2}",
        "^(?:x*){9}$",
        "(?P<n>a+)+",
        "^.*.*.*.*x$",
        r"(a)\1*",
        "((a+))+",
    ],
)
def test_patterns_that_go_back_and_forth_are_refused(pattern: str) -> None:
    assert slowness(pattern)
