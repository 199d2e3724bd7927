"""When a telephone's words leave and when its peer is heard, on real sockets."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from gateway.media.codec import PCMA, PCMU
from gateway.media.rtp import HEADER_BYTES, OutgoingPackets
from gateway.simulate.stamped_ports import StampedPorts
from gateway.sip.message import Address
from gateway.transport.rtp_port import RtpPort
from gateway.transport.rtp_ports import RtpPortOptions

HOST = "127.0.0.1"
LEG = 3
LOUD = bytes(range(160))


class Line:
    """A stamped port, and the peer it speaks with."""

    def __init__(self) -> None:
        options = RtpPortOptions(bind_host=HOST, first_port=38000, last_port=38999, trusted_networks=(HOST,))
        self.ports = StampedPorts(options)
        self.port: RtpPort = self.ports.open()
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind((HOST, 0))
        self.ports.attach(self.port, LEG, Address(HOST, self.peer.getsockname()[1]))
        self.stamps = self.ports.stamp(self.port)

    def send(self, payload: bytes) -> None:
        data = np.frombuffer(bytes(HEADER_BYTES) + payload, np.uint8)[None]
        length, leg = np.array([data.shape[1]], np.int32), np.array([LEG], np.int32)
        assert self.ports.send(OutgoingPackets(data=data, length=length, leg=leg)) == 1

    def hear(self, payload: bytes) -> tuple[int, int]:
        """What the peer sends is read; when it was sent, and when it was read."""
        sent_ns = time.time_ns()
        self.peer.sendto(b"\x80" + bytes(HEADER_BYTES - 1) + payload, (HOST, self.port.port))
        select.select([self.port.udp], [], [], 5)
        arrived_ns = time.time_ns()
        assert len(self.ports.receive(time.monotonic()).leg) == 1
        return sent_ns, arrived_ns


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.peer.close()
    made.ports.shutdown()


@pytest.mark.parametrize("law", [PCMU, PCMA])
def test_words_leave_with_the_first_packet_that_has_sound(line: Line, law: object) -> None:
    silence = bytes([getattr(law, "silence")]) * 160  # noqa: B009
    line.send(LOUD)
    assert line.stamps.said_ns == []
    line.stamps.note_words()
    line.send(silence)
    before_ns = time.time_ns()
    line.send(LOUD)
    line.send(LOUD)
    (said_ns,) = line.stamps.said_ns
    assert before_ns <= said_ns <= time.time_ns()


def test_the_peer_is_heard_when_the_kernel_received_the_first_sound(line: Line) -> None:
    silence = b"\xff" * 160
    line.hear(silence)
    sent_ns, arrived_ns = line.hear(LOUD)
    line.hear(LOUD)
    line.hear(silence)
    last_ns, _ = line.hear(LOUD)
    first, second = line.stamps.onsets
    assert sent_ns <= first.at_ns <= arrived_ns
    assert first.silent_since_ns == 0
    assert first.at_ns < second.silent_since_ns < last_ns <= second.at_ns


def test_what_is_no_word_of_a_stamped_leg_is_passed_on(line: Line) -> None:
    nobody = OutgoingPackets(data=np.zeros((0, 172), np.uint8), length=np.zeros(0, np.int32), leg=np.zeros(0, np.int32))
    assert line.ports.send(nobody) == 0
    assert len(line.ports.receive(time.monotonic()).leg) == 0
    line.ports.stamp(line.port)
    line.hear(LOUD)
    assert line.stamps.onsets == []
