"""RTCP of every leg: when reports of ours are due, what they say, and what the peer's say of us (RFC 3550 6).

::

    open ──> queue of times ──due(now)──> OutgoingReport: SR or RR, SDES    by the counters of sender and streams
    receive(leg, datagram) ──rtcp.parse──> PeerView: loss, jitter, round trip, when the peer was last heard
    farewell ──> SR or RR, SDES, BYE

A session has two members, who send seldom: 5 s apart at the least, drawn anew each time, so that reports of all legs
spread by themselves and a tick looks at those only that are due. Reconsideration (RFC 3550 6.3.3) is for groups that
grow and shrink. Nothing that a peer says is answered at once, and nothing of it ends a call: a BYE of RTCP is heard
and left to SIP. Reports are believed of our own stream alone, and round trips only of moments that we have told.

Times are those of ticks, so that a round trip is told with an error of up to 5 ms at either end.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import e
from typing import Final

import numpy as np

from gateway.media.codec import TELEPHONE_RATE_HZ
from gateway.media.pacing import FramePacer
from gateway.media.rtcp import Goodbye, Packet, Report, ReportBlock, RtcpError, SenderInfo, SourceDescription
from gateway.media.rtcp import build as build_compound
from gateway.media.rtcp import parse as parse_compound
from gateway.media.sender import RtpSender
from gateway.media.stream import StreamReception, StreamStatistics

MINIMUM_INTERVAL_S: Final = 5.0
MAX_ROUND_TRIP_S: Final = 10.0
"""Beyond, a peer is wrong about its delay."""
COARSE_CLOCK_S: Final = 0.05
"""By so much a peer that counts its delay in coarse steps may make a round trip less than nothing."""

_MEMBERS: Final = 2
_BANDWIDTH_BYTES_PER_S: Final = 500
"""5 % of a G.711 stream with its headers (RFC 3550 6.2)."""
_LOWER_HEADERS_BYTES: Final = 28
_FIRST_AVERAGE_BYTES: Final = 128
_NTP_EPOCH_S: Final = 2_208_988_800
"""From 1900, where NTP begins, to 1970."""
_MOMENTS_TOLD: Final = 8
_CNAME_BYTES: Final = 12
"""RFC 7022 4.2: 96 random bits a call tell nothing about this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingReport:
    """A compound packet to send now."""

    leg: int
    datagram: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerView:
    """What the peer's reports say; None where none has said it."""

    reports: int = 0
    """compound packets received"""
    refused: int = 0
    """datagrams that were no RTCP"""
    last_report_s: float | None = None
    """when the latest came, in the engine's time"""
    lost: int | None = None
    """of our packets, since the beginning"""
    loss: float | None = None
    """share of our packets that were lost, since the beginning"""
    jitter_ms: float | None = None
    round_trip_ms: float | None = None
    """smoothed over some eight reports"""
    unheard: int = 0
    """reports in a row that say nothing of our stream, which their sender does not receive, then"""


@dataclass(slots=True, kw_only=True)
class _Session:
    """One leg's RTCP."""

    serial: int
    name: bytes
    is_first: bool = True
    average_bytes: float = _FIRST_AVERAGE_BYTES
    sent_before: tuple[int, int] = (0, 0)  # packets of ours at the report before the last, and at the last
    block_ssrc: int = -1  # whom our last block was about, and what it counted
    expected_before: int = 0
    received_before: int = 0
    moments: deque[int] = field(default_factory=lambda: deque(maxlen=_MOMENTS_TOLD))  # middle NTPs of our reports
    peer_ssrc: int = -1  # of the latest sender report
    peer_ntp: int = 0
    peer_ntp_s: float = 0.0
    reports: int = 0
    refused: int = 0
    last_report_s: float | None = None
    lost: int | None = None
    loss: float | None = None
    jitter_ms: float | None = None
    round_trip_ms: float | None = None
    unheard: int = 0


def interval_s(draw: float, *, is_first: bool, average_bytes: float) -> float:
    """Time to the next report, for a `draw` from 0 to 1 (RFC 3550 6.3.1): 2 to 6 s, for the first one half of that."""
    minimum = MINIMUM_INTERVAL_S / 2 if is_first else MINIMUM_INTERVAL_S
    return max(minimum, _MEMBERS * average_bytes / _BANDWIDTH_BYTES_PER_S) * (draw + 0.5) / (e - 1.5)


class ReportExchange:
    """The RTCP of all legs. `now` is the engine's time; `wall_clock_offset_s` makes Unix time of it, for NTP stamps."""

    def __init__(
        self, *, sender: RtpSender, streams: StreamStatistics, pacer: FramePacer, rng: np.random.Generator
    ) -> None:
        self._sender = sender
        self._streams = streams
        self._pacer = pacer
        self._rng = rng
        self._sessions: dict[int, _Session] = {}
        self._queue: list[tuple[float, int, int]] = []  # when, serial, leg; entries of closed legs run out
        self._serial = 0

    def open(self, leg: int, now: float) -> None:
        """Report about a leg from now on; nothing happens where that is so already."""
        if leg in self._sessions:
            return
        self._serial += 1
        session = _Session(serial=self._serial, name=b64encode(self._rng.bytes(_CNAME_BYTES)))
        self._sessions[leg] = session
        self._schedule(leg, session, now)

    def close(self, leg: int) -> None:
        """Report no more; safe to repeat."""
        self._sessions.pop(leg, None)

    def due(self, now: float, wall_clock_offset_s: float) -> list[OutgoingReport]:
        """The reports to send now."""
        reports: list[OutgoingReport] = []
        while self._queue and self._queue[0][0] <= now:
            _, serial, leg = heappop(self._queue)
            session = self._sessions.get(leg)
            if session is None or session.serial != serial:
                continue
            datagram = build_compound(self._compose(leg, session, now, wall_clock_offset_s))
            _average(session, len(datagram))
            session.is_first = False
            self._schedule(leg, session, now)
            reports.append(OutgoingReport(leg=leg, datagram=datagram))
        return reports

    def farewell(self, leg: int, now: float, wall_clock_offset_s: float) -> bytes | None:
        """The last report, with BYE (RFC 3550 6.3.7); None where the peer has never seen a packet of ours."""
        session = self._sessions.get(leg)
        if session is None or (session.is_first and not self._sender.packets[leg]):
            return None
        packets = self._compose(leg, session, now, wall_clock_offset_s)
        return build_compound([*packets, Goodbye(ssrcs=(self._sender.ssrc(leg),))])

    def receive(self, leg: int, datagram: bytes, now: float, wall_clock_offset_s: float) -> bool:
        """Take in what came for a leg from the peer's RTCP address. Never raises for what it holds.

        Whether it tells of our stream, so that whoever sent it receives that.
        """
        session = self._sessions.get(leg)
        if session is None:
            return False
        try:
            packets = parse_compound(datagram)
        except RtcpError:
            session.refused += 1
            return False
        own_ssrc = self._sender.ssrc(leg)
        if any(isinstance(packet, Report) and packet.ssrc == own_ssrc for packet in packets):
            session.refused += 1  # RFC 3550 8.2: our own, come back
            return False
        _average(session, len(datagram))
        session.reports += 1
        session.last_report_s = now
        arrived = _ntp(now + wall_clock_offset_s) >> 16 & 0xFFFFFFFF
        reports = [packet for packet in packets if isinstance(packet, Report)]
        for report in reports:
            if report.sender is not None:
                session.peer_ssrc, session.peer_ntp = report.ssrc, report.sender.middle_ntp
                session.peer_ntp_s = now
        ours = [block for report in reports for block in report.blocks if block.ssrc == own_ssrc]
        session.unheard = 0 if ours else session.unheard + 1
        for block in ours:
            self._note(leg, session, block, arrived)
        return bool(ours)

    def view(self, leg: int) -> PeerView:
        """What the peer says of our stream."""
        session = self._sessions.get(leg)
        if session is None:
            return PeerView()
        return PeerView(
            reports=session.reports,
            refused=session.refused,
            last_report_s=session.last_report_s,
            lost=session.lost,
            loss=session.loss,
            jitter_ms=session.jitter_ms,
            round_trip_ms=session.round_trip_ms,
            unheard=session.unheard,
        )

    def last_report_s(self, leg: int) -> float | None:
        """When the peer's latest report came; None before the first."""
        session = self._sessions.get(leg)
        return None if session is None else session.last_report_s

    def unheard(self, leg: int) -> int:
        """How many reports in a row said nothing of our stream."""
        session = self._sessions.get(leg)
        return 0 if session is None else session.unheard

    def _schedule(self, leg: int, session: _Session, now: float) -> None:
        wait_s = interval_s(self._rng.random(), is_first=session.is_first, average_bytes=session.average_bytes)
        heappush(self._queue, (now + wait_s, session.serial, leg))

    def _compose(self, leg: int, session: _Session, now: float, wall_clock_offset_s: float) -> list[Packet]:
        ssrc = self._sender.ssrc(leg)
        sent = int(self._sender.packets[leg])
        # RFC 3550 6.4: a sender is who has sent since the report before the last.
        is_sender = sent > session.sent_before[0]
        session.sent_before = (session.sent_before[1], sent)
        info = self._sender_info(leg, now, wall_clock_offset_s) if is_sender else None
        if info is not None:
            session.moments.append(info.middle_ntp)
        block = self._block(leg, session, now)
        report = Report(ssrc=ssrc, sender=info, blocks=() if block is None else (block,))
        return [report, SourceDescription(names=((ssrc, session.name),))]

    def _sender_info(self, leg: int, now: float, wall_clock_offset_s: float) -> SenderInfo:
        wait = int(self._pacer.wait_samples(np.array([leg]), now)[0])
        return SenderInfo(
            ntp=_ntp(now + wall_clock_offset_s),
            rtp_timestamp=self._sender.next_timestamp(leg) - wait & 0xFFFFFFFF,
            packets=int(self._sender.packets[leg]) & 0xFFFFFFFF,
            octets=int(self._sender.octets[leg]) & 0xFFFFFFFF,
        )

    def _block(self, leg: int, session: _Session, now: float) -> ReportBlock | None:
        """About the stream that the leg follows, where anything came of it since the last report."""
        heard: StreamReception | None = self._streams.reception(leg)
        if heard is None:
            return None
        if heard.ssrc != session.block_ssrc or heard.received < session.received_before:
            session.block_ssrc, session.expected_before, session.received_before = heard.ssrc, 0, 0
        expected = heard.expected - session.expected_before
        received = heard.received - session.received_before
        if not received:
            return None
        session.expected_before, session.received_before = heard.expected, heard.received
        lost_lately = max(expected - received, 0)
        is_timed = heard.ssrc == session.peer_ssrc
        return ReportBlock(
            ssrc=heard.ssrc,
            fraction_lost=min((lost_lately << 8) // expected, 255) if expected > 0 else 0,
            lost=min(max(heard.expected - heard.received, -(1 << 23)), (1 << 23) - 1),
            highest_sequence=heard.highest_sequence & 0xFFFFFFFF,
            jitter=min(heard.jitter, 0xFFFFFFFF),
            last_report=session.peer_ntp if is_timed else 0,
            delay=min(round((now - session.peer_ntp_s) * 65536), 0xFFFFFFFF) if is_timed else 0,
        )

    def _note(self, leg: int, session: _Session, block: ReportBlock, arrived: int) -> None:
        session.lost = max(block.lost, 0)
        session.loss = min(session.lost / max(int(self._sender.packets[leg]), 1), 1.0)
        session.jitter_ms = block.jitter * 1000 / TELEPHONE_RATE_HZ
        if block.last_report not in session.moments:
            return
        ticks = (arrived - block.last_report - block.delay + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if not -COARSE_CLOCK_S * 65536 <= ticks <= MAX_ROUND_TRIP_S * 65536:
            return
        round_trip_ms = max(ticks, 0) * 1000 / 65536
        before = session.round_trip_ms
        session.round_trip_ms = round_trip_ms if before is None else before + (round_trip_ms - before) / 8


def _average(session: _Session, datagram_bytes: int) -> None:
    """RFC 3550 6.3.3: of both directions, with the headers of UDP and IP."""
    session.average_bytes += (datagram_bytes + _LOWER_HEADERS_BYTES - session.average_bytes) / 16


def _ntp(unix_s: float) -> int:
    """A 64-bit NTP timestamp; wraps in 2036 as the format does."""
    return int((unix_s + _NTP_EPOCH_S) * (1 << 32)) & (1 << 64) - 1
