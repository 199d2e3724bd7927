"""The user agent: datagrams and commands in, datagrams and events out, one timer. No socket, no clock.

::

    receive_datagram -> ACL -> parse_message -> TransactionLayer -> inspect -> Leg -> Event
                                                     |                          ^
    datagrams_to_send <- Core <----------------------+------- commands ---------+

Its owner calls `receive_datagram`, `handle_timer` and the commands, each with the time (seconds, monotonic), and
afterwards drains `datagrams_to_send` and `events` and asks `get_timer` when to come back. Whatever a peer sends ends in
an effect, an answer or a drop that is counted; only commands that a state does not allow raise.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from random import Random, SystemRandom

from gateway.errors import MessageError, ResourceError, StateError, shown
from gateway.sip.bodies import SDP, session_description_of
from gateway.sip.core import Core, Counters, HeaderFields, UserAgentOptions, capabilities
from gateway.sip.dialog import Dialog
from gateway.sip.events import CallOffered, Event
from gateway.sip.inspection import Refusal, inspect
from gateway.sip.invite_usage import InviteUsage, LegState
from gateway.sip.leg import Leg, read_reason
from gateway.sip.message import (
    Address,
    Headers,
    Message,
    MessageRefused,
    Request,
    Response,
    Uri,
    is_keepalive,
    make_response,
    parse_message,
)
from gateway.sip.registration import Registration
from gateway.sip.sdp import SessionDescription
from gateway.sip.session_timer import refuse_interval
from gateway.sip.transaction import Failure, Transaction, TransactionUser
from gateway.sip.transaction_layer import note_source, response_destination
from gateway.sip.trunk import TokenBucket, Trunk, TrunkOptions

__all__ = ["Counters", "TrunkOptions", "UserAgent", "UserAgentOptions"]

_log = logging.getLogger(__name__)

_OVERLOAD_RETRY_AFTER_S = 5


class UserAgent:
    """One user agent for all trunks. Raises: `ValueError` where the options cannot be used."""

    def __init__(self, options: UserAgentOptions, random: Random | None = None) -> None:
        self._options = options
        user = TransactionUser(deliver=self._serve, fail=self._note_failure)
        self._core = Core(options, random or SystemRandom(), user)
        self._trunks = {trunk.name: Trunk(trunk, self._core.new_token) for trunk in options.trunks}
        self._buckets = {name: TokenBucket(options.calls_per_s, options.call_burst) for name in self._trunks}
        self._registrations = {
            name: Registration(self._core, trunk)
            for name, trunk in self._trunks.items()
            if trunk.options.registrar is not None
        }
        self._legs: dict[str, Leg] = {}
        self._by_dialog: dict[tuple[str, str], Leg] = {}
        self._by_invite: dict[Transaction, Leg] = {}
        self._refusal: Refusal | None = None
        self._tag_key = self._core.new_token(128)

    # ---------------------------------------------------------------------------------------- wire and clock

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Take a datagram that came from `source`. Never raises on what a peer sends."""
        counters = self._core.counters
        counters.received += 1
        source = Address(*source)
        trunks = self._trunks_of(source)
        if not trunks:
            # Strangers are not read, not answered, not kept: they cost a look-up and a number.
            counters.strangers += 1
            return
        for trunk in trunks:
            registration = self._registrations.get(trunk.name)
            if registration is not None and source == trunk.options.peer:
                registration.note_sign_of_life(now)
        if is_keepalive(data):
            counters.keepalives += 1
            return
        try:
            message = parse_message(data)
        except MessageRefused as error:
            self._refuse_malformed(error, source)
            return
        if isinstance(message, Response):
            self._receive_response(message, source, trunks, now)
        else:
            self._receive_request(message, source, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._core.timers.expire(now)

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called next; None for not at all."""
        return self._core.timers.next_deadline()

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """What is to be sent, in order; each is given once."""
        datagrams, self._core.datagrams = self._core.datagrams, []
        return datagrams

    def events(self) -> list[Event]:
        """What has happened, in order; each is given once."""
        events, self._core.events = self._core.events, []
        return events

    def handle_transport_error(self, destination: Address, now: float) -> None:
        """The socket refused to send to `destination` (RFC 3261 17.1.4, 18.4)."""
        self._core.transactions.fail_towards(Address(*destination), now)

    @property
    def counters(self) -> Counters:
        """What became of datagrams."""
        return self._core.counters

    @property
    def transaction_count(self) -> int:
        """Open transactions; 0 some seconds after the last call."""
        return len(self._core.transactions)

    @property
    def leg_count(self) -> int:
        """Call legs, those that are ending included."""
        return len(self._legs)

    # ---------------------------------------------------------------------------------------------- commands

    def register(self, trunk_name: str, now: float) -> None:
        """Register and stay registered; where that is so already, refresh at once. Raises: `StateError`."""
        self._registration(trunk_name).start(now)

    def unregister(self, trunk_name: str, now: float) -> None:
        """Give the registration back. Raises: `StateError`."""
        self._registration(trunk_name).stop(now)

    def refuse_calls(self, status: int | None, retry_after_s: int | None = None) -> None:
        """Answer new calls with `status` from now on, before the application hears of them; None: take them again."""
        if status is None:
            self._refusal = None
            return
        headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
        self._refusal = Refusal(status=status, headers=headers)

    def invite(
        self,
        trunk_name: str,
        target: Uri,
        *,
        offer: SessionDescription | None,
        from_user: str | None = None,
        display_name: str | None = None,
        headers: HeaderFields = (),
        now: float,
    ) -> str:
        """Call `target` through a trunk; the id of the new leg. Without an offer the peer makes it, in its 2xx.

        Raises: `StateError` for an unknown trunk, `ResourceError` where there are too many legs.
        """
        trunk = self._trunk(trunk_name)
        if len(self._legs) >= self._options.max_legs:
            raise ResourceError(f"{self._options.max_legs} call legs are open")
        usage = self._new_usage(trunk, self._core.new_call_id(), LegState.CALLING, trunk.options.peer)
        leg = Leg(usage, offer=offer)
        leg.place(target, trunk.caller(from_user, display_name), _checked(headers, str(target)), now)
        self._keep(leg)
        return usage.leg_id

    def cancel(self, leg_id: str, now: float) -> None:
        """Give up a call of ours that is not answered; `CallRefused` follows. Raises: `StateError`."""
        self._leg(leg_id).cancel(now)

    def progress(
        self,
        leg_id: str,
        status: int,
        now: float,
        answer: SessionDescription | None = None,
        headers: HeaderFields = (),
    ) -> None:
        """Send 101 to 199, with early media if there is an `answer`. Raises: `StateError`."""
        self._leg(leg_id).progress(status, now, answer, _checked(headers))

    def answer(self, leg_id: str, description: SessionDescription, now: float, headers: HeaderFields = ()) -> None:
        """Take the call: 200, repeated until `CallEstablished`. Raises: `StateError`."""
        self._leg(leg_id).answer(description, now, _checked(headers))

    def reject(
        self, leg_id: str, status: int, now: float, reason: str | None = None, headers: HeaderFields = ()
    ) -> None:
        """Refuse the call, 300 to 699; the leg is gone, without an event. Raises: `StateError`."""
        self._leg(leg_id).reject(status, now, reason, _checked(headers, reason))

    def acknowledge(self, leg_id: str, description: SessionDescription, now: float) -> None:
        """Answer the offer in `CallAnswered`, after an ``invite`` without one. Raises: `StateError`."""
        self._leg(leg_id).acknowledge(description, now)

    def accept_offer(self, leg_id: str, description: SessionDescription, now: float) -> None:
        """Agree to `OfferReceived`; `description` is the answer, or the offer it asked for. Raises: `StateError`."""
        self._leg(leg_id).accept_offer(description, now)

    def reject_offer(self, leg_id: str, status: int, now: float) -> None:
        """Refuse `OfferReceived`; the session is what it was. Raises: `StateError`."""
        self._leg(leg_id).reject_offer(status, now)

    def reoffer(self, leg_id: str, description: SessionDescription, now: float) -> None:
        """Change the session; `OfferAnswered` or `OfferRefused` follows. Raises: `StateError`."""
        self._leg(leg_id).reoffer(description, now)

    def refer(
        self, leg_id: str, refer_to: Uri, now: float, referred_by: str | None = None, headers: HeaderFields = ()
    ) -> None:
        """Hand the peer over to `refer_to`; `TransferProgressed` follows until it is final. Raises: `StateError`.

        The leg stays. Some PBXs leave hanging up to us after a success (Asterisk does).
        """
        self._leg(leg_id).refer(refer_to, referred_by, _checked(headers, str(refer_to), referred_by), now)

    def accept_refer(self, leg_id: str, now: float) -> None:
        """Agree to `TransferRequested`; report by ``notify_transfer``. Raises: `StateError`."""
        self._leg(leg_id).accept_refer(now)

    def reject_refer(self, leg_id: str, status: int, now: float) -> None:
        """Refuse `TransferRequested`. Raises: `StateError`."""
        self._leg(leg_id).reject_refer(status, now)

    def notify_transfer(self, leg_id: str, status: int, reason: str | None, now: float) -> None:
        """Report what the new call came to; 200 or more is the last report. Raises: `StateError`."""
        self._leg(leg_id).notify_transfer(status, reason, now)

    def bye(self, leg_id: str, now: float, reason: str | None = None) -> None:
        """End the leg, whatever its state: BYE; 480 to a call not answered yet; CANCEL of a call of ours.

        `reason` is the value of a Reason header (RFC 3326). After an answer whose ACK has not come, BYE waits for it.
        Raises: `StateError` where the leg has ended.
        """
        _checked((), reason)
        self._leg(leg_id).bye(now, reason)

    # ---------------------------------------------------------------------------------------- messages coming in

    def _receive_response(self, response: Response, source: Address, trunks: list[Trunk], now: float) -> None:
        transaction = self._core.transactions.find_client(response) if self._core.has_sent(response) else None
        if transaction is None or not any(trunk.allows(transaction.destination.host) for trunk in trunks):
            self._core.counters.stray_responses += 1
            return
        self._core.transactions.receive_response(transaction, response, source, now)

    def _receive_request(self, request: Request, source: Address, now: float) -> None:
        note_source(request, source)
        transactions = self._core.transactions
        transaction = transactions.find_server(request)
        if transaction is not None:
            transactions.repeat_request(transaction, request, now)
        elif request.method == "ACK":
            self._receive_ack(request, source, now)
        elif len(transactions) >= self._options.max_transactions:
            self._core.counters.overload += 1
        else:
            transactions.accept_request(request, source, now)

    def _refuse_malformed(self, error: MessageRefused, source: Address) -> None:
        """Answer what is no message, where enough of it can be read, without keeping anything (RFC 3261 8.2.7)."""
        self._core.counters.malformed += 1
        head = error.message_head
        _log.debug("! malformed datagram from %s: %s", source, error)
        if head is None:
            return
        note_source(head, source)
        tag = hashlib.blake2b(f"{self._tag_key} {head.top_via}".encode("utf-8", "replace"), digest_size=8).hexdigest()
        response = make_response(head, error.status, to_tag=tag)
        self._core.send(response.to_bytes(), response_destination(head, source))

    def _serve(self, transaction: Transaction, message: Message, now: float) -> None:
        """What server transactions pass up: new requests, and ACKs to a 2xx that name its branch."""
        if not isinstance(message, Request):
            return
        if message.method == "ACK":
            self._receive_ack(message, transaction.heard_from, now)
            return
        try:
            refusal = self._dispatch(transaction, now)
        except MessageError as error:
            refusal = Refusal(status=error.status, reason=error.reason)
        if refusal is not None and transaction.is_open:
            self._core.counters.refused += 1
            self._core.reply(transaction, refusal.status, now, reason=refusal.reason, headers=refusal.headers)

    def _dispatch(self, transaction: Transaction, now: float) -> Refusal | None:
        """Deal a new request out; how to refuse it, where nobody takes it."""
        request = transaction.request
        if request.method == "CANCEL":
            return self._receive_cancel(transaction, now)
        refusal = inspect(request)
        if refusal is not None:
            return refusal
        if request.to.tag is not None:
            return self._receive_in_dialog(transaction, now)
        if self._core.transactions.is_merged(transaction):
            return Refusal(status=482)
        match request.method:
            case "INVITE":
                return self._receive_invite(transaction, now)
            case "OPTIONS":
                self._core.reply(transaction, 200, now, headers=capabilities())
                return None
            case "REFER":
                # Nobody may make us call out of the blue.
                return Refusal(status=603)
        return self._unknown_dialog()

    def _unknown_dialog(self) -> Refusal:
        self._core.counters.unknown_dialogs += 1
        return Refusal(status=481)

    def _receive_in_dialog(self, transaction: Transaction, now: float) -> Refusal | None:
        leg = self._find_leg(transaction.request, transaction.heard_from)
        if leg is None or not leg.receive_request(transaction, now):
            return self._unknown_dialog()
        return None

    def _receive_ack(self, ack: Request, source: Address, now: float) -> None:
        leg = self._find_leg(ack, source)
        if leg is None or not leg.receive_ack(ack, now):
            # RFC 3261 13.3.1.4 knows no answer to an ACK.
            self._core.counters.stray_acks += 1

    def _receive_cancel(self, transaction: Transaction, now: float) -> Refusal | None:
        """CANCEL is answered 200 wherever its INVITE is known; it has an effect until that has its final response."""
        request = transaction.request
        invite = self._core.transactions.find_cancelled(request)
        if invite is None:
            return self._unknown_dialog()
        leg = self._by_invite.get(invite) or self._find_leg(request, transaction.heard_from)
        answered = invite.response.to.tag if invite.response is not None else None
        # RFC 3261 9.2: both answers have the same To tag.
        self._core.reply(transaction, 200, now, to_tag=leg.usage.local_tag if leg is not None else answered)
        if leg is not None and invite.is_open:
            _, reason = read_reason(request)
            leg.receive_cancel(invite, reason, now)
        return None

    def _receive_invite(self, transaction: Transaction, now: float) -> Refusal | None:
        """A new call: whether we take any, whether its body and timer can be used, then up with it."""
        request, source = transaction.request, transaction.heard_from
        trunk = self._choose_trunk(request, source)
        if trunk is None:
            return Refusal(status=403)
        refusal = self._refuse_new_call(trunk, now)
        if refusal is not None:
            return refusal
        min_se = refuse_interval(request, self._options.min_session_expires_s)
        if min_se is not None:
            return Refusal(status=422, headers=min_se)
        try:
            offer = session_description_of(request)
        except MessageError as error:
            accept = (("Accept", SDP), ("Accept-Encoding", "identity")) if error.status == 415 else ()
            return Refusal(status=error.status, reason=error.reason, headers=accept)
        usage = self._new_usage(trunk, request.call_id, LegState.OFFERED, source)
        usage.dialog = Dialog.of_request(request, usage.local_tag)
        usage.remote_description = offer
        usage.note_peer(request)
        leg = Leg(usage, transaction=transaction)
        self._keep(leg)
        self._by_invite[transaction] = leg
        usage.on_end.append(lambda now: self._drop_invite(transaction))
        leg.begin(now)
        self._core.emit(
            CallOffered(
                leg_id=usage.leg_id,
                trunk=trunk.name,
                call_id=request.call_id,
                request_uri=request.uri,
                to=request.to,
                from_=request.from_,
                headers=request.headers.copy(),
                offer=offer,
                source=source,
            )
        )
        return None

    def _refuse_new_call(self, trunk: Trunk, now: float) -> Refusal | None:
        if self._refusal is not None:
            return self._refusal
        if len(self._legs) < self._options.max_legs and self._buckets[trunk.name].take(now):
            return None
        self._core.counters.overload += 1
        return Refusal(status=503, headers=(("Retry-After", str(_OVERLOAD_RETRY_AFTER_S)),))

    def _note_failure(self, transaction: Transaction, failure: Failure, now: float) -> None:
        """A response of ours was never acknowledged, or could not be sent: its leg has ended or will by itself."""
        _log.debug("! %s %s: %s", transaction.kind.value, transaction.request.cseq, failure.name)

    # ------------------------------------------------------------------------------------- trunks and legs

    def _trunks_of(self, source: Address) -> list[Trunk]:
        return [trunk for trunk in self._trunks.values() if trunk.allows(source.host)]

    def _choose_trunk(self, request: Request, source: Address) -> Trunk | None:
        """The trunk that a call comes from. Several may share a host: then the port, then the number called decide."""
        trunks = self._trunks_of(source)
        exact = [trunk for trunk in trunks if trunk.options.peer == source] or trunks
        called = [trunk for trunk in exact if trunk.options.contact_user == request.uri.unescaped_user] or exact
        return called[0] if called else None

    def _new_usage(self, trunk: Trunk, call_id: str, state: LegState, peer: Address) -> InviteUsage:
        leg_id, local_tag = self._core.new_token(), self._core.new_token()

        def forget() -> None:
            self._legs.pop(leg_id, None)
            self._by_dialog.pop((call_id, local_tag), None)

        return InviteUsage(
            self._core,
            trunk,
            leg_id=leg_id,
            call_id=call_id,
            local_tag=local_tag,
            state=state,
            peer=peer,
            forget=forget,
        )

    def _keep(self, leg: Leg) -> None:
        usage = leg.usage
        self._legs[usage.leg_id] = leg
        self._by_dialog[usage.call_id, usage.local_tag] = leg

    def _drop_invite(self, transaction: Transaction) -> None:
        self._by_invite.pop(transaction, None)

    def _find_leg(self, request: Request, source: Address) -> Leg | None:
        """The leg whose dialog `request` claims to be in, if its trunk lets `source` speak for it."""
        leg = self._by_dialog.get((request.call_id, request.to.tag or ""))
        return leg if leg is not None and leg.usage.trunk.allows(source.host) else None

    def _leg(self, leg_id: str) -> Leg:
        leg = self._legs.get(leg_id)
        if leg is None:
            raise StateError(f"no such leg: {leg_id}")
        return leg

    def _trunk(self, name: str) -> Trunk:
        trunk = self._trunks.get(name)
        if trunk is None:
            raise StateError(f"no such trunk: {name}")
        return trunk

    def _registration(self, trunk_name: str) -> Registration:
        self._trunk(trunk_name)
        registration = self._registrations.get(trunk_name)
        if registration is None:
            raise StateError(f"trunk {trunk_name} has no registrar")
        return registration


def _checked(headers: Iterable[tuple[str, str]], *texts: str | None) -> HeaderFields:
    """What an application wants in a message, before the message has any effect.

    Raises: `ValueError` for a line break, with which one header could smuggle in another, `MessageError` for a name
    that is none.
    """
    fields = tuple(headers)
    Headers(fields)
    for text in texts:
        if text is not None and ("\r" in text or "\n" in text):
            raise ValueError(f"line break in {shown(text)}")
    return fields
