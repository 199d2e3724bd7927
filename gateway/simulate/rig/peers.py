"""The process that calls: telephones on one side of the gateway, the scripted speech model on the other.

Started by `gateway.simulate.rig.control`, with options as JSON in its one argument: ``cores``, ``calls``, ``delta_ms``,
``tls``. Its first words are ``url``, ``callers``, the ports of the telephones, and
``nobody``, a port that nobody reads.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import json
import os
import random
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.simulate.rig.caller import CYCLE_FRAMES, FRAME_MS, HOST, Caller, open_caller_socket
from gateway.simulate.rig.control import Answer, settle, tell, usage
from gateway.simulate.rig.diary import SessionDiary
from gateway.simulate.rig.provider import ProviderConnection

CERTIFICATE: Final = Path(__file__).with_name("loopback-tls.pem")
"""Certificate and key for 127.0.0.1, known to everybody: it keeps no secret, it makes TLS cost what it costs."""
_SLOT_NS: Final = 1_000_000
_WAIT_S: Final = 0.001
_EVENTS_AT_ONCE: Final = 64
_STDIN: Final = 0


class Peers:
    """All callers and all sessions, on one loop."""

    def __init__(self, options: Answer) -> None:
        randomness = random.Random(1)
        self._callers = [Caller(i, randomness.randrange(CYCLE_FRAMES)) for i in range(options["calls"])]
        self._slots: list[list[Caller]] = [[] for _ in range(FRAME_MS)]
        self._piece_ms = options["delta_ms"]
        self._tls = _server_context() if options["tls"] else None
        self._sessions: dict[int, ProviderConnection] = {}
        self._diaries: list[SessionDiary] = []
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._epoll = select.epoll()
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_over = False
        self._is_started = not self._callers  # a model without callers of its own answers everybody at once
        self._next_slot_ns = 0
        self._slot = 0
        self._orders = bytearray()
        self._nobody = open_caller_socket()  # whom calls are set up with that nobody makes
        self._server = socket.create_server((HOST, 0), backlog=1024)
        self._server.setblocking(False)

    def run(self) -> None:
        """Live until the bench asks no more."""
        self._watch(self._server.fileno(), self._accept)
        self._watch(_STDIN, self._take_orders)
        scheme, port = "ws" if self._tls is None else "wss", self._server.getsockname()[1]
        nobody = self._nobody.getsockname()[1]
        callers = [caller.port for caller in self._callers]
        tell({"url": f"{scheme}://{HOST}:{port}/v1", "callers": callers, "nobody": nobody})
        gc.freeze()
        gc.disable()
        while not self._is_over:
            for descriptor, mask in self._epoll.poll(_WAIT_S, _EVENTS_AT_ONCE):
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    handler(mask)
            self._do_what_is_due()

    def call_at(self, due_ns: int, what: Callable[[], None]) -> None:
        """Call `what` at that monotonic time."""
        heapq.heappush(self._due, (due_ns, next(self._order), what))

    def _do_what_is_due(self) -> None:
        now = time.monotonic_ns()
        while self._next_slot_ns and self._next_slot_ns <= now:
            for caller in self._slots[self._slot]:
                caller.send()
            self._slot = (self._slot + 1) % len(self._slots)
            self._next_slot_ns += _SLOT_NS
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def _watch(self, descriptor: int, handler: Callable[[int], None]) -> None:
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, select.EPOLLIN)

    # Sessions.

    def _accept(self, _mask: int) -> None:
        sock, _ = self._server.accept()
        session = ProviderConnection(sock, tls=self._tls, piece_ms=self._piece_ms, callers=self._callers, clock=self)
        session.is_started = self._is_started
        if not self._callers:
            self._diaries.append(session.diary)
        descriptor = sock.fileno()
        self._sessions[descriptor] = session
        self._watch(descriptor, lambda mask: self._on_session(descriptor, session, mask))

    def _on_session(self, descriptor: int, session: ProviderConnection, mask: int) -> None:
        if mask & select.EPOLLOUT:
            session.on_writable()
        if mask & ~select.EPOLLOUT:
            session.on_readable()
        if not session.is_open:  # closing has taken it off the epoll
            del self._handlers[descriptor], self._sessions[descriptor]
        elif session.wants_to_write or mask & select.EPOLLOUT:
            self._epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if session.wants_to_write else 0))

    # Orders.

    def _take_orders(self, _mask: int) -> None:
        data = os.read(_STDIN, 1 << 20)
        self._is_over = not data
        self._orders += data
        while b"\n" in self._orders:
            line, _, rest = bytes(self._orders).partition(b"\n")
            self._orders = bytearray(rest)
            tell(self._do(json.loads(line)))

    def _do(self, order: Answer) -> Answer:
        match order["do"]:
            case "start":
                self._start(order["ports"])
                return usage()
            case "begin":
                for session in self._sessions.values():
                    session.is_measuring = True
                for caller in self._callers:
                    caller.is_measuring = True
                    caller.heard.begin()
                return usage()
            case "end":
                for session in self._sessions.values():
                    session.is_measuring = False
                for caller in self._callers:
                    caller.is_measuring = caller.heard.is_measuring = False
                return usage()
            case "hush":  # what has arrived by now is still taken, and nothing more is sent
                self._next_slot_ns = 0
                return {"packets_sent": sum(caller.packets_sent for caller in self._callers)}
            case "figures":
                return usage() | self._figures()
            case "diaries":
                return {"diaries": [diary.told() for diary in self._diaries if diary.number is not None]}
            case other:
                raise ValueError(f"asked for {other}")

    def _start(self, ports: list[int]) -> None:
        for index, (caller, port) in enumerate(zip(self._callers, ports, strict=True)):
            caller.udp.connect((HOST, port))
            self._slots[index % len(self._slots)].append(caller)
            self._watch(caller.udp.fileno(), caller.receive)
        self._next_slot_ns = time.monotonic_ns()
        self._is_started = True
        for session in self._sessions.values():
            session.start()

    def _figures(self) -> Answer:
        heard = [caller.heard for caller in self._callers]
        sessions = self._sessions.values()
        late_ms = np.concatenate([stream.lateness_ms() for stream in heard] or [np.zeros(0)])
        uplink_ms = np.array([delay for session in sessions for delay in session.append_delays_ns]) / 1e6
        downlink_ms = np.array([delay for caller in self._callers for delay in caller.reply_delays_ns]) / 1e6
        return {
            "packets_heard": sum(stream.packets for stream in heard),
            "packets_missing": sum(stream.missing for stream in heard),
            "packets_refused": sum(caller.packets_refused for caller in self._callers),
            "kernel_drops": sum(caller.kernel_drops for caller in self._callers),
            "silent_calls": sum(not stream.packets for stream in heard),
            "bursts": sum(caller.bursts for caller in self._callers),
            "bursts_heard": sum(session.bursts_heard for session in sessions),
            "replies_heard": sum(caller.replies_heard for caller in self._callers),
            "late_ms": _quantiles(late_ms),
            "uplink_ms": _quantiles(uplink_ms),
            "downlink_ms": _quantiles(downlink_ms),
        }


def _quantiles(values: NDArray[np.float64]) -> Answer:
    if not len(values):
        return {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}
    p50, p99 = np.percentile(values, (50, 99))
    return {"count": len(values), "p50": float(p50), "p99": float(p99), "max": float(values.max())}


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def main() -> None:
    """Run the process."""
    options = json.loads(sys.argv[1])
    settle(options["cores"])
    Peers(options).run()


if __name__ == "__main__":
    main()
