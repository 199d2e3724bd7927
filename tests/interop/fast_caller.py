"""A caller for thousands of calls a minute, straight to the gateway: as little SIP as RFC 3261 lets a caller have.

It shares nothing with the gateway's own stack. What it sends is repeated until it is answered (17.1), and what comes
again is answered again. It has no ears: audio goes to a socket that nobody reads.

From the shell, for another network namespace; the last line is the result as JSON::

    python -m tests.interop.fast_caller HOST:PORT --from 10.0.0.2 --calls 30 --rate 15 --kinds talk=7096,played=7097
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import re
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

T1_S = 0.5
T2_S = 4.0
PATIENCE_S = 64 * T1_S
HOLD_S = 0.15
POLL_S = 0.5


class Kind(Enum):
    """How a call goes; each has a number to dial."""

    TALK = "talk"  # answered; we hang up
    PLAYED = "played"  # answered; the gateway hangs up
    REFUSED = "refused"  # not answered
    CANCELLED = "cancelled"  # we give up when it rings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who calls whom, how often and how fast. Calls go round the kinds and the sources."""

    gateway: tuple[str, int]
    sources: Sequence[str]
    numbers: Mapping[Kind, str]
    calls: int
    rate_cps: float
    at_once: int = 30
    """Calls under way at a time: where the gateway is slow, we wait."""
    duplicates: float = 0.0
    """The share of our datagrams that are sent twice."""
    linger_s: float = 1.0
    """How long it must have been quiet when all calls have ended: what comes again until then is answered again."""


@dataclass(slots=True)
class Call:
    """One call; `sent` are requests that wait for their answer, by CSeq."""

    number: int
    kind: Kind
    line: Line
    call_id: str
    target: str
    outcome: str = ""
    to: str = ""
    is_given_up: bool = False
    sent: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Line:
    """One source address: a socket for SIP and one that swallows audio."""

    host: str
    sip: socket.socket
    audio: socket.socket

    @classmethod
    def open(cls, host: str) -> Line:
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for each in sockets:
            each.bind((host, 0))
        sockets[0].setblocking(False)
        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return cls(host, *sockets)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.sip.getsockname()[1]}"

    def close(self) -> None:
        self.sip.close()
        self.audio.close()


class FastCaller:
    """``FastCaller(plan).run()``: the outcomes and how many calls had each."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lines = [Line.open(host) for host in plan.sources]
        self._calls: dict[str, Call] = {}
        self._open = 0  # calls that have not ended, those to come among them
        self._dialled = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._chance = random.Random(plan.calls)

    def run(self) -> Counter[str]:
        self._open = self._plan.calls
        self._dial_next()
        with selectors.DefaultSelector() as selector:
            for line in self._lines:
                selector.register(line.sip, selectors.EVENT_READ, line)
            heard_s = time.monotonic()
            while self._open or time.monotonic() < heard_s + self._plan.linger_s:
                wait_s = self._due[0][0] - time.monotonic() if self._due else POLL_S
                for key, _ in selector.select(min(max(0.0, wait_s), POLL_S)):
                    self._receive(key.data)
                    heard_s = time.monotonic()
                while self._due and self._due[0][0] <= time.monotonic():
                    heapq.heappop(self._due)[2]()
        for line in self._lines:
            line.close()
        return Counter(f"{call.kind.value}: {call.outcome}" for call in self._calls.values())

    def _at(self, time_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time_s, next(self._order), what))

    # What we say.

    def _dial_next(self) -> None:
        """The next call, if there may be one now. Time lost on a busy machine is not made up for by a burst."""
        under_way = self._open - (self._plan.calls - self._dialled)
        if under_way < self._plan.at_once:
            self._dial(self._dialled)
            self._dialled += 1
        if self._dialled < self._plan.calls:
            self._at(time.monotonic() + 1 / self._plan.rate_cps, self._dial_next)

    def _dial(self, number: int) -> None:
        kinds = list(self._plan.numbers)
        kind = kinds[number % len(kinds)]
        line = self._lines[number // len(kinds) % len(self._lines)]
        host, port = self._plan.gateway
        call = Call(
            number, kind, line, f"fast-{number}-{line.address}", f"sip:{self._plan.numbers[kind]}@{host}:{port}"
        )
        self._calls[call.call_id] = call
        description = (
            f"v=0\r\no=- 1 1 IN IP4 {line.host}\r\ns=-\r\nc=IN IP4 {line.host}\r\nt=0 0\r\n"
            f"m=audio {line.audio.getsockname()[1]} RTP/AVP 0\r\n"
        )
        self._ask(call, "INVITE", 1, description)

    def _ask(self, call: Call, method: str, cseq: int, body: str = "", branch: str = "") -> None:
        """Send a request until it is answered, or give the call up."""
        data = call.sent[f"{cseq} {method}"] = self._request(call, method, cseq, body, branch)
        deadline_s = time.monotonic() + PATIENCE_S

        def again(wait_s: float) -> None:
            if f"{cseq} {method}" not in call.sent:
                return
            if time.monotonic() > deadline_s:
                del call.sent[f"{cseq} {method}"]
                self._end(call, f"no answer to {method}")
                return
            self._send(call.line, data)
            next_s = wait_s * 2 if method == "INVITE" else min(wait_s * 2, T2_S)
            self._at(time.monotonic() + wait_s, lambda: again(next_s))

        again(T1_S)

    def _request(self, call: Call, method: str, cseq: int, body: str = "", branch: str = "") -> bytes:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{method} {call.target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {call.line.address};branch=z9hG4bK-{call.call_id}-{branch or f'{cseq}-{method}'}\r\n"
            f"From: <sip:fast@{call.line.host}>;tag={call.number}\r\nTo: {call.to or f'<{call.target}>'}\r\n"
            f"Call-ID: {call.call_id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:fast@{call.line.address}>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _send(self, line: Line, data: bytes) -> None:
        for _ in range(2 if self._chance.random() < self._plan.duplicates else 1):
            line.sip.sendto(data, self._plan.gateway)

    # What we hear.

    def _receive(self, line: Line) -> None:
        try:
            while True:
                text = line.sip.recv(65536).decode()
                call = self._calls.get(_header(text, "Call-ID"))
                if call is not None and text.startswith("SIP/2.0 "):
                    self._hear(call, int(text[8:11]), _header(text, "CSeq"), text)
                elif call is not None:
                    self._serve(call, text)
        except BlockingIOError:
            pass

    def _hear(self, call: Call, status: int, cseq: str, text: str) -> None:
        if status < 200:
            self._ring(call, status)
            return
        call.sent.pop(cseq, None)
        if cseq == "1 INVITE":
            self._acknowledge(call, status, text)
        elif cseq.endswith("BYE"):
            self._end(call, "completed")

    def _ring(self, call: Call, status: int) -> None:
        """RFC 3261 17.1.1.2: what is being worked on is not asked for again."""
        if call.sent.pop("1 INVITE", None) is not None:
            self._at(time.monotonic() + PATIENCE_S, lambda: self._end(call, "never answered"))
        if status > 100 and call.kind is Kind.CANCELLED and not call.is_given_up:
            call.is_given_up = True
            self._ask(call, "CANCEL", 1, branch="1-INVITE")

    def _acknowledge(self, call: Call, status: int, text: str) -> None:
        call.to = _header(text, "To")
        if status >= 300:
            self._send(call.line, self._request(call, "ACK", 1, branch="1-INVITE"))
            self._end(call, str(status))
            return
        self._send(call.line, self._request(call, "ACK", 1))
        self._at(time.monotonic() + 2 * PATIENCE_S, lambda: self._end(call, "never hung up on"))
        if "2 BYE" not in call.sent and not call.outcome and call.kind is not Kind.PLAYED:
            self._at(time.monotonic() + HOLD_S, lambda: self._hang_up(call))

    def _hang_up(self, call: Call) -> None:
        if not call.outcome and "2 BYE" not in call.sent:
            self._ask(call, "BYE", 2)

    def _serve(self, call: Call, text: str) -> None:
        """A request of the gateway's: BYE, as often as it comes."""
        copied = [line for line in text.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
        self._send(call.line, "\r\n".join(["SIP/2.0 200 OK", *copied, "Content-Length: 0", "", ""]).encode())
        if text.startswith("BYE "):
            self._end(call, "hung up on")

    def _end(self, call: Call, outcome: str) -> None:
        if not call.outcome:
            call.outcome = outcome
            self._open -= 1


def _header(text: str, name: str) -> str:
    found = re.search(rf"^{name}: *([^\r]*)", text, re.MULTILINE)
    return found[1] if found else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="fast_caller")
    parser.add_argument("gateway")
    parser.add_argument("--from", dest="sources", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--kinds", required=True)
    parser.add_argument("--duplicates", type=float, default=0.0)
    parser.add_argument("--linger", type=float, default=1.0)
    arguments = parser.parse_args()
    host, _, port = arguments.gateway.rpartition(":")
    plan = Plan(
        gateway=(host, int(port)),
        sources=arguments.sources.split(","),
        numbers={Kind(kind): number for kind, number in (each.split("=") for each in arguments.kinds.split(","))},
        calls=arguments.calls,
        rate_cps=arguments.rate,
        duplicates=arguments.duplicates,
        linger_s=arguments.linger,
    )
    sys.stdout.write(json.dumps(FastCaller(plan).run()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
