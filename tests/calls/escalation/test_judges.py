"""What each escalation waits for, judged by facts alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.escalation.facts import (
    CallerHeard,
    CallerSaid,
    Fact,
    LanguageChanged,
    SentimentShown,
    SilenceLasted,
    TalkLasted,
    ToolsBroken,
    VerdictReached,
)
from gateway.calls.escalation.judges import Judge, judge_of
from gateway.dialplan import triggers as t
from gateway.dialplan.phrases import words_of
from gateway.dialplan.request_template import parse_url_template
from gateway.dialplan.tools import HttpRequest

WEBHOOK = t.VerdictGiven(HttpRequest(method="POST", url=parse_url_template("https://judge.example/")))
SENTENCE, SAME, OTHER = "I want to cancel my order", "I want to cancel the order!", "My name is Ann Miller"
TEXTS = st.lists(
    st.sampled_from(["yes", "no", "human", "please", "operator", "order", "my", "the"]), min_size=1, max_size=8
)


def judge(trigger: t.Trigger, name: str = "x") -> Judge:
    found = judge_of(t.Escalation(name=name, trigger=trigger, actions=()))
    assert found is not None
    return found


def said(text: str, *, echoed: Sequence[int] = (), confidence: float | None = None) -> CallerSaid:
    return CallerSaid(text=text, echoed=frozenset(echoed), confidence=confidence)


def verdicts(trigger: t.Trigger, *facts: Fact) -> list[bool]:
    judged = judge(trigger)
    return [judged.hear(fact) for fact in facts]


@pytest.mark.parametrize(
    "trigger", [t.DigitPressed("0"), t.ProviderDown(), t.BudgetUsed(0.8)], ids=["dtmf", "provider_down", "budget"]
)
def test_what_happens_elsewhere_has_no_judge(trigger: t.Trigger) -> None:
    assert judge_of(t.Escalation(name="x", trigger=trigger, actions=())) is None


@pytest.mark.parametrize(
    ("trigger", "fact", "others"),
    [
        (t.ToolsFailed(3), ToolsBroken(count=3), [ToolsBroken(count=2), TalkLasted(minutes=3)]),
        (t.SilentFor(25.0), SilenceLasted(seconds=25.0), [SilenceLasted(seconds=10.0), TalkLasted(minutes=25)]),
        (t.LastedFor(10), TalkLasted(minutes=10), [TalkLasted(minutes=5), SilenceLasted(seconds=10)]),
        (t.LanguageHeard(("fr", "de")), LanguageChanged(language="de"), [LanguageChanged(language="en")]),
        (t.SentimentReported(("angry",)), SentimentShown(kind="angry"), [SentimentShown(kind="calm"), said("angry")]),
        (WEBHOOK, VerdictReached(escalation="x"), [VerdictReached(escalation="y"), said("x")]),
    ],
    ids=["failed_tools", "silence", "minutes", "language", "sentiment", "webhook"],
)
def test_a_fact_is_met_by_itself_and_by_no_other(trigger: t.Trigger, fact: Fact, others: list[Fact]) -> None:
    assert verdicts(trigger, *others, fact, CallerHeard()) == [False] * len(others) + [True, False]


class TestSaid:
    TRIGGER = t.Said(("a human", "Mitarbeiter"))

    @pytest.mark.parametrize("text", ["Give me a human!", "I do not want a human.", "Einen MITARBEITER bitte"])
    def test_it_is_met_by_a_phrase_whatever_is_said_around_it(self, text: str) -> None:
        assert verdicts(self.TRIGGER, said(text)) == [True]

    @pytest.mark.parametrize("text", ["", "?", "Are you human?", "mitarbeiterin"])
    def test_it_is_not_met_by_other_words(self, text: str) -> None:
        assert verdicts(self.TRIGGER, said(text)) == [False]

    def test_words_that_are_the_agents_own_do_not_count_unless_one_of_them_is_the_callers(self) -> None:
        assert verdicts(self.TRIGGER, said("you want a human", echoed=range(4))) == [False]
        assert verdicts(self.TRIGGER, said("you want a human", echoed=[0, 1, 2])) == [True]
        assert verdicts(self.TRIGGER, said("a human. A human!", echoed=[0, 1])) == [True]

    def test_a_turn_that_is_answered_counts_before_it_is_known_as_a_whole(self) -> None:
        assert verdicts(self.TRIGGER, CallerSaid(text="give me a human", is_whole=False)) == [True]

    @given(TEXTS)
    def test_an_echo_never_meets_it(self, words: list[str]) -> None:
        text = " ".join(words)
        trigger = t.Said(tuple({text, *words}))
        assert verdicts(trigger, said(text, echoed=range(len(words_of(text))))) == [False]
        assert verdicts(trigger, said(text)) == [True]


class TestRepeats:
    TRIGGER = t.Repeated(3)

    def test_it_is_met_when_much_the_same_is_said_so_many_times(self) -> None:
        assert verdicts(self.TRIGGER, said(SENTENCE), said(SAME), said(SENTENCE)) == [False, False, True]

    def test_another_sentence_in_between_begins_again(self) -> None:
        heard = [said(text) for text in (SENTENCE, SAME, OTHER, SENTENCE, SAME, SENTENCE)]
        assert verdicts(self.TRIGGER, *heard) == [False] * 5 + [True]

    def test_what_is_no_sentence_neither_counts_nor_begins_again(self) -> None:
        assert verdicts(self.TRIGGER, *[said("yes")] * 6) == [False] * 6
        heard = [said(SENTENCE), said(""), said(SAME), said("no."), said(SENTENCE)]
        assert verdicts(self.TRIGGER, *heard) == [False] * 4 + [True]

    def test_an_echo_neither_counts_nor_begins_again(self) -> None:
        echo = said("What can I do for you", echoed=range(6))
        assert verdicts(self.TRIGGER, said(SENTENCE), echo, echo, echo, said(SAME), said(SENTENCE))[-1]
        assert not any(verdicts(self.TRIGGER, echo, echo, echo, echo))

    def test_a_turn_that_is_told_twice_counts_once(self) -> None:
        part = CallerSaid(text=SENTENCE, is_whole=False)
        assert verdicts(self.TRIGGER, part, said(SENTENCE), part, said(SENTENCE)) == [False] * 4

    @pytest.mark.parametrize("text", ["operator", "我想取消订单", "注文をキャンセルしたいです"])
    def test_one_long_word_is_a_sentence_and_so_are_three_signs(self, text: str) -> None:
        assert verdicts(self.TRIGGER, *[said(text)] * 3) == [False, False, True]

    @given(st.lists(st.sampled_from([SENTENCE, OTHER, "How much is it to Berlin?", "yes"]), max_size=12))
    def test_it_is_met_only_after_three_alike_in_a_row(self, texts: list[str]) -> None:
        met = verdicts(self.TRIGGER, *map(said, texts))
        sentences = [(text, is_met) for text, is_met in zip(texts, met, strict=True) if text != "yes"]
        for index, (_, is_met) in enumerate(sentences):
            assert is_met == (index >= 2 and len({text for text, _ in sentences[index - 2 : index + 1]}) == 1)


class TestNotUnderstood:
    TRIGGER = t.NotUnderstood(2)

    def test_it_is_met_by_so_many_turns_without_words_in_a_row(self) -> None:
        assert verdicts(self.TRIGGER, said(""), said(OTHER), said("..."), said("")) == [False, False, False, True]

    def test_words_that_the_transcriber_does_not_trust_are_none(self) -> None:
        assert verdicts(self.TRIGGER, said(OTHER, confidence=0.1), said(OTHER, confidence=0.2)) == [False, True]
        assert not any(verdicts(self.TRIGGER, said(OTHER, confidence=0.8), said(OTHER, confidence=0.9)))

    def test_what_may_go_on_is_no_turn(self) -> None:
        assert not any(verdicts(self.TRIGGER, *[CallerSaid(text="...", is_whole=False)] * 3))

    def test_an_echo_neither_counts_nor_begins_again(self) -> None:
        assert verdicts(self.TRIGGER, said(""), said("Hello there", echoed=[0, 1]), said("")) == [False, False, True]
