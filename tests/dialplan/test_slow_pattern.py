"""Patterns that take long are seen before anybody's words are held against them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.slow_pattern import MAX_TEXT_CHARACTERS, MAX_WAYS, slowness, ways


@pytest.mark.parametrize(
    "pattern",
    [
        "^[0-9]{6}$",
        r"^\d{4}-\d{2}-\d{2}$",
        r"^([0-9]{1,3}\.){3}[0-9]{1,3}$",
        r"^[^@]+@[^@]+\.[a-z]{2,16}$",
        "^(yes|no)$",
        "^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+[.][A-Za-z]{2,}$",
        "^([ab])*([ab])*([ab])*c",
        "(a|a){13}b",
        ".*x.*",
        "a+?b",
        "^.{0,1000}$",
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
    for text in ("a" * MAX_TEXT_CHARACTERS, "0" * MAX_TEXT_CHARACTERS, "1." * 128, "@." * 128, "ab" * 128):
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
        "^(aa?)+$",
        "^(a{1,16})*$",
        "^((a?)?)+$",
        "a?" * 30 + "a" * 30,
        "(a?){16}",
        "^((a|b){1,16}){1,16}$",
        "a*a*a*b",
        "^" + "(a|a)" * 25 + "b",
        "(?i:a+)+b",
        "(a+?)+?b",
        "a*{}(a?){16}",
        "(){99999999}",
        "((((){200}){200}){200}){200}",
    ],
)
def test_patterns_that_go_back_and_forth_are_refused(pattern: str) -> None:
    assert slowness(pattern)


SMALL = st.recursive(
    st.sampled_from(["a", "[ab]", ".", "b"]),
    lambda inner: (
        st.builds(
            lambda x, times: f"(?:{x}){times}", inner, st.sampled_from(["*", "+", "?", "{2}", "{1,16}", "{0,40}"])
        )
        | st.builds(lambda x, y: x + y, inner, inner)
        | st.builds(lambda x, y: f"({x}|{y})", inner, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(pattern=SMALL, is_anchored=st.booleans())
def test_what_is_called_fast_is_fast(pattern: str, is_anchored: bool) -> None:
    pattern = ("^" if is_anchored else "") + pattern + "c$"
    if slowness(pattern):
        return
    before = time.process_time()
    for text in ("a" * MAX_TEXT_CHARACTERS, "ab" * (MAX_TEXT_CHARACTERS // 2)):
        re.search(pattern, text)
    assert time.process_time() - before < 2


@pytest.mark.parametrize("pattern", ["^[a-z]+@[a-z]+[.][a-z]{2,}$", "a*b", "^(a|b){3}$", "", "^a{300}"])
def test_ways_are_the_fewer_the_shorter_the_text(pattern: str) -> None:
    counts = [ways(pattern, length) for length in (0, 1, 20, 100, MAX_TEXT_CHARACTERS)]
    assert counts == sorted(counts)
    assert slowness(pattern) or counts[-1] <= MAX_WAYS
