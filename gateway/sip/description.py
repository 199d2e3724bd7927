"""Session descriptions (RFC 8866) as values: the text of an offer or an answer, read and written.

Lenient about what a telephone call does not need, strict and bounded about what it does: at most `MAXIMUM_LINES` lines,
`MAXIMUM_MEDIA` m= lines and `MAXIMUM_FORMATS` formats in each. What two descriptions agree on is `gateway.sip.sdp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.errors import MessageError, shown
from gateway.sip.grammar import is_token, parse_number
from gateway.sip.sdes import MAXIMUM_CRYPTO_LINES, CryptoLine
from gateway.sip.vocabulary import STATIC_CODECS, TELEPHONE_EVENT, StaticCodec

MAXIMUM_MEDIA = 64
"""m= lines in one description."""
MAXIMUM_FORMATS = 256
"""Formats in one m= line."""
MAXIMUM_LINES = 4096
"""Lines in one description."""

PLAIN_PROFILES = ("RTP/AVP", "RTP/AVPF")
"""Profiles we speak. AVPF differs in RTCP timing only, so it is answered in kind, without feedback (RFC 4585 4)."""
SECURE_PROFILES = ("RTP/SAVP", "RTP/SAVPF")
"""The same as SRTP, keyed by ``a=crypto`` (RFC 4568). DTLS has profiles of its own, which are refused."""

TELEPHONE_CLOCK_RATE_HZ = 8000
"""The RTP clock of everything we speak: G.711, G.722 (by an old mistake, RFC 3551 4.5.2) and the events beside them."""


class Direction(Enum):
    """Which way media flows, seen by whoever writes the description (RFC 8866 6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> Direction:
        """The direction of a side that does these."""
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE

    @property
    def sends(self) -> bool:
        """Whether the writer sends."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether the writer receives."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> Direction:
        """The same flow seen from the other side."""
        return Direction.of(sends=self.receives, receives=self.sends)


_DIRECTIONS = {direction.value: direction for direction in Direction}


@dataclass(frozen=True, slots=True)
class Codec:
    """An RTP payload format under its number. `clock_rate_hz` counts timestamps, not samples (G.722: 8000)."""

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int = 1
    fmtp: str | None = None

    def is_same_format(self, other: Codec | StaticCodec) -> bool:
        """Whether both are the same encoding, whatever their numbers (RFC 8866 6.6: names ignore case)."""
        return (self.name.upper(), self.clock_rate_hz, self.channels) == (
            other.name.upper(),
            other.clock_rate_hz,
            other.channels,
        )

    @property
    def is_telephone_event(self) -> bool:
        """Whether it carries key presses at the clock of our codecs (RFC 4733 2.1)."""
        return self.name.lower() == TELEPHONE_EVENT and self.clock_rate_hz == TELEPHONE_CLOCK_RATE_HZ


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line (RFC 8866 5.2): who wrote the description, which session it is of, and its version."""

    username: str
    session_id: int
    version: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDescription:
    """One m= line with what belongs to it.

    `direction` is in force: the session's where the media has none of its own. `codecs` are those formats whose meaning
    is known, by ``a=rtpmap`` or by RFC 3551, in the order of `formats`; none where the port is 0. `crypto` are the SRTP
    keys told. `attributes` are all that no field here holds; they may hold keys as well (``a=acap``, RFC 5939).
    """

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]
    connection: str | None = None
    codecs: tuple[Codec, ...] = ()
    ptime_ms: int | None = None
    maxptime_ms: int | None = None
    direction: Direction = Direction.SENDRECV
    crypto: tuple[CryptoLine, ...] = ()
    attributes: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)

    @property
    def is_rtp_audio(self) -> bool:
        """Audio over RTP or SRTP that is not disabled by port 0 (RFC 3264 5.1, 8.2)."""
        return self.kind == "audio" and self.port > 0 and self.profile in PLAIN_PROFILES + SECURE_PROFILES

    @property
    def is_secure(self) -> bool:
        """Whether it can be nothing but SRTP."""
        return self.profile in SECURE_PROFILES

    def refused(self) -> MediaDescription:
        """The line that refuses this one in an answer (RFC 3264 6): port 0, same kind, profile and formats."""
        return MediaDescription(kind=self.kind, port=0, profile=self.profile, formats=self.formats or ("0",))

    def lines(self) -> Iterator[str]:
        """The m= line and those that belong to it."""
        yield f"m={self.kind} {self.port} {' '.join((self.profile, *self.formats))}"
        if self.connection is not None:
            yield f"c={_format_connection(self.connection)}"
        for codec in self.codecs:
            channels = f"/{codec.channels}" if codec.channels != 1 else ""
            yield f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate_hz}{channels}"
            if codec.fmtp is not None:
                yield f"a=fmtp:{codec.payload_type} {codec.fmtp}"
        if self.ptime_ms is not None:
            yield f"a=ptime:{self.ptime_ms}"
        if self.maxptime_ms is not None:
            yield f"a=maxptime:{self.maxptime_ms}"
        if self.port or self.direction is not Direction.SENDRECV:
            yield f"a={self.direction.value}"
        for line in self.crypto:
            yield f"a=crypto:{line.text}"
        yield from map(_format_attribute, self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDescription:
    """A whole description. `connection` is the address of all media that have none of their own."""

    origin: Origin
    connection: str | None = None
    media: tuple[MediaDescription, ...] = ()
    name: str = "-"
    timing: str = "0 0"
    attributes: tuple[tuple[str, str | None], ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, body: bytes) -> SessionDescription:
        """The description in a body of application/sdp.

        Raises: `MessageError` where a line is none, where v=, o= or a needed address is missing or broken, or where
        there is more than the bounds allow. Attributes that make no sense are kept and left alone.
        """
        return _parse_description(body)

    @property
    def audio(self) -> MediaDescription | None:
        """The first usable audio: RTP or SRTP, not disabled."""
        return next((media for media in self.media if media.is_rtp_audio), None)

    def to_bytes(self) -> bytes:
        """The body."""
        return "".join(f"{line}\r\n" for line in self._lines()).encode("utf-8", "surrogateescape")

    def _lines(self) -> Iterator[str]:
        origin = self.origin
        address = _format_connection(origin.address)
        yield "v=0"
        yield f"o={origin.username} {origin.session_id} {origin.version} {address}"
        yield f"s={self.name}"
        if self.connection is not None:
            yield f"c={_format_connection(self.connection)}"
        yield f"t={self.timing}"
        yield from map(_format_attribute, self.attributes)
        for media in self.media:
            yield from media.lines()

    def following(self, previous: SessionDescription) -> SessionDescription:
        """This description as the successor of `previous` in one session (RFC 3264 8).

        The session id stays; the version rises by one where anything changed and stays where nothing did.
        """
        old = previous.origin
        same = replace(self, origin=old)
        return same if same == previous else replace(self, origin=replace(old, version=old.version + 1))


_key = re.compile("inline:", re.IGNORECASE)

# The lines of RFC 8866 5 that mean nothing to a telephone call: read over.
_SILENT_LINES = frozenset("iuepbrzk")


def _parse_description(body: bytes) -> SessionDescription:
    sections: list[list[tuple[str, str]]] = [[]]
    for kind, value in _split_lines(body):
        if kind == "m":
            sections.append([])
        sections[-1].append((kind, value))
    session, *media = sections
    if len(media) > MAXIMUM_MEDIA:
        raise MessageError(f"{len(media)} media")
    if session[:1] != [("v", "0")]:
        raise MessageError("SDP does not begin with v=0")
    lines = {kind: value for kind, value in session if kind != "a"}
    if "o" not in lines:
        raise MessageError("SDP without o=")
    attributes = [value for kind, value in session if kind == "a"]
    directions = [_DIRECTIONS[value] for value in attributes if value in _DIRECTIONS]
    direction = directions[-1] if directions else Direction.SENDRECV
    return SessionDescription(
        origin=_parse_origin(lines["o"]),
        connection=_parse_connection(lines["c"]) if "c" in lines else None,
        media=tuple(_parse_media(section, direction) for section in media),
        # RFC 8866 5 wants s= and t=; nothing depends on them, so a description without is read all the same.
        name=lines.get("s", "-"),
        timing=lines.get("t", "0 0"),
        attributes=tuple(_parse_attribute(value) for value in attributes if value not in _DIRECTIONS),
    )


def _split_lines(body: bytes) -> Iterator[tuple[str, str]]:
    # RFC 8866 5: a bare line feed ends a line as well.
    lines = body.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\n")
    if len(lines) > MAXIMUM_LINES:
        raise MessageError(f"SDP of {len(lines)} lines")
    for line in lines:
        text = line.removesuffix("\r")
        if text[1:2] != "=" or text[0] not in "vosiuepcbtrzkam" or "\r" in text or "\0" in text:
            # What this error says is logged and told to the peer: no key, however garbled its line.
            raise MessageError(f"not an SDP line: {shown(_key.split(text)[0])}")
        if text[0] not in _SILENT_LINES:
            yield text[0], text[2:]


def _parse_origin(value: str) -> Origin:
    # From the right: user names with blanks are about.
    parts = value.rsplit(" ", 5)
    if len(parts) != 6 or not parts[0]:
        raise MessageError(f"not an o= line: {shown(value)}")
    session_id, version = (parse_number(part, 10**20 - 1, "number in o=") for part in parts[1:3])
    return Origin(parts[0], session_id, version, _parse_connection(" ".join(parts[3:])))


def _parse_connection(value: str) -> str:
    """The address alone, as it stands: numeric, or a host name, or a multicast address with its TTL."""
    parts = value.strip(" ").split(" ")
    if len(parts) != 3 or parts[0] != "IN" or parts[1] not in ("IP4", "IP6") or not parts[2]:
        raise MessageError(f"not a connection: {shown(value)}")
    address, is_ipv6 = parts[2], ":" in parts[2]
    if is_ipv6 != (parts[1] == "IP6") and (is_ipv6 or address.replace(".", "").isdigit()):
        raise MessageError(f"address of another type: {shown(value)}")
    return address


def _format_connection(address: str) -> str:
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


def _parse_attribute(value: str) -> tuple[str, str | None]:
    name, colon, content = value.partition(":")
    return name, content if colon else None


def _format_attribute(attribute: tuple[str, str | None]) -> str:
    name, value = attribute
    return f"a={name}" if value is None else f"a={name}:{value}"


def _parse_media(section: list[tuple[str, str]], direction: Direction) -> MediaDescription:
    kind, port, profile, formats = _parse_media_line(section[0][1])
    known = dict.fromkeys(formats)
    connection: str | None = None
    times_ms: dict[str, int] = {}
    maps: dict[str, tuple[str, int, int]] = {}
    parameters: dict[str, str] = {}
    crypto: list[CryptoLine] = []
    rest: list[tuple[str, str | None]] = []
    for letter, value in section[1:]:
        if letter == "c":
            connection = _parse_connection(value)
        if letter != "a":
            continue
        if value in _DIRECTIONS:
            direction = _DIRECTIONS[value]
            continue
        name, content = _parse_attribute(value)
        payload_type, _, argument = (content or "").partition(" ")
        if name == "rtpmap" and payload_type in known and (mapped := _parse_rtpmap(argument)):
            maps[payload_type] = mapped
        elif name == "fmtp" and payload_type in known and argument:
            parameters[payload_type] = argument
        elif name in ("ptime", "maxptime") and (duration_ms := _parse_duration_ms(payload_type)):
            times_ms[name] = duration_ms
        elif name == "crypto" and content is not None:
            crypto.append(CryptoLine.parse(content))
        else:
            rest.append((name, content))
    return MediaDescription(
        kind=kind,
        port=port,
        profile=profile,
        formats=formats,
        connection=connection,
        codecs=tuple(_known_codecs(known, maps, parameters)) if port and "RTP/" in profile else (),
        ptime_ms=times_ms.get("ptime"),
        maxptime_ms=times_ms.get("maxptime"),
        direction=direction,
        crypto=tuple(crypto[:MAXIMUM_CRYPTO_LINES]),
        attributes=tuple(rest),
    )


def _parse_media_line(value: str) -> tuple[str, int, str, tuple[str, ...]]:
    kind, *parts = value.split(" ")
    formats = tuple(part for part in parts[2:] if part)
    if len(parts) < 2 or not is_token(kind) or not all(map(is_token, parts[1].split("/"))):
        raise MessageError(f"not an m= line: {shown(value)}")
    if len(formats) > MAXIMUM_FORMATS:
        raise MessageError(f"{len(formats)} formats in one m= line")
    # RFC 8866 5.14: "port/count" stands for several ports in a row; the first one is the one to send to.
    port = parse_number(parts[0].partition("/")[0], 65535, "port in m=")
    return kind, port, parts[1], formats


# RFC 3550 5.1: seven bits. By their one spelling, so that "08" is not a second name of 8.
_PAYLOAD_TYPES = {str(number): number for number in range(128)}


def _known_codecs(
    formats: Iterable[str], maps: dict[str, tuple[str, int, int]], parameters: dict[str, str]
) -> Iterator[Codec]:
    for text in formats:
        number = _PAYLOAD_TYPES.get(text)
        if number is None:
            continue
        if text in maps:
            yield Codec(number, *maps[text], parameters.get(text))
        elif number in STATIC_CODECS:
            static = STATIC_CODECS[number]
            yield Codec(number, static.name, static.clock_rate_hz, static.channels, parameters.get(text))


def _parse_rtpmap(text: str) -> tuple[str, int, int] | None:
    """Encoding name, clock rate in Hz and channels of ``PCMU/8000/1``; None where it is none of that."""
    name, *numbers = text.strip(" ").split("/")
    if not is_token(name) or not 1 <= len(numbers) <= 2:
        return None
    try:
        rate_hz, channels = (parse_number(number, 10**9, "number in rtpmap") for number in (*numbers, "1")[:2])
    except MessageError:
        return None
    return (name, rate_hz, channels) if rate_hz and channels else None


def _parse_duration_ms(text: str) -> int | None:
    """Whole milliseconds, 1 to 1000; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 and 0 < int(text) <= 1000 else None
