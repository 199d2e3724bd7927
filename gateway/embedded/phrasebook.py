"""The grammars of one script, shared by all conversations: for each set of names that a session brings one, and
another for the time in which a question waits for its yes or no.

Names come by a session's tools, and as the keywords of its transcription, which are listened for and mean nothing.

Compiling a grammar takes some 20 ms, which the loop that serves the sockets would feel at every turn; the sessions of
one gateway offer the same tools, so that it is done once.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.embedded.brain import Script
from gateway.embedded.grammar import Grammar, normalize, parse_phrase
from gateway.embedded.recognizer import Listening, listening_for
from gateway.embedded.session import FunctionTool

MAX_GRAMMARS = 64
MAX_KEYWORDS = 100
KEYWORD = "keyword"
"""In the place of an intent, of phrases that are listened for alone."""

_Key = tuple[tuple[tuple[str, tuple[str, ...]], ...], tuple[str, ...], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Phrases:
    """What may be said: as the dialogue interprets it, and as the recogniser listens for it."""

    grammar: Grammar
    listening: Listening


class Phrasebook:
    """Grammars by what is listened for, the least recently used given up beyond 64."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._known: OrderedDict[_Key, Phrases] = OrderedDict()

    def phrases(
        self, tools: Iterable[FunctionTool], keywords: Iterable[str] = (), expected: frozenset[str] = frozenset()
    ) -> Phrases:
        """What may be said: `tools` are offered, `keywords` may come, a question waits for `expected` intents."""
        slots, words = self.script.slot_values(tools), _sayable(keywords)
        key = (tuple(sorted(slots.items())), words, expected)
        if key not in self._known:
            grammar = Grammar(
                phrases=self.script.parsed_phrases,
                slots=slots,
                courtesies=self.script.courtesies,
                greetings=self.script.greetings,
            )
            further = tuple((KEYWORD, parse_phrase(word)) for word in words)
            heard = replace(grammar, phrases=(*grammar.phrases, *further)) if further else grammar
            self._known[key] = Phrases(grammar, listening_for(heard, expected, words))
        self._known.move_to_end(key)
        if len(self._known) > MAX_GRAMMARS:
            self._known.popitem(last=False)
        return self._known[key]


def _sayable(keywords: Iterable[str]) -> tuple[str, ...]:
    """Each as it is listened for, once; accents are left out, and what has no word of the recogniser's, too."""
    plain = (unicodedata.normalize("NFKD", keyword) for keyword in keywords)
    said = (normalize("".join(c for c in word if not unicodedata.combining(c))) for word in plain)
    return tuple(sorted(set(filter(None, said))))[:MAX_KEYWORDS]
