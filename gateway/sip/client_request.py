"""A request of ours from its first sending to its final response, with the repetitions that challenges make necessary.

Digest authentication repeats a request under a new CSeq and a new branch (RFC 3261 22.2), so that one wish of the user
may be several transactions. To its owner a `ClientRequest` is one: it sees provisional responses and the last word.

A server that is passed over because it stays silent may only have been slow, and an INVITE that it answers after all
would be a second call; `LateAnswers` ends that one.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.core import Core
from gateway.sip.dialog import MAX_FORWARDS, Dialog
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Headers, Message, Request, Response, make_response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import Failure, Kind, Stimulus, Transaction, TransactionUser
from gateway.sip.transaction_layer import NOBODY
from gateway.sip.trunk import MAXIMUM_TRIES, Trunk, is_stale

MAXIMUM_LATE_ANSWERS = 16
"""How many branches of one forked INVITE are hung up, after it was passed over."""

OnResponse = Callable[[Response, float], None]


class ClientRequest:
    """One request of ours.

    `on_response` gets every response but the challenges that were answered. A peer that stays silent and a transport
    that fails are told as 408 and 503 (RFC 3261 8.1.3.1). `next_cseq` numbers repetitions. `alternates` are other
    servers to be tried where `destination` stays silent, cannot be reached or answers 503 (RFC 3263 4.3). A silent
    server is waited for no longer than `failover_s` where there is another way, or where `is_impatient`.
    """

    def __init__(
        self,
        core: Core,
        trunk: Trunk,
        request: Request,
        destination: Hop,
        *,
        next_cseq: Callable[[], int],
        on_response: OnResponse,
        is_in_dialog: bool = True,
        alternates: tuple[Hop, ...] = (),
        is_impatient: bool = False,
    ) -> None:
        self._core = core
        self._trunk = trunk
        self._destination = destination
        self._alternates = list(alternates)
        self._next_cseq = next_cseq
        self._on_response = on_response
        self._is_in_dialog = is_in_dialog
        self._challenges = 0
        self._answered: set[int] = set()
        self._is_impatient = is_impatient
        self._patience: Alarm | None = None
        self._transaction: Transaction | None = None
        self._late: dict[Transaction, LateAnswers] = {}
        self._has_progress = False
        self._is_cancelled = False
        self._has_ended = False
        self.request = request
        """As sent last: with the branch and CSeq that CANCEL and Event ids refer to."""
        self.authentication_failure = ""
        """Why a 401 or 407 was the last word, for people."""

    def send(self, now: float) -> None:
        """Start the first or the next transaction."""
        hop = self._address_request()
        user = TransactionUser(deliver=self._receive, fail=self._fail)
        transaction = self._core.transactions.send_request(self.request, hop, user=user, now=now)
        self._transaction = transaction
        self._stop_waiting()
        if self._alternates or self._is_impatient or self._is_diverted(transaction):
            limit = now + self._core.options.failover_s
            self._patience = self._core.timers.start(limit, lambda now: self._pass_over(transaction, now))

    @property
    def peer(self) -> Hop:
        """Where what belongs to it goes on: the server that answers, over the connection it answers on."""
        transaction = self._transaction
        if transaction is None:
            return self._destination
        return transaction.heard_from if transaction.destination.transport.is_reliable else transaction.destination

    def _address_request(self) -> Hop:
        """Add our Via; where the request goes: by TCP where it is too long for a datagram (RFC 3261 18.1.1)."""
        hop, limit = self._destination, self._trunk.options.udp_limit_bytes
        self._core.add_via(self.request, hop)
        if hop.transport is not Transport.UDP or not limit or hop.address in self._trunk.without_tcp:
            return hop
        if len(self.request.to_bytes()) <= limit:
            return hop
        hop = Hop(hop.host, hop.port, Transport.TCP)
        self.request.headers.remove("Via")
        self._core.add_via(self.request, hop)
        return hop

    def _pass_over(self, transaction: Transaction, now: float) -> None:
        """Take a server that has not answered anything for silent: try the next one, or tell 408."""
        if transaction.kind is Kind.INVITE_CLIENT:
            self._late[transaction] = LateAnswers(self._core, self._trunk, transaction)
        self._give_up(transaction, now)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def cancel(self, now: float) -> None:
        """Cancel an INVITE (RFC 3261 9.1). It still ends with a response: 487, or a 2xx that was under way.

        A peer that lets 64*T1 pass after CANCEL without any is given up, which is told as 408.
        """
        if self._is_cancelled:
            return
        self._is_cancelled = True
        self._challenges = MAXIMUM_TRIES
        if self._transaction is not None and self._has_progress:
            self._send_cancel(self._transaction, now)

    def drop(self, now: float) -> None:
        """Let go of a request other than INVITE: whatever it comes to, nothing more is told."""
        self._has_ended = True
        self._stop_waiting()
        if self._transaction is not None:
            self._transaction.step(Stimulus.ABANDON, now)

    def _send_cancel(self, transaction: Transaction, now: float) -> None:
        core = self._core
        core.transactions.send_request(make_cancel(transaction.request), transaction.destination, user=NOBODY, now=now)
        core.timers.start(now + core.options.patience_s, lambda now: self._give_up(transaction, now))

    def _give_up(self, transaction: Transaction, now: float) -> None:
        transaction.step(Stimulus.ABANDON, now)
        self._fail(transaction, Failure.TIMEOUT, now)

    def _receive(self, transaction: Transaction, message: Message, now: float) -> None:
        if not isinstance(message, Response):
            return
        if transaction in self._late:
            self._late[transaction].receive(message, now)
            return
        self._stop_waiting()
        # RFC 3261 9.1: CANCEL waits for the first provisional response, else it might overtake the INVITE.
        if self._is_cancelled and not self._has_progress and message.status < 200:
            self._send_cancel(transaction, now)
        self._has_progress = message.status < 200
        if message.status in (401, 407) and self._repeat_with_credentials(transaction, message, now):
            return
        if message.status == 503 and self._try_alternate(now):
            return
        self._has_ended = message.status >= 200
        self._on_response(message, now)

    def _fail(self, transaction: Transaction, failure: Failure, now: float) -> None:
        if transaction is not self._transaction:
            # One that was answered before fails while it only waits for repetitions.
            return
        self._stop_waiting()
        if self._has_ended or self._fall_back_to_udp(transaction, now) or self._try_alternate(now):
            return
        self._has_ended = True
        trouble = transaction.trouble if failure is Failure.TRANSPORT else ""
        reason = f"no connection to {transaction.destination}: {trouble}" if trouble else None
        self._on_response(make_response(transaction.request, failure.value, reason=reason), now)

    def _is_diverted(self, transaction: Transaction) -> bool:
        return transaction.destination.transport is not self._destination.transport

    def _fall_back_to_udp(self, transaction: Transaction, now: float) -> bool:
        """Send what went by TCP for its length alone by UDP after all; False where that is not what failed.

        Silence is a failure, too: of a firewall that swallows connections nothing else is heard.
        """
        if not self._is_diverted(transaction) or self._has_progress or self._is_cancelled:
            return False
        self._trunk.without_tcp.add(self._destination.address)
        self.request.headers.remove("Via")
        self.send(now)
        return True

    def _try_alternate(self, now: float) -> bool:
        """Send to the next server; False where there is none, or nobody wants the answer any more."""
        if not self._alternates or self._is_cancelled:
            return False
        self._destination = self._alternates.pop(0)
        if self._trunk.options.registrar is None:
            # Nobody else finds out that a server of such a trunk is away.
            self._trunk.turn_to(self._destination)
            self._core.timers.start(now + self._core.options.return_interval_s, lambda now: self._trunk.prefer())
        self._has_progress = False
        # What another server asked for is nothing to this one, which may ask by itself.
        self._challenges = 0
        self._answered.clear()
        self.request = _copy(self.request, "Via", "Authorization", "Proxy-Authorization")
        self.send(now)
        return True

    def _repeat_with_credentials(self, transaction: Transaction, challenge: Response, now: float) -> bool:
        """Answer a challenge; False where it must not or cannot be, with the reason noted."""
        # The same account refused twice for a fresh nonce is refused for good; a peer that always finds the nonce
        # stale must not make us repeat for ever (CVE-2020-28242).
        if challenge.status in self._answered and not is_stale(challenge):
            self.authentication_failure = "the peer refuses the user name or the password"
            return False
        if self._challenges >= MAXIMUM_TRIES:
            self.authentication_failure = "the peer keeps asking for credentials"
            return False
        repetition = _copy(self.request, "Via")
        refusal = self._trunk.account.answer(
            repetition, challenge, source=transaction.heard_from, is_in_dialog=self._is_in_dialog
        )
        if refusal is not None:
            self.authentication_failure = refusal
            return False
        self._challenges += 1
        self._answered.add(challenge.status)
        repetition.headers.set("CSeq", f"{self._next_cseq()} {repetition.method}")
        self.request = repetition
        self.send(now)
        return True


class LateAnswers:
    """What a server answers to an INVITE of ours that nobody waits for any more: it must not become a call."""

    def __init__(self, core: Core, trunk: Trunk, transaction: Transaction) -> None:
        self._core = core
        self._trunk = trunk
        self._transaction = transaction
        self._is_cancelled = False
        self._acks: dict[str | None, tuple[bytes, Hop]] = {}

    def receive(self, response: Response, now: float) -> None:
        """Cancel what rings, hang up what is answered. Refusals are acknowledged by the transaction."""
        if response.status < 200:
            self._cancel(now)
        elif response.status < 300:
            self._hang_up(response, now)

    def _cancel(self, now: float) -> None:
        if self._is_cancelled:
            return
        self._is_cancelled = True
        core, invite = self._core, self._transaction
        core.transactions.send_request(make_cancel(invite.request), invite.destination, user=NOBODY, now=now)
        core.timers.start(now + core.options.patience_s, lambda now: invite.step(Stimulus.ABANDON, now))

    def _hang_up(self, response: Response, now: float) -> None:
        """ACK and BYE, for each branch of a forked call (RFC 3261 13.2.2.4); ACK alone for a repetition."""
        tag = response.to.tag
        if tag in self._acks:
            self._core.send(*self._acks[tag])
            return
        if len(self._acks) >= MAXIMUM_LATE_ANSWERS:
            return
        dialog = Dialog.of_response(self._transaction.request, response)
        hop = self._core.destination_of(dialog.next_hop, self._trunk, self._transaction.heard_from)
        ack = make_answer_ack(self._core, self._transaction.request, dialog, hop)
        self._acks[tag] = (ack.to_bytes(), hop)
        self._core.send(*self._acks[tag])
        bye = dialog.make_request("BYE")
        self._core.add_product(bye)
        ClientRequest(
            self._core,
            self._trunk,
            bye,
            hop,
            next_cseq=dialog.next_cseq,
            on_response=lambda response, now: None,
        ).send(now)


def make_answer_ack(core: Core, invite: Request, dialog: Dialog, hop: Hop) -> Request:
    """The ACK to a 2xx, which is a transaction of its own (RFC 3261 13.2.2.4), without a body."""
    ack = dialog.make_request("ACK", cseq=invite.cseq.number)
    for name in ("Authorization", "Proxy-Authorization"):
        # RFC 3261 22.1: there is no way to challenge an ACK, so it shows what its INVITE showed.
        for value in invite.headers.get_all(name):
            ack.headers.add(name, value)
    core.add_product(ack)
    core.add_via(ack, hop)
    return ack


def _copy(request: Request, *without: str) -> Request:
    """`request` without some headers, to be sent once more."""
    headers = request.headers.copy()
    for name in without:
        headers.remove(name)
    return Request(method=request.method, uri=request.uri, headers=headers, body=request.body)


def make_cancel(invite: Request) -> Request:
    """The CANCEL of `invite` as it was sent (RFC 3261 9.1): its top Via alone, its Route, its CSeq number."""
    headers = Headers()
    headers.add("Via", str(invite.top_via))
    headers.add("Max-Forwards", str(MAX_FORWARDS))
    for value in invite.headers.get_all("Route"):
        headers.add("Route", value)
    headers.add("From", str(invite.from_))
    headers.add("To", str(invite.to))
    headers.add("Call-ID", invite.call_id)
    headers.add("CSeq", f"{invite.cseq.number} CANCEL")
    return Request(method="CANCEL", uri=invite.uri, headers=headers)
