"""The grammars of one script, shared by all conversations: one for each set of names that a session's tools bring.

Compiling a grammar takes some 20 ms, which the loop that serves the sockets would feel at every turn; the sessions of
one gateway offer the same tools, so that it is done once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.embedded.brain import Script
from gateway.embedded.grammar import Grammar
from gateway.embedded.recognizer import Listening, listening_for
from gateway.embedded.session import FunctionTool

MAX_GRAMMARS = 64


@dataclass(frozen=True, slots=True)
class Phrases:
    """What may be said: as the dialogue interprets it, and as the recogniser listens for it."""

    grammar: Grammar
    listening: Listening


class Phrasebook:
    """Grammars by slot values, the least recently used given up beyond 64."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._known: OrderedDict[tuple[tuple[str, tuple[str, ...]], ...], Phrases] = OrderedDict()

    def phrases(self, tools: Iterable[FunctionTool]) -> Phrases:
        """What may be said while `tools` are offered."""
        slots = self.script.slot_values(tools)
        key = tuple(sorted(slots.items()))
        if key not in self._known:
            grammar = Grammar(phrases=self.script.parsed_phrases, slots=slots, courtesies=self.script.courtesies)
            self._known[key] = Phrases(grammar, listening_for(grammar))
        self._known.move_to_end(key)
        if len(self._known) > MAX_GRAMMARS:
            self._known.popitem(last=False)
        return self._known[key]
