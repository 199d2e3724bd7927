"""Whether what somebody said holds a phrase of the plan: whole words in sequence, whatever case, accents and marks.

::

    "Können Sie mich verbinden?" ─> konnen sie mich verbinden      accents left out
                                 └> koennen sie mich verbinden     as German is written without umlauts
    "我想找人工客服"               ─> 我 想 找 人 工 客 服              scripts without spaces: each character is a word

Text that is compared is read the same way on both sides, so the spelling of either may be the transcriber's or the plan
owner's. What is not compared: numbers as words, one script against another, traditional against simplified characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARACTERS = 4000
"""Of a text that is read; the rest is nobody's words."""
ECHO_WORDS = 4
"""As many words of a prompt, and no others, are its echo; fewer may well be the caller's."""
RECENT = 4
"""Texts whose words are remembered: the same is held against many phrases at once."""

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe"})
"""Letters that no accent can be taken from."""
_ACCENTS = re.compile("[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]")
"""Marks that are left out where people type in haste. Those of Indic scripts and of kana are letters."""
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),  # ideographs
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),  # Korean has spaces, and particles that are joined to words
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@lru_cache(maxsize=RECENT)
def words_of(text: str) -> tuple[str, ...]:
    """The words of `text` as they are compared; none for one of punctuation alone."""
    return _words(_plain(text.casefold()))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words to be listened for: the ways to read them, of the same number of words each."""

    readings: frozenset[tuple[str, ...]]

    def places(self, text: str) -> Iterator[range]:
        """Where `text` holds it: indices of `words_of(text)`. Nowhere for a phrase without words."""
        found = {place for phrase in self.readings for words in _readings(text) for place in _places(phrase, words)}
        yield from sorted(found, key=lambda place: place.start)

    def is_in(self, text: str) -> bool:
        """Whether `text` holds it."""
        return any(True for _ in self.places(text))


def parse_phrase(text: str) -> Phrase:
    """The phrase that `text` is; one without words is found nowhere."""
    return Phrase(_readings(text))


def key_for(text: str, words: Mapping[str, tuple[str, ...]]) -> str | None:
    """The key whose phrase is in `text`, the longest phrase first; None where none is, or two are alike."""
    found = [
        (max(len(place) for place in places), key)
        for key, listed in words.items()
        for phrase in listed
        if (places := tuple(parse_phrase(phrase).places(text)))
    ]
    longest = {key for length, key in found if length == max(found)[0]}
    return longest.pop() if len(longest) == 1 else None


def is_echo(text: str, prompt: str) -> bool:
    """Whether `text` is nothing but words of the `prompt`, which comes back from a loudspeaker."""
    heard = words_of(text)
    return len(heard) >= ECHO_WORDS and set(heard) <= set(words_of(prompt))


@lru_cache(maxsize=RECENT)
def _readings(text: str) -> frozenset[tuple[str, ...]]:
    folded = unicodedata.normalize("NFC", text[:MAX_CHARACTERS].casefold())
    return frozenset({words_of(text), _words(_plain(folded.translate(_UMLAUTS)))})


def _places(phrase: tuple[str, ...], words: tuple[str, ...]) -> Iterator[range]:
    for start in range(len(words) - len(phrase) + 1 if phrase else 0):
        if words[start : start + len(phrase)] == phrase:
            yield range(start, start + len(phrase))


def _plain(folded: str) -> str:
    """Without accents, and with compatible characters made one: full-width letters, ligatures."""
    decomposed = unicodedata.normalize("NFKD", folded[:MAX_CHARACTERS])
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed)).casefold().translate(_LETTERS)


def _words(plain: str) -> tuple[str, ...]:
    spaced = []
    for character in plain:
        kind = unicodedata.category(character)
        if kind == "Cf":  # soft hyphens and joiners are within words
            continue
        if kind[0] not in "LNM":
            spaced.append(" ")
        elif any(first <= ord(character) <= last for first, last in _UNSPACED):
            spaced.append(f" {character} ")
        else:
            spaced.append(character)
    return tuple("".join(spaced).split())
