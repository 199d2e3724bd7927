"""Whoever writes down what callers say is told what escalations wait for, where it takes that."""

from __future__ import annotations

from dataclasses import replace

from gateway.calls.conversation import keywords
from gateway.calls.conversation.keywords import awaited_phrases, expecting
from gateway.dialplan import triggers as t
from gateway.realtime.session import SessionOptions
from tests.support.bare_plan import BARE_PLAN

EMBEDDED = SessionOptions(provider="embedded", url="ws://127.0.0.1", transcription_model="embedded")
HOSTED = SessionOptions(provider="openai", url="ws://127.0.0.1", transcription_model="m")


def waiting(name: str, *phrases: str, sessions: tuple[str, ...] = ()) -> t.Escalation:
    circumstances = t.Circumstances(sessions=sessions)
    return t.Escalation(name=name, trigger=t.Said(phrases), actions=(), circumstances=circumstances)


def test_phrases_are_those_of_escalations_that_may_fire_in_the_session() -> None:
    plan = replace(
        BARE_PLAN,
        escalations=(
            waiting("anywhere", "a human", "help"),
            t.Escalation(name="key", trigger=t.DigitPressed("0"), actions=()),
            waiting("here", "help", "a person", sessions=("sales", "reception")),
            waiting("elsewhere", "an engineer", sessions=("support",)),
        ),
    )
    assert awaited_phrases(plan, "reception") == ("a human", "help", "a person")
    assert awaited_phrases(plan, "support") == ("a human", "help", "an engineer")
    assert awaited_phrases(BARE_PLAN, "reception") == ()


def test_they_stand_behind_the_keywords_of_the_configuration() -> None:
    configured = replace(HOSTED, transcription_keywords=("Xylocain", "a human"))
    assert expecting(configured, ["help", "a human"]).transcription_keywords == ("Xylocain", "a human", "help")
    assert expecting(EMBEDDED, ["a human"]) == replace(EMBEDDED, transcription_keywords=("a human",))


def test_who_may_refuse_keywords_is_told_none() -> None:
    for options in (HOSTED, replace(HOSTED, transcription_model=None), replace(EMBEDDED, transcription_model=None)):
        assert expecting(options, ["a human"]) == options


def test_there_are_no_more_than_are_listened_for() -> None:
    own = tuple(f"own {number}" for number in range(keywords.MAX_KEYWORDS - 2))
    told = expecting(replace(EMBEDDED, transcription_keywords=own), ["a", "b", "c"]).transcription_keywords
    assert told == (*own, "a", "b")
    many = (*own, "x", "y", "z")
    assert expecting(replace(EMBEDDED, transcription_keywords=many), ["a"]).transcription_keywords == many
