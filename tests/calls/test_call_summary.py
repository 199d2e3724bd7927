"""What contacts are told of a call: bounded, on one line, ours where the model has nothing to say."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.record import CallRecord, Speaker, Speech, TakenMessage
from gateway.calls.transfers.summary import (
    LIMIT_S,
    MAX_CHARACTERS,
    MAX_HEADER_BYTES,
    PATIENCE_S,
    CallSummary,
    header_value,
    one_line,
    own_summary,
    reference_value,
)
from gateway.dialplan.own_phrases import ENGLISH, SHIPPED
from gateway.sip.message import Headers


def on_a_clock(work: Callable[[Callable[[], float]], Any]) -> tuple[Any, float]:
    """What `work` comes to on a loop whose time passes at once, and how long that took there."""
    loop = asyncio.new_event_loop()
    now = [100.0]
    loop.time = lambda: now[0]  # type: ignore[method-assign]

    async def run() -> Any:
        task = asyncio.ensure_future(work(lambda: now[0]))
        while not task.done():
            for _ in range(10):
                await asyncio.sleep(0)
            now[0] += 0.25
        return task.result()

    try:
        return loop.run_until_complete(run()), now[0] - 100.0
    finally:
        loop.close()


def record(**facts: Any) -> CallRecord:
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    given = {"call_id": "c", "trunk": "pbx", "caller": "1", "called": "2", "route": "r", "started_at": at}
    return CallRecord(**given, offered_s=0.0, **facts)


def test_the_models_words_are_the_summary_whoever_asks_and_what_comes_later_is_not() -> None:
    async def ask(clock: Callable[[], float]) -> list[str]:
        summary = CallSummary(clock, lambda: "ours")
        summary.answer("A refund\r\nfor order 12.")
        summary.answer("another")
        return [await summary.text(), await summary.text(0.0)]

    assert on_a_clock(ask)[0] == ["A refund for order 12."] * 2


@pytest.mark.parametrize("patience_s", [PATIENCE_S, LIMIT_S])
def test_a_model_that_does_not_answer_in_time_is_replaced_by_what_was_written_down(patience_s: float) -> None:
    async def ask(clock: Callable[[], float]) -> tuple[str, str]:
        summary = CallSummary(clock, lambda: "ours")
        first = await summary.text(patience_s)
        summary.answer("too late")
        return first, await summary.text()

    (first, later), took_s = on_a_clock(ask)
    assert (first, later) == ("ours", "ours")
    assert patience_s <= took_s < patience_s + 1


def test_a_model_that_has_nothing_to_say_is_not_waited_for() -> None:
    async def ask(clock: Callable[[], float]) -> str:
        summary = CallSummary(clock, lambda: "ours")
        summary.answer(" \r\n")
        return await summary.text()

    text, took_s = on_a_clock(ask)
    assert (text, took_s < 1) == ("ours", True)


def test_ours_is_made_of_notes_messages_and_the_last_sentences_of_the_caller() -> None:
    said = [
        Speech(speaker=speaker, text=text, at_ms=0)
        for speaker, text in (
            (Speaker.CALLER, "Hello."),
            (Speaker.CALLER, "I want a refund."),
            (Speaker.AGENT, "For which order?"),
            (Speaker.CALLER, "Order 12."),
        )
    ]
    message = TakenMessage(text="call me back", callback="", at_ms=0)
    known = record(notes=("angry",), messages=(message,), transcript=said)
    assert own_summary(known, ENGLISH) == "angry Message: call me back The caller said: I want a refund. Order 12."
    assert own_summary(known, SHIPPED["de"]).endswith("Der Anrufer sagte: I want a refund. Order 12.")
    assert own_summary(record(), ENGLISH) == ""


def test_what_callers_say_is_cut_at_a_word_and_keeps_no_character_that_steers() -> None:
    assert one_line("a\x00b\x1b[31m\u202ec\u2028d\te", 100) == "a b [31mc d e"
    assert one_line("one two three", 9) == "one two…"
    assert one_line("x" * 400, MAX_CHARACTERS) == "x" * 299 + "…"


@given(st.text(max_size=600))
def test_a_header_is_one_line_of_ascii_and_can_be_read_back(text: str) -> None:
    value = header_value(text)
    assert value.isascii()
    assert value.isprintable() or not value
    assert len(value) <= MAX_HEADER_BYTES
    assert not set(value) & set('+"<>\\')
    line = unquote(value, errors="strict")
    assert not any(unicodedata.category(c).startswith("C") for c in line)
    assert one_line(text, MAX_HEADER_BYTES).startswith(line.removesuffix("…").rstrip())
    Headers([("X-Call-Summary", value)])


def test_a_reference_goes_along_whole_or_not_at_all() -> None:
    assert reference_value("553e7558-31aa@10.0.0.1") == "553e7558-31aa@10.0.0.1"
    assert reference_value("a b\r\nX: y") == "a b%0D%0AX: y"
    assert reference_value("x" * 81) == ""


def test_reference_of_an_id_that_is_no_utf_8_is_that_id() -> None:
    assert reference_value(b"a\xfcb@pbx".decode("utf-8", "surrogateescape")) == "a%FCb@pbx"
