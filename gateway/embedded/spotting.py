"""Phrases within what the grammar turned away: "a human" in "can a human look at my bill".

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

SPOTTED_FROM = 0.5
"""Score from which a phrase counts as said."""
FIT = 0.0
"""How surely, as a recogniser tells it: never for certain."""
LEAST_PHONES = 5
"""Shorter phrases ("help", "yes") are in too much of what callers say."""
WEIGHTS = (3.21, 0.292, -48.2, 0.749)
"""Constant, and of lead a phone, one through the number of phones, and frames a phone."""

THRESHOLD = "1e-60"
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


def best_phrase(sightings: Iterable[Sighting], phones: Mapping[str, int]) -> str:
    """The phrase that was most probably said; empty where none was."""
    scores = {sighting: sighting.score(phones[sighting.phrase]) for sighting in sightings}
    best = max(scores, key=scores.__getitem__, default=None)
    return best.phrase if best is not None and scores[best] >= SPOTTED_FROM else ""
