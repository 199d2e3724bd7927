"""Phrases: how they are written, what they accept, and what they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedded.grammar import (
    Choice,
    Grammar,
    Meaning,
    Pause,
    PhraseError,
    Sequence,
    Slot,
    Word,
    normalize,
    parse_phrase,
    slots_of,
    words_of,
)


def grammar(*phrases: str, slots: dict[str, tuple[str, ...]] | None = None) -> Grammar:
    """A grammar in which each phrase is its own intent."""
    return Grammar(phrases=tuple((phrase, parse_phrase(phrase)) for phrase in phrases), slots=slots or {})


def meaning(text: str, *phrases: str, slots: dict[str, tuple[str, ...]] | None = None) -> Meaning | None:
    return grammar(*phrases, slots=slots).interpret(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What are your opening hours?", "what are your opening hours"),
        ("I'd like SALES, please!", "i'd like sales please"),
        ("I\N{RIGHT SINGLE QUOTATION MARK}d like", "i'd like"),
        ("Room 101", "room one zero one"),
        ("'quoted'", "quoted"),
        ("front_desk", "front desk"),
        ("  \t ", ""),
        ("at '9'", "at nine"),
    ],
)
def test_text_is_normalised_as_it_would_be_said(text: str, expected: str) -> None:
    assert normalize(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


def test_phrase_is_words_options_choices_and_slots() -> None:
    assert parse_phrase("call [the] (sales | support team) {who}") == Sequence(
        (
            Word("call"),
            Choice((Word("the"),), is_optional=True),
            Choice((Word("sales"), Sequence((Word("support"), Word("team"))))),
            Slot("who"),
        )
    )


def test_phrase_knows_its_words_and_slots() -> None:
    node = parse_phrase("call [the | an] {who} (now | at {time})")
    assert words_of(node) == {"call", "the", "an", "now", "at"}
    assert slots_of(node) == {"who", "time"}


@pytest.mark.parametrize(
    "phrase", ["", "  ", "[a", "(a", "a]", "a)", "[]", "(a|)", "a | ", "{A}", "{", "a {1x}", "[a)"]
)
def test_phrase_that_cannot_be_read_is_refused(phrase: str) -> None:
    with pytest.raises(PhraseError):
        parse_phrase(phrase)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("where are you", True),
        ("Where are you located?", True),
        ("where you are", False),
        ("where are you located now", True),
        ("nowhere are you", False),
        ("where are young people", False),
        ("tell me where are you", True),
        ("", False),
    ],
)
def test_phrase_is_found_whole_or_within_what_was_said(text: str, matches: bool) -> None:
    assert (meaning(text, "where are you [located]") is not None) is matches


def test_longest_phrase_within_wins() -> None:
    assert meaning("no thank you", "no", "thank you", "no thank you") == Meaning(intent="no thank you")
    assert meaning("yes i want sales", "yes", "i want sales") == Meaning(intent="i want sales")


def test_phrase_written_first_wins_between_equals() -> None:
    assert meaning("hello", "hello [there]", "(hello | hi)") == Meaning(intent="hello [there]")


def test_slot_is_filled_with_the_value_that_was_said() -> None:
    slots = {"contact": ("sales", "front desk", "front desk two")}
    phrase = "connect me to {contact}"
    assert meaning("Connect me to front desk two", phrase, slots=slots) == Meaning(
        intent=phrase, slots={"contact": "front desk two"}
    )
    assert meaning("connect me to front desk", phrase, slots=slots) == Meaning(
        intent=phrase, slots={"contact": "front desk"}
    )
    assert meaning("connect me to marketing", phrase, slots=slots) is None


def test_slot_value_is_a_whole_word() -> None:
    assert meaning("salesman", "{contact}", slots={"contact": ("sales",)}) is None


def test_phrase_whose_slot_has_no_values_cannot_be_said() -> None:
    found = grammar("talk to {contact}", "hello", slots={"contact": ()})
    assert found.interpret("talk to") is None
    assert found.interpret("hello") == Meaning(intent="hello")
    assert [node for _, node in found.usable] == [Word("hello")]


@pytest.mark.parametrize("phrase", [",", "no [,]", "(, | no)"])
def test_comma_alone_says_nothing(phrase: str) -> None:
    with pytest.raises(PhraseError, match="is empty"):
        parse_phrase(phrase)


@pytest.mark.parametrize("said", ["no thanks", "No, thanks.", "no <,> thanks"])
def test_comma_is_a_pause_that_means_nothing(said: str) -> None:
    assert parse_phrase("no, thanks") == Sequence((Word("no"), Pause(), Word("thanks")))
    assert meaning(said, "no, thanks") == Meaning(intent="no, thanks")
    assert words_of(parse_phrase("no, thanks")) == {"no", "thanks"}


def test_values_with_signs_are_taken_literally() -> None:
    assert meaning("c plus plus", "{language}", slots={"language": ("c plus plus", "c.s")}) is not None
    assert meaning("cxs", "{language}", slots={"language": ("c.s",)}) is None


def test_words_are_all_that_must_be_pronounced() -> None:
    found = Grammar(
        phrases=(("a", parse_phrase("call [the] {who}")),),
        slots={"who": ("front desk", "sales")},
        courtesies=("good morning", "Please"),
    )
    assert found.words == ("call", "desk", "front", "good", "morning", "please", "sales", "the")


PHRASES = st.recursive(
    st.sampled_from(["a", "b", "c"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(" ".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({' | '.join(parts)})"),
        inner.map(lambda part: f"[{part}]"),
    ),
    max_leaves=6,
)


def sayings(node: object) -> set[str]:
    """Everything that `node` accepts."""
    if isinstance(node, Word):
        return {node.text}
    if isinstance(node, Sequence):
        found = {""}
        for part in node.parts:
            found = {f"{head} {tail}".strip() for head in found for tail in sayings(part)}
        return found
    assert isinstance(node, Choice)
    return set().union(*map(sayings, node.parts)) | ({""} if node.is_optional else set())


@given(PHRASES)
def test_all_that_a_phrase_allows_is_understood(phrase: str) -> None:
    node = parse_phrase(phrase)
    found = Grammar(phrases=(("x", node),))
    for text in sayings(node) - {""}:
        assert found.interpret(text) == Meaning(intent="x")
