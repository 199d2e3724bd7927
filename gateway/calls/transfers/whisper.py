"""What whoever picks up a warm transfer hears: who calls, what it is about, which key takes the call.

::

    while it rings   "Call from 4 9 3 0." ─speak─> sound       summary ─speak─> sound       "Press 1 …" ─speak─> sound
    picked up        ──────────────────── played as they are there ───────────────────────────────────────> WhisperEnded

A sentence that cannot be spoken is two short tones instead, so that nobody waits in silence; keys work all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog

from gateway.calls.speaking.sounds import RATE_HZ
from gateway.calls.transfers.summary import LIMIT_S, PATIENCE_S, CallSummary, one_line
from gateway.dialplan.contacts import Acceptance
from gateway.dialplan.model import CallFacts
from gateway.dialplan.own_phrases import OwnPhrases, filled
from gateway.dialplan.pattern import normal_caller
from gateway.media.codec import AudioFormat

SPEAK_LIMIT_S = 8.0
MAX_NAME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Spoken:
    """How a sentence sounds."""

    audio: bytes
    audio_format: AudioFormat = AudioFormat.PCM16_8K


class Speak(Protocol):
    """Has a sentence spoken."""

    async def __call__(self, text: str, /, *, is_kept: bool) -> Spoken:
        """How it sounds. `is_kept`: it holds nothing of this call, and may be kept for others. Raises what it likes."""
        ...


SILENCE = Spoken(b"")

_log = structlog.stdlib.get_logger("gateway.calls")


def _two_tones() -> Spoken:
    tone = 4000 * np.sin(2 * np.pi * 660 * np.arange(RATE_HZ // 6) / RATE_HZ)
    return Spoken(np.concatenate([tone, np.zeros(RATE_HZ // 8), tone]).astype("<i2").tobytes())


INSTEAD = _two_tones()


def caller_in_words(facts: CallFacts, phrases: OwnPhrases) -> str:
    """Who calls: the name that the telephone network shows, else the number, digit by digit."""
    name, number = one_line(facts.display_name, MAX_NAME_CHARACTERS), one_line(facts.from_, MAX_NAME_CHARACTERS)
    if any(c.isalpha() for c in name) and normal_caller(name):
        return name
    if not normal_caller(number):
        return phrases.withheld
    return " ".join(number) if number.strip("+").isdigit() else number


def caller_on_display(facts: CallFacts) -> str:
    """Who calls, as a telephone shows it; an INVITE takes no line breaks, which an escaped number may hold."""
    return one_line(facts.display_name, MAX_NAME_CHARACTERS) or one_line(facts.from_, MAX_NAME_CHARACTERS)


class Whisper:
    """The sentences of one warm transfer, spoken while it rings. `spawn` makes tasks that `close` ends."""

    def __init__(
        self,
        speak: Speak,
        spawn: Callable[[Coroutine[object, object, Spoken], str], asyncio.Task[Spoken]],
        *,
        phrases: OwnPhrases,
        caller: str,
        summary: CallSummary | None,
    ) -> None:
        self._speak = speak
        self._spawn = spawn
        self._phrases = phrases
        self._summary = summary
        self._picked_up = asyncio.Event()
        self._caller = spawn(self._spoken(filled(phrases.call_from, caller=caller)), "whisper caller")
        self._about = spawn(self._spoken_summary(), "whisper summary")
        self._keys: dict[Acceptance, asyncio.Task[Spoken]] = {}

    def prepare(self, acceptance: Acceptance) -> asyncio.Task[Spoken]:
        """Begin to speak of the keys; the sentence."""
        if acceptance not in self._keys:
            phrases = self._phrases
            text = filled(phrases.keys, key=phrases.key(acceptance.key), refuse=phrases.key(acceptance.refuse))
            self._keys[acceptance] = self._spawn(self._spoken(text, is_kept=True), "whisper keys")
        return self._keys[acceptance]

    async def sentences(self, acceptance: Acceptance) -> AsyncGenerator[Spoken, None]:
        """One after the other, each as soon as it is there; whoever picked up listens from now on."""
        self._picked_up.set()
        for sentence in (self._caller, self._about, self.prepare(acceptance)):
            spoken = await asyncio.shield(sentence)
            if spoken.audio:
                yield spoken

    def close(self) -> None:
        """Nobody listens any more."""
        for task in (self._caller, self._about, *self._keys.values()):
            task.cancel()

    async def _spoken_summary(self) -> Spoken:
        text = "" if self._summary is None else await self._summary_text(self._summary)
        return await self._spoken(text) if text else SILENCE

    async def _summary_text(self, summary: CallSummary) -> str:
        """The summary; nobody who has picked up waits longer for it than `PATIENCE_S` after it was asked for."""
        waiting = asyncio.ensure_future(summary.text(LIMIT_S))
        picking_up = asyncio.ensure_future(self._picked_up.wait())
        try:
            await asyncio.wait((waiting, picking_up), return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else await summary.text(PATIENCE_S)
        finally:
            waiting.cancel()
            picking_up.cancel()

    async def _spoken(self, text: str, *, is_kept: bool = False) -> Spoken:
        try:
            async with asyncio.timeout(SPEAK_LIMIT_S):
                return await self._speak(text, is_kept=is_kept)
        except Exception as error:  # noqa: BLE001 - whoever picks up must hear something, and the call goes on
            _log.warning("whisper not spoken", error=str(error) or type(error).__name__)
            return INSTEAD
