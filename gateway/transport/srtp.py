"""SRTP of one leg (RFC 3711): its packets sealed on the way out, opened on the way in. The ciphers are libsrtp's.

::

    engine ──RTP───> SrtpContext.seal ──────> socket      socket ──> SrtpContext.open ───────RTP──> engine
    engine ──RTCP──> SrtpContext.seal_rtcp ─> socket      socket ──> SrtpContext.open_rtcp ─RTCP──> engine

Contexts live as long as their keys: a hold, a new address or a refresh of the session leaves roll-over counters and
replay windows as they are. New keys begin anew at counter 0 (RFC 4568 6.4), for each direction by itself. For a while
after a change the peer's packets under its old key are still taken, since those are on their way when it changes. A
peer that comes back to a key of before finds its counters where they were: what was recorded then stays a replay.

RTCP (RFC 3711 3.4) goes by the same keys, with a counter and a replay window of its own.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from pylibsrtp import ERRORS, Error, Policy, Session

from gateway.sip.sdes import SrtpKeys

WINDOW_PACKETS = 128
"""Packets behind the newest that are still told from replays: 2.5 s of speech."""
MAX_SOURCES = 16
"""Streams of one peer that are remembered, by SSRC; a new one beyond these costs the oldest its counters."""
MAX_KEYS = 4
"""Of the peer, whose counters are kept while it uses others (media that goes to and fro between two of its devices)."""
MAX_PACKET_BYTES = 1500
"""What the library takes; no packet of speech comes near."""

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
_TAG_BYTES = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4, "AEAD_AES_128_GCM": 0, "AEAD_AES_256_GCM": 0}
"""Behind the MKI; that of AEAD is part of the ciphertext before it (RFC 7714 8.2)."""
_RTCP_TAG_BYTES = _TAG_BYTES | {"AES_CM_128_HMAC_SHA1_32": 10}
"""RFC 4568 6.2: RTCP has 80 bits in either suite of AES-CM."""
_RTP_SSRC, _RTCP_SSRC = slice(8, 12), slice(4, 8)
# The library's own words: it gives no codes.
_REPLAYS = frozenset(error for error in ERRORS if error.startswith("replay check failed"))


class Dropped(Enum):
    """Why a packet is not opened. The value is for people."""

    REPLAY = "it was received before, or is too old to tell"
    FORGERY = "it does not fit the key"
    RTCP = "it is RTCP"


class SrtpContext:
    """Both directions of a leg under the keys agreed on."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._keys = keys
        self._outbound = _session(keys.suite, keys.local_key, Policy.SSRC_ANY_OUTBOUND)
        self._inbound = _Inbound(keys)
        self._former: _Inbound | None = None
        self._retired: deque[_Inbound] = deque(maxlen=MAX_KEYS)

    def renew(self, keys: SrtpKeys) -> None:
        """Go on under `keys`; a direction whose key stays goes on as it is."""
        old, self._keys = self._keys, keys
        if (keys.suite, keys.local_key) != (old.suite, old.local_key):
            self._outbound = _session(keys.suite, keys.local_key, Policy.SSRC_ANY_OUTBOUND)
        if not self._inbound.fits(keys):
            self._retired.append(self._inbound)
            known = next((inbound for inbound in self._retired if inbound.fits(keys)), None)
            self._former, self._inbound = self._inbound, known or _Inbound(keys)
            if known is not None:
                self._retired.remove(known)

    def seal(self, packet: memoryview) -> bytes:
        """The SRTP packet of an RTP packet of ours. Raises: ValueError for one that cannot be sent."""
        try:
            return self._outbound.protect(bytes(packet))
        except Error as error:
            raise ValueError(str(error)) from error

    def seal_rtcp(self, packet: bytes) -> bytes:
        """The SRTCP packet of an RTCP compound of ours. Raises: ValueError for one that cannot be sent."""
        try:
            return self._outbound.protect_rtcp(packet)
        except Error as error:
            raise ValueError(str(error)) from error

    def open(self, packet: memoryview) -> bytes | Dropped:
        """The RTP packet in an SRTP packet of the peer; why it is dropped, where it is."""
        if len(packet) > 1 and 192 <= packet[1] <= 223:  # RFC 5761 4
            return Dropped.RTCP
        return self._open(packet, is_rtcp=False)

    def open_rtcp(self, packet: memoryview) -> bytes | Dropped:
        """The RTCP compound in an SRTCP packet of the peer; why it is dropped, where it is."""
        return self._open(packet, is_rtcp=True)

    def _open(self, packet: memoryview, *, is_rtcp: bool) -> bytes | Dropped:
        if len(packet) > MAX_PACKET_BYTES:
            return Dropped.FORGERY
        datagram = bytes(packet)
        opened = self._inbound.open(datagram, is_rtcp=is_rtcp)
        if self._former is None:
            return opened
        if isinstance(opened, bytes):
            self._former = None
            return opened
        in_flight = self._former.open(datagram, is_rtcp=is_rtcp)
        return in_flight if isinstance(in_flight, bytes) else opened


class _Inbound:
    """The peer's streams under one key of its."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._session = _session(keys.suite, keys.remote_key, Policy.SSRC_ANY_INBOUND)
        self._sources: deque[bytes] = deque()
        self._mki = keys.remote_mki
        self._keys = keys

    def fits(self, keys: SrtpKeys) -> bool:
        """Whether the peer's side of `keys` is the one that this was made for."""
        mine = self._keys
        return (keys.suite, keys.remote_key, keys.remote_mki) == (mine.suite, mine.remote_key, mine.remote_mki)

    def open(self, datagram: bytes, *, is_rtcp: bool) -> bytes | Dropped:
        if self._mki:
            end = len(datagram) - (_RTCP_TAG_BYTES if is_rtcp else _TAG_BYTES)[self._keys.suite]
            # RFC 3711 3.1: neither encrypted nor authenticated, and not known to the library.
            datagram = datagram[:end].removesuffix(self._mki) + datagram[end:]
        unprotect = self._session.unprotect_rtcp if is_rtcp else self._session.unprotect
        try:
            packet: bytes = unprotect(datagram)
        except Error as error:
            return Dropped.REPLAY if str(error) in _REPLAYS else Dropped.FORGERY
        ssrc = packet[_RTCP_SSRC if is_rtcp else _RTP_SSRC]
        if ssrc not in self._sources:
            self._note_source(ssrc)
        return packet

    def _note_source(self, ssrc: bytes) -> None:
        """Keep the session from growing: it holds a stream for every SSRC that a packet of the right key had."""
        self._sources.append(ssrc)
        if len(self._sources) > MAX_SOURCES:
            self._session.remove_stream(int.from_bytes(self._sources.popleft(), "big"))


def _session(suite: str, key: bytes, direction: int) -> Session:
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=_PROFILES[suite])
    policy.window_size = WINDOW_PACKETS
    return Session(policy)
