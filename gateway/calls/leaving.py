"""A caller's message: recorded by its own audio, written down meanwhile, and given to whoever keeps messages.

::

    PrepareMessage ─> Listener, as far as the mailbox wants a transcript ──MessageReady──> Step
    RecordMessage  ─> the caller's audio ─ Narrowing ─> MessageDraft.write, VoiceMeter ──MessageEnded──> Step
    EndMessage     ─> is it one?  no: discard      yes: the last words are waited for, then MessageDraft.keep

What is not spoken to, or for less than a second, is no message. When the caller hangs up, what there is counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from gateway.calls.brief import CallBrief
from gateway.calls.events import Event
from gateway.calls.events.steps import (
    EndMessage,
    LeaveWish,
    MessageEnded,
    MessageReady,
    NoteLostWish,
    PrepareMessage,
    RecordMessage,
    SpeechBegan,
    WordsHeard,
)
from gateway.calls.lines.line import Line
from gateway.calls.message_keeper import MessageDraft, MessageKeeper
from gateway.calls.record import CallRecord, LeftMessage
from gateway.calls.speaking.listener import Listener
from gateway.calls.speaking.side_session import SideSessions
from gateway.dialplan.mailboxes import Mailbox
from gateway.dialplan.messages import Message, MessageKind, notices_of
from gateway.dialplan.pattern import normal_caller
from gateway.media.codec import TELEPHONE_RATE_HZ, Samples
from gateway.media.narrowing import Narrowing
from gateway.media.voice_meter import VoiceMeter

MIN_MESSAGE_S = 1.0
MIN_VOICE_MS = 200
LAST_WORDS_LIMIT_S = 5.0
"""How long the transcript of what was said last is waited for. The caller does not wait."""
KEEP_LIMIT_S = 5.0
"""How long the disk is waited for, so that the call's record can say where the message is."""
BEGIN_LIMIT_S = 0.5
"""How long it may take until whoever listens tells that the last sentence has begun."""
CLOSING_SILENCE_S = 1.5
"""What lets whoever listens find the end of the last sentence, when the caller has gone."""

MessageCommand = PrepareMessage | RecordMessage | EndMessage | LeaveWish | NoteLostWish

_log = structlog.stdlib.get_logger("gateway.calls")


class _Take:
    """One message while the caller speaks."""

    def __init__(self, mailbox: Mailbox, draft: MessageDraft) -> None:
        self.mailbox = mailbox
        self.draft = draft
        self._narrowing = Narrowing()
        self._meter = VoiceMeter()
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / TELEPHONE_RATE_HZ

    @property
    def is_over(self) -> bool:
        return self.seconds >= self.mailbox.limit_s or self._meter.silent_ms >= 1000 * self.mailbox.silence_s

    @property
    def counts(self) -> bool:
        return self.seconds >= MIN_MESSAGE_S and self._meter.voiced_ms >= MIN_VOICE_MS

    def hear(self, audio: bytes, line: Line) -> None:
        self._add(self._narrowing.add(audio, line.formats[0]))

    def finish(self) -> None:
        self._add(self._narrowing.finish())

    def settle(self) -> None:
        if self.counts:
            self.draft.keep()
        else:
            self.draft.discard()

    def _add(self, samples: Samples) -> None:
        room = round(self.mailbox.limit_s * TELEPHONE_RATE_HZ) - self._samples
        samples = samples[:room]
        if len(samples):
            self._samples += len(samples)
            self._meter.add(samples)
            self.draft.write(samples)


class MessageDesk:
    """Takes the messages of one call. `dispatch` is told how they go; `tasks` owns what is begun here."""

    def __init__(
        self,
        keeper: MessageKeeper | None,
        brief: CallBrief,
        record: CallRecord,
        sessions: SideSessions,
        *,
        dispatch: Callable[[Event], None],
        tasks: Callable[[], asyncio.TaskGroup],
    ) -> None:
        """`keeper` None: nobody keeps messages."""
        self._keeper = keeper
        self._brief = brief
        self._record = record
        self._sessions = sessions
        self._dispatch = dispatch
        self._tasks = tasks
        self._words: _Words | None = None
        self._take: _Take | None = None
        self._log = _log.bind(call_id=brief.start.call_id)

    def do(self, command: MessageCommand, now: datetime) -> None:
        """Carry out what a step asks for; `now` is aware."""
        match command:
            case PrepareMessage(mailbox=mailbox):
                self._prepare(mailbox)
            case RecordMessage(mailbox=mailbox):
                self._begin(mailbox, now)
            case EndMessage():
                self._end()
            case LeaveWish(mailbox=mailbox, number=number):
                self.leave(mailbox, MessageKind.CALLBACK, now, callback=number)
            case NoteLostWish(mailbox=mailbox, why=why):
                self._log.warning("callback not noted", mailbox=mailbox.name, why=why)

    def append_audio(self, audio: bytes) -> None:
        """The caller's audio, in the line's uplink format."""
        take = self._take
        if take is None:
            return
        take.hear(audio, self._sessions.line())
        if self._words is not None:
            self._words.listener.append_audio(audio)
        if take.is_over:
            self._dispatch(MessageEnded())

    def release(self) -> None:
        """The call is over; safe to repeat. A message that nobody has ended ends here, without a transcript."""
        take, self._take = self._take, None
        if take is not None:
            take.finish()
            take.settle()
        if self._words is not None:
            self._words.listener.stop()
            self._words = None

    def leave(self, mailbox: Mailbox, kind: MessageKind, now: datetime, *, text: str = "", callback: str = "") -> bool:
        """Keep a message without audio; whether somebody keeps messages."""
        if self._keeper is None:
            self._log.error("message not kept", mailbox=mailbox.name, why="records.voicemail has no folder")
            return False
        message = self._message(mailbox, kind, now, callback=callback)
        work = self._keep(mailbox, kind, self._keeper.open(message), None, text)
        self._tasks().create_task(work, name=f"message {message.call_id}")
        return True

    def _prepare(self, mailbox: Mailbox) -> None:
        if self._keeper is None:
            self._log.error("message not kept", mailbox=mailbox.name, why="records.voicemail has no folder")
            self._dispatch(MessageEnded())
        elif mailbox.has_transcript:
            self._words = _Words(self._sessions, self._tasks, lambda: self._dispatch(MessageReady()))
        else:
            self._dispatch(MessageReady())

    def _begin(self, mailbox: Mailbox, now: datetime) -> None:
        assert self._keeper is not None  # noqa: S101 - `_prepare` ends the step without one
        message = self._message(mailbox, MessageKind.VOICEMAIL, now)
        self._take = _Take(mailbox, self._keeper.open(message))

    def _end(self) -> None:
        """No more is recorded; what was is a message, or not. Safe to repeat."""
        take, self._take = self._take, None
        words, self._words = self._words, None
        if take is not None:
            take.finish()
        if take is None or not take.counts:
            if take is not None:
                self._log.info("no message", mailbox=take.mailbox.name, seconds=round(take.seconds, 1))
                take.draft.discard()
            if words is not None:
                words.listener.stop()
            return
        work = self._keep(take.mailbox, MessageKind.VOICEMAIL, take.draft, words)
        self._tasks().create_task(work, name=f"message {self._record.call_id}")

    async def _keep(
        self, mailbox: Mailbox, kind: MessageKind, draft: MessageDraft, words: _Words | None, text: str | None = None
    ) -> None:
        """Wait for the last words, then for the disk, and enter the message into the call's record."""
        try:
            if words is not None:
                text = await words.finish(self._sessions.line())
        finally:
            kept = draft.keep(text)
        left = LeftMessage(kind=kind, mailbox=mailbox.name, file=None, seconds=0.0)
        try:
            message = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(kept)), KEEP_LIMIT_S)
            left = LeftMessage(kind=kind, mailbox=mailbox.name, file=message.audio, seconds=message.seconds)
        except TimeoutError:
            self._log.warning("message waits for the disk", mailbox=mailbox.name)
        self._record.left = (*self._record.left, left)
        self._log.info(
            "message left", mailbox=mailbox.name, kind=kind.value, seconds=round(left.seconds, 1), words=bool(text)
        )

    def _message(self, mailbox: Mailbox, kind: MessageKind, now: datetime, *, callback: str = "") -> Message:
        facts = self._brief.facts
        caller = facts.from_ if normal_caller(facts.from_) else ""
        return Message(
            kind=kind,
            plan=self._brief.plan.name,
            mailbox=mailbox.name,
            call_id=self._record.call_id,
            left_at=now.astimezone(self._brief.plan.zone),
            caller=caller,
            caller_name=facts.display_name,
            called=facts.to,
            callback=callback,
            notices=notices_of(mailbox),
        )


class _Words:
    """What the caller is heard to say, by a listener of its own."""

    def __init__(
        self, sessions: SideSessions, tasks: Callable[[], asyncio.TaskGroup], on_settled: Callable[[], None]
    ) -> None:
        self._texts: list[str] = []
        self._open_turns = 0
        self._is_complete = asyncio.Event()
        self.listener = Listener(sessions, tasks, self._hear, on_settled=on_settled)
        self.listener.begin(())

    async def finish(self, line: Line) -> str | None:
        """All of it, once the last turn is known in words; what there is after `LAST_WORDS_LIMIT_S`.

        None: nobody listened.
        """
        is_heard = self.listener.hears
        audio_format = line.formats[0]
        silence = audio_format.silence * round(audio_format.sample_rate_hz * CLOSING_SILENCE_S)
        self.listener.append_audio(silence)
        try:
            if self.listener.hears:
                await asyncio.sleep(BEGIN_LIMIT_S)
                await asyncio.wait_for(self._is_complete.wait(), LAST_WORDS_LIMIT_S)
        except TimeoutError:
            pass
        finally:
            self.listener.stop()
        return "\n".join(self._texts) if self._texts or is_heard else None

    def _hear(self, event: Event) -> None:
        match event:
            case SpeechBegan():
                self._open_turns += 1
                self._is_complete.clear()
            case WordsHeard(text=text):
                self._open_turns = max(0, self._open_turns - 1)
                self._texts += [text] if text else []
                if not self._open_turns:
                    self._is_complete.set()
