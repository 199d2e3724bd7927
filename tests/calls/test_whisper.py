"""What whoever picks up a warm transfer hears, in which order, and how long they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.calls.transfers.summary import CallSummary
from gateway.calls.transfers.whisper import (
    INSTEAD,
    MAX_NAME_CHARACTERS,
    Spoken,
    Whisper,
    caller_in_words,
    caller_on_display,
)
from gateway.dialplan.contacts import Acceptance
from gateway.dialplan.model import CallFacts
from gateway.dialplan.own_phrases import ENGLISH, SHIPPED, OwnPhrases
from tests.calls.test_call_summary import on_a_clock

ACCEPT = Acceptance(key="#", refuse="*")


def facts(number: str, name: str = "") -> CallFacts:
    return CallFacts(to="7000", from_=number, display_name=name, at=datetime(2026, 11, 20, tzinfo=UTC))


class Voice:
    """Speaks at once, all but what it was told not to."""

    def __init__(self, mute: str = "\0", slow: str = "\0") -> None:
        self.asked: list[tuple[str, bool]] = []
        self._mute, self._slow = mute, slow

    async def __call__(self, text: str, /, *, is_kept: bool) -> Spoken:
        self.asked.append((text, is_kept))
        if self._slow in text:
            await asyncio.sleep(3600)
        if self._mute in text:
            raise ConnectionError("no voice")
        return Spoken(text.encode())


def whispered(
    voice: Voice, about: str | None, *, phrases: OwnPhrases = ENGLISH, times: int = 1, caller: str = "4 9"
) -> list[bytes]:
    async def listen() -> list[bytes]:
        def spawn(work: Coroutine[object, object, Any], name: str) -> asyncio.Task[Any]:
            return asyncio.get_running_loop().create_task(work, name=name)

        summary = None if about is None else CallSummary(lambda: 0.0, lambda: "ours")
        if summary is not None:
            summary.answer(about or "")
        whisper = Whisper(voice, spawn, phrases=phrases, caller=caller, summary=summary)
        heard = []
        for _ in range(times):
            heard += [spoken.audio async for spoken in whisper.sentences(ACCEPT)]
        whisper.close()
        return heard

    return asyncio.run(listen())


KEYS = b"Press hash to take the call, star to refuse it."


def test_it_tells_who_calls_what_about_and_which_keys_there_are() -> None:
    voice = Voice()
    assert whispered(voice, "A refund.", times=2) == [b"Call from 4 9.", b"A refund.", KEYS] * 2
    asked = [("Call from 4 9.", False), (KEYS.decode(), True), ("A refund.", False)]
    assert sorted(voice.asked) == sorted(asked)


def test_without_a_summary_it_tells_the_rest() -> None:
    assert whispered(Voice(), None) == [b"Call from 4 9.", KEYS]
    german = whispered(Voice(), None, phrases=SHIPPED["de"])
    assert german[0] == b"Anruf von 4 9."
    assert "Rautetaste" in german[1].decode()


def test_a_plan_chooses_the_phrases_and_a_name_is_no_place_in_them() -> None:
    own = replace(ENGLISH, call_from="For you: {caller}", keys="{key} or {{refuse}}", hash="pound")
    assert whispered(Voice(), None, phrases=own) == [b"For you: 4 9", b"pound or {refuse}"]
    assert whispered(Voice(), None, caller="Ann {caller} {key}")[0] == b"Call from Ann {caller} {key}."


def test_what_cannot_be_spoken_is_two_tones() -> None:
    assert whispered(Voice(mute="Call"), None) == [INSTEAD.audio, KEYS]
    assert whispered(Voice(mute="Press"), None) == [b"Call from 4 9.", INSTEAD.audio]


@pytest.mark.parametrize(
    ("number", "name", "who"),
    [
        ("+4930123", "", "+ 4 9 3 0 1 2 3"),
        ("+4930123", "Anna\r\nMüller", "Anna Müller"),
        ("+4930123", "4930", "+ 4 9 3 0 1 2 3"),
        ("anna", "", "anna"),
        ("", "", "a withheld number"),
        ("anonymous", "Anonymous", "a withheld number"),
    ],
)
def test_who_calls_is_a_name_or_a_number_digit_by_digit(number: str, name: str, who: str) -> None:
    assert caller_in_words(facts(number, name), ENGLISH) == who


@pytest.mark.parametrize(("picked_up_s", "heard_s"), [(0.0, 4.0), (2.0, 4.0), (5.0, 5.0), (9.0, 9.0)])
def test_a_silent_model_is_waited_for_four_seconds_once_picked_up_and_six_while_it_rings(
    picked_up_s: float, heard_s: float
) -> None:
    spoken_s: dict[str, float] = {}

    async def listen(clock: Callable[[], float]) -> list[bytes]:
        def spawn(work: Coroutine[object, object, Any], name: str) -> asyncio.Task[Any]:
            return asyncio.get_running_loop().create_task(work, name=name)

        async def speak(text: str, /, *, is_kept: bool) -> Spoken:
            spoken_s[text] = clock() - began_s
            return Spoken(text.encode())

        began_s = clock()
        whisper = Whisper(speak, spawn, phrases=ENGLISH, caller="4 9", summary=CallSummary(clock, lambda: "ours"))
        await asyncio.sleep(picked_up_s)
        heard = [spoken.audio async for spoken in whisper.sentences(ACCEPT)]
        whisper.close()
        return heard

    heard, took_s = on_a_clock(listen)
    assert heard == [b"Call from 4 9.", b"ours", KEYS]
    assert took_s == pytest.approx(heard_s, abs=0.6)
    assert spoken_s["ours"] == pytest.approx(min(heard_s, 6.0), abs=0.6)


@pytest.mark.parametrize(
    ("number", "name", "shown"),
    [
        ("+49301", "Ann Bell", "Ann Bell"),
        ("+49301", "", "+49301"),
        ("+49301", "\u202e\x07", "+49301"),
        ("1\r\nX-Evil: 2", "", "1 X-Evil: 2"),
        ("", "", ""),
    ],
)
def test_a_telephone_shows_who_calls_on_one_line(number: str, name: str, shown: str) -> None:
    assert caller_on_display(facts(number, name)) == shown
    assert len(caller_on_display(facts(number, name + "x" * 5000))) <= MAX_NAME_CHARACTERS
