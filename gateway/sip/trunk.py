"""A trunk: the peer at the other end of our calls, who may speak for it, and the account that is shown to it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.errors import shown
from gateway.sip.auth import HEADER_NAMES, DigestCredentials, parse_challenges, select_challenge
from gateway.sip.message import Address, NameAddr, Request, Response, Uri

MAXIMUM_TRIES = 2
"""How often one request is repeated with credentials before the account counts as refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkOptions:
    """One PBX or carrier."""

    name: str
    peer: Address
    """Where requests go, resolved: the registrar, proxy or PBX."""
    registrar: Uri | None = None
    """``sip:host[:port]`` as the registrar calls itself; None: no registration, the peer knows our address."""
    username: str | None = None
    """Account for digest authentication; None: challenges are not answered."""
    password: str = field(default="", repr=False)
    auth_realm: str | None = None
    """The only realm the account is shown to; None: the one that answers our REGISTER or INVITE at `peer`."""
    minimum_algorithm: str = "MD5"
    """Weakest hash that challenges are answered with: MD5, SHA-256 or SHA-512-256."""
    contact_user: str = "gateway"
    """User part of our Contact and From."""
    display_name: str = ""
    """Shown name of the calls we place."""
    expires_s: int = 300
    """Lifetime asked of the registrar."""
    acl: tuple[str, ...] = ()
    """Networks (``10.0.0.0/24``) that may speak for the trunk, besides the host of `peer`."""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """Codecs in the order of preference, for those who negotiate media."""


class Trunk:
    """One trunk at run time. Raises: `ValueError` where an `acl` entry is not a network."""

    def __init__(self, options: TrunkOptions, make_cnonce: Callable[[], str]) -> None:
        self.options = options
        self.name = options.name
        self.account = Account(options, make_cnonce)
        networks = tuple(ip_network(entry, strict=False) for entry in options.acl)
        self._networks: tuple[IPv4Network | IPv6Network, ...] = networks + _network_of(options.peer.host)

    def allows(self, host: str) -> bool:
        """Whether datagrams from `host` may speak for this trunk."""
        address = _parse_ip(host)
        return address is not None and any(address in network for network in self._networks)

    @property
    def address_of_record(self) -> NameAddr:
        """Who we are to the peer: To and From of REGISTER (RFC 3261 10.2), From of our calls."""
        return self.caller(None, None)

    def caller(self, user: str | None, display_name: str | None) -> NameAddr:
        """The From of a call that we place, without tag."""
        options = self.options
        host, port = (options.registrar.host, options.registrar.port) if options.registrar else options.peer
        name = options.display_name if display_name is None else display_name
        return NameAddr(name, Uri.of_user(user or options.contact_user, host, port))


class Trunks:
    """All trunks of a user agent. Iterates over them in the order of the options."""

    def __init__(self, trunks: Iterable[Trunk]) -> None:
        self._by_name = {trunk.name: trunk for trunk in trunks}

    def __iter__(self) -> Iterator[Trunk]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Trunk | None:
        """The trunk of that name."""
        return self._by_name.get(name)

    def of(self, source: Address) -> list[Trunk]:
        """Those that `source` may speak for."""
        return [trunk for trunk in self if trunk.allows(source.host)]

    def choose(self, source: Address, number: str) -> Trunk | None:
        """The trunk that a call to `number` comes from. Trunks may share a host: then port and number decide."""
        trunks = self.of(source)
        exact = [trunk for trunk in trunks if trunk.options.peer == source] or trunks
        called = [trunk for trunk in exact if trunk.options.contact_user == number] or exact
        return called[0] if called else None


class Account:
    """The trunk's user name and password, and the judgement of whom to show a digest of them.

    An attacker who can make us answer a challenge of his own may guess the password at leisure (CVE-2021-41158), so a
    challenge is answered only if the request went to the trunk's `peer` and the response came from that very address
    and port, and if it names the realm of the account. That realm is configured, or learned when the peer challenges
    what we send there on our own account; a challenge inside a dialog must name the realm known by then.
    """

    def __init__(self, options: TrunkOptions, make_cnonce: Callable[[], str]) -> None:
        self._options = options
        self._make_cnonce = make_cnonce
        self._realm = options.auth_realm
        self._credentials: dict[str, DigestCredentials] = {}

    def preempt(self, request: Request) -> None:
        """Add credentials to `request` before it is asked for any, with the next count of a nonce that still serves."""
        for header, credentials in self._credentials.items():
            request.headers.set(header, credentials.authorization(request.method, str(request.uri), request.body))

    def answer(self, request: Request, response: Response, *, source: Address, is_in_dialog: bool) -> str | None:
        """Add to `request` what the challenge in `response` asks for; why not, as a reason for people, where not.

        `request` is the repetition to be sent to the trunk's peer; `source` is where `response` came from.
        """
        asked, header = HEADER_NAMES[response.status]
        options = self._options
        if options.username is None:
            return "no account is configured for this trunk"
        if source != options.peer:
            return f"challenge from {source} is not answered: the account belongs to {options.peer}"
        challenges = parse_challenges(response.headers.get_all(asked))
        realm = options.auth_realm or (self._realm if is_in_dialog else None)
        if is_in_dialog and realm is None:
            return "challenge inside a call is not answered: the realm of the account is not known yet"
        if realm is not None and not any(challenge.realm == realm for challenge in challenges):
            return f"challenge for another realm than {shown(realm)} is not answered"
        challenge = select_challenge(challenges, realm=realm, minimum_algorithm=options.minimum_algorithm)
        if challenge is None:
            return f"no challenge that may be answered (Digest, {options.minimum_algorithm} or better, qop auth)"
        self._realm = challenge.realm
        credentials = DigestCredentials(challenge, options.username, options.password, self._make_cnonce)
        self._credentials[header] = credentials
        request.headers.set(header, credentials.authorization(request.method, str(request.uri), request.body))
        return None

    def forget(self) -> None:
        """Drop remembered nonces: the next request goes without credentials, as the first one did."""
        self._credentials.clear()


class TokenBucket:
    """A rate limit: `rate_per_s` in the long run, `burst` at once."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._level = float(burst)
        self._filled_at: float | None = None

    def take(self, now: float) -> bool:
        """Take one; False when there is none."""
        elapsed_s = 0.0 if self._filled_at is None else max(now - self._filled_at, 0.0)
        self._filled_at = now
        self._level = min(self._level + elapsed_s * self._rate_per_s, self._burst)
        if self._level < 1:
            return False
        self._level -= 1
        return True


def is_stale(response: Response) -> bool:
    """Whether a challenge says that only the nonce was too old, not the password wrong (RFC 7616 3.3)."""
    asked, _ = HEADER_NAMES[response.status]
    return any(challenge.stale for challenge in parse_challenges(response.headers.get_all(asked)))


def _network_of(host: str) -> tuple[IPv4Network | IPv6Network, ...]:
    address = _parse_ip(host)
    return () if address is None else (ip_network(address),)


@lru_cache(maxsize=1024)
def _parse_ip(host: str) -> IPv4Address | IPv6Address | None:
    """`host` as a number; an IPv4 address that a dual-stack socket shows as IPv6 counts as IPv4."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
