"""Phrases are found as whole words, in the spelling of whoever wrote the transcript."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.phrases import key_for, parse_phrase, words_of

WORDS = st.lists(st.text("abcdefgäöüß", min_size=1, max_size=6), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("human", "I want a HUMAN!"),
        ("a human", "give me a human, please"),
        ("don't", "I don\u2019t know"),
        ("opérateur", "Passez-moi l'operateur."),
        ("operateur", "l\u2019OPÉRATEUR"),
        ("zurück", "rufen Sie mich zurueck"),
        ("zurueck", "rufen Sie mich zurück"),
        ("zurück", "rufen sie mich zuru\u0308ck"),
        ("STRASSE", "in der Straße"),
        ("straße", "in der strasse"),
        ("señor", "senor garcia"),
        ("człowiek", "czlowiek"),
        ("\u0131srar", "ISRAR"),
        ("人工客服", "我想找人工客服"),
        ("人工 客服", "我想找人工客服。"),
        ("オペレーター", "ｵﾍﾟﾚｰﾀｰお願いします"),
        ("상담원", "상담원이랑 통화하고 싶어요"),
        ("เจ้าหน้าที่", "ขอสายเจ้าหน้าที่ครับ"),
        ("मदद", "मुझे मदद चाहिए"),
        ("إنسان", "أريد إِنْسَان"),
        ("24 hours", "open \uff12\uff14 hours"),
    ],
)
def test_phrase_is_found_whatever_case_accents_marks_and_spelling(phrase: str, text: str) -> None:
    assert parse_phrase(phrase).is_in(text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("human", "humanity"),
        ("human", "inhuman treatment"),
        ("a human", "a very human voice"),
        ("human a", "a human"),
        ("neu", "das neue Haus"),
        ("schon", "schoen"),
        ("が", "か"),
        ("की", "का"),
        ("人工", "工人"),
        ("human", ""),
        ("human", "?!"),
        ("?!", "?!"),
        ("", "human"),
    ],
)
def test_phrase_is_not_found_in_parts_of_words_or_in_other_words(phrase: str, text: str) -> None:
    assert not parse_phrase(phrase).is_in(text)


def test_each_place_is_told_by_the_indices_of_its_words() -> None:
    assert list(parse_phrase("a human").places("A human? Yes, a human.")) == [range(2), range(3, 5)]


@pytest.mark.parametrize("text", ["", " ", "...", "?!", "—", "\u200b"])
def test_what_is_punctuation_alone_has_no_words(text: str) -> None:
    assert words_of(text) == ()


@given(WORDS, WORDS, WORDS)
def test_phrase_is_found_wherever_its_words_stand(before: list[str], phrase: list[str], behind: list[str]) -> None:
    text = "… ".join([*before, *phrase, *behind])
    places = list(parse_phrase(" ".join(phrase)).places(text.upper()))
    assert range(len(before), len(before) + len(phrase)) in places


@given(st.text(max_size=60))
def test_any_text_holds_itself_if_it_has_words(text: str) -> None:
    assert parse_phrase(text).is_in(text) == bool(words_of(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sales department please", "1"),
        ("das Buro", "2"),
        ("Verkaufen", None),
        ("", None),
        ("Verkauf oder Büro", None),
        ("sales department oder Büro", "1"),
        ("verkauf", "1"),
    ],
)
def test_phrases_are_whole_words_the_longest_wins(text: str, expected: str | None) -> None:
    assert key_for(text, {"1": ("Verkauf", "sales department"), "2": ("Büro",)}) == expected
