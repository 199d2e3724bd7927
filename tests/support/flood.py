"""A flood of strangers against a SIP port, and a peer's OPTIONS in the middle of it: a process of its own.

``python -m tests.support.flood HOST PORT PEER_HOST MESSAGES_PER_S SECONDS`` prints one JSON object: what was sent, how
many bytes the strangers got back, how long the peer's OPTIONS took. The strangers are 127.0.0.9 and, as if forged, 200
addresses of 127.1.0.0/16; they send what scanners send, and garbage.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import count, cycle
from pathlib import Path

STRANGER = "127.0.0.9"
FORGED = 200
PING_EVERY_S = 0.05
REPOSITORY = Path(__file__).resolve().parents[2]


def request(method: str, source: tuple[str, int], number: int, agent: str = "friendly-scanner") -> bytes:
    """A request as svmap and its kin send it."""
    host, port = source
    return (
        f"{method} sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK-{number};rport\r\n"
        f'Max-Forwards: 70\r\nFrom: "sipvicious"<sip:100@1.1.1.1>;tag=6{number}\r\n'
        'To: "sipvicious"<sip:100@1.1.1.1>\r\n'
        f"Call-ID: {number}@{host}\r\nCSeq: 1 {method}\r\nContact: sip:100@{host}:{port}\r\n"
        f"User-Agent: {agent}\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    ).encode()


@dataclass
class Outcome:
    """What came of it. Times in ms."""

    sent: int = 0
    bytes_back: int = 0
    seconds: float = 0.0
    options_asked: int = 0
    options_ms: list[float] = field(default_factory=list)


class Flood:
    """The strangers' sockets and the peer's."""

    def __init__(self, target: tuple[str, int], peer_host: str) -> None:
        self.target = target
        hosts = [STRANGER, *(f"127.1.{number >> 4}.{number % 16 + 1}" for number in range(FORGED))]
        self.strangers = [self._bound(host) for host in hosts]
        self.peer = self._bound(peer_host)
        self.outcome = Outcome()
        self._asked: dict[str, float] = {}
        self._numbers = count(1)

    @staticmethod
    def _bound(host: str) -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, 0))
        udp.setblocking(False)
        return udp

    def run(self, per_s: float, seconds: float) -> Outcome:
        """Send at that rate, every other message from 127.0.0.9; collect for a second more."""
        began = time.perf_counter()
        methods, forged = cycle(("OPTIONS", "INVITE", "REGISTER", "garbage")), cycle(self.strangers[1:])
        next_ping = began
        while (now := time.perf_counter()) - began < seconds:
            while self.outcome.sent < int((now - began) * per_s):
                stranger = self.strangers[0] if self.outcome.sent % 2 else next(forged)
                self._send(stranger, next(methods))
            if now >= next_ping:
                next_ping += PING_EVERY_S
                self._ask()
            self._listen(0.001)
        self.outcome.seconds = time.perf_counter() - began
        until = time.perf_counter() + 1
        while time.perf_counter() < until:
            self._listen(0.01)
        self.outcome.bytes_back = sum(self._received(stranger) for stranger in self.strangers)
        return self.outcome

    def _send(self, stranger: socket.socket, method: str) -> None:
        number = next(self._numbers)
        data = b"\x00\x01garbage" * 40 if method == "garbage" else request(method, stranger.getsockname(), number)
        stranger.sendto(data, self.target)
        self.outcome.sent += 1

    def _ask(self) -> None:
        source, number = self.peer.getsockname(), next(self._numbers)
        self._asked[f"{number}@{source[0]}"] = time.perf_counter()
        self.outcome.options_asked += 1
        self.peer.sendto(request("OPTIONS", source, number, "peer"), self.target)

    def _listen(self, timeout_s: float) -> None:
        if not select.select([self.peer], [], [], timeout_s)[0]:
            return
        call_id = self.peer.recv(65536).partition(b"Call-ID: ")[2].partition(b"\r\n")[0].decode()
        asked = self._asked.pop(call_id, None)
        if asked is not None:
            self.outcome.options_ms.append((time.perf_counter() - asked) * 1000)

    @staticmethod
    def _received(udp: socket.socket) -> int:
        size = 0
        try:
            while True:
                size += len(udp.recv(65536))
        except BlockingIOError:
            return size


def start(target: tuple[str, int], peer_host: str, per_s: float, seconds: float) -> subprocess.Popen[bytes]:
    """The flood as a child; `outcome` waits for it."""
    arguments = [target[0], str(target[1]), peer_host, str(per_s), str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.flood", *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE
    )


def outcome(process: subprocess.Popen[bytes]) -> Outcome:
    """What it printed."""
    printed, _ = process.communicate()
    assert process.returncode == 0
    return Outcome(**json.loads(printed))


if __name__ == "__main__":
    _host, _port, _peer, _per_s, _seconds = sys.argv[1:]
    _outcome = Flood((_host, int(_port)), _peer).run(float(_per_s), float(_seconds))
    sys.stdout.write(json.dumps(asdict(_outcome)))
