"""How a text sounds, for somebody else than the caller: spoken by a session of its own, as `Speaker` has it."""

from __future__ import annotations

import asyncio

from gateway.calls.reading import Reading
from gateway.calls.speaking.side_session import SideSessions
from gateway.calls.speaking.speech import Speech
from gateway.calls.transfers.whisper import Spoken
from gateway.errors import ProviderUnavailable


async def spoken(sessions: SideSessions, text: str, *, is_kept: bool) -> Spoken:
    """All of `text` as it sounds. `is_kept`: for all calls of the process, as it holds nothing of this one.

    Raises: `ProviderError` where nobody speaks it.
    """
    reading = Reading(sessions, text, is_kept=is_kept)
    speech = reading.find()
    if speech is not None:
        await _end_of(speech)
    if speech is None or speech.problem:  # nobody has asked for it, or whoever has did not hear it to its end
        speech = reading.begin()
        try:
            await reading.speak(speech)
        finally:
            speech.give_up("given up")
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
