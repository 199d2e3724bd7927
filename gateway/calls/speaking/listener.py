"""Listens to one caller for the dialplan: a session that hears, writes down, and is not answered by anybody.

::

    Listen ─> session without replies <── the caller's audio
                  └─ SpeechStarted ─> SpeechBegan      InputTranscript ─> WordsHeard

A provider that answers every turn is not heard. Where no session can be had, keys are all that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from gateway.calls.conversation.keywords import EMBEDDED, takes_keywords
from gateway.calls.events import Event
from gateway.calls.events.steps import SpeechBegan, WordsHeard
from gateway.calls.speaking.side_session import SideSessions
from gateway.errors import ProviderError, ProviderRefused
from gateway.realtime import session as realtime

INSTRUCTIONS = "You only listen. Say nothing, whatever you hear."
TURN_DETECTIONS: tuple[realtime.TurnDetectionKind, ...] = ("server_vad", "semantic_vad")
TRANSCRIPTION_MODELS = {"openai": "gpt-4o-mini-transcribe"}
"""What writes down the caller's words where the configuration asks for nothing; the others take any name."""
ANY_MODEL = EMBEDDED
LEAST_TOKENS = 16
"""Of an answer that nobody hears, where a provider does not do without."""

_log = structlog.stdlib.get_logger("gateway.calls")


class Listener:
    """One call's. `dispatch` is told what the caller says."""

    def __init__(
        self,
        sessions: SideSessions,
        tasks: Callable[[], asyncio.TaskGroup],
        dispatch: Callable[[Event], None],
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        """`tasks` owns what is begun here. `on_settled` is called when somebody listens, or nobody will."""
        self._on_settled = on_settled
        self._sessions = sessions
        self._tasks = tasks
        self._dispatch = dispatch
        self._session: realtime.RealtimeSession | None = None
        self._listening: asyncio.Task[None] | None = None
        self._log = _log.bind(call_id=sessions.brief.start.call_id)

    @property
    def hears(self) -> bool:
        """Whether somebody listens."""
        return self._session is not None

    def begin(self, phrases: Sequence[str]) -> None:
        """Listen from now on; `phrases` are likely to be said."""
        self.stop()
        work = self._listen(tuple(phrases))
        self._listening = self._tasks().create_task(work, name=f"listener {self._sessions.brief.start.call_id}")

    def append_audio(self, audio: bytes) -> None:
        """The caller's audio, in the line's uplink format."""
        if self._session is not None:
            self._session.append_audio(audio)

    def stop(self) -> None:
        """Hear no more; safe to repeat."""
        self._session = None
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()

    async def _listen(self, phrases: tuple[str, ...]) -> None:
        session: realtime.RealtimeSession | None = None
        ended = asyncio.Event()
        try:
            chain, session = self._open(phrases)
            count = self._sessions.count(chain)

            def hear(event: realtime.SessionEvent) -> None:
                count(event)
                if isinstance(event, realtime.SessionFailed | realtime.SessionClosed):
                    ended.set()
                elif self._session is session:
                    self._tell(event)

            await session.connect(hear)
            line = self._sessions.line()
            line.formats = (chain[0].input_format, line.formats[1])
            self._session = session
            self._on_settled()
            await ended.wait()
            self._log.warning("nobody listens any more")
        except ProviderError as error:
            self._log.warning("nobody listens", code=error.code, error=str(error))
            self._on_settled()
        finally:
            if self._session is session:
                self._session = None
            if session is not None:
                await session.close()

    def _open(self, phrases: tuple[str, ...]) -> tuple[list[realtime.SessionOptions], realtime.RealtimeSession]:
        """A session without replies; or one that answers, where the provider has no other. Raises: `ProviderError`."""
        language = self._sessions.brief.plan.language
        refusal: ProviderRefused | None = None
        for creates_response in (False, True):
            for kind in TURN_DETECTIONS:
                chain = self._sessions.chain(
                    lambda options, kind=kind, answers=creates_response: _listening(  # type: ignore[misc]
                        options, phrases, language, kind=kind, answers=answers
                    )
                )
                try:
                    return chain, self._sessions.open(chain)
                except ProviderRefused as error:
                    if error.code != "turn_detection":
                        raise
                    refusal = refusal or error
        raise refusal or ProviderRefused("there is no way to listen", code="turn_detection")

    def _tell(self, event: realtime.SessionEvent) -> None:
        match event:
            case realtime.SpeechStarted():
                self._dispatch(SpeechBegan())
            case realtime.InputTranscript(text=text, is_final=True):
                self._dispatch(WordsHeard(text=text.strip()))
            case realtime.InputTranscriptFailed():
                self._dispatch(WordsHeard(text=""))
            case _:
                pass


def _listening(
    options: realtime.SessionOptions,
    phrases: tuple[str, ...],
    language: str,
    *,
    kind: realtime.TurnDetectionKind,
    answers: bool,
) -> realtime.SessionOptions:
    """What a session is asked that listens. `kind` finds the turns where the configuration leaves them to us."""
    turns = options.turn_detection
    heard = replace(
        options,
        instructions=INSTRUCTIONS,
        transcription_model=options.transcription_model or TRANSCRIPTION_MODELS.get(options.provider, ANY_MODEL),
        max_output_tokens=LEAST_TOKENS if answers else options.max_output_tokens,
        turn_detection=replace(
            turns,
            kind=kind if turns.kind == "none" else turns.kind,
            creates_response=answers,
            interrupts_response=answers,
        ),
    )
    if not options.transcription_languages:
        heard = replace(heard, transcription_language=options.transcription_language or language)
    if takes_keywords(options):
        return replace(heard, transcription_keywords=tuple(dict.fromkeys((*phrases, *options.transcription_keywords))))
    expected = f"Keywords: {', '.join(phrases)}" if phrases else ""
    prompt = " ".join(text for text in (options.transcription_prompt, expected) if text)
    return replace(heard, transcription_prompt=prompt)
