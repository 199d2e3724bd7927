"""What SIP costs without sockets: messages parsed, and whole calls of INVITE, 200, ACK, BYE and 200.

::

    placing UserAgent ──datagrams──> answering UserAgent        one clock, made up; the CPU time of each side apart
                      <──datagrams──

- *parse*: bytes to a `Request` or `Response`, checked and bounded. The baseline is ``email.parser`` of the standard
  library on the same octets behind the start line, which knows headers and a body, and checks nothing.
- *answer, place*: one side of a call, 20 calls a second, when as many transactions are remembered as that takes
  (RFC 3261 17: half a minute of them). The baseline does the same exchange by ``email.parser`` and text templates, with
  a dictionary of calls: no transactions, no retransmissions, no checks, nothing against strangers.

So a ratio below 1 is what being right costs. Only ratios travel from machine to machine.
"""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from email.message import Message as MailMessage
from email.parser import BytesParser
from functools import partial
from statistics import median
from typing import Final, Protocol, TypeAlias, TypeVar

from gateway.sip import events as sip_events
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Address, Uri, parse_message
from gateway.sip.sdp import LocalMedia, SessionDescription, make_offer
from gateway.sip.trunk import TrunkOptions
from gateway.sip.user_agent import UserAgent, UserAgentOptions

CALLS_PER_S: Final = 20
REMEMBERED_S: Final = 33.0
"""Time B, F, H, J, L and M, 32 s, and a little."""
_ROUNDS: Final = 5
_PLACING, _ANSWERING = Hop("192.0.2.1", 5060), Hop("192.0.2.2", 5060)

LEGEND: Final = (
    "ours: CPU time of a message parsed, or of one side of a whole call (INVITE, 100, 200, ACK, BYE, 200)",
    "email: the same by Python's email.parser and text templates, without transactions, retransmissions or checks",
    "ratio: email / ours; below 1x is what being right costs. we do: how many a second one core does",
)
"""What the columns of the table are."""

Datagrams: TypeAlias = list[bytes]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One comparison, in microseconds of CPU."""

    name: str
    ours_us: float
    baseline_us: float

    @property
    def ratio(self) -> float:
        """How many times cheaper than the baseline."""
        return self.baseline_us / self.ours_us

    @property
    def per_s(self) -> float:
        """How many a second one core does."""
        return 1e6 / self.ours_us

    def as_json(self) -> dict[str, object]:
        """One flat object."""
        return asdict(self) | {"ratio": round(self.ratio, 2), "per_s": round(self.per_s)}

    def as_text(self) -> str:
        """A line of the table."""
        return (
            f"{self.name:<28}{self.ours_us:>9.1f} us{self.baseline_us:>9.1f} us{self.ratio:>7.2f}x"
            f"{self.per_s:>10.0f} a second"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SipBench:
    """What was measured."""

    rows: tuple[BenchRow, ...]

    def as_json(self) -> dict[str, object]:
        """One document."""
        return {"bench": "sip", "rows": [row.as_json() for row in self.rows]}

    def as_text(self) -> str:
        """A table for people."""
        head = f"{'sip':<28}{'ours':>12}{'email':>12}{'ratio':>8}{'we do':>11}"
        return "\n".join([head, *(row.as_text() for row in self.rows), *LEGEND])


def run(*, json: bool = False, calls: int = 100, remembered_s: float = REMEMBERED_S) -> SipBench:
    """Measure, print a table or one JSON document to stdout, and return what was measured."""
    result = measure(calls=calls, remembered_s=remembered_s)
    sys.stdout.write((json_module.dumps(result.as_json()) if json else result.as_text()) + "\n")
    return result


def measure(*, calls: int = 100, remembered_s: float = REMEMBERED_S) -> SipBench:
    """`calls` a round, once there have been calls for `remembered_s`; prints nothing."""
    pair, plain = _Pair(_agent(_PLACING, _ANSWERING), _agent(_ANSWERING, _PLACING)), _PlainPair()
    messages = dict(zip(("INVITE", "100", "200 with SDP", "ACK", "BYE", "200"), pair.call(), strict=True))
    parses = [_parse_row(name, messages[name], calls) for name in ("INVITE", "200 with SDP", "BYE")]
    for _ in range(round(remembered_s * CALLS_PER_S)):
        pair.call()
    spent = [(*_sides_us(pair, calls), *_sides_us(plain, calls)) for _ in range(_ROUNDS)]
    placed, answered, plain_placed, plain_answered = (median(times) for times in zip(*spent, strict=True))
    calls_rows = (
        BenchRow(name="answer a call", ours_us=answered, baseline_us=plain_answered),
        BenchRow(name="place a call", ours_us=placed, baseline_us=plain_placed),
    )
    return SipBench(rows=(*parses, *calls_rows))


def _parse_row(name: str, message: bytes, repeats: int) -> BenchRow:
    """In turns, so that a busy machine is busy for both; the median round counts."""
    contenders: tuple[Callable[[], object], ...] = (partial(parse_message, message), partial(_plain_parse, message))
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for contender, times in zip(contenders, spent, strict=True):
            times.append(_microseconds(contender, repeats))
    ours, baseline = map(median, spent)
    return BenchRow(name=f"parse {name}, {len(message)} bytes", ours_us=ours, baseline_us=baseline)


def _microseconds(what: Callable[[], object], repeats: int) -> float:
    started = time.process_time_ns()
    for _ in range(repeats):
        what()
    return (time.process_time_ns() - started) / repeats / 1000


class _Calls(Protocol):
    """Two sides that call each other."""

    spent_ns: list[int]
    """CPU time of the one that places calls, and of the one that answers"""

    def call(self) -> Datagrams: ...


def _sides_us(pair: _Calls, calls: int) -> tuple[float, float]:
    pair.spent_ns[:] = 0, 0
    for _ in range(calls):
        pair.call()
    placed_ns, answered_ns = pair.spent_ns
    return placed_ns / calls / 1000, answered_ns / calls / 1000


# --- ours -------------------------------------------------------------------------------------------------------------


def _agent(own: Hop, peer: Hop) -> UserAgent:
    address = Address(own.host, own.port)
    options = UserAgentOptions(
        listeners=(Listener(transport=Transport.UDP, address=address, advertise=address),),
        trunks=(TrunkOptions(name="peer", peer=peer, contact_user="bench"),),
        calls_per_s=10 * CALLS_PER_S,
        messages_per_s=100 * CALLS_PER_S,
    )
    return UserAgent(options)


def _session(host: str) -> SessionDescription:
    return make_offer(LocalMedia(address=host, port=40000, codecs=("PCMU", "PCMA"), session_id=1, version=1, rtcp=True))


class _Pair:
    """Two user agents and the applications on them, which take every call and end it at once."""

    def __init__(self, placing: UserAgent, answering: UserAgent) -> None:
        self.spent_ns = [0, 0]
        self._agents = (placing, answering)
        self._addresses = (_PLACING, _ANSWERING)
        self._target = Uri.parse(f"sip:7000@{_ANSWERING.host}")
        self._sessions = (_session(_PLACING.host), _session(_ANSWERING.host))
        self._now = 1000.0

    def call(self) -> Datagrams:
        """One whole call; its messages in their order."""
        self._now += 1 / CALLS_PER_S
        leg = self._do(0, self._place)
        messages: Datagrams = []
        while any(sent := [self._exchange(side, leg) for side in (0, 1)]):
            for datagrams in sent:
                messages += datagrams
        return messages

    def _place(self) -> str:
        placing, _ = self._agents
        return placing.invite("peer", self._target, offer=self._sessions[0], from_user="bench", now=self._now)

    def _exchange(self, side: int, leg: str) -> Datagrams:
        """Bring what one side has to say to the other, and let that one act."""
        datagrams = [data for data, _ in self._do(side, self._agents[side].datagrams_to_send)]
        for data in datagrams:
            self._do(1 - side, partial(self._receive, 1 - side, data, leg))
        return datagrams

    def _receive(self, side: int, data: bytes, leg: str) -> None:
        agent, now = self._agents[side], self._now
        agent.receive_datagram(data, self._addresses[1 - side], now)
        deadline = agent.get_timer()
        if deadline is not None and deadline <= now:
            agent.handle_timer(now)
        for event in agent.events():
            if isinstance(event, sip_events.CallOffered):
                agent.answer(event.leg_id, self._sessions[1], now)
            elif isinstance(event, sip_events.CallAnswered):
                agent.bye(leg, now)

    def _do(self, side: int, what: Callable[[], _Result]) -> _Result:
        started = time.process_time_ns()
        result = what()
        self.spent_ns[side] += time.process_time_ns() - started
        return result


# --- baseline ---------------------------------------------------------------------------------------------------------

_parser: Final = BytesParser()


def _plain_parse(message: bytes) -> tuple[bytes, MailMessage]:
    """Start line, headers and body."""
    start, _, rest = message.partition(b"\r\n")
    return start, _parser.parsebytes(rest)


_REQUEST: Final = (
    "{method} sip:7000@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch};rport\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:bench@192.0.2.1>;tag={tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n"
    "CSeq: {number} {method}\r\nContact: <sip:bench@192.0.2.1:5060>\r\n"
)
_RESPONSE: Final = (
    "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {caller}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n"
    "Contact: <sip:bench@192.0.2.2:5060>\r\n"
)


def _whole(head: str, body: str = "") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return f"{head}{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class _PlainPair:
    """The same calls by a parser of e-mail and templates."""

    def __init__(self) -> None:
        self.spent_ns = [0, 0]
        self._sessions = tuple(_session(hop.host).to_bytes().decode() for hop in (_PLACING, _ANSWERING))
        self._count = 0
        self._known: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def call(self) -> Datagrams:
        """See `_Pair.call`."""
        self._count += 1
        messages, side = self._do(0, self._place), 0
        waiting = messages
        while waiting:
            side = 1 - side
            answers = [self._do(side, partial(self._answer if side else self._go_on, data)) for data in waiting]
            waiting = [data for answer in answers for data in answer]
            messages = messages + waiting
        return messages

    def _place(self) -> Datagrams:
        call_id = f"{self._count:032x}"
        self._known[0][call_id] = "calling"
        return [self._request("INVITE", 1, call_id, "<sip:7000@192.0.2.2>", self._sessions[0])]

    def _request(self, method: str, number: int, call_id: str, to: str, body: str = "") -> bytes:
        branch = f"{self._count:08x}{method}"
        head = _REQUEST.format(method=method, branch=branch, tag="1", to=to, call_id=call_id, number=number)
        return _whole(head, body)

    def _go_on(self, data: bytes) -> Datagrams:
        start, mail = _plain_parse(data)
        call_id, to = mail["Call-ID"], mail["To"]
        if start.startswith(b"SIP/2.0 1"):
            return []
        if mail["CSeq"].endswith("INVITE"):
            return [self._request("ACK", 1, call_id, to), self._request("BYE", 2, call_id, to)]
        del self._known[0][call_id]
        return []

    def _answer(self, data: bytes) -> Datagrams:
        start, mail = _plain_parse(data)
        call_id = mail["Call-ID"]
        method = start.partition(b" ")[0]
        if method == b"ACK":
            return []
        if method == b"BYE":
            del self._known[1][call_id]
            return [self._response("200 OK", mail, mail["To"])]
        self._known[1][call_id] = "answered"
        answer = self._response("200 OK", mail, mail["To"] + ";tag=2", self._sessions[1])
        return [self._response("100 Trying", mail, mail["To"]), answer]

    @staticmethod
    def _response(status: str, request: MailMessage, to: str, body: str = "") -> bytes:
        head = _RESPONSE.format(
            status=status,
            via=request["Via"],
            caller=request["From"],
            to=to,
            call_id=request["Call-ID"],
            cseq=request["CSeq"],
        )
        return _whole(head, body)

    def _do(self, side: int, what: Callable[[], Datagrams]) -> Datagrams:
        started = time.process_time_ns()
        result = what()
        self.spent_ns[side] += time.process_time_ns() - started
        return result
