"""Grammars are compiled once for the contacts that a session brings, and not kept for ever."""

from __future__ import annotations

import pytest

from gateway.embedded import phrasebook
from gateway.embedded.brain import RECEPTION, load_script
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.session import FunctionTool

SCRIPT = load_script(RECEPTION)


def transfer(*contacts: str, description: str = "") -> FunctionTool:
    parameters = {"type": "object", "properties": {"to": {"type": "string", "enum": list(contacts)}}}
    return FunctionTool(type="function", name="transfer", description=description, parameters=parameters)


def test_same_contacts_share_a_grammar() -> None:
    book = Phrasebook(SCRIPT)
    first = book.phrases([transfer("sales")])
    assert (
        book.phrases([transfer("sales", description="other words"), FunctionTool(type="function", name="x")]) is first
    )
    assert book.phrases([transfer("support")]) is not first


def test_question_that_waits_for_its_answer_has_a_grammar_of_its_own() -> None:
    book = Phrasebook(SCRIPT)
    asked = book.phrases([transfer("sales")], expected=frozenset({"confirm", "deny"}))
    assert asked.listening != book.phrases([transfer("sales")]).listening
    assert asked.listening.words == book.phrases([transfer("sales")]).listening.words
    assert book.phrases([transfer("sales")], expected=frozenset({"confirm", "deny"})) is asked


def test_grammar_listens_for_the_contacts_as_they_are_spoken() -> None:
    phrases = Phrasebook(SCRIPT).phrases([transfer("Front_Desk")])
    assert {"front", "desk"} <= set(phrases.listening.words)
    heard = phrases.grammar.interpret("connect me to the front desk")
    assert heard is not None
    assert heard.slots == {"contact": "front desk"}


def test_least_recently_used_grammar_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrasebook, "MAX_GRAMMARS", 2)
    book = Phrasebook(SCRIPT)
    sales, support = book.phrases([transfer("sales")]), book.phrases([transfer("support")])
    assert book.phrases([transfer("sales")]) is sales
    book.phrases([transfer("billing")])
    assert book.phrases([transfer("sales")]) is sales
    assert book.phrases([transfer("support")]) is not support


def test_keywords_are_listened_for_and_mean_nothing() -> None:
    book = Phrasebook(SCRIPT)
    plain, extended = book.phrases([]), book.phrases([], ["Zebra crossing", "Café 7", "!?", "zebra crossing"])
    assert {"zebra", "crossing", "cafe", "seven"} <= set(extended.listening.words) - set(plain.listening.words)
    assert extended.listening.keywords == ("cafe seven", "zebra crossing")
    assert plain.listening.keywords == ()
    assert extended.grammar.interpret("zebra crossing") is None
    assert book.phrases([], ["Café 7", "ZEBRA crossing"]) is extended


def test_more_keywords_than_can_be_told_apart_are_left_out() -> None:
    words = [f"name{number}" for number in range(phrasebook.MAX_KEYWORDS + 50)]
    listened = Phrasebook(SCRIPT).phrases([], words).listening.words
    assert len(set(listened) & set(words)) <= phrasebook.MAX_KEYWORDS
