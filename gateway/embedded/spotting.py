"""Phrases within what the grammar does not know: "a human" in "can a human look at my bill".

PocketSphinx's keyphrase search follows each phrase beside a loop over all phones, and tells where one ends and by how
much it fits better than the loop. A phrase that the caller did not say fits as well now and then; whether they said it
is judged by that lead a phone, by how many phones there are, and by how long they take: what was forced onto other
sounds is hurried.

The weights are a logistic regression over 29 sentences with nine phrases and 40 without, by four voices (three of
eSpeak, one of flite) over two lines. `python -m tests.bench.keyphrases` shows what comes of it with other sentences
and voices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.embedded.confidence import REJECTED_BELOW

SPOTTED_FROM = 0.5
"""Score from which a phrase counts as said."""
REFUTED_BELOW = -1.5
"""Score below which a phrase was not said, although the grammar heard it, but not for certain."""
FIT = 0.0
"""How surely, as a recogniser tells it: never for certain."""
LEAST_PHONES = 5
"""Shorter phrases ("help", "yes") are in too much of what callers say."""
WEIGHTS = (3.21, 0.292, -48.2, 0.749)
"""Constant, and of lead a phone, one through the number of phones, and frames a phone."""

THRESHOLD = "1e-80"
"""Below it the search tells nothing."""
_KEYPHRASE_BIAS = 1500
"""What the search takes from a lead before it tells it (`KWS_MAX`)."""
_LOG_UNIT = 10000
_NATS = 0.1024
"""Leads are logarithms to the base 1.0001, shifted by ten bits."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a phrase may have been said, in frames; `lead` over the phone loop is a logarithm of odds, in nats."""

    phrase: str
    start: int
    end: int
    lead: float

    def score(self, phones: int) -> float:
        """Logarithm of the odds that it was said, where it has so many phones."""
        constant, of_lead, of_length, of_pace = WEIGHTS
        return constant + (of_lead * self.lead + of_length + of_pace * (self.end - self.start)) / phones


def spottable(phrases: Iterable[str], dictionary: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Those of `phrases` that are long enough, with their phones counted."""
    lengths = {phrase: sum(len(dictionary[word]) for word in phrase.split()) for phrase in phrases}
    return {phrase: length for phrase, length in lengths.items() if length >= LEAST_PHONES}


def sightings_of(decoder: Any) -> tuple[Sighting, ...]:
    """What a keyphrase search came upon."""
    return tuple(
        Sighting(
            segment.word.strip(),
            segment.start_frame,
            segment.end_frame,
            (math.log(max(segment.prob, 1e-300)) * _LOG_UNIT + _KEYPHRASE_BIAS) * _NATS,
        )
        for segment in decoder.seg() or ()
    )


def scores_of(sightings: Iterable[Sighting], phones: Mapping[str, int]) -> dict[str, float]:
    """The best score of each phrase; minus infinity where the search did not come upon it."""
    scores = dict.fromkeys(phones, -math.inf)
    for sighting in sightings:
        scores[sighting.phrase] = max(scores[sighting.phrase], sighting.score(phones[sighting.phrase]))
    return scores


def heard_beside(text: str, fit: float, scores: Mapping[str, float]) -> tuple[str, float]:
    """What a turn is taken for whose words by the grammar are not certain: these, or a phrase that was spotted.

    Where the grammar put a phrase in that is nowhere in the turn, nothing was heard: its fit is minus infinity.
    """
    holding = [phrase for phrase in scores if f" {phrase} " in f" {text} "]
    best = max(scores, key=scores.__getitem__, default="")
    if best and scores[best] >= SPOTTED_FROM and (fit < REJECTED_BELOW or best not in holding):
        return best, FIT
    return (text, -math.inf) if any(scores[phrase] < REFUTED_BELOW for phrase in holding) else (text, fit)
