"""Handing a call over by REFER, and learning how that went (RFC 3515).

REFER subscribes us to its own outcome: the peer reports by NOTIFY, each with the status line of what it got from the
new party (message/sipfrag). The 202 says no more than that it will try. A peer may notify before its 202, stop without
a result, or send the result a moment after BYE; in every case the application gets exactly one final
`TransferProgressed`, and at the latest after `transfer_timeout_s`.

A NOTIFY counts only inside the dialog, for a REFER of ours that still waits; it changes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import StateError
from gateway.sip.bodies import read_sipfrag
from gateway.sip.client_request import ClientRequest
from gateway.sip.core import HeaderFields
from gateway.sip.events import EndCause, TransferProgressed
from gateway.sip.invite_usage import InviteUsage, LegState
from gateway.sip.message import NameAddr, Request, Response, Uri
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Transaction

MAXIMUM_SUBSCRIPTIONS = 8
"""Transfers of one call that NOTIFYs may still come for."""


@dataclass(slots=True, kw_only=True)
class _Subscription:
    """One REFER and what it subscribed us to."""

    client: ClientRequest
    limit: Alarm
    has_result: bool = False
    is_terminated: bool = False
    is_given_up: bool = False
    """Nobody waits for its result any more; one that comes all the same is answered."""

    @property
    def event_id(self) -> str:
        """What names it in Event: the CSeq number of its REFER (RFC 3515 2.4.6)."""
        return str(self.client.request.cseq.number)


class ReferClient:
    """The transfers that we ask the peer of one leg for, one at a time."""

    def __init__(self, usage: InviteUsage) -> None:
        self._usage = usage
        self._core = usage.core
        self._subscriptions: list[_Subscription] = []
        usage.on_end.append(self._end)

    def refer(self, refer_to: Uri, referred_by: str | None, headers: HeaderFields, now: float) -> None:
        """Ask the peer to call `refer_to`. Raises: `StateError` while another transfer is under way."""
        usage = self._usage
        if usage.is_transferring:
            raise StateError(f"leg {usage.leg_id} is being transferred already")
        fields: HeaderFields = (("Refer-To", str(NameAddr("", refer_to))),)
        if referred_by is not None:
            fields += (("Referred-By", referred_by),)
        client = usage.send_request(
            "REFER",
            now,
            on_response=lambda response, now: self._receive(subscription, response, now),
            headers=fields + headers,
        )
        limit = self._core.timers.start(
            now + self._core.options.transfer_timeout_s, lambda now: self._pass_limit(subscription, now)
        )
        subscription = _Subscription(client=client, limit=limit)
        usage.is_transferring = True
        self._subscriptions = [*self._subscriptions, subscription][-MAXIMUM_SUBSCRIPTIONS:]

    def give_up(self, now: float) -> None:
        """Await the result of the transfer under way no longer: no event follows, and another one may be asked for."""
        for subscription in self._subscriptions:
            if not subscription.has_result:
                subscription.has_result = subscription.is_given_up = True
                subscription.limit.cancel()
                self._usage.settle_transfer(now)

    def receive_notify(self, transaction: Transaction, now: float) -> None:
        """A NOTIFY within the dialog."""
        request = transaction.request
        package, *parameters = (request.headers.get("Event") or "").split(";")
        if package.strip().lower() != "refer":
            self._core.reply(transaction, 489, now, headers=(("Allow-Events", "refer"),))
            return
        subscription = self._find(_event_id(parameters))
        if subscription is None:
            # RFC 6665 4.1.3: nothing here awaits it.
            self._core.reply(transaction, 481, now)
            return
        self._core.reply(transaction, 200, now)
        self._take(subscription, request, now)

    def _find(self, event_id: str | None) -> _Subscription | None:
        """RFC 3515 2.4.6: the id may be missing for the first REFER of a dialog; some peers never send it.

        Without an id the oldest subscription is meant that has not terminated; one that was given up comes last.
        """
        alive = sorted((one for one in self._subscriptions if not one.is_terminated), key=lambda one: one.is_given_up)
        return next((one for one in alive if event_id is None or event_id == one.event_id), None)

    def _take(self, subscription: _Subscription, request: Request, now: float) -> None:
        state = (request.headers.get("Subscription-State") or "").partition(";")[0].strip().lower()
        subscription.is_terminated = state == "terminated"
        found = read_sipfrag(request.body) if request.content_type == "message/sipfrag" else None
        if found is not None and found[0] >= 200:
            self._conclude(subscription, *found, now, is_notified=True)
        elif subscription.is_terminated:
            self._conclude(subscription, 408, "the peer stopped reporting without a result", now)
        elif found is not None and not subscription.has_result:
            self._tell(*found, is_final=False, is_notified=True)

    def _receive(self, subscription: _Subscription, response: Response, now: float) -> None:
        """A response to the REFER itself."""
        if response.status < 200 or subscription.has_result:
            return
        if response.status < 300:
            # RFC 3515 2.4.2 wants 202; 200 of some peers means no more than that.
            self._tell(202, response.reason, is_final=False)
            return
        subscription.is_terminated = True
        reason = subscription.client.authentication_failure or response.reason
        self._conclude(subscription, response.status, reason, now)
        if response.status == 481 and self._usage.state is LegState.ESTABLISHED:
            # RFC 3261 12.2.1.2. After a 408 it would want the same; the call stays, for media may well flow on.
            self._usage.abort(EndCause.ERROR, 481, response.reason, now)

    def _pass_limit(self, subscription: _Subscription, now: float) -> None:
        self._conclude(subscription, 408, "no result in time", now)

    def _conclude(
        self, subscription: _Subscription, status: int, reason: str, now: float, *, is_notified: bool = False
    ) -> None:
        if subscription.has_result:
            return
        subscription.has_result = True
        subscription.limit.cancel()
        self._tell(status, reason, is_final=True, is_notified=is_notified)
        self._usage.settle_transfer(now)

    def _tell(self, status: int, reason: str, *, is_final: bool, is_notified: bool = False) -> None:
        if self._usage.state is not LegState.ENDED:
            self._core.emit(
                TransferProgressed(
                    leg_id=self._usage.leg_id,
                    status=status,
                    reason=reason,
                    is_final=is_final,
                    is_notified=is_notified,
                )
            )

    def _end(self, now: float) -> None:
        """The call ends; what is awaited is the usage's `linger_s` now."""
        for subscription in self._subscriptions:
            subscription.limit.cancel()


def _event_id(parameters: list[str]) -> str | None:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "id":
            return value.strip()
    return None
