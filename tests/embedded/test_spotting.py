"""Keywords within other sentences: which are looked for, and what it takes to have been said."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from gateway.embedded.recognizer import Recognition
from gateway.embedded.spotting import FIT, Sighting, best_phrase, sightings_of, spottable

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
    assert best_phrase([SAID], PHONES) == "human"


@pytest.mark.parametrize(
    "doubtful",
    [
        pytest.param(replace(SAID, lead=-40.0), id="fits worse"),
        pytest.param(replace(SAID, end=115), id="hurried"),
    ],
)
def test_a_phrase_that_was_forced_onto_other_sounds_was_not(doubtful: Sighting) -> None:
    assert best_phrase([doubtful], PHONES) == ""
    assert best_phrase([], PHONES) == ""


def test_a_longer_phrase_may_fit_worse() -> None:
    phrase = Sighting("real person", start=0, end=68, lead=-40.0)
    assert best_phrase([phrase], PHONES) == "real person"
    assert best_phrase([replace(phrase, phrase="human", end=45)], PHONES) == ""


def test_the_most_probable_of_several_is_told_wherever_it_stands() -> None:
    better = Sighting("real person", start=200, end=280, lead=20.0)
    assert best_phrase([SAID, better], PHONES) == best_phrase([better, SAID], PHONES) == "real person"


def test_leads_are_told_in_nats() -> None:
    (sighting,) = sightings_of(Search(Told()))
    assert (sighting.phrase, sighting.start, sighting.end) == ("real person", 10, 70)
    assert sighting.lead == pytest.approx(0.0, abs=0.2)
    (worse,) = sightings_of(Search(Told(prob=0.8607 * 2.718281828**-0.1)))
    assert worse.lead == pytest.approx(-102.4, abs=0.3)
    assert sightings_of(Search()) == ()


def test_what_was_spotted_is_heard_and_never_certain() -> None:
    heard = Recognition(text="human", fit=FIT)
    assert not heard.is_rejected
    assert not heard.is_certain
