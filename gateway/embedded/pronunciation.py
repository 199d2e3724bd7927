"""How words sound: the recogniser's dictionary, and for words it lacks eSpeak's letter-to-sound rules.

Contacts are named by the operator, so any name may come ("Siobhan", "frontdesk"); a grammar with a word that nobody can
pronounce would not load at all.
"""

# ruff: noqa: RUF001 - the table is in IPA
from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from gateway.embedded.automaton import PAUSE
from gateway.embedded.voice import engine

# fmt: off
_ARPABET = {
    "aɪə": "AY AH", "aɪɚ": "AY ER", "aʊ": "AW", "aɪ": "AY", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY",
    "tʃ": "CH", "dʒ": "JH", "iə": "IY AH", "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R", "ɛɹ": "EH R", "ɪɹ": "IH R",
    "ʊɹ": "UH R", "iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO", "oː": "AO", "ɜː": "ER", "əl": "AH L", "n̩": "AH N",
    "i": "IY", "u": "UW", "ɪ": "IH", "ᵻ": "IH", "ɛ": "EH", "e": "EH", "æ": "AE", "a": "AE", "ʌ": "AH", "ə": "AH",
    "ɐ": "AH", "ɚ": "ER", "ɝ": "ER", "ʊ": "UH", "ɑ": "AA", "ɔ": "AO", "o": "OW", "ɒ": "AA",
    "p": "P", "b": "B", "t": "T", "d": "D", "ɾ": "T", "k": "K", "ɡ": "G", "g": "G", "ʔ": "T", "f": "F", "v": "V",
    "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "x": "K", "m": "M", "n": "N",
    "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R", "j": "Y", "w": "W", "ç": "HH",
}  # fmt: skip
_VOWEL = "(?:AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)"
_R_BETWEEN_VOWELS = re.compile(rf"\bER(?= {_VOWEL}\b)")
_SYMBOL = re.compile("|".join(sorted(map(re.escape, _ARPABET), key=len, reverse=True)))


@cache
def _cmudict(path: Path) -> bytes:
    return b"\n" + path.read_bytes()


def pronounce(word: str, cmudict: Path) -> list[str]:
    """Every pronunciation of `word` in the recogniser's phones, at least one.

    The dictionary knows "correct" as K ER EH K T alone; many people, and most synthetic voices, say K AH R EH K T.
    """
    if word == PAUSE:
        return ["SIL"]
    found = re.findall(rb"\n%s(?:\(\d\))? ([A-Z ]+)" % re.escape(word.encode()), _cmudict(cmudict))
    known = [phones.decode().strip() for phones in found] or [spell_out(word)]
    return list(dict.fromkeys([*known, *(_R_BETWEEN_VOWELS.sub("AH R", phones) for phones in known)]))


def spell_out(word: str) -> str:
    """The phones of a word that no dictionary has, by eSpeak's rules."""
    phones = " ".join(_ARPABET[symbol] for symbol in _SYMBOL.findall(engine().phonemes(word)))
    return phones or "AH"
