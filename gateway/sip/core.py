"""What registrations and call legs share: options, the alarms, chance, the way out to the wire and up to the events."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from ipaddress import ip_address
from random import Random

from gateway.errors import MessageError
from gateway.sip.events import Event
from gateway.sip.guard import GuardOptions
from gateway.sip.hop import SIP_PORT, Hop, Listener, Transport
from gateway.sip.message import Address, NameAddr, Request, Response, Uri, Via, make_response
from gateway.sip.reject_reason import RejectTable
from gateway.sip.timers import TimerQueue
from gateway.sip.transaction import TimerOptions, Transaction
from gateway.sip.transaction_layer import TransactionLayer
from gateway.sip.trunk import Trunk, TrunkOptions, plain_ip

ALLOWED_METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INFO", "REFER", "NOTIFY", "PRACK")
SUPPORTED_EXTENSIONS = ("timer", "100rel", "replaces")
ACCEPTED_TYPES = ("application/sdp", "application/dtmf-relay", "application/dtmf", "message/sipfrag")

HeaderFields = tuple[tuple[str, str], ...]
"""Header fields to be added to a message, names and values."""


def listed(message: Request | Response, name: str) -> frozenset[str]:
    """The values of a list header such as Allow or Supported; none where it cannot be read."""
    try:
        return frozenset(message.headers.get_list(name))
    except MessageError:
        return frozenset()


def capabilities() -> HeaderFields:
    """What OPTIONS is answered with (RFC 3261 11.2)."""
    return (
        ("Allow", ", ".join(ALLOWED_METHODS)),
        ("Accept", ", ".join(ACCEPTED_TYPES)),
        ("Accept-Encoding", "identity"),
        ("Accept-Language", "en"),
        ("Supported", ", ".join(SUPPORTED_EXTENSIONS)),
        ("Allow-Events", "refer"),
    )


class Reliability(Enum):
    """When a provisional response is sent reliably (RFC 3262) to a peer that supports it.

    To a peer that requires it, always.
    """

    REQUIRED = "required"
    """Only if the peer requires it."""
    EARLY_MEDIA = "early media"
    """If it holds a session description, whose loss would cost ring tone or announcement."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAgentOptions(TimerOptions):
    """All that a user agent is told at its start."""

    listeners: tuple[Listener, ...]
    """Where peers reach us, the preferred one of a transport and address family first. At least one."""
    trunks: tuple[TrunkOptions, ...] = ()
    product: str = ""
    """User-Agent and Server; empty: not told."""
    refresh_ratio: tuple[float, float] = (0.5, 0.9)
    """Registrations are refreshed after a random share of the granted time between these."""
    retry_first_s: float = 1.0
    """Back-off of a failed registration: doubled each time, randomly shortened by up to a half, ..."""
    retry_last_s: float = 30.0
    """... up to this, for ever."""
    failover_s: float = 5.0
    """How long a silent server is waited for where the trunk has another one."""
    return_interval_s: float = 60.0
    """How often a trunk that registered at another server asks by OPTIONS whether the preferred one is back."""
    probe_interval_s: float = 30.0
    """How often the registrar is asked by OPTIONS whether it is there, while we are registered; 0: never."""
    probe_timeout_s: float = 10.0
    """How long its answer may take, if it ever gave one, before we register anew."""
    answer_timeout_s: float = 180.0
    """How long a call may ring, in both directions, before the core ends it."""
    command_timeout_s: float = 10.0
    """How long the application may think about a re-INVITE, UPDATE or REFER before the core refuses it."""
    transfer_timeout_s: float = 30.0
    """How long a REFER may stay without a final result."""
    linger_s: float = 1.0
    """How long after BYE the result of a transfer is still waited for."""
    session_expires_s: int = 1800
    """Session timer that we ask for (RFC 4028); 0: none."""
    min_session_expires_s: int = 90
    """Shortest session timer that we take (Min-SE)."""
    reliable_provisionals: Reliability = Reliability.EARLY_MEDIA
    """Which of our provisional responses are repeated until PRACK."""
    require_reliable_provisionals: bool = False
    """Whether the calls we place require it of the peer (``Require: 100rel``), which refuses them if it cannot."""
    follow_redirects: bool = True
    """Whether a 3xx to a call of ours is followed, through the same trunk and to its hosts only."""
    messages_per_s: float = 200.0
    """Requests that begin something (outside calls) which one trunk may send in the long run; more are answered 503."""
    message_burst: int = 400
    """Such requests that one trunk may send at once."""
    guard: GuardOptions = field(default_factory=GuardOptions)
    """What becomes of strangers."""
    calls_per_s: float = 20.0
    """New calls that one trunk may offer in the long run; more are answered 503."""
    call_burst: int = 40
    """New calls that one trunk may offer at once."""
    max_legs: int = 2000
    """Call legs at a time; more are answered 503."""
    max_transactions: int = 4000
    """Transactions at a time, 8 KB each; beyond, requests outside calls get 503 and are forgotten at once."""
    max_transaction_bytes: int = 16 << 20
    """Requests of peers that are remembered at a time, all together; beyond, the same."""


@dataclass(slots=True)
class Counters:
    """What happened to datagrams, since the start."""

    received: int = 0
    sent: int = 0
    keepalives: int = 0
    last_malformed: str = ""
    """Where the latest malformed message came from, and what was wrong with it."""
    stray_responses: int = 0
    """Responses to nothing that we asked, or from an address that we did not ask."""
    stray_acks: int = 0
    rejected: RejectTable = field(default_factory=RejectTable)
    """Messages and calls that were not taken, by reason."""

    def as_dict(self) -> dict[str, int]:
        """The counts by name, those of the reasons as ``rejected_stranger``, for metrics and the log."""
        counts = {item.name: getattr(self, item.name) for item in fields(self)}
        own = {name: count for name, count in counts.items() if isinstance(count, int)}
        return own | {f"rejected_{name}": count for name, count in self.rejected.as_dict().items()}


class Core:
    """The services below registrations and legs. One for each user agent."""

    def __init__(self, options: UserAgentOptions, random: Random) -> None:
        self.options = options
        self.random = random
        self.timers = TimerQueue()
        self.transactions = TransactionLayer(self.timers, options, send=self.send)
        self.counters = Counters()
        self.events: list[Event] = []
        self.datagrams: list[tuple[bytes, Hop]] = []
        self._own_addresses = frozenset(
            _plain(address) for listener in options.listeners for address in (listener.address, listener.advertise)
        )

    def emit(self, event: Event) -> None:
        """Tell the application."""
        self.events.append(event)

    def send(self, data: bytes, destination: Hop) -> None:
        """Queue a message."""
        self.counters.sent += 1
        self.datagrams.append((data, destination))

    def new_token(self, bits: int = 64) -> str:
        """An unguessable name, for tags (RFC 3261 19.3: at least 32 bits), branches and cnonces."""
        return f"{self.random.getrandbits(bits):0{bits // 4}x}"

    def new_call_id(self) -> str:
        """A Call-ID (RFC 3261 8.1.1.4). It does not tell our address."""
        return self.new_token(128)

    def listener_for(self, hop: Hop) -> Listener:
        """The listener whose address `hop` is told: of its transport and family, else the nearest there is."""

        def distance(listener: Listener) -> int:
            is_other_family = (":" in listener.address.host) != (":" in hop.host)
            return 2 * is_other_family + (listener.transport is not hop.transport)

        return min(self.options.listeners, key=distance)

    def add_via(self, request: Request, hop: Hop) -> None:
        """Give `request` a Via of ours with a new branch (RFC 3261 8.1.1.7) and ask for rport (RFC 3581 3)."""
        host, port = self.listener_for(hop).advertise
        parameters = (("branch", f"z9hG4bK{self.new_token(80)}"), ("rport", None))
        request.headers.prepend("Via", str(Via(hop.transport.value, host, port, parameters)))

    def has_sent(self, response: Response) -> bool:
        """Whether the top Via of `response` is ours (RFC 3261 18.1.2)."""
        via = response.top_via
        return self.is_own(Address(via.host, via.port or SIP_PORT))

    def is_own(self, address: Address) -> bool:
        """Whether we listen there ourselves."""
        return _plain(address) in self._own_addresses

    def contact(self, trunk: Trunk, hop: Hop, *, is_secure: bool = False) -> NameAddr:
        """Where `hop`, which speaks for `trunk`, reaches us; a sips URI where `is_secure` (RFC 3261 12.1.1)."""
        host, port = self.listener_for(hop).advertise
        uri = Uri.of_user(trunk.options.contact_user, host, port, scheme="sips" if is_secure else "sip")
        if hop.transport is not Transport.UDP and not is_secure:
            uri = uri.with_parameters(transport=hop.transport.value.lower())
        return NameAddr("", uri)

    def add_capabilities(self, request: Request, trunk: Trunk, hop: Hop, *, is_secure: bool = False) -> None:
        """Contact, Allow and Supported, as every request has them that makes or refreshes a dialog's target."""
        request.headers.add("Contact", str(self.contact(trunk, hop, is_secure=is_secure)))
        request.headers.add("Allow", ", ".join(ALLOWED_METHODS))
        request.headers.add("Supported", ", ".join(SUPPORTED_EXTENSIONS))

    def add_product(self, request: Request) -> None:
        """Name ourselves, if we do."""
        if self.options.product:
            request.headers.add("User-Agent", self.options.product)

    def reply(
        self,
        transaction: Transaction,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        to_tag: str | None = None,
        headers: HeaderFields = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Response:
        """Answer a request through its server transaction. Every response but 100 gets a To tag (RFC 3261 8.2.6.2)."""
        if to_tag is None and status > 100:
            to_tag = self.new_token()
        product = (("Server", self.options.product),) if self.options.product else ()
        response = make_response(
            transaction.request,
            status,
            reason=reason,
            to_tag=to_tag,
            headers=headers + product,
            body=body,
            content_type=content_type,
        )
        self.transactions.respond(transaction, response, now)
        return response

    def destination_of(self, uri: Uri, trunk: Trunk, fallback: Hop) -> Hop:
        """The hop that `uri`, a next hop, means: its own where it is a number and one of the trunk's, else `fallback`.

        We ask no resolver (it could block or be lied to), and what is behind a NAT often puts an address into Contact
        that leads nowhere. A request to somebody outside the trunk would be a favour to an attacker only: his
        answers are dropped by the ACL. What began on TLS stays there (RFC 3261 26.2.2), and what began on a connection
        stays on it unless the URI asks for another transport.
        """
        host = plain_ip(uri.host)
        if uri.scheme not in ("sip", "sips") or host is None or not trunk.allows(host):
            return fallback
        transport = Transport.of_uri(uri)
        is_asked_for = uri.scheme == "sips" or uri.parameter("transport") is not None
        if transport is None or fallback.transport.is_secure or not is_asked_for:
            transport = fallback.transport
        is_there = host == plain_ip(fallback.host) and transport is fallback.transport
        connection = fallback.connection if is_there else 0
        hop = Hop(host, uri.port or transport.default_port, transport, connection)
        return fallback if self.is_own(hop.address) or _is_nobody(host) else hop


def _plain(address: Address) -> Address:
    return address._replace(host=plain_ip(address.host) or address.host)


def _is_nobody(host: str) -> bool:
    """Whether a numeric `host` is everybody's address, or none."""
    address = ip_address(host)
    return address.is_multicast or address.is_unspecified or host == "255.255.255.255"
