"""The telephone of the realtime bench: it must see what is lost, and when things came."""

from __future__ import annotations

import socket
import struct
import time
from itertools import pairwise

import pytest

from gateway.simulate.rig.caller import BURST_FRAMES, CYCLE_FRAMES, FRAME_BYTES, HOST, Caller, HeardStream, speech

SILENCE = b"\xff" * FRAME_BYTES


def rtp(number: int, payload: bytes = SILENCE, start: int = 0) -> bytes:
    timestamp = (start + number * FRAME_BYTES) & 0xFFFF_FFFF
    return struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, timestamp, 7) + payload


def heard(numbers: list[int], start: int = 0) -> HeardStream:
    stream = HeardStream()
    stream.begin()
    for number in numbers:
        stream.note((start + number * FRAME_BYTES) & 0xFFFF_FFFF, number * 20_000_000)
    return stream


@pytest.fixture
def gateway_socket():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        udp.settimeout(5)
        yield udp


@pytest.fixture
def caller(gateway_socket):
    caller = Caller(0, 0)
    caller.udp.connect(gateway_socket.getsockname())
    yield caller
    caller.udp.close()


def test_a_packet_dropped_on_the_way_is_missed(caller: Caller, gateway_socket: socket.socket) -> None:
    for number in range(50):
        if number not in (17, 18, 31):
            gateway_socket.sendto(rtp(number), (HOST, caller.port))
            caller.receive()
    assert (caller.heard.packets, caller.heard.missing) == (47, 3)


def test_packets_that_nobody_takes_in_time_are_told_as_our_own_drops(
    caller: Caller, gateway_socket: socket.socket
) -> None:
    room = caller.udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    for number in range(room // 256):
        gateway_socket.sendto(rtp(number), (HOST, caller.port))
    assert caller.kernel_drops > 0


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ([], 0),
        ([5], 0),
        ([0, 1, 2, 3], 0),
        ([0, 2, 1, 3], 0),
        ([0, 3], 2),
        ([1, 0, 4], 2),
    ],
)
def test_missing_frames_are_counted_by_the_time_line(numbers: list[int], missing: int) -> None:
    assert heard(numbers).missing == missing
    assert heard(numbers, start=0xFFFF_FFFF - 200).missing == missing


def test_what_was_lost_before_the_measurement_is_not_counted() -> None:
    stream = heard([0, 5])
    assert stream.missing == 4
    stream.begin()
    stream.note(7 * FRAME_BYTES, 0)
    stream.note(8 * FRAME_BYTES, 0)
    assert stream.missing == 0


def test_lateness_is_measured_against_the_calls_earliest_packet() -> None:
    stream = HeardStream()
    stream.begin()
    for number, late_ms in enumerate((3, 1, 9)):
        stream.note(number * FRAME_BYTES, (500 + number * 20 + late_ms) * 1_000_000)
    assert stream.lateness_ms().tolist() == [2, 0, 8]


def test_a_caller_speaks_in_bursts_on_one_time_line(caller: Caller, gateway_socket: socket.socket) -> None:
    frames = []
    for _ in range(CYCLE_FRAMES + 1):
        caller.send()
        frames.append(gateway_socket.recv(2048))
    is_speech = [frame[12:] != SILENCE for frame in frames]
    assert is_speech == [True] * BURST_FRAMES + [False] * (CYCLE_FRAMES - BURST_FRAMES) + [True]
    headers = [struct.unpack_from("!HI", frame, 2) for frame in frames]
    assert {(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(headers)} == {(1, FRAME_BYTES)}
    assert (caller.bursts, caller.packets_sent) == (2, CYCLE_FRAMES + 1)


def test_the_first_packet_of_a_reply_ends_its_delay(caller: Caller, gateway_socket: socket.socket) -> None:
    caller.is_measuring = True
    caller.reply_sent_ns = time.time_ns()
    loud = speech(FRAME_BYTES, 1).astype(">i2").tobytes()[:FRAME_BYTES].replace(b"\xff", b"\x11")
    for number, payload in enumerate((SILENCE, loud, loud)):
        gateway_socket.sendto(rtp(number, payload), (HOST, caller.port))
        caller.receive()
    assert (caller.replies_heard, caller.reply_sent_ns) == (1, 0)
    assert len(caller.reply_delays_ns) == 1
    assert caller.reply_delays_ns[0] > 0
