"""Which transaction a message belongs to: matching by RFC 3261 17.1.3 and 17.2.3, RFC 2543 requests and merged ones.

The layer owns all transactions of a user agent; they leave it by themselves when their machine terminates. Where
responses go is decided here, too, once for a transaction (RFC 3261 18.2.2, RFC 3581 4).
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.hop import SIP_PORT, Hop
from gateway.sip.message import Request, Response
from gateway.sip.timers import TimerQueue
from gateway.sip.transaction import (
    Kind,
    Stimulus,
    TimerOptions,
    Transaction,
    TransactionContext,
    TransactionUser,
    stimulus_of,
)

Key = tuple[str, ...]

NOBODY = TransactionUser(deliver=lambda transaction, message, now: None, fail=lambda transaction, failure, now: None)
"""For transactions whose outcome is of no interest."""


class TransactionLayer:
    """All transactions of a user agent. `user` takes what server transactions pass up; clients bring their own."""

    def __init__(
        self,
        timers: TimerQueue,
        options: TimerOptions,
        *,
        send: Callable[[bytes, Hop], None],
        user: TransactionUser = NOBODY,
    ) -> None:
        self._context = TransactionContext(timers=timers, options=options, send=send, forget=self._forget)
        self.user = user
        self._clients: dict[Key, Transaction] = {}
        self._servers: dict[Key, Transaction] = {}
        self._requests: dict[Key, Transaction] = {}
        self.held_bytes = 0
        """Requests of peers that are remembered, all together: few that are long cost as much as many."""

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def send_request(self, request: Request, destination: Hop, *, user: TransactionUser, now: float) -> Transaction:
        """Start the client transaction of `request`, whose top Via holds a branch of its own."""
        kind = Kind.INVITE_CLIENT if request.method == "INVITE" else Kind.CLIENT
        transaction = Transaction(kind, request, destination, user=user, context=self._context)
        self._clients[_client_key(request.top_via.branch or "", request.method)] = transaction
        transaction.step(Stimulus.START, now, request)
        return transaction

    def find_client(self, response: Response) -> Transaction | None:
        """The transaction that `response` answers: the same branch, the same method in CSeq (RFC 3261 17.1.3)."""
        return self._clients.get(_client_key(response.top_via.branch or "", response.cseq.method))

    def receive_response(self, transaction: Transaction, response: Response, source: Hop, now: float) -> None:
        """Feed `response`, which came from `source`, to the client transaction found for it."""
        transaction.heard_from = source
        transaction.step(stimulus_of(response), now, response)

    def find_server(self, request: Request) -> Transaction | None:
        """The transaction that `request` repeats, or acknowledges if it is an ACK (RFC 3261 17.2.3)."""
        transaction = self._servers.get(_server_key(request, request.method))
        if transaction is None or request.method != "ACK" or request.top_via.has_unique_branch:
            return transaction
        # RFC 2543: the ACK's To tag is that of the response.
        answered = transaction.response
        return transaction if answered is not None and answered.to.tag == request.to.tag else None

    def find_cancelled(self, cancel: Request) -> Transaction | None:
        """The INVITE that `cancel` means (RFC 3261 9.2: matched as if it were that INVITE)."""
        return self._servers.get(_server_key(cancel, "INVITE"))

    def repeat_request(self, transaction: Transaction, request: Request, now: float) -> None:
        """Feed a repetition of its request, or an ACK, to a server transaction."""
        transaction.step(Stimulus.ACK if request.method == "ACK" else Stimulus.REPEATED_REQUEST, now, request)

    def is_merged(self, transaction: Transaction) -> bool:
        """Whether its request has reached us before on another way (RFC 3261 8.2.2.2)."""
        request = transaction.request
        return request.to.tag is None and self._requests.get(_request_key(request)) is not transaction

    def accept_request(self, request: Request, source: Hop, now: float) -> None:
        """Start the server transaction of a new request, which passes it up to the layer's user."""
        kind = Kind.INVITE_SERVER if request.method == "INVITE" else Kind.SERVER
        transaction = Transaction(
            kind,
            request,
            response_destination(request, source),
            user=self.user,
            context=self._context,
        )
        transaction.heard_from = source
        transaction.held_bytes = request.size_bytes
        self.held_bytes += transaction.held_bytes
        self._servers[_server_key(request, request.method)] = transaction
        self._requests.setdefault(_request_key(request), transaction)
        transaction.step(Stimulus.START, now, request)

    def respond(self, transaction: Transaction, response: Response, now: float) -> None:
        """Send `response` through its server transaction, if its state still takes one."""
        transaction.step(stimulus_of(response), now, response)

    def fail_towards(self, destination: Hop, now: float, reason: str = "") -> None:
        """What went to `destination` did not arrive: tell every transaction that sent it (RFC 3261 17.1.4, 18.4).

        A hop with a connection stands for that connection, which broke; what was sent to its address without naming one
        has been travelling on it.
        """
        for transaction in [*self._clients.values(), *self._servers.values()]:
            if _travels_on(transaction.destination, destination):
                transaction.trouble = reason
                transaction.step(Stimulus.TRANSPORT_ERROR, now)

    def _forget(self, transaction: Transaction) -> None:
        request = transaction.request
        if transaction.kind.is_client:
            self._clients.pop(_client_key(request.top_via.branch or "", request.method), None)
            return
        self._servers.pop(_server_key(request, request.method), None)
        self.held_bytes -= transaction.held_bytes
        key = _request_key(request)
        if self._requests.get(key) is transaction:
            del self._requests[key]


def note_source(request: Request, source: Hop) -> None:
    """Write into the top Via where `request` really came from (RFC 3261 18.2.1, RFC 3581 4)."""
    via = request.top_via
    if via.has_rport:
        via = via.with_parameter("received", source.host).with_parameter("rport", str(source.port))
    elif via.host != source.host:
        via = via.with_parameter("received", source.host)
    else:
        return
    others = request.vias[1:]
    request.headers.set("Via", str(via))
    for other in others:
        request.headers.add("Via", str(other))


def response_destination(request: Request, source: Hop) -> Hop:
    """Where responses to `request` go: always to the host it came from (RFC 3261 18.2.2, RFC 3581 4).

    Over the connection it came on, where there is one; the port of Via is for when that is closed.

    ``maddr`` is not followed: it would let a sender turn our answers on anybody.
    """
    via = request.top_via
    if via.has_rport and not source.transport.is_reliable:
        return source
    return source._replace(port=via.port or source.transport.default_port)


def _travels_on(destination: Hop, broken: Hop) -> bool:
    if broken.connection and destination.connection:
        return destination.connection == broken.connection
    return destination.is_at(broken)


def _client_key(branch: str, method: str) -> Key:
    return (branch, method)


def _server_key(request: Request, method: str) -> Key:
    via = request.top_via
    method = "INVITE" if method == "ACK" else method
    if via.has_unique_branch:
        return (via.branch or "", via.host.lower(), str(via.port or SIP_PORT), method)
    # RFC 2543 has no unique branch: Request-URI, tags, Call-ID, CSeq and the top Via name the transaction. The To tag
    # of an ACK is that of the response, so that INVITE is found without it.
    to_tag = "" if method == "INVITE" else request.to.tag or ""
    sent_by = str(via)
    return (
        str(request.uri),
        request.from_.tag or "",
        to_tag,
        request.call_id,
        f"{request.cseq.number} {method}",
        sent_by,
    )


def _request_key(request: Request) -> Key:
    return (request.from_.tag or "", request.call_id, str(request.cseq))
