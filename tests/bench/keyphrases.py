"""How often a phrase that an escalation waits for is heard within a longer sentence, and where nobody said it.

    python -m tests.bench.keyphrases [--line "20 dB"] [--voices caller,cedar] [--rounds 4]

The phrases are those of the dialplans that ship, listened for beside all that the receptionist hears. Each sentence is
decoded twice in turn, without looking for keywords in what is not certain and with it; it counts as heard where the
transcript has the phrase, as an escalation asks. The sentences that the weights in `gateway/embedded/spotting.py` were
fitted to are others, by other voices.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from gateway.calls.conversation.keywords import awaited_phrases
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.phrases import parse_phrase
from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import Listening, Recognizer
from gateway.embedded.session import FunctionTool
from gateway.simulate.bench_hearing import ANSWERS, CONTACTS, LINES, OFF_TOPIC, REQUESTS, VOICES, turn

_DIALPLANS: Final = Path(__file__).resolve().parents[2] / "dialplans"

SENTENCES: Final = (
    "Well, I would really like to talk to a human being about this bill",
    "No no no, I just want a human",
    "Can you please put a human on the phone",
    "I do not want to talk to a robot, get me a human",
    "Is it possible to reach a human at this number",
    "This is the third time I call, so let me have a human please",
    "A human would have understood that by now",
    "I need the help of a human with my invoice",
    "Hello, operator, can you hear me",
    "I would like the operator to help me with my order",
    "Why can I not simply have an operator",
    "For heaven's sake get the operator",
    "Maybe the operator can tell me where my parcel is",
    "I think I need an operator for this",
    "Okay, but are you a real person or a machine",
    "I am tired of this, I want a real person",
    "How do I get a real person to answer my question",
    "It would be nice if a real person could look at it",
    "There must be a real person in your office",
    "Listen, I really need to speak to someone about my contract",
    "My internet is down and I must speak to someone today",
    "When can I speak to someone in the billing team",
    "I was told that I could speak to someone about a refund",
    "It is urgent that we speak to someone about the contract",
    "I am calling because of an emergency in my family",
    "We have an emergency here, please send somebody",
    "Is this the right number for an emergency",
    "My husband complains about chest pain and he is sweating",
    "I have had chest pain for two hours",
    "He woke up with chest pain and his arm hurts",
    "My daughter can't breathe, what shall I do",
    "I feel sick and I can't breathe at night",
    "The old man next door is unconscious and does not move",
    "Somebody lies unconscious in front of the shop",
    "My finger is bleeding and it does not stop",
    "She is bleeding heavily since the accident",
)
"""Each holds one of the phrases."""
OTHERS: Final = (
    "My package should have been here three days ago",
    "I would like to know the balance of my account",
    "The heating in my flat does not work any more",
    "Could you send me a copy of the invoice by mail",
    "I forgot my customer number",
    "The light on the router is red and blinks",
    "What is the price of a ticket to Manchester",
    "My contract ends in March and I want to extend it",
    "We moved to another town in the summer",
    "The coffee machine leaks water on the table",
    "How long does the repair take",
    "I have not received my order confirmation",
    "Can you recommend a hotel near the station",
    "The music on this line is terrible",
    "He said that the meeting was on Thursday",
    "I would like to book a flight for two people",
    "My computer does not start after the update",
    "Does the bus stop in front of the hospital",
    "I have to cancel my reservation for tonight",
    "The sofa I bought has a scratch on the back",
    "I have had a headache since yesterday evening",
    "Is the flu shot free for children",
    "My back hurts when I sit for too long",
    "I need the results of my blood test",
    "When does the doctor come back from her holiday",
    "The nurse told me to call again in the afternoon",
    "Can I eat before the examination",
    "My knee is swollen after the football game",
    "He is breathing easily and sleeps well",
    "The merchant sells leather and fabric",
    "I am asking because the operation is next month",
    "The opposite of open is closed",
    "We saw a huge moon over the hills",
    "Someone left a red umbrella in the waiting room",
    "The person in front of me took the last one",
    "Speaking of which, how is your brother",
    "Feeding the birds is not allowed in the park",
    "The chess player paid for the drinks",
    "I would like to read the terms and conditions",
    "Summer was over before we noticed",
    "The urgent letters are lying on my desk",
    "Tell your boss that I liked the food",
    "The new bridge opens in the middle of May",
    "I saw her at the theatre the other day",
    "My phone fell into the water",
    "The lesson begins at a quarter to eight",
    "The green bottle is for the garden",
    "Have you seen my glasses anywhere",
    "It takes about forty minutes by train",
    "Would you mind closing the window",
)
"""About other things; some have words that sound like the phrases."""
ALONE: Final = (
    *("Human.", "A human, please.", "Operator!", "The operator, please.", "A real person.", "Speak to someone."),
    *("Emergency!", "Chest pain.", "I can't breathe.", "Unconscious.", "Bleeding."),
)
SETS: Final[dict[str, Iterable[str]]] = {
    "with a phrase": SENTENCES,
    "a phrase alone": ALONE,
    "without": (*OTHERS, *OFF_TOPIC),
    "of the menu": (*REQUESTS, *ANSWERS),
}
_SEED: Final = 11


WAYS: Final = ("whole", "within")
"""A phrase alone is listened for, or within other sentences as well."""


@dataclass(slots=True)
class Count:
    """Of one set of sentences over one line, listened to in one way."""

    turns: int = 0
    right: int = 0
    """Whose transcript has the phrase that they hold."""
    wrong: int = 0
    """Whose transcript has one that they do not hold."""
    cpu_s: float = 0.0


def phrases() -> tuple[str, ...]:
    """What the escalations of the dialplans that ship wait for."""
    plans = [load_dialplan(_DIALPLANS / name) for name in ("support-queue.yaml", "clinic.yaml")]
    listed = (phrase for plan in plans for session in plan.sessions for phrase in awaited_phrases(plan, session))
    return tuple(dict.fromkeys(listed))


def listenings(awaited: tuple[str, ...]) -> dict[str, Listening]:
    """Beside all that the receptionist hears, each way."""
    schema = {"properties": {"contact": {"type": "string", "enum": CONTACTS}}}
    tool = FunctionTool(type="function", name="transfer", parameters=schema)
    within = Phrasebook(load_script(RECEPTION)).phrases([tool], awaited).listening
    return dict(zip(WAYS, (replace(within, keywords=()), within), strict=True))


def held(text: str, awaited: tuple[str, ...]) -> set[str]:
    """The phrases that an escalation finds in `text`."""
    return {phrase for phrase in awaited if parse_phrase(phrase).is_in(text)}


def measure(voices: list[str], rounds: int, line: str) -> Iterator[dict[tuple[str, str], Count]]:
    """By set of sentences and way of listening, after each round; what is found by mistake is told at once."""
    awaited = phrases()
    recognizer, ways = Recognizer(), listenings(awaited)
    counts: dict[tuple[str, str], Count] = defaultdict(Count)
    for number in range(rounds):
        generator = np.random.default_rng(_SEED + number)
        for name, sentences in SETS.items():
            for index, text in enumerate(sentences):
                voice = voices[(index + number) % len(voices)]
                samples = turn(text, voice, line, generator)
                for way, listening in ways.items():
                    start = time.process_time()
                    heard = recognizer.recognize(samples, listening)
                    found = held("" if heard.is_rejected else heard.text, awaited)
                    count = counts[name, way]
                    count.cpu_s += time.process_time() - start
                    count.turns += 1
                    count.right += bool(found & held(text, awaited))
                    if stray := found - held(text, awaited):
                        count.wrong += 1
                        sys.stdout.write(f"{text!r} by {voice}, {way}: {', '.join(sorted(stray))}\n")
        yield counts


def main() -> int:
    """Print a table after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--line", choices=tuple(LINES), default="clean")
    parser.add_argument("--voices", default=",".join(VOICES), help="of eSpeak, by name")
    parser.add_argument("--rounds", type=int, default=4, help="how many of the voices say each sentence")
    chosen = parser.parse_args()
    for counts in measure(chosen.voices.split(","), chosen.rounds, chosen.line):
        head = f"{'sentences':<17}{'listening':<11}{'heard':>7}{'by mistake':>12}{'of':>6}{'CPU':>10}"
        sys.stdout.write(f"\n{chosen.line}\n{head}\n")
        for (name, way), count in counts.items():
            cpu_ms = f"{count.cpu_s / count.turns * 1000:.0f} ms"
            sys.stdout.write(f"{name:<17}{way:<11}{count.right:>7}{count.wrong:>12}{count.turns:>6}{cpu_ms:>10}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
