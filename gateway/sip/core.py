"""What registrations and call legs share: options, the alarms, chance, the way out to the wire and up to the events."""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import ip_address
from random import Random

from gateway.errors import MessageError
from gateway.sip.events import Event
from gateway.sip.message import Address, NameAddr, Request, Response, Uri, Via, make_response
from gateway.sip.timers import TimerQueue
from gateway.sip.transaction import TimerOptions, Transaction
from gateway.sip.transaction_layer import DEFAULT_PORT, TransactionLayer
from gateway.sip.trunk import Trunk, TrunkOptions

ALLOWED_METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INFO", "REFER", "NOTIFY")
SUPPORTED_EXTENSIONS = ("timer",)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAgentOptions(TimerOptions):
    """All that a user agent is told at its start."""

    listen: Address
    """The address our datagrams come from and arrive at."""
    advertise: Address
    """The address in Via and Contact: `listen` as the peers see it."""
    trunks: tuple[TrunkOptions, ...] = ()
    product: str = ""
    """User-Agent and Server; empty: not told."""
    refresh_ratio: tuple[float, float] = (0.5, 0.9)
    """Registrations are refreshed after a random share of the granted time between these."""
    retry_first_s: float = 1.0
    """Back-off of a failed registration: doubled each time, randomly shortened by up to a half, ..."""
    retry_last_s: float = 30.0
    """... up to this, for ever."""
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
    calls_per_s: float = 20.0
    """New calls that one trunk may offer in the long run; more are answered 503."""
    call_burst: int = 40
    """New calls that one trunk may offer at once."""
    max_legs: int = 2000
    """Call legs at a time; more are answered 503."""
    max_transactions: int = 4000
    """Transactions at a time, 8 KB each; beyond, requests outside calls get 503 and are forgotten at once."""


@dataclass(slots=True)
class Counters:
    """What happened to datagrams, since the start."""

    received: int = 0
    sent: int = 0
    keepalives: int = 0
    strangers: int = 0
    """Dropped unread: their source is in no trunk's ACL."""
    malformed: int = 0
    """Not SIP as the RFC has it; answered where an answer is due."""
    last_malformed: str = ""
    """Where the latest of those came from, and what was wrong with it."""
    stray_responses: int = 0
    """Responses to nothing that we asked, or from an address that we did not ask."""
    stray_acks: int = 0
    unknown_dialogs: int = 0
    """Requests within dialogs that do not exist, answered 481."""
    overload: int = 0
    """Requests refused or dropped because of a limit of ours."""
    refused: int = 0
    """Requests answered with an error before they concerned a call."""

    def as_dict(self) -> dict[str, int]:
        """The counts by name, for metrics and the log."""
        counts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: count for name, count in counts.items() if isinstance(count, int)}


class Core:
    """The services below registrations and legs. One for each user agent."""

    def __init__(self, options: UserAgentOptions, random: Random) -> None:
        self.options = options
        self.random = random
        self.timers = TimerQueue()
        self.transactions = TransactionLayer(self.timers, options, send=self.send)
        self.counters = Counters()
        self.events: list[Event] = []
        self.datagrams: list[tuple[bytes, Address]] = []

    def emit(self, event: Event) -> None:
        """Tell the application."""
        self.events.append(event)

    def send(self, data: bytes, destination: Address) -> None:
        """Queue a datagram."""
        self.counters.sent += 1
        self.datagrams.append((data, destination))

    def new_token(self, bits: int = 64) -> str:
        """An unguessable name, for tags (RFC 3261 19.3: at least 32 bits), branches and cnonces."""
        return f"{self.random.getrandbits(bits):0{bits // 4}x}"

    def new_call_id(self) -> str:
        """A Call-ID (RFC 3261 8.1.1.4). It does not tell our address."""
        return self.new_token(128)

    def add_via(self, request: Request) -> None:
        """Give `request` a Via of ours with a new branch (RFC 3261 8.1.1.7) and ask for rport (RFC 3581 3)."""
        host, port = self.options.advertise
        parameters = (("branch", f"z9hG4bK{self.new_token(80)}"), ("rport", None))
        request.headers.prepend("Via", str(Via("UDP", host, port, parameters)))

    def has_sent(self, response: Response) -> bool:
        """Whether the top Via of `response` is ours (RFC 3261 18.1.2)."""
        via = response.top_via
        return (via.host, via.port or DEFAULT_PORT) == self.options.advertise

    def contact(self, trunk: Trunk) -> NameAddr:
        """Where the peer of `trunk` reaches us."""
        host, port = self.options.advertise
        return NameAddr("", Uri.of_user(trunk.options.contact_user, host, port))

    def add_capabilities(self, request: Request, trunk: Trunk) -> None:
        """Contact, Allow and Supported, as every request has them that makes or refreshes a dialog's target."""
        request.headers.add("Contact", str(self.contact(trunk)))
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

    def destination_of(self, hop: Uri, trunk: Trunk, fallback: Address) -> Address:
        """The address of a next hop: its own where it is a number and one of the trunk's, else `fallback`.

        We ask no resolver (it could block or be lied to), and what is behind a NAT often puts an address into Contact
        that leads nowhere. A request to somebody outside the trunk would be a favour to an attacker only: his
        answers are dropped by the ACL.
        """
        if hop.scheme != "sip" or not trunk.allows(hop.host):
            return fallback
        destination = Address(hop.host, hop.port or DEFAULT_PORT)
        is_own = destination in (self.options.listen, self.options.advertise)
        return fallback if is_own or ip_address(hop.host).is_multicast else destination
