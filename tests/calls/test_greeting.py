"""Greetings are kept whole, by everything their sound depends on, and not for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gateway.calls.conversation.bridge import SessionBridge
from gateway.calls.conversation.greeting import MAX_GREETING_MS, GreetingCache, GreetingRecorder, greeting_key
from gateway.calls.record import CallRecord
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime
from gateway.realtime.openai.session import CAPABILITIES
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


class _Model:
    """A turn-taking model of which nothing is heard but what it was asked."""

    capabilities = CAPABILITIES

    def __init__(self, *events: realtime.SessionEvent) -> None:
        self.events, self.asked = events, 0
        self.on_event: realtime.EventCallback = lambda _event: None

    async def connect(self, on_event: realtime.EventCallback) -> None:
        self.on_event = on_event
        for event in self.events:
            on_event(event)

    def respond(self, _instructions: str | None = None) -> None:
        self.asked += 1

    def greet(self) -> None:
        names = {"response_id": "r", "item_id": "i", "content_index": 0}
        self.on_event(realtime.ResponseStarted(response_id="r"))
        self.on_event(realtime.AudioDelta(audio=b"\x10" * 8000, **names))
        self.on_event(realtime.OutputTranscript(text="Hello.", is_final=True, **names))
        self.on_event(realtime.ResponseFinished(response_id="r", status=realtime.ResponseStatus.COMPLETED))


async def _opened(cache: GreetingCache, model: _Model) -> _Model:
    record = CallRecord(
        call_id="c", trunk="t", caller="1", called="2", route="r", started_at=datetime.now(UTC), offered_s=0.0
    )
    bridge = SessionBridge(
        options=OPTIONS,
        greeting="Hello.",
        media=SimpleNamespace(),  # type: ignore[arg-type]
        greetings=cache,
        record=record,
        observer=SimpleNamespace(),  # type: ignore[arg-type]
        dispatch=lambda _event: None,
        on_quiet=lambda: None,
        clock=lambda: 0.0,
        open_session=lambda: model,  # type: ignore[arg-type,return-value]
    )
    await bridge.open()
    return model


async def test_greeting_is_kept_in_the_voice_of_the_session_that_was_asked_for_alone() -> None:
    ready = realtime.SessionReady(session_id="s", model="m")
    resumed = realtime.SessionResumed(provider="b", model="m", session_id="s2", gap_ms=100, place=1)
    cache = GreetingCache()
    for events in ((replace(ready, place=1),), (ready,)):
        model = await _opened(cache, _Model(*events))
        if not events[0].place:
            model.on_event(resumed)
        model.greet()
        assert cache.get(KEY) is None
    (await _opened(cache, _Model(ready))).greet()
    assert cache.get(KEY) is not None
    assert (await _opened(cache, _Model(ready))).asked == 0
    assert (await _opened(cache, _Model(replace(ready, place=1)))).asked == 1
