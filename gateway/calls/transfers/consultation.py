"""Our own call to the contact of an attended transfer: it rings, is answered, and is given away or let go.

Its news reach the caller's call as `TargetProgressed`, `TargetAnswered`, `TargetRefused` and `TargetLeft`. Once the
contact has answered they hear what `whisper` is given, or silence, until the PBX has joined them with the caller, or
their audio is carried; their keys are `TargetPressed` as long.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gateway.calls import events as call_events
from gateway.calls.lines.keys import DtmfMode
from gateway.calls.lines.line import Line
from gateway.calls.services import CallServices
from gateway.calls.speaking.sounds import RATE_HZ
from gateway.calls.transfers.refusal import Refusal, refusal_of
from gateway.calls.transfers.whisper import Spoken
from gateway.errors import GatewayError, NegotiationError
from gateway.sip import events as sip_events
from gateway.sip.message import Uri
from gateway.sip.sdp import LocalMedia, SessionDescription
from gateway.transport.rtp_ports import RtpPort

WHISPER_ITEM = "whisper"
PAUSE = np.zeros(RATE_HZ // 4, np.int16)
"""After each sentence."""


class Consultation:
    """Owns the line to the contact. `open_media` gives its port, and what is offered there.

    Raises: `ResourceError` where there is no port or no leg left.
    """

    def __init__(
        self,
        services: CallServices,
        open_media: Callable[[], tuple[RtpPort, LocalMedia]],
        dispatch: Callable[[call_events.Event], None],
        dtmf: DtmfMode,
    ) -> None:
        self._services = services
        self._dispatch = dispatch
        self._joined: Line | None = None
        port, local = open_media()
        self.line = Line(services, port=port, local=local, sink=self, dtmf=dtmf)

    def call(self, trunk: str, target: Uri, display_name: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Call the contact; the name is what their telephone shows."""
        try:
            self.line.dial(trunk, target, self._hear, display_name=display_name, headers=headers)
        except BaseException:
            self.line.close()
            raise

    def whisper(self, spoken: Spoken) -> None:
        """Let the contact alone hear a sentence, behind what they are hearing."""
        if self.line.leg is not None and self._joined is None:
            self.line.formats = (self.line.formats[0], spoken.audio_format)
            self._services.media.engine.play(self.line.leg, WHISPER_ITEM, spoken.audio)
            self._services.media.engine.play_pcm(self.line.leg, WHISPER_ITEM, PAUSE)

    def end_whisper(self) -> None:
        """`WhisperEnded` follows when all of it has been heard."""
        if self.line.leg is not None:
            self._services.media.engine.end_item(self.line.leg, WHISPER_ITEM)

    def join(self, line: Line) -> None:
        """Let `line` hear the contact, and have their keys."""
        self._joined = line

    def release(self) -> None:
        """End it at whatever stage it is."""
        try:
            self.line.hang_up()
        finally:
            self.line.close()

    def on_audio(self, audio: bytes) -> None:
        """The contact's audio."""
        if self._joined is not None:
            self._joined.carry(audio)

    def on_digit(self, digit: str, duration_ms: int) -> None:
        """A key of the contact, in the media."""
        self._on_key(digit, duration_ms, is_signalled=False)

    def _on_key(self, digit: str, duration_ms: int, *, is_signalled: bool) -> None:
        """A key of the contact is the caller's once they are joined, and the transfer's before."""
        if not self.line.is_news(digit, duration_ms, is_signalled=is_signalled):
            return
        if self._joined is not None:
            self._joined.press(digit, duration_ms, is_audible=self.line.hears_tones and not is_signalled)
        else:
            self._dispatch(call_events.TargetPressed(digit=digit))

    def on_item_finished(self, item_id: str, _content_index: int) -> None:
        """What is carried has no end of its own."""
        if item_id == WHISPER_ITEM:
            self._dispatch(call_events.WhisperEnded())

    def _hear(self, event: sip_events.Event) -> None:
        """React to what the user agent reports of the leg."""
        agent, now = self._services.user_agent, self._services.clock()
        match event:
            case sip_events.CallProgressed(status=status):
                self._dispatch(call_events.TargetProgressed(status=status))
            case sip_events.CallAnswered(description=description):
                self._on_answered(description)
            case sip_events.CallRefused():
                self.line.has_ended = True
                self._dispatch(refused(event))
            case sip_events.CallEnded():
                self.line.has_ended = True
                self._dispatch(call_events.TargetLeft())
            case sip_events.DigitsSignalled(digit=digit, duration_ms=duration_ms):
                self._on_key(digit, duration_ms, is_signalled=True)
            case sip_events.OfferReceived(offer=offer):
                self.line.renegotiate(offer)
            case sip_events.TransferRequested():
                agent.reject_refer(event.leg_id, 603, now)
            case sip_events.CallOffered():
                agent.reject(event.leg_id, 486, now)
            case _:
                pass
        self._services.transmit()

    def _on_answered(self, description: SessionDescription | None) -> None:
        try:
            if description is None:
                raise NegotiationError("an answer without a description")
            self.line.take_answer(description)
        except GatewayError as error:
            news: call_events.Event = call_events.TargetRefused(refusal=Refusal.FAILED, status=488, reason=str(error))
        else:
            news = call_events.TargetAnswered()
        self.line.settle()
        self._dispatch(news)


def refused(event: sip_events.CallRefused) -> call_events.TargetRefused:
    """Why the contact could not be reached."""
    refusal = refusal_of(event.status, event.headers)
    return call_events.TargetRefused(refusal=refusal, status=event.status, reason=event.reason)
