"""One telephone line of a call: its SIP leg, its RTP port, and the media that both sides agreed on.

::

    dial, answer, renegotiate ──offer and answer (RFC 3264)──> AudioStream ──> media leg, opened once and bent later

A call has one line to the caller. While it is transferred with attendance it has a second one, to the contact.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gateway.calls.lines.keys import DtmfMode, PressedKeys
from gateway.calls.lines.media_watch import Observation
from gateway.calls.services import CallServices
from gateway.errors import NegotiationError, ResourceError, StateError
from gateway.media.codec import PCMA, PCMU, SAMPLES_PER_MS, AudioFormat, payload_format
from gateway.media.engine import LegOptions, LegStatistics
from gateway.sip import events as sip_events
from gateway.sip.message import Uri
from gateway.sip.sdp import AudioStream, Direction, LocalMedia, SessionDescription, accept_answer, make_offer, negotiate
from gateway.transport.media_loop import MediaSink
from gateway.transport.rtp_ports import RtpPort

CARRIED_ITEM = "carried"
LEAD_MS = 40
"""Silence before what another line brings, wherever that begins or has run dry, and a packet of the peer's more: so
late may the next audio be, and is still heard without a gap."""
STEADY_SHARE = 0.8
MIN_STEADY_MS = 1000
MAX_CARRIED_MS = 200.0
"""Audio of another line that may wait here; beyond, it is dropped rather than heard late."""
KEPT_CARRIED_MS = 100.0
"""Of that, what is worth its delay: a lead, and 40 ms for the faults of a network."""
CARRIED_REVIEW_MS = 8000.0
QUIET_LEVEL = 500
"""Of 32768: audio below is left out unheard."""
MIN_KEY_MS, MAX_KEY_MS, KEY_GAP_MS = 40, 1000, 60
MAX_PRESSING_S = 5.0
"""Keys of another line that may wait here."""
_LAWS = {PCMU.name: AudioFormat.PCMU, PCMA.name: AudioFormat.PCMA}


class Line:
    """Owns `port` and what is opened on it. `sink` gets the audio and keys of whoever is at the other end."""

    def __init__(
        self,
        services: CallServices,
        *,
        port: RtpPort,
        local: LocalMedia,
        sink: MediaSink,
        leg_id: str = "",
        dtmf: DtmfMode = DtmfMode.AUTO,
    ) -> None:
        self._services = services
        self._port = port
        self._local = local
        self._sink = sink
        self._offered: SessionDescription | None = None  # our offer that waits for the peer's answer
        self._opened_s = 0.0  # the media leg
        self._listening_since_s = 0.0  # when the peer was last agreed to be sending
        self._pressing_until_s = 0.0  # when the last key that was passed on will have been released
        self._pressed = PressedKeys()
        self._reviewed_ms = 0.0  # carried since it was last reviewed how much waits
        self._least_waiting_ms = math.inf  # since then
        self._spare_ms = 0.0  # what waited all the time without need
        self._formats = (AudioFormat.PCM16_8K, AudioFormat.PCM16_8K)
        self.dtmf = dtmf
        """How keys are sent."""
        self.leg_id = leg_id
        """The SIP leg; "" before `dial`."""
        self.has_ended = False
        """Whether the user agent has told the end of the SIP leg, which it forgets some time after."""
        self.leg: int | None = None
        """The media leg; None until both sides agreed, and after `close`."""
        self.stream: AudioStream | None = None

    # Signalling.

    def dial(
        self,
        trunk: str,
        target: Uri,
        hear: Callable[[sip_events.Event], None],
        *,
        call_id: str | None = None,
        display_name: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Call `target`; `hear` is told what becomes of it."""
        services, self._offered = self._services, make_offer(self._local)
        self.leg_id = services.user_agent.invite(
            trunk,
            target,
            offer=self._offered,
            call_id=call_id,
            display_name=display_name,
            headers=headers,
            now=services.clock(),
        )
        services.legs.enter(self.leg_id, hear)

    def answer(self, offer: SessionDescription | None) -> None:
        """200 OK with our answer; where the INVITE brought no offer, with ours (RFC 3261 13.2.1)."""
        description = self._describe(offer)
        self._services.user_agent.answer(self.leg_id, description, self._services.clock())

    def take_answer(self, answer: SessionDescription) -> None:
        """The peer's answer to our offer. Of early ones each takes the place of the one before.

        Raises: `NegotiationError` where it does not belong to the offer.
        """
        if self._offered is not None:
            self._agree(accept_answer(self._offered, answer))

    def settle(self) -> None:
        """Nothing is awaited of the offer any more."""
        self._offered = None

    def renegotiate(self, offer: SessionDescription | None) -> None:
        """A re-INVITE or UPDATE: hold, resume, a new address or key, or only a refresh (RFC 3264 8)."""
        agent, now = self._services.user_agent, self._services.clock()
        terms = self._local.srtp.renew(self.stream.srtp if self.stream else None, secrets.token_bytes)
        self._local = replace(self._local, version=self._local.version + 1, srtp=terms)
        try:
            description = self._describe(offer)
        except NegotiationError:
            agent.reject_offer(self.leg_id, 488, now)
        else:
            agent.accept_offer(self.leg_id, description, now)

    def hang_up(self, reason: str | None = None) -> None:
        """BYE, CANCEL or 480, whatever the stage; nothing if nobody was called, or the leg is known to have ended."""
        if self.leg_id and not self.has_ended:
            self._services.user_agent.bye(self.leg_id, self._services.clock(), reason=reason)

    def _describe(self, offer: SessionDescription | None) -> SessionDescription:
        if offer is None:
            self._offered = make_offer(self._local)
            return self._offered
        description, stream = negotiate(offer, self._local)
        self._agree(stream)
        return description

    def succeeded_by(self, leg_id: str, port: RtpPort, local: LocalMedia) -> Line:
        """A line for the leg that takes this one's place, which owns `port`."""
        line = Line(self._services, port=port, local=local, sink=self._sink, leg_id=leg_id, dtmf=self.dtmf)
        line.formats = self._formats
        return line

    # Media.

    @property
    def is_wideband(self) -> bool:
        """Whether the peer is spoken to in more than the telephone band."""
        return self.stream is not None and payload_format(self.stream.codec.name).is_wideband

    @property
    def formats(self) -> tuple[AudioFormat, AudioFormat]:
        """What the sink is given, and what is played."""
        return self._formats

    @formats.setter
    def formats(self, formats: tuple[AudioFormat, AudioFormat]) -> None:
        is_new, self._formats = formats != self._formats, formats
        if is_new and self.leg is not None and self.stream is not None:
            self._services.media.change_leg(self.leg, self.stream.remote, self._options(self.stream))

    def law(self, offer: SessionDescription | None) -> AudioFormat:
        """The law of G.711 that is spoken here, or will be where both sides go by `offer`; by our taste until then."""
        agreed = self.stream or self._foreseen(offer)
        names = (agreed.codec.name.upper(), *self._local.codecs) if agreed else self._local.codecs
        return next((_LAWS[name] for name in names if name in _LAWS), AudioFormat.PCMU)

    def _foreseen(self, offer: SessionDescription | None) -> AudioStream | None:
        if offer is None:
            return None
        try:
            return negotiate(offer, self._local)[1]
        except NegotiationError:
            return None

    def _agree(self, stream: AudioStream) -> None:
        """Open the media leg as agreed with the peer, or bend the one that is open."""
        media = self._services.media
        self.stream = stream
        self.listen_anew()
        if self.leg is None:
            self._opened_s = self._services.clock()
            self.leg = media.open_leg(self._port, stream.remote, self._options(stream), self._sink)
        else:
            media.change_leg(self.leg, stream.remote, self._options(stream))
        media.secure_leg(self.leg, stream.srtp)
        media.direct_reports(self.leg, stream.rtcp)
        media.engine.set_direction(self.leg, send=stream.direction.sends, receive=stream.direction.receives)

    def _options(self, stream: AudioStream) -> LegOptions:
        uplink, downlink = self._formats
        events = stream.receive_telephone_event_payload_type
        return LegOptions(
            payload_type=stream.codec.payload_type,
            format=stream.codec.name,
            telephone_event_payload_type=stream.telephone_event_payload_type,
            receive_telephone_event_payload_types=() if events is None else (events,),
            hears_tones=self.hears_tones,
            receive_payload_types=tuple((codec.payload_type, codec.name) for codec in stream.receive_codecs),
            uplink=uplink,
            downlink=downlink,
            ptime_ms=stream.ptime_ms,
        )

    def carry(self, audio: bytes) -> None:
        """Let the peer hear 20 ms of another line, in this one's downlink format."""
        if self.leg is None or self._services.clock() < self._pressing_until_s:
            return  # a key is heard instead; what waited for its end would be late from then on
        engine = self._services.media.engine
        queued_ms = engine.queued_ms(self.leg)
        if engine.is_silent(self.leg):  # what the other line brings is not even, and it has to be played evenly
            lead_ms = LEAD_MS + engine.frame_ms(self.leg)
            engine.play_pcm(self.leg, CARRIED_ITEM, np.zeros(lead_ms * SAMPLES_PER_MS, np.int16))
        if queued_ms < MAX_CARRIED_MS and not self._is_left_out(audio, queued_ms):
            engine.play(self.leg, CARRIED_ITEM, audio)

    def _is_left_out(self, audio: bytes, queued_ms: float) -> bool:
        """Whether audio of another line is quiet, and more waits here than has been of use: a stall left it behind."""
        length_ms = len(audio) / self._formats[1].bytes_per_ms
        self._reviewed_ms += length_ms
        self._least_waiting_ms = min(self._least_waiting_ms, queued_ms)
        if self._reviewed_ms >= CARRIED_REVIEW_MS:
            self._spare_ms = self._least_waiting_ms - KEPT_CARRIED_MS
            self._reviewed_ms, self._least_waiting_ms = 0.0, math.inf
        if self._spare_ms < length_ms or np.abs(np.frombuffer(audio, "<i2").astype(np.int32)).max() >= QUIET_LEVEL:
            return False
        self._spare_ms -= length_ms
        return True

    @property
    def hears_tones(self) -> bool:
        """Whether the peer's keys are tones in its audio."""
        has_events = self.stream is not None and self.stream.telephone_event_payload_type is not None
        return self.dtmf.takes_tones and not has_events

    def is_news(self, digit: str, duration_ms: int, *, is_signalled: bool) -> bool:
        """Whether a key of the peer was not told already in the other way; `is_signalled`: it came by INFO."""
        now = self._services.clock()
        return not self._pressed.is_copy(digit, duration_ms, is_signalled=is_signalled, now=now)

    def press(self, digit: str, duration_ms: int, *, is_audible: bool) -> bool:
        """Press a key towards the peer; tells whether that is done.

        `is_audible`: it is another line's, and its tones were in the audio that is carried. Keys that come faster than
        they can be pressed are dropped, and so are those to a peer who is leaving.
        """
        now = self._services.clock()
        if self.leg is None or self.stream is None or self._pressing_until_s - now > MAX_PRESSING_S:
            return False
        duration_ms = min(max(duration_ms, MIN_KEY_MS), MAX_KEY_MS)
        has_events = self.stream.telephone_event_payload_type is not None
        if self.dtmf is DtmfMode.INFO:
            with contextlib.suppress(StateError, ResourceError):
                self._services.user_agent.send_digit(self.leg_id, digit, duration_ms, now)
                return True
            return False
        if has_events or (self.dtmf.takes_tones and not is_audible):
            self._pressing_until_s = max(self._pressing_until_s, now) + (duration_ms + KEY_GAP_MS) / 1000
            self._services.media.engine.send_digits(self.leg, digit, duration_ms=duration_ms, gap_ms=KEY_GAP_MS)
            return True
        return is_audible

    def flush(self) -> None:
        """Drop what is queued for the peer."""
        if self.leg is not None:
            self._services.media.engine.flush(self.leg)

    def listen_anew(self) -> None:
        """The peer's silence counts from now."""
        self._listening_since_s = self._services.clock()

    def observe(self) -> Observation | None:
        """What there is of a peer that should be sending; None where it need not: on hold, whoever holds."""
        if self.leg is None or self.stream is None or self.stream.direction is not Direction.SENDRECV:
            return None
        signs = self._services.media.signs(self.leg)
        return Observation(
            expected_since_s=self._listening_since_s,
            last_received_s=signs.last_received_s,
            last_report_s=signs.last_report_s,
            has_sound=signs.has_sound,
            unheard_reports=signs.unheard_reports,
            icmp_errors=self._port.counters.icmp_errors,
        )

    @property
    def is_on_hold(self) -> bool:
        """Whether one side has put the other on hold."""
        return self.stream is not None and self.stream.direction is not Direction.SENDRECV

    def silent_s(self) -> float:
        """How long nothing has come from a peer that should be sending; 0 on hold."""
        seen = self.observe()
        if seen is None:
            return 0.0
        return self._services.clock() - max(seen.last_received_s or 0.0, seen.expected_since_s)

    @property
    def last_heard_s(self) -> float | None:
        """When something came from the peer last; None: nothing yet, or none is expected, as on hold."""
        seen = self.observe()
        return None if seen is None else seen.last_received_s

    def patience_left_s(self, expected_since_s: float | None = None) -> float:
        """How long until a peer that sends nothing counts as gone; without end on hold.

        It has been expected since `expected_since_s` at the earliest.
        """
        seen, services = self.observe(), self._services
        if seen is None:
            return math.inf
        signs = [seen.expected_since_s, expected_since_s, seen.last_received_s]
        if services.reports_are_life:
            signs.append(seen.last_report_s)
        patience_s = services.media_start_timeout_s if seen.last_received_s is None else services.media_timeout_s
        return patience_s - (services.clock() - max(sign for sign in signs if sign is not None))

    @property
    def is_steady(self) -> bool:
        """Whether the peer has been sending without pauses so far, so that its silence would mean something."""
        if self.leg is None or self.stream is None:
            return False
        elapsed_ms = 1000 * (self._services.clock() - self._opened_s)
        received = self._services.media.statistics(self.leg).packets_received
        return elapsed_ms >= MIN_STEADY_MS and received * self.stream.ptime_ms >= STEADY_SHARE * elapsed_ms

    def close(self) -> LegStatistics | None:
        """Give media leg and port back, and hear no more; the leg's final figures. Safe to repeat."""
        statistics = None
        if self.leg is not None:
            leg, self.leg = self.leg, None
            statistics = self._services.media.statistics(leg)
            self._services.media.close_leg(leg)
        self._services.media.ports.close(self._port, self._services.clock())
        self._services.legs.strike(self.leg_id)
        return statistics
