"""Two user agents, or one and a scripted peer, on a wire without a network."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from gateway.errors import ResourceError, StateError
from gateway.sip.events import (
    CallAnswered,
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallOffered,
    CallProgressed,
    CallRefused,
    EndCause,
    Event,
)
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Request, Uri, refusal_of
from gateway.sip.reject_reason import RejectReason
from gateway.sip.user_agent import TrunkOptions
from tests.support.wire import (
    GATEWAY,
    PBX,
    STRANGER,
    Party,
    ScriptedPeer,
    Wire,
    assert_idle,
    assert_sent,
    description,
    gateway_on,
    phone_on,
    respond,
    scripted_on,
    trunk_options,
)

TARGET = Uri.parse("sip:7000@10.0.0.1")


def answering(party: Party, event: Event, now: float) -> None:
    """Take every call."""
    if isinstance(event, CallOffered):
        party.user_agent.answer(event.leg_id, description(party.address.host), now)


def test_a_call_is_offered_answered_and_hung_up_by_the_caller() -> None:
    wire = Wire()
    gateway = gateway_on(wire, application=answering)
    phone = phone_on(wire)

    leg_id = phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    phone.user_agent.bye(leg_id, wire.now)
    wire.run(1)

    assert_sent(wire, "INVITE", "ACK", "BYE", source=PBX)
    assert_sent(wire, "100 INVITE", "200 INVITE", "200 BYE", source=GATEWAY)
    offered = gateway.last(CallOffered)
    assert (offered.trunk, offered.request_uri, offered.source) == ("pbx", TARGET, PBX)
    assert description(PBX.host) == offered.offer
    assert description() == phone.last(CallAnswered).description
    assert offered.leg_id == gateway.last(CallEstablished).leg_id
    assert EndCause.REMOTE_BYE is gateway.last(CallEnded).cause
    assert (gateway.user_agent.leg_count, phone.user_agent.leg_count) == (0, 0)
    wire.run(40)
    assert_idle(gateway, phone)


def test_the_callee_may_hang_up_as_well() -> None:
    wire = Wire()
    gateway = gateway_on(wire, application=answering)
    phone = phone_on(wire)

    phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    gateway.user_agent.bye(gateway.last(CallOffered).leg_id, wire.now, 'Q.850;cause=16;text="done"')
    wire.run(1)

    ended = phone.last(CallEnded)
    assert (ended.cause, ended.status, ended.reason) == (EndCause.REMOTE_BYE, None, "done")
    wire.run(40)
    assert_idle(gateway, phone)


def test_progress_and_early_media_reach_the_caller() -> None:
    wire = Wire()
    gateway = gateway_on(wire)
    phone = phone_on(wire)

    phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    leg_id = gateway.last(CallOffered).leg_id
    gateway.user_agent.progress(leg_id, 180, wire.now)
    wire.run(1)
    gateway.user_agent.progress(leg_id, 183, wire.now, answer=description())
    wire.run(1)

    assert [(180, None), (183, description())] == [(e.status, e.description) for e in phone.all(CallProgressed)]


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


@pytest.mark.parametrize(
    ("source", "answers"),
    [
        (PBX._replace(transport=Transport.TCP, port=40000, connection=3), [b"SIP/2.0 400 Bad Request"]),
        (STRANGER._replace(transport=Transport.TCP, connection=4), []),
    ],
)
def test_what_a_stream_could_not_frame_is_answered_where_it_came_from_but_never_to_strangers(
    source: Hop, answers: list[bytes]
) -> None:
    gateway = gateway_on(Wire())
    head = ScriptedPeer().request("OPTIONS").to_bytes().partition(b"\r\n\r\n")[0]
    gateway.user_agent.receive_refusal(refusal_of(head, "no Content-Length on a stream"), source)
    sent = gateway.datagrams_to_send()
    assert [data.partition(b"\r\n")[0] for data, _ in sent] == answers
    assert all((hop.transport, hop.connection) == (source.transport, source.connection) for _, hop in sent)
    assert gateway.user_agent.counters.rejected[RejectReason.STRANGER] == (not answers)


def test_a_malformed_ack_or_response_is_never_answered() -> None:
    wire, gateway, pbx = world()
    ack = pbx.request("ACK").to_bytes().replace(b"CSeq: 1 ACK", b"CSeq: x")
    response = respond(pbx.request("INVITE"), 200).to_bytes().replace(b"200", b"999", 1)
    assert exchange(wire, pbx, ack, response, b"garbage", b"\x00\xff" * 50) == []
    assert gateway.user_agent.counters.rejected[RejectReason.MALFORMED] == 4


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\x00" * 4, b"\r\n"])
def test_keepalives_are_no_messages(data: bytes) -> None:
    wire, gateway, pbx = world()
    assert exchange(wire, pbx, data) == []
    assert (gateway.user_agent.counters.keepalives, gateway.user_agent.counters.rejected[RejectReason.MALFORMED]) == (
        1,
        0,
    )


@pytest.mark.parametrize("source", [STRANGER, Hop("10.0.0.3", 5060), Hop("127.0.0.9", 5060)])
@pytest.mark.parametrize("method", ["INVITE", "OPTIONS", "REGISTER", "BYE"])
def test_strangers_get_nothing_and_leave_nothing(source: Hop, method: str) -> None:
    """Whatever From, Via and Contact claim."""
    wire, gateway, pbx = world()
    for data in (pbx.request(method).to_bytes(), b"garbage"):
        wire.inject(data, source)
    wire.run(1)
    assert_sent(wire)
    assert gateway.seen == []
    assert gateway.user_agent.counters.rejected[RejectReason.STRANGER] == 2
    assert_idle(gateway)


def test_a_call_survives_a_forged_response() -> None:
    """A response must come from a host of the trunk, even if its branch is right."""
    wire, gateway, pbx = world()
    gateway.user_agent.invite("pbx", TARGET, offer=description(), now=wire.now)
    wire.run(0.1)
    invite = pbx.requests("INVITE")[0]
    wire.inject(respond(invite, 603).to_bytes(), STRANGER)
    assert gateway.seen == []
    pbx.send(respond(invite, 200, answer=description(PBX.host)))
    wire.run(0.1)
    assert len(gateway.all(CallAnswered)) == 1


def test_the_peer_of_another_trunk_does_not_speak_for_this_one() -> None:
    """It is no stranger, but was not asked: a carrier must not end or answer the PBX's calls."""
    wire = Wire()
    carrier = TrunkOptions(name="carrier", peer=Hop("10.0.0.3", 5060))
    gateway, pbx = gateway_on(wire, trunk_options(), carrier), scripted_on(wire)
    gateway.user_agent.invite("pbx", TARGET, offer=description(), now=wire.now)
    wire.run(0.1)
    invite = pbx.requests("INVITE")[0]
    for status in (180, 200, 603):
        answer = description(PBX.host) if status == 200 else None
        wire.inject(respond(invite, status, answer=answer).to_bytes(), carrier.peer)
    assert gateway.seen == []
    assert gateway.user_agent.counters.stray_responses == 3
    pbx.send(respond(invite, 200, answer=description(PBX.host)))
    wire.run(0.1)
    assert len(gateway.all(CallAnswered)) == 1


def test_commands_for_a_leg_that_does_not_exist_are_state_errors() -> None:
    wire, gateway, _ = world()
    with pytest.raises(StateError):
        gateway.user_agent.bye("nobody", wire.now)


def hanging_up_after_a_while(party: Party, event: Event, now: float) -> None:
    """A caller that hangs up some seconds after the answer."""
    if isinstance(event, CallAnswered):
        party.user_agent._core.timers.start(now + 5, lambda now: party.user_agent.bye(event.leg_id, now))


@pytest.mark.parametrize("seed", [1, 2])
def test_200_calls_complete_under_10_percent_loss_and_5_percent_duplicates(seed: int) -> None:
    wire = Wire(seed=seed, loss=0.1, duplicates=0.05, delay_s=(0.001, 0.08))
    gateway = gateway_on(wire, application=answering)
    phone = phone_on(wire, application=hanging_up_after_a_while)
    for _ in range(200):
        phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
        wire.run(0.2)
    wire.run(120)
    assert len(gateway.all(CallOffered)) == 200
    assert len(phone.all(CallAnswered)) == 200
    assert len(gateway.all(CallEstablished)) >= 199
    assert [event.cause for event in gateway.all(CallEnded)] == [EndCause.REMOTE_BYE] * 200
    assert phone.all(CallEnded) == []
    assert_idle(gateway, phone)
    assert gateway.user_agent.get_timer() is None
    assert phone.user_agent.get_timer() is None


@pytest.mark.parametrize("seed", range(3))
def test_calls_that_are_cancelled_at_any_moment_leave_no_half_call(seed: int) -> None:
    """CANCEL between 0 and 300 ms after an INVITE that is answered after 0 to 300 ms."""
    wire = Wire(seed=seed, loss=0.05, delay_s=(0.001, 0.05))
    chance = Random(seed)

    def answer_soon(party: Party, event: Event, now: float) -> None:
        if isinstance(event, CallOffered):
            party.user_agent.progress(event.leg_id, 180, now)
            party.user_agent._core.timers.start(now + chance.uniform(0, 0.3), lambda now: take(party, event, now))

    def take(party: Party, event: CallOffered, now: float) -> None:
        with suppress(StateError):
            party.user_agent.answer(event.leg_id, description(), now)

    gateway, phone = gateway_on(wire, application=answer_soon), phone_on(wire)
    for _ in range(100):
        leg_id = phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
        wire.run(chance.uniform(0, 0.3))
        phone.user_agent.bye(leg_id, wire.now)
        wire.run(0.05)
    wire.run(120)
    assert phone.user_agent.leg_count == 0
    assert len(gateway.all(CallOffered)) == len(gateway.all(CallCancelled)) + len(gateway.all(CallEnded))
    assert_idle(gateway, phone)
    assert gateway.user_agent.get_timer() is None


# Calls over TCP and TLS.


def stream_call(transport: Transport) -> tuple[Wire, Party, Party, str]:
    """A running call that a telephone placed over a connection to the gateway; and the telephone's leg."""
    wire = Wire()
    trunk = trunk_options(registrar=None, peer=PBX._replace(transport=transport))
    gateway = gateway_on(wire, trunk, application=answering)
    phone = phone_on(wire, peer=GATEWAY._replace(transport=transport))
    leg_id = phone.user_agent.invite("gateway", TARGET, offer=description(PBX.host), now=wire.now)
    wire.run(1)
    return wire, gateway, phone, leg_id


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_call_over_a_stream_stays_on_its_connection_and_repeats_nothing(transport: Transport) -> None:
    wire, gateway, phone, _ = stream_call(transport)
    gateway.user_agent.bye(gateway.last(CallOffered).leg_id, wire.now)
    wire.run(1)
    assert phone.last(CallEnded).cause is EndCause.REMOTE_BYE
    assert_sent(wire, "INVITE", "ACK", "200 BYE", source=PBX._replace(transport=transport, connection=1))
    assert_sent(wire, "100 INVITE", "200 INVITE", "BYE", source=GATEWAY._replace(transport=transport, connection=1))
    assert {sent.destination.connection for sent in wire.log if sent.source.host == GATEWAY.host} == {1}
    wire.run(40)
    assert_idle(gateway, phone)


def test_a_call_outlives_its_connection() -> None:
    """Only what was under way on it fails (RFC 3261 18.4); what comes later opens another one."""
    wire, gateway, phone, leg_id = stream_call(Transport.TCP)
    wire.break_connection(GATEWAY._replace(transport=Transport.TCP), PBX._replace(transport=Transport.TCP))
    wire.run(60)
    assert gateway.all(CallEnded) == []
    phone.user_agent.bye(leg_id, wire.now)
    wire.run(1)
    assert gateway.last(CallEnded).cause is EndCause.REMOTE_BYE


def test_a_request_whose_connection_breaks_fails_at_once() -> None:
    wire = Wire()
    gateway = gateway_on(wire, trunk_options(registrar=None, peer=PBX._replace(transport=Transport.TCP)))
    scripted_on(wire)
    gateway.user_agent.invite("pbx", Uri.parse("sip:1@10.0.0.2"), offer=description(), now=wire.now)
    wire.run(0.5)
    wire.break_connection(GATEWAY._replace(transport=Transport.TCP), PBX._replace(transport=Transport.TCP))
    wire.run(0.1)
    assert gateway.last(CallRefused).status == 503
    wire.run(40)
    assert_idle(gateway)


def test_nobody_speaks_for_a_trunk_on_tls_in_plain_text() -> None:
    wire = Wire()
    gateway = gateway_on(wire, trunk_options(registrar=None, peer=PBX._replace(transport=Transport.TLS)))
    pbx = scripted_on(wire)
    for transport in (Transport.UDP, Transport.TCP):
        wire.inject(pbx.invite(transport=transport).to_bytes(), PBX._replace(transport=transport, connection=9))
    wire.run(0.1)
    assert gateway.user_agent.counters.rejected[RejectReason.STRANGER] == 2
    assert pbx.inbox == []
    wire.inject(pbx.invite(transport=Transport.TLS).to_bytes(), PBX._replace(transport=Transport.TLS, connection=9))
    assert gateway.last(CallOffered).trunk == "pbx"


def test_what_was_asked_over_tls_is_not_answered_in_plain_text() -> None:
    """Not even where another trunk is in plain text with the same host."""
    wire = Wire()
    tls = PBX._replace(transport=Transport.TLS)
    gateway = gateway_on(
        wire, trunk_options(name="tls", registrar=None, peer=tls), trunk_options(name="udp", registrar=None)
    )
    pbx = scripted_on(wire)
    gateway.user_agent.invite("tls", TARGET, offer=description(), now=wire.now)
    wire.run(0.1)
    refusal = respond(pbx.requests("INVITE")[0], 603).to_bytes()
    for transport in (Transport.UDP, Transport.TCP):
        wire.inject(refusal, PBX._replace(transport=transport))
    assert (gateway.all(CallRefused), gateway.user_agent.counters.stray_responses) == ([], 2)
    wire.inject(refusal, tls)
    assert gateway.last(CallRefused).status == 603


def test_a_call_over_tls_is_not_cancelled_in_plain_text() -> None:
    wire = Wire()
    tls = PBX._replace(transport=Transport.TLS, connection=3)
    gateway = gateway_on(
        wire,
        trunk_options(name="tls", registrar=None, peer=tls._replace(connection=0)),
        trunk_options(name="udp", registrar=None),
    )
    pbx = scripted_on(wire)
    wire.inject(pbx.invite(transport=Transport.TLS, branch="z9hG4bKtls").to_bytes(), tls)
    wire.inject(pbx.request("CANCEL", branch="z9hG4bKtls", transport=Transport.TLS).to_bytes(), PBX)
    wire.run(0.1)
    assert gateway.all(CallCancelled) == []
    assert [response.status for response in pbx.responses(method="CANCEL")] == [481]


def test_a_call_whose_connection_broke_is_hung_up_where_the_peer_said_it_listens() -> None:
    """RFC 3261 18.2.2; not at the passing port that its connection came from."""
    wire = Wire()
    trunk = trunk_options(registrar=None, peer=PBX._replace(transport=Transport.TCP))
    gateway, pbx = gateway_on(wire, trunk, application=answering), scripted_on(wire)
    call = pbx.invite(transport=Transport.TCP)
    call.headers.set("Contact", "<sip:asterisk@pbx.example.com>")
    wire.inject(call.to_bytes(), Hop(PBX.host, 40000, Transport.TCP, 7))
    wire.run(0.1)
    pbx.send(pbx.ack(pbx.responses(200)[0]), GATEWAY._replace(transport=Transport.TCP))
    wire.run(0.1)
    gateway.user_agent.bye(gateway.last(CallEstablished).leg_id, wire.now)
    wire.flush()
    (bye,) = wire.sent("BYE")
    assert bye.destination == Hop(PBX.host, PBX.port, Transport.TCP, 7)


@pytest.mark.parametrize("order", [(Transport.TLS, Transport.UDP), (Transport.UDP, Transport.TLS)])
def test_calls_on_tls_and_udp_from_one_host_belong_to_the_trunk_of_their_transport(
    order: tuple[Transport, ...],
) -> None:
    wire = Wire()
    trunks = [
        trunk_options(name=transport.value, registrar=None, peer=PBX._replace(transport=transport))
        for transport in order
    ]
    gateway, pbx = gateway_on(wire, *trunks), scripted_on(wire)
    for transport in (Transport.UDP, Transport.TLS):
        source = PBX._replace(transport=transport, connection=3)
        wire.inject(pbx.invite(transport=transport, call_id=transport.value).to_bytes(), source)
        assert gateway.last(CallOffered).trunk == transport.value


def test_a_call_from_a_port_that_is_one_trunks_other_server_belongs_to_that_trunk() -> None:
    wire = Wire()
    other = PBX._replace(port=5070)
    first = trunk_options(name="first", registrar=None)
    second = trunk_options(name="second", registrar=None, peer=Hop("10.0.0.3", 5060), alternates=(other,))
    gateway, pbx = gateway_on(wire, first, second), scripted_on(wire)
    for source, trunk in ((other, "second"), (PBX, "first")):
        wire.inject(pbx.invite(call_id=trunk).to_bytes(), source)
        assert gateway.last(CallOffered).trunk == trunk


def test_only_hosts_of_a_trunk_are_known() -> None:
    gateway = gateway_on(Wire(), trunk_options(acl=("192.0.2.0/24",), alternates=(Hop("10.0.0.3", 5060),)))
    hosts = ("10.0.0.2", "10.0.0.3", "192.0.2.9", "10.9.9.9", "x")
    known = [host for host in hosts if gateway.user_agent.admits(Hop(host, 5060), 0.0)]
    assert known == ["10.0.0.2", "10.0.0.3", "192.0.2.9"]


def test_a_gateway_that_refuses_calls_places_none() -> None:
    wire, gateway, _ = world()
    gateway.user_agent.refuse_calls(503, 10)
    with pytest.raises(ResourceError):
        gateway.user_agent.invite("pbx", TARGET, offer=description(), now=wire.now)
    gateway.user_agent.refuse_calls(None)
    gateway.user_agent.invite("pbx", TARGET, offer=description(), now=wire.now)


def test_a_connection_of_a_stranger_is_not_kept_and_counts_as_a_hit() -> None:
    wire, gateway, _ = world()
    assert gateway.user_agent.admits(PBX, wire.now)
    assert not any(gateway.user_agent.admits(STRANGER, wire.now) for _ in range(12))
    assert gateway.user_agent.ban_count(wire.now) == 1
    (source,) = gateway.user_agent.guard_report(wire.now).sources
    assert (source.source, source.dropped, source.is_banned) == (STRANGER.host, 12, True)
