"""Greetings that start at once: the model speaks a greeting for the first caller, later callers hear that recording.

A greeting's audio is kept as the provider sent it, by voice, pace, model, format and text, so that the next call's
first sample leaves as soon as the ACK is here, and costs nothing. Only a greeting that was spoken whole is kept, and
only if its transcript is the greeting's text: what a model says to one caller may not greet another.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from gateway.realtime.session import SessionOptions

MAX_GREETINGS = 64
MAX_GREETING_MS = 30_000

GreetingKey: TypeAlias = tuple[str, str, str, str, str, str, str]


def greeting_key(options: SessionOptions, text: str) -> GreetingKey:
    """All that the sound of a greeting depends on."""
    spoken = (options.voice or "", str(options.output_speed or ""), options.output_format.name)
    return (options.provider, options.url, options.model, *spoken, text)


class GreetingCache:
    """The greetings heard so far; the least recently used goes first. Shared by all calls of a process."""

    def __init__(self, max_greetings: int = MAX_GREETINGS, *, max_bytes: int | None = None) -> None:
        """`max_bytes`: of all their audio; None: no limit of its own."""
        self._max_greetings = max_greetings
        self._max_bytes = max_bytes
        self._audio: OrderedDict[GreetingKey, bytes] = OrderedDict()

    def get(self, key: GreetingKey) -> bytes | None:
        """The audio in the session's output format, or None when nobody has heard this greeting yet."""
        audio = self._audio.get(key)
        if audio is not None:
            self._audio.move_to_end(key)
        return audio

    def clear(self) -> None:
        """Forget all; the next callers' greetings are spoken anew."""
        self._audio.clear()

    def put(self, key: GreetingKey, audio: bytes) -> None:
        """Keep `audio`, the whole greeting."""
        self._audio[key] = audio
        self._audio.move_to_end(key)
        while len(self._audio) > self._max_greetings or self._is_too_big:
            self._audio.popitem(last=False)

    @property
    def _is_too_big(self) -> bool:
        return self._max_bytes is not None and sum(len(audio) for audio in self._audio.values()) > self._max_bytes


class GreetingRecorder:
    """Listens to the response that speaks a greeting, and keeps its audio when it was completed."""

    def __init__(self, cache: GreetingCache, key: GreetingKey, bytes_per_ms: int) -> None:
        self._cache = cache
        self._key = key
        self._limit = bytes_per_ms * MAX_GREETING_MS
        self._text = key[-1]
        self._spoken: list[str] = []
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, audio: bytes) -> None:
        """One more chunk; a greeting beyond 30 s is not worth keeping."""
        self._size += len(audio)
        if self._size <= self._limit:
            self._chunks.append(audio)

    def spoke(self, text: str) -> None:
        """What the model says that it said."""
        self._spoken.append(text)

    def finish(self, *, is_complete: bool) -> None:
        """The response is over."""
        if is_complete and 0 < self._size <= self._limit and _words(" ".join(self._spoken)) == _words(self._text):
            self._cache.put(self._key, b"".join(self._chunks))


def _words(text: str) -> list[str]:
    """The words of `text`, without case and punctuation."""
    return "".join(c if c.isalnum() else " " for c in text.casefold()).split()
