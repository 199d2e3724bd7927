"""Speech to text on telephone audio by PocketSphinx, in a closed grammar, one whole turn at a time.

A turn is decoded when it is over: channel normalisation then sees all of it. A closed grammar hears one of its
phrases in whatever is said, so each turn is decoded a second time as any sequence of sounds; how far the grammar's
best path stays behind that free one tells whether the caller said a phrase at all, something like one, or something
else.

The decoder holds the interpreter's lock meanwhile, so the server runs it in a child process (`worker.py`).
"""

from __future__ import annotations

import math
import tempfile
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ
from gateway.embedded.extras import import_engine
from gateway.embedded.grammar import Grammar, parse_phrase
from gateway.embedded.narrowband import cepstra
from gateway.embedded.pronunciation import PHONES, pronounce

REJECTED_BELOW = -6.0
"""Margin, in PocketSphinx's score a frame, below which the words are something else."""
CERTAIN_FROM = -2.0
"""Margin from which the words can be acted on without asking."""

_MAX_DECODERS = 8
_SHORTEST_TURN_S = 0.1
_LONGEST_TURN_S = 20.0
_SCORE_BASE = math.log(1.0001)
_PAUSE_DB = 30.0
_PAUSE_KEPT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What to listen for: JSGF rules with `<phrase>` as their start, and every word in them."""

    jsgf: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What was heard: the grammar's best words, and by how much they explain the sound worse (below 0) or better than
    free speech does, a frame. None and minus infinity where nothing was said."""

    text: str | None
    margin: float

    @property
    def is_rejected(self) -> bool:
        """Whether the caller said something else."""
        return self.text is None or self.margin < REJECTED_BELOW

    @property
    def is_certain(self) -> bool:
        """Whether the words need not be confirmed."""
        return self.text is not None and self.margin >= CERTAIN_FROM


NOTHING = Recognition(text=None, margin=-math.inf)


class Recognizer:
    """The decoders of this process, one per grammar, the least recently used given up beyond eight (8 MB each).

    Raises:
        ResourceError: the `local` extra is not installed.
    """

    def __init__(self) -> None:
        self._library = import_engine("pocketsphinx")
        self._library.set_loglevel("FATAL")
        self._model = Path(self._library.get_model_path("en-us"))
        self._decoders: OrderedDict[Listening, Any] = OrderedDict()

    def prepare(self, listening: Listening) -> None:
        """Build the decoders of a grammar ahead of its first turn (about 60 ms)."""
        self._decoder(listening)
        _ = self._free_decoder

    def recognize(self, samples: NDArray[np.int16], listening: Listening) -> Recognition:
        """Decode one turn, `int16[n]` at 8 kHz."""
        speech = _without_pauses(samples[-int(_LONGEST_TURN_S * LINE_RATE_HZ) :])
        if len(speech) < _SHORTEST_TURN_S * LINE_RATE_HZ:
            return NOTHING
        frames = cepstra(speech)
        text, score = _decode(self._decoder(listening), frames)
        if not text:
            return NOTHING
        _, free_score = _decode(self._free_decoder, frames)
        return Recognition(text=text, margin=(score - free_score) / len(frames))

    def _decoder(self, listening: Listening) -> Any:
        if listening not in self._decoders:
            self._decoders[listening] = self._build(
                _dictionary(listening.words, self._model / "cmudict-en-us.dict"),
                f"{listening.jsgf}\npublic <line> = <phrase>;",
                # Wider than the default: with it, one phrase in twenty falls out of the beam.
                beam=1e-80,
                wbeam=1e-60,
                pbeam=1e-80,
            )
        self._decoders.move_to_end(listening)
        if len(self._decoders) > _MAX_DECODERS:
            self._decoders.popitem(last=False)
        return self._decoders[listening]

    @cached_property
    def _free_decoder(self) -> Any:
        names = {f"sound{index}": phone for index, phone in enumerate(PHONES)}
        dictionary = "".join(f"{name} {phone}\n" for name, phone in names.items())
        return self._build(dictionary, f"public <line> = ( {' | '.join(names)} )+;")

    def _build(self, dictionary: str, rules: str, **beams: float) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.dict"
            path.write_text(dictionary, encoding="utf-8")
            decoder = self._library.Decoder(
                hmm=str(self._model / "en-us"),
                dict=str(path),
                lm=None,
                bestpath=False,
                wip=0.02,
                cmn="batch",
                loglevel="FATAL",
                **beams,
            )
        decoder.add_jsgf_string("line", f"#JSGF V1.0;\ngrammar line;\n{rules}\n")
        decoder.activate_search("line")
        return decoder


def _decode(decoder: Any, frames: NDArray[np.float32]) -> tuple[str, float]:
    """The best words for `float32[frames, 13]` and their score, a logarithm to the base 1.0001."""
    decoder.start_utt()
    try:
        decoder.process_cep(frames.tobytes(), False, True)
    finally:
        # A decoder left in mid-utterance refuses every later turn.
        decoder.end_utt()
    hypothesis = decoder.hyp()
    if hypothesis is None or not hypothesis.hypstr:
        return "", -math.inf
    return str(hypothesis.hypstr), math.log(max(hypothesis.best_score, 1e-300)) / _SCORE_BASE


def _without_pauses(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """`samples` without the silence before and behind the speech, but for a fifth of a second."""
    block = LINE_RATE_HZ // 50
    power = np.square(samples[: len(samples) // block * block].reshape(-1, block), dtype=np.float64).mean(axis=1)
    (loud,) = np.nonzero(power > power.max(initial=0.0) * 10 ** (-_PAUSE_DB / 10))
    if not len(loud):
        return samples[:0]
    margin = round(_PAUSE_KEPT_S * LINE_RATE_HZ)
    return samples[max(0, loud[0] * block - margin) : (loud[-1] + 1) * block + margin]


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
    heard = _shared().recognize(np.asarray(samples, dtype=np.int16), listening_for(grammar))
    return None if heard.is_rejected else heard.text
