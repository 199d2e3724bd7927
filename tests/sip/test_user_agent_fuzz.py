"""Whatever arrives, nothing raises, nothing stays, and the next OPTIONS is answered.

The state machine at the end drives two user agents through every command in every order over a lossy wire.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.errors import StateError
from gateway.sip.core import Reliability
from gateway.sip.events import CallCancelled, CallEnded, CallRefused, Event
from gateway.sip.message import Uri
from gateway.sip.user_agent import UserAgent
from tests.support.calls import RunningCall, placed_call, taken_call
from tests.support.sip_strategies import header_values, requests, responses
from tests.support.wire import PBX, Wire, assert_idle, description, gateway_on, phone_on, respond

TORTURE = sorted((Path(__file__).parents[1] / "data" / "rfc4475").glob("*.dat"))
FUZZED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
METHODS = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "UPDATE",
    "INFO",
    "REFER",
    "NOTIFY",
    "PRACK",
    "SUBSCRIBE",
    "JUMP",
]
HEADERS = [
    "Require",
    "Supported",
    "Accept",
    "Allow",
    "Session-Expires",
    "Min-SE",
    "Expires",
    "Event",
    "Subscription-State",
    "Refer-To",
    "Referred-By",
    "Reason",
    "Retry-After",
    "Contact",
    "Route",
    "Record-Route",
    "Via",
    "Content-Type",
    "Content-Encoding",
    "Content-Disposition",
    "WWW-Authenticate",
    "Info-Package",
    "CSeq",
    "To",
    "From",
    "Max-Forwards",
    "RAck",
    "RSeq",
    "Replaces",
    "Join",
    "P-Asserted-Identity",
    "Remote-Party-ID",
    "Identity",
]

VALUES = header_values | st.sampled_from(
    ['"', 'timer, "', "<", "a;b=c", ";;", "90;refresher=uas", "0", "refer;id=1", ",", "100rel", "1 1 INVITE", "7"]
)


def assert_alive(call: RunningCall) -> None:
    """An OPTIONS is answered, and the call that was there can be hung up."""
    probe = call.pbx.request("OPTIONS", call_id="probe@pbx", branch="z9hG4bKprobe")
    call.gateway.receive_datagram(probe.to_bytes(), PBX, call.wire.now)
    sent = b"".join(data for data, _ in call.user_agent.datagrams_to_send())
    assert b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKprobe" in sent


def feed(call: RunningCall, data: bytes) -> None:
    """One datagram, whatever the gateway sends in return is lost."""
    call.gateway.receive_datagram(data, PBX, call.wire.now)
    call.user_agent.datagrams_to_send()


@given(st.lists(st.binary(max_size=300), max_size=5))
@FUZZED
def test_random_bytes_are_dropped(datagrams: list[bytes]) -> None:
    call = taken_call()
    for data in datagrams:
        feed(call, data)
    assert_alive(call)


@given(st.lists(requests() | responses(), max_size=2))
@settings(FUZZED, max_examples=30)
def test_well_formed_messages_about_nothing_are_answered_or_dropped(messages: list[object]) -> None:
    call = taken_call()
    for message in messages:
        feed(call, message.to_bytes())  # type: ignore[attr-defined]
    assert_alive(call)


@st.composite
def odd_requests(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A method and parts of a request within a call, some of them nonsense."""
    headers = draw(st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), max_size=3))
    body = draw(st.sampled_from([b"", description(PBX.host).to_bytes(), b"SIP/2.0 200 OK", b"Signal=1"]) | st.binary())
    types = ["application/sdp", "message/sipfrag", "application/dtmf-relay", "multipart/mixed;boundary=b", "x/y"]
    parts: dict[str, object] = {"headers": tuple(headers), "body": body}
    if body:
        parts["content_type"] = draw(st.sampled_from(types))
    if draw(st.booleans()):
        parts["cseq"] = draw(st.integers(0, 2**31 - 1))
    return draw(st.sampled_from(METHODS)), parts


@given(
    st.sampled_from([taken_call, placed_call]),
    st.lists(odd_requests(), max_size=6),
    st.sampled_from(["none", "reoffer", "refer", "bye"]),
)
@FUZZED
def test_odd_requests_within_a_call_are_answered_or_dropped(
    make: object, odd: list[tuple[str, dict[str, object]]], command: str
) -> None:
    call = make()  # type: ignore[operator]
    if command == "reoffer":
        call.user_agent.reoffer(call.leg_id, description(version=1), call.wire.now)
    elif command == "refer":
        call.user_agent.refer(call.leg_id, Uri.parse("sip:6001@10.0.0.2"), call.wire.now)
    elif command == "bye":
        call.user_agent.bye(call.leg_id, call.wire.now)
    for method, parts in odd:
        feed(call, call.request(method, **parts).to_bytes())
    assert_alive(call)
    finish(call)


def finish(call: RunningCall) -> None:
    """After the end of all patience nothing is left but calls that still stand; those are hung up."""
    call.pbx.reply_to = None
    for leg_id in call.gateway.leg_ids:
        with suppress(StateError):
            call.user_agent.bye(leg_id, call.wire.now)
    call.wire.run(600)
    assert_idle(call.gateway)
    assert call.user_agent.get_timer() is None


@given(
    st.sampled_from(["INVITE", "REFER", "BYE"]),
    st.lists(
        st.tuples(st.integers(100, 699), st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), max_size=2)),
        max_size=5,
    ),
    st.binary(max_size=50),
)
@FUZZED
def test_odd_responses_are_taken_for_what_they_say(
    method: str, odd: list[tuple[int, list[tuple[str, str]]]], body: bytes
) -> None:
    call = placed_call()
    if method == "INVITE":
        call.user_agent.reoffer(call.leg_id, description(version=1), call.wire.now)
    elif method == "REFER":
        call.user_agent.refer(call.leg_id, Uri.parse("sip:6001@10.0.0.2"), call.wire.now)
    else:
        call.user_agent.bye(call.leg_id, call.wire.now)
    call.wire.run(0.1)
    for status, headers in odd:
        response = respond(call.pbx.requests(method)[-1], status, to_tag=None, headers=tuple(headers))
        response.body = body
        feed(call, response.to_bytes())
    assert_alive(call)
    finish(call)


@given(
    st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), max_size=3),
    st.sampled_from(["answer", "progress", "reject", "bye", "wait"]),
)
@FUZZED
def test_an_odd_first_invite_is_refused_or_a_call_like_any_other(headers: list[tuple[str, str]], command: str) -> None:
    call = taken_call()
    feed(call, call.pbx.invite(call_id="odd@pbx", headers=tuple(headers)).to_bytes())
    for leg_id in [leg_id for leg_id in call.gateway.leg_ids if leg_id != call.leg_id]:
        commands = {
            "answer": lambda leg_id=leg_id: call.user_agent.answer(leg_id, description(), call.wire.now),
            "progress": lambda leg_id=leg_id: call.user_agent.progress(leg_id, 183, call.wire.now),
            "reject": lambda leg_id=leg_id: call.user_agent.reject(leg_id, 486, call.wire.now),
            "bye": lambda leg_id=leg_id: call.user_agent.bye(leg_id, call.wire.now),
            "wait": lambda: None,
        }
        commands[command]()
        call.wire.run(5)
    assert_alive(call)
    finish(call)


@given(
    st.lists(
        st.tuples(st.integers(100, 699), st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), max_size=2)),
        max_size=4,
    ),
    st.binary(max_size=50),
)
@FUZZED
def test_odd_responses_to_a_first_invite_end_in_a_call_or_in_none(
    odd: list[tuple[int, list[tuple[str, str]]]], body: bytes
) -> None:
    call = taken_call()
    call.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=description(), now=call.wire.now)
    call.wire.run(0.1)
    for status, headers in odd:
        response = respond(call.pbx.requests("INVITE")[-1], status, headers=tuple(headers))
        response.body = body
        feed(call, response.to_bytes())
    assert_alive(call)
    finish(call)


@given(st.data())
@FUZZED
def test_mutated_messages_are_answered_or_dropped(data: st.DataObject) -> None:
    call = taken_call()
    method = data.draw(st.sampled_from(METHODS))
    whole = call.request(
        method,
        headers=(("Event", "refer"), ("Refer-To", "<sip:x@y>"), ("Supported", "timer"), ("Session-Expires", "90")),
        body=description(PBX.host).to_bytes(),
        content_type="application/sdp",
    ).to_bytes()
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 20)))
        junk = data.draw(st.binary(max_size=6) | st.sampled_from([b"\r\n", b'"', b"<", b",", b";", b"\x00", b"%00"]))
        whole = whole[:start] + junk + whole[end:]
        feed(call, whole)
    assert_alive(call)


@pytest.mark.parametrize("file", TORTURE, ids=lambda file: file.stem)
def test_torture_messages_of_rfc_4475_leave_the_gateway_alive_and_empty(file: Path) -> None:
    call = taken_call()
    call.pbx.send(file.read_bytes())
    feed(call, file.read_bytes())
    assert_alive(call)
    finish(call)


# ---------------------------------------------------------------------------------------------- the life of calls

LAST_EVENTS = (CallRefused, CallCancelled, CallEnded)


class Calls(RuleBasedStateMachine):
    """Two user agents, all commands in any order, loss and time in between.

    A command that a state does not allow raises `StateError` and nothing else; in the end both sides are empty.
    """

    @initialize(
        seed=st.integers(0, 2**16),
        loss=st.sampled_from([0.0, 0.1, 0.3]),
        required=st.booleans(),
        when=st.sampled_from(Reliability),
    )
    def begin(self, seed: int, loss: float, required: bool, when: Reliability) -> None:
        self.wire = Wire(seed=seed, loss=loss, duplicates=loss / 2, delay_s=(0.001, 0.1))
        self.gateway = gateway_on(self.wire, require_reliable_provisionals=required, reliable_provisionals=when)
        self.phone = phone_on(self.wire, require_reliable_provisionals=required, reliable_provisionals=when)
        self.parties = [self.gateway, self.phone]

    def _command(self, data: st.DataObject) -> tuple[UserAgent, str]:
        party = data.draw(st.sampled_from([party for party in self.parties if party.leg_ids]))
        return party.user_agent, data.draw(st.sampled_from(party.leg_ids))

    def _has_legs(self) -> bool:
        return any(party.leg_ids for party in self.parties)

    @rule(has_offer=st.booleans(), backwards=st.booleans())
    def invite(self, has_offer: bool, backwards: bool) -> None:
        party, trunk = (self.gateway, "pbx") if backwards else (self.phone, "gateway")
        if len(party.leg_ids) < 4:
            target = Uri.parse("sip:7000@10.0.0.1" if party is self.phone else "sip:6001@10.0.0.2")
            offer = description(party.address.host) if has_offer else None
            party.user_agent.invite(trunk, target, offer=offer, now=self.wire.now)

    @precondition(_has_legs)
    @rule(data=st.data())
    def command(self, data: st.DataObject) -> None:
        agent, leg_id = self._command(data)
        now, sdp = self.wire.now, description(version=2)
        commands = {
            "progress": lambda: agent.progress(leg_id, 180, now),
            "progress with media": lambda: agent.progress(leg_id, 183, now, answer=sdp),
            "send_digit": lambda: agent.send_digit(leg_id, "5", 100, now),
            "answer": lambda: agent.answer(leg_id, sdp, now),
            "reject": lambda: agent.reject(leg_id, 486, now),
            "cancel": lambda: agent.cancel(leg_id, now),
            "acknowledge": lambda: agent.acknowledge(leg_id, sdp, now),
            "reoffer": lambda: agent.reoffer(leg_id, sdp, now),
            "accept_offer": lambda: agent.accept_offer(leg_id, sdp, now),
            "reject_offer": lambda: agent.reject_offer(leg_id, 488, now),
            "refer": lambda: agent.refer(leg_id, Uri.parse("sip:6001@10.0.0.2"), now),
            "accept_refer": lambda: agent.accept_refer(leg_id, now),
            "reject_refer": lambda: agent.reject_refer(leg_id, 603, now),
            "notify_transfer": lambda: agent.notify_transfer(leg_id, 200, "OK", now),
            "bye": lambda: agent.bye(leg_id, now),
        }
        # What gets a call on comes up more often than what ends it.
        names = [
            *commands,
            "answer",
            "progress with media",
            "answer",
            "accept_offer",
            "acknowledge",
            "reoffer",
            "refer",
            "accept_refer",
        ]
        with suppress(StateError):
            commands[data.draw(st.sampled_from(names))]()

    @precondition(_has_legs)
    @rule()
    def let_both_sides_agree(self) -> None:
        """Every open question gets the answer that gets the call on; else random commands seldom meet a session."""
        sdp = description(version=3)
        for _ in range(2):
            for agent, leg_id in [(p.user_agent, leg_id) for p in self.parties for leg_id in p.leg_ids]:
                for command in (agent.answer, agent.acknowledge, agent.accept_offer):
                    with suppress(StateError):
                        command(leg_id, sdp, self.wire.now)
            self.wire.run(1)

    @rule(duration_s=st.sampled_from([0.01, 0.1, 1.0, 5.0, 40.0]))
    def wait(self, duration_s: float) -> None:
        self.wire.run(duration_s)

    @invariant()
    def every_leg_has_one_last_event_at_most(self) -> None:
        for party in getattr(self, "parties", []):
            party.all(CallEnded)
            by_leg: dict[str, list[Event]] = {}
            for event in party.seen:
                if hasattr(event, "leg_id"):
                    by_leg.setdefault(event.leg_id, []).append(event)
            for events in by_leg.values():
                last = [index for index, event in enumerate(events) if isinstance(event, LAST_EVENTS)]
                assert len(last) <= 1
                assert not last or last[0] == len(events) - 1, events

    def teardown(self) -> None:
        if not hasattr(self, "parties"):
            return
        self.wire.loss = 0.0
        for party in self.parties:
            for leg_id in party.leg_ids:
                with suppress(StateError):
                    party.user_agent.bye(leg_id, self.wire.now)
        self.wire.run(300)
        assert_idle(*self.parties)
        assert [party.user_agent.get_timer() for party in self.parties] == [None, None]


Calls.TestCase.settings = settings(
    deadline=None, max_examples=40, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
test_the_life_of_calls = Calls.TestCase
