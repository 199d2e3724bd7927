"""Speaks the dialplan's texts to one caller, by whoever has spoken them before, or by a session of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from gateway.calls.events.steps import Speak
from gateway.calls.plan_words import PlanWords
from gateway.calls.reading import Reading
from gateway.calls.speaking.side_session import SideSessions
from gateway.calls.speaking.speech import Speech
from gateway.errors import ProviderError

SPEECH_ITEM = "speech"
NOTHING = Speak(text="")

_log = structlog.stdlib.get_logger("gateway.calls")


class Speaker:
    """One call's. `on_change` is called whenever `is_busy` may have become false, `ready` when `prepare` is through."""

    def __init__(
        self,
        sessions: SideSessions,
        tasks: Callable[[], asyncio.TaskGroup],
        on_change: Callable[[], None],
        *,
        ready: Callable[[], None],
        words: PlanWords,
    ) -> None:
        """`tasks` owns what is begun here; `words` is told what the caller is about to hear."""
        self._sessions = sessions
        self._store = sessions.services.speech
        self._tasks = tasks
        self._on_change = on_change
        self._ready = ready
        self._words = words
        self._wanted = NOTHING
        self._speech: Speech | None = None  # that the caller hears
        self._next: Speech | None = None  # that the caller is about to hear
        self._told = 0  # chunks that are on their way to the caller
        self._may_retry = False
        self._unattend: Callable[[], None] = lambda: None
        self._speaking: set[asyncio.Task[None]] = set()
        self._log = _log.bind(call_id=sessions.brief.start.call_id)

    @property
    def is_busy(self) -> bool:
        """Whether more is to come (what is queued at the leg apart)."""
        return self._speech is not None

    def prepare(self, wanted: Speak) -> None:
        """Have a text spoken, for `speak` to find it; `ready` is told when it sounds, or will not."""
        self.stop()
        self._wanted, self._may_retry = wanted, True
        self._wait_for_sound()

    def speak(self, wanted: Speak) -> None:
        """Let the caller hear a text; it is over when `is_busy` is no longer, whatever came of it."""
        known = self._next if wanted == self._wanted else None
        self.stop()
        self._wanted, self._may_retry = wanted, known is None
        if wanted.text:
            self._begin(known)
        else:
            self._on_change()

    def stop(self) -> None:
        """The caller is to hear no more of it. It is spoken to its end, for those who come later."""
        self._unattend()
        self._words.cut()
        self._speech = self._next = None

    def release(self) -> None:
        """The call is over; safe to repeat."""
        self.stop()
        for task in self._speaking:
            task.cancel()

    def _begin(self, known: Speech | None = None) -> None:
        self._speech, self._told = known or self._find(), 0
        self._unattend = self._speech.attend(self._play)
        self._play()

    def _find(self) -> Speech:
        """The text as it sounds, or will."""
        sessions = replace(self._sessions, use=self._wanted.use)
        reading = Reading(sessions, self._wanted.text, is_kept=not self._wanted.is_personal)
        speech = reading.find()
        if speech is None:
            speech = reading.begin()
            work = self._speak(reading, speech)
            task = self._tasks().create_task(work, name=f"speech {self._sessions.brief.start.call_id}")
            self._speaking.add(task)
            task.add_done_callback(self._speaking.discard)
            self._may_retry = False
        return speech

    def _wait_for_sound(self) -> None:
        self._next = self._find()
        self._unattend = self._next.attend(self._look)
        self._look()

    def _look(self) -> None:
        """Find out whether what is being prepared can be heard."""
        speech = self._next
        if speech is None or not (speech.chunks or speech.is_over):
            return
        self._unattend()
        if speech.chunks or not self._may_retry:
            self._ready()
        else:  # whoever had it spoken has hung up
            self._may_retry = False
            self._wait_for_sound()

    async def _speak(self, reading: Reading, speech: Speech) -> None:
        try:
            await reading.speak(speech)
        except ProviderError as error:  # there is no such session at all
            speech.give_up(str(error))

    def _play(self) -> None:
        """Send what has come since, and find out whether that was all."""
        speech, line = self._speech, self._sessions.line()
        if speech is None:
            return
        new, self._told = speech.chunks[self._told :], len(speech.chunks)
        if line.leg is not None and new:
            line.formats = (line.formats[0], speech.audio_format)
            engine = self._sessions.services.media.engine
            audio_ms = sum(map(len, new)) / speech.audio_format.bytes_per_ms
            self._words.sounds(self._wanted.text, engine.queued_ms(line.leg), audio_ms)
            for audio in new:
                engine.play(line.leg, SPEECH_ITEM, audio)
        if speech.is_over:
            self._end(speech)

    def _end(self, speech: Speech) -> None:
        self._unattend()
        if speech.problem and not self._told and self._may_retry:  # whoever had it spoken has hung up
            self._may_retry = False
            self._begin()
            return
        self._speech = None
        if speech.problem:
            self._store.failures += 1
            self._log.warning("text not spoken", reason=speech.problem, characters=len(self._wanted.text))
        line = self._sessions.line()
        self._words.complete()
        if line.leg is not None and self._told:
            self._sessions.services.media.engine.end_item(line.leg, SPEECH_ITEM)
        self._on_change()
