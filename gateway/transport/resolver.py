"""Names of registrars and proxies, asked apart from everything else; never while a call waits.

A name's addresses come from the first that knows it, in the order most systems are set to::

    /etc/hosts ─> DNS (A, AAAA) ─> getaddrinfo: mDNS, LDAP, whatever else this machine is set to ask

SRV and NAPTR come from DNS alone. With name servers of our own, those alone are asked.

A resolver may hang for half a minute. So all of it belongs into `apart`: a daemon thread of its own, which holds
neither the event loop, nor the pool other work shares, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdata
import dns.rdatatype
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV
import dns.resolver

from gateway.errors import ResourceError, shown
from gateway.sip.message import Address
from gateway.transport.dns_sockets import BoundedBackend
from gateway.transport.sockets import family_of

RESOLVE_WITHIN_S = 2.0
LOCAL_TTL_S = 60.0
"""How long an answer holds that was not DNS's and so tells no time."""
MAX_RECORDS = 64
"""Of one answer; what is beyond is passed over."""

_HOSTS = Path("/etc/hosts")
_RESOLV_CONF = Path("/etc/resolv.conf")
_MAX_HOSTS_CHARACTERS = 1 << 20
_RECORD_OF = {socket.AF_INET: dns.rdatatype.A, socket.AF_INET6: dns.rdatatype.AAAA}
_THIS_NETWORK = IPv4Network("0.0.0.0/8")

T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=dns.rdata.Rdata)
Families = Sequence[socket.AddressFamily]


class NameServiceError(ResourceError):
    """A name cannot be resolved. `is_absent`: there is no such thing, as opposed to nobody there who could tell."""

    def __init__(self, host: str, why: str, *, is_absent: bool) -> None:
        self.host = host
        self.is_absent = is_absent
        self.why = why
        remedy = "configure its IP address or mend the name service (/etc/resolv.conf)"
        super().__init__(f"cannot resolve {shown(host)}: {why}; {remedy}")


class Service(NamedTuple):
    """An SRV record (RFC 2782). An empty `target`: the service is decidedly not offered."""

    priority: int
    weight: int
    port: int
    target: str


class Pointer(NamedTuple):
    """A NAPTR record without a regular expression (RFC 3403, RFC 3263 4.1); `flag` and `service` in capitals."""

    order: int
    preference: int
    flag: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """Records, none where there are none, and how long that holds."""

    records: tuple[T, ...] = ()
    ttl_s: float = LOCAL_TTL_S
    is_ranked: bool = False
    """Whether their order means something; that of DNS does not, and is made the canonical one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverOptions:
    """Whom to ask, and how long."""

    servers: tuple[Address, ...] | None = None
    """Name servers to ask, and nobody else; None: as this machine is set to."""
    timeout_s: float = RESOLVE_WITHIN_S
    """For everything that one name takes."""


async def apart(work: Callable[[], T]) -> T:
    """What `work` returns or raises, from a daemon thread of its own, which is left to itself when we are cancelled."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def deliver(settle: Callable[[], None]) -> None:
        if not result.done():  # given up meanwhile
            settle()

    def run() -> None:
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
            outcome = lambda: result.set_exception(failure)  # noqa: E731
        else:
            outcome = lambda: result.set_result(value)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=run, name="resolver", daemon=True).start()
    return await result


async def apart_async(make: Callable[[], Coroutine[None, None, T]]) -> T:
    """`apart` for a coroutine, which gets an event loop of its own there."""
    return await apart(lambda: asyncio.run(make()))


class Resolver:
    """Asks for the records of names. Keeps nothing: a changed ``/etc/resolv.conf`` counts from the next question on."""

    def __init__(self, options: ResolverOptions | None = None, *, hosts: Path = _HOSTS) -> None:
        self.options = options or ResolverOptions()
        self._hosts = hosts

    def hosts(self, host: str, families: Families) -> tuple[str, ...]:
        """The addresses of `host` in ``/etc/hosts``, in its order; none where we have name servers of our own."""
        if self.options.servers is not None:
            return ()
        return tuple(_usable(_read_hosts(self._hosts, host), families))

    async def addresses(self, host: str, families: Families) -> Answer[str]:
        """The numeric addresses of `host`, families in the order given; those that cannot be anybody's are left out.

        Raises:
            NameServiceError: nobody who could tell gives an answer.
        """
        if family_of(host) is not None:
            return Answer(records=tuple(_usable([host], families)), is_ranked=True)
        if known := self.hosts(host, families):
            return Answer(records=known, is_ranked=True)
        failure: NameServiceError | None = None
        try:
            answer = await self._ask_addresses(host, families)
            if answer.records:
                return answer
        except NameServiceError as error:
            failure = error
        if self.options.servers is None and (others := await self._ask_system(host, families)):
            return Answer(records=others, is_ranked=True)
        if failure is not None:
            raise failure
        return answer

    async def services(self, name: str) -> Answer[Service]:
        """The SRV records of `name`. Raises: `NameServiceError`."""
        answer = await self._ask(name, dns.rdatatype.SRV, dns.rdtypes.IN.SRV.SRV)
        records = [Service(r.priority, r.weight, r.port, _host(r.target)) for r in answer.records]
        return Answer(records=tuple(sorted(records)[:MAX_RECORDS]), ttl_s=answer.ttl_s)

    async def pointers(self, name: str) -> Answer[Pointer]:
        """The NAPTR records of `name` that have no regular expression. Raises: `NameServiceError`."""
        answer = await self._ask(name, dns.rdatatype.NAPTR, dns.rdtypes.IN.NAPTR.NAPTR)
        records = [
            Pointer(r.order, r.preference, _word(r.flags), _word(r.service), _host(r.replacement))
            for r in answer.records
            if not r.regexp
        ]
        return Answer(records=tuple(sorted(records)[:MAX_RECORDS]), ttl_s=answer.ttl_s)

    async def _ask_addresses(self, host: str, families: Families) -> Answer[str]:
        """A and AAAA at once; what one of them lacks does not spoil the other."""
        asked = [self._ask(host, _RECORD_OF[family], dns.rdata.Rdata) for family in families]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        good = [answer for answer in answers if not isinstance(answer, BaseException)]
        found = tuple(
            address for answer in good for address in _usable(sorted(map(_address, answer.records)), families)
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not (found and isinstance(answer, NameServiceError)):
                raise answer
        ttls = [answer.ttl_s for answer in good if answer.records]
        return Answer(records=found[:MAX_RECORDS], ttl_s=min(ttls, default=LOCAL_TTL_S))

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType, form: type[RecordT]) -> Answer[RecordT]:
        """One question to DNS. A name of one label is looked for in the machine's search list, too."""
        try:
            resolver = self._resolver()
            found = await resolver.resolve(
                name if _is_relative(name) else f"{name.rstrip('.')}.",
                kind,
                search=_is_relative(name),
                lifetime=self.options.timeout_s / 2,
                backend=BoundedBackend(),
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Answer()
        except dns.exception.Timeout as error:
            raise NameServiceError(name, "no name server answers", is_absent=False) from error
        except (dns.resolver.NoNameservers, dns.resolver.NoResolverConfiguration) as error:
            raise NameServiceError(name, _first_reason(error), is_absent=False) from error
        except Exception as error:
            is_no_name = isinstance(error, dns.exception.DNSException | ValueError)
            why = shown(str(error) or type(error).__name__)
            raise NameServiceError(name, why, is_absent=is_no_name) from error
        records = found.rrset or ()
        return Answer(
            records=tuple(record for record in records if isinstance(record, form)),
            ttl_s=float(found.chaining_result.minimum_ttl),
        )

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """As the machine is set to, or with our own servers. A dead server costs a sixth of the time, not all of it."""
        servers = self.options.servers
        resolver = dns.asyncresolver.Resolver(str(_RESOLV_CONF), configure=servers is None)
        if servers is not None:
            resolver.domain = dns.name.root
            resolver.nameservers = [dns.nameserver.Do53Nameserver(server.host, server.port) for server in servers]
        resolver.timeout = self.options.timeout_s / 6
        return resolver

    async def _ask_system(self, host: str, families: Families) -> tuple[str, ...]:
        """What getaddrinfo says; nothing where it fails: what DNS has said already tells more."""
        try:
            found = await apart(lambda: socket.getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_DGRAM))
        except (OSError, UnicodeError):
            return ()
        return tuple(_usable([str(address[0]) for *_, address in found], families))


def _is_relative(name: str) -> bool:
    """Whether `name` is of one label, those of services (``_sip._udp``) not counted."""
    return sum(not label.startswith("_") for label in name.split(".")) == 1


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).removesuffix(".")


def _word(octets: bytes) -> str:
    return octets.decode("ascii", "replace").upper()


def _address(record: dns.rdata.Rdata) -> str:
    return record.to_text()


def _usable(addresses: Iterable[str], families: Families) -> list[str]:
    """`addresses` of `families` in their order, each once, without those where no single peer can be.

    Answers lie, or are made to point inwards: groups, broadcasts, "this network", IPv4 in the clothes of IPv6, and
    link-local IPv6, which means nothing without an interface. Loopback stays: a PBX on this machine has a name, too.
    """
    good = [address for address in dict.fromkeys(addresses) if family_of(address) in families and _is_somebody(address)]
    return sorted(good, key=lambda address: [*families].index(socket.AF_INET6 if ":" in address else socket.AF_INET))


def _is_somebody(address: str) -> bool:
    ip = ip_address(address)
    if ip.is_multicast or ip.is_unspecified:
        return False
    if ip.version == 4:
        return not ip.is_reserved and ip not in _THIS_NETWORK  # reserved: 240.0.0.0/4, broadcast with it
    return ip.ipv4_mapped is None and not ip.is_link_local


def _read_hosts(file: Path, host: str) -> list[str]:
    """The addresses that ``/etc/hosts`` gives to `host` or one of its aliases."""
    wanted = host.rstrip(".").lower()
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            rows = [line.partition("#")[0].lower().split() for line in lines.read(_MAX_HOSTS_CHARACTERS).splitlines()]
    except OSError:
        return []
    return [address for address, *names in filter(None, rows) if wanted in names]


def _first_reason(error: dns.exception.DNSException) -> str:
    """Why no name server gave an answer, in few words: what the first of them said."""
    errors = error.kwargs.get("errors") if isinstance(error, dns.resolver.NoNameservers) else None
    if not errors:
        return "no name server is configured"
    server, _, port, reason, _ = errors[0]
    return shown(f"name server {server} port {port}: {reason}")
