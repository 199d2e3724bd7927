"""How often it is told from the words whether a thought is all said: what `semantic_vad` goes by.

    python -m tests.bench.thoughts

Four voices of eSpeak over the telephone, clean and with white noise 20 dB below the speech, heard with the grammar of
the reception: sentences that break off, sentences that do not, and sentences about other things.
"""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np

from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import Recognizer
from gateway.embedded.session import FunctionTool
from gateway.embedded.thought import Thought, endings_of, thought_of
from gateway.embedded.vad import PAUSE_MS
from gateway.simulate.bench_hearing import ANSWERS, OFF_TOPIC, REQUESTS, VOICES
from tests.embedded.telephone import Samples, said, silence
from tests.support.conversation_rig import TRANSFER

BROKEN_OFF = (
    *("I would like to speak to", "I would like to", "I would like", "I'd like to", "I want to talk to the"),
    *("Connect me to", "Connect me to the", "Please connect me", "Transfer me", "Please transfer me to", "Give me"),
    *("Give me the", "Put me through to the", "Put me through with", "Can I", "Can I speak to", "Could I talk to"),
    *("Could I speak with", "May I", "May I speak with", "I need", "I need the", "I want", "When are", "When do you"),
    *("What are", "What are your", "What is", "What can", "What time do you", "How long are", "Are you", "Where"),
    *("Where is", "Who am I", "Who am I talking", "Thank you for", "Have a", "Good", "um", "and", "sales and"),
)
NOISES_DB = {"clean": None, "20 dB": 20.0}


def heard(text: str, voice: str, noise_db: float | None) -> Samples:
    """A turn up to the moment at which it may be over."""
    speech = said(text, voice).astype(np.float64)
    if noise_db is not None:
        noise = np.random.default_rng(3).standard_normal(len(speech))
        speech += noise * speech.std() * 10 ** (-noise_db / 20)
    return np.concatenate((speech.astype(np.int16), silence(PAUSE_MS)))


def main() -> int:
    """Print the table."""
    tool = FunctionTool.model_validate(TRANSFER)
    phrases, recognizer = Phrasebook(load_script(RECEPTION)).phrases((tool,)), Recognizer()
    whole = tuple(dict.fromkeys((*REQUESTS, *ANSWERS)))
    sets = {"broken off": BROKEN_OFF, "whole": whole, "off topic": OFF_TOPIC}
    sys.stdout.write(f"{'line':<8}{'sentences':<12}{'whole':>7}{'unclear':>9}{'unfinished':>12}\n")
    for line, noise_db in NOISES_DB.items():
        for name, sentences in sets.items():
            found: Counter[Thought] = Counter()
            for text in sentences:
                for voice in VOICES:
                    samples = heard(text, voice, noise_db)
                    recognition = recognizer.recognize(samples, phrases.listening, wants_beginning=True)
                    found[thought_of(recognition, phrases.grammar, endings_of("en"))] += 1
            counts = f"{found[Thought.WHOLE]:>7}{found[Thought.UNCLEAR]:>9}{found[Thought.UNFINISHED]:>12}"
            sys.stdout.write(f"{line:<8}{name:<12}{counts}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
