"""The line to whoever the call is with: its signalling, the media both agreed on, and the line that takes its place.

::

    CallManager ──sip event──> on_signalling ─┬─> Succession   of a line that is to take this one's place
                                              └─> dispatch     as an event of the call
    CallTask ──command──> do ──> UserAgent                     ring, answer, dial, reject, hang up
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.calls import events as call_events
from gateway.calls.brief import CallBrief, Placement
from gateway.calls.call_state import CallState
from gateway.calls.events.line import LineCommand
from gateway.calls.lines.line import Line
from gateway.calls.lines.succession import Succession, has_replaces
from gateway.calls.record import CallRecord
from gateway.calls.services import CallServices
from gateway.calls.transfers.refusal import Refusal, refusal_of
from gateway.errors import GatewayError, shown
from gateway.sip import events as sip_events
from gateway.sip.message import Uri
from gateway.sip.sdp import SessionDescription
from gateway.transport.media_loop import MediaSink

REPLACEABLE = (CallState.CONSENTING, CallState.TALKING, CallState.ACTING)
"""States in which somebody else may take the caller's place."""
_log = structlog.stdlib.get_logger("gateway.calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLinks:
    """What the line needs of the call. `sink` gets the caller's audio and the keys in it."""

    sink: MediaSink
    state: Callable[[], CallState]
    dispatch: Callable[[call_events.Event], None]
    begin: Callable[[], None]  # both hear each other for the first time
    take_over: Callable[[Line, SessionDescription | None], None]  # another line stands
    on_key: Callable[[str, int], None]  # by signalling; how long, in ms
    on_transfer_news: Callable[[sip_events.TransferProgressed], None]  # before the call hears of it


class CallerLine:
    """Owns the line of one call, and the one that is about to take its place."""

    def __init__(self, services: CallServices, brief: CallBrief, record: CallRecord, links: CallerLinks) -> None:
        self._services = services
        self._brief = brief
        self._record = record
        self._links = links
        self._referrals = 0  # REFERs of the peer that were followed
        self._log = _log.bind(call_id=brief.start.call_id)
        leg_id = "" if brief.offered is None else brief.offered.leg_id
        self.line = Line(services, port=brief.port, local=brief.local, sink=links.sink, leg_id=leg_id, dtmf=brief.dtmf)
        """The one at present."""
        self._succession = Succession(
            services,
            trunk=brief.start.trunk,
            may_follow=self._may_follow,
            open_media=brief.further_media,
            hear=self.on_signalling,
            take_over=links.take_over,
            lose=self._lose,
        )

    # What the call decided.

    def do(self, command: LineCommand) -> None:
        """Do it. Raises: `NegotiationError`, `ResourceError` and `StateError`, as the user agent and the ports do."""
        agent, now = self._services.user_agent, self._services.clock()
        match command:
            case call_events.Ring():
                agent.progress(self.line.leg_id, 180, now)
            case call_events.Answer():
                self._answer(now)
            case call_events.Dial():
                self._dial()
            case call_events.Reject(status=status, reason=reason, retry_after_s=retry_after_s):
                headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
                agent.reject(self.line.leg_id, status, now, reason=reason, headers=headers)
            case call_events.HangUp(reason=reason):
                self.line.hang_up(reason)

    def move(self, line: Line, answer: SessionDescription | None) -> int | None:
        """Go on with `line`, whose media leg it gives; None: there is no media, and the call ends.

        What the old one has not been sent yet is lost.
        """
        self.line.close()
        self.line = line
        if not self._take_answer(answer):
            return None
        if line.leg is None:
            self._fail_media("an answer without media")
            return None
        self._note_media()
        self._log.info("call taken over", leg=line.leg_id)
        return line.leg

    def release(self) -> None:
        """The call is over: so is what was about to take the line's place. The line itself has its owner's `close`."""
        self._succession.release()

    def _answer(self, now: float) -> None:
        assert self._brief.offered is not None  # noqa: S101 - only such calls are answered
        self.line.answer(self._brief.offered.offer)
        self._note_media()
        self._record.answered_s = now

    def _dial(self) -> None:
        start = self._brief.start
        assert isinstance(start, Placement)  # noqa: S101 - only such calls are dialled
        self.line.dial(start.trunk, start.target, self.on_signalling, call_id=start.call_id)

    # News from the telephone, by CallManager.

    def on_signalling(self, event: sip_events.Event) -> None:
        """React to what the user agent reports of this call's leg, or of one that is to take its place."""
        is_free = self._links.state() in REPLACEABLE
        if isinstance(event, sip_events.CallOffered):
            self._succession.offer(event, self.line, is_free=is_free)
        elif isinstance(event, sip_events.TransferRequested):
            self._succession.follow(event, self.line, is_free=is_free)
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
                self._lose("cancelled")
            case sip_events.CallEnded(cause=cause):
                self._lose(cause.value)
            case sip_events.CallEstablished():
                self._on_established(event.description)
            case sip_events.CallProgressed():
                self._on_progressed(event)
            case sip_events.CallAnswered():
                self._on_answered(event.description)
            case sip_events.CallRefused():
                refusal = refusal_of(event.status, event.headers)
                self._tell(call_events.Refused(refusal=refusal, status=event.status, reason=event.reason))
            case sip_events.OfferReceived():
                self.line.renegotiate(event.offer)
                self._note_media()
            case sip_events.TransferProgressed():
                self._on_transfer_progressed(event)
            case sip_events.DigitsSignalled():
                self._links.on_key(event.digit, event.duration_ms)
            case sip_events.DigitRefused():
                self._log.info("key not taken", status=event.status)
            case sip_events.IdentityChanged():
                self._note_party(event.uri)
            case _:
                self._log.debug("! unexpected news", news=type(event).__name__)

    def _tell(self, event: call_events.Event) -> None:
        self._links.dispatch(event)

    def _lose(self, cause: str) -> None:
        self._tell(call_events.CallerLeft(cause=cause))

    def _on_transfer_progressed(self, event: sip_events.TransferProgressed) -> None:
        self._links.on_transfer_news(event)
        self._tell(
            call_events.TransferReported(
                status=event.status, reason=event.reason, is_final=event.is_final, is_notified=event.is_notified
            )
        )

    def _note_party(self, uri: Uri) -> None:
        """Remember who is at the other end now. It is for people: the model is told nothing that a message claims."""
        self._record.connected = shown(uri.unescaped_user or "")
        self._services.observer.party_changed(self._record)

    def _on_established(self, answer: SessionDescription | None) -> None:
        """The ACK; on a delayed offer it brings the peer's answer."""
        if self._take_answer(answer) and self._record.established_s is None:
            self._links.begin()

    def _on_answered(self, answer: SessionDescription | None) -> None:
        """Whom we called has picked up."""
        if not self._take_answer(answer):
            return
        if self.line.stream is None:
            self._fail_media("an answer without media")
            return
        self._record.answered_s = self._services.clock()
        self._links.begin()

    def _on_progressed(self, event: sip_events.CallProgressed) -> None:
        """It rings. Of early media of several branches the last is heard (RFC 3261 13.2.1)."""
        if event.description is not None:
            try:
                self.line.take_answer(event.description)
            except GatewayError as error:
                self._log.info("early media not taken", error=str(error))
        if event.status >= 180:
            self._tell(call_events.Rang())

    # Media, as agreed.

    def _take_answer(self, answer: SessionDescription | None) -> bool:
        """Agree to the peer's answer to our offer, if it is one; without agreement the call ends."""
        try:
            if answer is not None:
                self.line.take_answer(answer)
                self._note_media()
        except GatewayError as error:
            self._fail_media(str(error))
            return False
        self.line.settle()
        return True

    def _fail_media(self, why: str) -> None:
        """There will be no audio between the two: the call ends, and nobody has hung up."""
        self.line.hang_up('SIP;cause=488;text="no common media"')
        if self._links.state() in (CallState.DIALLING, CallState.RINGING):
            self._tell(call_events.Refused(refusal=Refusal.FAILED, status=488, reason=why))
        else:
            self._tell(call_events.CommandFailed(reason=why))

    def _note_media(self) -> None:
        stream = self.line.stream
        if stream is not None:
            self._record.codec = stream.codec.name
            self._record.srtp = stream.srtp.suite if stream.srtp else None
