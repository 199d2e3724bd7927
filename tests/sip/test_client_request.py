"""One request of ours over all its transactions: challenges, CANCEL, silence (RFC 3261 22.2, 9.1, 8.1.3.1)."""

from __future__ import annotations

from random import Random

import pytest

from gateway.sip.client_request import ClientRequest, make_cancel
from gateway.sip.core import Core
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Request, Response, parse_message
from gateway.sip.trunk import Trunk
from tests.support.wire import PBX, ScriptedPeer, gateway_options, respond, trunk_options

ELSEWHERE = Hop("10.0.0.2", 9999)


class Bench:
    """A request, what went out of it, and what its owner was told."""

    def __init__(
        self,
        method: str = "INVITE",
        *,
        is_in_dialog: bool = False,
        body: bytes = b"body",
        alternates: tuple[Hop, ...] = (),
        **changes: object,
    ) -> None:
        self.core = Core(gateway_options(), Random(1))
        self.trunk = Trunk(trunk_options(alternates=alternates, **changes), lambda: "cnonce")
        self.told: list[int] = []
        self.cseq = 1
        request = ScriptedPeer().request(method, headers=(("Route", "<sip:p1;lr>"), ("X-A", "b")), body=body)
        request.headers.remove("Via")
        self.client = ClientRequest(
            self.core,
            self.trunk,
            request,
            PBX,
            next_cseq=self._next,
            on_response=lambda response, now: self.told.append(response.status),
            is_in_dialog=is_in_dialog,
            alternates=alternates,
        )
        self.client.send(0.0)

    def _next(self) -> int:
        self.cseq += 1
        return self.cseq

    @property
    def sent(self) -> list[Request]:
        messages = [parse_message(data) for data, _ in self.core.datagrams]
        return [message for message in messages if isinstance(message, Request) and message.method != "ACK"]

    def answer(self, status: int, *headers: tuple[str, str], source: Hop = PBX, at: float = 1.0) -> None:
        self.receive(respond(self.client.request, status, headers=headers), source, at)

    def receive(self, response: Response, source: Hop = PBX, at: float = 1.0) -> None:
        transaction = self.core.transactions.find_client(response)
        assert transaction is not None
        self.core.transactions.receive_response(transaction, response, source, at)

    def challenge(
        self,
        nonce: str,
        *,
        status: int = 401,
        realm: str = "pbx",
        more: str = "",
        source: Hop = PBX,
        at: float = 1.0,
    ) -> None:
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        value = f'Digest realm="{realm}", nonce="{nonce}", qop="auth"{more}'
        self.answer(status, (name, value), source=source, at=at)


def test_everything_but_answered_challenges_is_told() -> None:
    bench = Bench()
    bench.answer(100)
    bench.challenge("n1")
    bench.answer(180)
    bench.answer(200)
    bench.answer(200)
    assert bench.told == [100, 180, 200, 200]
    assert bench.client.authentication_failure == ""


def test_a_repetition_differs_in_number_branch_and_credentials_only() -> None:
    bench = Bench("REFER")
    bench.challenge("n1")
    first, second = bench.sent
    assert (second.cseq.number, second.top_via.branch != first.top_via.branch) == (2, True)
    assert "Authorization" in second.headers
    for request in (first, second):
        for name in ("Via", "CSeq", "Authorization"):
            request.headers.remove(name)
    assert first == second
    assert bench.client.request.cseq.number == 2


def test_the_same_challenge_twice_is_a_wrong_password() -> None:
    bench = Bench()
    bench.challenge("n1")
    bench.challenge("n2")
    assert bench.told == [401]
    assert "password" in bench.client.authentication_failure
    assert len(bench.sent) == 2


def test_a_stale_nonce_is_answered_once_more_and_not_for_ever() -> None:
    bench = Bench()
    for number in range(3):
        bench.challenge(f"n{number}", more=", stale=true")
    assert len(bench.sent) == 3
    assert bench.told == [401]
    assert "keeps asking" in bench.client.authentication_failure


def test_proxy_and_server_may_ask_in_turn_and_both_answers_are_kept() -> None:
    bench = Bench()
    bench.challenge("p", status=407)
    bench.challenge("s", status=401)
    assert {"Authorization", "Proxy-Authorization"} <= {name for name, _ in bench.sent[-1].headers}
    bench.challenge("p", status=407)
    assert bench.told == [407]


def test_a_challenge_from_elsewhere_is_told_not_answered() -> None:
    bench = Bench()
    bench.answer(401, ("WWW-Authenticate", 'Digest realm="pbx", nonce="n", qop="auth"'), source=ELSEWHERE)
    assert bench.told == [401]
    assert len(bench.sent) == 1
    assert "10.0.0.2:9999" in bench.client.authentication_failure


def test_a_challenge_inside_a_call_under_an_unknown_realm_is_told_not_answered() -> None:
    bench = Bench("BYE", is_in_dialog=True)
    bench.challenge("n")
    assert (bench.told, len(bench.sent)) == ([401], 1)


@pytest.mark.parametrize(("method", "silence_s"), [("INVITE", 32), ("BYE", 32)])
def test_silence_is_408_and_a_broken_transport_503(method: str, silence_s: float) -> None:
    silent, broken = Bench(method), Bench(method)
    silent.core.timers.expire(silence_s)
    broken.core.transactions.fail_towards(PBX, 1.0)
    assert (silent.told, broken.told) == ([408], [503])


def test_a_transport_that_breaks_after_the_answer_is_not_told() -> None:
    bench = Bench()
    bench.answer(486)
    bench.core.transactions.fail_towards(PBX, 1.0)
    assert bench.told == [486]


def test_cancel_waits_for_progress_is_sent_once_and_stops_authentication() -> None:
    bench = Bench()
    bench.client.cancel(0.0)
    bench.client.cancel(0.0)
    assert [request.method for request in bench.sent] == ["INVITE"]
    bench.answer(100)
    bench.answer(180)
    assert [request.method for request in bench.sent] == ["INVITE", "CANCEL"]
    bench.challenge("n1")
    assert bench.told == [100, 180, 401]


def test_a_cancelled_request_without_answer_is_given_up_after_64_t1() -> None:
    bench = Bench()
    bench.answer(180)
    bench.client.cancel(1.0)
    bench.core.timers.expire(32.9)
    assert bench.told == [180]
    bench.core.timers.expire(33.0)
    assert bench.told == [180, 408]
    bench.core.timers.expire(100)
    assert len(bench.core.transactions) == 0


def test_the_answer_to_cancel_is_nobodys_business() -> None:
    bench = Bench()
    bench.answer(180)
    bench.client.cancel(1.0)
    bench.receive(respond(bench.sent[-1], 481))
    bench.answer(487)
    assert bench.told == [180, 487]


def test_cancel_copies_what_names_the_invite_and_the_way_it_took() -> None:
    """RFC 3261 9.1."""
    bench = Bench()
    invite = bench.client.request
    cancel = make_cancel(invite)
    assert (cancel.method, cancel.uri, str(cancel.cseq)) == ("CANCEL", invite.uri, "1 CANCEL")
    assert [str(via) for via in cancel.vias] == [str(invite.top_via)]
    assert (cancel.from_, cancel.to, cancel.call_id) == (invite.from_, invite.to, invite.call_id)
    assert cancel.headers.get_all("Route") == ["<sip:p1;lr>"]
    assert (cancel.headers.get("Max-Forwards"), cancel.body, "X-A" in cancel.headers) == ("70", b"", False)


# Long requests (RFC 3261 18.1.1).

LONG = b"x" * 1300
SECOND = Hop("10.0.0.3", 5060)
BY_TCP = PBX._replace(transport=Transport.TCP)


def hops(bench: Bench) -> list[Hop]:
    return [hop for _, hop in bench.core.datagrams]


def test_a_long_request_goes_by_tcp_and_says_so() -> None:
    assert hops(Bench(body=b"short")) == [PBX]
    bench = Bench(body=LONG)
    assert hops(bench) == [BY_TCP]
    assert [via.transport for via in bench.sent[0].vias] == ["TCP"]
    assert hops(Bench(body=LONG, udp_limit_bytes=0)) == [PBX]


def test_long_means_longer_than_the_limit() -> None:
    size_bytes = len(Bench(body=LONG, udp_limit_bytes=0).core.datagrams[0][0])
    assert hops(Bench(body=LONG, udp_limit_bytes=size_bytes)) == [PBX]
    assert hops(Bench(body=LONG, udp_limit_bytes=size_bytes - 1)) == [BY_TCP]


def test_a_long_request_falls_back_to_udp_where_tcp_fails_and_is_remembered() -> None:
    bench = Bench(body=LONG)
    bench.core.transactions.fail_towards(BY_TCP, 0.1)
    assert hops(bench) == [BY_TCP, PBX]
    assert [via.transport for via in bench.sent[1].vias] == ["UDP"]
    assert bench.sent[0].cseq == bench.sent[1].cseq
    assert bench.sent[0].top_via.branch != bench.sent[1].top_via.branch
    assert bench.told == []
    assert bench.trunk.without_tcp == {PBX.address}
    bench.answer(200)
    assert bench.told == [200]


@pytest.mark.parametrize("method", ["INVITE", "REFER"])
def test_a_long_request_falls_back_to_udp_where_tcp_is_silent(method: str) -> None:
    """A firewall that swallows connections tells nothing; another server would only be as silent behind it."""
    bench = Bench(method, body=LONG, alternates=(SECOND,))
    bench.core.timers.expire(5.0)
    assert hops(bench) == [BY_TCP, PBX]
    assert bench.trunk.without_tcp == {PBX.address}
    bench.core.timers.expire(9.9)
    assert set(hops(bench)) == {BY_TCP, PBX}
    bench.core.timers.expire(10.0)
    assert hops(bench)[-1] == BY_TCP._replace(host=SECOND.host)
    alone = Bench(method, body=LONG)
    alone.core.timers.expire(5.0)
    assert hops(alone) == [BY_TCP, PBX]
    alone.core.timers.expire(37.0)
    assert alone.told == [408]


@pytest.mark.parametrize(("method", "told"), [("INVITE", [100]), ("REFER", [100, 503])])
def test_a_long_request_that_arrived_by_tcp_is_given_time_and_not_sent_twice(method: str, told: list[int]) -> None:
    bench = Bench(method, body=LONG)
    bench.answer(100, source=BY_TCP)
    bench.core.timers.expire(30.0)
    bench.core.transactions.fail_towards(BY_TCP, 31.0)
    assert (hops(bench), bench.told) == ([BY_TCP], told)


def test_a_long_request_that_was_cancelled_does_not_begin_again() -> None:
    bench = Bench(body=LONG)
    bench.client.cancel(0.0)
    bench.core.transactions.fail_towards(BY_TCP, 0.1)
    assert bench.told == [503]
    assert hops(bench) == [BY_TCP]


# Other servers (RFC 3263 4.3).


@pytest.mark.parametrize("how", ["silence", "503", "broken"])
def test_the_next_server_is_asked_where_one_fails(how: str) -> None:
    bench = Bench(alternates=(SECOND,), registrar=None)
    if how == "silence":
        bench.core.timers.expire(5.0)
    elif how == "503":
        bench.answer(503)
    else:
        bench.core.transactions.fail_towards(PBX, 0.1)
    assert bench.told == []
    assert hops(bench)[-1] == SECOND
    assert bench.sent[-1].top_via.branch != bench.sent[0].top_via.branch
    bench.answer(200, source=SECOND)
    assert bench.told == [200]
    assert bench.client.peer == SECOND


def test_a_server_that_answers_is_given_time() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.answer(100)
    bench.core.timers.expire(60.0)
    assert set(hops(bench)) == {PBX}


def test_the_last_server_has_the_last_word() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.answer(503)
    bench.answer(503, source=SECOND)
    assert bench.told == [503]


def test_a_trunk_without_registration_goes_on_with_the_server_that_answers_for_a_while() -> None:
    bench = Bench(alternates=(SECOND,), registrar=None)
    bench.answer(503)
    assert bench.trunk.hop == SECOND
    bench.core.timers.expire(61.0)
    assert bench.trunk.hop == PBX


THIRD = Hop("10.0.0.4", 5060)


def test_a_server_that_takes_over_is_given_the_whole_time_again() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.core.timers.expire(4.9)
    bench.answer(503, at=4.9)
    bench.core.timers.expire(9.8)
    assert bench.told == []
    assert set(hops(bench)[-2:]) == {SECOND}
    bench.answer(200, source=SECOND)
    assert bench.told == [200]


def test_a_server_that_challenged_is_given_the_whole_time_again() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.challenge("n1", at=4.9)
    bench.core.timers.expire(9.8)
    assert SECOND not in hops(bench)
    bench.core.timers.expire(10.0)
    assert hops(bench)[-1] == SECOND


def test_a_transaction_that_has_had_its_answer_takes_nobody_to_another_server() -> None:
    """The challenged INVITE is still there, waiting for repetitions of its 401."""
    bench = Bench(alternates=(SECOND, THIRD))
    bench.challenge("n1")
    bench.core.transactions.fail_towards(PBX, 1.0)
    assert [hop for hop in hops(bench) if hop != PBX] == [SECOND]


def test_another_server_is_not_shown_the_digest_of_the_first_and_may_challenge_by_itself() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.challenge("n1")
    bench.challenge("n2", more=", stale=true")
    bench.answer(503)
    assert "Authorization" not in bench.sent[-1].headers
    bench.challenge("m1", source=SECOND)
    assert bench.told == []
    assert 'nonce="m1"' in (bench.sent[-1].headers.get("Authorization") or "")
    assert hops(bench)[-1] == SECOND
    bench.challenge("m2", source=SECOND)
    assert bench.told == [401]


# Servers that answer after they were passed over.


def passed_over(*, is_cancelled: bool = False) -> tuple[Bench, Request]:
    """A call that went on to the second server after silence of the first; and the first INVITE."""
    bench = Bench(alternates=(SECOND,))
    invite = bench.client.request
    if is_cancelled:
        bench.client.cancel(1.0)
    bench.core.timers.expire(5.0)
    bench.core.datagrams.clear()
    return bench, invite


def labels(bench: Bench) -> list[tuple[str, Hop]]:
    return [(data.split(b" ")[0].decode(), hop) for data, hop in bench.core.datagrams]


def test_a_late_answer_of_a_server_that_was_passed_over_is_acknowledged_and_hung_up() -> None:
    """Else there would be two calls, and this one would ring on or talk to nobody."""
    bench, invite = passed_over()
    late = respond(invite, 200, to_tag="late")
    bench.receive(late)
    assert labels(bench) == [("ACK", PBX), ("BYE", PBX)]
    ack, bye = (parse_message(data) for data, _ in bench.core.datagrams)
    assert isinstance(ack, Request)
    assert isinstance(bye, Request)
    assert (str(ack.cseq), str(bye.cseq)) == (f"{invite.cseq.number} ACK", f"{invite.cseq.number + 1} BYE")
    assert {ack.to.tag, bye.to.tag} == {"late"}
    assert (ack.call_id, ack.from_, str(ack.uri)) == (invite.call_id, invite.from_, "sip:asterisk@10.0.0.2:5060")
    assert ack.top_via.branch not in (bye.top_via.branch, invite.top_via.branch)
    bench.receive(late)
    assert labels(bench)[2:] == [("ACK", PBX)]
    bench.receive(respond(invite, 200, to_tag="fork"))
    assert labels(bench)[3:] == [("ACK", PBX), ("BYE", PBX)]
    assert bench.told == []
    bench.answer(200, source=SECOND)
    assert bench.told == [200]


def test_late_ringing_at_a_server_that_was_passed_over_is_cancelled_once() -> None:
    bench, invite = passed_over()
    for status in (100, 180, 183):
        bench.receive(respond(invite, status))
    assert labels(bench) == [("CANCEL", PBX)]
    assert bench.sent[0].top_via.branch == invite.top_via.branch
    bench.receive(respond(invite, 487))
    assert labels(bench)[-1] == ("ACK", PBX)
    bench.answer(180, source=SECOND)
    assert bench.told == [180]
    bench.answer(200, source=SECOND)
    bench.core.timers.expire(200.0)
    assert len(bench.core.transactions) == 0


def test_a_late_refusal_of_a_server_that_was_passed_over_is_nobodys_business() -> None:
    for status in (401, 486, 503):
        bench, invite = passed_over()
        bench.receive(respond(invite, status))
        assert labels(bench) == [("ACK", PBX)]
        assert bench.told == []


def test_a_late_answer_to_what_was_cancelled_before_it_was_passed_over_is_hung_up() -> None:
    bench, invite = passed_over(is_cancelled=True)
    assert bench.told == [408]
    bench.receive(respond(invite, 200))
    assert labels(bench) == [("ACK", PBX), ("BYE", PBX)]
    assert bench.told == [408]


def test_a_server_that_was_passed_over_is_not_asked_again_and_not_kept_for_ever() -> None:
    bench, _ = passed_over()
    bench.core.timers.expire(32.0)
    assert PBX not in hops(bench)
    assert bench.told == []
    ringing, invite = passed_over()
    ringing.receive(respond(invite, 180))
    for seconds in range(6, 200):
        ringing.core.timers.expire(float(seconds))
    assert (len(ringing.core.transactions), len(ringing.core.timers)) == (0, 0)


def test_a_call_does_not_move_a_registration() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.answer(503)
    assert (hops(bench)[-1], bench.trunk.hop) == (SECOND, PBX)


def test_cancel_waits_for_progress_at_the_server_that_has_the_call_now() -> None:
    bench = Bench(alternates=(SECOND,))
    bench.answer(180)
    bench.answer(503)
    bench.client.cancel(1.0)
    assert [request.method for request in bench.sent] == ["INVITE", "INVITE"]
    bench.answer(100, source=SECOND)
    assert (bench.sent[-1].method, hops(bench)[-1]) == ("CANCEL", SECOND)


def test_what_belongs_to_a_request_goes_on_where_it_went_or_over_the_connection_that_answers() -> None:
    bench = Bench()
    bench.answer(200, source=ELSEWHERE)
    assert bench.client.peer == PBX
    long = Bench(body=LONG)
    long.answer(200, source=BY_TCP._replace(connection=5))
    assert long.client.peer == BY_TCP._replace(connection=5)


def test_why_nothing_was_sent_stands_where_the_reason_phrase_would() -> None:
    """Nobody has answered 503; the owner must not be made to believe so."""
    reasons: list[str] = []
    bench = Bench()
    bench.client._on_response = lambda response, now: reasons.append(response.reason)
    bench.core.transactions.fail_towards(PBX, 0.1, "its certificate is not accepted")
    assert reasons == ["no connection to 10.0.0.2:5060: its certificate is not accepted"]
