"""Who is at the other end, as the trunk says (RFC 3325, RFC 4916): read, compared, told when it changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.sip.events import CallOffered, IdentityChanged, OfferReceived
from gateway.sip.identity import asserted_identity
from gateway.sip.message import Uri
from tests.support.calls import OURS, THEIRS, RunningCall, placed_call, taken_call
from tests.support.wire import ScriptedPeer

peer = ScriptedPeer()
Make = Callable[..., RunningCall]
BOB = '"Bob" <sip:6001@10.0.0.2>'
CAROL = '"Carol" <sip:6002@10.0.0.2>'


def told(call: RunningCall) -> list[tuple[str, str]]:
    return [(event.display_name, str(event.uri)) for event in call.gateway.all(IdentityChanged)]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), None),
        ((("P-Asserted-Identity", f"{BOB}, <tel:+4930>"),), BOB),
        ((("P-Asserted-Identity", "<tel:+4930>"),), "<tel:+4930>"),
        ((("Remote-Party-ID", f"{BOB};party=calling;privacy=off"),), BOB),
        ((("Remote-Party-ID", f"{BOB};party=subscriber"), ("Remote-Party-ID", CAROL)), CAROL),
        ((("Remote-Party-ID", CAROL), ("P-Asserted-Identity", BOB)), BOB),
        ((("P-Asserted-Identity", "nonsense"), ("Remote-Party-ID", BOB)), BOB),
        ((("P-Asserted-Identity", '"Bob'),), None),
        ((("P-Asserted-Identity", "<sip:10.0.0.2>"),), None),
    ],
)
def test_the_asserted_identity_is_the_first_that_can_be_read(
    headers: tuple[tuple[str, str], ...], expected: str | None
) -> None:
    found = asserted_identity(peer.request("INVITE", headers=headers))
    assert (f"{found}".partition(";")[0] if found else None) == expected


@pytest.mark.parametrize("make", [taken_call, placed_call])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_new_name_within_the_call_is_told_once(make: Make, method: str) -> None:
    call = make()
    body = {"body": THEIRS.to_bytes(), "content_type": "application/sdp"} if method == "INVITE" else {}
    for value in (CAROL, CAROL, BOB):
        request = call.send(method, headers=(("P-Asserted-Identity", value),), **body)
        if method == "INVITE":
            call.ack(request)
    assert told(call) == [("Carol", "sip:6002@10.0.0.2"), ("Bob", "sip:6001@10.0.0.2")]
    assert call.gateway.all(OfferReceived) == []


def test_who_took_our_call_is_told_where_it_is_somebody_else() -> None:
    assert told(placed_call(headers=(("P-Asserted-Identity", CAROL),))) == [("Carol", "sip:6002@10.0.0.2")]
    assert told(placed_call(headers=(("P-Asserted-Identity", "<sip:6001@10.0.0.2>"),))) == []
    assert told(placed_call()) == []


def test_the_caller_is_no_news_until_it_changes() -> None:
    call = taken_call(headers=(("P-Asserted-Identity", BOB),))
    call.send("UPDATE", headers=(("P-Asserted-Identity", BOB),))
    assert told(call) == []


def test_an_answer_to_our_offer_may_name_somebody_else() -> None:
    call = placed_call()
    call.user_agent.reoffer(call.leg_id, OURS, call.wire.now)
    call.wire.run(0.1)
    call.reply("INVITE", 200, answer=THEIRS, headers=(("P-Asserted-Identity", CAROL),))
    assert told(call) == [("Carol", "sip:6002@10.0.0.2")]


def test_a_changed_from_is_told_where_nothing_else_is_said() -> None:
    """RFC 4916 4.4.1; the tags stay what they were."""
    call = placed_call()
    request = call.request("UPDATE")
    request.headers.set("From", f'"Dave" <sip:6003@10.0.0.2>;tag={call.ok.to.tag}')
    call.pbx.send(request)
    call.wire.run(0.1)
    assert told(call) == [("Dave", "sip:6003@10.0.0.2")]


def test_a_refused_change_names_nobody() -> None:
    call = taken_call()
    call.offer(headers=(("P-Asserted-Identity", CAROL),))
    call.user_agent.reject_offer(call.leg_id, 488, call.wire.now)
    assert told(call) == []


def test_identity_headers_are_passed_on_as_they_came_and_not_without_bound() -> None:
    call = taken_call()
    values = tuple(f"eyJhbGciOiJFUzI1NiJ9.{number}.sig;info=<https://x.example/c>;alg=ES256" for number in range(20))
    call.pbx.send(call.pbx.invite(call_id="signed@pbx", headers=tuple(("Identity", value) for value in values)))
    call.wire.run(0.1)
    assert call.gateway.last(CallOffered).identity == values[:8]
    assert taken_call().gateway.last(CallOffered).identity == ()


def test_the_identity_of_a_call_of_ours_is_its_target() -> None:
    call = placed_call()
    usage = call.user_agent._legs.get(call.leg_id).usage
    assert usage.remote_identity is not None
    assert usage.remote_identity.uri == Uri.parse("sip:6001@10.0.0.2")
