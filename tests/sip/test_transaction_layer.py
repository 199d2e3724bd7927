"""Which transaction a message belongs to (RFC 3261 17.1.3, 17.2.3, 8.2.2.2) and where answers go (18.2.2, RFC 3581)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Message, Request, make_response, parse_message
from gateway.sip.timers import TimerQueue
from gateway.sip.transaction import Failure, TimerOptions, Transaction, TransactionUser
from gateway.sip.transaction_layer import TransactionLayer, note_source, response_destination
from tests.support.wire import ScriptedPeer

PEER = Hop("10.0.0.2", 5060)
OTHER = Hop("10.0.0.3", 5060)


@dataclass
class Bench:
    """A layer, and what came out of it on both sides."""

    sent: list[tuple[Message, Hop]] = field(default_factory=list)
    served: list[Transaction] = field(default_factory=list)
    acks: list[Request] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.timers = TimerQueue()
        self.layer = TransactionLayer(
            self.timers,
            TimerOptions(),
            send=lambda data, destination: self.sent.append((parse_message(data), destination)),
            user=TransactionUser(deliver=self._serve, fail=lambda transaction, failure, now: None),
        )

    def _serve(self, transaction: Transaction, message: Message, now: float) -> None:
        if message is transaction.request:
            self.served.append(transaction)
        else:
            assert isinstance(message, Request)
            self.acks.append(message)

    def receive(self, request: Request, source: Hop = PEER) -> None:
        """As the user agent feeds requests in."""
        note_source(request, source)
        found = self.layer.find_server(request)
        if found is not None:
            self.layer.repeat_request(found, request, 0.0)
        elif request.method != "ACK":
            self.layer.accept_request(request, source, 0.0)

    def answer(self, status: int, to_tag: str = "uas") -> None:
        transaction = self.served[-1]
        self.layer.respond(transaction, make_response(transaction.request, status, to_tag=to_tag), 0.0)

    def send(self, request: Request, hop: Hop = PEER) -> Transaction:
        user = TransactionUser(
            deliver=lambda transaction, message, now: self.answers.append(message.status),  # type: ignore[union-attr]
            fail=lambda transaction, failure, now: self.failures.append(failure),
        )
        return self.layer.send_request(request, hop, user=user, now=0.0)


peer = ScriptedPeer(PEER)


def old_request(method: str, *, to_tag: str | None = None, via: str = "SIP/2.0/UDP 10.0.0.2:5060") -> Request:
    """A request of an RFC 2543 element: no branch that names the transaction."""
    request = peer.request(method, to_tag=to_tag)
    request.headers.set("Via", via)
    return request


def test_the_same_branch_sent_by_and_method_is_the_same_transaction() -> None:
    bench = Bench()
    for _ in range(3):
        bench.receive(peer.request("INVITE", branch="z9hG4bKsame"))
    assert len(bench.served) == 1


def test_another_host_port_method_or_branch_is_another_transaction() -> None:
    bench = Bench()
    bench.receive(peer.request("OPTIONS", branch="z9hG4bKsame"))
    bench.receive(peer.request("BYE", branch="z9hG4bKsame"))
    bench.receive(peer.request("OPTIONS", branch="z9hG4bKother"))
    bench.receive(ScriptedPeer(OTHER).request("OPTIONS", branch="z9hG4bKsame"))
    bench.receive(ScriptedPeer(Hop(PEER.host, 5062)).request("OPTIONS", branch="z9hG4bKsame"))
    assert len(bench.served) == 5


def test_a_port_left_out_of_sent_by_is_5060_and_hosts_ignore_case() -> None:
    bench = Bench()
    for sent_by in ("pbx.example.com", "PBX.example.com:5060"):
        request = peer.request("OPTIONS")
        request.headers.set("Via", f"SIP/2.0/UDP {sent_by};branch=z9hG4bKsame")
        bench.receive(request)
    assert len(bench.served) == 1


def test_ack_with_the_branch_of_its_invite_ends_the_repetition_of_a_refusal() -> None:
    bench = Bench()
    bench.receive(peer.request("INVITE", branch="z9hG4bKsame"))
    bench.answer(486)
    bench.receive(peer.request("ACK", branch="z9hG4bKsame", to_tag="uas"))
    bench.timers.expire(3.0)
    assert [message.status for message, _ in bench.sent] == [486]  # type: ignore[union-attr]


def test_cancel_is_a_transaction_of_its_own_that_finds_its_invite() -> None:
    bench = Bench()
    bench.receive(peer.request("INVITE", branch="z9hG4bKsame"))
    cancel = peer.request("CANCEL", branch="z9hG4bKsame")
    assert bench.layer.find_cancelled(cancel) is bench.served[0]
    bench.receive(cancel)
    assert len(bench.served) == 2
    assert bench.layer.find_cancelled(peer.request("CANCEL", branch="z9hG4bKother")) is None


def test_old_requests_without_a_branch_are_matched_by_what_names_them() -> None:
    bench = Bench()
    for _ in range(2):
        bench.receive(old_request("INVITE"))
    assert bench.layer.find_cancelled(old_request("CANCEL")) is bench.served[0]
    bench.receive(old_request("INVITE", via="SIP/2.0/UDP 10.0.0.2:5062"))
    assert len(bench.served) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"from_tag": "x"},
        {"to_tag": "x"},
        {"call_id": "x"},
        {"cseq": 2},
        {"uri": "sip:other@10.0.0.1"},
    ],
    ids=str,
)
def test_old_requests_that_differ_in_a_name_are_different(other: dict[str, object]) -> None:
    bench = Bench()
    for parts in ({"to_tag": "a"}, {"to_tag": "a"} | other):
        request = peer.request("OPTIONS", **parts)  # type: ignore[arg-type]
        request.headers.set("Via", "SIP/2.0/UDP 10.0.0.2:5060")
        bench.receive(request)
    assert len(bench.served) == 2


def test_the_bare_cookie_is_no_branch() -> None:
    """RFC 4475 3.2.1: two different requests with ``branch=z9hG4bK`` are not one."""
    bench = Bench()
    for cseq in (1, 2):
        request = peer.request("OPTIONS", cseq=cseq)
        request.headers.set("Via", "SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK")
        bench.receive(request)
    assert len(bench.served) == 2


def test_old_ack_belongs_to_the_response_whose_to_tag_it_has() -> None:
    bench = Bench()
    bench.receive(old_request("INVITE"))
    bench.answer(486, to_tag="ours")
    assert bench.layer.find_server(old_request("ACK", to_tag="another")) is None
    assert bench.layer.find_server(old_request("ACK", to_tag="ours")) is bench.served[0]


def test_ack_to_a_2xx_that_repeats_the_branch_is_passed_up() -> None:
    """It should have a branch of its own; some telephones repeat that of the INVITE."""
    bench = Bench()
    bench.receive(peer.request("INVITE", branch="z9hG4bKsame"))
    bench.answer(200)
    bench.receive(peer.request("ACK", branch="z9hG4bKsame", to_tag="uas"))
    assert [ack.method for ack in bench.acks] == ["ACK"]


def test_a_request_that_arrives_on_two_ways_is_merged() -> None:
    """RFC 3261 8.2.2.2: same From tag, Call-ID and CSeq, another branch."""
    bench = Bench()
    bench.receive(peer.request("INVITE"))
    bench.receive(peer.request("INVITE"))
    bench.receive(peer.request("INVITE", cseq=2))
    bench.receive(peer.request("INVITE", call_id="another@pbx"))
    assert [bench.layer.is_merged(transaction) for transaction in bench.served] == [False, True, False, False]


def test_requests_within_a_dialog_are_never_merged() -> None:
    bench = Bench()
    bench.receive(peer.request("INFO", to_tag="uas"))
    bench.receive(peer.request("INFO", to_tag="uas"))
    assert [bench.layer.is_merged(transaction) for transaction in bench.served] == [False, False]


def test_responses_are_matched_by_branch_and_method() -> None:
    bench = Bench()
    request = peer.request("INVITE", branch="z9hG4bKours")
    transaction = bench.send(request)
    cancel = peer.request("CANCEL", branch="z9hG4bKours")
    bench.send(cancel)
    assert bench.layer.find_client(make_response(request, 200)) is transaction
    assert bench.layer.find_client(make_response(cancel, 200)) is not transaction
    assert bench.layer.find_client(make_response(peer.request("INVITE", branch="z9hG4bKforged"), 200)) is None


def test_a_transaction_knows_where_it_was_heard_from() -> None:
    """Which need not be where its answers go."""
    bench = Bench()
    request = peer.request("OPTIONS")
    request.headers.set("Via", "SIP/2.0/UDP 10.0.0.2:5062;branch=z9hG4bKx")
    bench.receive(request, OTHER)
    assert (bench.served[0].heard_from, bench.served[0].destination) == (OTHER, Hop(OTHER.host, 5062))
    client = bench.send(peer.request("BYE"))
    assert client.heard_from == PEER
    bench.layer.receive_response(client, make_response(client.request, 100), OTHER, 0.0)
    assert client.heard_from == OTHER


def test_a_transport_error_is_told_to_those_who_send_there() -> None:
    bench = Bench()
    bench.send(peer.request("BYE"))
    bench.layer.fail_towards(OTHER, 0.0)
    assert bench.failures == []
    bench.layer.fail_towards(PEER, 0.0)
    assert bench.failures == [Failure.TRANSPORT]


def test_nothing_is_left_when_all_transactions_have_ended() -> None:
    bench = Bench()
    bench.send(peer.request("INVITE"))
    bench.send(peer.request("BYE"))
    bench.receive(peer.request("INVITE"))
    bench.answer(486)
    bench.receive(peer.request("OPTIONS"))
    bench.answer(200)
    bench.receive(old_request("OPTIONS", to_tag="x"))
    bench.answer(200)
    assert len(bench.layer) == 5
    bench.timers.expire(1e6)
    assert (len(bench.layer), len(bench.timers)) == (0, 0)
    assert bench.layer._requests == {}


@pytest.mark.parametrize(
    ("via", "source", "destination", "noted"),
    [
        ("10.0.0.2:5060;rport", ("10.0.0.2", 5060), ("10.0.0.2", 5060), ("10.0.0.2", 5060)),
        ("192.168.1.9:5060;rport", ("10.0.0.2", 40000), ("10.0.0.2", 40000), ("10.0.0.2", 40000)),
        ("192.168.1.9:5062", ("10.0.0.2", 40000), ("10.0.0.2", 5062), ("10.0.0.2", None)),
        ("pbx.example.com", ("10.0.0.2", 40000), ("10.0.0.2", 5060), ("10.0.0.2", None)),
        ("10.0.0.2:5062", ("10.0.0.2", 40000), ("10.0.0.2", 5062), (None, None)),
        ("10.0.0.2;maddr=224.0.1.75", ("10.0.0.2", 5060), ("10.0.0.2", 5060), (None, None)),
        ("10.0.0.2;received=10.9.9.9", ("10.0.0.2", 5060), ("10.0.0.2", 5060), None),
    ],
)
def test_answers_go_to_where_the_request_came_from(
    via: str, source: tuple[str, int], destination: tuple[str, int], noted: tuple[str | None, int | None] | None
) -> None:
    """Whatever Via, received and maddr claim: answers are not to be aimed at third parties."""
    request = peer.request("OPTIONS")
    request.headers.set("Via", f"SIP/2.0/UDP {via};branch=z9hG4bKx")
    request.headers.add("Via", "SIP/2.0/UDP below;branch=z9hG4bKbelow")
    note_source(request, Hop(*source))
    assert response_destination(request, Hop(*source)) == Hop(*destination)
    if noted is not None:
        assert (request.top_via.received, request.top_via.rport) == noted
    assert [v.branch for v in request.vias] == ["z9hG4bKx", "z9hG4bKbelow"]


def test_answers_on_a_stream_go_back_over_the_connection_and_else_to_the_port_of_via() -> None:
    """RFC 3261 18.2.2."""
    source = Hop("10.0.0.2", 40000, Transport.TCP, 7)
    for via, port in (("10.0.0.9:5062;rport", 5062), ("10.0.0.9", 5060)):
        request = peer.request("OPTIONS")
        request.headers.set("Via", f"SIP/2.0/TCP {via};branch=z9hG4bKx")
        note_source(request, source)
        assert response_destination(request, source) == Hop("10.0.0.2", port, Transport.TCP, 7)


def test_answers_over_tls_go_to_the_port_of_tls_where_via_names_none() -> None:
    request = peer.request("OPTIONS")
    request.headers.set("Via", "SIP/2.0/TLS 10.0.0.9;branch=z9hG4bKx")
    source = Hop("10.0.0.2", 40000, Transport.TLS, 7)
    assert response_destination(request, source) == source._replace(port=5061)


def test_a_broken_connection_is_told_to_those_who_used_it() -> None:
    on_it, beside = Hop(*PEER.address, Transport.TCP, 7), Hop(*PEER.address, Transport.TCP, 8)
    unnamed, by_udp = Hop(*PEER.address, Transport.TCP), PEER
    for hop, is_told in ((on_it, True), (unnamed, True), (beside, False), (by_udp, False)):
        bench = Bench()
        bench.send(peer.request("BYE"), hop)
        bench.layer.fail_towards(on_it, 0.0)
        assert bool(bench.failures) is is_told, hop
