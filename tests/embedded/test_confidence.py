"""Whether a phrase was said: what counts for it and against it, frame by frame."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.embedded.automaton import PAUSE
from gateway.embedded.confidence import GrammarDecode, Segment, edit_distance, segments_of

LONG = {"opening": ["OW", "P", "AH", "N", "IH", "NG"], "hours": ["AW", "ER", "Z"]}
SHORT = {"yes": ["Y", "EH", "S"]}


def decode(
    word_score: float, *, gap: int = 0, pause: str = "<sil>", dictionary: dict[str, list[str]] | None = None
) -> GrammarDecode:
    """The words of a dictionary, 30 frames each, `word_score` a frame, silence round them and `gap` frames between."""
    segments, start = [Segment("<sil>", 0, 9, -300.0)], 10
    for number, word in enumerate(dictionary or LONG):
        if number and gap:
            segments.append(Segment(pause, start, start + gap - 1, -30.0 * gap))
            start += gap
        segments.append(Segment(word, start, start + 29, 30 * word_score))
        start += 30
    segments.append(Segment("<sil>", start, start + 9, -300.0))
    return GrammarDecode.of(tuple(segments), dictionary or LONG)


def loop(score: float, *phones: str, frames: int = 80) -> list[Segment]:
    """The phones that a loop heard, evenly over all frames."""
    length = frames // len(phones)
    return [Segment(name, k * length, (k + 1) * length - 1, score * length) for k, name in enumerate(phones)]


SAID = ("SIL", *(phone for phones in LONG.values() for phone in phones), "SIL")


def test_well_fitting_phrase_is_clear_without_the_loop_and_a_hopeless_one_too() -> None:
    good, bad = decode(-20.0).clear_score(), decode(-100.0).clear_score()
    assert good is not None
    assert bad is not None
    assert good > 0 > bad


def test_what_lies_between_is_not_clear() -> None:
    assert decode(-50.0).clear_score() is None


@pytest.mark.parametrize("score", [-1.0, -20.0, -100.0])
def test_short_word_is_never_clear(score: float) -> None:
    assert decode(score, dictionary=SHORT).clear_score() is None


def test_phrase_that_fits_as_well_as_any_phones_was_said() -> None:
    same = decode(-50.0).score_beside(loop(-45.0, *SAID))
    other = decode(-50.0).score_beside(loop(-15.0, *SAID))
    assert same > other


def test_other_phones_than_the_phrase_has_count_against_it() -> None:
    close = decode(-50.0).score_beside(loop(-25.0, *SAID))
    far = decode(-50.0).score_beside(loop(-25.0, "SIL", "F", "F", "F", "SIL"))
    assert close > far


def test_words_that_are_stretched_over_gaps_count_less() -> None:
    assert decode(-50.0).score_beside(loop(-30.0, *SAID)) > decode(-50.0, gap=20).score_beside(loop(-30.0, *SAID))


def test_pause_where_one_is_natural_is_no_gap() -> None:
    pausing = decode(-50.0, gap=20, pause=PAUSE)
    assert pausing.phones == decode(-50.0).phones
    assert pausing.score_beside(loop(-30.0, *SAID)) > decode(-50.0, gap=20).score_beside(loop(-30.0, *SAID))


def test_silence_round_the_words_is_not_compared() -> None:
    words, padded = decode(-50.0), decode(-50.0)
    quiet = loop(-30.0, *SAID)
    louder = [Segment(s.name, s.start, s.end, s.score * 9 if s.name == "SIL" else s.score) for s in quiet]
    assert words.score_beside(quiet) == pytest.approx(padded.score_beside(louder), abs=0.5)


@pytest.mark.parametrize(
    ("heard", "meant", "expected"),
    [("", "", 0), ("ABC", "ABC", 0), ("AC", "ABC", 1), ("ABBC", "ABC", 1), ("AXC", "ABC", 1), ("", "ABC", 3)],
)
def test_distance_counts_what_was_left_out_put_in_or_taken_for_another(heard: str, meant: str, expected: int) -> None:
    assert edit_distance(heard, meant) == expected


def test_segments_are_read_without_empty_words_and_with_the_word_of_each_pronunciation() -> None:
    spoken = [("<sil>", 0, 4, 1.0), ("the(2)", 5, 9, 0.999), ("(NULL)", 9, 9, 1.0)]
    rows = [SimpleNamespace(word=w, start_frame=s, end_frame=e, ascore=a) for w, s, e, a in spoken]
    pause, word = segments_of(SimpleNamespace(seg=lambda: rows))
    assert (pause.is_pause, pause.score) == (True, 0.0)
    assert (word.name, word.is_pause, word.frames) == ("the", False, 5)
    assert word.score == pytest.approx(-10.0, abs=0.1)


def test_decoder_that_heard_nothing_has_no_segments() -> None:
    assert segments_of(SimpleNamespace(seg=lambda: None)) == ()
