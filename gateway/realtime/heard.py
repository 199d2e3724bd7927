"""Which words of a sentence were heard when it was cut off."""

from __future__ import annotations

import re
from typing import Final

MS_PER_CHARACTER = 65
"""Of speech at an ordinary pace; for sentences whose audio has not all come."""
CUT = "…"
"""Stands where the caller stopped hearing."""
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese are written without spaces: each character counts as a word."""
_WORD: Final = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")


def heard_words(text: str, heard_ms: int, received_ms: int, *, is_complete: bool) -> str:
    """The words of `text` that `heard_ms` of its audio have said, the last one whole, and `CUT`.

    No provider tells when which word is said: the words are taken to be spread evenly over the audio. Of audio that is
    not complete yet only a part was received, `received_ms`, while the words are ahead of it.
    """
    spoken_ms = max(received_ms, 1) if is_complete else max(received_ms, len(text) * MS_PER_CHARACTER, 1)
    if heard_ms >= spoken_ms:
        return text
    characters, heard = len(text) * heard_ms / spoken_ms, ""
    for word in _WORD.findall(text):
        longer = f"{heard}{word}"
        if len(longer.strip()) > characters + len(word.strip()) / 2:
            break
        heard = longer
    heard = " ".join(heard.split())
    return f"{heard} {CUT}".lstrip()
