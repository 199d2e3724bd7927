"""The door: whose datagrams and connections are looked at, decided by the address alone, before anything is parsed.

::

    source ──> in a trunk's ACL? ──yes, one that asks for no credentials──────────────────────> read
                     │ no                 │ yes, but only of trunks that ask for credentials
                     │                    └──> banned? ──no──> read; every request is challenged
                     └──> counted, banned after so many; dropped in silence either way

Strangers get no answer, whatever their User-Agent says: scanners choose theirs. A ban adds little for a datagram, which
is dropped unread anyway. It matters for connections, which are then closed before they cost a descriptor, for
those who guess passwords, and for whoever feeds a firewall from the log.

A trunk's own server is never shut out for wrong passwords, since our registration and calls live there: after so many
its requests are judged, and answered, no more often than the ration of challenges allows.

Everything here is bounded. Under a flood from forged addresses the oldest entry makes room for the newest, so that such
a flood can make us forget a ban of strangers, at no cost; offenders against passwords are kept apart, and forged
addresses cannot get among them, because a nonce is good only for the address that it was sent to. Nor does whoever
forges the address of a trunk that is on TLS, in plain text, get that banned: a firewall fed from the log would lock it
out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from gateway.sip.hop import Hop, Transport
from gateway.sip.reject_reason import RejectReason, RejectTable
from gateway.sip.trunk import TokenBucket, Trunk

REPORTED_SOURCES = 10
"""Sources that one report names; the others are summed up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardOptions:
    """What becomes of those who may not speak."""

    ban_after: int = 10
    """Datagrams or connections of a stranger, or wrong passwords of anybody, within `ban_s` that lead to a ban."""
    ban_s: float = 600.0
    """How long a ban lasts, and how long a hit is remembered; 0: nobody is banned."""
    max_sources: int = 4096
    """Strangers remembered, and as many offenders against passwords. An IPv6 source is a /64."""
    challenges_per_s: float = 5.0
    """Requests that one source may have challenged in the long run; more are dropped."""
    challenge_burst: int = 20
    """Such requests at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one source did since the last report."""

    source: str
    """An address, or the /64 of an IPv6 one."""
    dropped: int
    """Datagrams and connections that were not looked at."""
    wrong_credentials: int
    is_banned: bool
    trunks: tuple[str, ...] = ()
    """Those whose own server it is, and whose `inbound_auth` it did not satisfy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """Who was not let in since the last report: the worst by name, the rest in one number."""

    sources: tuple[SourceReport, ...] = ()
    other_sources: int = 0
    other_dropped: int = 0


class Guard:
    """The decision for each source. `trunks_of` gives the trunks that a source may speak for by their ACLs."""

    def __init__(
        self, options: GuardOptions, rejected: RejectTable, trunks_of: Callable[[Hop], Sequence[Trunk]]
    ) -> None:
        self._options = options
        self._rejected = rejected
        self._trunks_of = trunks_of
        self._strangers: OrderedDict[str, _Source] = OrderedDict()
        self._offenders: OrderedDict[str, _Source] = OrderedDict()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._forgotten_sources = 0
        self._forgotten_dropped = 0

    def admit(self, source: Hop, now: float) -> Sequence[Trunk]:
        """The trunks that a message or connection of `source` may speak for; none where it is not to be looked at."""
        trunks = self._trunks_of(source)
        if not trunks:
            self._drop(self._strangers, source, now, RejectReason.STRANGER)
        elif self._offenders and not is_trusted(trunks):
            offender = self._offenders.get(source_of(source.host))
            is_shut_out = offender is not None and offender.banned_until > now
            if is_shut_out and not _served_at(source.host, trunks):
                self._drop(self._offenders, source, now, RejectReason.BANNED)
                return ()
        return trunks

    def may_challenge(self, host: str, now: float) -> bool:
        """Whether a request of `host` without credentials is worth an answer; such answers are rationed."""
        source, options = source_of(host), self._options
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = TokenBucket(options.challenges_per_s, options.challenge_burst)
            if len(self._buckets) > options.max_sources:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(source)
        return bucket.take(now)

    def may_judge(self, host: str, now: float) -> bool:
        """Whether credentials of `host` are looked at; rationed where it would be banned were it not a server."""
        record = self._offenders.get(host)
        return record is None or record.rationed_until <= now or self.may_challenge(host, now)

    def note_wrong_credentials(self, host: str, now: float) -> None:
        """`host` guessed a password, wrongly."""
        self._rejected.add(RejectReason.WRONG_CREDENTIALS)
        trunks = _served_at(host, self._trunks_of(Hop(host, 0, Transport.TLS)))
        record = self._record(self._offenders, host if trunks else source_of(host), now)
        record.wrong_credentials += 1
        record.trunks = trunks
        self._hit(record, now)

    def note_right_credentials(self, host: str) -> None:
        """`host` knew the password: what it got wrong before were slips."""
        for source in (host, source_of(host)):
            self._offenders.pop(source, None)

    def bans(self, now: float) -> int:
        """Sources that are banned."""
        tables = (self._strangers, self._offenders)
        return sum(record.banned_until > now for table in tables for record in table.values())

    def report(self, now: float) -> GuardReport:
        """Who was not let in since the last report; call it once a minute, and the log has a line a minute and source.

        It names at most `REPORTED_SOURCES`, those with wrong passwords first, then those with the most datagrams.
        """
        rows: list[SourceReport] = []
        for table in (self._offenders, self._strangers):
            for source, record in table.items():
                if record.dropped or record.wrong_credentials:
                    rows.append(record.report(source, now))
                    record.dropped = record.wrong_credentials = 0
        rows.sort(key=lambda row: (row.wrong_credentials, row.dropped), reverse=True)
        named, others = rows[:REPORTED_SOURCES], rows[REPORTED_SOURCES:]
        report = GuardReport(
            sources=tuple(named),
            other_sources=len(others) + self._forgotten_sources,
            other_dropped=sum(row.dropped for row in others) + self._forgotten_dropped,
        )
        self._forgotten_sources = self._forgotten_dropped = 0
        return report

    def _drop(self, table: OrderedDict[str, _Source], source: Hop, now: float, reason: RejectReason) -> None:
        record = self._record(table, source_of(source.host), now)
        record.dropped += 1
        if record.banned_until > now:
            reason = RejectReason.BANNED
        else:
            self._hit(record, now, forged=source)
        self._rejected.add(reason)

    def _record(self, table: OrderedDict[str, _Source], source: str, now: float) -> _Source:
        record = table.get(source)
        if record is None:
            record = table[source] = _Source(now)
            if len(table) > self._options.max_sources:
                self._forget(table)
        else:
            table.move_to_end(source)
        return record

    def _forget(self, table: OrderedDict[str, _Source]) -> None:
        _, record = table.popitem(last=False)
        if record.dropped:
            self._forgotten_sources += 1
            self._forgotten_dropped += record.dropped

    def _hit(self, record: _Source, now: float, *, forged: Hop | None = None) -> None:
        """Count towards a ban; `forged` is an address that may be, and is banned only where no trunk is there."""
        options = self._options
        if now - record.since > options.ban_s:
            record.since, record.hits = now, 0
        record.hits += 1
        if record.hits >= options.ban_after and options.ban_s > 0:
            record.hits = 0
            if record.trunks:
                record.rationed_until = now + options.ban_s
            elif forged is None or not self._trunks_of(forged._replace(transport=Transport.TLS)):
                record.banned_until = now + options.ban_s


class _Source:
    """One source: `hits` since `since`; `dropped` and `wrong_credentials` since the last report."""

    __slots__ = ("banned_until", "dropped", "hits", "rationed_until", "since", "trunks", "wrong_credentials")

    def __init__(self, now: float) -> None:
        self.since = now
        self.hits = 0
        self.banned_until = float("-inf")
        self.rationed_until = float("-inf")
        self.trunks: tuple[str, ...] = ()
        self.dropped = 0
        self.wrong_credentials = 0

    def report(self, source: str, now: float) -> SourceReport:
        return SourceReport(
            source=source,
            dropped=self.dropped,
            wrong_credentials=self.wrong_credentials,
            is_banned=self.banned_until > now,
            trunks=self.trunks,
        )


def is_trusted(trunks: Sequence[Trunk]) -> bool:
    """Whether one of `trunks` takes its peer's address as proof enough."""
    return any(trunk.options.inbound_auth is None for trunk in trunks)


def _served_at(host: str, trunks: Sequence[Trunk]) -> tuple[str, ...]:
    """The names of those of `trunks` that ask for credentials and have a server at `host`."""
    return tuple(trunk.name for trunk in trunks if trunk.options.inbound_auth is not None and trunk.has_host(host))


def source_of(host: str) -> str:
    """What is counted as one source: an IPv4 address, the /64 of an IPv6 one (whoever has one has them all)."""
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
