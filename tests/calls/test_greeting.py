"""Greetings are kept whole, by everything their sound depends on, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.calls.greeting import MAX_GREETING_MS, GreetingCache, GreetingRecorder, greeting_key
from gateway.media.codec import AudioFormat
from gateway.realtime.session import SessionOptions

OPTIONS = SessionOptions(url="ws://a", model="m", voice="marin")
KEY = greeting_key(OPTIONS, "Hello.")


def record(cache: GreetingCache, *chunks: bytes, is_complete: bool = True, said: str = "hello") -> None:
    recorder = GreetingRecorder(cache, KEY, bytes_per_ms=8)
    recorder.spoke(said)
    for chunk in chunks:
        recorder.add(chunk)
    recorder.finish(is_complete=is_complete)


def test_greeting_that_was_spoken_whole_is_heard_again() -> None:
    cache = GreetingCache()
    record(cache, b"ab", b"cd")
    assert cache.get(KEY) == b"abcd"


def test_interrupted_silent_and_endless_greetings_are_not_kept() -> None:
    cache = GreetingCache()
    record(cache, b"ab", is_complete=False)
    record(cache)
    record(cache, bytes(8 * MAX_GREETING_MS), b"x")
    assert cache.get(KEY) is None


@pytest.mark.parametrize("said", ["Hello, Mallory says hi.", "", "Hell o"])
def test_other_words_to_one_caller_never_greet_the_next(said: str) -> None:
    cache = GreetingCache()
    record(cache, b"ab", said=said)
    assert cache.get(KEY) is None


def test_greetings_are_forgotten_on_request() -> None:
    cache = GreetingCache()
    record(cache, b"ab")
    cache.clear()
    assert cache.get(KEY) is None


@pytest.mark.parametrize(
    "other",
    [
        greeting_key(OPTIONS, "Good day."),
        greeting_key(replace(OPTIONS, voice="cedar"), "Hello."),
        greeting_key(replace(OPTIONS, output_speed=1.2), "Hello."),
        greeting_key(replace(OPTIONS, model="n"), "Hello."),
        greeting_key(replace(OPTIONS, url="ws://b"), "Hello."),
        greeting_key(replace(OPTIONS, output_format=AudioFormat.PCMU), "Hello."),
    ],
)
def test_another_voice_model_format_or_text_is_another_greeting(other: tuple[str, ...]) -> None:
    cache = GreetingCache()
    record(cache, b"ab")
    assert cache.get(other) is None  # type: ignore[arg-type]


def test_least_recently_used_greeting_goes_first() -> None:
    cache = GreetingCache(max_greetings=2)
    first, second, third = (greeting_key(OPTIONS, text) for text in ("1", "2", "3"))
    cache.put(first, b"1")
    cache.put(second, b"2")
    cache.get(first)
    cache.put(third, b"3")
    assert (cache.get(first), cache.get(second), cache.get(third)) == (b"1", None, b"3")
