"""Digest authentication as a server (RFC 3261 22, RFC 7616, RFC 8760): who calls us must know the trunk's password.

::

    request ──> no credentials ──────────────────> ABSENT  ─┐
                nonce too old, or used up ───────> STALE   ─┼─> 401 with two challenges: SHA-256, then MD5
                unknown user, wrong password ────> WRONG   ─┘   (and a count that leads to a ban)
                right ───────────────────────────> PROVEN

Nothing is kept for a challenge: a nonce is the time and a keyed hash of that time and the address it was sent to, so
that whoever forges addresses cannot use one, and nobody fills our memory by asking. What is kept, in a bounded table,
is which counts of a nonce have been used: a request that was listened to cannot be sent again by somebody else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from gateway.errors import MessageError
from gateway.sip.auth import split_challenges
from gateway.sip.grammar import quote
from gateway.sip.message import Request, Uri

NONCE_LIFETIME_S = 120.0
NONCES_REMEMBERED = 4096
"""Of which the counts that were used are known; a nonce that has fallen out counts as too old."""
MAX_GROWTH = 2
"""A challenge is not sent where it is more than so many times as long as its request: it may go to a forged address."""

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}
_WIDEST_HEX_COUNT = 8
_TIME_BYTES, _NUMBER_BYTES, _MARK_BYTES = 5, 4, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundAuth:
    """What a trunk's peer must know."""

    username: str
    password: str = field(repr=False)
    realm: str = "gateway"
    """Shown to everybody who asks; names no host unless the operator wants so."""
    algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    """Offered in this order (RFC 8760 2.3: the preferred first); without MD5 old devices are shut out."""

    def __post_init__(self) -> None:
        if not self.username or not self.password:
            raise ValueError("inbound authentication needs a user name and a password")
        if not self.algorithms or not set(self.algorithms) <= _HASHES.keys():
            raise ValueError(f"algorithms must be among {', '.join(_HASHES)}")


class Proof(Enum):
    """What credentials are worth."""

    ABSENT = "absent"
    """None for our realm, or such as cannot be read."""
    STALE = "stale"
    """Not judged, because the nonce is not, or not any more, good for this: try again with a new one."""
    WRONG = "wrong"
    """User or password."""
    PROVEN = "proven"


class DigestServer:
    """The judge of credentials. `key` must be unguessable; whoever knows it can make nonces."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._used: OrderedDict[str, int] = OrderedDict()
        self._made = 0
        self._forgotten = b""  # the stamp up to which unused nonces cannot be told from used ones any more

    def challenge(self, account: InboundAuth, host: str, now: float, *, is_stale: bool) -> tuple[tuple[str, str], ...]:
        """The WWW-Authenticate headers for a request from `host`, the strongest first (RFC 8760 2.3)."""
        self._made = (self._made + 1) % (1 << 8 * _NUMBER_BYTES)
        nonce = self._make_nonce(int(now).to_bytes(_TIME_BYTES) + self._made.to_bytes(_NUMBER_BYTES), host)
        stale = ", stale=true" if is_stale else ""
        fields = f"Digest realm={quote(account.realm)}, nonce={quote(nonce)}, qop={quote('auth')}{stale}"
        return tuple(("WWW-Authenticate", f"{fields}, algorithm={algorithm}") for algorithm in account.algorithms)

    def judge(self, request: Request, accounts: tuple[InboundAuth, ...], host: str, now: float) -> Judgement:
        """What the credentials in `request`, which came from `host`, are worth to `accounts`."""
        realms = {account.realm for account in accounts}
        credentials = _credentials_of(request, realms)
        if credentials is None:
            return Judgement(Proof.ABSENT)
        if not self._is_fresh(credentials.nonce, host, now):
            return Judgement(Proof.STALE)
        # Every account is tried to its end, so that neither words nor time tell which part was wrong.
        right = [account for account in accounts if _is_right(credentials, account, request)]
        if not right:
            return Judgement(Proof.WRONG)
        if not self._use(credentials.nonce, credentials.count):
            return Judgement(Proof.STALE)
        return Judgement(Proof.PROVEN, right[0])

    def _make_nonce(self, stamp: bytes, host: str) -> str:
        mark = hmac.digest(self._key, stamp + host.encode(), "sha256")[:_MARK_BYTES]
        return base64.urlsafe_b64encode(stamp + mark).decode()

    def _is_fresh(self, nonce: str, host: str, now: float) -> bool:
        stamp = _stamp_of(nonce)
        if not hmac.compare_digest(self._make_nonce(stamp, host).encode(), _bytes(nonce)):
            return False
        is_forgotten = stamp <= self._forgotten and nonce not in self._used
        return now - int.from_bytes(stamp[:_TIME_BYTES]) <= NONCE_LIFETIME_S and not is_forgotten

    def _use(self, nonce: str, count: int) -> bool:
        """Use up `count` of `nonce` and all below it; False where that has been done (RFC 7616 3.4, ``nc``)."""
        if count <= self._used.get(nonce, 0):
            return False
        self._used[nonce] = count
        self._used.move_to_end(nonce)
        if len(self._used) > NONCES_REMEMBERED:
            oldest, _ = self._used.popitem(last=False)
            self._forgotten = max(self._forgotten, _stamp_of(oldest))
        return True


@dataclass(frozen=True, slots=True)
class Judgement:
    """The worth of credentials and, where they are right, whose they are."""

    proof: Proof
    account: InboundAuth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Credentials:
    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    qop: str | None
    cnonce: str
    count_text: str

    @property
    def count(self) -> int:
        """The nonce count; without qop (RFC 2069) there is none, and the nonce serves once."""
        return int(self.count_text, 16) if self.qop is not None else 1


def _credentials_of(request: Request, realms: set[str]) -> _Credentials | None:
    """The Digest credentials for one of `realms`; None where there are none that can be read."""
    for value in request.headers.get_all("Authorization"):
        try:
            found = split_challenges(value)
        except MessageError:
            continue
        for scheme, parameters in found:
            if scheme == "digest" and parameters.get("realm") in realms:
                return _read(parameters)
    return None


def _read(parameters: dict[str, str]) -> _Credentials | None:
    qop, count = parameters.get("qop"), parameters.get("nc", "")
    is_count = 0 < len(count) <= _WIDEST_HEX_COUNT and all(c in "0123456789abcdefABCDEF" for c in count)
    needed = {name: parameters.get(name, "") for name in ("username", "realm", "nonce", "uri", "response")}
    if not all(needed.values()) or (qop is not None and (qop.lower() != "auth" or not is_count)):
        return None
    return _Credentials(
        **needed,
        algorithm=parameters.get("algorithm", "MD5").upper(),
        qop=qop,
        cnonce=parameters.get("cnonce", ""),
        count_text=count,
    )


def _is_right(credentials: _Credentials, account: InboundAuth, request: Request) -> bool:
    """Whether `credentials` are those of `account` for `request`; takes the same time whichever part is wrong."""
    is_offered = credentials.algorithm in account.algorithms
    name = _HASHES[credentials.algorithm if is_offered else account.algorithms[0]]

    def digest(text: str) -> str:
        return hashlib.new(name, text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()

    key = digest(f"{account.username}:{account.realm}:{account.password}")
    what = digest(f"{request.method}:{credentials.uri}")
    middle = f"{credentials.count_text}:{credentials.cnonce}:{credentials.qop}:" if credentials.qop is not None else ""
    expected = digest(f"{key}:{credentials.nonce}:{middle}{what}")
    is_realm = credentials.realm == account.realm
    is_response = hmac.compare_digest(expected.encode(), credentials.response.lower().encode("utf-8", "replace"))
    is_user = hmac.compare_digest(_bytes(account.username), _bytes(credentials.username))
    return is_response & is_user & is_offered & is_realm & _is_same_uri(credentials, request)


def _is_same_uri(credentials: _Credentials, request: Request) -> bool:
    """Whether the credentials were made for this Request-URI, however it is spelt (RFC 7616 3.4.6)."""
    if credentials.uri == str(request.uri):
        return True
    try:
        return Uri.parse(credentials.uri).matches(request.uri)
    except MessageError:
        return False


def _stamp_of(nonce: str) -> bytes:
    """The time and number in a nonce, whoever made it; empty where there are none."""
    try:
        return base64.urlsafe_b64decode(nonce.encode("ascii"))[: _TIME_BYTES + _NUMBER_BYTES]
    except ValueError:  # binascii.Error and UnicodeEncodeError among them
        return b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
