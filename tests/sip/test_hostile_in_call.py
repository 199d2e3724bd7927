"""Requests of a peer that means harm within a call: refused, without effect, and the call goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.sip.events import CallEnded, OfferReceived
from gateway.sip.hop import Hop
from gateway.sip.trunk import TrunkOptions
from tests.support.calls import RunningCall, placed_call, taken_call
from tests.support.wire import PBX, STRANGER, Wire, description, trunk_options

VICTIM = "203.0.113.9"
CARRIER = Hop("10.0.0.3", 5060)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request within the call, and the status it is refused with."""

    name: str
    method: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str | None = None
    cseq: int | None = None
    has_contact: bool = True


def attempt(name: str, method: str, status: int, *headers: tuple[str, str], **parts: object) -> Attempt:
    return Attempt(name=name, method=method, status=status, headers=headers, **parts)  # type: ignore[arg-type]


SDP = "application/sdp"
RELAY = "application/dtmf-relay"
OFFER = description(PBX.host, 20002, version=1).to_bytes()
ATTEMPTS = [
    attempt(
        "NOTIFY of a success, no transfer pending",
        "NOTIFY",
        481,
        ("Event", "refer"),
        ("Subscription-State", "terminated;reason=noresource"),
        body=b"SIP/2.0 200 OK",
        content_type="message/sipfrag",
    ),
    attempt("NOTIFY of another package", "NOTIFY", 489, ("Event", "message-summary")),
    attempt("NOTIFY of nothing", "NOTIFY", 489),
    attempt("REFER to nobody", "REFER", 400),
    attempt("REFER to two", "REFER", 400, ("Refer-To", "<sip:a@b>"), ("Refer-To", "<sip:c@d>")),
    attempt("REFER to two on one line", "REFER", 400, ("Refer-To", "<sip:a@b>, <sip:c@d>")),
    attempt("REFER to garbage", "REFER", 400, ("Refer-To", "<<>>")),
    attempt("INFO of an unknown kind", "INFO", 415, body=b"<x/>", content_type="application/media_control+xml"),
    attempt("a number from the past", "UPDATE", 500, cseq=0),
    attempt("a number again", "UPDATE", 500, cseq=1),
    attempt("a refresh every second", "UPDATE", 422, ("Supported", "timer"), ("Session-Expires", "1")),
    attempt("a star for a target", "UPDATE", 400, ("Contact", "*"), has_contact=False),
    attempt("a telephone number for a target", "UPDATE", 400, ("Contact", "<tel:+1>"), has_contact=False),
    attempt("two targets", "INVITE", 400, ("Contact", f"<sip:x@{VICTIM}>"), body=OFFER, content_type=SDP),
    attempt("garbage for an offer", "INVITE", 400, body=b"v=0\r\nnonsense", content_type=SDP),
    attempt("66 media", "INVITE", 400, body=OFFER + b"m=audio 1 RTP/AVP 0\r\n" * 65, content_type=SDP),
    attempt("a page for an offer", "INVITE", 415, body=b"<html>", content_type="text/html"),
    attempt("an unknown extension", "UPDATE", 420, ("Require", "nothingSupportsThis")),
    attempt("SUBSCRIBE to the call", "SUBSCRIBE", 405, ("Event", "dialog")),
    attempt("MESSAGE", "MESSAGE", 405, body=b"hi", content_type="text/plain"),
    attempt("REGISTER", "REGISTER", 405),
    attempt("CANCEL of what is answered", "CANCEL", 481),
]


def feed(call: RunningCall, data: bytes, source: Hop = PBX) -> list[int]:
    """One datagram; the final statuses it is answered with."""
    call.gateway.receive_datagram(data, source, call.wire.now)
    lines = [data.split(b" ", 2)[1] for data, _ in call.user_agent.datagrams_to_send() if data.startswith(b"SIP/2.0 ")]
    return [int(status) for status in lines if status >= b"200"]


def assert_goes_on(call: RunningCall) -> None:
    """The peer's next request is served, then its BYE ends the call."""
    assert feed(call, call.request("INFO", body=b"Signal=5", content_type=RELAY, cseq=1000).to_bytes()) == [200]
    assert call.user_agent.leg_count == 1
    assert feed(call, call.request("BYE", cseq=1001).to_bytes()) == [200]
    assert len(call.gateway.all(CallEnded)) == 1


@pytest.mark.parametrize("make", [taken_call, placed_call])
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_it_is_refused_without_effect(make: Callable[[], RunningCall], attempt: Attempt) -> None:
    call = make()
    if attempt.cseq is not None:
        feed(call, call.request("OPTIONS", cseq=7).to_bytes())
    seen = len(call.gateway.seen)
    parts = {"cseq": attempt.cseq, "has_contact": attempt.has_contact, "headers": attempt.headers}
    request = call.request(attempt.method, body=attempt.body, content_type=attempt.content_type, **parts)
    assert feed(call, request.to_bytes()) == [attempt.status]
    assert call.gateway.seen[seen:] == []
    assert_goes_on(call)


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "REFER", "NOTIFY", "INVITE"])
def test_a_guessed_tag_finds_no_call(method: str) -> None:
    call = taken_call()
    seen = len(call.gateway.seen)
    for guess in ("0", "1", "pbx-tag", "%", call.ok.to.tag[:-1] + "x", call.ok.to.tag.upper() + "A"):  # type: ignore[index,union-attr]
        request = call.request(method, headers=(("Refer-To", "<sip:x@y>"), ("Event", "refer")))
        request.headers.set("To", f"<sip:7000@10.0.0.1>;tag={guess}")
        assert feed(call, request.to_bytes()) == [481]
    assert call.gateway.seen[seen:] == []
    assert_goes_on(call)


@pytest.mark.parametrize(("source", "statuses"), [(STRANGER, []), (CARRIER, [481])], ids=["stranger", "other trunk"])
@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "REFER", "NOTIFY", "CANCEL"])
def test_nobody_else_speaks_within_the_call_whatever_he_knows(method: str, source: Hop, statuses: list[int]) -> None:
    call = taken_call(Wire(), trunks=(trunk_options(), TrunkOptions(name="carrier", peer=CARRIER)))
    seen = len(call.gateway.seen)
    request = call.request(method, headers=(("Refer-To", "<sip:x@y>"), ("Event", "refer")))
    assert feed(call, request.to_bytes(), source) == statuses
    assert call.gateway.seen[seen:] == []
    assert_goes_on(call)


@pytest.mark.parametrize("make", [taken_call, placed_call])
def test_a_target_at_a_victim_is_sent_nothing(make: Callable[[], RunningCall]) -> None:
    call = make()
    target = (("Contact", f"<sip:x@{VICTIM}:53;maddr={VICTIM}>"), ("Record-Route", f"<sip:{VICTIM};lr>"))
    update = call.request("INVITE", has_contact=False, headers=target, body=OFFER, content_type=SDP)
    call.gateway.receive_datagram(update.to_bytes(), PBX, call.wire.now)
    assert len(call.gateway.all(OfferReceived)) == 1
    call.user_agent.accept_offer(call.leg_id, description(version=1), call.wire.now)
    call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(100)
    assert {sent.destination.host for sent in call.wire.log if sent.source == call.gateway.address} == {PBX.host}


def test_a_flood_within_the_call_leaves_nothing() -> None:
    call = taken_call()
    for number in range(3000):
        feed(call, call.request("INFO", body=b"Signal=X", content_type=RELAY, cseq=10 + number).to_bytes())
    call.wire.run(60)
    assert call.user_agent.transaction_count == 0
    assert call.user_agent.leg_count == 1
