"""The user agent alone against the PBX, before the answer: PRACK in both roles, busy and unknown numbers by name."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TypeVar

import pytest

from gateway.sip.events import (
    CallAnswered,
    CallEstablished,
    CallOffered,
    CallProgressed,
    CallRefused,
    Event,
    RegistrationChanged,
    RegistrationState,
)
from gateway.sip.failure import CallFailure
from gateway.sip.hop import Hop, Listener, Transport
from gateway.sip.message import Uri
from gateway.sip.sdp import LocalMedia, make_offer, negotiate
from gateway.sip.uri import Address
from gateway.sip.user_agent import TrunkOptions, UserAgent, UserAgentOptions
from tests.interop.pbx import HOST, Pbx, free_port

POLL_S = 0.01
E = TypeVar("E")
MEDIA = LocalMedia(address=HOST, port=40002, codecs=("PCMU",), session_id=1)


class Line:
    """A user agent with the gateway's account at the PBX, on a socket of its own."""

    def __init__(self, pbx: Pbx, *, requires_prack: bool = False) -> None:
        address = Address(HOST, free_port())
        trunk = TrunkOptions(
            name="pbx",
            peer=Hop(*pbx.address),
            registrar=Uri.parse(f"sip:{HOST}:{pbx.ports.sip}"),
            username="gateway",
            password="lab-gateway",
        )
        listener = Listener(transport=Transport.UDP, address=address, advertise=address)
        options = UserAgentOptions(listeners=(listener,), trunks=(trunk,), require_reliable_provisionals=requires_prack)
        self.agent = UserAgent(options)
        self.events: list[Event] = []
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(POLL_S)
        self.agent.register("pbx", time.monotonic())
        self.wait_for(RegistrationChanged, state=RegistrationState.REGISTERED)

    def call(self, number: str) -> str:
        target = Uri.parse(f"sip:{number}@{HOST}")
        return self.agent.invite("pbx", target, offer=make_offer(MEDIA), now=time.monotonic())

    def wait_for(self, kind: type[E], *, timeout_s: float = 10, **fields: object) -> E:
        """The next event of that class with these fields."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.events:
                if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                    return event
            self.step()
        raise AssertionError(f"no {kind.__name__}, but {[type(event).__name__ for event in self.events]}")

    def settle(self, duration_s: float = 0.5) -> None:
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            self.step()

    def step(self) -> None:
        for data, hop in self.agent.datagrams_to_send():
            self.sent.append(data)
            self._socket.sendto(data, (hop.host, hop.port))
        try:
            data, source = self._socket.recvfrom(65536)
        except TimeoutError:
            pass
        else:
            self.received.append(data)
            self.agent.receive_datagram(data, Hop(*source), time.monotonic())
        self.agent.handle_timer(time.monotonic())
        self.events += self.agent.events()

    def close(self) -> None:
        self.agent.unregister("pbx", time.monotonic())
        self.settle()
        self._socket.close()


LineMaker = Callable[..., Line]


@pytest.fixture
def make_line(pbx: Pbx) -> Iterator[LineMaker]:
    with ExitStack() as lines:
        yield lambda **options: lines.enter_context(closing(Line(pbx, **options)))


def test_the_pbx_acknowledges_our_early_media_and_takes_an_answer_without_any(pbx: Pbx, make_line: LineMaker) -> None:
    line = make_line()
    pbx.originate("7000", stay_s=5)
    offered = line.wait_for(CallOffered)
    assert offered.offer is not None
    answer, _ = negotiate(offered.offer, MEDIA)
    line.agent.progress(offered.leg_id, 183, time.monotonic(), answer=answer)
    line.settle()
    assert [data for data in line.received if data.startswith(b"PRACK ")] != []
    line.agent.answer(offered.leg_id, answer, time.monotonic())
    line.wait_for(CallEstablished, leg_id=offered.leg_id)
    (ok,) = [data for data in line.sent if data.startswith(b"SIP/2.0 200") and b" INVITE\r\n" in data]
    assert ok.endswith(b"\r\n\r\n")
    line.settle(1)
    assert line.agent.leg_count == 1
    line.agent.bye(offered.leg_id, time.monotonic())
    line.settle()
    assert line.agent.leg_count == 0


def test_we_acknowledge_that_it_rings_and_hang_up_before_the_answer(make_line: LineMaker) -> None:
    line = make_line(requires_prack=True)
    leg_id = line.call("6005")
    progressed = line.wait_for(CallProgressed, status=180)
    assert progressed.branch != ""
    line.settle(2)
    assert len([data for data in line.sent if data.startswith(b"PRACK ")]) == 1
    assert [data for data in line.received if data.startswith(b"SIP/2.0 200") and b" PRACK\r\n" in data] != []
    assert len([data for data in line.received if data.startswith(b"SIP/2.0 180")]) == 1
    line.agent.cancel(leg_id, time.monotonic())
    assert line.wait_for(CallRefused).failure is CallFailure.CANCELLED


@pytest.mark.parametrize(
    ("number", "failure"),
    [("6003", CallFailure.BUSY), ("6004", CallFailure.OVERLOAD), ("6999", CallFailure.NOT_FOUND)],
)
def test_a_call_that_fails_says_why(make_line: LineMaker, number: str, failure: CallFailure) -> None:
    line = make_line()
    line.call(number)
    assert line.wait_for(CallRefused).failure is failure


def test_digits_by_info_reach_the_pbx(make_line: LineMaker) -> None:
    line = make_line()
    leg_id = line.call("600")
    line.wait_for(CallAnswered)
    for digit in "1#":
        line.agent.send_digit(leg_id, digit, 100, time.monotonic())
    line.settle(1)
    answers = [data for data in line.received if data.startswith(b"SIP/2.0 ") and b" INFO\r\n" in data]
    assert [data[8:11] for data in answers] == [b"200", b"200"]
    line.agent.bye(leg_id, time.monotonic())
    line.settle()
    assert line.agent.leg_count == 0
