"""SRTP keys in session descriptions (SDES, RFC 4568): ``a=crypto`` lines, and what an offer and an answer agree on.

A key here is a master key with its salt behind it, as the line has it. Keys are secrets: no field that holds one is in
a repr, and no error names one. Whether a description may carry keys at all is for whoever makes the `SrtpTerms`, who
knows the transport (RFC 4568 8.3 wants it to be secure).

Suites are those that our SRTP library has: no AES_192/256_CM (RFC 6188), no F8. Lines are taken with one key, with or
without an MKI, and with no session parameter that changes packets; any other line is passed over (RFC 4568 7.1.2).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.errors import NegotiationError, shown
from gateway.sip.grammar import TOKEN_PATTERN

MAXIMUM_CRYPTO_LINES = 32
"""Of one medium; those behind are not read."""
MAXIMUM_CRYPTO_CHARACTERS = 1024
"""In one line."""

MAXIMUM_MKI_BYTES = 128
"""RFC 4568 6.1."""

PLAIN_PROFILE, SECURE_PROFILE = "RTP/AVP", "RTP/SAVP"

# Master key and salt, in octets: RFC 4568 6.2, RFC 7714 13.
_KEY_BYTES = {
    "AES_CM_128_HMAC_SHA1_80": 16 + 14,
    "AES_CM_128_HMAC_SHA1_32": 16 + 14,
    "AEAD_AES_128_GCM": 16 + 12,
    "AEAD_AES_256_GCM": 32 + 12,
}
SUITES = tuple(_KEY_BYTES)
"""What is taken from an offer, whose order decides."""
OFFERED_SUITES = ("AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM", "AEAD_AES_128_GCM")
"""What we offer, the one that everybody has first; a tag of 32 bits is for those who insist (RFC 3711 9.5)."""

_MAXIMUM_LIFETIME_BITS = 48  # packets of one key, RFC 3711 9.2
_MINIMUM_WINDOW = 64  # RFC 4568 6.3.6
_mki = re.compile("([0-9]{1,18}):([1-9][0-9]{0,2})")
_line = re.compile(rf"(0|[1-9][0-9]{{0,8}})[ \t]++({TOKEN_PATTERN})[ \t]++([^ \t]++)([^\r\n]*+)")
_lifetime = re.compile(r"(?:2\^([0-9]{1,2})|([1-9][0-9]{0,15}))")


class SrtpPolicy(Enum):
    """How much a trunk asks for."""

    OFF = "off"
    """Plain RTP; who offers nothing but SRTP is refused."""
    OPTIONAL = "optional"
    """SRTP with peers that do it, plain RTP with others."""
    REQUIRED = "required"
    """SRTP or no call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoLine:
    """One ``a=crypto`` line. `text` is all of it behind the colon; `flaw` says why it cannot be used, if so."""

    text: str = field(repr=False)
    tag: int = -1
    suite: str = ""
    key: bytes = field(default=b"", repr=False)
    mki: bytes = b""
    """What every packet under the key has before its tag (RFC 3711 3.1)."""
    flaw: str = ""

    @classmethod
    def parse(cls, text: str) -> CryptoLine:
        """The line, whatever it holds (RFC 4568 9.2); one that we cannot use has a `flaw`."""
        found = _line.fullmatch(text) if len(text) <= MAXIMUM_CRYPTO_CHARACTERS else None
        if found is None:
            return cls(text=text, flaw="not a crypto attribute")
        tag, suite, keys, parameters = found.groups()
        line = cls(text=text, tag=int(tag), suite=suite.upper())
        try:
            _check_parameters(parameters.split())
            key, mki = _read_key(line.suite, keys)
            return replace(line, key=key, mki=mki)
        except NegotiationError as error:
            return replace(line, flaw=str(error))

    @classmethod
    def of(cls, tag: int, suite: str, key: bytes) -> CryptoLine:
        """Our line: no lifetime (that of the suite), no MKI, no parameters."""
        return cls(text=f"{tag} {suite} inline:{b64encode(key).decode()}", tag=tag, suite=suite, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SrtpKeys:
    """An agreement: `local_key` protects what we send, `remote_key` what we receive."""

    suite: str
    local_key: bytes = field(repr=False)
    remote_key: bytes = field(repr=False)
    remote_mki: bytes = b""
    profile: str = field(default=SECURE_PROFILE, compare=False)
    """Of the m= line, which a later offer of ours keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SrtpTerms:
    """What we bring to one negotiation: the policy, and a fresh key for each suite.

    Without `fresh_keys` SRTP cannot be agreed on: `REQUIRED` then refuses everything. `current` is in force from an
    earlier negotiation of the same call.
    """

    policy: SrtpPolicy = SrtpPolicy.OFF
    fresh_keys: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    current: SrtpKeys | None = None

    @classmethod
    def draw(
        cls, policy: SrtpPolicy, random_bytes: Callable[[int], bytes], *, may_carry_keys: bool = True
    ) -> SrtpTerms:
        """Terms with keys of `random_bytes`, which must be fit for secrets.

        Where descriptions may not carry keys (they travel in clear), what is optional is left out, and what is required
        cannot be had.
        """
        if policy is SrtpPolicy.OFF or (policy is SrtpPolicy.OPTIONAL and not may_carry_keys):
            return NO_SRTP
        if not may_carry_keys:
            return cls(policy=policy)
        return cls(policy=policy, fresh_keys=_draw_keys(random_bytes))

    def renew(self, current: SrtpKeys | None, random_bytes: Callable[[int], bytes]) -> SrtpTerms:
        """The terms of the next negotiation, while `current` is in force. No key is ever drawn on twice."""
        fresh_keys = _draw_keys(random_bytes) if self.fresh_keys else ()
        return replace(self, fresh_keys=fresh_keys, current=current)

    def offer(self) -> tuple[str, tuple[CryptoLine, ...]]:
        """Profile and lines of an offer (RFC 4568 7.1.1).

        What is optional is offered as RTP/AVP with keys, which peers that know nothing of them take for plain RTP. Two
        m= lines would be two streams (RFC 3264 5.1; Asterisk 22 answers 488 where it does not encrypt), and RFC 5939 is
        spoken by nearly nobody. What is in force stays.

        Raises: `NegotiationError` where SRTP is required and no key may be told.
        """
        if self.policy is SrtpPolicy.OFF:
            return PLAIN_PROFILE, ()
        if not self.fresh_keys:
            raise NegotiationError("SRTP is required, and its keys may not be sent in clear")
        fresh_keys = dict(self.fresh_keys)
        keys = {suite: fresh_keys[suite] for suite in OFFERED_SUITES}
        profile = SECURE_PROFILE if self.policy is SrtpPolicy.REQUIRED else PLAIN_PROFILE
        if self.current is not None:
            keys = {self.current.suite: self.current.local_key} | {
                suite: key for suite, key in keys.items() if suite != self.current.suite
            }
            profile = self.current.profile
        return profile, tuple(CryptoLine.of(tag, suite, key) for tag, (suite, key) in enumerate(keys.items(), start=1))

    def answer(self, offered: Iterable[CryptoLine], profile: str) -> tuple[CryptoLine, SrtpKeys] | None:
        """Our line for the first of the offer that we can use, under its tag (RFC 4568 7.1.2); None where none is.

        Our key stays as long as the peer's does. A peer that changes its own begins a new context with new counters,
        and expects the same of us.
        """
        fresh_keys = dict(self.fresh_keys)
        for line in offered:
            if line.flaw or line.suite not in fresh_keys:
                continue
            current = self.current
            is_kept = current is not None and (current.suite, current.remote_key) == (line.suite, line.key)
            local_key = current.local_key if current is not None and is_kept else fresh_keys[line.suite]
            return CryptoLine.of(line.tag, line.suite, local_key), _keys(local_key, line, profile)
        return None


NO_SRTP = SrtpTerms()
"""Plain RTP alone."""


def accept_lines(offered: Iterable[CryptoLine], answered: Sequence[CryptoLine], profile: str) -> SrtpKeys:
    """What the peer's answer makes of our offer: it names one of our lines by tag and suite (RFC 4568 7.1.3).

    Raises: `NegotiationError` where it does not.
    """
    ours = {(line.tag, line.suite): line.key for line in offered}
    for line in answered:
        local_key = ours.get((line.tag, line.suite))
        if local_key is not None and not line.flaw:
            return _keys(local_key, line, profile)
    raise NegotiationError(f"the answer has no key for an SRTP suite that we offered: {explain(answered)}")


def explain(lines: Iterable[CryptoLine]) -> str:
    """What is wrong with `lines`, for a log: their suites and flaws, never a key."""
    told = [f"{shown(line.suite or 'line', 32)} ({line.flaw or 'not offered'})" for line in lines]
    return shown(", ".join(told), 200) or "no a=crypto line"


def _draw_keys(random_bytes: Callable[[int], bytes]) -> tuple[tuple[str, bytes], ...]:
    return tuple((suite, random_bytes(size)) for suite, size in _KEY_BYTES.items())


def _keys(local_key: bytes, theirs: CryptoLine, profile: str) -> SrtpKeys:
    return SrtpKeys(
        suite=theirs.suite, local_key=local_key, remote_key=theirs.key, remote_mki=theirs.mki, profile=profile
    )


def _read_key(suite: str, keys: str) -> tuple[bytes, bytes]:
    """Key and MKI of ``inline:KEY[|lifetime][|MKI:length]`` (RFC 4568 6.1). Errors must not name what may be a key."""
    size = _KEY_BYTES.get(suite)
    if size is None:
        raise NegotiationError("unknown suite")
    if ";" in keys:
        raise NegotiationError("several keys")
    method, _, information = keys.partition(":")
    if method.lower() != "inline":
        raise NegotiationError("unknown key method")
    encoded, *rest = information.split("|")
    mki = _read_mki(rest.pop()) if rest and ":" in rest[-1] else b""
    if len(rest) > 1 or not all(map(_is_lifetime, rest)):
        raise NegotiationError("no lifetime of a key")
    key = _decode(encoded)
    if len(key) != size:
        raise NegotiationError(f"key of {len(key)} octets, not {size}")
    return key, mki


def _read_mki(text: str) -> bytes:
    found = _mki.fullmatch(text)
    value, size = map(int, found.groups()) if found else (0, 0)
    if not 1 <= size <= MAXIMUM_MKI_BYTES or value >= 1 << 8 * size:
        raise NegotiationError("no MKI")
    return value.to_bytes(size, "big")


def _decode(encoded: str) -> bytes:
    # RFC 4568 6.1: padding is discarded; some leave it out where 28 or 44 octets would need it.
    bare = encoded.rstrip("=")
    try:
        return b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise NegotiationError("key that is not base64") from None


def _is_lifetime(text: str) -> bool:
    """Whether `text` is ``2^n`` or a count of packets, within what a master key is good for."""
    found = _lifetime.fullmatch(text)
    if found is None:
        return False
    exponent, count = found.groups()
    return int(exponent) <= _MAXIMUM_LIFETIME_BITS if exponent else int(count) <= 1 << _MAXIMUM_LIFETIME_BITS


def _check_parameters(parameters: Iterable[str]) -> None:
    """RFC 4568 6.3: a line with a parameter that is not understood is not to be used."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        is_window = name.upper() == "WSH" and re.fullmatch("[0-9]{2,9}", value) and int(value) >= _MINIMUM_WINDOW
        # RFC 4568 6.3.6: the window is a hint. 6.3.7: a name that begins with "-" may be ignored.
        if not (is_window or name.startswith("-")):
            raise NegotiationError(f"session parameter {shown(name, 32)}")
