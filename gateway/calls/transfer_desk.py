"""Carries out what a `Transfer` decides: REFER, our call to the contact, the ring-back tone meanwhile.

::

    Transfer ──Refer──────────> REFER on the caller's line                                blind
             ──CallTarget─────> Consultation: INVITE ──TargetAnswered──> Transfer         attended
             ──HandOver───────> REFER on the caller's line, Replaces: the consultation
             ──JoinTarget─────> caller's line <──audio──> consultation
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TypeAlias

from gateway.calls import events as call_events
from gateway.calls.consultation import Consultation
from gateway.calls.line import Line
from gateway.calls.refusal import Refusal
from gateway.calls.services import CallServices
from gateway.calls.sounds import RINGING
from gateway.dialplan.targets import DialTarget
from gateway.errors import ResourceError, StateError
from gateway.media.codec import AudioFormat
from gateway.sip.message import Uri
from gateway.sip.sdp import LocalMedia
from gateway.transport.rtp_ports import RtpPort

RINGING_ITEM = "ringing"
LOST_CALLER_S = 3.0
STRAGGLERS_S = 0.5
"""Packets that come so long after a failed transfer's report do not prove that the caller is still here."""
CARRIED, CARRIED_WIDEBAND = AudioFormat.PCM16_8K, AudioFormat.PCM16_16K
"""The format in which audio goes from one line to the other; the second where both are wideband."""

TransferCommand: TypeAlias = (
    call_events.Refer
    | call_events.CallTarget
    | call_events.PlayRinging
    | call_events.HandOver
    | call_events.JoinTarget
    | call_events.ReleaseTarget
)


class TransferDesk:
    """Owns the consultation of one call. `line` is the caller's.

    `referral_host` (host[:port]) is put behind the extensions that targets name; `who` is what the contact's telephone
    shows; `open_media` gives a port and what to offer there.
    """

    def __init__(
        self,
        services: CallServices,
        line: Line,
        dispatch: Callable[[call_events.Event], None],
        *,
        trunk: str,
        referral_host: str,
        who: str,
        open_media: Callable[[], tuple[RtpPort, LocalMedia]],
    ) -> None:
        self._services = services
        self._dispatch = dispatch
        self._trunk = trunk
        self._referral_host = referral_host
        self._who = who
        self._open_media = open_media
        self._consultation: Consultation | None = None
        self._is_joined = False
        self._is_ringing = False  # the caller hears a ring-back tone
        self._was_steady = False  # the caller sent without pauses before the PBX was asked to move them
        self._caller_watch: asyncio.TimerHandle | None = None
        self.line = line

    def do(self, command: TransferCommand) -> None:
        """Do it. Raises: `ResourceError` and `StateError`, as the user agent and the ports do."""
        match command:
            case call_events.Refer(target=target):
                self._stop_watching()
                self._was_steady = self.line.is_steady
                self._refer(self._uri(target))
            case call_events.CallTarget(target=target):
                self._stop_watching()
                self._call(target)
            case call_events.PlayRinging(is_on=is_on):
                self._play_ringing(is_on=is_on)
            case call_events.HandOver(target=target):
                self._hand_over(target)
            case call_events.JoinTarget():
                self._join()
            case call_events.ReleaseTarget():
                self.release()

    def release(self) -> None:
        """End our call to the contact; safe to repeat."""
        self._stop_watching()
        consultation, self._consultation = self._consultation, None
        self._is_joined = False
        if consultation is not None:
            consultation.release()

    def _stop_watching(self) -> None:
        self._was_steady = False
        if self._caller_watch is not None:
            self._caller_watch.cancel()

    def on_reported(self, *, has_failed: bool) -> None:
        """The PBX has told of its REFER. After a failure look whether it has left us the caller.

        Asterisk has not where it reports 486 or 503 (but where it reports 404): it hangs up on the caller, keeps our
        call open without sending anything more, and says nothing about it.
        """
        self.line.listen_anew()
        if has_failed and self._was_steady:
            loop = asyncio.get_running_loop()
            self._caller_watch = loop.call_later(LOST_CALLER_S, self._look_for_caller)

    def _look_for_caller(self) -> None:
        if self.line.silent_s() > LOST_CALLER_S - STRAGGLERS_S:
            self._dispatch(call_events.MediaLost(cause="the PBX kept the caller of a transfer that failed"))

    def patience_left_s(self) -> float:
        """How long until a contact whose audio we carry, and who sends nothing, counts as gone."""
        return self._consultation.line.patience_left_s() if self._is_joined and self._consultation else math.inf

    def on_audio(self, audio: bytes) -> None:
        """The caller's audio: the contact's, once both are joined here."""
        if self._is_joined and self._consultation is not None:
            self._consultation.line.carry(audio)

    def on_digit(self, digit: str, duration_ms: int, *, is_audible: bool) -> None:
        """A key of the caller: the contact's, likewise. `is_audible`: its tones are in the caller's audio."""
        if self._is_joined and self._consultation is not None:
            self._consultation.line.press(digit, duration_ms, is_audible=is_audible)

    def on_ringing_played(self) -> None:
        """One cadence of the ring-back tone is over."""
        if self._is_ringing:
            self._play_ringing(is_on=True)

    def _uri(self, target: DialTarget) -> Uri:
        return Uri.parse(target.uri(self._referral_host))

    def _call(self, target: DialTarget) -> None:
        """Call the contact; without a port or leg to spare, that is as if they could not be reached."""
        try:
            self._consultation = Consultation(self._services, self._open_media, self._dispatch, self.line.dtmf)
            self._consultation.call(self._trunk, self._uri(target), self._who)
        except ResourceError as error:
            self._consultation = None
            refusal = call_events.TargetRefused(refusal=Refusal.FAILED, status=error.sip_status, reason=str(error))
            self._dispatch(refusal)

    def _refer(self, refer_to: Uri) -> None:
        try:
            self._services.user_agent.refer(self.line.leg_id, refer_to, self._services.clock())
        except StateError as error:  # the caller hung up a moment ago; the news of it waits behind this command
            self._dispatch(call_events.TransferReported(status=481, reason=str(error), is_final=True))

    def _hand_over(self, target: DialTarget) -> None:
        """REFER the caller to the contact in our place (RFC 3891, RFC 5589 7)."""
        try:
            if self._consultation is None:
                raise StateError("nobody was called")
            replaces = self._services.user_agent.replaces_value(self._consultation.line.leg_id)
        except StateError:  # hung up a moment ago; the news of it waits behind this command
            self._dispatch(call_events.TargetLeft())
            self._dispatch(call_events.TransferReported(status=410, reason="the contact hung up", is_final=True))
            return
        self._refer(self._uri(target).with_header("Replaces", replaces))

    def _join(self) -> None:
        """Carry the audio between caller and contact."""
        if self._consultation is None:
            raise StateError("nobody was called")
        self.line.flush()
        lines = (self.line, self._consultation.line)
        carried = CARRIED_WIDEBAND if all(line.is_wideband for line in lines) else CARRIED
        for line in lines:
            line.formats = (carried, carried)
        self._consultation.join(self.line)
        self._is_joined = True

    def _play_ringing(self, *, is_on: bool) -> None:
        if self._is_ringing and not is_on:
            self.line.flush()
        self._is_ringing = is_on
        if is_on and self.line.leg is not None:
            self._services.media.engine.play_pcm(self.line.leg, RINGING_ITEM, RINGING)
            self._services.media.engine.end_item(self.line.leg, RINGING_ITEM)
