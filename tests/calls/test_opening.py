"""How a conversation is opened: spoken by the model for the first caller, heard again by the next."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.conversation.opening import Opening, greeting_instructions
from gateway.media.codec import AudioFormat
from gateway.realtime.session import RealtimeSession, SessionOptions

OPTIONS = SessionOptions(url="wss://models", model="m", output_format=AudioFormat.PCMU)
GREETING, SOUND = "Good morning, my friend.", b"\x10" * 800


class Asked:
    """A session that remembers what was wanted of it."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.told: list[tuple[str, str]] = []

    def respond(self, instructions: str | None = None) -> None:
        self.asked.append(instructions)

    def send_text(self, role: str, text: str) -> None:
        self.told.append((role, text))


@pytest.fixture
def session() -> Asked:
    return Asked()


def real(session: Asked) -> RealtimeSession:
    return cast("RealtimeSession", session)


def spoken(session: Asked, *, said: str = GREETING, is_complete: bool = True) -> GreetingCache:
    """What is kept when the model has spoken a greeting."""
    cache = GreetingCache()
    opening = Opening(cache, OPTIONS, GREETING)
    opening.begin(real(session))
    opening.hear_audio(SOUND)
    opening.hear_words(said)
    opening.finish(is_complete=is_complete)
    return cache


def test_without_a_greeting_the_model_begins_in_its_own_words(session: Asked) -> None:
    Opening(GreetingCache(), OPTIONS, None).begin(real(session))
    Opening(GreetingCache(), OPTIONS, None).begin_live(real(session))
    assert session.asked == [None, None]


def test_a_greeting_that_was_spoken_is_heard_again_once_and_not_asked_for(session: Asked) -> None:
    again = Opening(spoken(session), OPTIONS, GREETING)
    again.begin(real(session))
    assert session.asked == [greeting_instructions(GREETING)]
    assert [again.take_cached(), again.take_cached()] == [SOUND, None]


@pytest.mark.parametrize("kept", [{"said": "Something else."}, {"is_complete": False}])
def test_what_was_not_the_greeting_is_not_kept(session: Asked, kept: dict[str, object]) -> None:
    again = Opening(spoken(session, **kept), OPTIONS, GREETING)  # type: ignore[arg-type]
    again.begin(real(session))
    assert again.take_cached() is None
    assert session.asked == [greeting_instructions(GREETING)] * 2


def test_only_the_first_response_is_the_greeting(session: Asked) -> None:
    cache = GreetingCache()
    opening = Opening(cache, OPTIONS, GREETING)
    opening.begin(real(session))
    opening.finish(is_complete=False)
    opening.hear_audio(SOUND)
    opening.hear_words(GREETING)
    opening.finish(is_complete=True)
    again = Opening(cache, OPTIONS, GREETING)
    again.begin(real(session))
    assert again.take_cached() is None


@pytest.mark.parametrize(("heard_ms", "told"), [(100, [("assistant", GREETING)]), (0, [])])
def test_the_model_is_told_once_what_was_heard_of_a_greeting_it_did_not_speak(
    session: Asked, heard_ms: int, told: list[tuple[str, str]]
) -> None:
    again = Opening(spoken(session), OPTIONS, GREETING)
    again.begin(real(session))
    again.take_cached()
    again.tell_heard(real(session), heard_ms, 100)
    again.tell_heard(real(session), 100, 100)
    assert session.told == told


def test_a_greeting_that_the_model_speaks_is_not_told_to_it(session: Asked) -> None:
    opening = Opening(GreetingCache(), OPTIONS, GREETING)
    opening.begin(real(session))
    assert opening.take_cached() is None
    opening.tell_heard(real(session), 100, 100)
    assert session.told == []
