"""Whether a caller has said all of a thought, by the words: what `semantic_vad` waits for.

::

    a pause ─> words so far ─> whole       "connect me to sales"                ends soon
                               unclear     something else, a number, nothing    ends later
                               unfinished  "I would like to speak to", "um"     ends when nothing more comes for seconds

Where the recogniser has a grammar, it also tells which unfinished phrase would fit (`Recognition.beginning`). Words
that are no phrase of the grammar, as open recognisers hear them, go by their last one (`endings.yaml`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from gateway.embedded.confidence import REJECTED_BELOW
from gateway.embedded.grammar import Grammar, normalize
from gateway.embedded.recognizer import Recognition

ENDINGS = Path(__file__).parent / "endings.yaml"
_TRAILS_OFF = ("...", "\N{HORIZONTAL ELLIPSIS}", "-", "\N{EM DASH}", ",")


class Thought(enum.Enum):
    """What the words of a pause are the end of."""

    WHOLE = enum.auto()
    UNCLEAR = enum.auto()
    UNFINISHED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Silence that ends a turn, by what was said before it."""

    whole_ms: int
    unclear_ms: int
    unfinished_ms: int
    """The longest: nothing more comes."""

    def after(self, thought: Thought) -> int:
        """The one that follows `thought`, in ms."""
        of = {Thought.WHOLE: self.whole_ms, Thought.UNCLEAR: self.unclear_ms, Thought.UNFINISHED: self.unfinished_ms}
        return of[thought]


_MEDIUM = Waits(whole_ms=400, unclear_ms=1200, unfinished_ms=4000)
WAITS: Mapping[str, Waits] = {
    "low": Waits(whole_ms=800, unclear_ms=2400, unfinished_ms=8000),
    "medium": _MEDIUM,
    "auto": _MEDIUM,
    "high": Waits(whole_ms=250, unclear_ms=600, unfinished_ms=2000),
}
"""By `eagerness`; the longest are those that OpenAI documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Last words that tell that more will come; none of a language that is not known."""

    unfinished: frozenset[str] = field(default_factory=frozenset)
    fillers: frozenset[str] = field(default_factory=frozenset)
    numbers: frozenset[str] = field(default_factory=frozenset)

    def thought(self, text: str) -> Thought:
        """Of words that no grammar knows."""
        words = normalize(text).split()
        if not words:
            return Thought.UNCLEAR
        if self.is_open(words[-1]) or text.rstrip().endswith(_TRAILS_OFF):
            return Thought.UNFINISHED
        return Thought.UNCLEAR if words[-1] in self.numbers else Thought.WHOLE

    def is_open(self, word: str) -> bool:
        """Whether nobody stops at `word`."""
        return word in self.unfinished or word in self.fillers


@cache
def endings_of(language: str) -> Endings:
    """Those of a language, as `en` or `en-US`."""
    known = yaml.safe_load(ENDINGS.read_text(encoding="utf-8"))
    rows = known.get(language.partition("-")[0].lower(), {})
    return Endings(**{kind: _words(lists) for kind, lists in rows.items()})


def _words(lists: Iterable[Iterable[str]]) -> frozenset[str]:
    return frozenset(word for row in lists for word in row)


def thought_of(heard: Recognition, grammar: Grammar, endings: Endings) -> Thought:
    """What the words heard before a pause are the end of."""
    begun = heard.beginning if heard.beginning_fit >= REJECTED_BELOW else ""
    if heard.is_rejected:
        return Thought.UNFINISHED if begun else Thought.UNCLEAR
    if begun and heard.text.startswith(f"{begun} "):
        return Thought.UNFINISHED  # the grammar has put the rest in, of which nothing was said
    if begun and heard.beginning_fit > heard.fit and endings.is_open(begun.rpartition(" ")[2]):
        return Thought.UNCLEAR if heard.is_certain else Thought.UNFINISHED
    return Thought.WHOLE if grammar.is_phrase(heard.text) else endings.thought(heard.text)
