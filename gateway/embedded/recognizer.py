"""Speech to text on telephone audio by PocketSphinx, in a closed grammar, one whole turn at a time.

A turn is decoded when it is over: channel normalisation then sees all of it, and a turn of two seconds takes 30-50 ms.
The decoder holds the interpreter's lock meanwhile, so the server runs it in a child process (`worker.py`).
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ, resample
from gateway.embedded.extras import import_engine
from gateway.embedded.grammar import Grammar, parse_phrase
from gateway.embedded.pronunciation import pronounce

_MODEL_RATE_HZ = 16000
_MAX_DECODERS = 8
_SHORTEST_TURN_S = 0.1
_LONGEST_TURN_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What to listen for: JSGF rules with `<phrase>` as their start, and every word in them."""

    jsgf: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What was heard: words of the grammar, or None where it was something else."""

    text: str | None


class Recognizer:
    """The decoders of this process, one per grammar, the least recently used given up beyond eight (8 MB each).

    Raises:
        ResourceError: the `local` extra is not installed.
    """

    def __init__(self) -> None:
        self._library = import_engine("pocketsphinx")
        self._library.set_loglevel("FATAL")
        self._decoders: OrderedDict[Listening, Any] = OrderedDict()

    def prepare(self, listening: Listening) -> None:
        """Build the decoder of a grammar ahead of its first turn (about 30 ms)."""
        self._decoder(listening)

    def recognize(self, samples: NDArray[np.int16], listening: Listening) -> Recognition:
        """Decode one turn, `int16[n]` at 8 kHz."""
        if len(samples) < _SHORTEST_TURN_S * LINE_RATE_HZ:
            return Recognition(text=None)
        samples = samples[-int(_LONGEST_TURN_S * LINE_RATE_HZ) :]
        decoder = self._decoder(listening)
        wideband = resample(samples, LINE_RATE_HZ, _MODEL_RATE_HZ)
        decoder.start_utt()
        try:
            decoder.process_raw(wideband.astype("<i2").tobytes(), False, True)
        finally:
            # A decoder left in mid-utterance refuses every later turn.
            decoder.end_utt()
        hypothesis = decoder.hyp()
        return Recognition(text=hypothesis.hypstr if hypothesis is not None and hypothesis.hypstr else None)

    def _decoder(self, listening: Listening) -> Any:
        if listening in self._decoders:
            self._decoders.move_to_end(listening)
            return self._decoders[listening]
        decoder = self._build(listening)
        self._decoders[listening] = decoder
        if len(self._decoders) > _MAX_DECODERS:
            self._decoders.popitem(last=False)
        return decoder

    def _build(self, listening: Listening) -> Any:
        model = Path(self._library.get_model_path("en-us"))
        with tempfile.TemporaryDirectory() as folder:
            dictionary = Path(folder) / "words.dict"
            dictionary.write_text(_dictionary(listening.words, model / "cmudict-en-us.dict"), encoding="utf-8")
            decoder = self._library.Decoder(
                hmm=str(model / "en-us"),
                dict=str(dictionary),
                lm=None,
                bestpath=False,
                wip=0.02,
                cmn="batch",
                loglevel="FATAL",
            )
        rules = f"#JSGF V1.0;\ngrammar line;\n{listening.jsgf}\npublic <line> = <phrase>;\n"
        decoder.add_jsgf_string("line", rules)
        decoder.activate_search("line")
        return decoder


def _dictionary(words: Iterable[str], cmudict: Path) -> str:
    lines: list[str] = []
    for word in words:
        for index, phones in enumerate(pronounce(word, cmudict)):
            lines.append(f"{word}{f'({index + 1})' if index else ''} {phones}")
    return "\n".join(lines) + "\n"


def listening_for(grammar: Grammar) -> Listening:
    """The recogniser's side of a grammar."""
    return Listening(jsgf=grammar.jsgf, words=grammar.words)


@cache
def _shared() -> Recognizer:
    return Recognizer()


def recognize(samples: NDArray[np.int16], phrases: Iterable[str]) -> str | None:
    """Which of `phrases` is said in `samples` (`int16[n]` at 8 kHz), or None where it is none of them.

    For tests and the demo, which check by content what arrived at the telephone. Phrases are written as in a brain
    file (`grammar.py`) and two or more words long where it matters; one word is a short thing to be sure of. The answer
    is in normalised form: lower case, no punctuation.

    Raises:
        PhraseError: a phrase cannot be read.
        ResourceError: the `local` extra is not installed.
    """
    grammar = Grammar(phrases=tuple((phrase, parse_phrase(phrase)) for phrase in phrases))
    return _shared().recognize(np.asarray(samples, dtype=np.int16), listening_for(grammar)).text
