"""What two session descriptions agree on (RFC 3264), with the descriptions themselves re-exported.

`make_offer`, `negotiate` and `accept_answer` are the three places where an agreement is made; each gives the
`AudioStream` from our point of view: what we send and where, what we may receive.

Addresses are numeric only: a host name in a ``c=`` line would have to be resolved in the middle of a call. Nothing here
opens a port: the port in `LocalMedia` is bound already.

Whether it is RTP or SRTP (RFC 4568), by the terms in `LocalMedia`::

    offer                  off        optional   required
    SAVP(F)                refused    SRTP       SRTP       refused where no key of it can be used
    AVP(F) with a=crypto   plain      SRTP       SRTP       answered under AVP(F); no usable key: plain, refused
    AVP(F)                 plain      plain      refused
    ours                   AVP        AVP+keys   SAVP

Keys in an AVP line are the best-effort encryption of telephones that have no RFC 5939 (baresip, Snom, Asterisk's
``media_encryption_optimistic``): who answers without a key gets plain RTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from gateway.errors import NegotiationError, shown
from gateway.sip.description import (
    PLAIN_PROFILES,
    SECURE_PROFILES,
    TELEPHONE_CLOCK_RATE_HZ,
    Codec,
    Direction,
    MediaDescription,
    Origin,
    SessionDescription,
)
from gateway.sip.rtcp_route import MUX, RtcpRoute, can_mux, route_to
from gateway.sip.sdes import NO_SRTP, CryptoLine, SrtpKeys, SrtpPolicy, SrtpTerms, accept_lines, explain
from gateway.sip.uri import Address
from gateway.sip.vocabulary import STATIC_CODECS, TELEPHONE_EVENT, TELEPHONE_EVENT_PAYLOAD_TYPE

__all__ = [
    "AudioStream",
    "Codec",
    "Direction",
    "LocalMedia",
    "MediaDescription",
    "Origin",
    "RtcpRoute",
    "SessionDescription",
    "accept_answer",
    "make_offer",
    "negotiate",
]

# RFC 4733 3.2: the sixteen keys, without flash.
_TELEPHONE_EVENTS = "0-15"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMedia:
    """What we bring to an agreement. `address` and `port` are those the peer shall send to, bound already."""

    address: str
    port: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """Encoding names in our order of preference; of RFC 3551's static types."""
    ptime_ms: int = 20
    other_ptimes_ms: tuple[int, ...] = ()
    """Packet durations we can send besides `ptime_ms`, should the peer ask for one."""
    telephone_events: bool = True
    direction: Direction = Direction.SENDRECV
    """What we are willing to do; INACTIVE or SENDONLY puts the peer on hold."""
    srtp: SrtpTerms = NO_SRTP
    """Whether SRTP may or must be, and our keys."""
    rtcp: bool = False
    """Whether there is RTCP: on our RTP port where the peer can have it there, else on the port above."""
    session_id: int
    version: int = 0

    def __post_init__(self) -> None:
        for name in self.codecs:
            if name.upper() not in _CODECS_BY_NAME:
                raise ValueError(f"codec without a static payload type: {name}")

    @property
    def origin(self) -> Origin:
        """Our o= line."""
        return Origin("-", self.session_id, self.version, self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStream:
    """What both sides agreed on, from our point of view.

    `remote` is where our packets go; its host may be the unspecified address while `direction` does not send. `codec`
    is the one we send with; `receive_codecs` are all that may come in, by the payload types the peer uses to us.
    """

    remote: Address
    codec: Codec
    receive_codecs: tuple[Codec, ...]
    telephone_event_payload_type: int | None
    receive_telephone_event_payload_type: int | None
    ptime_ms: int
    direction: Direction
    srtp: SrtpKeys | None = None
    """None: plain RTP."""
    rtcp: RtcpRoute | None = None
    """None: no RTCP."""


_CODECS_BY_NAME: dict[str, Codec] = {
    codec.name.upper(): Codec(codec.payload_type, codec.name, codec.clock_rate_hz)
    for codec in STATIC_CODECS.values()
    if codec.clock_rate_hz == TELEPHONE_CLOCK_RATE_HZ and codec.channels == 1
}


def make_offer(local: LocalMedia) -> SessionDescription:
    """An offer of one audio stream with all we can do (RFC 3264 5).

    Raises: `NegotiationError` where SRTP is required and keys may not be told.
    """
    codecs = [_CODECS_BY_NAME[name.upper()] for name in local.codecs]
    if local.telephone_events:
        codecs.append(
            Codec(TELEPHONE_EVENT_PAYLOAD_TYPE, TELEPHONE_EVENT, TELEPHONE_CLOCK_RATE_HZ, fmtp=_TELEPHONE_EVENTS)
        )
    profile, crypto = local.srtp.offer()
    audio = _describe(local, profile, codecs, local.ptime_ms, local.direction, crypto=crypto, muxes=local.rtcp)
    return SessionDescription(origin=local.origin, connection=local.address, media=(audio,))


def negotiate(offer: SessionDescription, local: LocalMedia) -> tuple[SessionDescription, AudioStream]:
    """The answer to `offer`, and the stream agreed on (RFC 3264 6).

    Of several audio lines the first that suits is taken, one with keys before one without (unless SRTP is off); every
    other line is refused by port 0. Codecs stay in the
    offerer's order and under the offerer's numbers; the first is the one we send with. A peer that holds (sendonly,
    inactive, or ``c=0.0.0.0``) is answered recvonly or inactive and sent nothing.

    Raises: `NegotiationError` where no line suits.
    """
    reason = "no audio offered"
    for index in _by_preference(offer, local):
        media = offer.media[index]
        try:
            audio, stream = _answer_audio(offer, media, local)
        except NegotiationError as error:
            reason = str(error)
            continue
        lines = (audio if place == index else other.refused() for place, other in enumerate(offer.media))
        answer = SessionDescription(
            origin=local.origin,
            connection=local.address,
            media=tuple(lines),
            # RFC 3264 6: the time of the answer is that of the offer.
            timing=offer.timing,
        )
        return answer, stream
    raise NegotiationError(reason)


def accept_answer(offer: SessionDescription, answer: SessionDescription) -> AudioStream:
    """The stream that the peer's `answer` to our `offer` makes (RFC 3264 7).

    We send under the answer's payload types and receive under those of the offer (RFC 3264 6.1).

    Raises: `NegotiationError` where the answer refuses the audio, does not belong to the offer, or has nothing of it.
    """
    place = next((index for index, media in enumerate(offer.media) if media.is_rtp_audio), None)
    if place is None:
        raise NegotiationError("we offered no audio")
    # RFC 3264 6: as many lines as the offer, in its order. Lines too many are let pass.
    if len(answer.media) <= place:
        raise NegotiationError("the answer has no line for our audio")
    ours, theirs = offer.media[place], answer.media[place]
    _check_usable(theirs)
    remote = _remote_address(answer, theirs, offer.connection or "")
    codecs = [codec for codec in theirs.codecs if any(codec.is_same_format(other) for other in _speech(ours.codecs))]
    if not codecs:
        raise NegotiationError(f"none of our codecs in the answer: {shown(' '.join(theirs.formats))}")
    theirs_event, our_event = _telephone_event(theirs.codecs), _telephone_event(ours.codecs)
    return AudioStream(
        remote=remote,
        codec=codecs[0],
        receive_codecs=_speech(ours.codecs),
        telephone_event_payload_type=theirs_event.payload_type if theirs_event and our_event else None,
        receive_telephone_event_payload_type=our_event.payload_type if our_event else None,
        ptime_ms=ours.ptime_ms or 20,
        direction=_our_direction(ours.direction, theirs.direction, remote),
        srtp=_accepted_keys(ours, theirs),
        # Our offers name RTCP by `MUX` alone: those without have none.
        rtcp=route_to(theirs, remote, is_muxed=can_mux(theirs)) if can_mux(ours) else None,
    )


def _by_preference(offer: SessionDescription, local: LocalMedia) -> list[int]:
    """Where the audio lines of `offer` are, in the order they are to be tried."""
    places = [place for place, media in enumerate(offer.media) if media.kind == "audio"]
    if local.srtp.policy is not SrtpPolicy.OFF:
        places.sort(key=lambda place: not offer.media[place].crypto)
    return places


def _answer_audio(
    offer: SessionDescription, media: MediaDescription, local: LocalMedia
) -> tuple[MediaDescription, AudioStream]:
    _check_usable(media)
    remote = _remote_address(offer, media, local.address)
    wanted = [_CODECS_BY_NAME[name.upper()] for name in local.codecs]
    codecs = [codec for codec in media.codecs if any(codec.is_same_format(other) for other in wanted)]
    if not codecs:
        raise NegotiationError(f"no codec in common: {shown(' '.join(media.formats))}")
    crypto, keys = _answer_keys(media, local.srtp)
    event = _telephone_event(media.codecs) if local.telephone_events else None
    accepted = [*codecs, replace(event, fmtp=_TELEPHONE_EVENTS)] if event else codecs
    direction = _our_direction(local.direction, media.direction, remote)
    ptime_ms = _packet_duration_ms(media, local)
    event_payload_type = event.payload_type if event else None
    muxes = local.rtcp and can_mux(media)
    stream = AudioStream(
        remote=remote,
        codec=codecs[0],
        receive_codecs=tuple(codecs),
        telephone_event_payload_type=event_payload_type,
        receive_telephone_event_payload_type=event_payload_type,
        ptime_ms=ptime_ms,
        direction=direction,
        srtp=keys,
        rtcp=route_to(media, remote, is_muxed=muxes) if local.rtcp else None,
    )
    return _describe(local, media.profile, accepted, ptime_ms, direction, crypto=crypto, muxes=muxes), stream


def _answer_keys(media: MediaDescription, terms: SrtpTerms) -> tuple[tuple[CryptoLine, ...], SrtpKeys | None]:
    """The line of our answer and the keys agreed on; neither for plain RTP."""
    if terms.policy is SrtpPolicy.OFF:
        if media.is_secure:
            raise NegotiationError(f"profile {media.profile}: SRTP is off")
        return (), None
    agreed = terms.answer(media.crypto, media.profile)
    if agreed is not None:
        line, keys = agreed
        return (line,), keys
    if media.is_secure or terms.policy is SrtpPolicy.REQUIRED:
        if not terms.fresh_keys:
            raise NegotiationError("SRTP is required, and its keys may not be sent in clear")
        raise NegotiationError(f"no SRTP key that we can use: {explain(media.crypto)}")
    return (), None


def _accepted_keys(ours: MediaDescription, theirs: MediaDescription) -> SrtpKeys | None:
    if ours.crypto and theirs.crypto:
        return accept_lines(ours.crypto, theirs.crypto, ours.profile)
    if ours.is_secure or theirs.is_secure:
        raise NegotiationError(f"{theirs.profile} without a key, where we offered {ours.profile}")
    return None


def _describe(
    local: LocalMedia,
    profile: str,
    codecs: Iterable[Codec],
    ptime_ms: int,
    direction: Direction,
    *,
    crypto: tuple[CryptoLine, ...],
    muxes: bool,
) -> MediaDescription:
    codecs = tuple(codecs)
    return MediaDescription(
        kind="audio",
        port=local.port,
        profile=profile,
        formats=tuple(str(codec.payload_type) for codec in codecs),
        codecs=codecs,
        ptime_ms=ptime_ms,
        direction=direction,
        crypto=crypto,
        attributes=(MUX,) if muxes else (),
    )


def _check_usable(media: MediaDescription) -> None:
    if media.kind != "audio":
        raise NegotiationError(f"{shown(media.kind)} where audio should be")
    if media.port == 0:
        raise NegotiationError("audio is disabled by port 0")
    if media.profile not in PLAIN_PROFILES + SECURE_PROFILES:
        raise NegotiationError(f"profile {shown(media.profile)}")


def _speech(codecs: Iterable[Codec]) -> tuple[Codec, ...]:
    return tuple(codec for codec in codecs if codec.name.lower() != TELEPHONE_EVENT)


def _telephone_event(codecs: Iterable[Codec]) -> Codec | None:
    return next((codec for codec in codecs if codec.is_telephone_event), None)


def _packet_duration_ms(media: MediaDescription, local: LocalMedia) -> int:
    """The packet duration we send: the peer's wish where we can, never above its maximum where we can avoid it."""
    possible = {local.ptime_ms, *local.other_ptimes_ms}
    wish = media.ptime_ms if media.ptime_ms in possible else local.ptime_ms
    if media.maxptime_ms is None or wish <= media.maxptime_ms:
        return wish
    return max((ptime for ptime in possible if ptime <= media.maxptime_ms), default=local.ptime_ms)


def _our_direction(willing: Direction, theirs: Direction, remote: Address) -> Direction:
    """RFC 3264 6.1. An unspecified address is the hold of RFC 2543: send nothing there (RFC 3264 8.4)."""
    sends = willing.sends and theirs.receives and not ip_address(remote.host).is_unspecified
    return Direction.of(sends=sends, receives=willing.receives and theirs.sends)


def _remote_address(description: SessionDescription, media: MediaDescription, local_address: str) -> Address:
    host = description.connection if media.connection is None else media.connection
    if host is None:
        raise NegotiationError("no address for the audio")
    try:
        address = ip_address(host)
    except ValueError:
        raise NegotiationError(f"not a numeric address: {shown(host)}") from None
    if "%" in host or address.is_multicast or host == "255.255.255.255":
        raise NegotiationError(f"not an address of one host: {shown(host)}")
    if not address.is_unspecified and (":" in host) != (":" in local_address):
        raise NegotiationError(f"address of another family than ours: {shown(host)}")
    return Address(host, media.port)
