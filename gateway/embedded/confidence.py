"""Whether a caller said the phrase that a closed grammar heard in it, as a closed grammar always hears one.

Two decodes compete: that of the grammar, and a free loop over all phones, which hears what was really said, whatever it
was. The score is a logarithm of odds, 0 for even ones. What is clear from the grammar's decode alone never meets the
loop, which takes another 40 ms:

::

    grammar's words, frame by frame ─> fit, length, gaps ─> clear? ──yes──> score
                                                              └─no─> phone loop ─> how much better it fits,
                                                                     how different its phones are ─> score

Short phrases fit worse than long ones and mean no less, and words with gaps between them mean less. The weights are
logistic regressions over 815 phrases, 800 sentences about other things and 640 other words and noises, by ten synthetic
voices (six of eSpeak, four of flite) over two lines, one with noise at 20 dB. Each judged by weights that had seen
neither its voice nor its words, of the phrases 2.5 % are turned away and 9 % unsure; of the other sentences 94 % are
turned away and 1 % taken for certain (81 % and 4 % by the fit of the grammar's decode alone, at as many phrases turned
away). Of other words that come alone, which a grammar with "yes", "no" and "sales" can hardly tell from these, 59 % and
14 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.automaton import PAUSE

CERTAIN_FROM = 0.5
"""Score from which the words can be acted on without asking."""
REJECTED_BELOW = -1.8
"""Score below which the caller said something else."""

CLEAR = 3.0
"""Score of the grammar's decode alone, either way, from which the phone loop is not asked."""
_SHORT_PHONES = 7
"""Phrases of fewer phones are short."""
CLEAR_WEIGHTS = (20.12, 0.3444, 12.10, -18.10)
"""Constant, and of each of `GrammarDecode.measures`."""
WEIGHTS = (16.03, 0.3818, 17.57, -1.973, -18.44)
"""Constant, and of each of `GrammarDecode.measures_beside`."""
SHORT_WEIGHTS = (12.76, 0.2514, 0.0, -1.579, -10.30)
"""The same for short phrases."""
_PAUSE_WEIGHT = 0.3
_LOG_UNIT = 10000
_NOISES = ("SIL", "+SPN+", "+NSN+")


@dataclass(frozen=True, slots=True)
class Segment:
    """A word or phone in frames `start` to `end`, both included; `score` is the sum over them, at best 0."""

    name: str
    start: int
    end: int
    score: float

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.end - self.start + 1

    @property
    def is_pause(self) -> bool:
        """Whether it is silence, or a noise that is no word."""
        return self.name.startswith(("<", "[")) or self.name in _NOISES


def segments_of(decoder: Any) -> tuple[Segment, ...]:
    """What a decoder heard, in order; a frame's score is against the best sound that any sentence could have there."""
    return tuple(
        Segment(
            segment.word.partition("(")[0],
            segment.start_frame,
            segment.end_frame,
            math.log(max(segment.ascore, 1e-300)) * _LOG_UNIT,
        )
        for segment in decoder.seg() or ()
        if segment.word != "(NULL)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrammarDecode:
    """The grammar's decode, measured. `phones` are those of its words, as the dictionary has them."""

    segments: tuple[Segment, ...]
    phones: tuple[str, ...]

    @classmethod
    def of(cls, segments: tuple[Segment, ...], dictionary: Mapping[str, Sequence[str]]) -> GrammarDecode:
        """Look the words up."""
        words = (segment.name for segment in segments if not segment.is_pause)
        return cls(segments=segments, phones=tuple(phone for word in words for phone in dictionary[word]))

    @property
    def _words(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if not segment.is_pause)

    @property
    def _word_frames(self) -> int:
        return sum(word.frames for word in self._words)

    def _gaps(self) -> float:
        """Pauses between the words where none is natural, as a share of the words."""
        first, last = self._words[0], self._words[-1]
        inner = (
            segment
            for segment in self.segments
            if segment.is_pause and segment.name != PAUSE and first.end < segment.start < last.start
        )
        return sum(segment.frames for segment in inner) / self._word_frames

    @property
    def is_short(self) -> bool:
        """Whether it has weights of its own, and is never clear."""
        return len(self.phones) < _SHORT_PHONES

    def clear_score(self) -> float | None:
        """The score by this decode alone; None where it is not clear without the phone loop."""
        if self.is_short:
            return None
        score = _weighted(CLEAR_WEIGHTS, self.measures())
        return score if abs(score) >= CLEAR else None

    def score_beside(self, loop: Sequence[Segment]) -> float:
        """The score where a phone loop heard the same frames."""
        return _weighted(SHORT_WEIGHTS if self.is_short else WEIGHTS, self.measures_beside(loop))

    def measures(self) -> tuple[float, ...]:
        """What this decode alone tells: how well it fits, how long it is, and its gaps."""
        fit = _mean(self._words) + _PAUSE_WEIGHT * _mean(segment for segment in self.segments if segment.is_pause)
        return fit, 1 / len(self.phones), self._gaps()

    def measures_beside(self, loop: Sequence[Segment]) -> tuple[float, ...]:
        """What it tells beside a phone loop: by how much it fits worse, length, how different its phones are, gaps."""
        by_grammar, by_loop = _frame_scores(self.segments), _frame_scores(loop)
        is_word = np.zeros(len(by_grammar), dtype=np.bool_)
        for word in self._words:
            is_word[word.start : word.end + 1] = True
        count = min(len(by_grammar), len(by_loop))
        lead = (by_grammar[:count] - by_loop[:count])[is_word[:count]]
        heard = [segment.name for segment in loop if not segment.is_pause]
        difference = edit_distance(heard, self.phones) / len(self.phones)
        return float(lead.mean()) if len(lead) else 0.0, 1 / len(self.phones), difference, self._gaps()


def _weighted(weights: Sequence[float], measures: Sequence[float]) -> float:
    """The sum, the first weight being the constant."""
    return weights[0] + sum(weight * measure for weight, measure in zip(weights[1:], measures, strict=True))


def edit_distance(heard: Sequence[str], meant: Sequence[str]) -> int:
    """Phones left out, put in or taken for others, at the least."""
    row = list(range(len(meant) + 1))
    for number, phone in enumerate(heard, 1):
        before, row[0] = row[:], number
        for place, other in enumerate(meant, 1):
            row[place] = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (phone != other))
    return row[-1]


def _mean(segments: Iterable[Segment]) -> float:
    """Mean score a frame; 0 of nothing."""
    chosen = tuple(segments)
    return sum(segment.score for segment in chosen) / max(1, sum(segment.frames for segment in chosen))


def _frame_scores(segments: Sequence[Segment]) -> NDArray[np.float64]:
    """Each segment's mean in each of its frames: `float64[frames]`."""
    scores = np.zeros(max((segment.end for segment in segments), default=-1) + 1)
    for segment in segments:
        scores[segment.start : segment.end + 1] = segment.score / segment.frames
    return scores
