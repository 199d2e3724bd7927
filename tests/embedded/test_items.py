"""Items: their order, their words, and what they cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedded.items import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Ledger,
    Message,
    OutputAudio,
    OutputText,
    Tokens,
    item_tokens,
    text_tokens,
)


def message(item_id: str) -> Message:
    return Message(id=item_id, role="user")


def ids(ledger: Ledger) -> list[str]:
    return [item.id for item in ledger]


def test_ledger_keeps_the_order_it_is_told() -> None:
    ledger = Ledger()
    assert ledger.last_id is None
    ledger.add(message("b"))
    ledger.add(message("d"))
    ledger.add(message("a"), previous_item_id="root")
    ledger.add(message("c"), previous_item_id="b")
    assert ids(ledger) == ["a", "b", "c", "d"]
    assert ledger.last_id == "d"
    assert [ledger.previous_id(item_id) for item_id in "abcd"] == [None, "a", "b", "c"]


@given(st.lists(st.integers(0, 9)), st.data())
def test_ledger_is_a_list(places: list[int], data: st.DataObject) -> None:
    ledger, expected = Ledger(), list[str]()
    for number, place in enumerate(places):
        after = place % (len(expected) + 1)
        ledger.add(message(str(number)), previous_item_id=expected[after - 1] if after else "root")
        expected.insert(after, str(number))
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(expected))
            expected.remove(gone)
            ledger.remove(gone)
            assert gone not in ledger
            assert ledger.get(gone) is None
            assert ledger.previous_id(gone) is None
    assert ids(ledger) == expected


def test_words_of_a_message_are_those_that_are_known() -> None:
    content = [
        InputText(text="Good day."),
        InputAudio(),
        InputImage(image_url="data:image/png;base64,AA=="),
        InputAudio(transcript="who are you"),
    ]
    assert Message(id="a", role="user", content=list(content)).text == "Good day. who are you"


def test_message_is_certain_unless_something_in_it_was_heard_badly() -> None:
    clear, unclear = InputAudio(transcript="yes"), InputAudio(transcript="no", is_certain=False)
    assert Message(id="a", role="user", content=[InputText(text="yes"), clear]).is_certain
    assert not Message(id="a", role="user", content=[clear, unclear]).is_certain


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2)])
def test_text_costs_a_token_for_four_characters(text: str, tokens: int) -> None:
    assert text_tokens(text) == tokens


@pytest.mark.parametrize(
    ("item", "tokens"),
    [
        (Message(id="a", role="user", content=[InputText(text="abcdefgh")]), Tokens(text=2)),
        (Message(id="a", role="user", content=[InputAudio(transcript="ignored", duration_ms=1501)]), Tokens(audio=16)),
        (Message(id="a", role="assistant", content=[OutputText(text="abcd")]), Tokens(text=1)),
        (
            Message(id="a", role="assistant", content=[OutputAudio(bytes_per_ms=8, transcript="abcd", size_bytes=808)]),
            Tokens(text=1, audio=3),
        ),
        (Message(id="a", role="user", content=[InputImage(image_url="data:")]), Tokens()),
        (FunctionCall(id="a", name="abcd", call_id="c", arguments="{}"), Tokens(text=2)),
        (FunctionCallOutput(id="a", call_id="c", output="abcd"), Tokens(text=1)),
    ],
)
def test_every_item_has_its_price(item: Item, tokens: Tokens) -> None:
    assert item_tokens(item) == tokens


def test_speech_knows_its_length_and_can_be_cut() -> None:
    part = OutputAudio(bytes_per_ms=8)
    part.append(bytes(800))
    part.append(bytes(80))
    assert part.duration_ms == 110
    part.truncate(50)
    assert (part.duration_ms, len(part.audio), part.transcript) == (50, 400, None)
