"""A telephone without a person: places and takes calls over real SIP and RTP, speaks, listens, and follows a REFER.

One `Phone` is one SIP user agent with any number of calls. Its peers are named; a transfer is followed by calling the
peer whose extension the REFER names, as a telephone behind a PBX would. An `Exchange` decides otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from gateway.errors import NegotiationError
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.simulate.phone_call import PhoneCall
from gateway.simulate.stamped_ports import StampedPorts
from gateway.sip import events as sip_events
from gateway.sip.grammar import format_host
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address, Uri
from gateway.sip.sdes import SrtpPolicy, SrtpTerms
from gateway.sip.sdp import AudioStream, Direction, LocalMedia, SessionDescription, accept_answer, make_offer, negotiate
from gateway.sip.trunk import TrunkOptions
from gateway.sip.user_agent import UserAgent, UserAgentOptions
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import RtpPort, RtpPortOptions, RtpPorts
from gateway.transport.sip_endpoint import SipEndpoint

REOFFER_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneOptions:
    """One telephone."""

    host: str = "127.0.0.1"
    user: str = "phone"
    peers: Mapping[str, Address] = field(default_factory=dict)
    """Whom it may call and be called by: name (also the extension a transfer may name) to address."""
    rtp_ports: tuple[int, int] = (40000, 41999)
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    max_calls: int = 256
    srtp: SrtpPolicy = SrtpPolicy.OFF
    """Its keys are told over any transport."""
    is_stamped: bool = False
    """Notes when its words leave and when its peers are heard; it speaks and hears G.711 then."""
    answers: bool = False
    """Takes calls at once; otherwise they are refused as busy."""


class Exchange(Protocol):
    """Decides in a telephone's place what becomes of the calls and transfers that come to it."""

    def on_offered(self, phone: Phone, offered: sip_events.CallOffered) -> None:
        """A call comes: `Phone.ring`, `Phone.take` or `Phone.refuse` it, now or later."""

    def on_cancelled(self, leg_id: str) -> None:
        """A call that was not taken yet is gone."""

    def on_transfer(self, phone: Phone, call: PhoneCall, requested: sip_events.TransferRequested) -> None:
        """The peer wants the call to go to somebody else; it waits for `Phone.report`."""


class Phone:
    """A telephone: ``async with Phone(options) as phone: call = phone.dial("gateway", "7000")``."""

    def __init__(
        self, options: PhoneOptions, exchange: Exchange | None = None, *, address: Address | None = None
    ) -> None:
        """`address` is where it listens; None: anywhere at its host."""
        self._options = options
        self._exchange = exchange
        first, last = options.rtp_ports
        known = tuple(address.host for address in options.peers.values())
        port_options = RtpPortOptions(
            bind_host=options.host, first_port=first, last_port=last, quarantine_s=0, trusted_networks=known
        )
        ports = StampedPorts(port_options) if options.is_stamped else RtpPorts(port_options)
        self.media = MediaLoop(MediaEngine(MediaOptions(max_legs=options.max_calls)), ports)
        self.address = address or Address(options.host, free_sip_port(options.host))
        self.calls: dict[str, PhoneCall] = {}
        self.incoming: asyncio.Queue[PhoneCall] = asyncio.Queue()
        self._reports: set[asyncio.Future[None]] = set()
        user_agent_options = self._user_agent_options()
        self.user_agent = UserAgent(user_agent_options)
        self._endpoint = SipEndpoint(self.user_agent, user_agent_options.listeners, self._on_event)

    def _user_agent_options(self) -> UserAgentOptions:
        trunks = tuple(
            TrunkOptions(name=name, peer=Hop(*address), contact_user=self._options.user)
            for name, address in self._options.peers.items()
        )
        return UserAgentOptions(
            listeners=(Listener(transport=Transport.UDP, address=self.address, advertise=self.address),),
            trunks=trunks,
            calls_per_s=1000,
            call_burst=1000,
        )

    async def __aenter__(self) -> Self:
        self._endpoint.start()
        self.media.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        for call in list(self.calls.values()):
            call.hang_up()
        self.media.stop()
        self._endpoint.close()

    # Calls.

    def dial(
        self,
        peer: str,
        number: str,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        caller: str | None = None,
        display_name: str | None = None,
    ) -> PhoneCall:
        """Call `number` at the peer of that name; as `caller`, a number, or as the telephone's own user."""
        port = self.media.ports.open()
        terms = SrtpTerms.draw(self._options.srtp, secrets.token_bytes)
        address = self._options.peers[peer]
        target = Uri.parse(f"sip:{number}@{format_host(address.host)}:{address.port}")
        offer = make_offer(self._local_media(port, terms))
        leg_id = self.user_agent.invite(
            peer,
            target,
            offer=offer,
            from_user=self._options.user if caller is None else caller,
            display_name=display_name,
            headers=headers,
            now=time.monotonic(),
        )
        call = self.calls[leg_id] = PhoneCall(self.media, leg_id, port, self.hang_up)
        call.offer, call.srtp = offer, terms
        self._endpoint.transmit()
        return call

    def hang_up(self, call: PhoneCall) -> None:
        """End a call from our side; nothing when it has ended."""
        if not call.ended.is_set():
            self.user_agent.bye(call.leg_id, time.monotonic())
            self._endpoint.transmit()
            self._ended(call, by_peer=False)

    def ring(self, leg_id: str) -> None:
        """Tell whoever calls that it rings here."""
        self.user_agent.progress(leg_id, 180, time.monotonic())
        self._endpoint.transmit()

    def refuse(self, leg_id: str, status: int) -> None:
        """Refuse a call that was not taken yet."""
        self.user_agent.reject(leg_id, status, time.monotonic())
        self._endpoint.transmit()

    def take(self, offered: sip_events.CallOffered) -> PhoneCall | None:
        """Answer a call; None where there is no codec in common, which it is refused for."""
        now = time.monotonic()
        if offered.offer is None:
            self.user_agent.reject(offered.leg_id, 488, now)
            return None
        port = self.media.ports.open()
        call = self.calls[offered.leg_id] = PhoneCall(self.media, offered.leg_id, port, self.hang_up)
        call.srtp = SrtpTerms.draw(self._options.srtp, secrets.token_bytes)
        try:
            answer, stream = negotiate(offered.offer, self._local_media(port, call.srtp))
        except NegotiationError:
            self.user_agent.reject(offered.leg_id, 488, now)
            self._ended(call, by_peer=True)
            return None
        self._agree(call, stream)
        self.user_agent.answer(offered.leg_id, answer, now)
        self._endpoint.transmit()
        return call

    def report(self, call: PhoneCall, status: int, reason: str) -> None:
        """Tell the peer how the transfer that it asked for goes (RFC 3515); 200 or more is the last report."""
        if not call.ended.is_set():
            self.user_agent.notify_transfer(call.leg_id, status, reason, time.monotonic())
            self._endpoint.transmit()

    def press_by_info(self, call: PhoneCall, digits: str) -> None:
        """Press keys by SIP INFO; `PhoneCall.press` does it in the media."""
        for digit in digits:
            self.user_agent.send_digit(call.leg_id, digit, 100, time.monotonic())
        self._endpoint.transmit()

    def refer(self, call: PhoneCall, target: str) -> None:
        """Ask the peer to call somebody else (RFC 3515); what it says is `PhoneCall.refer_status`."""
        self.user_agent.refer(call.leg_id, Uri.parse(target), time.monotonic())
        self._endpoint.transmit()

    async def hold(self, call: PhoneCall) -> AudioStream:
        """Put the peer on hold by re-INVITE (RFC 3264 8.4); what it agreed to."""
        return await self._reoffer(call, Direction.SENDONLY)

    async def resume(self, call: PhoneCall) -> AudioStream:
        """Take the peer back."""
        return await self._reoffer(call, Direction.SENDRECV)

    async def rekey(self, call: PhoneCall) -> AudioStream:
        """Change our SRTP key by re-INVITE (RFC 4568 7.1.4); the peer's answer has a new one of its own."""
        return await self._reoffer(call, Direction.SENDRECV, keeps_key=False)

    async def _reoffer(self, call: PhoneCall, direction: Direction, *, keeps_key: bool = True) -> AudioStream:
        call.version += 1
        current = call.stream.srtp if call.stream and keeps_key else None
        call.srtp = call.srtp.renew(current, secrets.token_bytes)
        local = self._local_media(call.port, call.srtp)
        call.offer = make_offer(replace(local, version=call.version, direction=direction))
        call.reanswered.clear()
        self.user_agent.reoffer(call.leg_id, call.offer, time.monotonic())
        self._endpoint.transmit()
        async with asyncio.timeout(REOFFER_LIMIT_S):
            await call.reanswered.wait()
        assert call.stream is not None  # noqa: S101 - set with the event
        return call.stream

    def _on_reanswered(self, call: PhoneCall, answer: SessionDescription) -> None:
        if call.offer is not None:
            self._agree(call, accept_answer(call.offer, answer))
        call.reanswered.set()

    def _local_media(self, port: RtpPort, terms: SrtpTerms) -> LocalMedia:
        return LocalMedia(
            address=self._options.host,
            port=port.port,
            codecs=self._options.codecs,
            session_id=1,
            version=1,
            srtp=terms,
            rtcp=True,
        )

    # News.

    def _on_event(self, event: sip_events.Event) -> None:
        match event:
            case sip_events.CallOffered():
                self._on_offered(event)
            case sip_events.TransferRequested():
                self._on_transfer(event)
            case sip_events.RegistrationChanged() | sip_events.PeerChanged():
                pass
            case _:
                call = self.calls.get(event.leg_id)
                if call is not None:
                    self._on_call_event(call, event)
                elif self._exchange is not None and isinstance(event, sip_events.CallCancelled):
                    self._exchange.on_cancelled(event.leg_id)
        self._endpoint.transmit()

    def _on_call_event(self, call: PhoneCall, event: sip_events.Event) -> None:
        match event:
            case sip_events.DigitsSignalled(digit=digit, duration_ms=duration_ms):
                call.on_digit(digit, duration_ms)
            case sip_events.CallAnswered():
                self._on_answered(call, event.description)
            case sip_events.CallEstablished():
                call.answered_s = time.monotonic()
                call.answered.set()
            case sip_events.TransferProgressed(status=status):
                call.refer_status = status
            case sip_events.CallProgressed():
                call.rang = call.rang or event.status == 180
            case sip_events.OfferAnswered(description=SessionDescription() as answer):
                self._on_reanswered(call, answer)
            case sip_events.CallRefused():
                call.refused, call.refusal_headers = event.status, event.headers
                self._ended(call, by_peer=True)
            case sip_events.CallEnded() | sip_events.CallCancelled():
                self._ended(call, by_peer=True)
            case sip_events.OfferReceived(offer=offer):
                self._on_offer(call, offer)
            case _:
                pass

    def _on_offered(self, event: sip_events.CallOffered) -> None:
        if self._exchange is not None:
            self._exchange.on_offered(self, event)
            return
        if not self._options.answers or event.offer is None:
            self.user_agent.reject(event.leg_id, 486, time.monotonic())
            return
        self.user_agent.progress(event.leg_id, 180, time.monotonic())
        if (call := self.take(event)) is not None:
            self.incoming.put_nowait(call)

    def _on_answered(self, call: PhoneCall, answer: SessionDescription | None) -> None:
        if answer is None or call.offer is None:
            self.hang_up(call)
            return
        self._agree(call, accept_answer(call.offer, answer))
        call.answered_s = time.monotonic()
        call.answered.set()

    def _on_offer(self, call: PhoneCall, offer: SessionDescription | None) -> None:
        now = time.monotonic()
        if offer is None:
            self.user_agent.reject_offer(call.leg_id, 488, now)
            return
        call.srtp = call.srtp.renew(call.stream.srtp if call.stream else None, secrets.token_bytes)
        answer, stream = negotiate(offer, self._local_media(call.port, call.srtp))
        self._agree(call, stream)
        self.user_agent.accept_offer(call.leg_id, answer, now)

    def _on_transfer(self, event: sip_events.TransferRequested) -> None:
        """Follow a REFER (RFC 3515): call whom it names, and report how that goes."""
        now = time.monotonic()
        call, extension = self.calls[event.leg_id], event.refer_to.uri.user or ""
        self.user_agent.accept_refer(event.leg_id, now)
        if self._exchange is not None:
            call.transfer_requested.set()
            self._exchange.on_transfer(self, call, event)
            return
        if extension not in self._options.peers:
            self.user_agent.notify_transfer(event.leg_id, 404, "Not Found", now)
            return
        call.transfer = self.dial(extension, extension)
        call.transfer_requested.set()
        follow = asyncio.ensure_future(self._report_transfer(call, call.transfer))
        self._reports.add(follow)
        follow.add_done_callback(self._reports.discard)

    async def _report_transfer(self, call: PhoneCall, new: PhoneCall) -> None:
        _, waiting = await asyncio.wait(
            [asyncio.ensure_future(new.answered.wait()), asyncio.ensure_future(new.ended.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for waiter in waiting:
            waiter.cancel()
        status, reason = (200, "OK") if new.answered.is_set() else (new.refused or 480, "Failed")
        self.report(call, status, reason)

    # Media.

    def _agree(self, call: PhoneCall, stream: AudioStream) -> None:
        call.stream = stream
        if call.leg is None:
            call.leg = self.media.open_leg(call.port, stream.remote, _leg_options(stream), call)
            if isinstance(self.media.ports, StampedPorts):
                call.stamps = self.media.ports.stamp(call.port)
        else:
            self.media.change_leg(call.leg, stream.remote, _leg_options(stream))
        self.media.secure_leg(call.leg, stream.srtp)
        self.media.direct_reports(call.leg, stream.rtcp)
        self.media.engine.set_direction(call.leg, send=stream.direction.sends, receive=stream.direction.receives)

    def _ended(self, call: PhoneCall, *, by_peer: bool) -> None:
        if call.ended.is_set():
            return
        call.ended_by_peer = by_peer
        if call.leg is not None:
            call.statistics = self.media.statistics(call.leg)
            self.media.close_leg(call.leg)
            call.leg = None
        self.media.ports.close(call.port, time.monotonic())
        self.calls.pop(call.leg_id, None)
        call.note_end()


def _leg_options(stream: AudioStream) -> LegOptions:
    events = stream.receive_telephone_event_payload_type
    return LegOptions(
        payload_type=stream.codec.payload_type,
        format=stream.codec.name,
        telephone_event_payload_type=stream.telephone_event_payload_type,
        receive_telephone_event_payload_types=() if events is None else (events,),
        hears_tones=stream.telephone_event_payload_type is None,
        receive_payload_types=tuple((codec.payload_type, codec.name) for codec in stream.receive_codecs),
        uplink=AudioFormat.PCM16_8K,
        downlink=AudioFormat.PCM16_8K,
        ptime_ms=stream.ptime_ms,
    )


def free_sip_port(host: str) -> int:
    """A port that was free for UDP and TCP a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family) as tcp:
            udp.bind((host, 0))
            with contextlib.suppress(OSError):
                tcp.bind((host, udp.getsockname()[1]))
                return int(udp.getsockname()[1])
