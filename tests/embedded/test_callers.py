"""Callers of several voices on a telephone line are answered by what they mean. `-s` prints who was heard how."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gateway.embedded.brain import RECEPTION, Call, Dialogue, Heard, Reply, Say, load_script
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.recognizer import Recognition, Recognizer
from gateway.embedded.session import FunctionTool
from tests.embedded.telephone import said, silence

pytestmark = pytest.mark.heavy

BOOK = Phrasebook(load_script(RECEPTION))
CONTACTS = ["sales", "support", "billing", "front_desk"]
TOOLS = (
    FunctionTool(
        type="function",
        name="transfer",
        parameters={"type": "object", "properties": {"contact": {"type": "string", "enum": CONTACTS}}},
    ),
)
VOICES = ("caller", "cedar", "ash", "coral")
DEMO = {
    "What are your opening hours?": "hours",
    "Who are you?": "identity",
    "I would like to speak to sales.": "transfer",
}
SHORT = {"Yes.": "confirm", "Yes, please.": "confirm", "No.": "deny", "No, thank you.": "deny", "Goodbye.": "goodbye"}
DEPARTMENTS = {
    "Sales department.": "sales",
    "Connect me to support.": "support",
    "I need the billing team.": "billing",
    "Give me the front desk.": "front desk",
}
OFF_TOPIC = (
    "My cat has eaten the blue carpet.",
    "I think the train left at seven.",
    "Bananas grow on tall green plants.",
    "The weather is lovely in Madrid.",
)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer()


def hear(recognizer: Recognizer, text: str, voice: str) -> Recognition:
    """A turn as the detector cuts it: padding before, silence behind."""
    phrases = BOOK.phrases(TOOLS)
    heard = recognizer.recognize(np.concatenate((silence(300), said(text, voice), silence(500))), phrases.listening)
    meaning = phrases.grammar.interpret(heard.text)
    verdict = "rejected" if heard.is_rejected else "certain" if heard.is_certain else "asked"
    intent = meaning.intent if meaning else "-"
    sys.stdout.write(f"\n{voice:8} {text:36} {intent:10} {heard.fit:6.1f} {verdict:9} {heard.text!r}")
    return heard


def understood(recognizer: Recognizer, text: str, voice: str) -> tuple[str, str | None] | None:
    """Intent and contact of what was heard, None where it is asked back."""
    heard = hear(recognizer, text, voice)
    meaning = None if heard.is_rejected else BOOK.phrases(TOOLS).grammar.interpret(heard.text)
    return (meaning.intent, meaning.slots.get("contact")) if meaning else None


def answer(heard: Recognition) -> Reply:
    talk = Dialogue(BOOK.script, lambda tools: BOOK.phrases(tools).grammar)
    return talk.answer(None if heard.is_rejected else Heard(heard.text, heard.is_certain), TOOLS)


UNLIKE = pytest.mark.xfail(reason="heard right and turned away: over a telephone line the model knows 'who' badly")


@pytest.mark.parametrize(
    ("text", "voice"),
    [
        pytest.param(text, voice, marks=[UNLIKE] if (text, voice) == ("Who are you?", "caller") else [])
        for text in DEMO
        for voice in VOICES
    ],
)
def test_demo_sentence_is_understood(recognizer: Recognizer, text: str, voice: str) -> None:
    meaning = understood(recognizer, text, voice)
    assert meaning is not None
    assert meaning[0] == DEMO[text]


@pytest.mark.parametrize("voice", VOICES)
def test_departments_are_told_apart(recognizer: Recognizer, voice: str) -> None:
    found = {text: understood(recognizer, text, voice) for text in DEPARTMENTS}
    assert found == {text: ("transfer", contact) for text, contact in DEPARTMENTS.items()}


@pytest.mark.parametrize("voice", VOICES)
def test_yes_and_no_are_never_mistaken_for_each_other(recognizer: Recognizer, voice: str) -> None:
    found = {text: understood(recognizer, text, voice) for text in SHORT}
    right = [text for text, intent in SHORT.items() if found[text] == (intent, None)]
    opposite = {"confirm": "deny", "deny": "confirm"}
    swapped = [text for text, intent in SHORT.items() if (found[text] or "?")[0] == opposite.get(intent)]
    assert swapped == []
    assert len(right) >= len(SHORT) - 1, found


@pytest.mark.parametrize("voice", VOICES)
def test_sentence_about_something_else_moves_no_call(recognizer: Recognizer, voice: str) -> None:
    replies = {text: answer(hear(recognizer, text, voice)) for text in OFF_TOPIC}
    assert [text for text, reply in replies.items() if any(isinstance(action, Call) for action in reply)] == []
    asked_back = [text for text, reply in replies.items() if reply == (Say(BOOK.script.fallback[0]),)]
    assert len(asked_back) >= len(OFF_TOPIC) - 1


def test_caller_is_connected_by_voice(recognizer: Recognizer) -> None:
    reply = answer(hear(recognizer, "I would like to speak to sales.", "caller"))
    assert reply == (Say("One moment, I am connecting you to sales."), Call("transfer", '{"contact": "sales"}'))
