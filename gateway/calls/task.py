"""Carries one call out: asks `Call` what follows from each event and does it, with a real leg and a real session.

::

    telephone ──> CallManager ──┐
    media (digits, playout) ────┼──> dispatch(event) ──> Call.step ──> [Command] ──> _do ──> transmit
    session (speech, tools) ────┘                        audio itself goes by SessionBridge and never passes here

Events that arise while commands are carried out wait in a queue, so that a step is never entered twice. Everything the
call owns (port, leg, session, timers, tasks) is released in `run`, whatever ended it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from gateway.calls import events as call_events
from gateway.calls.bridge import SessionBridge
from gateway.calls.call import Call, CallState
from gateway.calls.greeting import GreetingCache
from gateway.calls.record import CallObserver, CallRecord
from gateway.calls.sounds import load_sound
from gateway.dialplan.model import CallFacts, Decision, Dialplan
from gateway.errors import GatewayError, NegotiationError
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions
from gateway.realtime.session import SessionOptions, Tool
from gateway.sip import events as sip_events
from gateway.sip.message import Uri
from gateway.sip.sdp import AudioStream, Direction, LocalMedia, SessionDescription, accept_answer, make_offer, negotiate
from gateway.sip.user_agent import UserAgent
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import RtpPort

FILE_ITEM = "file"
MEDIA_WATCH_S = 5.0
PLAYOUT_TAIL_S = 0.2
"""What the telephone's own jitter buffer may still hold when our last packet has left."""

_log = structlog.stdlib.get_logger("gateway.calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallServices:
    """What a call needs of the world; one for all calls of a process."""

    user_agent: UserAgent
    transmit: Callable[[], None]
    media: MediaLoop
    sessions: Mapping[str, SessionOptions]  # by the name dialplans use
    observer: CallObserver
    greetings: GreetingCache
    media_host: str  # address told in SDP
    max_call_s: float
    media_timeout_s: float
    clock: Callable[[], float]  # monotonic seconds, as user agent and media have them
    wall_clock: Callable[[], datetime]  # aware; for opening hours and records


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBrief:
    """What is known of a call when its task starts."""

    offered: sip_events.CallOffered
    facts: CallFacts
    plan: Dialplan
    decision: Decision
    port: RtpPort
    local: LocalMedia
    referral_host: str  # host[:port] put behind the extensions a transfer names


class CallTask:
    """One call, from the decision to the last packet."""

    def __init__(self, services: CallServices, brief: CallBrief) -> None:
        self._services = services
        self._brief = brief
        self._leg_id = brief.offered.leg_id
        self._call = Call(
            plan=brief.plan,
            actions=brief.decision.actions,
            max_call_s=services.max_call_s,
            on_state=self._log_state,
        )
        self._events: deque[call_events.Event] = deque()
        self._is_stepping = False
        self._ended = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._opening: asyncio.Task[None] | None = None
        self._timers: dict[call_events.TimerName, asyncio.TimerHandle] = {}
        self._bridge: SessionBridge | None = None
        self._session_options: SessionOptions | None = None
        self._local = brief.local
        self._offered: SessionDescription | None = None  # our offer that waits for the peer's answer
        self._leg: int | None = None
        self._stream: AudioStream | None = None
        self._is_awaiting_playout = False
        self._playout_tail: asyncio.TimerHandle | None = None
        self._media_watch: asyncio.TimerHandle | None = None
        self._listening_since_s = 0.0  # when the caller was last agreed to be sending
        self._log = _log.bind(call_id=brief.offered.call_id)
        self.record = CallRecord(
            call_id=brief.offered.call_id,
            trunk=brief.offered.trunk,
            caller=brief.facts.from_,
            called=brief.facts.to,
            route=brief.decision.route,
            started_at=services.wall_clock(),
            offered_s=services.clock(),
        )

    # Life.

    async def run(self) -> None:
        """Live until the call has ended and everything it owned is released."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._services.observer.call_started(self.record)
                self.dispatch(call_events.Started())
                await self._ended.wait()
                if self._opening is not None:
                    self._opening.cancel()
        finally:
            self._release()
            if self._bridge is not None:
                await self._bridge.close()
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
                break
            except Exception as error:  # noqa: BLE001 - a caller must never be left on a line that nobody holds
                self._log.exception("command failed", command=type(command).__name__)
                self._events.append(call_events.CommandFailed(reason=type(error).__name__))
                break
        if self._call.state is CallState.ENDED:
            self._finish()
        else:
            self._look_at_playout()

    def _finish(self) -> None:
        if self._ended.is_set():
            return
        notes = self._call.notes
        self.record.outcome, self.record.cause = notes.outcome, notes.cause
        self.record.session, self.record.transfer_target = notes.session, notes.transfer_target
        self.record.escalations = tuple(notes.escalations)
        self.record.ended_s = self._services.clock()
        self._release()
        self._ended.set()

    def _release(self) -> None:
        """Give leg, port and timers back; safe to repeat."""
        for timer in (*self._timers.values(), self._playout_tail, self._media_watch):
            if timer is not None:
                timer.cancel()
        self._timers.clear()
        if self._bridge is not None:
            self._bridge.abandon()
        if self._leg is not None:
            leg, self._leg = self._leg, None
            self.record.media = self._services.media.statistics(leg)
            self._services.media.close_leg(leg)
        self._services.media.ports.close(self._brief.port, self._services.clock())

    def _log_state(self, old: CallState, new: CallState) -> None:
        self._log.debug("= state", old=old.value, new=new.value)

    # What the call decided.

    def _do(self, command: call_events.Command) -> None:  # noqa: C901, PLR0912 - one line a command
        agent, now = self._services.user_agent, self._services.clock()
        match command:
            case call_events.Ring():
                agent.progress(self._leg_id, 180, now)
            case call_events.OpenSession(name=name):
                self._open_session(name)
            case call_events.Answer():
                self._answer(now)
            case call_events.Reject():
                self._reject(command, now)
            case call_events.Greet():
                self._greet()
            case call_events.BargeIn():
                self._barge_in()
            case call_events.BridgeAudio(is_open=is_open):
                if self._bridge is not None:
                    self._bridge.set_open(is_open=is_open)
            case call_events.AwaitPlayout():
                self._is_awaiting_playout = True
            case call_events.ReplyToTool():
                if self._bridge is not None:
                    self._bridge.reply_to_tool(command.call_id, command.output, respond=command.respond)
            case call_events.TellModel(text=text):
                if self._bridge is not None:
                    self._bridge.tell(text)
            case call_events.Play(file=file):
                self._play_file(file)
            case call_events.Refer(target=target):
                self._log.info("transferring", target=str(target))
                agent.refer(self._leg_id, Uri.parse(target.uri(self._brief.referral_host)), now)
            case call_events.HangUp(reason=reason):
                agent.bye(self._leg_id, now, reason=reason)
            case call_events.StartTimer(timer=timer, delay_s=delay_s):
                self._start_timer(timer, delay_s)
            case call_events.StopTimer(timer=timer):
                self._stop_timer(timer)

    def _reject(self, refusal: call_events.Reject, now: float) -> None:
        headers = () if refusal.retry_after_s is None else (("Retry-After", str(refusal.retry_after_s)),)
        self._services.user_agent.reject(self._leg_id, refusal.status, now, reason=refusal.reason, headers=headers)

    def _answer(self, now: float) -> None:
        """200 OK with our answer; where the INVITE brought no offer, with ours (RFC 3261 13.2.1)."""
        offer = self._brief.offered.offer
        if offer is None:
            description = self._offered = make_offer(self._local)
        else:
            description, stream = negotiate(offer, self._local)
            self._agree(stream)
        self._services.user_agent.answer(self._leg_id, description, now)
        self.record.answered_s = now

    def _start_timer(self, timer: call_events.TimerName, delay_s: float) -> None:
        self._stop_timer(timer)
        fired = call_events.TimerFired(timer=timer)
        self._timers[timer] = asyncio.get_running_loop().call_later(delay_s, self.dispatch, fired)

    def _stop_timer(self, timer: call_events.TimerName) -> None:
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    # News from the telephone, by CallManager.

    def on_signalling(self, event: sip_events.Event) -> None:
        """React to what the user agent reports of this call's leg."""
        match event:
            case sip_events.CallCancelled():
                self.dispatch(call_events.CallerLeft(cause="cancelled"))
            case sip_events.CallEnded():
                self.dispatch(call_events.CallerLeft(cause=event.cause.value))
            case sip_events.CallEstablished():
                self._on_established(event.description)
            case sip_events.OfferReceived():
                self._on_offer(event.offer)
            case sip_events.TransferProgressed():
                if event.is_final and event.status >= 300:
                    self._log.warning("transfer failed", status=event.status, reason=event.reason)
                self._listening_since_s = self._services.clock()
                self.dispatch(
                    call_events.TransferReported(status=event.status, reason=event.reason, is_final=event.is_final)
                )
            case sip_events.TransferRequested():
                self._services.user_agent.reject_refer(self._leg_id, 603, self._services.clock())
            case sip_events.DigitsSignalled():
                self.dispatch(call_events.DigitReceived(digit=event.digit))
            case _:
                self._log.debug("! unexpected news", news=type(event).__name__)
        self._services.transmit()

    def _on_established(self, answer: SessionDescription | None) -> None:
        """The ACK; on a delayed offer it brings the peer's answer."""
        if self._offered is not None and answer is not None:
            offered, self._offered = self._offered, None
            try:
                self._agree(accept_answer(offered, answer))
            except NegotiationError as error:
                self._services.user_agent.bye(self._leg_id, self._services.clock())
                self.dispatch(call_events.CallerLeft(cause=f"failed: {error}"))
                return
        if self.record.established_s is None:
            self.record.established_s = self._services.clock()
            self._watch_media()
            self.dispatch(call_events.Established())

    def _on_offer(self, offer: SessionDescription | None) -> None:
        """A re-INVITE or UPDATE: hold, resume, a new address or key, or only a refresh (RFC 3264 8)."""
        agent, now = self._services.user_agent, self._services.clock()
        terms = self._local.srtp.renew(self._stream.srtp if self._stream else None, secrets.token_bytes)
        self._local = replace(self._local, version=self._local.version + 1, srtp=terms)
        try:
            if offer is None:
                description = self._offered = make_offer(self._local)
            else:
                description, stream = negotiate(offer, self._local)
                self._agree(stream)
        except NegotiationError:
            agent.reject_offer(self._leg_id, 488, now)
        else:
            agent.accept_offer(self._leg_id, description, now)

    # Media.

    def _agree(self, stream: AudioStream) -> None:
        """Open the media leg as agreed with the peer, or bend the one that is open."""
        media = self._services.media
        self._stream = stream
        self._listening_since_s = self._services.clock()
        if self._leg is None:
            self._leg = media.open_leg(self._brief.port, stream.remote, self._leg_options(stream), self)
            self.record.codec = stream.codec.name
        else:
            media.change_leg(self._leg, stream.remote, self._leg_options(stream))
        media.secure_leg(self._leg, stream.srtp)
        self.record.srtp = stream.srtp.suite if stream.srtp else None
        media.engine.set_direction(self._leg, send=stream.direction.sends, receive=stream.direction.receives)

    def _leg_options(self, stream: AudioStream) -> LegOptions:
        options = self._session_options
        return LegOptions(
            payload_type=stream.codec.payload_type,
            format=stream.codec.name,
            telephone_event_payload_type=stream.telephone_event_payload_type,
            receive_payload_types=tuple((codec.payload_type, codec.name) for codec in stream.receive_codecs),
            uplink=options.input_format if options else AudioFormat.PCM16_24K,
            downlink=options.output_format if options else AudioFormat.PCM16_24K,
            ptime_ms=stream.ptime_ms,
        )

    def on_audio(self, audio: bytes) -> None:
        """The caller's audio, in the session's input format."""
        if self._bridge is not None:
            self._bridge.append_audio(audio)

    def on_digit(self, digit: str, _duration_ms: int) -> None:
        """A key, by RFC 4733."""
        self.dispatch(call_events.DigitReceived(digit=digit))

    def on_item_finished(self, item_id: str, _content_index: int) -> None:
        """An item's last sample has left for the telephone."""
        if self._bridge is not None:
            self._bridge.note_heard(item_id)
        self._look_at_playout()

    def _watch_media(self) -> None:
        """Look every few seconds whether the caller still sends; on hold they need not."""
        now = self._services.clock()
        if self._leg is not None and self._stream is not None and self._stream.direction is Direction.SENDRECV:
            heard_s = self._services.media.statistics(self._leg).last_received_s or 0.0
            if now - max(heard_s, self._listening_since_s) > self._services.media_timeout_s:
                self.dispatch(call_events.MediaLost())
        if not self._ended.is_set():
            self._media_watch = asyncio.get_running_loop().call_later(MEDIA_WATCH_S, self._watch_media)

    def _look_at_playout(self) -> None:
        """Tell the call, once, when nothing is left to be said and the telephone has had time to play it."""
        if self._is_awaiting_playout and self._is_playout_over():
            self._is_awaiting_playout = False
            self._playout_tail = asyncio.get_running_loop().call_later(PLAYOUT_TAIL_S, self._tell_playout_over)

    def _tell_playout_over(self) -> None:
        if self._is_playout_over():
            self.dispatch(call_events.PlayoutEnded())
        else:
            self._is_awaiting_playout = True

    def _is_playout_over(self) -> bool:
        if self._bridge is not None and not self._bridge.is_quiet:
            return False
        return self._leg is None or self._services.media.engine.queued_ms(self._leg) <= 0

    def _play_file(self, file: Path) -> None:
        """Queue a sound; `PlayoutEnded` follows when it has been heard."""
        if self._leg is None:
            return
        self._is_awaiting_playout = True
        self._services.media.engine.play_pcm(self._leg, FILE_ITEM, load_sound(file))
        self._services.media.engine.end_item(self._leg, FILE_ITEM)

    # The session.

    def _open_session(self, name: str) -> None:
        """Begin to connect; the telephone rings meanwhile. A session before this one is left."""
        self._leave_session()
        plan, at = self._brief.plan, self._services.wall_clock()
        session = plan.sessions[name]
        base = self._services.sessions[session.use]
        instructions = (base.instructions, plan.instructions(name, self._brief.facts))
        self._session_options = replace(
            base,
            instructions="\n\n".join(text for text in instructions if text),
            tools=tuple(
                Tool(name=tool.name, description=tool.description, parameters=tool.parameters)
                for tool in plan.tools(name, at)
            ),
        )
        self._bridge = SessionBridge(
            options=self._session_options,
            greeting=session.greeting,
            media=self._services.media,
            greetings=self._services.greetings,
            record=self.record,
            observer=self._services.observer,
            dispatch=self.dispatch,
            on_quiet=self._look_at_playout,
            clock=self._services.clock,
        )
        self._opening = self._tasks.create_task(self._bridge.open(), name=f"session {self._leg_id}")

    def _leave_session(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._bridge is not None:
            self._bridge.retire()
            self._barge_in()
            self._tasks.create_task(self._bridge.close(), name=f"leave session {self._leg_id}")

    def _greet(self) -> None:
        """Let the session be heard; a leg that was opened for another session speaks this one's format first."""
        if self._bridge is None or self._leg is None or self._stream is None:
            return
        self._services.media.change_leg(self._leg, self._stream.remote, self._leg_options(self._stream))
        self._bridge.start(self._leg)

    def _barge_in(self) -> None:
        if self._bridge is not None:
            self._bridge.barge_in()
        elif self._leg is not None:
            self._services.media.engine.flush(self._leg)
