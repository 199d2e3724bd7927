"""Being handed over by REFER: the peer asks us to call somebody, and is told by NOTIFY how that goes (RFC 3515)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import MessageError, StateError
from gateway.sip.events import TransferRequested
from gateway.sip.invite_usage import InviteUsage
from gateway.sip.message import NameAddr, Response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Transaction
from gateway.sip.vocabulary import reason_phrase

_SUBSCRIPTION_S = 180
"""Lifetime that our NOTIFYs announce; a new call rings no longer."""


@dataclass(slots=True, kw_only=True)
class _Request:
    """A REFER that waits for the application."""

    transaction: Transaction
    limit: Alarm


class ReferServer:
    """The transfers that the peer of one leg asks us for, one at a time."""

    def __init__(self, usage: InviteUsage) -> None:
        self._usage = usage
        self._core = usage.core
        self._request: _Request | None = None
        self._event_id: str | None = None
        usage.on_end.append(self._end)

    def receive(self, transaction: Transaction, now: float) -> None:
        """A REFER within the dialog."""
        if self._request is not None or self._event_id is not None:
            self._core.reply(transaction, 491, now)
            return
        request = transaction.request
        targets = request.headers.get_all("Refer-To")
        try:
            if len(targets) != 1:
                raise MessageError("not one Refer-To")
            refer_to = NameAddr.parse(targets[0])
        except MessageError as error:
            # RFC 3515 2.4.2.
            self._core.reply(transaction, 400, now, reason=error.reason)
            return
        limit = self._core.timers.start(now + self._core.options.command_timeout_s, self._pass_limit)
        self._request = _Request(transaction=transaction, limit=limit)
        self._core.emit(
            TransferRequested(
                leg_id=self._usage.leg_id,
                refer_to=refer_to,
                referred_by=request.headers.get("Referred-By"),
                headers=request.headers.copy(),
            )
        )

    def accept(self, now: float) -> None:
        """202, and the first NOTIFY at once (RFC 3515 2.4.4)."""
        request = self._take_request()
        self._event_id = str(request.transaction.request.cseq.number)
        contact = (("Contact", str(self._usage.contact)),)
        self._core.reply(request.transaction, 202, now, headers=contact)
        self.notify(100, None, now)

    def reject(self, status: int, now: float) -> None:
        """Refuse."""
        self._core.reply(self._take_request().transaction, status, now)

    def notify(self, status: int, reason: str | None, now: float) -> None:
        """Report what the new call came to; 200 or more is the last report. Raises: `StateError` without a transfer."""
        if self._event_id is None:
            raise StateError(f"leg {self._usage.leg_id} follows no transfer of the peer")
        event_id = self._event_id
        is_final = status >= 200
        state = "terminated;reason=noresource" if is_final else f"active;expires={_SUBSCRIPTION_S}"
        phrase = reason_phrase(status) if reason is None else " ".join(reason.split())
        if is_final:
            self._event_id = None
        self._usage.send_request(
            "NOTIFY",
            now,
            on_response=lambda response, now: self._receive(event_id, response),
            headers=(("Event", f"refer;id={event_id}"), ("Subscription-State", state)),
            body=f"SIP/2.0 {status} {phrase}\r\n".encode("utf-8", "replace"),
            content_type="message/sipfrag;version=2.0",
        )

    def _receive(self, event_id: str, response: Response) -> None:
        # RFC 6665 4.2.2: a peer that refuses a NOTIFY, or never answers it, has ended the subscription, not the call.
        if response.status >= 300 and self._event_id == event_id:
            self._event_id = None

    def _take_request(self) -> _Request:
        request, self._request = self._request, None
        if request is None:
            raise StateError(f"leg {self._usage.leg_id} has no open REFER of the peer")
        request.limit.cancel()
        return request

    def _pass_limit(self, now: float) -> None:
        if self._request is not None:
            self.reject(603, now)

    def _end(self, now: float) -> None:
        self._event_id = None
        if self._request is not None:
            self.reject(487, now)
