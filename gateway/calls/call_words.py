"""What the gateway itself says to contacts, by language: short sentences, each with the places for what it tells.

A language without a table here is spoken for in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWords:
    """The sentences of one language."""

    call_from: str
    """Who calls."""
    unknown: str
    """Who calls, where the number is withheld."""
    keys: str
    """The key that takes the call, and the one that refuses it."""
    star: str
    hash: str
    message: str
    said: str
    """What the caller said last."""

    def key(self, key: str) -> str:
        """How a key of the telephone is called."""
        return {"*": self.star, "#": self.hash}.get(key, key)


ENGLISH = CallWords(
    call_from="Call from {}.",
    unknown="a withheld number",
    keys="Press {} to take the call, {} to refuse it.",
    star="star",
    hash="hash",
    message="Message: {}",
    said="The caller said: {}",
)
GERMAN = CallWords(
    call_from="Anruf von {}.",
    unknown="einer unterdrückten Nummer",
    keys="Drücken Sie die {}, um das Gespräch anzunehmen, die {}, um es abzulehnen.",
    star="Sterntaste",
    hash="Rautetaste",
    message="Nachricht: {}",
    said="Der Anrufer sagte: {}",
)
WORDS: Mapping[str, CallWords] = {"en": ENGLISH, "de": GERMAN}


def words_of(language: str) -> CallWords:
    """Those of `language` (ISO 639-1)."""
    return WORDS.get(language, ENGLISH)
