"""A trunk: the peer at the other end of our calls, who may speak for it, and the account that is shown to it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.errors import shown
from gateway.sip.auth import HEADER_NAMES, DigestCredentials, parse_challenges, select_challenge
from gateway.sip.auth_server import InboundAuth
from gateway.sip.hop import Hop
from gateway.sip.message import Address, NameAddr, Request, Response, Uri

MAXIMUM_SERVERS = 16
"""How many servers of one trunk are known at a time."""
MAXIMUM_TRIES = 2
"""How often one request is repeated with credentials before the account counts as refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkOptions:
    """One PBX or carrier."""

    name: str
    peer: Hop
    """Where requests go, resolved: the registrar, proxy or PBX."""
    alternates: tuple[Hop, ...] = ()
    """Where they go when nobody answers at `peer`, in this order: its other servers, or other registrars."""
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
    udp_limit_bytes: int = 1300
    """Requests longer than this go by TCP instead of UDP, unless TCP fails (RFC 3261 18.1.1); 0: never."""
    keepalive_s: float = 0.0
    """How often a line break is sent to the registrar to keep a NAT's binding open (RFC 5626 3.5.1); 0: never."""
    acl: tuple[str, ...] = ()
    """Networks (``10.0.0.0/24``) that may speak for the trunk, besides the host of `peer`."""
    inbound_auth: InboundAuth | None = None
    """What requests from there must prove to know; None: the address is proof enough."""
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    """Codecs in the order of preference, for those who negotiate media."""


class Trunk:
    """One trunk at run time. Raises: `ValueError` where an `acl` entry is not a network."""

    def __init__(self, options: TrunkOptions, make_cnonce: Callable[[], str]) -> None:
        self.options = options
        self.name = options.name
        self._set_hops(_no_less_secure((options.peer, *options.alternates)))
        self.hop = options.peer
        """The one that requests go to at present."""
        self._redirected: Hop | None = None
        self.without_tcp: set[Address] = set()
        """Servers where a long request could not be sent by TCP: the next ones go by UDP at once."""
        self.account = Account(options, self.has_server, make_cnonce)
        self._acl = tuple(_range_of(ip_network(entry, strict=False)) for entry in options.acl)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The peer's servers, the preferred one first."""
        return self._hops

    def _set_hops(self, hops: tuple[Hop, ...]) -> None:
        self._hops, self._is_secure = hops, hops[0].transport.is_secure
        # Compared for every datagram of every stranger, trunk by trunk: as plain numbers, which costs a tenth.
        self._hosts = frozenset(_number_of(address) for hop in hops if (address := _parse_ip(hop.host)) is not None)

    def allows(self, host: str) -> bool:
        """Whether messages from `host` may speak for this trunk."""
        number = _parse_number(host)
        if number is None:
            return False
        if number in self._hosts:
            return True
        version, value = number
        for network, first, last in self._acl:  # noqa: SIM110 - a generator would cost as much as the comparisons
            if version == network and first <= value <= last:
                return True
        return False

    def has_host(self, host: str) -> bool:
        """Whether one of the peer's servers is at `host`."""
        return _parse_number(host) in self._hosts

    def hears(self, source: Hop) -> bool:
        """Whether a message from `source` may speak for this trunk: a trunk on TLS is not spoken for in plain text."""
        return (not self._is_secure or source.transport.is_secure) and self.allows(source.host)

    def has_server(self, hop: Hop) -> bool:
        """Whether `hop` is one of the peer's servers, on a transport that is no less secure than configured."""
        is_secure = hop.transport.is_secure
        return any(
            hop.port == one.port and _is_same_host(hop.host, one.host) and (is_secure or not one.transport.is_secure)
            for one in self.hops
        )

    @property
    def is_secure(self) -> bool:
        """Whether the trunk is on TLS."""
        return self._is_secure

    @property
    def others(self) -> tuple[Hop, ...]:
        """The servers to be tried when the present one does not answer: those behind it in the list, then the rest."""
        place = self.hops.index(self.hop) if self.hop in self.hops else -1
        return tuple(hop for hop in (*self.hops[place + 1 :], *self.hops[: max(place, 0)]) if hop != self.hop)

    def redirect(self, hop: Hop) -> None:
        """Send to `hop`, one that the peer named itself, until it fails."""
        if hop not in self.hops:
            self._set_hops((*self.hops[: MAXIMUM_SERVERS - 1], hop))
        self.hop = self._redirected = hop

    def turn_to(self, hop: Hop) -> None:
        """Send to `hop` for want of a better one."""
        self.hop, self._redirected = hop, None

    def prefer(self) -> None:
        """Send to the preferred server again."""
        self.turn_to(self.hops[0])

    @property
    def is_elsewhere(self) -> bool:
        """Whether requests go to another server than the preferred one, for want of its answer."""
        return self.hop not in (self.hops[0], self._redirected)

    def relocate(self, hops: tuple[Hop, ...]) -> bool:
        """Take another list of servers; True where the present one is no longer among them. Raises: `ValueError`."""
        if not hops:
            raise ValueError(f"trunk {self.name} without a server")
        self._set_hops(_no_less_secure(hops))
        self.without_tcp.clear()
        if self.hop in self.hops:
            return False
        self.prefer()
        return True

    @property
    def address_of_record(self) -> NameAddr:
        """Who we are to the peer: To and From of REGISTER (RFC 3261 10.2), From of our calls."""
        return self.caller(None, None)

    def caller(self, user: str | None, display_name: str | None) -> NameAddr:
        """The From of a call that we place, without tag."""
        options = self.options
        host, port = (options.registrar.host, options.registrar.port) if options.registrar else self.hops[0].address
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

    def of(self, source: Hop) -> list[Trunk]:
        """Those that `source` may speak for."""
        return [trunk for trunk in self if trunk.hears(source)]

    def at(self, hop: Hop) -> Trunk | None:
        """The trunk that `hop` is a server of; else one with a server on its host; else one that it may speak for."""
        return (
            next((trunk for trunk in self if any(hop.is_at(one) for one in trunk.hops)), None)
            or next((trunk for trunk in self if any(hop.host == one.host for one in trunk.hops)), None)
            or next((trunk for trunk in self if trunk.allows(hop.host)), None)
        )

    def choose(self, source: Hop, number: str) -> Trunk | None:
        """The trunk that a call to `number` comes from, by its source.

        Trunks may share a host: then the transport, the port and the number decide, in this order. A trunk that asks
        for credentials is none of them: who has proven them is known by them, not by an address.
        """
        trunks = [trunk for trunk in self.of(source) if trunk.options.inbound_auth is None]
        same = [trunk for trunk in trunks if trunk.hops[0].transport is source.transport] or trunks
        exact = [trunk for trunk in same if any(hop.address == source.address for hop in trunk.hops)] or same
        called = [trunk for trunk in exact if trunk.options.contact_user == number] or exact
        return called[0] if called else None


class Account:
    """The trunk's user name and password, and the judgement of whom to show a digest of them.

    An attacker who can make us answer a challenge of his own may guess the password at leisure (CVE-2021-41158), so a
    challenge is answered only if it came from the address and port of one of the trunk's servers, over TLS where the
    trunk is on TLS, and if it names the realm of the account. That realm is configured, or learned when the peer
    challenges what we send there on our own account; a challenge inside a dialog must name the realm known by then.
    """

    def __init__(self, options: TrunkOptions, is_server: Callable[[Hop], bool], make_cnonce: Callable[[], str]) -> None:
        self._options = options
        self._is_server = is_server
        self._make_cnonce = make_cnonce
        self._realm = options.auth_realm
        self._credentials: dict[str, DigestCredentials] = {}

    def preempt(self, request: Request) -> None:
        """Add credentials to `request` before it is asked for any, with the next count of a nonce that still serves."""
        for header, credentials in self._credentials.items():
            request.headers.set(header, credentials.authorization(request.method, str(request.uri), request.body))

    def answer(self, request: Request, response: Response, *, source: Hop, is_in_dialog: bool) -> str | None:
        """Add to `request` what the challenge in `response` asks for; why not, as a reason for people, where not.

        `request` is the repetition to be sent to the trunk; `source` is where `response` came from.
        """
        asked, header = HEADER_NAMES[response.status]
        options = self._options
        if options.username is None:
            return "no account is configured for this trunk"
        if not self._is_server(source):
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

    def take(self, now: float, count: int = 1) -> bool:
        """Take `count`; False when there are not so many."""
        elapsed_s = 0.0 if self._filled_at is None else max(now - self._filled_at, 0.0)
        self._filled_at = now
        self._level = min(self._level + elapsed_s * self._rate_per_s, self._burst)
        if self._level < count:
            return False
        self._level -= count
        return True


def is_stale(response: Response) -> bool:
    """Whether a challenge says that only the nonce was too old, not the password wrong (RFC 7616 3.3)."""
    asked, _ = HEADER_NAMES[response.status]
    return any(challenge.stale for challenge in parse_challenges(response.headers.get_all(asked)))


def plain_ip(host: str) -> str | None:
    """A numeric `host` in its usual form, IPv4 if it is one that a dual-stack socket shows as IPv6; None for a name."""
    address = _parse_ip(host)
    if address is None:
        return None
    _, percent, zone = host.partition("%")
    return f"{address}{percent}{zone}"


def _is_same_host(one: str, other: str) -> bool:
    """Whether both are the same address; link-local ones of two networks are not (RFC 4007 6)."""
    address, zones = _parse_ip(one), {one.partition("%")[2], other.partition("%")[2]} - {""}
    return address is not None and address == _parse_ip(other) and len(zones) < 2


def _no_less_secure(hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
    """`hops` without those that show in plain text what the first of them hides (RFC 3261 26.2.2)."""
    return tuple(hop for hop in hops if hop.transport.is_secure or not hops[0].transport.is_secure)


def _range_of(network: IPv4Network | IPv6Network) -> tuple[int, int, int]:
    """Version, first and last address."""
    return network.version, int(network.network_address), int(network.broadcast_address)


def _number_of(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    return address.version, int(address)


@lru_cache(maxsize=1024)
def _parse_number(host: str) -> tuple[int, int] | None:
    address = _parse_ip(host)
    return None if address is None else _number_of(address)


@lru_cache(maxsize=1024)
def _parse_ip(host: str) -> IPv4Address | IPv6Address | None:
    """`host` as a number; an IPv4 address that a dual-stack socket shows as IPv6 counts as IPv4."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
