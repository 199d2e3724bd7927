"""How a session opens a conversation: in the plan's words or its own, spoken now or heard before.

::

    begin ──> in the cache? ──yes──> take_cached, played at once ──heard──> tell_heard: the model learns what was said
                            ──no───> the model speaks it ──hear_…, finish──> kept for the next caller
"""

from __future__ import annotations

from gateway.calls.conversation.greeting import GreetingCache, GreetingRecorder, greeting_key
from gateway.realtime.heard import heard_words
from gateway.realtime.session import RealtimeSession, SessionOptions


class Opening:
    """The greeting of one session; `text` None: the model begins in its own words."""

    def __init__(self, cache: GreetingCache, options: SessionOptions, text: str | None) -> None:
        self._cache = cache
        self._options = options
        self.text = text
        self._cached: bytes | None = None
        self._untold: str | None = None  # played from the cache; the model knows of it when it was heard
        self._recorder: GreetingRecorder | None = None
        self._place = 0  # of the provider that speaks; its voice may be another one than the greeting's

    def note_place(self, place: int) -> None:
        """Which provider of the call's list speaks: what another one says is not kept."""
        if place != self._place:
            self._place, self._recorder = place, None

    def begin(self, session: RealtimeSession) -> None:
        """Let the model begin, unless its words are here from an earlier call."""
        if self.text is None:
            session.respond()
            return
        key = greeting_key(self._options, self.text)
        self._cached = None if self._place else self._cache.get(key)
        if self._cached is None:
            if not self._place:
                self._recorder = GreetingRecorder(self._cache, key, self._options.output_format.bytes_per_ms)
            session.respond(greeting_instructions(self.text))

    def begin_live(self, session: RealtimeSession) -> None:
        """Let a model begin that speaks at the pace of hearing: its words are not kept."""
        session.respond(None if self.text is None else greeting_instructions(self.text))

    def take_cached(self) -> bytes | None:
        """The greeting as it was heard before, once, for it to be played now."""
        audio, self._cached = self._cached, None
        if audio is not None:
            self._untold = self.text
        return audio

    def tell_heard(self, session: RealtimeSession, heard_ms: int, whole_ms: int) -> None:
        """Put as much of a greeting from the cache into the model's memory as the caller has heard."""
        if self._untold is None:
            return
        heard = heard_words(self._untold, heard_ms, whole_ms, is_complete=True) if heard_ms else ""
        self._untold = None
        if heard:
            session.send_text("assistant", heard)

    def hear_audio(self, audio: bytes) -> None:
        """What the model says; it counts until its first response is over."""
        if self._recorder is not None:
            self._recorder.add(audio)

    def hear_words(self, text: str) -> None:
        """The transcript of what it says."""
        if self._recorder is not None:
            self._recorder.spoke(text)

    def finish(self, *, is_complete: bool) -> None:
        """A response is over: the first was the greeting."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.finish(is_complete=is_complete)


def greeting_instructions(greeting: str) -> str:
    """What a model is asked so that it opens the call with exactly these words."""
    return f'Greet the caller now. Say exactly this, word for word, and nothing else: "{greeting}"'
