"""How a text sounds, for somebody else than the caller: spoken by a session of its own, as `Speaker` has it."""

from __future__ import annotations

import asyncio

from gateway.calls.greeting import GreetingCache, GreetingRecorder, greeting_key
from gateway.calls.side_session import SideSessions
from gateway.calls.speaker import reading
from gateway.calls.speech import Speech
from gateway.calls.whisper import Spoken
from gateway.errors import ProviderUnavailable


async def spoken(sessions: SideSessions, text: str, *, is_kept: bool) -> Spoken:
    """All of `text` as it sounds. `is_kept`: for all calls of the process, as it holds nothing of this one.

    Raises: `ProviderError` where nobody speaks it.
    """
    store = sessions.services.speech
    chain = sessions.chain(reading)
    key, audio_format = greeting_key(chain[0], text), chain[0].output_format
    speech = store.find(key, audio_format) if is_kept else None
    if speech is not None:
        await _end_of(speech)
    if speech is None or speech.problem:  # nobody has asked for it, or whoever has did not hear it to its end
        speech = store.begin(key, audio_format) if is_kept else Speech(audio_format)
        recorder = GreetingRecorder(store.cache if is_kept else GreetingCache(0), key, audio_format.bytes_per_ms)
        try:
            await speech.speak(sessions.open(chain), text, recorder, sessions.count(chain))
        finally:
            speech.give_up("given up")
            store.end(key, speech)
    if speech.problem:
        raise ProviderUnavailable(speech.problem, code="not_spoken")
    return Spoken(b"".join(speech.chunks), speech.audio_format)


async def _end_of(speech: Speech) -> None:
    """Wait until another call has had it spoken."""
    ended = asyncio.Event()
    unattend = speech.attend(lambda: ended.set() if speech.is_over else None)
    try:
        if not speech.is_over:
            await ended.wait()
    finally:
        unattend()
