"""Keywords within other sentences: which are looked for, and what it takes to have been said."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest

from gateway.embedded.confidence import REJECTED_BELOW
from gateway.embedded.recognizer import Recognition
from gateway.embedded.spotting import (
    FIT,
    SPOTTED_FROM,
    Sighting,
    heard_beside,
    scores_of,
    sightings_of,
    spottable,
)

DICTIONARY = {"human": tuple("HYUMAN"), "help": tuple("HELP"), "real": tuple("RIL"), "person": tuple("PERSAN")}
PHONES = {"human": 6, "real person": 9}
SAID = Sighting("human", start=100, end=145, lead=5.0)


@dataclass(frozen=True)
class Told:
    """A segment of PocketSphinx's keyphrase search; `prob` as it tells a lead of nothing."""

    word: str = "real person "
    start_frame: int = 10
    end_frame: int = 70
    prob: float = 0.8607


class Search:
    """One that came upon what it is given."""

    def __init__(self, *told: Told) -> None:
        self.told = told

    def seg(self) -> tuple[Told, ...] | None:
        return self.told or None


def test_short_phrases_are_not_looked_for() -> None:
    assert spottable(["human", "help", "real person"], DICTIONARY) == PHONES


def test_a_phrase_that_fits_was_said() -> None:
    assert scores_of([SAID], PHONES)["human"] >= SPOTTED_FROM
    assert scores_of([], PHONES) == {"human": -math.inf, "real person": -math.inf}


@pytest.mark.parametrize(
    "doubtful",
    [
        pytest.param(replace(SAID, lead=-40.0), id="fits worse"),
        pytest.param(replace(SAID, end=115), id="hurried"),
    ],
)
def test_a_phrase_that_was_forced_onto_other_sounds_was_not(doubtful: Sighting) -> None:
    assert scores_of([doubtful], PHONES)["human"] < SPOTTED_FROM


def test_a_longer_phrase_may_fit_worse() -> None:
    phrase = Sighting("real person", start=0, end=68, lead=-40.0)
    short = replace(phrase, phrase="human", end=45)
    scores = scores_of([phrase, short], PHONES)
    assert scores["real person"] >= SPOTTED_FROM > scores["human"]


def test_of_several_places_the_best_counts() -> None:
    worse = replace(SAID, lead=-60.0)
    assert scores_of([worse, SAID], PHONES) == scores_of([SAID, worse], PHONES) == scores_of([SAID], PHONES)


def test_leads_are_told_in_nats() -> None:
    (sighting,) = sightings_of(Search(Told()))
    assert (sighting.phrase, sighting.start, sighting.end) == ("real person", 10, 70)
    assert sighting.lead == pytest.approx(0.0, abs=0.2)
    (worse,) = sightings_of(Search(Told(prob=0.8607 * 2.718281828**-0.1)))
    assert worse.lead == pytest.approx(-102.4, abs=0.3)
    assert sightings_of(Search()) == ()


TURNED_AWAY, UNSURE = REJECTED_BELOW - 0.1, REJECTED_BELOW + 0.1


@pytest.mark.parametrize(
    ("text", "fit", "scores", "taken_for"),
    [
        ("sales please", TURNED_AWAY, {"human": 0.6, "person": 0.7}, ("person", FIT)),
        ("sales please", TURNED_AWAY, {"human": 0.4}, ("sales please", TURNED_AWAY)),
        ("sales please", UNSURE, {"human": 0.6}, ("human", FIT)),
        ("hello human", UNSURE, {"human": 0.6}, ("hello human", UNSURE)),
        ("hello human", TURNED_AWAY, {"human": 0.6}, ("human", FIT)),
        ("hello human", UNSURE, {"human": -1.4, "person": -9.0}, ("hello human", UNSURE)),
        ("hello human", UNSURE, {"human": -1.6, "person": 0.4}, ("hello human", -math.inf)),
        ("hello humans", UNSURE, {"human": -1.6}, ("hello humans", UNSURE)),
        ("sales please", UNSURE, {}, ("sales please", UNSURE)),
    ],
)
def test_words_that_are_not_certain_give_way_to_what_was_spotted(
    text: str, fit: float, scores: dict[str, float], taken_for: tuple[str, float]
) -> None:
    assert heard_beside(text, fit, scores) == taken_for


def test_what_was_spotted_is_heard_and_never_certain() -> None:
    heard = Recognition(text="human", fit=FIT)
    assert not heard.is_rejected
    assert not heard.is_certain
