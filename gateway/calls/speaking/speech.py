"""Texts of the dialplan as they sound: spoken by a realtime session once, and kept for all calls of the process.

::

    Speaker ──text──> SpeechStore ──kept──────────────────────────────> its audio, at once and for nothing
                          ├──another call has it spoken just now──────> the same, as it comes
                          └──nobody──> Speech.speak: connect, say, … ─> as it comes; kept if it is whole and faithful

A speech belongs to the call that asked first: it pays for it, and when it ends before, those who listened along ask
for themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.calls.conversation.greeting import GreetingCache, GreetingKey, GreetingRecorder
from gateway.errors import ProviderError
from gateway.media.codec import AudioFormat
from gateway.realtime import session as realtime

FIRST_SOUND_S = 5.0
"""From the wish to the first sound, the opening of the session included."""
SPEECH_LIMIT_S = 60.0
"""From the first sound to the end of what is sent."""
MAX_TEXTS = 256
MAX_KEPT_BYTES = 64_000_000


class Speech:
    """One text as it sounds so far. `chunks` are in `audio_format`; those who `attend` are told of each change."""

    def __init__(self, audio_format: AudioFormat, audio: bytes = b"") -> None:
        """`audio`: all of it, where it is known."""
        self.audio_format = audio_format
        self.chunks = [audio] if audio else []
        self.is_over = bool(audio)
        self.problem = ""
        """Why there is no more, or nothing."""
        self._listeners: list[Callable[[], None]] = []
        self._has_begun = asyncio.Event()
        self._has_ended = asyncio.Event()

    def attend(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Tell `changed` of what comes; call the result to hear no more."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed) if changed in self._listeners else None

    async def speak(
        self,
        session: realtime.RealtimeSession,
        text: str,
        recorder: GreetingRecorder,
        overhear: Callable[[realtime.SessionEvent], None],
    ) -> None:
        """Let `session` speak `text`, and end; `overhear` is told all that it tells."""

        def hear(event: realtime.SessionEvent) -> None:
            self._hear(event, recorder)
            overhear(event)

        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(FIRST_SOUND_S) as limit:
                await session.connect(hear)
                session.say(text)
                await self._has_begun.wait()
                limit.reschedule(loop.time() + SPEECH_LIMIT_S)
                await self._has_ended.wait()
        except TimeoutError:
            self._end("the provider does not speak in time")
        except ProviderError as error:
            self._end(str(error))
        finally:
            self._end("given up")
            await session.close()

    def give_up(self, problem: str) -> None:
        """There will be no more of it."""
        self._end(problem)

    def _hear(self, event: realtime.SessionEvent, recorder: GreetingRecorder) -> None:
        match event:
            case realtime.AudioDelta(audio=audio) if not self.is_over:
                recorder.add(audio)
                self.chunks.append(audio)
                self._has_begun.set()
                self._tell()
            case realtime.OutputTranscript(text=text, is_final=True):
                recorder.spoke(text)
            case realtime.ResponseFinished(status=status):
                is_complete = status is realtime.ResponseStatus.COMPLETED
                recorder.finish(is_complete=is_complete)
                self._end("" if is_complete and self.chunks else f"the reply is {status.value}")
            case realtime.SessionFailed(error=error):
                self._end(str(error))
            case realtime.SessionClosed(reason=reason):
                self._end(f"session closed: {reason}")
            case _:
                pass

    def _end(self, problem: str) -> None:
        if not self.is_over:
            self.is_over, self.problem = True, problem
            self._has_begun.set()
            self._has_ended.set()
            self._tell()

    def _tell(self) -> None:
        for changed in tuple(self._listeners):
            changed()


class SpeechStore:
    """What has been spoken, and what is being spoken, by all that its sound depends on. One for a process."""

    def __init__(self) -> None:
        self.cache = GreetingCache(MAX_TEXTS, max_bytes=MAX_KEPT_BYTES)
        self.failures = 0
        """Texts that callers did not hear, or not whole."""
        self._under_way: dict[GreetingKey, Speech] = {}

    def find(self, key: GreetingKey, audio_format: AudioFormat) -> Speech | None:
        """The text as it sounds, or as it is being spoken; None: nobody has asked for it."""
        audio = self.cache.get(key)
        if audio is not None:
            return Speech(audio_format, audio)
        speech = self._under_way.get(key)
        return None if speech is None or speech.is_over else speech

    def begin(self, key: GreetingKey, audio_format: AudioFormat) -> Speech:
        """Somebody lets it be spoken."""
        speech = self._under_way[key] = Speech(audio_format)
        return speech

    def end(self, key: GreetingKey, speech: Speech) -> None:
        """It is spoken, or will not be."""
        if self._under_way.get(key) is speech:
            del self._under_way[key]
