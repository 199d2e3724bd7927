"""Whether a fact is what an escalation waits for: one judge for each, who remembers what it has to.

::

    CallerSaid ──> PhraseJudge         a phrase among the caller's own words, of a turn that is whole or answered
               ──> RepetitionJudge     a, a, a (b begins again)
               ──> IncomprehensionJudge  no words, no words, no words (words begin again)
    other facts ──> FactJudge          the fact itself

A turn that is wholly the agent's own voice, come back from the caller's loudspeaker, is no turn of the caller: it
neither counts nor makes anybody begin again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeGuard

from gateway.calls.escalation.facts import (
    CallerSaid,
    Fact,
    LanguageChanged,
    SentimentShown,
    SilenceLasted,
    TalkLasted,
    ToolsBroken,
    VerdictReached,
)
from gateway.dialplan.phrases import parse_phrase, words_of
from gateway.dialplan.triggers import (
    Escalation,
    LanguageHeard,
    LastedFor,
    NotUnderstood,
    Repeated,
    Said,
    SentimentReported,
    SilentFor,
    ToolsFailed,
    VerdictGiven,
)

ALIKE_FROM = 0.75
"""Share of words that two turns have in common, from which on they say much the same."""
REPEATED_LETTERS = 8
"""A turn with fewer is no sentence: "yes", "yes" and "yes" answer three questions."""
LETTERS_OF_A_SIGN = 3
"""What one character counts for in scripts without spaces."""
UNSURE_BELOW = 0.3
"""Confidence below which words are as good as none."""


class Judge(Protocol):
    """Of one escalation in one call."""

    def hear(self, fact: Fact) -> bool:
        """Whether `fact` is what it waits for. It has to hear all of them."""
        ...


def judge_of(escalation: Escalation) -> Judge | None:
    """Who judges `escalation`; None for one that keys, budgets or a lost session set off."""
    match escalation.trigger:
        case Said(phrases=phrases):
            return PhraseJudge(phrases)
        case Repeated(times=times):
            return RepetitionJudge(times)
        case NotUnderstood(turns=turns):
            return IncomprehensionJudge(turns)
        case trigger:
            is_met = _condition(escalation.name, trigger)
            return None if is_met is None else FactJudge(is_met)


def own_words(said: CallerSaid) -> tuple[str, ...]:
    """What the caller said by themselves: nothing of a turn that is wholly an echo."""
    words = words_of(said.text)
    return () if len(said.echoed) >= len(words) else words


def _is_turn(fact: Fact) -> TypeGuard[CallerSaid]:
    return isinstance(fact, CallerSaid) and fact.is_whole


def _is_echo(said: CallerSaid) -> bool:
    return bool(said.echoed) and not own_words(said)


class PhraseJudge:
    """One of `phrases` is said, and at least one of its words is the caller's own.

    What a phrase means in its sentence is not asked: "I do not want a human" holds "a human". Who can be talked out of
    an escalation by a sentence would be so by any.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = [parse_phrase(text) for text in phrases]

    def hear(self, fact: Fact) -> bool:
        """Whether the caller said one of them."""
        if not isinstance(fact, CallerSaid):
            return False
        places = (place for phrase in self._phrases for place in phrase.places(fact.text))
        return any(not fact.echoed.issuperset(place) for place in places)


class RepetitionJudge:
    """The caller says much the same so many times in a row; what is too short to be a sentence does not count."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._words: tuple[str, ...] = ()
        self._count = 0

    def hear(self, fact: Fact) -> bool:
        """Whether that is reached."""
        if not _is_turn(fact) or not _is_sentence(words := own_words(fact)):
            return False
        self._count = self._count + 1 if likeness(self._words, words) >= ALIKE_FROM else 1
        self._words = words
        return self._count >= self._times


class IncomprehensionJudge:
    """So many turns in a row gave no words, or none that can be relied on."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._count = 0

    def hear(self, fact: Fact) -> bool:
        """Whether that is reached."""
        if not _is_turn(fact) or _is_echo(fact):
            return False
        is_unsure = fact.confidence is not None and fact.confidence < UNSURE_BELOW
        self._count = self._count + 1 if is_unsure or not own_words(fact) else 0
        return self._count >= self._turns


class FactJudge:
    """A fact is met by itself."""

    def __init__(self, is_met: Callable[[Fact], bool]) -> None:
        self._is_met = is_met

    def hear(self, fact: Fact) -> bool:
        """Whether it is the one."""
        return self._is_met(fact)


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of words that both have, 0 to 1, whatever their order."""
    common = (Counter(one) & Counter(other)).total()
    return 2 * common / (len(one) + len(other)) if common else 0.0


def _is_sentence(words: Sequence[str]) -> bool:
    letters = sum(len(word) if word.isascii() or len(word) > 1 else LETTERS_OF_A_SIGN for word in words)
    return letters >= REPEATED_LETTERS


def _condition(name: str, trigger: object) -> Callable[[Fact], bool] | None:
    match trigger:
        case ToolsFailed(count=count):
            return lambda fact: isinstance(fact, ToolsBroken) and fact.count >= count
        case SilentFor(seconds=seconds):
            return lambda fact: isinstance(fact, SilenceLasted) and fact.seconds == seconds
        case LastedFor(minutes=minutes):
            return lambda fact: isinstance(fact, TalkLasted) and fact.minutes >= minutes
        case LanguageHeard(languages=languages):
            return lambda fact: isinstance(fact, LanguageChanged) and fact.language in languages
        case SentimentReported(kinds=kinds):
            return lambda fact: isinstance(fact, SentimentShown) and fact.kind in kinds
        case VerdictGiven():
            return lambda fact: isinstance(fact, VerdictReached) and fact.escalation == name
        case _:
            return None
