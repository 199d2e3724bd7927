"""Requests that come in: whose they are, whether they can be served, and the answer where they cannot.

::

    request -> [repetition? -> its transaction] -> [credentials owed? -> 401] -> [of no call? -> 481]
        -> [too many? -> 503] -> inspect
        -> within a dialog -> its leg
        -> INVITE -> a new leg
        -> OPTIONS -> 200

Every request but ACK ends in exactly one final response, or in a drop that is counted.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import replace

from gateway.errors import MessageError
from gateway.sip.auth_server import MAX_GROWTH, DigestServer, InboundAuth, Proof
from gateway.sip.bodies import SDP, session_description_of
from gateway.sip.core import Core, capabilities
from gateway.sip.dialog import Dialog
from gateway.sip.events import MAXIMUM_IDENTITIES, CallOffered
from gateway.sip.guard import Guard
from gateway.sip.hop import Hop
from gateway.sip.identity import asserted_identity
from gateway.sip.inspection import Refusal, inspect
from gateway.sip.invite_usage import LegState
from gateway.sip.leg import Leg, read_reason
from gateway.sip.legs import Legs
from gateway.sip.message import Message, MessageRefused, Request, make_response
from gateway.sip.reject_reason import RejectReason
from gateway.sip.replaces import Replaces
from gateway.sip.session_timer import refuse_interval
from gateway.sip.transaction import Failure, Transaction
from gateway.sip.transaction_layer import note_source, response_destination
from gateway.sip.trunk import TokenBucket, Trunk, Trunks

_log = logging.getLogger(__name__)

SHORT_BYTES = 2048
"""A request outside calls that is longer than this counts as several against its trunk's rate."""

_OVERLOAD = Refusal(status=503, headers=(("Retry-After", "5"),), counted=RejectReason.RATE)


class Reception:
    """The server side of a user agent. `refusal` is what new calls get, while they are not wanted."""

    def __init__(self, core: Core, trunks: Trunks, legs: Legs, guard: Guard) -> None:
        self._core = core
        self._trunks = trunks
        self._legs = legs
        self._guard = guard
        options = core.options
        self._digest = DigestServer(core.new_token(256).encode())
        self._message_buckets = {
            trunk.name: TokenBucket(options.messages_per_s, options.message_burst) for trunk in trunks
        }
        self._speaker: Trunk | None = None  # for whom the request speaks that is being dealt out
        self._buckets = {trunk.name: TokenBucket(options.calls_per_s, options.call_burst) for trunk in trunks}
        self._tag_key = core.new_token(128)
        self.refusal: Refusal | None = None

    def receive(self, request: Request, source: Hop, now: float) -> None:
        """Take a request from the wire."""
        note_source(request, source)
        transactions = self._core.transactions
        transaction = transactions.find_server(request)
        if transaction is not None:
            transactions.repeat_request(transaction, request, now)
        elif request.method == "ACK":
            self._receive_ack(request, source, now)
        else:
            self._receive_new(request, source, now)

    def _receive_new(self, request: Request, source: Hop, now: float) -> None:
        """Take a request that is no repetition, if whoever sent it may, and not too often."""
        proof, self._speaker = self._find_speaker(request, source, now)
        if proof is not Proof.PROVEN:
            self._challenge(request, source, proof, now)
            return
        if self._is_of_no_call(request, source):
            refusal = self._unknown_dialog()
            self._core.counters.rejected.add(refusal.counted)
            self._answer_without_state(request, refusal.status, source)
            return
        excess = self._excess(request, now)
        if excess is None:
            self._core.transactions.accept_request(request, source, now)
        else:
            self._core.counters.rejected.add(excess)
            self._answer_without_state(request, _OVERLOAD.status, source, _OVERLOAD.headers)

    def _find_speaker(self, request: Request, source: Hop, now: float) -> tuple[Proof, Trunk | None]:
        """The trunk that `request` speaks for, by the address it came from or by its credentials.

        Where an address proves nothing, a request within a call needs no credentials if it comes from the host that
        has shown them for this call, and CANCEL none if it means such a host's INVITE (RFC 3261 22.1).
        """
        trusted = self._trunks.choose(source, request.uri.unescaped_user)
        if trusted is not None:
            return Proof.PROVEN, trusted
        leg = self._legs.find(request, source)
        if leg is not None and leg.usage.peer.host == source.host:
            return Proof.PROVEN, leg.usage.trunk
        if request.method == "CANCEL":
            invite = self._core.transactions.find_cancelled(request)
            is_owed = invite is None or not source.is_like(invite.heard_from)
            return Proof.ABSENT if is_owed else Proof.PROVEN, None
        if not self._guard.may_judge(source.host, now):
            return Proof.ABSENT, None
        asking = [trunk for trunk in self._trunks.of(source) if trunk.options.inbound_auth is not None]
        accounts = tuple(trunk.options.inbound_auth for trunk in asking if trunk.options.inbound_auth is not None)
        judgement = self._digest.judge(request, accounts, source.host, now)
        speaker = next((trunk for trunk in asking if trunk.options.inbound_auth is judgement.account), None)
        if judgement.proof is Proof.PROVEN:
            self._guard.note_right_credentials(source.host)
        return judgement.proof, speaker

    def _challenge(self, request: Request, source: Hop, proof: Proof, now: float) -> None:
        """Ask for credentials: at most `MAX_GROWTH` times as many bytes as came, as often as the guard lets us."""
        if proof is Proof.WRONG:
            self._guard.note_wrong_credentials(source.host, now)
        else:
            self._core.counters.rejected.add(RejectReason.UNAUTHORIZED)
        is_answered = request.method != "CANCEL" and self._guard.may_challenge(source.host, now)
        if not is_answered:
            return
        challenges = tuple(
            header
            for account in self._asked(source)
            for header in self._digest.challenge(account, source.host, now, is_stale=proof is Proof.STALE)
        )
        limit = MAX_GROWTH * len(request.to_bytes())
        self._answer_without_state(request, 401, source, challenges, limit_bytes=limit)

    def _asked(self, source: Hop) -> Iterable[InboundAuth]:
        """One account for each realm that `source` may know a password of; which it knows, only its answer tells."""
        accounts: dict[str, InboundAuth] = {}
        for trunk in self._trunks.of(source):
            account = trunk.options.inbound_auth
            if account is not None:
                accounts.setdefault(account.realm, account)
        return accounts.values()

    def _is_of_no_call(self, request: Request, source: Hop) -> bool:
        """Whether it belongs to something that is not there: nothing is remembered of it, so that no flood of such
        requests, from whatever address, keeps out those of calls (RFC 3261 8.2.7)."""
        if request.method == "CANCEL":
            return self._core.transactions.find_cancelled(request) is None
        return request.to.tag is not None and self._legs.find(request, source) is None

    def _excess(self, request: Request, now: float) -> RejectReason | None:
        """Which limit forbids a request that begins something.

        What belongs to something that is there passes: calls must go on, and must be able to end.
        """
        is_first = request.to.tag is None and request.method != "CANCEL"
        options, transactions, share = self._core.options, self._core.transactions, 1 if is_first else 2
        is_full = transactions.held_bytes >= options.max_transaction_bytes * share
        if is_full or len(transactions) >= options.max_transactions * share:
            return RejectReason.OVERLOAD
        if not is_first or self._speaker is None:
            return None
        cost = 1 + request.size_bytes // SHORT_BYTES
        return None if self._message_buckets[self._speaker.name].take(now, cost) else RejectReason.RATE

    def refuse_malformed(self, error: MessageRefused, source: Hop, *, is_answered: bool) -> None:
        """Answer what is no message, where enough of it can be read and the source has a right to answers."""
        self._core.counters.rejected.add(RejectReason.MALFORMED)
        self._core.counters.last_malformed = f"{source}: {error}"
        _log.debug("! malformed datagram from %s: %s", source, error)
        if error.message_head is not None and is_answered:
            note_source(error.message_head, source)
            self._answer_without_state(error.message_head, error.status, source)

    def serve(self, transaction: Transaction, message: Message, now: float) -> None:
        """What server transactions pass up: new requests, and ACKs to a 2xx that have the branch of their INVITE."""
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
            self._core.counters.rejected.add(refusal.counted)
            self._core.reply(transaction, refusal.status, now, reason=refusal.reason, headers=refusal.headers)

    def note_failure(self, transaction: Transaction, failure: Failure, now: float) -> None:
        """A response of ours was never acknowledged, or could not be sent: its leg has ended or will by itself."""
        _log.debug("! %s %s: %s", transaction.kind.value, transaction.request.cseq, failure.name)

    def _answer_without_state(
        self,
        request: Request,
        status: int,
        source: Hop,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        limit_bytes: int | None = None,
    ) -> None:
        """A response that nothing remembers; the same for every repetition, its To tag too (RFC 3261 8.2.7)."""
        name = f"{self._tag_key} {request.top_via.branch} {request.headers.get('Call-ID')}"
        tag = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).hexdigest()
        data = make_response(request, status, to_tag=tag, headers=headers).to_bytes()
        if limit_bytes is None or len(data) <= limit_bytes:
            self._core.send(data, response_destination(request, source))

    def _dispatch(self, transaction: Transaction, now: float) -> Refusal | None:
        """Deal a new request out; how to refuse it, where nobody takes it."""
        request = transaction.request
        if request.method == "CANCEL":
            return self._receive_cancel(transaction, now)
        refusal = inspect(request, transaction.heard_from)
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
                # RFC 3261 11.2. Also while new calls are refused: the PBX must go on to reach us until we unregister.
                self._core.reply(transaction, 200, now, headers=capabilities())
                return None
            case "REFER":
                # Nobody may make us call out of the blue.
                return Refusal(status=603)
        return self._unknown_dialog()

    def _unknown_dialog(self) -> Refusal:
        return Refusal(status=481, counted=RejectReason.UNKNOWN_DIALOG)

    def _receive_in_dialog(self, transaction: Transaction, now: float) -> Refusal | None:
        leg = self._legs.find(transaction.request, transaction.heard_from)
        if leg is None or not leg.receive_request(transaction, now):
            return self._unknown_dialog()
        return None

    def _receive_ack(self, ack: Request, source: Hop, now: float) -> None:
        leg = self._legs.find(ack, source)
        if leg is None or not leg.receive_ack(ack, now):
            # RFC 3261 17: there is no answer to an ACK.
            self._core.counters.stray_acks += 1

    def _receive_cancel(self, transaction: Transaction, now: float) -> Refusal | None:
        """CANCEL is answered 200 wherever its INVITE is known; it has an effect until that has its final response."""
        request, source = transaction.request, transaction.heard_from
        invite = self._core.transactions.find_cancelled(request)
        if invite is None or not source.is_like(invite.heard_from):
            return self._unknown_dialog()
        leg = self._legs.find_offered(invite) or self._legs.find(request, source)
        answered = invite.response.to.tag if invite.response is not None else None
        # RFC 3261 9.2: both answers have the same To tag.
        self._core.reply(transaction, 200, now, to_tag=leg.usage.local_tag if leg is not None else answered)
        if leg is not None and invite.is_open:
            _, reason = read_reason(request)
            leg.receive_cancel(invite, reason, now)
        return None

    def _receive_invite(self, transaction: Transaction, now: float) -> Refusal | None:
        """A new call: whether we take any, whether its timer and body can be used, then up with it."""
        request, source = transaction.request, transaction.heard_from
        trunk = self._speaker
        if trunk is None:
            return Refusal(status=403)
        refusal = self._refuse_new_call(trunk, now)
        if refusal is not None:
            return refusal
        min_se = refuse_interval(request, self._core.options.min_session_expires_s)
        if min_se is not None:
            return Refusal(status=422, headers=min_se)
        try:
            offer = session_description_of(request)
        except MessageError as error:
            accept = (("Accept", SDP), ("Accept-Encoding", "identity")) if error.status == 415 else ()
            return Refusal(status=error.status, reason=error.reason, headers=accept)
        replaced = self._find_replaced(request, trunk, source)
        if isinstance(replaced, Refusal):
            return replaced
        # A connection may be gone when we have something to say; its peer does not listen where it came from.
        peer = transaction.destination if source.transport.is_reliable else source
        usage = self._legs.new_usage(trunk, request.call_id, LegState.OFFERED, peer)
        usage.dialog = Dialog.of_request(request, usage.local_tag)
        usage.session.remote_description = offer
        usage.note_peer(request)
        usage.remote_identity = asserted_identity(request) or request.from_
        leg = Leg(usage, transaction=transaction)
        if replaced is not None:
            leg.replace(replaced)
        self._legs.add(leg, transaction)
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
                replaces=replaced.usage.leg_id if replaced is not None else None,
                identity=tuple(request.headers.get_all("Identity")[:MAXIMUM_IDENTITIES]),
            )
        )
        return None

    def _find_replaced(self, request: Request, trunk: Trunk, source: Hop) -> Leg | Refusal | None:
        """The leg whose place a new call takes, or why it may not (RFC 3891 3); None where it wants none.

        Who may take a call over is who may speak for it: the same trunk.
        """
        values = request.headers.get_all("Replaces")
        if not values:
            return None
        if len(values) > 1:
            return Refusal(status=400, reason="more than one Replaces")
        wanted = Replaces.parse(values[0])
        leg = self._legs.find_replaced(wanted, source)
        if leg is None or leg.usage.trunk is not trunk:
            return self._unknown_dialog()
        match leg.usage.state:
            case LegState.OFFERED:
                # An early dialog that the peer began is not the peer's to replace.
                return self._unknown_dialog()
            case LegState.CANCELLING | LegState.ENDING | LegState.ENDED:
                return Refusal(status=603)
            case LegState.CALLING:
                return leg
        return Refusal(status=486) if wanted.is_early_only else leg

    def _refuse_new_call(self, trunk: Trunk, now: float) -> Refusal | None:
        if self.refusal is not None:
            return self.refusal
        if self._legs.is_full:
            return replace(_OVERLOAD, counted=RejectReason.TOO_MANY_CALLS)
        return None if self._buckets[trunk.name].take(now) else _OVERLOAD
