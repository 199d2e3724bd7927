"""Somebody is about to take the caller's place: a second line, beside the first until it stands.

::

    INVITE with Replaces ──> answered here ──ACK──> takes over            a PBX has completed a transfer to us
    REFER by the peer ──> we call whom it names ──200──> takes over       the peer transfers us, if that is allowed
                              └──> NOTIFY 100, 180, 200 or the failure

The user agent ends a leg that was replaced; a peer that has referred us is hung up on when the new call stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import structlog

from gateway.calls.lines.line import Line
from gateway.calls.services import CallServices
from gateway.errors import GatewayError, StateError
from gateway.sip import events as sip_events
from gateway.sip.hop import Hop
from gateway.sip.message import Uri
from gateway.sip.sdp import LocalMedia, SessionDescription
from gateway.sip.uri import unescape
from gateway.transport.rtp_ports import RtpPort

_log = structlog.stdlib.get_logger("gateway.calls")


class Succession:
    """The change of one call from its line to another.

    `hear` is who listens to the new leg's news, and gives them to `hears`; `take_over` gets the line that stands, with
    the peer's answer if one came only now; `lose` is told that the call has nobody left. `open_media` gives a
    port and what to offer or answer there, for signalling that goes by a hop (None: the trunk's). `may_follow` is
    asked, last of all, whether whom a REFER names may be called.
    """

    def __init__(
        self,
        services: CallServices,
        *,
        trunk: str,
        may_follow: Callable[[Uri], bool],
        open_media: Callable[[Hop | None], tuple[RtpPort, LocalMedia]],
        hear: Callable[[sip_events.Event], None],
        take_over: Callable[[Line, SessionDescription | None], None],
        lose: Callable[[str], None],
    ) -> None:
        self._services = services
        self._trunk = trunk
        self._may_follow = may_follow
        self._open_media = open_media
        self._hear = hear
        self._take_over = take_over
        self._lose = lose
        self._line: Line | None = None
        self._referrer: Line | None = None  # of the peer who asked for it by REFER

    def offer(self, offered: sip_events.CallOffered, line: Line, *, is_free: bool) -> None:
        """A call that is to replace `line`; refused as busy unless `is_free`."""
        agent, now = self._services.user_agent, self._services.clock()
        if not is_free or self._line is not None or offered.trunk != self._trunk:
            agent.reject(offered.leg_id, 486, now)
            return
        try:
            self._line = line.succeeded_by(offered.leg_id, *self._open_media(offered.source))
            self._services.legs.enter(offered.leg_id, self._hear)
            self._line.answer(offered.offer)
        except GatewayError as error:
            _log.info("call not taken over", reason=str(error))
            self._give_up()
            agent.reject(offered.leg_id, error.sip_status, now)

    def follow(self, asked: sip_events.TransferRequested, line: Line, *, is_free: bool) -> None:
        """The peer of `line` asks us to call somebody in their place (RFC 3515); declined unless that is allowed."""
        agent, now = self._services.user_agent, self._services.clock()
        target = asked.refer_to.uri
        is_call = target.scheme == "sip" and (target.parameter("method") or "INVITE") == "INVITE"
        if not (is_call and is_free and self._line is None and self._may_follow(target)):
            agent.reject_refer(asked.leg_id, 603, now)
            return
        agent.accept_refer(asked.leg_id, now)
        self._referrer = line
        try:
            self._line = line.succeeded_by("", *self._open_media(None))
            self._line.dial(self._trunk, target, self._hear, headers=_replaces_of(target))
        except GatewayError as error:
            self._notify(error.sip_status, str(error))
            self._give_up()

    def hears(self, event: sip_events.Event) -> bool:
        """Whether `event` concerned the change, and was dealt with."""
        leg_id, line = getattr(event, "leg_id", None), self._line
        if isinstance(event, sip_events.CallEnded) and self._is_end_of_old_line(event):
            return True
        if line is None or leg_id != line.leg_id:
            return False
        match event:
            case sip_events.CallEstablished(description=answer):
                self._stand(line, answer)
            case sip_events.CallProgressed(status=status):
                self._notify(180 if status >= 180 else 100)
            case sip_events.CallAnswered(description=answer):
                self._notify(200)
                self._hang_up_referrer()
                self._stand(line, answer)
            case sip_events.CallRefused(status=status, reason=reason):
                self._fail(status, reason)
            case sip_events.OfferReceived(offer=offer):
                line.renegotiate(offer)
            case sip_events.CallEnded() | sip_events.CallCancelled():
                self._give_up()
                self._lose("replaced, and the other call failed")
        return True

    def release(self) -> None:
        """The call ends: so does whoever was about to join it. Safe to repeat."""
        if self._line is not None:
            self._line.hang_up()
        self._give_up()

    def _is_end_of_old_line(self, event: sip_events.CallEnded) -> bool:
        """Whether the old line has ended as a part of the change.

        A peer that has referred us may hang up before the new call is answered (RFC 3515 4.1); the call waits for it.
        """
        if self._referrer is not None and event.leg_id == self._referrer.leg_id:
            return self._line is not None
        return event.cause is sip_events.EndCause.REPLACED

    def _stand(self, line: Line, answer: SessionDescription | None) -> None:
        self._line = self._referrer = None
        self._take_over(line, answer)

    def _fail(self, status: int, reason: str) -> None:
        """Nobody came: the referrer is told, and stays, if they are still there."""
        is_told = self._notify(status, reason)
        self._give_up()
        if not is_told:
            self._lose("transferred, and the new call failed")

    def _notify(self, status: int, reason: str | None = None) -> bool:
        """Report to the referrer; False if there is none any more."""
        if self._referrer is None:
            return False
        try:
            self._services.user_agent.notify_transfer(self._referrer.leg_id, status, reason, self._services.clock())
        except StateError:
            return False
        return True

    def _hang_up_referrer(self) -> None:
        if self._referrer is not None:
            with contextlib.suppress(StateError):
                self._referrer.hang_up()

    def _give_up(self) -> None:
        line, self._line, self._referrer = self._line, None, None
        if line is not None:
            line.close()


def has_replaces(target: Uri) -> bool:
    """Whether a call to `target` would join one that is there already."""
    return bool(_replaces_of(target))


def _replaces_of(target: Uri) -> tuple[tuple[str, str], ...]:
    """The Replaces header that `target` asks for in the INVITE made of it (RFC 3891 6.1, RFC 3261 19.1.5)."""
    fields = (field.partition("=") for field in target.headers.split("&"))
    return tuple(("Replaces", unescape(value)) for name, _, value in fields if unescape(name).lower() == "replaces")
