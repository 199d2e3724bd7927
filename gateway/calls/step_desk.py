"""Carries out what the steps of a call ask for: sounds, speech, words that are heard, questions to web services.

::

    Step ──Play, PlayTone────> media                  ──PlayoutEnded──> Step
         ──Speak─────────────> Speaker ─> media       ──PlayoutEnded──>
         ──Listen────────────> Listener               ──WordsHeard────>
         ──AskHook───────────> HookDesk               ──HookAnswered──>
         ──PrepareMessage …──> MessageDesk            ──MessageEnded──>
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.calls.brief import CallBrief
from gateway.calls.conversation.playout_watch import PlayoutWatch
from gateway.calls.events import AwaitPlayout, Event, Play, StopPlaying
from gateway.calls.events.sound import SoundCommand
from gateway.calls.events.steps import (
    AskHook,
    DropHook,
    EndMessage,
    LeaveWish,
    Listen,
    NoteLostWish,
    PlayTone,
    PrepareMessage,
    PrepareSpeech,
    RecordMessage,
    Speak,
    SpeechReady,
    StepCommand,
    StopListening,
    WordsHeard,
)
from gateway.calls.hook_desk import HookDesk
from gateway.calls.leaving import MessageDesk
from gateway.calls.lines.line import Line
from gateway.calls.plan_words import PlanWords
from gateway.calls.record import CallRecord
from gateway.calls.services import CallServices
from gateway.calls.speaking.listener import Listener
from gateway.calls.speaking.side_session import SideSessions
from gateway.calls.speaking.sounds import load_sound
from gateway.calls.speaking.speaker import Speaker
from gateway.calls.speaking.tones import samples_of
from gateway.calls.spending import CallSpending
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.messages import MessageKind

FILE_ITEM = "file"
TONE_ITEM = "tone"


class StepDesk:
    """One call's. `line` gives the one to the caller, at present; `tasks` owns what is begun here.

    `words` is told what was said and heard.
    """

    def __init__(
        self,
        services: CallServices,
        brief: CallBrief,
        record: CallRecord,
        spending: CallSpending,
        playout: PlayoutWatch,
        *,
        line: Callable[[], Line],
        dispatch: Callable[[Event], None],
        tasks: Callable[[], asyncio.TaskGroup],
        words: PlanWords,
    ) -> None:
        self._services = services
        self._words = words
        self._line = line
        self._playout = playout
        sessions = SideSessions(services, brief, line, spending)
        self._speaker = Speaker(sessions, tasks, playout.look, ready=lambda: dispatch(SpeechReady()), words=words)
        self._listener = Listener(sessions, tasks, self._hear)
        self._hooks = HookDesk(brief, services.tools.http, tasks, dispatch)
        self._dispatch = dispatch
        self._messages = MessageDesk(services.messages, brief, record, sessions, dispatch=dispatch, tasks=tasks)

    @property
    def is_speaking(self) -> bool:
        """Whether a text is being spoken (what is queued at the leg apart)."""
        return self._speaker.is_busy

    def do(self, command: StepCommand | SoundCommand) -> None:
        """Carry out what a step asks for, or another part of the call that plays something."""
        match command:
            case AwaitPlayout():
                self._playout.wait()
            case Play(file=file):
                self._play_file(file)
            case StopPlaying():
                self._stop_playing()
            case PlayTone():
                self._play_tone(command)
            case PrepareSpeech(speech=speech):
                self._speaker.prepare(speech)
            case Speak():
                self._playout.wait()
                self._speaker.speak(command)
            case Listen(phrases=phrases):
                self._listener.begin(phrases)
            case StopListening():
                self._listener.stop()
            case AskHook():
                self._hooks.ask(command)
            case DropHook():
                self._hooks.drop()
            case PrepareMessage() | RecordMessage() | EndMessage() | LeaveWish() | NoteLostWish():
                self._messages.do(command, self._services.wall_clock())

    def note_heard(self) -> None:
        """All that was queued has left for the telephone."""
        self._words.heard()

    def _hear(self, event: Event) -> None:
        if isinstance(event, WordsHeard):
            self._words.caller_said(event.text)
        self._dispatch(event)

    def leave_message(self, mailbox: Mailbox, text: str, callback: str) -> None:
        """Keep a message that a model has taken."""
        now = self._services.wall_clock()
        self._messages.leave(mailbox, MessageKind.TAKEN, now, text=text, callback=callback)

    def append_audio(self, audio: bytes) -> None:
        """The caller's audio."""
        self._listener.append_audio(audio)
        self._messages.append_audio(audio)

    def release(self) -> None:
        """The call is over; safe to repeat."""
        self._speaker.release()
        self._listener.stop()
        self._hooks.drop()
        self._messages.release()

    def _play_file(self, file: Path) -> None:
        """Queue a sound; `PlayoutEnded` follows when it has been heard."""
        leg = self._line().leg
        self._playout.wait()
        if leg is not None:
            engine = self._services.media.engine
            engine.play_pcm(leg, FILE_ITEM, load_sound(file))
            engine.end_item(leg, FILE_ITEM)

    def _stop_playing(self) -> None:
        """Whatever is being spoken or played is to be heard no more."""
        self._speaker.stop()
        self._line().flush()
        self._playout.forget()

    def _play_tone(self, command: PlayTone) -> None:
        leg = self._line().leg
        self._playout.wait()
        if leg is not None:
            engine = self._services.media.engine
            engine.play_pcm(leg, TONE_ITEM, samples_of(command.tone, command.seconds))
            engine.end_item(leg, TONE_ITEM)
