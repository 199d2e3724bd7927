"""Where a trunk's servers are (RFC 3263): from a configured name to the hops that are tried, and how they are kept.

::

    numeric host ──────────────────────────────────────> itself
    port given, or a name of /etc/hosts ───────────────> A, AAAA
    else  NAPTR, unless one transport is configured ─┐
          SRV of _sip._udp, _sip._tcp, _sips._tcp  <─┘─> A, AAAA of each target in the order of RFC 2782
          no SRV ──────────────────────────────────────> A, AAAA with the transport's own port

None of it happens while a call waits. `Locator` asks at the start, and again when an answer's time is over; it goes on
with the last good answer where none can be had, and tells changes alone.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from random import Random
from typing import Protocol, TypeVar

from gateway.sip.hop import Hop, Transport
from gateway.transport.resolver import Answer, Families, NameServiceError, Pointer, Resolver, Service, apart_async
from gateway.transport.sockets import family_of

MAX_HOPS = 16
"""Of one trunk."""
MAX_SERVICES = 6
"""That NAPTR may send us to."""
SHORTEST_TTL_S = 30.0
LONGEST_TTL_S = 3600.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
OVERTIME_S = 0.5
"""What the resolver's thread may take beyond its time before it is left to itself."""

T = TypeVar("T")
_Server = tuple[str, int, Transport]
_SERVICE_OF = {Transport.UDP: "_sip._udp", Transport.TCP: "_sip._tcp", Transport.TLS: "_sips._tcp"}
_TRANSPORT_OF = {"SIP+D2U": Transport.UDP, "SIP+D2T": Transport.TCP, "SIPS+D2T": Transport.TLS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server as the operator wrote it. More than one of `transports`, by preference: the DNS may choose."""

    host: str
    port: int | None = None
    transports: tuple[Transport, ...] = (Transport.UDP,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The hops of a target in the order to be tried, at least one."""

    hops: tuple[Hop, ...]
    ttl_s: float
    is_whole: bool = True
    """False: a part of the questions found no answer, so that there may be other or better ones."""


async def locate(target: Target, resolver: Resolver, families: Families, random: Random) -> Location:
    """Find `target`. The same records and the same state of `random` give the same order.

    Raises:
        NameServiceError: nowhere, or not within the resolver's time.
    """
    transport = target.transports[0]
    if family_of(target.host) is not None:
        hop = Hop(target.host, target.port or transport.default_port, transport)
        return Location(hops=(hop,), ttl_s=LONGEST_TTL_S)
    search = _Search(target, resolver, families, random)
    timeout_s = resolver.options.timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            hops = await search.run()
    except TimeoutError as error:
        raise NameServiceError(target.host, f"no answer within {timeout_s:g} s", is_absent=False) from error
    return Location(hops=hops, ttl_s=search.ttl_s, is_whole=search.failure is None)


class _Search:
    """One location under way: what failed meanwhile, and the shortest time of all that was found."""

    def __init__(self, target: Target, resolver: Resolver, families: Families, random: Random) -> None:
        self._target = target
        self._resolver = resolver
        self._families = families
        self._random = random
        self.ttl_s = LONGEST_TTL_S
        self.failure: NameServiceError | None = None

    async def run(self) -> tuple[Hop, ...]:
        """The hops, at most `MAX_HOPS`. Raises: `NameServiceError` where there are none."""
        target = self._target
        transport = target.transports[0]
        by_port = target.port is not None or self._resolver.hosts(target.host, self._families)
        servers = None if by_port else await self._servers()
        if servers is None:
            servers = [(target.host, target.port or transport.default_port, transport)]
        if hops := await self._hops(servers):
            return hops
        if self.failure is not None:
            raise self.failure
        why = "no such name, or no address of a family we listen on" if servers else "it offers no SIP that we speak"
        raise NameServiceError(target.host, why, is_absent=True)

    async def _servers(self) -> list[_Server] | None:
        """The servers that NAPTR and SRV name, in order; None where there is no such record.

        An empty list is an answer, too: RFC 2782 has the target "." say that the service is not offered.
        """
        names = await self._service_names()
        answers = await asyncio.gather(*(self._try(self._resolver.services(name)) for _, name in names))
        found: list[_Server] = []
        for (transport, _), answer in zip(names, answers, strict=True):
            services = in_order_of_trial(answer.records, self._random)
            found += [(one.target, one.port, transport) for one in services if one.target and one.port]
        return found[:MAX_HOPS] if any(answer.records for answer in answers) else None

    async def _service_names(self) -> list[tuple[Transport, str]]:
        """Under which names to ask for SRV: those of NAPTR in their order, else the usual ones in that of preference.

        RFC 3263 4.1: NAPTR is for those who may choose the transport.
        """
        target = self._target
        usual = [(transport, f"{_SERVICE_OF[transport]}.{target.host}") for transport in target.transports]
        if len(target.transports) < 2:
            return usual
        answer = await self._try(self._resolver.pointers(target.host))
        return chosen_services(answer.records, target.transports) or usual

    async def _hops(self, servers: Sequence[_Server]) -> tuple[Hop, ...]:
        hosts = list(dict.fromkeys(host for host, _, _ in servers))
        answers = await asyncio.gather(*(self._try(self._resolver.addresses(host, self._families)) for host in hosts))
        addresses = {host: self._spread(answer) for host, answer in zip(hosts, answers, strict=True)}
        return joined(Hop(address, port, transport) for host, port, transport in servers for address in addresses[host])

    def _spread(self, answer: Answer[str]) -> list[str]:
        """Many gateways share the servers behind one name: each has its own order, the families' one for all."""
        addresses = list(answer.records)
        if not answer.is_ranked:
            self._random.shuffle(addresses)
            addresses.sort(key=lambda address: self._families.index(_family(address)))
        return addresses

    async def _try(self, question: Awaitable[Answer[T]]) -> Answer[T]:
        """What `question` finds, nothing where it fails: there are name servers that fail for SRV alone."""
        try:
            answer = await question
        except NameServiceError as error:
            self.failure = self.failure or error
            return Answer()
        if answer.records:
            self.ttl_s = min(self.ttl_s, answer.ttl_s)
        return answer


def in_order_of_trial(services: Iterable[Service], random: Random) -> list[Service]:
    """RFC 2782: by priority, within one drawn by weight, those of weight 0 last but for a small chance."""
    ordered: list[Service] = []
    for _, group in groupby(sorted(services), key=lambda service: service.priority):
        rest = sorted(group, key=lambda service: (service.weight > 0, service))
        while rest:
            ordered.append(rest.pop(_drawn(rest, random)))
    return ordered


def _drawn(services: Sequence[Service], random: Random) -> int:
    """The index of the first whose running sum of weights reaches a number drawn from 0 to the sum of all."""
    point = random.randint(0, sum(service.weight for service in services))
    sums = accumulate(service.weight for service in services)
    return next(index for index, running in enumerate(sums) if running >= point)


def chosen_services(pointers: Iterable[Pointer], transports: Sequence[Transport]) -> list[tuple[Transport, str]]:
    """Transport and name to ask SRV for, by preference: of the lowest order that has any we speak (RFC 3403 4.1)."""
    known = [
        (pointer, _TRANSPORT_OF[pointer.service])
        for pointer in sorted(pointers)
        if pointer.flag == "S" and pointer.replacement and _TRANSPORT_OF.get(pointer.service) in transports
    ]
    chosen = [(transport, pointer.replacement) for pointer, transport in known if pointer.order == known[0][0].order]
    return list(dict.fromkeys(chosen))[:MAX_SERVICES]


def joined(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """Each once, the first `MAX_HOPS` of them."""
    return tuple(dict.fromkeys(hops))[:MAX_HOPS]


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@dataclass(slots=True, eq=False)
class _Site:
    """One target as it is known now."""

    target: Target
    location: Location | None = None
    located_at: float = 0.0
    """When a whole answer was had last."""
    failures: int = 0
    """In a row."""
    reason: str = ""
    """The last of them."""

    def learn(self, found: Location, now: float) -> None:
        """Take what was found, unless less than the whole would take the place of a whole that is not too old."""
        known = self.location
        if found.is_whole or known is None or not known.is_whole or now - self.located_at > LONGEST_TTL_S:
            self.location = found
        if found.is_whole:
            self.located_at = now
        self.failures, self.reason = 0, ""


class LocationObserver(Protocol):
    """Who is told. Trunks are named."""

    def relocated(self, trunk: str, hops: tuple[Hop, ...], /) -> None:
        """Other hops than before, or other ones first; never none."""

    def not_located(self, trunk: str, error: NameServiceError, retry_in_s: float, /) -> None:
        """Told once a reason. What was known before holds on."""


Locate = Callable[[Target, Random], Awaitable[Location]]


class Locator:
    """Keeps the hops of all trunks fresh: ``await locator.start()``, then `run` as a task for as long as they matter.

    Each trunk has targets by preference, and the hops of all of them in that order. `locate` is how one is found;
    `locate_apart` in earnest.
    """

    def __init__(
        self,
        trunks: Mapping[str, Sequence[Target]],
        locate: Locate,
        observer: LocationObserver,
        *,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._trunks = {name: tuple(targets) for name, targets in trunks.items()}
        self._locate = locate
        self._observer = observer
        self._seed = seed
        self._clock = clock
        self._sleep = sleep
        self._sites = {target: _Site(target) for targets in self._trunks.values() for target in targets}

    async def start(self) -> dict[str, tuple[Hop, ...]]:
        """Ask for all of them at once; the trunks' hops, none for those not found yet.

        Raises:
            NameServiceError: none of the trunks can work, since no such names exist. Whoever cannot be asked yet is no
                reason to give up: `run` goes on asking.
        """
        if error := hopeless(await asyncio.gather(*map(self._ask, self._sites.values()))):
            raise error
        return {name: self.hops(name) for name in self._trunks}

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for target, site in self._sites.items():
                if family_of(target.host) is None:
                    tasks.create_task(self._keep(site), name=f"locate {target.host}")
            await asyncio.Event().wait()

    def hops(self, trunk: str) -> tuple[Hop, ...]:
        """Where `trunk` is as far as is known."""
        locations = (self._sites[target].location for target in self._trunks[trunk])
        return joined(hop for location in locations if location is not None for hop in location.hops)

    async def _keep(self, site: _Site) -> None:
        concerned = self._concerned(site)
        while True:
            await self._sleep(self._pause_s(site))
            before = {name: self.hops(name) for name in concerned}
            await self._ask(site)
            for name in concerned:
                if (hops := self.hops(name)) != before[name]:
                    self._observer.relocated(name, hops)

    def _concerned(self, site: _Site) -> list[str]:
        """The trunks that `site` is a target of."""
        return [name for name, targets in self._trunks.items() if site.target in targets]

    def _pause_s(self, site: _Site) -> float:
        if site.failures:
            return min(FIRST_RETRY_S * 2.0 ** min(site.failures - 1, 16), LAST_RETRY_S)
        if site.location is None or not site.location.is_whole:
            return SHORTEST_TTL_S
        return min(max(site.location.ttl_s, SHORTEST_TTL_S), LONGEST_TTL_S)

    async def _ask(self, site: _Site) -> NameServiceError | None:
        """Ask once; the error, if it was one."""
        try:
            # The same draw each time, so that only other records make another order.
            found = await self._locate(site.target, Random(f"{self._seed} {site.target}"))
        except NameServiceError as error:
            self._note_failure(site, error)
            return error
        site.learn(found, self._clock())
        return None

    def _note_failure(self, site: _Site, error: NameServiceError) -> None:
        site.failures += 1
        if site.reason != error.why:
            site.reason = error.why
            for name in self._concerned(site):
                self._observer.not_located(name, error, self._pause_s(site))


def hopeless(errors: Sequence[NameServiceError | None]) -> NameServiceError | None:
    """Why no trunk can work, by what asking for each target led to: none of their names exists."""
    absent = [error for error in errors if error is not None and error.is_absent]
    return absent[0] if absent and len(absent) == len(errors) else None


def locate_apart(resolver: Resolver, families: Families) -> Locate:
    """`locate` on a thread of its own: neither a resolver that hangs nor a hostile answer takes the caller's time."""
    limit_s = resolver.options.timeout_s + OVERTIME_S

    async def ask(target: Target, random: Random) -> Location:
        try:
            async with asyncio.timeout(limit_s):
                return await apart_async(lambda: locate(target, resolver, families, random))
        except TimeoutError as error:
            raise NameServiceError(target.host, f"no answer within {limit_s:g} s", is_absent=False) from error

    return ask
