"""What an operator sees of a running gateway: refusals as they come, and everything at once on demand (SIGUSR2)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from gateway.calls.logbook import masked
from gateway.errors import shown
from gateway.sip.reject_reason import RejectReason
from gateway.sip.user_agent import UserAgent
from gateway.transport.sip_trace import mask_secrets

if TYPE_CHECKING:
    from gateway.cli.service import Service

WATCH_PERIOD_S = 5.0
REPORT_PERIOD_S = 60.0
SUMMED_UP = (
    RejectReason.MALFORMED.value,
    RejectReason.UNSUITABLE.value,
    RejectReason.UNKNOWN_DIALOG.value,
    RejectReason.RATE.value,
    RejectReason.OVERLOAD.value,
    RejectReason.DRAINING.value,
    "strangers_refused",
    "limit_refused",
    "handshakes_failed",
    "closed_slow",
    "closed_slow_reader",
    "closed_malformed",
)
"""Told as sums; strangers are told by source, and a refused call has a line of its own."""

_number = re.compile("[0-9]{6,}")  # longer than a port

_log = structlog.stdlib.get_logger("gateway.service")
_security_log = structlog.stdlib.get_logger("gateway.security")


async def watch_signalling(
    user_agent: UserAgent, count_connections: Callable[[], Mapping[str, int]], *, masks_numbers: bool = True
) -> None:
    """Until cancelled: a line for what was refused lately, and a line for each source that was not let in."""

    def refused() -> dict[str, int]:
        return {**user_agent.counters.rejected.as_dict(), **count_connections()}

    before: dict[str, int] = {}  # not `refused()`: some loops serve sockets before this begins
    reported_at = float("-inf")
    while True:
        await asyncio.sleep(WATCH_PERIOD_S)
        now = refused()
        new = {name: now[name] - before.get(name, 0) for name in SUMMED_UP if now[name] > before.get(name, 0)}
        if new:
            is_malformed = RejectReason.MALFORMED.value in new
            flaw = _harmless(user_agent.counters.last_malformed, masks_numbers=masks_numbers)
            details = {"last_malformed": shown(flaw, 160)} if is_malformed else {}
            _log.warning("sip messages refused", **new, **details)
        before = now
        if time.monotonic() - reported_at >= REPORT_PERIOD_S and report_sources(user_agent):
            reported_at = time.monotonic()


def _harmless(flaw: str, *, masks_numbers: bool) -> str:
    """`flaw` without secrets, and without numbers where the log has none: it quotes what it finds fault with."""
    text = mask_secrets(flaw.encode("utf-8", "replace")).decode("utf-8", "replace")
    return _number.sub(lambda found: masked(found[0]), text) if masks_numbers else text


def report_sources(user_agent: UserAgent) -> bool:
    """One line a source that was not let in since the last report, and one for the sum of those that are too many.

    The fields are fixed, so that a firewall can be fed from them; the trunk and the setting follow where its own server
    shows wrong credentials. False where there was nothing to tell.
    """
    report = user_agent.guard_report(time.monotonic())
    for source in report.sources:
        where = {"trunk": ", ".join(source.trunks), "setting": "inbound_auth"} if source.trunks else {}
        _security_log.warning(
            "source refused",
            source=source.source,
            dropped=source.dropped,
            wrong_credentials=source.wrong_credentials,
            banned=source.is_banned,
            **where,
        )
    if report.other_sources:
        _security_log.warning("more sources refused", sources=report.other_sources, dropped=report.other_dropped)
    return bool(report.sources or report.other_sources)


def _spent_today(service: Service) -> dict[str, float] | None:
    """USD and minutes of the day, where they are limited."""
    services = service.services
    spent = services.accounting.ledger.spent(services.wall_clock().date())
    return None if spent is None else {"usd": round(float(spent[0]), 4), "minutes": round(spent[1] / 60, 1)}


def log_status(service: Service) -> None:
    """Everything at once, as one line."""
    agent, ports = service.user_agent, service.media.ports
    now, load = time.monotonic(), service.load.load()
    rejected = {name: count for name, count in agent.counters.rejected.as_dict().items() if count}
    late = service.media.send_lateness
    _log.info(
        "status",
        uptime_s=round(now - service.started_at),
        registrations={
            told.trunk: {
                "state": told.state.value,
                "server": str(told.server) if told.server else None,
                "expires_s": told.expires_s,
                "status": told.status,
            }
            for told in agent.registrations
        },
        peers={told.trunk: {"state": told.state.value, "server": str(told.server)} for told in agent.peers},
        connections=service.connection_count,
        calls=service.calls.call_count,
        legs=agent.leg_count,
        transactions=agent.transaction_count,
        tasks=len(asyncio.all_tasks()),
        sip_received=agent.counters.received,
        sip_sent=agent.counters.sent,
        rejected=rejected,
        bans=agent.ban_count(now),
        rtp_ports=ports.open_count,
        rtp_ports_resting=ports.resting_count,
        rtp_drops=asdict(ports.drops),
        providers=service.services.endpoints.status() if service.services.endpoints is not None else {},
        spent_today=_spent_today(service),
        one_way_audio=service.services.one_way_audio.as_dict(),
        texts_not_spoken=service.services.speech.failures,
        late_p50_ms=round(late.p50_ms, 2),
        late_p99_ms=round(late.p99_ms, 2),
        late_max_ms=round(late.max_ms, 2),
        cpu_percent=load.cpu_percent,
        lag_p99_ms=load.lag_p99_ms,
        stalls=service.stalls.stalls,
        descriptors=load.descriptors,
        descriptor_limit=load.descriptor_limit,
    )
