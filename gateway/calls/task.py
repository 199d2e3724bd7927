"""Carries one call out: asks `Call` what follows from each event and does it, with a real leg and a real session.

::

    telephone ──> CallManager ──┐
    media (digits, playout) ────┼──> dispatch(event) ──> Call.step ──> [Command] ──> _do ──> transmit
    session (speech, tools) ────┘                        audio itself goes by SessionBridge and never passes here

Events that arise while commands are carried out wait in a queue, so that a step is never entered twice. Everything the
call owns (port, leg, session, timers, tasks) is released in `run`, whatever ended it.

Who does what: `Line` the leg to the caller, `CallSession` the session, `TransferDesk` a second line, `ToolDesk` the
model's tools, `CallRecording` the recording, `CallSpending` the budgets, `Succession` a leg that takes this one's
place, `PlayoutWatch` the end of what is said, `PeerWatch` who has fallen silent, `CallTimers` the timers.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from gateway.calls import events as call_events
from gateway.calls.answering import AnswerDetector
from gateway.calls.bridge import MAX_TRANSCRIPT
from gateway.calls.brief import CallBrief, Placement
from gateway.calls.call import Call, CallState
from gateway.calls.call_session import CallSession, SessionLinks
from gateway.calls.call_state import HEARD_STATES
from gateway.calls.escalation.events import AskVerdict, FactNoticed, Interject
from gateway.calls.escalation.facts import Fact
from gateway.calls.escalation.silence import SilenceWatch
from gateway.calls.escalation.verdicts import VerdictDesk
from gateway.calls.introduction import IntroductionLinks
from gateway.calls.line import Line
from gateway.calls.logbook import masked
from gateway.calls.peer_watch import PeerWatch
from gateway.calls.plan_words import PlanWords
from gateway.calls.playout_watch import PlayoutWatch
from gateway.calls.record import Speech
from gateway.calls.recording import CallRecording
from gateway.calls.refusal import Refusal, refusal_of
from gateway.calls.services import CallServices
from gateway.calls.side_session import SideSessions
from gateway.calls.sounds import load_sound
from gateway.calls.spending import CallSpending
from gateway.calls.spoken_text import spoken
from gateway.calls.step_desk import StepDesk
from gateway.calls.succession import Succession, has_replaces
from gateway.calls.timers import CallTimers
from gateway.calls.tools.desk import DeskLinks, ToolDesk
from gateway.calls.transfer import TransferAttempt
from gateway.calls.transfer_desk import RINGING_ITEM, TransferDesk
from gateway.calls.transfer_state import TransferState
from gateway.calls.whisper import caller_on_display
from gateway.dialplan.triggers import Escalation, SilentFor
from gateway.errors import GatewayError, shown
from gateway.sip import events as sip_events
from gateway.sip.message import Uri
from gateway.sip.sdp import SessionDescription

FILE_ITEM = "file"
REPLACEABLE = (CallState.CONSENTING, CallState.TALKING, CallState.ACTING)
"""States in which somebody else may take the caller's place."""
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
        leg_id = "" if brief.offered is None else brief.offered.leg_id
        self._line = Line(services, port=brief.port, local=brief.local, sink=self, leg_id=leg_id, dtmf=brief.dtmf)
        self._succession = self._successors()
        self._detector = brief.detector
        self._events: deque[call_events.Event] = deque()
        self._is_stepping = False
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._timers = CallTimers(self.dispatch)
        self._referrals = 0  # REFERs of the peer that were followed
        self._playout = PlayoutWatch(is_over=self._is_playout_over, ended=self._end_playout)
        self._log = _log.bind(call_id=brief.start.call_id)
        self.record = brief.record(services)
        self._recording = CallRecording(services.recordings, services.media, self.record)
        self._tools = ToolDesk(services.tools, brief.plan, brief.facts, self.record, self._desk_links())
        self._spending = self._call_spending()
        self._steps = self._step_desk()
        self._session = self._call_session()
        self._verdicts = self._verdict_desk()
        self._silence = self._silence_watch()
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
        self._verdicts.leave()
        self._silence.stop()
        self._session.abandon()
        self._desk.release()
        self._succession.release()
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

    def _do(self, command: call_events.Command) -> None:  # noqa: C901, PLR0912 - one line a command
        agent, now = self._services.user_agent, self._services.clock()
        match command:
            case call_events.Ring():
                agent.progress(self._line.leg_id, 180, now)
            case call_events.Answer():
                self._answer(now)
            case call_events.Dial():
                self._dial()
            case call_events.Reject():
                self._reject(command, now)
            case (
                call_events.OpenSession()
                | call_events.CloseSession()
                | call_events.Greet()
                | call_events.BargeIn()
                | call_events.BridgeAudio()
                | call_events.ReplyToTool()
                | call_events.TellModel()
                | call_events.ShortenAnswers()
                | Interject()
            ):
                self._session.do(command)
            case AskVerdict():
                self._verdicts.ask(command)
            case call_events.AwaitPlayout():
                self._playout.wait()
            case call_events.RunTool():
                self._tools.run(command, self._services.wall_clock())
            case call_events.Play(file=file):
                self._play_file(file)
            case call_events.StopPlaying():
                self._stop_playing()
            case call_events.StartRecording() | call_events.PauseRecording() | call_events.StopRecording():
                self._recording.do(command, self._line.leg)
            case call_events.NoteRefusedTransfer():
                self._log.warning("transfer refused", contact=command.contact, reason=command.reason)
            case call_events.HangUp(reason=reason):
                self._line.hang_up(reason)
            case call_events.StartTimer() | call_events.StopTimer():
                self._timers.do(command)
            case (
                call_events.Refer()
                | call_events.CallTarget()
                | call_events.PlayRinging()
                | call_events.AskSummary()
                | call_events.AwaitSummary()
                | call_events.Whisper()
                | call_events.HandOver()
                | call_events.SeekCaller()
                | call_events.JoinTarget()
                | call_events.ReleaseTarget()
            ):
                self._desk.do(command)
            case _:
                self._steps.do(command)

    def _reject(self, refusal: call_events.Reject, now: float) -> None:
        headers = () if refusal.retry_after_s is None else (("Retry-After", str(refusal.retry_after_s)),)
        agent = self._services.user_agent
        agent.reject(self._line.leg_id, refusal.status, now, reason=refusal.reason, headers=headers)

    def _answer(self, now: float) -> None:
        assert self._brief.offered is not None  # noqa: S101 - only such calls are answered
        self._line.answer(self._brief.offered.offer)
        self._note_media()
        self.record.answered_s = now

    def _dial(self) -> None:
        start = self._brief.start
        assert isinstance(start, Placement)  # noqa: S101 - only such calls are dialled
        self._line.dial(start.trunk, start.target, self.on_signalling, call_id=start.call_id)

    # News from the telephone, by CallManager.

    def on_signalling(self, event: sip_events.Event) -> None:
        """React to what the user agent reports of this call's leg, or of one that is to take its place."""
        is_free = self._call.state in REPLACEABLE
        if isinstance(event, sip_events.CallOffered):
            self._succession.offer(event, self._line, is_free=is_free)
        elif isinstance(event, sip_events.TransferRequested):
            self._succession.follow(event, self._line, is_free=is_free)
        elif not self._succession.hears(event):
            self._on_news(event)
        self._services.transmit()

    def _may_follow(self, target: Uri) -> bool:
        """Whether the peer may make us call `target`, which counts as one of the caller's transfers."""
        brief = self._brief
        makes_loop = target.user in brief.own_numbers and not has_replaces(target)
        if not brief.follows_refers or makes_loop or self._referrals >= brief.limits.per_call:
            return False
        self._referrals += 1
        return brief.limits.take()

    def _on_news(self, event: sip_events.Event) -> None:
        match event:
            case sip_events.CallCancelled():
                self.dispatch(call_events.CallerLeft(cause="cancelled"))
            case sip_events.CallEnded():
                self.dispatch(call_events.CallerLeft(cause=event.cause.value))
            case sip_events.CallEstablished():
                self._on_established(event.description)
            case sip_events.CallProgressed():
                self._on_progressed(event)
            case sip_events.CallAnswered():
                self._on_answered(event.description)
            case sip_events.CallRefused():
                refusal = refusal_of(event.status, event.headers)
                self.dispatch(call_events.Refused(refusal=refusal, status=event.status, reason=event.reason))
            case sip_events.OfferReceived():
                self._line.renegotiate(event.offer)
                self._note_media()
            case sip_events.TransferProgressed():
                self._desk.on_reported(has_failed=event.is_final and event.status >= 300)
                self.dispatch(
                    call_events.TransferReported(
                        status=event.status,
                        reason=event.reason,
                        is_final=event.is_final,
                        is_notified=event.is_notified,
                    )
                )
            case sip_events.DigitsSignalled():
                self._on_key(event.digit, event.duration_ms, is_signalled=True)
            case sip_events.DigitRefused():
                self._log.info("key not taken", status=event.status)
            case sip_events.IdentityChanged():
                self._note_party(event.uri)
            case _:
                self._log.debug("! unexpected news", news=type(event).__name__)

    def _note_party(self, uri: Uri) -> None:
        """Remember who is at the other end now. It is for people: the model is told nothing that a message claims."""
        self.record.connected = shown(uri.unescaped_user or "")
        self._services.observer.party_changed(self.record)

    def _take_over(self, line: Line, answer: SessionDescription | None) -> None:
        """Go on with `line`. What the old one has not been sent yet is lost, and the model knows how much was heard."""
        self._session.barge_in()
        self._recording.stop("somebody else is on the line")
        self._line.close()
        self._line = self._desk.line = line
        if not self._take_answer(answer):
            return
        if line.leg is None:
            self._fail_media("an answer without media")
            return
        self._session.move(line.leg)
        self._note_media()
        self._log.info("call taken over", leg=line.leg_id)
        self._tools.forget_caller(self._services.wall_clock())
        self.dispatch(call_events.CallerReplaced())

    def _lose(self, cause: str) -> None:
        self.dispatch(call_events.CallerLeft(cause=cause))

    def _on_established(self, answer: SessionDescription | None) -> None:
        """The ACK; on a delayed offer it brings the peer's answer."""
        if self._take_answer(answer) and self.record.established_s is None:
            self._begin_conversation()

    def _on_answered(self, answer: SessionDescription | None) -> None:
        """Whom we called has picked up."""
        if not self._take_answer(answer):
            return
        if self._line.stream is None:
            self._fail_media("an answer without media")
            return
        self.record.answered_s = self._services.clock()
        self._begin_conversation()

    def _begin_conversation(self) -> None:
        self.record.established_s = self._services.clock()
        self.dispatch(call_events.Established())
        self._peers.begin()
        self._silence.begin()

    def _take_answer(self, answer: SessionDescription | None) -> bool:
        """Agree to the peer's answer to our offer, if it is one; without agreement the call ends."""
        try:
            if answer is not None:
                self._line.take_answer(answer)
                self._note_media()
        except GatewayError as error:
            self._fail_media(str(error))
            return False
        self._line.settle()
        return True

    def _fail_media(self, why: str) -> None:
        """There will be no audio between the two: the call ends, and nobody has hung up."""
        self._line.hang_up('SIP;cause=488;text="no common media"')
        if self._call.state in (CallState.DIALLING, CallState.RINGING):
            self.dispatch(call_events.Refused(refusal=Refusal.FAILED, status=488, reason=why))
        else:
            self.dispatch(call_events.CommandFailed(reason=why))

    def _on_progressed(self, event: sip_events.CallProgressed) -> None:
        """It rings. Of early media of several branches the last is heard (RFC 3261 13.2.1)."""
        if event.description is not None:
            try:
                self._line.take_answer(event.description)
            except GatewayError as error:
                self._log.info("early media not taken", error=str(error))
        if event.status >= 180:
            self.dispatch(call_events.Rang())

    def _note_media(self) -> None:
        stream = self._line.stream
        if stream is not None:
            self.record.codec = stream.codec.name
            self.record.srtp = stream.srtp.suite if stream.srtp else None

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

    def _play_file(self, file: Path) -> None:
        """Queue a sound; `PlayoutEnded` follows when it has been heard."""
        self._playout.wait()
        if self._line.leg is None:
            return
        self._services.media.engine.play_pcm(self._line.leg, FILE_ITEM, load_sound(file))
        self._services.media.engine.end_item(self._line.leg, FILE_ITEM)

    def _stop_playing(self) -> None:
        self._steps.hush()
        self._line.flush()
        self._playout.forget()

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

    def _successors(self) -> Succession:
        return Succession(
            self._services,
            trunk=self._brief.start.trunk,
            may_follow=self._may_follow,
            open_media=self._brief.further_media,
            hear=self.on_signalling,
            take_over=self._take_over,
            lose=self._lose,
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
                spawn=lambda work, name: self._tasks.create_task(work, name=name),
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
        return StepDesk(
            self._services,
            self._brief,
            self.record,
            self._spending,
            self._playout,
            line=lambda: self._line,
            dispatch=self.dispatch,
            tasks=lambda: self._tasks,
            words=PlanWords(self._call_ms, self._write_down),
        )

    def _call_ms(self) -> int:
        """The call's clock: since the ACK."""
        since = self.record.established_s
        return 0 if since is None else round((self._services.clock() - since) * 1000)

    def _write_down(self, speech: Speech) -> None:
        if len(self.record.transcript) < MAX_TRANSCRIPT:
            self.record.transcript.append(speech)
        self._services.observer.spoken(self.record, speech)

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

    def _verdict_desk(self) -> VerdictDesk:
        return VerdictDesk(
            self._services.tools.http,
            self._brief.facts,
            self.record,
            spawn=lambda work, name: self._tasks.create_task(work, name=name),
            tell=self._notice,
        )

    def _silence_watch(self) -> SilenceWatch:
        triggers = [escalation.trigger for escalation in self._brief.plan.escalations]
        return SilenceWatch(
            (trigger.seconds for trigger in triggers if isinstance(trigger, SilentFor)),
            since=lambda: None if self._line.is_on_hold else self._session.silent_since,
            clock=self._services.clock,
            tell=self._notice,
        )

    def _notice(self, fact: Fact) -> None:
        self.dispatch(FactNoticed(fact=fact))

    def _desk_links(self) -> DeskLinks:
        return DeskLinks(
            spawn=lambda work, name: self._tasks.create_task(work, name=name),
            dispatch=self.dispatch,
            press=lambda digit, duration_ms: self._line.press(digit, duration_ms, is_audible=False),
            is_silent=self._is_playout_over,
            may_speak=lambda: self._call.state is CallState.TALKING,
            leave=lambda mailbox, text, callback: self._steps.leave_message(
                self._brief.plan.mailboxes[mailbox], text, callback
            ),
            clock=self._services.clock,
        )
