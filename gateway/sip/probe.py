"""OPTIONS to a registrar at an interval: a PBX that has gone shows before the next refresh is due (promise O1).

Any response is a sign of life, refusals and challenges too. A peer that never answered one is left in peace: some PBXs
drop OPTIONS from extensions, and their silence means nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.core import Core
from gateway.sip.dialog import MAX_FORWARDS
from gateway.sip.hop import Hop
from gateway.sip.message import Headers, Message, NameAddr, Request, Uri
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Transaction, TransactionUser
from gateway.sip.trunk import Trunk


class Probe:
    """The watch over one trunk's peer. `on_loss` is told once; ``start`` begins anew."""

    def __init__(self, core: Core, trunk: Trunk, on_loss: Callable[[float], None]) -> None:
        self._core = core
        self._trunk = trunk
        self._on_loss = on_loss
        self._has_answered = False
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
        interval_s = self._core.options.probe_interval_s
        if self._next is None and interval_s:
            self._next = self._core.timers.start(now + interval_s, self._send)

    def stop(self) -> None:
        """Watch no longer."""
        for alarm in (self._next, self._limit):
            if alarm is not None:
                alarm.cancel()
        self._next = self._limit = None

    def _send(self, now: float) -> None:
        core, options = self._core, self._core.options
        self._next = core.timers.start(now + options.probe_interval_s, self._send)
        if self._limit is None:
            self._limit = core.timers.start(now + options.probe_timeout_s, self._miss)
        user = TransactionUser(deliver=self._receive, fail=lambda transaction, failure, now: None)
        self._send_to(self._trunk.hop, user, now)

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

    def _receive(self, transaction: Transaction, message: Message, now: float) -> None:
        self._has_answered = True
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _miss(self, now: float) -> None:
        self._limit = None
        if self._has_answered:
            self.stop()
            self._on_loss(now)
