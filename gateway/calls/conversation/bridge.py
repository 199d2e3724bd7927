"""The bridge between one media leg and one realtime session.

::

    caller ─ leg ──on_audio──> append_audio ─> session          uplink
    caller <─ leg <──play───── AudioDelta   <─ session          downlink, kept until the ACK
             flush ──heard──> truncate      ─> session          barge-in, by what really left for the telephone

The session is opened while the telephone still rings. What it says before the ACK waits here; a greeting that was
heard before is played from the cache and only told to the model.

A model that is full duplex speaks at the pace of hearing and stops by itself: it is asked for its greeting when the
caller can hear, nothing is flushed, and playout is kept from falling behind (`live_playout`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import structlog

from gateway.calls import events as call_events
from gateway.calls.conversation.downlink import GREETING_ITEM, Downlink
from gateway.calls.conversation.greeting import GreetingCache
from gateway.calls.conversation.held_speech import HeldSpeech
from gateway.calls.conversation.instructions import Instructions
from gateway.calls.conversation.opening import Opening
from gateway.calls.conversation.patience import PATIENCE_ITEM, Patience
from gateway.calls.escalation.events import FactNoticed
from gateway.calls.escalation.facts import CallerHeard, Fact
from gateway.calls.escalation.silence import LastHeard
from gateway.calls.record import CallObserver, CallRecord
from gateway.calls.transcript import Transcript
from gateway.calls.transcript_book import TranscriptBook
from gateway.errors import ProviderError, shown
from gateway.realtime import session as realtime
from gateway.realtime.context import ContextKeeper
from gateway.transport.media_loop import MediaLoop

MAX_TOOL_NAMES = 300
QUESTION = "call_question_"
"""How the ids of the call's questions begin."""

_log = structlog.stdlib.get_logger("gateway.calls")


class SessionBridge:
    """Owns one session. `clock` gives monotonic seconds.

    `dispatch` is told what the call must know; `on_quiet` is called whenever `is_quiet` may have become true;
    `overhear` hears what the session tells after the call has, and also when the call listens no more.
    """

    def __init__(
        self,
        *,
        options: realtime.SessionOptions,
        greeting: str | None,
        media: MediaLoop,
        greetings: GreetingCache,
        record: CallRecord,
        observer: CallObserver,
        dispatch: Callable[[call_events.Event], None],
        on_quiet: Callable[[], None],
        clock: Callable[[], float],
        on_tool_cancelled: Callable[[str], None] = lambda _call_id: None,
        open_session: Callable[[], realtime.RealtimeSession] | None = None,
        overhear: Callable[[realtime.SessionEvent], None] = lambda _event: None,
    ) -> None:
        self._options = options
        self._open_session = open_session or (lambda: realtime.open_session(options))
        self._record = record
        self._dispatch = dispatch
        self._on_quiet = on_quiet
        self._clock = clock
        self._on_tool_cancelled = on_tool_cancelled
        self._turns = 0  # of the caller
        self._tells_speech = False  # the provider says when the caller begins to speak
        self._overhear = overhear
        self._instructions = Instructions(options)
        self._session: realtime.RealtimeSession | None = None
        self._context: ContextKeeper | None = None
        self._is_open = False
        self._is_uplink_open = False
        self._keeps_caller = False
        self._held_speech = HeldSpeech(options.input_format)
        self._is_retired = False
        self._opening = Opening(greetings, options, greeting)
        self._is_overdue = False  # the model owes a reply for so long that the caller was told to wait
        self._questions: dict[str, Callable[[str], None]] = {}  # by id: who hears the answer
        self._active: set[str] = set()  # responses being spoken
        self._muted: set[str] = set()  # responses the caller has interrupted
        book = TranscriptBook(record, observer, clock)
        self._transcript = Transcript(book.now_ms, book.write_down, self._notice)
        self._last_heard = LastHeard()
        self._downlink = Downlink(
            media,
            options.output_format,
            record,
            transcript=self._transcript,
            last_heard=self._last_heard,
            opening=self._opening,
            clock=clock,
            is_live=lambda: self._is_full_duplex,
        )
        self._patience = Patience(media, lambda: self._downlink.leg if self._is_uplink_open else None)
        self._log = _log.bind(call_id=record.call_id)

    # Life.

    async def open(self) -> None:
        """Connect and ask for the greeting; tells `SessionOpened` or `SessionLost`."""
        started = self._clock()
        try:
            self._session = session = self._open_session()
            self._context = ContextKeeper(self._options.context, session)
            await session.connect(self._hear)
        except ProviderError as error:
            self._log.warning("session not opened", code=error.code, error=str(error))
            if self._is_retired:
                return
            self._dispatch(call_events.SessionLost(reason=str(error)))
            return
        self._is_open = True
        self._record.provider_ready_ms = round((self._clock() - started) * 1000)
        if not self._is_full_duplex:
            self._opening.begin(session)
        self._dispatch(call_events.SessionOpened())

    async def close(self) -> None:
        """Let the session go, and hear what it still writes down meanwhile; safe to repeat."""
        self._is_open = self._is_uplink_open = False
        self._patience.end()
        try:
            if self._session is not None:
                await self._session.close()
        finally:
            self._transcript.close()

    def abandon(self, leg: int | None) -> None:
        """The call's `leg`, if it has one, is about to go: what was not heard by now never will be."""
        self._downlink.abandon(leg)
        self._patience.end()

    @property
    def silent_since(self) -> float | None:
        """Since when neither caller nor model has been heard; None where one is, or they do not hear each other."""
        return self._last_heard.since(self._clock()) if self._is_uplink_open and self.has_started else None

    def note_key(self) -> None:
        """The caller has pressed a key, and so is there."""
        self._last_heard.hear_caller(self._clock())

    def start(self, leg: int) -> None:
        """The caller can hear: play the greeting, or what was said while the telephone rang."""
        self._downlink.leg = leg
        self._last_heard.end_caller(self._clock())
        if self._is_full_duplex and self._session is not None:
            self._opening.begin_live(self._session)
        self._downlink.begin(leg)

    @property
    def _is_full_duplex(self) -> bool:
        return self._session is not None and self._session.capabilities.is_full_duplex

    @property
    def has_started(self) -> bool:
        """Whether the caller can hear the session."""
        return self._downlink.leg is not None

    def move(self, leg: int) -> None:
        """Go on with another leg and caller; what was queued at the old one, and what was said there, is lost."""
        self._held_speech.forget()
        if self.has_started:
            self._downlink.leg = leg

    # Uplink.

    def set_open(
        self, *, is_open: bool, lets_finish: bool = False, keeps_caller: bool = False, keeps_said: bool = False
    ) -> None:
        """Whether caller and model hear each other; what the model says meanwhile is lost, unless it `lets_finish`.

        What the caller says is lost, too, unless it `keeps_caller`: the model hears it then when both hear each other
        again; with `keeps_said` only what was kept before. One that is full duplex hears at the pace of speech, and
        never what was said before.
        """
        if is_open and not self._is_uplink_open:
            self._transcript.caller_heard_again()
        self._is_uplink_open = is_open
        self._keeps_caller = keeps_caller and not is_open and not self._is_full_duplex
        if not (is_open or self._keeps_caller or keeps_said):
            self._held_speech.forget()
        self._downlink.is_silenced = not is_open and self.has_started and not lets_finish

    def note_prompt(self, text: str) -> None:
        """The caller has heard this of somebody else: it may come back in what is kept of them."""
        if self._keeps_caller:
            self._transcript.prompt_heard(text)

    def retire(self) -> None:
        """Another session takes this one's place: nothing it does reaches the call any more."""
        self._is_retired = True
        self._is_uplink_open = False
        self._patience.end()

    def append_audio(self, audio: bytes) -> None:
        """The caller's audio, in the session's input format."""
        if self._is_uplink_open and self._session is not None:
            for piece in self._held_speech.next(audio):
                self._session.append_audio(piece)
        elif self._keeps_caller:
            self._held_speech.hear(audio)

    def tell(self, text: str) -> None:
        """Put a fact into the conversation and let the model react."""
        if self._session is not None:
            self._session.send_text("system", text)
            self._session.respond()

    def ask(self, instructions: str, hear: Callable[[str], None]) -> None:
        """Let the model write about the conversation, beside it and unheard; `hear` is told what, "" for nothing."""
        session = self._session
        if session is None or not self._is_open or not session.capabilities.has_questions:
            hear("")
            return
        question_id = f"{QUESTION}{len(self._questions) + 1}"
        self._questions[question_id] = hear
        session.ask(question_id, instructions)

    def shorten_answers(self) -> None:
        """Ask for short answers from now on, whatever else the session is asked to be."""
        self._tell_change(self._instructions.shorten())

    def reply_to_tool(self, call_id: str, output: Mapping[str, object], *, respond: bool) -> None:
        """A tool's result, as data."""
        if self._session is not None:
            self._session.send_tool_result(call_id, json.dumps(output), respond=respond)

    def say(self, text: str) -> None:
        """Let the model speak these words."""
        if self._session is not None:
            self._session.say(text)

    @property
    def has_update(self) -> bool:
        """Whether the session can change while it is under way."""
        return self._session is not None and self._session.capabilities.has_update

    def update(self, change: realtime.SessionChange) -> None:
        """Change what the session is asked to be."""
        self._tell_change(self._instructions.follow(change))

    def _tell_change(self, change: realtime.SessionChange) -> None:
        if self._session is not None:
            self._session.update(change)

    # Downlink.

    @property
    def is_quiet(self) -> bool:
        """Whether the caller hears nothing more of the model at present (what is queued at the leg apart)."""
        return self._downlink.is_silenced or (not self._active and not self._downlink.has_early)

    def barge_in(self) -> None:
        """Silence the model within the next packet, and cut its memory to what was heard.

        One that is full duplex speaks on if it wants to: it hears for itself.
        """
        if self._is_full_duplex:
            if self._downlink.leg is not None:
                self._downlink.flush(self._downlink.leg)
            return
        self._muted |= self._active
        if self._downlink.leg is None or self._session is None:
            return
        heard = self._downlink.cut(self._downlink.leg)
        if heard or self._active:
            self._record.barge_ins += 1
        if self._active and not self._options.turn_detection.interrupts_response:
            self._session.cancel_response()
        for item in heard:
            if item.item_id == PATIENCE_ITEM:
                continue
            if item.item_id != GREETING_ITEM:
                self._session.truncate(item.item_id, item.content_index, item.heard_ms)
            else:
                self._opening.tell_heard(self._session, item.heard_ms, item.received_ms)
            self._transcript.agent_cut(item.item_id, item.heard_ms, item.received_ms)

    def note_heard(self, item_id: str) -> None:
        """An item was heard to its end."""
        if item_id == GREETING_ITEM and self._session is not None:
            self._opening.tell_heard(self._session, 1, 1)
        self._transcript.agent_heard(item_id)

    def _hear(self, event: realtime.SessionEvent) -> None:
        if not self._is_retired:
            self.on_event(event)
        else:
            self._on_words(event)
        self._overhear(event)

    def on_event(self, event: realtime.SessionEvent) -> None:
        """React to what the session reports."""
        if self._context is not None:
            self._context.hear(event)
        match event:
            case realtime.AudioDelta() | realtime.AudioFinished():
                self._on_audio(event)
            case realtime.SpeechStarted():
                self._transcript.begin_turn(event.item_id)
                self._turns, self._tells_speech = self._turns + 1, True
                self._last_heard.begin_caller()
                self._notice(CallerHeard())
                self._wait_no_longer()
                if self._options.turn_detection.interrupts_response and not self._is_full_duplex:
                    self._dispatch(call_events.CallerSpoke())
            case realtime.Interrupted():
                self._on_interrupted()
            case realtime.SpeechStopped() | realtime.ResponseStarted():
                self._on_turn_over(event)
            case realtime.ResponseFinished():
                self._on_response_finished(event)
            case realtime.ToolCalled() | realtime.ToolCancelled():
                self._on_tool(event)
            case realtime.SessionSuspended() | realtime.SessionResumed() | realtime.ReplyOverdue():
                self._on_gap(event)
            case realtime.SessionFailed():
                self._lost(str(event.error))
            case realtime.SessionClosed():
                self._lost(f"session closed: {event.reason or event.code}")
            case _:
                self._on_words(event)

    def _on_turn_over(self, event: realtime.SpeechStopped | realtime.ResponseStarted) -> None:
        """The caller's turn has ended; the model's may begin."""
        self._last_heard.end_caller(self._clock())
        if isinstance(event, realtime.ResponseStarted):
            self._wait_no_longer()
            self._active.add(event.response_id)
            self._transcript.caller_answered()

    def _on_gap(self, event: realtime.SessionSuspended | realtime.SessionResumed | realtime.ReplyOverdue) -> None:
        """The model is away for a while, or back."""
        match event:
            case realtime.SessionSuspended():
                self._log.warning("session suspended", reason=event.reason)
                self._patience.begin()
            case realtime.ReplyOverdue():
                self._log.info("reply overdue", waited_s=round(event.waited_s, 1))
                self._is_overdue = True
                self._patience.begin(has_waited=True)
            case realtime.SessionResumed():
                if not self._is_overdue:  # another connection to a model that is silent is no news to the caller
                    self._patience.end()
                self._opening.note_place(event.place)
                self._transcript.session_changed()
                self._record.note_resumed(event)
                self._log.info(
                    "session resumed",
                    provider=event.provider,
                    model=event.model,
                    gap_ms=event.gap_ms,
                    planned=event.is_planned,
                )

    def _wait_no_longer(self) -> None:
        """The model speaks, or the caller does."""
        self._is_overdue = False
        self._patience.end()

    def _on_words(self, event: realtime.SessionEvent) -> None:
        """What was said, as text."""
        match event:
            case realtime.InputTranscript() if event.is_final:
                self._turns += not self._tells_speech
                self._last_heard.hear_caller(self._clock())
                self._transcript.caller_said(event.item_id, event.text, event.confidence)
            case realtime.InputTranscript():
                self._last_heard.hear_caller(self._clock())
                self._transcript.caller_words(event.item_id, event.text)
            case realtime.Answered(question_id=question_id) if question_id in self._questions:
                self._questions[question_id](event.text)
            case realtime.SessionReady():
                self._opening.note_place(event.place)
            case realtime.InputTranscriptFailed():
                self._transcript.caller_words_lost(event.item_id)
            case realtime.OutputTranscript():
                if event.response_id in self._muted or self._downlink.is_silenced:
                    self._transcript.agent_lost(event.item_id)
                if event.is_final:
                    self._opening.hear_words(event.text)
                self._transcript.agent_words(event.item_id, event.text, is_final=event.is_final)
            case _:
                pass

    def _on_interrupted(self) -> None:
        """The provider heard the caller break in. Of one that told the caller's voice before, it is no news."""
        if not self._active or not self._active <= self._muted:
            self._dispatch(call_events.CallerSpoke())

    def _on_tool(self, event: realtime.ToolCalled | realtime.ToolCancelled) -> None:
        if isinstance(event, realtime.ToolCancelled):
            self._on_tool_cancelled(event.call_id)
            return
        self._record.tools += 1
        if len(self._record.tool_names) < MAX_TOOL_NAMES:
            self._record.tool_names.append(shown(event.call.name))
        call = event.call
        self._dispatch(
            call_events.ToolAsked(
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
                response_id=call.response_id,
                turn=self._turns,
            )
        )

    def _on_audio(self, event: realtime.AudioDelta | realtime.AudioFinished) -> None:
        if event.response_id in self._muted:
            return
        self._downlink.hear(event)

    def _on_response_finished(self, event: realtime.ResponseFinished) -> None:
        self._active.discard(event.response_id)
        self._muted.discard(event.response_id)
        self._transcript.reply_ended()
        self._opening.finish(is_complete=event.status is realtime.ResponseStatus.COMPLETED)
        if event.error is not None:
            self._log.warning("reply failed", code=event.error.code, error=str(event.error))
            if not event.error.is_retryable:  # quota, account: the model will not speak again in this call
                self._lost(str(event.error))
        self._on_quiet()

    def _lost(self, reason: str) -> None:
        if self._is_open:
            self._is_open = False
            self._patience.end()
            self._active.clear()
            self._dispatch(call_events.SessionLost(reason=reason))

    def _notice(self, fact: Fact) -> None:
        if self._is_open and not self._is_retired:
            self._dispatch(FactNoticed(fact=fact))
