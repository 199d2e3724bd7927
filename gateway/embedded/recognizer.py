"""Speech to text on telephone audio by PocketSphinx, in a closed grammar, one whole turn at a time.

A turn is decoded when it is over: channel normalisation then sees all of it. A closed grammar hears one of its phrases
in whatever is said; `confidence.py` tells whether the caller said it, something like it, or something else. What is not
certain is searched for keywords, where there are any (`spotting.py`).

The decoder holds the interpreter's lock meanwhile, so the server runs it in a child process (`worker.py`).
"""

from __future__ import annotations

import math
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ
from gateway.embedded.automaton import PAUSE, Automaton, compile_grammar
from gateway.embedded.confidence import CERTAIN_FROM, REJECTED_BELOW, GrammarDecode, Segment, segments_of
from gateway.embedded.extras import import_engine
from gateway.embedded.grammar import Grammar, parse_phrase
from gateway.embedded.narrowband import CEPSTRA, cepstra
from gateway.embedded.pronunciation import pronounce
from gateway.embedded.spotting import THRESHOLD, heard_beside, scores_of, sightings_of, spottable

_MAX_DECODERS = 8
_SHORTEST_TURN_S = 0.1
_LONGEST_TURN_S = 20.0
_PAUSE_DB = 30.0
_PAUSE_KEPT_S = 0.2
_SEARCH = {"wip": 0.02, "silprob": 0.05, "beam": 1e-80, "wbeam": 1e-60, "pbeam": 1e-80}
"""Wider beams than the default, with which one phrase in thirty falls out; and people pause where there is a comma."""
_LINE, _KEYWORDS = "line", "keywords"
"""The searches of one decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What to listen for: an automaton (`automaton.py`) and every word in it, pauses included."""

    automaton: Automaton
    words: tuple[str, ...]
    keywords: tuple[str, ...] = ()
    """Phrases, of these words, to look for in what is not surely a sentence of the automaton."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What was heard: the grammar's best words, and how surely the caller said them (`confidence.py`, 0 is even odds).

    No words and a fit of minus infinity where nothing was said.
    """

    text: str
    fit: float
    beginning: str = ""
    """The unfinished phrase that fits best, where one was asked for and fits better than `text`."""
    beginning_fit: float = -math.inf
    is_measured: bool = True
    """Whether `fit` is more than a guess: open recognisers tell none."""

    @property
    def is_rejected(self) -> bool:
        """Whether the caller said something else, or nothing."""
        return not self.text or self.fit < REJECTED_BELOW

    @property
    def log_probability(self) -> float | None:
        """Natural logarithm of the probability that the caller said `text`, by the odds of `fit`."""
        return -float(np.logaddexp(0.0, -self.fit)) if self.text and self.is_measured else None

    @property
    def is_certain(self) -> bool:
        """Whether the words need not be confirmed."""
        return bool(self.text) and self.fit >= CERTAIN_FROM


NOTHING = Recognition(text="", fit=-math.inf)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The grammar's words for a turn, how they lie in it, and the turn's `float32[frames, 13]`."""

    text: str
    decode: GrammarDecode
    frames: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A decoder, the first pronunciation of each of its words, and its keywords with their numbers of phones."""

    decoder: Any
    dictionary: Mapping[str, Sequence[str]]
    keywords: Mapping[str, int]

    def last(self, frames: NDArray[np.float32]) -> Decoded | None:
        """What it makes of the frames that it was given, at present; None where there is no word."""
        hypothesis = self.decoder.hyp()
        words = str(hypothesis.hypstr or "").split() if hypothesis is not None else []
        text = " ".join(word for word in words if word != PAUSE)
        decode = GrammarDecode.of(segments_of(self.decoder), self.dictionary) if text else None
        return Decoded(text, decode, frames) if decode is not None and decode.phones else None

    def spot(self, frames: NDArray[np.float32]) -> dict[str, float]:
        """How surely each keyword is in the frames (`spotting.py`)."""
        if not self.keywords:
            return {}
        self.decoder.activate_search(_KEYWORDS)
        try:
            _feed(self.decoder, frames)
            return scores_of(sightings_of(self.decoder), self.keywords)
        finally:
            self.decoder.activate_search(_LINE)


class Recognizer:
    """The decoders of this process, one per grammar, the least recently used given up beyond eight (8 MB each).

    Raises:
        ResourceError: the `local` extra is not installed.
    """

    def __init__(self) -> None:
        self._library = import_engine("pocketsphinx")
        self._library.set_loglevel("FATAL")
        self._model = Path(self._library.get_model_path("en-us"))
        self._decoders: OrderedDict[Listening, _Decoder] = OrderedDict()
        self._phone_loop = self._build_phone_loop()

    def prepare(self, listening: Listening) -> None:
        """Build the decoder of a grammar ahead of its first turn (about 50 ms)."""
        if listening.words:
            self._decoder(listening)

    def recognize(
        self, samples: NDArray[np.int16], listening: Listening, *, wants_beginning: bool = False
    ) -> Recognition:
        """Decode one turn, `int16[n]` at 8 kHz; `wants_beginning` of a phrase that may not be finished."""
        frames = _frames(samples)
        if not len(frames) or not listening.words:
            return NOTHING
        whole, begun = self._decode(frames, listening, wants_beginning=wants_beginning)
        score = self._scorer()
        heard = Recognition(text=whole.text, fit=score(whole)) if whole is not None else NOTHING
        if not heard.is_certain:
            text, fit = heard_beside(heard.text, heard.fit, self._decoder(listening).spot(frames))
            heard = Recognition(text=text, fit=fit)
        if begun is None or begun.text == heard.text:
            return heard
        return replace(heard, beginning=begun.text, beginning_fit=score(begun))

    def _scorer(self) -> Callable[[Decoded], float]:
        """Scores what was decoded in the same frames, which the phone loop hears once, if at all."""
        loop: list[tuple[Segment, ...]] = []

        def score(found: Decoded) -> float:
            if (clear := found.decode.clear_score()) is not None:
                return clear
            if not loop:
                loop.append(self.hear_phones(found.frames))
            return found.decode.score_beside(loop[0])

        return score

    def decode(self, samples: NDArray[np.int16], listening: Listening) -> Decoded | None:
        """What the grammar hears in one turn, not yet judged; None where nothing is said."""
        frames = _frames(samples)
        return self._decode(frames, listening)[0] if len(frames) and listening.words else None

    def _decode(
        self, frames: NDArray[np.float32], listening: Listening, *, wants_beginning: bool = False
    ) -> tuple[Decoded | None, Decoded | None]:
        """A whole phrase, and one that need not be."""
        chosen = self._decoder(listening)
        begun: list[Decoded | None] = []
        look = (lambda: begun.append(chosen.last(frames))) if wants_beginning else None
        _feed(chosen.decoder, frames, look)
        return chosen.last(frames), begun[0] if begun else None

    def hear_phones(self, frames: NDArray[np.float32]) -> tuple[Segment, ...]:
        """What the phone loop hears in the same frames."""
        _feed(self._phone_loop, frames)
        return segments_of(self._phone_loop)

    def _decoder(self, listening: Listening) -> _Decoder:
        if listening not in self._decoders:
            self._decoders[listening] = self._build(listening)
        self._decoders.move_to_end(listening)
        if len(self._decoders) > _MAX_DECODERS:
            self._decoders.popitem(last=False)
        return self._decoders[listening]

    def _build(self, listening: Listening) -> _Decoder:
        pronounced = {word: pronounce(word, self._model / "cmudict-en-us.dict") for word in listening.words}
        decoder = self._plain_decoder(_dictionary(pronounced), **_SEARCH)
        arcs = [(*arc[:2], arc[3], *filter(None, arc[2:3])) for arc in listening.automaton.arcs]
        decoder.add_fsg(_LINE, decoder.create_fsg(_LINE, 0, listening.automaton.final, arcs))
        phones = {word: ways[0].split() for word, ways in pronounced.items()}
        keywords = spottable(listening.keywords, phones)
        if keywords:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "keywords"
                file.write_text("".join(f"{keyword} /{THRESHOLD}/\n" for keyword in keywords), encoding="utf-8")
                decoder.add_kws(_KEYWORDS, str(file))
        decoder.activate_search(_LINE)
        return _Decoder(decoder, phones, keywords)

    def _build_phone_loop(self) -> Any:
        """Hears phones in any order; its dictionary is not used, and must not be empty."""
        decoder = self._plain_decoder(_dictionary({"a": ["AH"]}), lw=1.0, pip=1.0, beam=1e-20, pbeam=1e-20)
        decoder.add_allphone_file("phones", None)
        decoder.activate_search("phones")
        return decoder

    def _plain_decoder(self, dictionary: str, **search: float) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "words.dict"
            file.write_text(dictionary, encoding="utf-8")
            return self._library.Decoder(
                hmm=str(self._model / "en-us"),
                dict=str(file),
                lm=None,
                bestpath=False,
                cmn="batch",
                loglevel="FATAL",
                **search,
            )


def _feed(decoder: Any, frames: NDArray[np.float32], before_end: Callable[[], None] | None = None) -> None:
    """Give it `float32[frames, 13]`; before the end its best words need not make up a phrase of the grammar."""
    decoder.start_utt()
    try:
        decoder.process_cep(frames.tobytes(), False, True)
        if before_end is not None:
            before_end()
    finally:
        # A decoder left in mid-utterance refuses every later turn.
        decoder.end_utt()


def _frames(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """The features of what is said in a turn, `float32[frames, 13]`; none of a turn too short for a word."""
    speech = _without_pauses(samples[-int(_LONGEST_TURN_S * LINE_RATE_HZ) :])
    is_long_enough = len(speech) >= _SHORTEST_TURN_S * LINE_RATE_HZ
    return cepstra(speech) if is_long_enough else np.zeros((0, CEPSTRA), np.float32)


def _without_pauses(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """`samples` without the silence before and behind the speech, but for a fifth of a second."""
    block = LINE_RATE_HZ // 50
    power = np.square(samples[: len(samples) // block * block].reshape(-1, block), dtype=np.float64).mean(axis=1)
    (loud,) = np.nonzero(power > power.max(initial=0.0) * 10 ** (-_PAUSE_DB / 10))
    if not len(loud):
        return samples[:0]
    margin = round(_PAUSE_KEPT_S * LINE_RATE_HZ)
    return samples[max(0, loud[0] * block - margin) : (loud[-1] + 1) * block + margin]


def _dictionary(pronounced: Mapping[str, Sequence[str]]) -> str:
    lines: list[str] = []
    for word, ways in pronounced.items():
        for index, phones in enumerate(ways):
            lines.append(f"{word}{f'({index + 1})' if index else ''} {phones}")
    return "\n".join(lines) + "\n"


def listening_for(grammar: Grammar, expected: Container[str] = (), keywords: Sequence[str] = ()) -> Listening:
    """The recogniser's side of a grammar, while a question waits for one of the `expected` intents.

    `keywords`, of the grammar's words, are looked for in other sentences as well.
    """
    automaton = compile_grammar(grammar, expected)
    has_pauses = any(word == PAUSE for _, _, word, _ in automaton.arcs)
    words = (*grammar.words, *((PAUSE,) if has_pauses else ()))
    return Listening(automaton=automaton, words=words, keywords=tuple(keywords))


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
