"""A user agent for tests of the shell: it does as the test says, and remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.events import Event
from gateway.sip.hop import Hop
from gateway.sip.message import MessageRefused


class ScriptedCore:
    """A user agent that does as the test says: `on_datagram` and `on_timer` may queue datagrams, events, a deadline."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Hop]] = []
        self.rung: list[float] = []
        self.deadline: float | None = None
        self.outbox: list[tuple[bytes, Hop]] = []
        self.happened: list[Event] = []
        self.broken: list[Hop] = []
        self.reasons: list[str] = []
        self.refused: list[tuple[MessageRefused, Hop]] = []
        self.known: Callable[[str], bool] = lambda _host: True
        self.on_datagram: Callable[[bytes, Hop], None] = lambda _data, _source: None
        self.on_refusal: Callable[[MessageRefused, Hop], None] = lambda _refusal, _source: None

    def admits(self, source: Hop, now: float) -> bool:
        return self.known(source.host)

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        self.received.append((data, source))
        self.on_datagram(data, source)

    def receive_refusal(self, refusal: MessageRefused, source: Hop) -> None:
        self.refused.append((refusal, source))
        self.on_refusal(refusal, source)

    def handle_transport_error(self, hop: Hop, now: float, reason: str) -> None:
        self.broken.append(hop)
        self.reasons.append(reason)

    def handle_timer(self, now: float) -> None:
        self.rung.append(now)
        self.deadline = None

    def get_timer(self) -> float | None:
        return self.deadline

    def datagrams_to_send(self) -> list[tuple[bytes, Hop]]:
        queued, self.outbox = self.outbox, []
        return queued

    def events(self) -> list[Event]:
        queued, self.happened = self.happened, []
        return queued
