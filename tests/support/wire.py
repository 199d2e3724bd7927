"""A network without a network: user agents and scripted peers on one wire, with a clock that jumps from event to event.

What the wire loses, repeats and delays comes from one seeded generator, so that a failing run can be repeated. Nothing
sleeps: an hour on this clock takes as long as the work in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Protocol, TypeVar

from gateway.errors import MessageError
from gateway.sip.events import Event
from gateway.sip.grammar import format_host
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import (
    Headers,
    Message,
    NameAddr,
    Request,
    Response,
    Uri,
    Via,
    make_response,
    parse_message,
)
from gateway.sip.sdp import LocalMedia, SessionDescription, make_offer
from gateway.sip.uri import Address
from gateway.sip.user_agent import TrunkOptions, UserAgent, UserAgentOptions

GATEWAY = Hop("10.0.0.1", 5060)
PBX = Hop("10.0.0.2", 5060)
STRANGER = Hop("10.9.9.9", 5060)

T = TypeVar("T")


class Node(Protocol):
    """Something with an address on the wire."""

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def get_timer(self) -> float | None: ...
    def datagrams_to_send(self) -> list[tuple[bytes, Hop]]: ...
    def handle_transport_error(self, hop: Hop, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """A datagram on the wire, whether it arrived or not."""

    at: float
    source: Hop
    destination: Hop
    data: bytes
    arrived: bool

    @property
    def message(self) -> Message | None:
        try:
            return parse_message(self.data)
        except MessageError:
            return None

    @property
    def label(self) -> str:
        """``INVITE``, or ``200 INVITE`` for a response."""
        message = self.message
        if isinstance(message, Response):
            return f"{message.status} {message.cseq.method}"
        return message.method if message is not None else "?"


Application = Callable[["Party", Event, float], None]


class Party:
    """A user agent on the wire, its events, and what its application does about them."""

    def __init__(self, user_agent: UserAgent, address: Hop, application: Application | None = None) -> None:
        self.user_agent = user_agent
        self.address = address
        self.application = application
        self.seen: list[Event] = []

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        self.user_agent.receive_datagram(data, source, now)
        self._tell(now)

    def handle_timer(self, now: float) -> None:
        self.user_agent.handle_timer(now)
        self._tell(now)

    def get_timer(self) -> float | None:
        return self.user_agent.get_timer()

    def datagrams_to_send(self) -> list[tuple[bytes, Hop]]:
        return self.user_agent.datagrams_to_send()

    def handle_transport_error(self, hop: Hop, now: float) -> None:
        self.user_agent.handle_transport_error(hop, now)
        self._tell(now)

    def _tell(self, now: float) -> None:
        for event in self.user_agent.events():
            self.seen.append(event)
            if self.application is not None:
                self.application(self, event, now)

    @property
    def leg_ids(self) -> list[str]:
        """Its call legs, those that are ending included."""
        return self.user_agent._legs.ids

    def all(self, kind: type[T]) -> list[T]:
        """All events of a class, in order."""
        self._tell(0.0)
        return [event for event in self.seen if isinstance(event, kind)]

    def last(self, kind: type[T]) -> T:
        """The latest event of a class; there must be one."""
        found = self.all(kind)
        assert found, f"no {kind.__name__} among {[type(event).__name__ for event in self.seen]}"
        return found[-1]


class ScriptedPeer:
    """A peer that does nothing by itself: what it received is in `inbox`, what it sends the test writes."""

    def __init__(self, address: Hop = PBX) -> None:
        self.address = address
        self.inbox: list[Message] = []
        self.unreadable: list[bytes] = []
        self.reply_to: Callable[[Request], Response | None] | None = None
        self._outbox: list[tuple[bytes, Hop]] = []
        self._branches = count(1)

    def receive_datagram(self, data: bytes, source: Hop, now: float) -> None:
        try:
            message = parse_message(data)
        except MessageError:
            # An answer to garbage has the garbage's headers.
            self.unreadable.append(data)
            return
        self.inbox.append(message)
        if self.reply_to is not None and isinstance(message, Request):
            response = self.reply_to(message)
            if response is not None:
                self.send(response, source)

    def handle_timer(self, now: float) -> None: ...

    def get_timer(self) -> float | None:
        return None

    def handle_transport_error(self, hop: Hop, now: float) -> None: ...

    def datagrams_to_send(self) -> list[tuple[bytes, Hop]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def send(self, message: Message | bytes, destination: Hop = GATEWAY) -> None:
        data = message if isinstance(message, bytes) else message.to_bytes()
        self._outbox.append((data, destination))

    def requests(self, method: str) -> list[Request]:
        return [message for message in self.inbox if isinstance(message, Request) and message.method == method]

    def responses(self, status: int | None = None, method: str | None = None) -> list[Response]:
        return [
            message
            for message in self.inbox
            if isinstance(message, Response)
            and status in (None, message.status)
            and method in (None, message.cseq.method)
        ]

    def request(
        self,
        method: str,
        *,
        cseq: int = 1,
        call_id: str = "call-1@pbx",
        from_tag: str = "pbx-tag",
        to_tag: str | None = None,
        branch: str | None = None,
        uri: str = "sip:gateway@10.0.0.1",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
        content_type: str | None = None,
        has_contact: bool = True,
        transport: Transport = Transport.UDP,
    ) -> Request:
        """A request as a PBX would write it; every part can be set."""
        fields = Headers()
        branch = branch or f"z9hG4bK-pbx-{next(self._branches)}"
        host, port = format_host(self.address.host), self.address.port
        fields.add("Via", f"SIP/2.0/{transport.value} {host}:{port};branch={branch};rport")
        fields.add("Max-Forwards", "70")
        fields.add("From", f'"Alice" <sip:1001@{host}>;tag={from_tag}')
        fields.add("To", "<sip:7000@10.0.0.1>" + (f";tag={to_tag}" if to_tag else ""))
        fields.add("Call-ID", call_id)
        fields.add("CSeq", f"{cseq} {method}")
        if has_contact:
            fields.add("Contact", f"<sip:asterisk@{host}:{port}>")
        for name, value in headers:
            fields.add(name, value)
        if content_type is not None:
            fields.set("Content-Type", content_type)
        return Request(method=method, uri=Uri.parse(uri), headers=fields, body=body)

    def invite(self, *, offer: SessionDescription | None = None, **parts: object) -> Request:
        """An INVITE with an offer; ``offer=None`` sends the usual one, ``body=b""`` none."""
        if "body" not in parts:
            parts["body"] = (offer or description(PBX.host, 20000)).to_bytes()
            parts["content_type"] = "application/sdp"
        return self.request("INVITE", **parts)  # type: ignore[arg-type]

    def ack(self, response: Response, *, body: bytes = b"", cseq: int | None = None) -> Request:
        """The ACK to a 2xx."""
        return self.request(
            "ACK",
            cseq=response.cseq.number if cseq is None else cseq,
            call_id=response.call_id,
            from_tag=response.from_.tag or "",
            to_tag=response.to.tag,
            uri=str(response.contacts[0].uri),
            body=body,
            content_type="application/sdp" if body else None,
        )

    def within(self, method: str, response: Response, *, cseq: int, **parts: object) -> Request:
        """A request in the dialog that the gateway's 2xx made."""
        return self.request(
            method,
            cseq=cseq,
            call_id=response.call_id,
            from_tag=response.from_.tag or "",
            to_tag=response.to.tag,
            uri=str(response.contacts[0].uri),
            **parts,  # type: ignore[arg-type]
        )

    def backwards(self, method: str, invite: Request, *, cseq: int, tag: str = "pbx-uas", **parts: object) -> Request:
        """A request in the dialog that the gateway's INVITE made, its To tag `tag`."""
        return self.request(
            method,
            cseq=cseq,
            call_id=invite.call_id,
            from_tag=tag,
            to_tag=invite.from_.tag,
            uri=str(invite.contacts[0].uri),
            **parts,  # type: ignore[arg-type]
        )


def respond(
    request: Request,
    status: int,
    *,
    to_tag: str | None = "pbx-uas",
    answer: SessionDescription | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    contact: Hop = PBX,
) -> Response:
    """A response as a PBX would write it."""
    if 100 < status < 300:
        headers = (("Contact", f"<sip:asterisk@{contact.host}:{contact.port}>"), *headers)
    return make_response(
        request,
        status,
        to_tag=None if status == 100 else to_tag,
        headers=headers,
        body=answer.to_bytes() if answer else b"",
        content_type="application/sdp" if answer else None,
    )


@dataclass(slots=True)
class Wire:
    """The wire and its clock. `loss` and `duplicates` are shares of datagrams, `delay_s` the range of their delay.

    TCP and TLS lose nothing and keep the order; whoever sends to nobody, or to one of `without_streams`, is told so.
    """

    seed: int = 0
    loss: float = 0.0
    duplicates: float = 0.0
    delay_s: tuple[float, float] = (0.005, 0.005)
    now: float = 1000.0
    drop: Callable[[Sent], bool] = lambda sent: False
    """Loses exactly what a test wants lost."""
    log: list[Sent] = field(default_factory=list)
    nodes: dict[Address, Node] = field(default_factory=dict)
    without_streams: set[Address] = field(default_factory=set)
    """Nodes that take no connections."""
    _connections: dict[frozenset[Address], int] = field(default_factory=dict)
    _random: Random = field(init=False)
    _flying: list[tuple[float, int, Hop, Hop, bytes]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def attach(self, node: Node, address: Hop) -> None:
        """Put a node on the wire."""
        self.nodes[address.address] = node

    def inject(self, data: bytes, source: Hop, destination: Hop = GATEWAY) -> None:
        """Let a datagram arrive at once, whoever is said to have sent it."""
        self.nodes[destination.address].receive_datagram(data, source, self.now)
        self.flush()

    def flush(self) -> None:
        """Take what the nodes want to send."""
        for address, node in list(self.nodes.items()):
            for data, destination in node.datagrams_to_send():
                self._fly(data, self._source(address, destination), destination)

    def _source(self, address: Address, destination: Hop) -> Hop:
        """How the other end sees who sends from `address`."""
        if destination.transport is Transport.UDP:
            return Hop(*address)
        pair = frozenset((address, destination.address))
        number = self._connections.setdefault(pair, len(self._connections) + 1)
        return Hop(*address, destination.transport, number)

    def break_connection(self, one: Hop, other: Hop) -> None:
        """Both ends of their connection are told that it broke; the next message opens another one."""
        number = self._connections.pop(frozenset((one.address, other.address)))
        for end, far in ((one, other), (other, one)):
            self.nodes[end.address].handle_transport_error(far._replace(connection=number), self.now)
        self.flush()

    def run(self, duration_s: float = 1.0) -> None:
        """Let this much time pass."""
        self.run_until(self.now + duration_s)

    def run_until(self, end: float) -> None:
        """Let time pass until `end`."""
        self.flush()
        while (at := self._next_at()) is not None and at <= end:
            self.now = max(self.now, at)
            self._arrive()
            for node in self.nodes.values():
                deadline = node.get_timer()
                if deadline is not None and deadline <= self.now:
                    node.handle_timer(self.now)
            self.flush()
        self.now = end

    def sent(self, label: str, source: Hop | None = None) -> list[Sent]:
        """What went over the wire, by its label."""
        return [sent for sent in self.log if sent.label == label and source in (None, sent.source)]

    def _next_at(self) -> float | None:
        deadlines = [deadline for node in self.nodes.values() if (deadline := node.get_timer()) is not None]
        if self._flying:
            deadlines.append(self._flying[0][0])
        return min(deadlines, default=None)

    def _arrive(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, source, destination, data = heapq.heappop(self._flying)
            node = self.nodes.get(destination.address)
            is_refused = destination.transport.is_reliable and destination.address in self.without_streams
            if node is not None and not is_refused:
                node.receive_datagram(data, source, self.now)
            elif destination.transport.is_reliable:
                self.nodes[source.address].handle_transport_error(destination, self.now)

    def _fly(self, data: bytes, source: Hop, destination: Hop) -> None:
        sent = Sent(self.now, source, destination, data, arrived=True)
        if destination.transport.is_reliable:
            self.log.append(sent)
            heapq.heappush(self._flying, (self.now + self.delay_s[1], next(self._order), source, destination, data))
            return
        if self._random.random() < self.loss or self.drop(sent):
            self.log.append(Sent(self.now, source, destination, data, arrived=False))
            return
        self.log.append(sent)
        for _ in range(2 if self._random.random() < self.duplicates else 1):
            arrival = self.now + self._random.uniform(*self.delay_s)
            heapq.heappush(self._flying, (arrival, next(self._order), source, destination, data))


def description(host: str = GATEWAY.host, port: int = 10000, *, version: int = 0) -> SessionDescription:
    """An offer or answer of PCMU and PCMA."""
    return make_offer(LocalMedia(address=host, port=port, session_id=1, version=version))


def trunk_options(**changes: object) -> TrunkOptions:
    """A trunk to the PBX."""
    options: dict[str, object] = {
        "name": "pbx",
        "peer": PBX,
        "registrar": Uri.parse("sip:10.0.0.2"),
        "username": "gateway",
        "password": "secret",
        "expires_s": 300,
    }
    return TrunkOptions(**(options | changes))  # type: ignore[arg-type]


def udp_listener(address: Hop = GATEWAY, advertise: Hop | None = None) -> Listener:
    """A UDP socket at `address`, known to the peers as `advertise`."""
    return Listener(transport=Transport.UDP, address=address.address, advertise=(advertise or address).address)


def gateway_options(*trunks: TrunkOptions, **changes: object) -> UserAgentOptions:
    """The options of a gateway with these trunks, or with one to the PBX."""
    options: dict[str, object] = {"listeners": (udp_listener(),), "trunks": trunks or (trunk_options(),)}
    return UserAgentOptions(**(options | changes))  # type: ignore[arg-type]


def gateway_on(wire: Wire, *trunks: TrunkOptions, application: Application | None = None, **changes: object) -> Party:
    """A gateway on the wire."""
    user_agent = UserAgent(gateway_options(*trunks, **changes), Random(wire.seed + 1))
    party = Party(user_agent, GATEWAY, application)
    wire.attach(party, GATEWAY)
    return party


def phone_on(
    wire: Wire,
    address: Hop = PBX,
    *,
    peer: Hop = GATEWAY,
    application: Application | None = None,
    **changes: object,
) -> Party:
    """A telephone, or a PBX, that knows the gateway as its only peer."""
    trunk = TrunkOptions(name="gateway", peer=peer, contact_user="phone")
    options = gateway_options(trunk, **({"listeners": (udp_listener(address),)} | changes))
    user_agent = UserAgent(options, Random(wire.seed + 2))
    party = Party(user_agent, address, application)
    wire.attach(party, address)
    return party


def scripted_on(wire: Wire, address: Hop = PBX) -> ScriptedPeer:
    """A scripted peer on the wire."""
    peer = ScriptedPeer(address)
    wire.attach(peer, address)
    return peer


def assert_sent(wire: Wire, *labels: str, source: Hop = GATEWAY) -> None:
    """These and no other messages left `source`, in this order, repetitions counted."""
    assert list(labels) == [sent.label for sent in wire.log if sent.source == source]


def assert_idle(*parties: Party) -> None:
    """Nothing is left of any call: no leg, no transaction, no alarm."""
    for party in parties:
        agent = party.user_agent
        assert (agent.leg_count, agent.transaction_count, agent.get_timer()) == (0, 0, None)


__all__ = [
    "GATEWAY",
    "PBX",
    "STRANGER",
    "NameAddr",
    "Party",
    "ScriptedPeer",
    "Sent",
    "Via",
    "Wire",
    "assert_idle",
    "assert_sent",
    "description",
    "gateway_on",
    "gateway_options",
    "phone_on",
    "respond",
    "scripted_on",
    "trunk_options",
]
