"""A telephone without a person: places and takes calls over real SIP and RTP, speaks, listens, and follows a REFER.

::

    say(pcm) ──> leg ──RTP──> peer          everything said and heard is kept on one time line, int16 at 8 kHz:
    heard <── leg <──RTP── peer             PhoneCall.recording() is stereo, left what we said, right what we heard

One `Phone` is one SIP user agent with any number of calls. Its peers are named; a transfer is followed by calling the
peer whose extension the REFER names, as a telephone behind a PBX would.
"""

from __future__ import annotations

import asyncio
import socket
import time
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.errors import NegotiationError
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, LegStatistics, MediaEngine, MediaOptions
from gateway.sip import events as sip_events
from gateway.sip.message import Address, Headers, Uri
from gateway.sip.sdp import AudioStream, Direction, LocalMedia, SessionDescription, accept_answer, make_offer, negotiate
from gateway.sip.trunk import TrunkOptions
from gateway.sip.user_agent import UserAgent, UserAgentOptions
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import RtpPort, RtpPortOptions, RtpPorts
from gateway.transport.sip_endpoint import SipEndpoint

SAMPLE_RATE_HZ = 8000
FRAME_MS = 20
REOFFER_LIMIT_S = 5.0
FRAME_SAMPLES = 160
AUDIBLE_PEAK = 500
"""Peak of a 20 ms frame above which somebody is speaking; codec silence and line noise stay well below."""


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
    answers: bool = False
    """Takes calls at once; otherwise they are refused as busy."""


class PhoneCall:
    """One call of a telephone. The events are set once and stay set."""

    def __init__(self, phone: Phone, leg_id: str, port: RtpPort) -> None:
        self._phone = phone
        self.leg_id = leg_id
        self.port = port
        self.leg: int | None = None
        self.answered = asyncio.Event()
        self.ended = asyncio.Event()
        self.rang = False
        self.refused: int | None = None
        self.refusal_headers = Headers()
        self.stream: AudioStream | None = None
        """What was agreed on last."""
        self.transfer_requested = asyncio.Event()
        self.transfer: PhoneCall | None = None
        self.dialled_s = time.monotonic()
        self.answered_s: float | None = None
        self.ended_by_peer = False
        self.statistics: LegStatistics | None = None
        self.offer: SessionDescription | None = None
        self.version = 1
        self.reanswered = asyncio.Event()
        self._heard: list[NDArray[np.int16]] = []
        self._heard_samples = 0
        self._said: list[tuple[int, NDArray[np.int16]]] = []
        self._said_until = 0
        self._items = 0
        self._news = asyncio.Event()
        self.on_frame: Callable[[PhoneCall], None] | None = None

    # Talking and listening.

    def say(self, pcm: NDArray[np.int16]) -> None:
        """Speak `pcm` (int16[samples], 8 kHz) after what is being said already."""
        if self.leg is None:
            return
        self._items += 1
        item = f"say-{self._items}"
        self._phone.media.engine.play(self.leg, item, pcm.astype("<i2").tobytes())
        self._phone.media.engine.end_item(self.leg, item)
        start = max(self._heard_samples, self._said_until)
        self._said.append((start, pcm))
        self._said_until = start + len(pcm)

    def on_audio(self, audio: bytes) -> None:
        """20 ms of what the peer sends, silence included; the call's time line."""
        samples = np.frombuffer(audio, dtype="<i2")
        self._heard.append(samples)
        self._heard_samples += len(samples)
        self._news.set()
        if self.on_frame is not None:
            self.on_frame(self)

    def on_digit(self, _digit: str, _duration_ms: int) -> None:
        """Digits from the peer are not of interest here."""

    def on_item_finished(self, _item_id: str, _content_index: int) -> None:
        """What was said has left."""

    @property
    def time_ms(self) -> int:
        """Time since media started, by the audio received."""
        return self._heard_samples * 1000 // SAMPLE_RATE_HZ

    @property
    def said_until_ms(self) -> int:
        """Where on the time line our last word ends."""
        return self._said_until * 1000 // SAMPLE_RATE_HZ

    def heard(self, from_ms: int = 0) -> NDArray[np.int16]:
        """What was heard since `from_ms`, int16[samples] at 8 kHz."""
        whole = np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)
        return whole[from_ms * SAMPLE_RATE_HZ // 1000 :]

    def recording(self) -> NDArray[np.int16]:
        """Both sides on one time line: int16[samples, 2], left said, right heard."""
        heard = self.heard()
        length = max(len(heard), self._said_until)
        both = np.zeros((length, 2), np.int16)
        both[: len(heard), 1] = heard
        for start, pcm in self._said:
            both[start : start + len(pcm), 0] = pcm
        return both

    async def wait_for_speech(self, *, from_ms: int, within_s: float) -> int:
        """Wait until the peer is heard; returns its first sound's place on the time line in ms.

        Raises:
            TimeoutError: nothing but silence.
        """
        async with asyncio.timeout(within_s):
            while True:
                start = first_sound_ms(self.heard(from_ms))
                if start is not None:
                    return from_ms + start
                await self._next_frame()

    async def wait_for_silence(self, *, lasting_ms: int, within_s: float) -> int:
        """Wait until the peer has been silent for `lasting_ms`; returns where its last sound ended, in ms.

        Raises:
            TimeoutError: the peer never stopped.
        """
        async with asyncio.timeout(within_s):
            while True:
                last = last_sound_ms(self.heard())
                if self.time_ms - last >= lasting_ms:
                    return last
                await self._next_frame()

    async def wait_for_pause(self, *, from_ms: int, lasting_ms: int, within_s: float) -> int:
        """Wait for the first silence of `lasting_ms` at or after `from_ms`; returns where it begins, in ms.

        Raises:
            TimeoutError: the peer never stopped.
        """
        async with asyncio.timeout(within_s):
            while True:
                start = first_pause_ms(self.heard(from_ms), lasting_ms)
                if start is not None:
                    return from_ms + start
                await self._next_frame()

    async def wait_until(self, time_ms: int, *, within_s: float) -> None:
        """Wait until the time line has reached `time_ms`."""
        async with asyncio.timeout(within_s):
            while self.time_ms < time_ms:
                await self._next_frame()

    async def _next_frame(self) -> None:
        self._news.clear()
        await self._news.wait()

    def current_statistics(self) -> LegStatistics | None:
        """Figures of the media leg, live or final; None when there never was one."""
        return self.statistics if self.leg is None else self._phone.media.statistics(self.leg)

    def press(self, digits: str) -> None:
        """Press keys, as RFC 4733 events."""
        if self.leg is not None:
            self._phone.media.engine.send_digits(self.leg, digits)

    def hang_up(self) -> None:
        """Send BYE."""
        self._phone.hang_up(self)


class Phone:
    """A telephone: ``async with Phone(options) as phone: call = phone.dial("gateway", "7000")``."""

    def __init__(self, options: PhoneOptions) -> None:
        self._options = options
        first, last = options.rtp_ports
        ports = RtpPorts(RtpPortOptions(bind_host=options.host, first_port=first, last_port=last, quarantine_s=0))
        self.media = MediaLoop(MediaEngine(MediaOptions(max_legs=options.max_calls)), ports)
        self.address = Address(options.host, free_udp_port(options.host))
        self.calls: dict[str, PhoneCall] = {}
        self.incoming: asyncio.Queue[PhoneCall] = asyncio.Queue()
        self._reports: set[asyncio.Future[None]] = set()
        self.user_agent = UserAgent(self._user_agent_options())
        self._endpoint = SipEndpoint(self.user_agent, self.address, self._on_event)

    def _user_agent_options(self) -> UserAgentOptions:
        trunks = tuple(
            TrunkOptions(name=name, peer=address, contact_user=self._options.user)
            for name, address in self._options.peers.items()
        )
        return UserAgentOptions(
            listen=self.address, advertise=self.address, trunks=trunks, calls_per_s=1000, call_burst=1000
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

    def dial(self, peer: str, number: str) -> PhoneCall:
        """Call `number` at the peer of that name."""
        port = self.media.ports.open()
        local = self._local_media(port)
        address = self._options.peers[peer]
        target = Uri.parse(f"sip:{number}@{address.host}:{address.port}")
        offer = make_offer(local)
        leg_id = self.user_agent.invite(peer, target, offer=offer, from_user=self._options.user, now=time.monotonic())
        call = self.calls[leg_id] = PhoneCall(self, leg_id, port)
        call.offer = offer
        self._endpoint.transmit()
        return call

    def hang_up(self, call: PhoneCall) -> None:
        """End a call from our side; nothing when it has ended."""
        if not call.ended.is_set():
            self.user_agent.bye(call.leg_id, time.monotonic())
            self._endpoint.transmit()
            self._ended(call, by_peer=False)

    async def hold(self, call: PhoneCall) -> AudioStream:
        """Put the peer on hold by re-INVITE (RFC 3264 8.4); what it agreed to."""
        return await self._reoffer(call, Direction.SENDONLY)

    async def resume(self, call: PhoneCall) -> AudioStream:
        """Take the peer back."""
        return await self._reoffer(call, Direction.SENDRECV)

    async def _reoffer(self, call: PhoneCall, direction: Direction) -> AudioStream:
        call.version += 1
        call.offer = make_offer(replace(self._local_media(call.port), version=call.version, direction=direction))
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

    def _local_media(self, port: RtpPort) -> LocalMedia:
        return LocalMedia(
            address=self._options.host, port=port.port, codecs=self._options.codecs, session_id=1, version=1
        )

    # News.

    def _on_event(self, event: sip_events.Event) -> None:
        match event:
            case sip_events.CallOffered():
                self._on_offered(event)
            case sip_events.TransferRequested():
                self._on_transfer(event)
            case sip_events.RegistrationChanged():
                pass
            case _:
                call = self.calls.get(event.leg_id)
                if call is not None:
                    self._on_call_event(call, event)
        self._endpoint.transmit()

    def _on_call_event(self, call: PhoneCall, event: sip_events.Event) -> None:
        match event:
            case sip_events.CallAnswered():
                self._on_answered(call, event.description)
            case sip_events.CallEstablished():
                call.answered_s = time.monotonic()
                call.answered.set()
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
        now = time.monotonic()
        if not self._options.answers or event.offer is None:
            self.user_agent.reject(event.leg_id, 486, now)
            return
        port = self.media.ports.open()
        call = self.calls[event.leg_id] = PhoneCall(self, event.leg_id, port)
        try:
            answer, stream = negotiate(event.offer, self._local_media(port))
        except NegotiationError:
            self.user_agent.reject(event.leg_id, 488, now)
            self._ended(call, by_peer=True)
            return
        self._agree(call, stream)
        self.user_agent.progress(event.leg_id, 180, now)
        self.user_agent.answer(event.leg_id, answer, now)
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
        answer, stream = negotiate(offer, self._local_media(call.port))
        self._agree(call, stream)
        self.user_agent.accept_offer(call.leg_id, answer, now)

    def _on_transfer(self, event: sip_events.TransferRequested) -> None:
        """Follow a REFER (RFC 3515): call whom it names, and report how that goes."""
        now = time.monotonic()
        call, extension = self.calls[event.leg_id], event.refer_to.uri.user or ""
        self.user_agent.accept_refer(event.leg_id, now)
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
        if call.ended.is_set():
            return
        status, reason = (200, "OK") if new.answered.is_set() else (new.refused or 480, "Failed")
        self.user_agent.notify_transfer(call.leg_id, status, reason, time.monotonic())
        self._endpoint.transmit()

    # Media.

    def _agree(self, call: PhoneCall, stream: AudioStream) -> None:
        call.stream = stream
        if call.leg is None:
            call.leg = self.media.open_leg(call.port, stream.remote, _leg_options(stream), call)
        else:
            self.media.change_leg(call.leg, stream.remote, _leg_options(stream))
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
        call.ended.set()


def _leg_options(stream: AudioStream) -> LegOptions:
    return LegOptions(
        payload_type=stream.codec.payload_type,
        format=stream.codec.name,
        telephone_event_payload_type=stream.telephone_event_payload_type,
        receive_payload_types=tuple((codec.payload_type, codec.name) for codec in stream.receive_codecs),
        uplink=AudioFormat.PCM16_8K,
        downlink=AudioFormat.PCM16_8K,
        ptime_ms=stream.ptime_ms,
    )


def free_udp_port(host: str) -> int:
    """A UDP port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_sound(pcm: NDArray[np.int16]) -> NDArray[np.bool_]:
    """For each whole 20 ms of `pcm`, whether somebody is heard: bool[frames]."""
    frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    is_loud: NDArray[np.bool_] = np.abs(frames.astype(np.int32)).max(axis=1, initial=0) > AUDIBLE_PEAK
    return is_loud


def first_sound_ms(pcm: NDArray[np.int16]) -> int | None:
    """Where the first sound of `pcm` (int16[samples], 8 kHz) begins, in ms; None in silence."""
    sound = np.flatnonzero(_is_sound(pcm))
    return int(sound[0]) * FRAME_MS if len(sound) else None


def first_pause_ms(pcm: NDArray[np.int16], lasting_ms: int) -> int | None:
    """Where the first silence of at least `lasting_ms` begins, in ms; None where there is none."""
    wanted, silent = lasting_ms // FRAME_MS, 0
    for index, is_sound in enumerate(_is_sound(pcm)):
        silent = 0 if is_sound else silent + 1
        if silent == wanted:
            return (index + 1 - wanted) * FRAME_MS
    return None


def last_sound_ms(pcm: NDArray[np.int16]) -> int:
    """Where the last sound of `pcm` ends, in ms; 0 in silence."""
    sound = np.flatnonzero(_is_sound(pcm))
    return (int(sound[-1]) + 1) * FRAME_MS if len(sound) else 0


def write_wav(file: Path, both: NDArray[np.int16]) -> None:
    """Write int16[samples, 2] as a stereo WAV at 8 kHz."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes(both.astype("<i2").tobytes())
