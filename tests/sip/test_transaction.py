"""The four machines: when they repeat, what they pass up, when they end (RFC 3261 17, RFC 6026)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Message, Response, make_response
from gateway.sip.timers import TimerQueue
from gateway.sip.transaction import (
    ROWS,
    TRANSITIONS,
    Failure,
    Kind,
    Row,
    State,
    Stimulus,
    Timer,
    TimerOptions,
    Transaction,
    TransactionContext,
    TransactionUser,
    draw,
    make_ack,
    stimulus_of,
)
from tests.support.wire import ScriptedPeer

PEER = Hop("10.0.0.2", 5060)
PEER_ON_TCP = Hop("10.0.0.2", 5060, Transport.TCP, 7)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "transactions.md"
UNRELIABLE, RELIABLE = False, True


class Bench:
    """One transaction with a clock at 0: what it sent and when, what it passed up, how it failed."""

    def __init__(self, kind: Kind, method: str, *, is_reliable: bool = False) -> None:
        self.timers = TimerQueue()
        self.now = 0.0
        self.sent: list[tuple[float, str]] = []
        self.delivered: list[Message] = []
        self.failures: list[tuple[float, Failure]] = []
        self.forgotten: list[float] = []
        self.request = ScriptedPeer().request(method)
        self.peer = PEER_ON_TCP if is_reliable else PEER
        self.transaction = Transaction(
            kind,
            self.request,
            self.peer,
            user=TransactionUser(deliver=self._deliver, fail=self._fail),
            context=TransactionContext(
                timers=self.timers, options=TimerOptions(), send=self._send, forget=self._forget
            ),
        )
        self.transaction.step(Stimulus.START, 0.0, self.request)

    def _send(self, data: bytes, destination: Hop) -> None:
        assert destination == self.peer
        self.sent.append((self.now, data.split(b"\r\n")[0].decode()))

    def _deliver(self, transaction: Transaction, message: Message, now: float) -> None:
        self.delivered.append(message)

    def _fail(self, transaction: Transaction, failure: Failure, now: float) -> None:
        self.failures.append((now, failure))

    def _forget(self, transaction: Transaction) -> None:
        self.forgotten.append(self.now)

    def run_until(self, end: float) -> None:
        while (deadline := self.timers.next_deadline()) is not None and deadline <= end:
            self.now = deadline
            self.timers.expire(deadline)
        self.now = end

    def response(self, status: int) -> Response:
        """A response: to a client from the wire, to a server from above."""
        response = make_response(self.request, status, to_tag="uas")
        self.transaction.step(stimulus_of(response), self.now, response)
        return response

    def feed(self, stimulus: Stimulus) -> None:
        self.transaction.step(stimulus, self.now, self.request)

    @property
    def state(self) -> State:
        return self.transaction.state

    def times(self) -> list[float]:
        return [at for at, _ in self.sent]

    def statuses(self) -> list[int]:
        return [message.status for message in self.delivered if isinstance(message, Response)]


# ------------------------------------------------------------------------------------------------ INVITE client


def test_invite_is_repeated_at_doubling_intervals_until_timer_b() -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE")
    bench.run_until(100)
    assert bench.times() == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert bench.failures == [(32.0, Failure.TIMEOUT)]
    assert bench.state is State.TERMINATED
    assert bench.forgotten == [32.0]


def test_invite_is_not_repeated_after_a_provisional_response_and_waits_for_ever() -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE")
    bench.run_until(1.0)
    bench.response(180)
    bench.response(183)
    bench.run_until(10_000)
    assert bench.times() == [0, 0.5]
    assert bench.statuses() == [180, 183]
    assert bench.state is State.PROCEEDING
    assert len(bench.timers) == 0


@pytest.mark.parametrize("provisional", [(), (100,), (180, 183)])
def test_refusal_of_invite_is_acknowledged_each_time_it_arrives_and_told_once(provisional: tuple[int, ...]) -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE")
    for status in provisional:
        bench.response(status)
    bench.response(486)
    bench.run_until(5)
    bench.response(486)
    assert [line.split()[0] for _, line in bench.sent] == ["INVITE", "ACK", "ACK"]
    assert bench.statuses() == [*provisional, 486]


@pytest.mark.parametrize(("is_reliable", "ends_at"), [(UNRELIABLE, 32.0), (RELIABLE, 0.0)])
def test_refused_invite_drains_for_timer_d(is_reliable: bool, ends_at: float) -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE", is_reliable=is_reliable)
    bench.response(603)
    assert bench.state is State.COMPLETED
    bench.run_until(100)
    assert bench.forgotten == [ends_at]
    assert bench.failures == []


@pytest.mark.parametrize("provisional", [(), (180,)])
def test_every_2xx_is_passed_up_for_64_t1_and_none_is_acknowledged_here(provisional: tuple[int, ...]) -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE")
    for status in provisional:
        bench.response(status)
    for at in (0.0, 1.0, 31.0):
        bench.run_until(at)
        bench.response(200)
    assert bench.statuses() == [*provisional, 200, 200, 200]
    assert [line.split()[0] for _, line in bench.sent] == ["INVITE"]
    bench.run_until(100)
    assert bench.forgotten == [32.0]


def test_what_contradicts_a_final_response_is_absorbed() -> None:
    accepted, refused = Bench(Kind.INVITE_CLIENT, "INVITE"), Bench(Kind.INVITE_CLIENT, "INVITE")
    accepted.response(200)
    for status in (180, 486):
        accepted.response(status)
    refused.response(486)
    for status in (180, 200):
        refused.response(status)
    assert accepted.statuses() == [200]
    assert refused.statuses() == [486]


def test_transport_error_ends_an_invite_and_is_told() -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE")
    bench.feed(Stimulus.TRANSPORT_ERROR)
    assert bench.failures == [(0.0, Failure.TRANSPORT)]
    assert bench.state is State.TERMINATED


@pytest.mark.parametrize("provisional", [(), (180,)])
def test_abandoned_invite_is_gone_without_a_word(provisional: tuple[int, ...]) -> None:
    bench = Bench(Kind.INVITE_CLIENT, "INVITE")
    for status in provisional:
        bench.response(status)
    bench.feed(Stimulus.ABANDON)
    sent = len(bench.sent)
    bench.run_until(100)
    assert len(bench.sent) == sent
    assert (bench.state, bench.failures, len(bench.timers)) == (State.TERMINATED, [], 0)


def test_ack_to_a_refusal_copies_what_names_the_transaction() -> None:
    """RFC 3261 17.1.1.3: one Via, the INVITE's; Route; To of the response; the number of the CSeq."""
    invite = ScriptedPeer().request("INVITE", headers=(("Route", "<sip:p1;lr>"), ("Route", "<sip:p2;lr>")), cseq=7)
    invite.headers.add("Via", "SIP/2.0/UDP below;branch=z9hG4bKbelow")
    ack = make_ack(invite, make_response(invite, 486, to_tag="theirs"))
    assert (ack.method, ack.uri, str(ack.cseq)) == ("ACK", invite.uri, "7 ACK")
    assert [str(via) for via in ack.vias] == [str(invite.top_via)]
    assert (ack.from_, ack.to.tag, ack.call_id) == (invite.from_, "theirs", invite.call_id)
    assert [str(route.uri) for route in ack.route_set("Route")] == ["sip:p1;lr", "sip:p2;lr"]
    assert (ack.body, ack.headers.get("Max-Forwards")) == (b"", "70")


# ------------------------------------------------------------------------------------------------------- client


def test_request_is_repeated_up_to_every_t2_until_timer_f() -> None:
    bench = Bench(Kind.CLIENT, "BYE")
    bench.run_until(100)
    assert bench.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.failures == [(32.0, Failure.TIMEOUT)]


def test_request_is_repeated_every_t2_after_a_provisional_response_and_still_given_up() -> None:
    bench = Bench(Kind.CLIENT, "REFER")
    bench.run_until(0.25)
    bench.response(100)
    bench.run_until(100)
    assert bench.times()[:4] == [0, 0.5, 4.5, 8.5]
    assert bench.failures == [(32.0, Failure.TIMEOUT)]


@pytest.mark.parametrize("status", [200, 302, 481, 503, 603])
@pytest.mark.parametrize(("is_reliable", "ends_at"), [(UNRELIABLE, 6.0), (RELIABLE, 1.0)])
def test_final_response_is_told_once_and_drains_for_timer_k(status: int, is_reliable: bool, ends_at: float) -> None:
    bench = Bench(Kind.CLIENT, "BYE", is_reliable=is_reliable)
    bench.run_until(1)
    bench.response(100)
    bench.response(status)
    bench.response(status)
    bench.run_until(100)
    assert bench.statuses() == [100, status]
    assert bench.forgotten == [ends_at]


def test_nothing_is_repeated_on_a_reliable_transport_but_patience_is_the_same() -> None:
    for kind, method in ((Kind.INVITE_CLIENT, "INVITE"), (Kind.CLIENT, "BYE")):
        bench = Bench(kind, method, is_reliable=True)
        bench.run_until(100)
        assert bench.times() == [0]
        assert bench.failures == [(32.0, Failure.TIMEOUT)]


@pytest.mark.parametrize("provisional", [(), (100,)])
def test_transport_error_ends_a_request_and_is_told(provisional: tuple[int, ...]) -> None:
    bench = Bench(Kind.CLIENT, "BYE")
    for status in provisional:
        bench.response(status)
    bench.feed(Stimulus.TRANSPORT_ERROR)
    assert bench.failures == [(0.0, Failure.TRANSPORT)]
    assert bench.state is State.TERMINATED


# ------------------------------------------------------------------------------------------------ INVITE server


def test_repeated_invite_gets_the_last_provisional_response_again() -> None:
    bench = Bench(Kind.INVITE_SERVER, "INVITE")
    bench.feed(Stimulus.REPEATED_REQUEST)
    bench.response(100)
    bench.response(180)
    bench.feed(Stimulus.REPEATED_REQUEST)
    assert [line for _, line in bench.sent] == ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 180 Ringing"]
    assert bench.delivered == [bench.request]


def test_refusal_is_repeated_up_to_every_t2_until_timer_h_and_told_as_failed() -> None:
    bench = Bench(Kind.INVITE_SERVER, "INVITE")
    bench.response(486)
    bench.run_until(100)
    assert bench.times() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert bench.failures == [(32.0, Failure.TIMEOUT)]
    assert bench.forgotten == [32.0]


@pytest.mark.parametrize(("is_reliable", "ends_at"), [(UNRELIABLE, 6.0), (RELIABLE, 1.0)])
def test_ack_stops_the_refusal_and_repeated_acks_are_absorbed_for_timer_i(is_reliable: bool, ends_at: float) -> None:
    bench = Bench(Kind.INVITE_SERVER, "INVITE", is_reliable=is_reliable)
    bench.response(486)
    bench.run_until(1)
    bench.feed(Stimulus.ACK)
    bench.feed(Stimulus.ACK)
    bench.feed(Stimulus.REPEATED_REQUEST)
    assert bench.state is State.CONFIRMED
    bench.run_until(100)
    assert bench.times() == ([0] if is_reliable else [0, 0.5])
    assert bench.forgotten == [ends_at]
    assert bench.failures == []


def test_repeated_invite_gets_the_refusal_again() -> None:
    bench = Bench(Kind.INVITE_SERVER, "INVITE")
    bench.response(486)
    bench.feed(Stimulus.REPEATED_REQUEST)
    assert len(bench.sent) == 2


def test_accepted_invite_absorbs_repetitions_sends_2xx_on_demand_and_passes_acks_up() -> None:
    """RFC 6026: the 2xx is repeated from above; a repeated INVITE must not start another call."""
    bench = Bench(Kind.INVITE_SERVER, "INVITE")
    bench.response(180)
    bench.response(200)
    bench.feed(Stimulus.REPEATED_REQUEST)
    bench.response(200)
    bench.feed(Stimulus.ACK)
    bench.response(486)
    assert [line.split()[1] for _, line in bench.sent] == ["180", "200", "200"]
    assert bench.delivered == [bench.request, bench.request]
    bench.run_until(100)
    assert bench.forgotten == [32.0]


def test_server_transactions_survive_a_transport_error() -> None:
    """RFC 6026 7.1: otherwise the next repetition would look like a new request."""
    for status, state in ((180, State.PROCEEDING), (486, State.COMPLETED), (200, State.ACCEPTED)):
        bench = Bench(Kind.INVITE_SERVER, "INVITE")
        bench.response(status)
        bench.feed(Stimulus.TRANSPORT_ERROR)
        assert bench.state is state
        assert bench.failures == [(0.0, Failure.TRANSPORT)]


# ------------------------------------------------------------------------------------------------------- server


def test_repeated_request_waits_for_the_answer_and_then_gets_it_again() -> None:
    bench = Bench(Kind.SERVER, "OPTIONS")
    bench.feed(Stimulus.REPEATED_REQUEST)
    assert bench.sent == []
    bench.response(200)
    bench.feed(Stimulus.REPEATED_REQUEST)
    bench.feed(Stimulus.REPEATED_REQUEST)
    assert [line for _, line in bench.sent] == ["SIP/2.0 200 OK"] * 3
    assert bench.delivered == [bench.request]


@pytest.mark.parametrize(("is_reliable", "ends_at"), [(UNRELIABLE, 32.0), (RELIABLE, 0.0)])
def test_answer_is_kept_for_timer_j(is_reliable: bool, ends_at: float) -> None:
    bench = Bench(Kind.SERVER, "BYE", is_reliable=is_reliable)
    bench.response(200)
    bench.response(500)
    bench.run_until(100)
    assert [line for _, line in bench.sent] == ["SIP/2.0 200 OK"]
    assert bench.forgotten == [ends_at]


def test_provisional_response_is_repeated_on_demand() -> None:
    bench = Bench(Kind.SERVER, "REFER")
    bench.response(100)
    bench.feed(Stimulus.REPEATED_REQUEST)
    bench.response(183)
    bench.response(603)
    assert [line.split()[1] for _, line in bench.sent] == ["100", "100", "183", "603"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (100, Stimulus.PROVISIONAL),
        (199, Stimulus.PROVISIONAL),
        (200, Stimulus.SUCCESS),
        (299, Stimulus.SUCCESS),
        (300, Stimulus.FAILURE),
        (699, Stimulus.FAILURE),
    ],
)
def test_responses_move_by_their_class(status: int, expected: Stimulus) -> None:
    assert stimulus_of(make_response(ScriptedPeer().request("BYE"), status)) is expected


# ---------------------------------------------------------------------------------------------- table and page


def successors(kind: Kind, state: State) -> set[State]:
    return {row.next_state for row in ROWS if (row.kind, row.state) == (kind, state)}


def reachable(kind: Kind, start: State) -> set[State]:
    found, waiting = {start}, [start]
    while waiting:
        fresh = successors(kind, waiting.pop()) - found
        found |= fresh
        waiting += fresh
    return found


def states(kind: Kind) -> set[State]:
    return {row.state for row in ROWS if row.kind is kind}


def test_no_two_rows_of_the_table_contradict_each_other() -> None:
    assert len(TRANSITIONS) == len(ROWS)


@pytest.mark.parametrize("kind", Kind)
def test_every_state_can_be_reached_and_leads_to_the_end(kind: Kind) -> None:
    assert reachable(kind, State.INITIAL) == states(kind) | {State.TERMINATED}
    assert all(State.TERMINATED in reachable(kind, state) for state in states(kind))
    assert State.TERMINATED not in states(kind)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind.name}-{row.state.name}-{row.stimulus.name}")
def test_every_timer_that_a_row_starts_is_known_to_the_state_it_leads_to(row: Row) -> None:
    assert all((row.kind, row.next_state, timer) in TRANSITIONS for timer in row.timers)


def test_every_timer_of_the_rfcs_is_started_somewhere() -> None:
    assert {timer for row in ROWS for timer in row.timers} == set(Timer)


def drawn() -> Iterator[str]:
    return iter(re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(), re.DOTALL))


def test_the_page_shows_the_machines_as_they_are() -> None:
    assert list(drawn()) == [draw(kind) for kind in Kind]


def test_timers_derive_from_t1_t2_and_t4() -> None:
    """Timer D is at least 32 s whatever T1 is (RFC 3261 17.1.1.2); 64*T1 of a slow line is longer."""
    assert TimerOptions().patience_s == 32
    assert TimerOptions(t1_s=1).patience_s == 64
