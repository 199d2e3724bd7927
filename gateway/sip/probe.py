"""OPTIONS to a registrar, at once and at an interval: a PBX that has gone shows before the next refresh is due.

Any response is a sign of life, refusals and challenges too. A peer that never answered one is left in peace: some PBXs
drop OPTIONS from extensions, and their silence means nothing. After a loss that is open again: a PBX that goes on to
take REGISTER but no OPTIONS is lost once, not for ever. Of several servers each is judged by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.core import Core
from gateway.sip.dialog import MAX_FORWARDS
from gateway.sip.hop import Hop
from gateway.sip.message import Headers, NameAddr, Request, Uri
from gateway.sip.timers import Alarm
from gateway.sip.transaction import TransactionUser
from gateway.sip.trunk import Trunk


class Probe:
    """The watch over one trunk's peer. `on_loss` is told once; ``start`` begins anew."""

    def __init__(self, core: Core, trunk: Trunk, on_loss: Callable[[float], None]) -> None:
        self._core = core
        self._trunk = trunk
        self._on_loss = on_loss
        self._answered: set[Hop] = set()
        self._next: Alarm | None = None
        self._limit: Alarm | None = None

    def ask(self, hop: Hop, on_answer: Callable[[float], None], now: float) -> None:
        """Ask `hop` once; `on_answer` is called if it answers anything at all."""
        user = TransactionUser(
            deliver=lambda transaction, message, now: on_answer(now), fail=lambda transaction, failure, now: None
        )
        self._send_to(hop, user, now)

    def start(self, now: float) -> None:
        """Begin to watch, unless that is so already or not wanted."""
        if self._next is None and self._core.options.probe_interval_s:
            self._send(now)

    def stop(self) -> None:
        """Watch no longer."""
        for alarm in (self._next, self._limit):
            if alarm is not None:
                alarm.cancel()
        self._next = self._limit = None

    def _send(self, now: float) -> None:
        core, options, hop = self._core, self._core.options, self._trunk.hop
        self._next = core.timers.start(now + options.probe_interval_s, self._send)
        if self._limit is None:
            self._limit = core.timers.start(now + options.probe_timeout_s, lambda now: self._miss(hop, now))
        self.ask(hop, lambda now: self._note_answer(hop), now)

    def _send_to(self, hop: Hop, user: TransactionUser, now: float) -> None:
        request = self._make_request(hop)
        self._core.add_via(request, hop)
        self._core.transactions.send_request(request, hop, user=user, now=now)

    def _make_request(self, hop: Hop) -> Request:
        uri = Uri("sip", host=hop.host, port=hop.port)
        headers = Headers()
        headers.add("Max-Forwards", str(MAX_FORWARDS))
        headers.add("From", str(self._trunk.address_of_record.with_parameter("tag", self._core.new_token())))
        headers.add("To", str(NameAddr("", uri)))
        headers.add("Call-ID", self._core.new_call_id())
        headers.add("CSeq", "1 OPTIONS")
        headers.add("Contact", str(self._core.contact(self._trunk, hop)))
        headers.add("Accept", "application/sdp")
        request = Request(method="OPTIONS", uri=uri, headers=headers)
        self._core.add_product(request)
        return request

    def _note_answer(self, hop: Hop) -> None:
        self._answered = {hop, *self._answered.intersection(self._trunk.hops)}
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _miss(self, hop: Hop, now: float) -> None:
        self._limit = None
        if hop in self._answered and hop == self._trunk.hop:
            self.stop()
            self._answered.discard(hop)
            self._on_loss(now)
