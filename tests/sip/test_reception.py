"""Requests that come in: whose they are, the right refusal for each, and floods (RFC 3261 8.2)."""

from __future__ import annotations

import pytest

from gateway.sip.events import CallEnded, CallEstablished, CallOffered
from gateway.sip.hop import Hop
from gateway.sip.message import Request
from gateway.sip.reject_reason import RejectReason
from gateway.sip.user_agent import TrunkOptions
from tests.support.calls import taken_call
from tests.support.wire import (
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    assert_idle,
    description,
    gateway_on,
    scripted_on,
    trunk_options,
)


def world(*trunks: TrunkOptions, **options: object) -> tuple[Wire, Party, ScriptedPeer]:
    wire = Wire()
    return wire, gateway_on(wire, *trunks, **options), scripted_on(wire)  # type: ignore[arg-type]


def statuses(pbx: ScriptedPeer) -> list[int]:
    return [response.status for response in pbx.responses() if response.status != 100]


def exchange(wire: Wire, pbx: ScriptedPeer, *messages: Request | bytes) -> list[int]:
    """The final statuses that these get."""
    for message in messages:
        pbx.send(message)
    wire.run(0.1)
    return statuses(pbx)


@pytest.mark.parametrize("has_tag", [False, True])
def test_options_is_answered_with_what_we_can(has_tag: bool) -> None:
    call = taken_call()
    pbx, wire = call.pbx, call.wire
    if has_tag:
        call.send("OPTIONS")
    else:
        exchange(wire, pbx, pbx.request("OPTIONS", call_id="qualify@pbx"))
    ok = pbx.responses(200, "OPTIONS")[0]
    assert {"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INFO", "REFER", "NOTIFY", "PRACK"} == set(
        ok.headers.get_list("Allow")
    )
    assert "application/sdp" in ok.headers.get_list("Accept")
    assert ok.headers.get_list("Supported") == ["timer", "100rel", "replaces"]
    assert ok.to.tag is not None


def test_options_is_answered_while_calls_are_refused() -> None:
    """The PBX must go on to reach us until we unregister."""
    wire, gateway, pbx = world()
    gateway.user_agent.refuse_calls(503, 30)
    assert exchange(wire, pbx, pbx.request("OPTIONS")) == [200]


@pytest.mark.parametrize(
    ("method", "parts", "status", "header"),
    [
        ("SUBSCRIBE", {}, 405, ("Allow", "INVITE")),
        ("MESSAGE", {}, 405, ("Allow", "INVITE")),
        ("JUMP", {}, 501, ("Allow", "INVITE")),
        ("INVITE", {"headers": (("Require", "precondition"),)}, 420, ("Unsupported", "precondition")),
        ("INVITE", {"headers": (("Require", 'a,"b'),)}, 400, None),
        ("INVITE", {"uri": "sips:7000@10.0.0.1"}, 416, None),
        ("INVITE", {"headers": (("Accept", "text/plain"),)}, 406, None),
        ("INVITE", {"body": b"x", "content_type": "image/png"}, 415, ("Accept", "application/sdp")),
        ("INVITE", {"body": b"x", "content_type": "application/sdp"}, 400, None),
        ("INVITE", {"to_tag": "gone"}, 481, None),
        ("BYE", {"to_tag": "gone"}, 481, None),
        ("BYE", {}, 481, None),
        ("UPDATE", {}, 481, None),
        ("INFO", {}, 481, None),
        ("NOTIFY", {}, 481, None),
        ("OPTIONS", {"to_tag": "gone"}, 481, None),
    ],
)
def test_a_request_that_cannot_be_served_gets_the_status_that_says_so(
    method: str, parts: dict[str, object], status: int, header: tuple[str, str] | None
) -> None:
    wire, gateway, pbx = world()
    assert exchange(wire, pbx, pbx.request(method, **parts)) == [status] * len(statuses(pbx))  # type: ignore[arg-type]
    response = pbx.responses(status)[0]
    assert response.to.tag is not None
    if header is not None:
        assert header[1] in (response.headers.get(header[0]) or "")
    assert gateway.seen == []
    wire.run(40)
    assert_idle(gateway)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"SIP/2.0\r\n", b"SIP/7.0\r\n"), 505),
        ((b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"), 400),
        ((b"Call-ID: ", b"X-Call-ID: "), 400),
        ((b"sip:gateway@10.0.0.1 ", b"nobodyKnowsThisScheme:x "), 416),
        ((b'"Alice"', b'"Alice'), 400),
        ((b"Max-Forwards: 70", b"Content-Length: 9999"), 400),
        ((b"Max-Forwards: 70", b"Max-Forwards: 70\r\nX: " + b"x" * 9000), 400),
        ((b"Max-Forwards: 70", b"Max-Forwards: 70" + b"\r\nX: x" * 300), 400),
    ],
)
def test_what_is_no_message_is_answered_where_it_can_be_and_leaves_nothing(
    change: tuple[bytes, bytes], status: int
) -> None:
    wire, gateway, pbx = world()
    datagram = pbx.request("OPTIONS").to_bytes().replace(*change, 1)
    for _ in range(2):
        gateway.user_agent.receive_datagram(datagram, PBX, wire.now)
    (first, destination), (second, _) = gateway.user_agent.datagrams_to_send()
    assert first.startswith(f"SIP/2.0 {status} ".encode())
    assert (first, destination) == (second, PBX)
    assert gateway.user_agent.counters.rejected[RejectReason.MALFORMED] == 2
    assert_idle(gateway)


def test_an_old_invite_without_branch_tags_and_contact_is_a_call() -> None:
    """RFC 4475 3.4.1."""
    wire, gateway, pbx = world()
    invite = pbx.invite(has_contact=False)
    invite.headers.set("Via", "SIP/2.0/UDP 10.0.0.2")
    invite.headers.set("From", "<sip:1001@10.0.0.2>")
    invite.headers.remove("Max-Forwards")
    exchange(wire, pbx, invite, invite)
    assert len(gateway.all(CallOffered)) == 1
    gateway.user_agent.answer(gateway.last(CallOffered).leg_id, description(), wire.now)
    wire.run(0.1)
    ack = pbx.request("ACK", to_tag=pbx.responses(200)[0].to.tag, has_contact=False)
    ack.headers.set("Via", "SIP/2.0/UDP 10.0.0.2")
    ack.headers.set("From", "<sip:1001@10.0.0.2>")
    exchange(wire, pbx, ack)
    assert len(gateway.all(CallEstablished)) == 1


def test_a_call_that_arrives_twice_on_different_ways_is_one_call() -> None:
    """RFC 3261 8.2.2.2."""
    wire, gateway, pbx = world()
    assert exchange(wire, pbx, pbx.invite(), pbx.invite(), pbx.invite()) == [482, 482]
    assert len(gateway.all(CallOffered)) == 1


def test_a_call_belongs_to_the_trunk_of_its_source() -> None:
    other = trunk_options(name="carrier", peer=Hop("10.0.5.1", 5060), registrar=None, acl=("10.0.6.0/24",))
    wire, gateway, _ = world(trunk_options(), other)
    carrier = scripted_on(wire, Hop("10.0.6.7", 5071))
    carrier.send(carrier.invite())
    wire.run(0.1)
    assert gateway.last(CallOffered).trunk == "carrier"


def test_trunks_at_one_host_are_told_apart_by_port_and_then_by_the_number_called() -> None:
    host = PBX.host
    trunks = [
        trunk_options(name="a", peer=Hop(host, 5060), contact_user="7000", registrar=None),
        trunk_options(name="b", peer=Hop(host, 5070), contact_user="7000", registrar=None),
        trunk_options(name="c", peer=Hop(host, 5070), contact_user="8000", registrar=None),
    ]
    for port, uri, expected in (
        (5060, "sip:1@x", "a"),
        (5070, "sip:1@x", "b"),
        (5070, "sip:8000@x", "c"),
        (9999, "sip:8000@x", "c"),
        (9999, "sip:1@x", "a"),
    ):
        wire, gateway, _ = world(*trunks)
        peer = scripted_on(wire, Hop(host, port))
        peer.send(peer.invite(uri=uri))
        wire.run(0.1)
        assert gateway.last(CallOffered).trunk == expected


def test_a_call_of_one_trunk_cannot_be_touched_from_another() -> None:
    """Even with the right Call-ID and tags."""
    other = trunk_options(name="carrier", peer=Hop("10.0.5.1", 5060), registrar=None)
    call = taken_call(trunks=(trunk_options(), other))
    for method in ("BYE", "INFO", "INVITE", "UPDATE", "REFER", "NOTIFY"):
        call.wire.inject(call.request(method).to_bytes(), other.peer)
    call.wire.run(1)
    assert call.gateway.all(CallEnded) == []
    assert call.user_agent.leg_count == 1
    assert call.user_agent.counters.rejected[RejectReason.UNKNOWN_DIALOG] == 6


def test_a_ringing_call_cannot_be_cancelled_from_elsewhere() -> None:
    other = trunk_options(name="carrier", peer=Hop("10.0.5.1", 5060), registrar=None)
    wire, gateway, pbx = world(trunk_options(), other)
    exchange(wire, pbx, pbx.invite(branch="z9hG4bKringing"))
    wire.inject(pbx.request("CANCEL", branch="z9hG4bKringing").to_bytes(), other.peer)
    wire.run(1)
    assert gateway.user_agent.leg_count == 1
    assert 487 not in statuses(pbx)


@pytest.mark.parametrize("wrong", [{"call_id": "other@pbx"}, {"from_tag": "forged"}, {"to_tag": "forged"}])
def test_a_forged_bye_has_no_effect(wrong: dict[str, str]) -> None:
    call = taken_call()
    right = {"call_id": call.ok.call_id, "from_tag": call.ok.from_.tag, "to_tag": call.ok.to.tag}
    bye = call.pbx.request("BYE", cseq=5, **(right | wrong))
    call.pbx.send(bye)
    call.wire.run(1)
    assert call.statuses("BYE", bye) == [481]
    assert call.gateway.all(CallEnded) == []


def test_a_draining_gateway_refuses_new_calls_and_keeps_old_ones() -> None:
    call = taken_call()
    call.user_agent.refuse_calls(503, 30)
    call.pbx.send(call.pbx.invite(call_id="new@pbx"))
    call.wire.run(0.1)
    assert call.pbx.responses(503)[0].headers.get("Retry-After") == "30"
    assert call.user_agent.leg_count == 1
    call.user_agent.refuse_calls(None)
    call.pbx.send(call.pbx.invite(call_id="newer@pbx"))
    call.wire.run(0.1)
    assert call.user_agent.leg_count == 2


def test_a_flood_of_calls_is_answered_503_beyond_the_burst_and_the_rate() -> None:
    wire, gateway, pbx = world(calls_per_s=2, call_burst=3)
    for number in range(10):
        pbx.send(pbx.invite(call_id=f"{number}@pbx"))
    wire.run(0.01)
    assert len(gateway.all(CallOffered)) == 3
    assert len(pbx.requests("INVITE")) == 0
    wire.run(1)
    pbx.send(pbx.invite(call_id="later@pbx"))
    wire.run(0.01)
    assert len(gateway.all(CallOffered)) == 4
    assert pbx.responses(503)[0].headers.get("Retry-After") == "5"


def test_there_is_a_limit_to_calls_at_a_time() -> None:
    wire, gateway, pbx = world(max_legs=2)
    assert exchange(wire, pbx, *(pbx.invite(call_id=f"{number}@pbx") for number in range(4))) == [503, 503]
    assert gateway.user_agent.leg_count == 2
    assert gateway.user_agent.counters.rejected[RejectReason.TOO_MANY_CALLS] == 2


def test_beyond_the_limit_of_transactions_first_requests_get_503_and_are_forgotten() -> None:
    wire, gateway, pbx = world(max_transactions=5)
    floods = [pbx.request("OPTIONS", cseq=number) for number in range(1, 10)]
    assert exchange(wire, pbx, *floods) == [200] * 5 + [503] * 4
    assert gateway.user_agent.transaction_count == 5
    assert exchange(wire, pbx, floods[-1])[-1] == 503
    assert len({response.to.tag for response in pbx.responses(503) if response.cseq == floods[-1].cseq}) == 1
    assert gateway.user_agent.counters.rejected[RejectReason.OVERLOAD] == 5
    wire.run(33)
    assert exchange(wire, pbx, pbx.request("OPTIONS", cseq=99))[-1] == 200


def test_long_requests_are_remembered_up_to_a_limit_of_bytes_whoever_sends_them() -> None:
    wire, gateway, pbx = world(max_transaction_bytes=20_000)
    floods = [pbx.request("OPTIONS", call_id=f"{number}@pbx", body=b"x" * 9_000) for number in range(5)]
    assert exchange(wire, pbx, *floods) == [200] * 3 + [503] * 2
    assert gateway.user_agent.transaction_count == 3
    wire.run(33)
    assert gateway.user_agent.transaction_count == 0
    assert exchange(wire, pbx, pbx.request("OPTIONS", call_id="later@pbx", body=b"x" * 9_000))[-1] == 200


def test_a_call_goes_on_and_ends_beyond_the_limit_of_bytes() -> None:
    call = taken_call(max_transaction_bytes=6_000)
    floods = [call.pbx.request("OPTIONS", call_id=f"{number}@pbx", body=b"x" * 6_000) for number in range(2)]
    assert exchange(call.wire, call.pbx, *floods)[-2:] == [200, 503]
    call.send("BYE")
    assert call.statuses("BYE") == [200]


def test_a_flood_of_requests_of_no_call_is_answered_and_not_remembered() -> None:
    wire, gateway, pbx = world(max_transactions=5)
    floods = [pbx.request("INFO", call_id=f"{number}@pbx", to_tag="gone", body=b"x" * 9_000) for number in range(20)]
    floods.append(pbx.request("CANCEL", call_id="none@pbx"))
    assert exchange(wire, pbx, *floods) == [481] * 21
    assert len({response.to.tag for response in pbx.responses(481)}) == 2  # "gone", and one of ours for the CANCEL
    assert gateway.user_agent.transaction_count == 0
    assert gateway.user_agent.counters.rejected[RejectReason.UNKNOWN_DIALOG] == 21
    assert exchange(wire, pbx, pbx.request("OPTIONS"))[-1] == 200


def test_long_requests_count_as_several_against_the_rate_of_their_trunk() -> None:
    wire, gateway, pbx = world(messages_per_s=0.001, message_burst=6)
    floods = [pbx.request("OPTIONS", call_id=f"{number}@pbx", body=b"x" * 4_096) for number in range(3)]
    assert exchange(wire, pbx, *floods) == [200] * 2 + [503]
    assert gateway.user_agent.counters.rejected[RejectReason.RATE] == 1


def test_calls_that_are_there_go_on_and_end_beyond_the_limit_of_transactions() -> None:
    call = taken_call(max_transactions=5)
    call.pbx.send(call.pbx.invite(call_id="ringing@pbx", branch="z9hG4bKringing"))
    exchange(call.wire, call.pbx, *(call.pbx.request("OPTIONS", call_id=f"{number}@pbx") for number in range(9)))
    exchange(call.wire, call.pbx, call.pbx.request("CANCEL", call_id="ringing@pbx", branch="z9hG4bKringing"))
    call.send("BYE")
    assert call.statuses("CANCEL") == [200]
    assert call.statuses("BYE") == [200]


def test_a_flood_of_requests_from_a_peer_is_answered_503_beyond_the_burst_and_the_rate() -> None:
    wire, gateway, pbx = world(messages_per_s=2, message_burst=3)
    floods = [pbx.request("OPTIONS", call_id=f"{number}@pbx") for number in range(5)]
    assert exchange(wire, pbx, *floods) == [200] * 3 + [503] * 2
    assert pbx.responses(503)[0].headers.get("Retry-After") == "5"
    assert gateway.user_agent.counters.rejected[RejectReason.RATE] == 2
    wire.run(1)
    assert exchange(wire, pbx, pbx.request("OPTIONS", call_id="later@pbx"))[-1] == 200


def test_a_call_goes_on_and_ends_while_its_peer_floods() -> None:
    call = taken_call(messages_per_s=0.001, message_burst=1)
    assert exchange(call.wire, call.pbx, call.pbx.request("OPTIONS", call_id="flood@pbx"))[-1] == 503
    call.pbx.send(call.request("INFO"))
    call.wire.run(0.1)
    bye = call.request("BYE")
    call.pbx.send(bye)
    call.wire.run(0.1)
    assert call.statuses("BYE", bye) == [200]


def test_garbage_of_a_peer_is_told_apart_from_what_it_may_not_ask() -> None:
    wire, gateway, pbx = world()
    exchange(wire, pbx, pbx.request("MESSAGE"), pbx.request("BYE", to_tag="gone"), b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    rejected = gateway.user_agent.counters.rejected
    reasons = (RejectReason.UNSUITABLE, RejectReason.UNKNOWN_DIALOG, RejectReason.MALFORMED)
    assert [rejected[reason] for reason in reasons] == [1, 1, 1]
    assert rejected.total == 3
