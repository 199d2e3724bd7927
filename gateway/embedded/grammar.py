"""Phrases as the brain file writes them, and the closed grammar the recogniser listens with.

A phrase is words with four signs: `[optional]`, `(this | that)`, `{slot}` for one of a slot's values, and a comma
behind a word where people may draw breath. That notation is at once what the recogniser listens for (`automaton.py`)
and the pattern by which the words heard are turned back into a meaning, so the two cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

_TOKEN = re.compile(r"\s*([\[\]()|]|\{[a-z_][a-z0-9_]*\}|[^\s\[\]()|{}]+)")
_WORD = re.compile(r"[a-z0-9']+")

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def normalize(text: str) -> str:
    """`text` as the recogniser would write it: lower case, no punctuation, digits as words."""
    words: list[str] = []
    for found in _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        word = found.strip("'")
        if word.isdecimal() and word.isascii():
            words.extend(NUMBER_WORDS[int(digit)] for digit in word)
        else:
            words.append(word)
    return " ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Word:
    """One word to be said."""

    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one value of the named slot."""

    name: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts said one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several parts, or nothing where `is_optional`."""

    parts: tuple[Node, ...]
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a silence is natural; it has no words."""


Node = Word | Slot | Sequence | Choice | Pause


class PhraseError(ValueError):
    """A phrase that cannot be read; the message says what is wrong with it."""


class _Parser:
    """Recursive descent over one phrase: choice := sequence ('|' sequence)*; sequence := (word | slot | group)+."""

    def __init__(self, phrase: str) -> None:
        self._tokens: list[str] = []
        position = 0
        text = phrase.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise PhraseError(f"unreadable at {text[position : position + 20]!r}")
            self._tokens.append(match.group(1))
            position = match.end()
        self._next = 0

    def parse(self) -> Node:
        node = self._choice(is_optional=False)
        if self._next < len(self._tokens):
            raise PhraseError(f"{self._tokens[self._next]!r} without its opening bracket")
        return node

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _choice(self, *, is_optional: bool) -> Node:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._next += 1
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 and not is_optional else Choice(tuple(parts), is_optional)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (token := self._peek()) is not None and token not in ("]", ")", "|"):
            self._next += 1
            parts.extend(self._parts(token))
        if all(isinstance(part, Pause) for part in parts):
            raise PhraseError("a phrase, or a part of it, is empty")
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _parts(self, sign: str) -> Iterator[Node]:
        if sign in ("[", "("):
            node = self._choice(is_optional=sign == "[")
            if self._peek() != ("]" if sign == "[" else ")"):
                raise PhraseError(f"{sign!r} is never closed")
            self._next += 1
            yield node
        elif sign.startswith("{"):
            yield Slot(sign[1:-1])
        else:
            yield from (Word(word) for word in normalize(sign).split())
            if sign.endswith(","):
                yield Pause()


def parse_phrase(phrase: str) -> Node:
    """Read one phrase.

    Raises:
        PhraseError: brackets that do not match, or nothing to say.
    """
    return _Parser(phrase).parse()


def words_of(node: Node) -> set[str]:
    """All words in `node`; slots are not entered."""
    if isinstance(node, Word):
        return {node.text}
    if isinstance(node, Slot | Pause):
        return set()
    return set().union(*(words_of(part) for part in node.parts))


def slots_of(node: Node) -> set[str]:
    """Names of all slots in `node`."""
    if isinstance(node, Slot):
        return {node.name}
    if isinstance(node, Word | Pause):
        return set()
    return set().union(*(slots_of(part) for part in node.parts))


def to_pattern(node: Node, slots: Mapping[str, Iterable[str]]) -> str:
    """`node` as a regular expression over normalised words, each followed by one blank; slots become named groups."""
    if isinstance(node, Word):
        return re.escape(node.text) + " "
    if isinstance(node, Slot):
        values = sorted((normalize(value) for value in slots[node.name]), key=len, reverse=True)
        return f"(?P<{node.name}>{'|'.join(re.escape(value) for value in values)}) "
    if isinstance(node, Pause):
        return ""
    if isinstance(node, Sequence):
        return "".join(to_pattern(part, slots) for part in node.parts)
    return f"(?:{'|'.join(to_pattern(part, slots) for part in node.parts)}){'?' if node.is_optional else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a phrase stands for: the intent's name and the slot values in it, normalised."""

    intent: str
    slots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """A closed set of phrases, each bound to an intent. Slot values are tuples of what may be said.

    Greetings may stand before a phrase, courtesies before and behind it.
    """

    phrases: tuple[tuple[str, Node], ...]
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    courtesies: tuple[str, ...] = ()
    greetings: tuple[str, ...] = ()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every word that the recogniser must be able to pronounce, sorted."""
        found = set().union(*(words_of(node) for _, node in self.phrases)) if self.phrases else set()
        values = (value for values in self.slots.values() for value in values)
        for spoken in (*self.courtesies, *self.greetings, *values):
            found.update(normalize(spoken).split())
        return tuple(sorted(found))

    @cached_property
    def usable(self) -> tuple[tuple[str, Node], ...]:
        """Phrases that can be said: those with a slot without values cannot (a tool that offers no contact)."""
        return tuple(
            (intent, node) for intent, node in self.phrases if all(self.slots.get(name) for name in slots_of(node))
        )

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(intent, re.compile(to_pattern(node, self.slots))) for intent, node in self.usable]

    @cached_property
    def _whole_patterns(self) -> list[re.Pattern[str]]:
        before, behind = _any_of((*self.greetings, *self.courtesies)), _any_of(self.courtesies)
        return [re.compile(f"{before}(?:{pattern.pattern}){behind}") for _, pattern in self._patterns]

    def is_phrase(self, text: str) -> bool:
        """Whether `text` is a phrase from its first word to its last, but for courtesies around it."""
        words = normalize(text) + " "
        return any(pattern.fullmatch(words) for pattern in self._whole_patterns)

    def interpret(self, text: str) -> Meaning | None:
        """The meaning of `text`, said or written: a whole phrase, else the longest phrase within it, else None."""
        words = normalize(text) + " "
        best: tuple[int, Meaning] | None = None
        for intent, pattern in self._patterns:
            for match in pattern.finditer(words):
                starts_word = match.start() == 0 or words[match.start() - 1] == " "
                if starts_word and (best is None or match.end() - match.start() > best[0]):
                    best = (match.end() - match.start(), Meaning(intent=intent, slots=match.groupdict()))
        return best[1] if best else None


def _any_of(courtesies: Iterable[str]) -> str:
    """A pattern for any number of them."""
    said = "|".join(re.escape(normalize(courtesy)) for courtesy in courtesies)
    return f"(?:(?:{said}) )*" if said else ""
