"""A text that a session of its own reads aloud: known already, being read for another call, or to be begun."""

from __future__ import annotations

from dataclasses import replace

from gateway.calls.conversation.greeting import GreetingCache, GreetingRecorder, greeting_key
from gateway.calls.speaking.side_session import SideSessions
from gateway.calls.speaking.speech import Speech
from gateway.realtime import session as realtime

INSTRUCTIONS = "You read texts aloud on the telephone: exactly as they stand, in their own language, and nothing else."


class Reading:
    """One text for one call. `is_kept`: for all calls of the process, as it holds nothing of this one."""

    def __init__(self, sessions: SideSessions, text: str, *, is_kept: bool) -> None:
        self._sessions = sessions
        self._text = text
        self._is_kept = is_kept
        self._store = sessions.services.speech
        self._chain = sessions.chain(as_reader)
        self._key, self._format = greeting_key(self._chain[0], text), self._chain[0].output_format

    def find(self) -> Speech | None:
        """The text as it sounds, or as it is being spoken; None: nobody has asked for it."""
        return self._store.find(self._key, self._format) if self._is_kept else None

    def begin(self) -> Speech:
        """The text as it will sound, for `speak`."""
        return self._store.begin(self._key, self._format) if self._is_kept else Speech(self._format)

    async def speak(self, speech: Speech) -> None:
        """Have it spoken to its end. Raises: `ProviderError` where there is no such session at all."""
        cache = self._store.cache if self._is_kept else GreetingCache(0)
        recorder = GreetingRecorder(cache, self._key, self._format.bytes_per_ms)
        try:
            session = self._sessions.open(self._chain)
            await speech.speak(session, self._text, recorder, self._sessions.count(self._chain))
        finally:
            self._store.end(self._key, speech)


def as_reader(options: realtime.SessionOptions) -> realtime.SessionOptions:
    """What a session is asked to be that speaks a text."""
    return replace(options, instructions=INSTRUCTIONS, transcription_model=None)
