"""What is said on a telephone line is heard; what is not in the grammar is asked back. `-s` prints the tables."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.grammar import Meaning
from gateway.embedded.phrasebook import Phrasebook, Phrases
from gateway.embedded.recognizer import NOTHING, Recognition, Recognizer, recognize
from gateway.embedded.session import FunctionTool
from gateway.embedded.voice import speak
from gateway.simulate.bench_hearing import DEPARTMENTS
from tests.support.phone_line import carried, pause

pytestmark = pytest.mark.heavy

REQUESTS = {
    "sales please": ("transfer", "sales"),
    "talk to sales": ("transfer", "sales"),
    "connect me with the sales department": ("transfer", "sales"),
    "put me through to support please": ("transfer", "support"),
    "can i talk to the billing team": ("transfer", "billing"),
    "i would like to speak to the front desk": ("transfer", "front desk"),
    "i want to talk to a real person": ("person", None),
    "what are your opening hours": ("hours", None),
    "when are you open": ("hours", None),
    "where are you located": ("place", None),
    "who am i speaking to": ("identity", None),
    "yes please": ("confirm", None),
    "no thank you": ("deny", None),
    "thank you very much": ("thanks", None),
    "goodbye": ("goodbye", None),
}
OFF_TOPIC = (
    "what is the weather like tomorrow",
    "my printer is broken and smokes",
    "the quick brown fox jumps over the lazy dog",
    "do you sell bicycles",
    "i lost my password",
    "the train leaves at seven",
    "is there a parking lot nearby",
    "why is the sky blue",
    "please cancel my order",
    "book a table for two",
    "turn off the lights in the kitchen",
    "what is the capital of france",
    "who won the game last night",
    "send me a letter",
    "could you spell that",
)
VOICES = ("caller", "cedar", "verse")

CONTACTS = ["sales", "support", "billing", "front_desk"]
TRANSFER = FunctionTool(
    type="function",
    name="transfer",
    parameters={"type": "object", "properties": {"contact": {"type": "string", "enum": CONTACTS}}},
)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer()


@pytest.fixture(scope="module")
def phrases() -> Phrases:
    return Phrasebook(load_script(RECEPTION)).phrases([TRANSFER])


def tell(row: str) -> None:
    """A row of the table, shown by `pytest -s`."""
    sys.stdout.write(f"\n{row}")


def turn(text: str, voice: str = "caller", noise_db: float | None = None) -> np.ndarray:
    speech = np.concatenate((pause(0.3), speak(text, voice=voice), pause(0.5)))
    return carried(speech, noise_db=noise_db)


@pytest.mark.parametrize("voice", VOICES)
def test_departments_are_told_apart(voice: str) -> None:
    heard = {phrase: recognize(turn(phrase, voice), DEPARTMENTS) for phrase in DEPARTMENTS}
    wrong = {phrase: text for phrase, text in heard.items() if text != phrase}
    tell(f"departments, {voice}: {len(DEPARTMENTS) - len(wrong)}/{len(DEPARTMENTS)} {wrong or ''}")
    assert not wrong


@pytest.mark.parametrize("noise_db", [None, 20])
def test_callers_of_the_reception_are_understood(
    recognizer: Recognizer, phrases: Phrases, noise_db: float | None
) -> None:
    """At most one of fifteen requests may be misheard: the grammar is open, and some of its phrases are one word."""
    wrong: dict[tuple[str, str], Recognition] = {}
    for voice in VOICES[:2]:
        for text, (intent, contact) in REQUESTS.items():
            heard = recognizer.recognize(turn(text, voice, noise_db), phrases.listening)
            meaning = phrases.grammar.interpret(heard.text)
            expected = Meaning(intent=intent, slots={"contact": contact} if contact else {})
            if heard.is_rejected or meaning != expected:
                wrong[voice, text] = heard
    total = 2 * len(REQUESTS)
    tell(f"reception, noise {noise_db} dB: {total - len(wrong)}/{total} {wrong or ''}")
    assert len(wrong) <= total // 15


def test_most_of_what_is_off_topic_is_asked_back(recognizer: Recognizer, phrases: Phrases) -> None:
    """And next to none of the rest is sure enough to act on."""
    turns = [turn(text, voice) for voice in VOICES[:2] for text in OFF_TOPIC]
    heard = [recognizer.recognize(samples, phrases.listening) for samples in turns]
    rejected = sum(recognition.is_rejected for recognition in heard)
    certain = sum(recognition.is_certain for recognition in heard)
    tell(f"off topic: {rejected}/{len(heard)} asked back, {certain} taken for certain")
    assert rejected >= 0.9 * len(heard)
    assert certain == 0


def test_keywords_are_heard_within_other_sentences(recognizer: Recognizer, phrases: Phrases) -> None:
    listening = Phrasebook(load_script(RECEPTION)).phrases([TRANSFER], ["human", "emergency"]).listening
    holding = {
        "we have an emergency here please send somebody": "emergency",
        "this is an emergency at our house": "emergency",
        "i need the help of a human with my invoice": "human",
    }
    turns = {text: turn(text) for text in (*holding, "my printer is broken and smokes")}
    assert all(recognizer.recognize(samples, phrases.listening).is_rejected for samples in turns.values())
    heard = {text: recognizer.recognize(samples, listening) for text, samples in turns.items()}
    found = {text: recognition.text for text, recognition in heard.items() if not recognition.is_rejected}
    assert found.items() <= holding.items()
    assert len(found) >= 2
    assert not any(recognition.is_certain for recognition in heard.values())
    # The decoder listens by its grammar again.
    assert recognizer.recognize(turn("where are you located"), listening).text == "where are you located"


def test_silence_is_nothing(recognizer: Recognizer, phrases: Phrases) -> None:
    assert recognizer.recognize(pause(2.0), phrases.listening) == NOTHING
    assert recognizer.recognize(pause(0.0), phrases.listening) == NOTHING
    assert recognizer.recognize(pause(0.05), phrases.listening) == NOTHING


def test_noise_is_no_phrase(recognizer: Recognizer, phrases: Phrases) -> None:
    noise = np.random.default_rng(1).normal(0, 800, 16000).astype(np.int16)
    assert recognizer.recognize(carried(noise), phrases.listening).is_rejected


def test_turn_of_any_length_is_decoded(recognizer: Recognizer, phrases: Phrases) -> None:
    speech = np.concatenate([turn("where are you located")] * 12)
    assert len(speech) > 20 * 8000
    recognizer.recognize(speech, phrases.listening)
    assert recognizer.recognize(turn("where are you located"), phrases.listening).text == "where are you located"


def test_names_that_no_dictionary_has_are_heard(recognizer: Recognizer) -> None:
    contacts = ["kowalski", "siobhan", "helpdesk", "mueller"]
    tool = TRANSFER.model_copy(update={"parameters": {"properties": {"contact": {"enum": contacts}}}})
    phrases = Phrasebook(load_script(RECEPTION)).phrases([tool])
    for contact in contacts:
        heard = recognizer.recognize(turn(f"connect me with {contact}"), phrases.listening)
        assert phrases.grammar.interpret(heard.text) == Meaning(intent="transfer", slots={"contact": contact})


def test_more_grammars_than_are_kept_follow_each_other(recognizer: Recognizer) -> None:
    for number in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"):
        phrase = f"press the {number} key"
        assert recognize(turn(phrase), [phrase, "hang up now"]) == phrase
