"""Whether words were said: expected words looked for in a transcript, in their order, with a little left to chance.

Transcripts of one sentence differ in case, marks and accents, and models in a word or two. So words are compared as
`gateway.dialplan.phrases` reads them, long ones may differ in a letter, and of five words one may be missing. A word
that stands in another's place is a missing one: whoever tests for "closed" names that word, and few others.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

from gateway.dialplan.phrases import words_of

SHARE = 0.8
"""Of the expected words, so many have to be there."""
SIMILAR = 0.8
LONG_WORD = 5
SLACK = 1.5
"""So many words may lie between the first and the last for each one that is expected, and two more."""


def find_words(expected: str, said: Sequence[str]) -> int | None:
    """How many of the words `said` lie up to the end of where they hold `expected`; None where they do not."""
    wanted = words_of(expected)
    needed = math.ceil(len(wanted) * SHARE - 1e-9)
    reach = round(len(wanted) * SLACK) + 2
    for start in range(len(said)):
        if not any(_is_same(said[start], word) for word in wanted[: len(wanted) - needed + 1]):
            continue
        matched, end = _common(wanted, said[start : start + reach])
        if matched >= needed:
            return start + end
    return None


def _common(wanted: Sequence[str], said: Sequence[str]) -> tuple[int, int]:
    """The most of `wanted` that stand in `said` in their order, and how many words of `said` that takes."""
    best = [(0, 0)] * (len(said) + 1)  # by how many words of `said`: matched, and the end of the last match
    for word in wanted:
        row = [(0, 0)]
        for index, other in enumerate(said):
            options = [row[index], best[index + 1]]
            if _is_same(word, other):
                options.append((best[index][0] + 1, index + 1))
            row.append(max(options, key=lambda option: (option[0], -option[1])))
        best = row
    return best[-1]


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    if min(len(one), len(other)) < LONG_WORD:
        return False
    return difflib.SequenceMatcher(None, one, other).ratio() >= SIMILAR
