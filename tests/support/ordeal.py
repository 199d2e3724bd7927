"""What a gateway does with one datagram of its PBX: the verdict, and what must hold whatever the datagram was.

An index.csv beside the messages says what is expected of each, in these words:

    offered    a call: 100, and the application hears of it
    unagreed   the same, but there is no agreement on its media (RFC 3264 6): what the application answers is 488
    muted      the same, and there is one, but its packets would go where none may be sent
    dropped    nothing is sent, nobody hears of it
    100-699    the one response it gets, and nobody hears of it
"""

from __future__ import annotations

import csv
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from socket import AF_INET, AF_INET6

from gateway.errors import NegotiationError
from gateway.sip.events import CallOffered, Event
from gateway.sip.hop import Hop
from gateway.sip.message import Request, parse_message
from gateway.sip.sdp import LocalMedia, SessionDescription, negotiate
from gateway.sip.uri import Address
from gateway.sip.user_agent import UserAgent
from gateway.transport.rtp_destination import ON_HOLD, reason_to_mute
from tests.support.wire import (
    GATEWAY,
    PBX,
    Party,
    ScriptedPeer,
    assert_idle,
    gateway_options,
    trunk_options,
    udp_listener,
)

DATA = Path(__file__).parents[1] / "data"
LONGEST_S = 0.2
"""Processor time for one datagram (RFC 3261 17.2.1 wants the 100 within 200 ms)."""
CAPABILITIES_BYTES = 512
"""What OPTIONS is answered beyond what its answer copies."""
_status_line = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2}) ")
_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of an index: the datagram, what is expected, and why."""

    name: str
    expected: str
    why: str
    data: bytes


def cases(folder: str) -> list[Case]:
    """All messages of tests/data/`folder`; none without a line in the index, no line without a message."""
    with (DATA / folder / "index.csv").open(newline="", encoding="utf-8") as index:
        rows = list(csv.DictReader(index))
    assert sorted(row["file"] for row in rows) == sorted(path.name for path in (DATA / folder).glob("*.dat"))
    return [
        Case(
            name=row["file"].removesuffix(".dat"),
            expected=row["expected"],
            why=row["why"],
            data=(DATA / folder / row["file"]).read_bytes(),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one datagram led to, before any time passed."""

    sent: tuple[bytes, ...]
    is_for_sender: bool
    """Whether all that was sent went to the host that the datagram came from."""
    local: LocalMedia
    """Our side, should there be an agreement on media."""
    events: tuple[Event, ...]
    log: tuple[str, ...]
    took_s: float

    @property
    def verdict(self) -> str:
        """In the words of the index."""
        statuses = [found[1].decode() for data in self.sent if (found := _status_line.match(data))]
        match self.events:
            case (CallOffered(offer=offer),) if statuses == ["100"]:
                return _media_verdict(offer, self.local)
            case (_, *_):
                return f"{statuses} and {self.events}"
        return ",".join(statuses) if self.sent else "dropped"

    def header(self, name: str) -> str | None:
        """A header of the one response, read as text: answers to broken requests are as broken as those."""
        (data,) = self.sent
        found = re.search(rf"^{name}: (.*)\r$".encode(), data.partition(b"\r\n\r\n")[0] + b"\r\n", re.MULTILINE)
        return found[1].decode() if found else None


class Ordeal:
    """A gateway, and the PBX whose datagrams it gets one by one."""

    def __init__(self, gateway: Hop = GATEWAY, pbx: Hop = PBX) -> None:
        options = gateway_options(trunk_options(peer=pbx), listeners=(udp_listener(gateway),))
        self.gateway = Party(UserAgent(options, Random(1)), gateway)
        self.pbx = ScriptedPeer(pbx)
        self.now = 1000.0

    def feed(self, data: bytes) -> Outcome:
        """One datagram, with all log lines that it leads to."""
        lines = _Lines()
        logger = logging.getLogger("gateway.sip")
        level = logger.level
        logger.addHandler(lines)
        logger.setLevel(logging.DEBUG)
        seen, began = len(self.gateway.seen), time.process_time()
        try:
            self.gateway.receive_datagram(data, self.pbx.address, self.now)
        finally:
            took_s = time.process_time() - began
            logger.removeHandler(lines)
            logger.setLevel(level)
        datagrams = self.gateway.datagrams_to_send()
        events = tuple(self.gateway.seen[seen:])
        log = (*lines.texts, self.gateway.user_agent.counters.last_malformed)
        return Outcome(
            sent=tuple(data for data, _ in datagrams),
            is_for_sender=all(hop.host == self.pbx.address.host for _, hop in datagrams),
            local=LocalMedia(address=self.gateway.address.host, port=10000, session_id=1),
            events=events,
            log=log,
            took_s=took_s,
        )

    def wait(self) -> None:
        """Let time pass until nothing is due any more: a call that nobody takes ends by itself."""
        for _ in range(10_000):
            deadline = self.gateway.get_timer()
            if deadline is None:
                return
            self.now = max(deadline, self.now)
            self.gateway.handle_timer(self.now)
            self.gateway.datagrams_to_send()

    def options(self) -> Request:
        """A request that a living gateway answers by 200."""
        return self.pbx.request("OPTIONS", call_id=f"alive-{self.now}", branch=f"z9hG4bK-alive-{self.now}")


def undergo(ordeal: Ordeal, case: Case) -> Outcome:
    """Feed the message: it leads to what the index says, harms nobody, and leaves the gateway alive, then empty."""
    outcome = ordeal.feed(case.data)
    assert outcome.verdict == case.expected, case.why
    assert_harmless(outcome, case.data)
    assert_alive(ordeal)
    ordeal.wait()
    assert_idle(ordeal.gateway)
    return outcome


def assert_harmless(outcome: Outcome, data: bytes) -> None:
    """What holds for every datagram."""
    assert len(outcome.sent) <= 1
    # A 200 to OPTIONS tells what we can do, however short the question. Who is no peer gets nothing at all.
    limit = len(data) + CAPABILITIES_BYTES if outcome.verdict == "200" else 2 * len(data)
    assert sum(map(len, outcome.sent)) <= limit
    assert outcome.is_for_sender
    assert outcome.took_s <= LONGEST_S
    assert_clean(outcome.log)


def assert_clean(texts: Sequence[str]) -> None:
    """No control character and no line break of the peer reaches a log."""
    for text in texts:
        assert not _control.search(text), text


def assert_alive(ordeal: Ordeal) -> None:
    """The next OPTIONS is answered by 200."""
    probe = ordeal.options()
    outcome = ordeal.feed(probe.to_bytes())
    assert outcome.verdict == "200"
    assert parse_message(outcome.sent[0]).call_id == probe.call_id


def _media_verdict(offer: SessionDescription | None, local: LocalMedia) -> str:
    if offer is None:
        return "offered"
    try:
        _, stream = negotiate(offer, local)
    except NegotiationError:
        return "unagreed"
    own = Address(local.address, GATEWAY.port)
    family = AF_INET6 if ":" in local.address else AF_INET
    why = reason_to_mute(stream.remote, family=family, own_port=local.port, own_sip_addresses=[own])
    return "offered" if why in ("", ON_HOLD) else "muted"


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
