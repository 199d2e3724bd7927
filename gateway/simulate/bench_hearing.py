"""How well the embedded server hears callers, beside the same recogniser on plainly upsampled audio.

::

    eSpeak or flite, 16 kHz ─> 250-3450 Hz, any level, noise, mu-law ─> int16[n] 8 kHz ─┬─> Recognizer        ours
                                                                                        └─> 16 kHz, its own
                                                                                            front end         baseline

Each sentence counts by its meaning: what the reception's dialogue would take it for; the departments by their words, in
a grammar of their own. What is about something else has to be asked back. The baseline asks back where it hears
nothing, as it has no other sign.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.embedded.audio import LINE_RATE_HZ, resample
from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.extras import import_engine
from gateway.embedded.grammar import Grammar, Meaning, parse_phrase
from gateway.embedded.phrasebook import Phrasebook, Phrases
from gateway.embedded.pronunciation import pronounce
from gateway.embedded.recognizer import Listening, Recognition, Recognizer, listening_for
from gateway.embedded.session import FunctionTool
from gateway.embedded.train_narrowband import Line
from gateway.embedded.voice import speak

Samples = NDArray[np.int16]

VOICES: Final = ("caller", "cedar", "ash", "coral")
LINES: Final = {
    "clean": Line(low_hz=250, high_hz=3450),
    "20 dB": Line(low_hz=250, high_hz=3450, noise_db=20),
}
"""Both through mu-law; the noise lies so far below the speech."""

DEPARTMENTS: Final = (
    "sales",
    "support",
    "billing",
    "accounting",
    "human resources",
    "talk to sales",
    "connect me with support",
    "transfer me to billing",
    "i would like to speak to accounting",
    "the sales department please",
    "put me through to human resources",
    "customer service",
    "technical support",
    "speak to an operator",
    "reception",
)
ANSWERS: Final = {
    "Yes.": "confirm",
    "Yes, please.": "confirm",
    "Yeah.": "confirm",
    "That is right.": "confirm",
    "Correct.": "confirm",
    "No.": "deny",
    "No, thank you.": "deny",
    "No, thanks.": "deny",
    "Nothing else.": "deny",
    "That is all.": "deny",
}
REQUESTS: Final = {
    "What are your opening hours?": "hours",
    "When are you open?": "hours",
    "Where are you located?": "place",
    "Who are you?": "identity",
    "I would like to speak to sales.": "transfer sales",
    "Connect me to support.": "transfer support",
    "Can I talk to the billing team?": "transfer billing",
    "I want to talk to a real person.": "person",
    "Thank you very much.": "thanks",
    "Goodbye.": "goodbye",
}
OFF_TOPIC: Final = (
    "My cat has eaten the blue carpet.",
    "I think the train left at seven.",
    "Bananas grow on tall green plants.",
    "The weather is lovely in Madrid.",
    "My printer is broken and smokes.",
    "Do you sell bicycles?",
    "I lost my password.",
    "Why is the sky blue?",
    "Please cancel my order.",
    "Book a table for two.",
    "Who won the game last night?",
    "Send me a letter.",
    "Where is my package?",
    "Tell me a joke.",
    "Set an alarm for six.",
    "My name is Peter Johnson.",
    "I want to return a pair of shoes.",
    "Do you have this in blue?",
    "The elevator is stuck again.",
    "It is raining cats and dogs.",
)
CONTACTS: Final = ["sales", "support", "billing", "front_desk"]
_WIDEBAND_HZ: Final = 16000
_SEED: Final = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class HearingRow:
    """What one voice was heard saying over one line. Off topic, "right" is asked back."""

    sentences: str
    voice: str
    line: str
    total: int
    right: int
    unsure: int
    """Of those right, what is asked about before a call is moved on it; off topic, of those wrong."""
    baseline_right: int | None = None
    """None where there is no baseline: over a call."""

    @property
    def ratio(self) -> float | None:
        """Mistakes of the baseline for each of ours; None where we make none, or there is no baseline."""
        ours = self.total - self.right
        return None if self.baseline_right is None or not ours else round((self.total - self.baseline_right) / ours, 2)

    def as_json(self) -> dict[str, object]:
        """One flat object."""
        return asdict(self) | {"ratio": self.ratio}

    def as_text(self) -> str:
        """A line of the table."""
        of = f"{self.right:>4}/{self.total:<3}{self.unsure:>7}"
        of += f"{'-':>12}" if self.baseline_right is None else f"{self.baseline_right:>8}/{self.total:<3}"
        ratio = f"{self.ratio:>8.1f}x" if self.ratio is not None else f"{'-':>9}"
        return f"{self.sentences:<13}{self.voice:<12}{self.line:<7}{of}{ratio}"


HEAD: Final = f"{'sentences':<13}{'voice':<12}{'line':<7}{'right':>8}{'unsure':>7}{'baseline':>12}{'mistakes':>9}"


class PlainRecognizer:
    """PocketSphinx as it comes, on upsampled audio: what one writes first."""

    def __init__(self) -> None:
        self._library: Any = import_engine("pocketsphinx")
        self._model = Path(self._library.get_model_path("en-us"))
        self._decoders: dict[Listening, Any] = {}

    def recognize(self, samples: Samples, listening: Listening) -> Recognition:
        """Decode one turn, `int16[n]` at 8 kHz; whatever is heard is certain."""
        if listening not in self._decoders:
            self._decoders[listening] = self._build(listening)
        decoder = self._decoders[listening]
        decoder.start_utt()
        decoder.process_raw(resample(samples, 8000, _WIDEBAND_HZ).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return Recognition(text=hypothesis.hypstr if hypothesis else "", fit=math.inf)

    def _build(self, listening: Listening) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            dictionary = Path(folder) / "words.dict"
            lines = [
                f"{word}{f'({index + 1})' if index else ''} {phones}"
                for word in listening.words
                for index, phones in enumerate(pronounce(word, self._model / "cmudict-en-us.dict"))
            ]
            dictionary.write_text("\n".join(lines) + "\n", encoding="utf-8")
            hmm = str(self._model / "en-us")
            # Without its search of the best path, which may take seconds on a turn of two.
            decoder = self._library.Decoder(hmm=hmm, dict=str(dictionary), lm=None, bestpath=False, loglevel="FATAL")
        arcs = [(*arc[:2], arc[3], *filter(None, arc[2:3])) for arc in listening.automaton.arcs]
        decoder.add_fsg("line", decoder.create_fsg("line", 0, listening.automaton.final, arcs))
        decoder.activate_search("line")
        return decoder


def dry(text: str, voice: str) -> Samples:
    """`text` as a telephone sends it, at the voice's own level: `int16[n]` at 8 kHz."""
    return speak(text, voice=voice, sample_rate_hz=LINE_RATE_HZ)


def turn(text: str, voice: str, line: str, generator: np.random.Generator) -> Samples:
    """`text` as the turn detector cuts it from a telephone line: `int16[n]` at 8 kHz."""
    speech = speak(text, voice=voice, sample_rate_hz=_WIDEBAND_HZ)
    before, behind = (np.zeros(round(_WIDEBAND_HZ * pause_s), np.int16) for pause_s in (0.3, 0.5))
    return LINES[line].carry(np.concatenate((before, speech, behind)), generator)


@cache
def reception() -> Phrases:
    """What may be said to the receptionist of a session that offers four contacts."""
    schema = {"properties": {"contact": {"type": "string", "enum": CONTACTS}}}
    tools = [FunctionTool(type="function", name="transfer", parameters=schema)]
    return Phrasebook(load_script(RECEPTION)).phrases(tools)


@cache
def departments() -> Phrases:
    """A closed grammar of fifteen names."""
    grammar = Grammar(phrases=tuple((phrase, parse_phrase(phrase)) for phrase in DEPARTMENTS))
    return Phrases(grammar, listening_for(grammar))


@cache
def answers() -> Phrases:
    """A closed grammar of yes and no: what is listened for where nothing else is asked."""
    words = ((intent, text.strip(".").replace(",", "").lower()) for text, intent in ANSWERS.items())
    grammar = Grammar(phrases=tuple((intent, parse_phrase(phrase)) for intent, phrase in words))
    return Phrases(grammar, listening_for(grammar))


def told(meaning: Meaning | None) -> str:
    """A meaning in the words of the tables above."""
    return " ".join((meaning.intent, *meaning.slots.values())) if meaning else ""


def sentence_sets() -> Iterator[tuple[str, Phrases, dict[str, str]]]:
    """Each set's name, what may be said, and what its sentences mean."""
    yield "departments", departments(), dict(zip(DEPARTMENTS, DEPARTMENTS, strict=True))
    yield "yes and no", reception(), ANSWERS
    yield "requests", reception(), REQUESTS
    yield "off topic", reception(), dict.fromkeys(OFF_TOPIC, "")


def measure_hearing(
    *,
    voices: Iterable[str] = VOICES,
    lines: Iterable[str] = tuple(LINES),
    recognizer: Recognizer | None = None,
) -> tuple[HearingRow, ...]:
    """Every set of sentences by every voice over every line.

    Raises:
        ResourceError: the `local` extra is not installed.
    """
    ours, plain = recognizer or Recognizer(), PlainRecognizer()
    rows: list[HearingRow] = []
    for voice in voices:
        for line in lines:
            generator = np.random.default_rng(_SEED)
            for name, phrases, meant in (*sentence_sets(), ("yes/no alone", answers(), ANSWERS)):
                turns = {text: turn(text, voice, line, generator) for text in meant}
                heard = {text: ours.recognize(turns[text], phrases.listening) for text in meant}
                by_plain = {text: plain.recognize(turns[text], phrases.listening) for text in meant}
                rows.append(_row((name, voice, line), phrases, meant, heard, by_plain))
    return tuple(rows)


def _row(
    told_of: tuple[str, str, str],
    phrases: Phrases,
    meant: dict[str, str],
    heard: dict[str, Recognition],
    by_plain: dict[str, Recognition],
) -> HearingRow:
    def is_right(text: str, found: Recognition) -> bool:
        return told(None if found.is_rejected else phrases.grammar.interpret(found.text)) == meant[text]

    def count(wanted: Callable[[str], bool]) -> int:
        return sum(map(wanted, meant))

    is_off_topic = not any(meant.values())
    return HearingRow(
        sentences=told_of[0],
        voice=told_of[1],
        line=told_of[2],
        total=len(meant),
        right=count(lambda text: is_right(text, heard[text])),
        unsure=count(lambda text: is_right(text, heard[text]) is not is_off_topic and not heard[text].is_certain),
        baseline_right=count(lambda text: is_right(text, by_plain[text])),
    )
