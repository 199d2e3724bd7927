"""Carries one call out: asks `Call` what follows from each event and does it, with a real leg and a real session.

::

    telephone ──> CallManager ──┐
    media (digits, playout) ────┼──> dispatch(event) ──> Call.step ──> [Command] ──> _do ──> transmit
    session (speech, tools) ────┘                        audio itself goes by SessionBridge and never passes here

Events that arise while commands are carried out wait in a queue, so that a step is never entered twice. Everything the
call owns (port, leg, session, timers, tasks) is released in `run`, whatever ended it.

Who does what: `CallerLine` the line to the caller and its signalling, `CallSession` the session, `StepDesk` the steps
of the dialplan and sounds, `TransferDesk` a second line, `ToolDesk` the model's tools, `CallRecording` the recording,
`CallSpending` the budgets, `EscalationDesk` what escalations wait for, `PlayoutWatch` the end of what is said,
`PeerWatch` who has fallen silent, `CallTimers` the timers.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from gateway.calls import events as call_events
from gateway.calls.answering import AnswerDetector
from gateway.calls.brief import CallBrief
from gateway.calls.call import Call, CallState
from gateway.calls.call_state import HEARD_STATES
from gateway.calls.conversation.call_session import CallSession, SessionLinks
from gateway.calls.conversation.playout_watch import PlayoutWatch
from gateway.calls.escalation.desk import EscalationDesk
from gateway.calls.escalation.events import AskVerdict, Interject
from gateway.calls.events.clock import TimerCommand
from gateway.calls.events.line import LineCommand
from gateway.calls.events.recording import RecordingCommand
from gateway.calls.events.session import SessionCommand
from gateway.calls.events.sound import SoundCommand
from gateway.calls.events.steps import StepCommand
from gateway.calls.events.transfer import TransferCommand
from gateway.calls.lines.caller_line import CallerLine, CallerLinks
from gateway.calls.lines.line import Line
from gateway.calls.lines.peer_watch import PeerWatch
from gateway.calls.logbook import masked
from gateway.calls.plan_words import PlanWords
from gateway.calls.record import Speaker, Speech
from gateway.calls.recording import CallRecording
from gateway.calls.services import CallServices
from gateway.calls.speaking.side_session import SideSessions
from gateway.calls.speaking.spoken_text import spoken
from gateway.calls.spending import CallSpending
from gateway.calls.step_desk import StepDesk
from gateway.calls.timers import CallTimers
from gateway.calls.tools.desk import DeskLinks, ToolDesk
from gateway.calls.transcript_book import TranscriptBook
from gateway.calls.transfers.desk import RINGING_ITEM, TransferDesk
from gateway.calls.transfers.introduction import IntroductionLinks
from gateway.calls.transfers.state import TransferState
from gateway.calls.transfers.transfer import TransferAttempt
from gateway.calls.transfers.whisper import caller_on_display
from gateway.dialplan.triggers import Escalation
from gateway.errors import GatewayError
from gateway.sip import events as sip_events
from gateway.sip.sdp import SessionDescription

_log = structlog.stdlib.get_logger("gateway.calls")


class CallTask:
    """One call, from the decision to the last packet."""

    def __init__(
        self,
        services: CallServices,
        brief: CallBrief,
        on_state: Callable[[CallState], None] = lambda _state: None,
    ) -> None:
        """`on_state` hears of each state that the call enters."""
        self._services = services
        self._brief = brief
        self._call = self._machine()
        self._on_state = on_state
        self.record = brief.record(services)
        self._caller = self._caller_line()
        self._detector = brief.detector
        self._events: deque[call_events.Event] = deque()
        self._is_stepping = False
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._timers = CallTimers(self.dispatch)
        self._playout = PlayoutWatch(is_over=self._is_playout_over, ended=self._end_playout)
        self._log = _log.bind(call_id=brief.start.call_id)
        self._recording = CallRecording(services.recordings, services.media, self.record)
        self._tools = ToolDesk(services.tools, brief.plan, brief.facts, self.record, self._desk_links())
        self._spending = self._call_spending()
        self._steps = self._step_desk()
        self._session = self._call_session()
        self._escalations = self._escalation_desk()
        self._desk = self._transfer_desk()
        self._peers = self._peer_watch()

    # Life.

    async def run(self) -> None:
        """Live until the call has ended and everything it owned is released."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._services.observer.call_started(self.record)
                self.dispatch(call_events.Started())
                await self._ended.wait()
                self._session.stop_opening()
        finally:
            try:
                self._release()
                await self._session.close()
                await self._recording.close()
            finally:
                self._spending.close()
                self._note_end()
                self._services.observer.call_ended(self.record)

    def dispatch(self, event: call_events.Event) -> None:
        """Let the call react to `event` now; from within a step, right after that step."""
        self._events.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._events:
                self._step(self._events.popleft())
        finally:
            self._is_stepping = False
        self._services.transmit()

    def _step(self, event: call_events.Event) -> None:
        for command in self._call.step(event, self._services.wall_clock()):
            try:
                self._do(command)
            except GatewayError as error:
                self._log.warning("command failed", command=type(command).__name__, error=str(error))
                self._events.append(call_events.CommandFailed(reason=str(error)))
                if not self._is_over:
                    break
            except Exception as error:  # noqa: BLE001 - a caller must never be left on a line that nobody holds
                self._log.exception("command failed", command=type(command).__name__)
                self._events.append(call_events.CommandFailed(reason=type(error).__name__))
                if not self._is_over:
                    break
        if self._is_over:
            self._finish()
        else:
            self._playout.look()

    @property
    def _is_over(self) -> bool:
        """Whether only farewells are left, each of which is due whatever became of the one before."""
        return self._call.state is CallState.ENDED

    def _finish(self) -> None:
        if self._ended.is_set():
            return
        self.record.take(self._call.notes)
        self.record.ended_s = self._services.clock()
        self._release()
        self._ended.set()

    @property
    def notes(self) -> call_events.CallNotes:
        """What the call has written down by now; the record has it when the call is over."""
        return self._call.notes

    @property
    def variables(self) -> Mapping[str, str]:
        """What has been set by now, by name."""
        return self._call.variables

    def _note_end(self) -> None:
        """A call that did not come to an end of its own met a fault of ours."""
        if self.record.outcome is None:
            self.record.outcome, self.record.cause = call_events.Outcome.FAILED, "internal error"
            self.record.ended_s = self._services.clock()

    def _release(self) -> None:
        """Give leg, port and timers back; safe to repeat."""
        self._timers.stop()
        self._playout.forget()
        self._tools.leave()
        self._steps.release()
        self._escalations.release()
        self._session.abandon()
        self._desk.release()
        self._caller.release()
        self._peers.close()
        self._spending.stop()
        self.record.one_way_audio = self._peers.found
        self._recording.stop()
        statistics = self._line.close()
        if statistics is not None:
            self.record.media = statistics

    def abandon(self) -> None:
        """Hang up after a fault that the call itself did not survive. Raises: `StateError`."""
        self._line.hang_up()

    def hang_up(self) -> None:
        """End the call, as an operator wants it."""
        self.dispatch(call_events.HangUpAsked())

    def _note_state(self, old: CallState, new: CallState) -> None:
        self._log.debug("= state", old=old.value, new=new.value)
        self._on_state(new)

    def _note_escalation(self, escalation: Escalation) -> None:
        self.record.escalations = tuple(self._call.notes.escalations)
        self._services.observer.escalated(self.record, escalation)

    def _note_transfer(self, attempt: TransferAttempt) -> None:
        has_failed = attempt.state in (TransferState.FAILED, TransferState.TIMED_OUT)
        log = self._log.warning if has_failed else self._log.info
        contact = self._brief.plan.contacts.get(self._call.notes.transfer_target or "")
        is_personal = contact is not None and contact.pattern is not None  # a number that somebody has asked for
        target = masked(str(attempt.target)) if is_personal else str(attempt.target)
        log("transfer", target=target, state=attempt.state.value, why=attempt.why)
        self._desk.note(attempt)

    # What the call decided.

    def _do(self, command: call_events.Command) -> None:
        """Leave it to whoever owns what it is about."""
        if isinstance(command, LineCommand):
            self._caller.do(command)
        elif isinstance(command, SessionCommand | Interject):
            self._session.do(command)
        elif isinstance(command, TransferCommand):
            self._desk.do(command)
        elif isinstance(command, RecordingCommand):
            self._recording.do(command, self._line.leg)
        elif isinstance(command, StepCommand | SoundCommand):
            self._steps.do(command)
        elif isinstance(command, TimerCommand):
            self._timers.do(command)
        else:
            self._do_here(command)

    def _do_here(self, command: call_events.Command) -> None:
        match command:
            case call_events.RunTool():
                self._tools.run(command, self._services.wall_clock())
            case AskVerdict():
                self._escalations.ask(command)
            case call_events.NoteRefusedTransfer(contact=contact, reason=reason):
                self._log.warning("transfer refused", contact=contact, reason=reason)

    # News from the telephone.

    def on_signalling(self, event: sip_events.Event) -> None:
        """React to what the user agent reports of this call's leg, or of one that is to take its place."""
        self._caller.on_signalling(event)

    def _begin_conversation(self) -> None:
        self.record.established_s = self._services.clock()
        self.dispatch(call_events.Established())
        self._peers.begin()
        self._escalations.begin()

    def _take_over(self, line: Line, answer: SessionDescription | None) -> None:
        """Go on with `line`. The model knows how much of its words was heard on the old one."""
        self._session.barge_in()
        self._recording.stop("somebody else is on the line")
        self._desk.line = line
        leg = self._caller.move(line, answer)
        if leg is None:
            return
        self._session.move(leg)
        self._tools.forget_caller(self._services.wall_clock())
        self.dispatch(call_events.CallerReplaced())

    def _on_transfer_news(self, event: sip_events.TransferProgressed) -> None:
        self._desk.on_reported(has_failed=event.is_final and event.status >= 300)

    @property
    def _line(self) -> Line:
        """To the caller, at present."""
        return self._caller.line

    # Media.

    def on_audio(self, audio: bytes) -> None:
        """The caller's audio, in the session's input format."""
        if self._detector is not None and self.record.established_s is not None:
            self._judge(self._detector, audio)
        self._desk.on_audio(audio)
        self._session.append_audio(audio)
        self._steps.append_audio(audio)

    def _judge(self, detector: AnswerDetector, audio: bytes) -> None:
        verdict = detector.hear(audio)
        if verdict is not None:
            self._detector, self.record.answered_by = None, verdict

    def on_digit(self, digit: str, duration_ms: int) -> None:
        """A key in the media."""
        self._on_key(digit, duration_ms, is_signalled=False)

    def _on_key(self, digit: str, duration_ms: int, *, is_signalled: bool) -> None:
        if not self._line.is_news(digit, duration_ms, is_signalled=is_signalled):
            return
        self._desk.on_digit(digit, duration_ms, is_audible=self._line.hears_tones and not is_signalled)
        self._session.note_key()
        self.dispatch(call_events.DigitReceived(digit=digit))

    def on_item_finished(self, item_id: str, _content_index: int) -> None:
        """An item's last sample has left for the telephone."""
        if item_id == RINGING_ITEM:
            self._desk.on_ringing_played()
            return
        self._session.note_heard(item_id)
        self._playout.look()

    def _end_playout(self) -> None:
        self._steps.note_heard()
        self.dispatch(call_events.PlayoutEnded())

    def _is_playout_over(self) -> bool:
        if self._session.is_speaking or self._steps.is_speaking:
            return False
        return self._line.leg is None or self._services.media.engine.queued_ms(self._line.leg) <= 0

    # What it is made of.

    def _machine(self) -> Call:
        return Call(
            plan=self._brief.plan,
            actions=self._brief.actions,
            direction=self._brief.direction,
            own_numbers=self._brief.own_numbers,
            trunk=self._brief.start.trunk,
            limits=self._brief.limits,
            max_call_s=self._services.max_call_s,
            facts=self._brief.facts,
            on_state=self._note_state,
            on_transfer=self._note_transfer,
            on_escalation=self._note_escalation,
        )

    def _caller_line(self) -> CallerLine:
        return CallerLine(
            self._services,
            self._brief,
            self.record,
            CallerLinks(
                sink=self,
                state=lambda: self._call.state,
                dispatch=self.dispatch,
                begin=self._begin_conversation,
                take_over=self._take_over,
                on_key=functools.partial(self._on_key, is_signalled=True),
                on_transfer_news=self._on_transfer_news,
            ),
        )

    def _transfer_desk(self) -> TransferDesk:
        return TransferDesk(
            self._services,
            self._line,
            self.dispatch,
            trunk=self._brief.start.trunk,
            way=self._brief.way,
            who=caller_on_display(self._brief.facts),
            links=IntroductionLinks(
                services=self._services.tools,
                plan=self._brief.plan,
                facts=self._brief.facts,
                record=self.record,
                clock=self._services.clock,
                spawn=self._spawn,
                ask=self._session.ask,
                speak=functools.partial(spoken, self._side_sessions()),
            ),
        )

    def _peer_watch(self) -> PeerWatch:
        return PeerWatch(
            self._services,
            line=lambda: self._line,
            others_left_s=self._desk.patience_left_s,
            is_expected=lambda: self._call.state in HEARD_STATES,
            lose=lambda: self.dispatch(call_events.MediaLost()),
            log=self._log,
        )

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Let `work` go on as long as the call does, or until it is over."""
        return self._tasks.create_task(work, name=name)

    def _call_spending(self) -> CallSpending:
        return CallSpending(
            self._services.accounting,
            self._brief.plan,
            self.record,
            self.dispatch,
            clock=self._services.clock,
            wall_clock=self._services.wall_clock,
        )

    def _side_sessions(self) -> SideSessions:
        return SideSessions(self._services, self._brief, lambda: self._line, self._spending)

    def _step_desk(self) -> StepDesk:
        book = TranscriptBook(self.record, self._services.observer, self._services.clock)

        def write_down(speech: Speech) -> None:
            book.write_down(speech)
            if speech.speaker is Speaker.AGENT:
                self._session.note_prompt(speech.text)

        return StepDesk(
            self._services,
            self._brief,
            self.record,
            self._spending,
            self._playout,
            line=lambda: self._line,
            dispatch=self.dispatch,
            tasks=lambda: self._tasks,
            words=PlanWords(book.now_ms, write_down),
        )

    def _call_session(self) -> CallSession:
        return CallSession(
            self._services,
            self._brief,
            self.record,
            SessionLinks(line=lambda: self._line, dispatch=self.dispatch, on_quiet=self._playout.look),
            tools=self._tools,
            spending=self._spending,
            tasks=lambda: self._tasks,
        )

    def _escalation_desk(self) -> EscalationDesk:
        return EscalationDesk(
            self._services,
            self._brief,
            self.record,
            silent_since=lambda: None if self._line.is_on_hold else self._session.silent_since,
            spawn=self._spawn,
            dispatch=self.dispatch,
        )

    def _desk_links(self) -> DeskLinks:
        return DeskLinks(
            spawn=self._spawn,
            dispatch=self.dispatch,
            press=lambda digit, duration_ms: self._line.press(digit, duration_ms, is_audible=False),
            is_silent=self._is_playout_over,
            may_speak=lambda: self._call.state is CallState.TALKING,
            leave=lambda mailbox, text, callback: self._steps.leave_message(
                self._brief.plan.mailboxes[mailbox], text, callback
            ),
            clock=self._services.clock,
        )
