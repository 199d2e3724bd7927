"""Datagrams that are nothing, at the ports of a call's audio and reports."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from random import Random

_FORMS = (
    b"",
    b"\x80",
    b"\x80\xc8",
    bytes.fromhex("000100002112a442") + bytes(12),  # STUN
    bytes.fromhex("16feff0000000000000000"),  # DTLS
    bytes.fromhex("80c8ffff"),  # a report longer than any datagram
    bytes.fromhex("bfc90001 00000001"),  # one of more blocks than it holds
    bytes.fromhex("80c90001 00000001 80cb0000"),  # a good one with a goodbye of nobody
)


def garbage(random: Random) -> bytes:
    """One datagram: cut, forged or random; some of them look like RTP or RTCP at first sight."""
    form = random.choice(_FORMS)
    tail = random.randbytes(random.choice((0, 1, 8, 24, 160, 172, 1400)))
    kind = random.random()
    if kind < 0.2:
        return bytes((0x80 | random.randrange(64), random.randrange(256))) + tail
    return tail if kind < 0.4 else form + tail


def flood(senders: Sequence[socket.socket], targets: Sequence[tuple[str, int]], per_s: float, seconds: float) -> int:
    """Send at that rate from any of the sockets to any of the targets; how many were sent. Takes its `seconds`."""
    random, began, sent = Random(11), time.perf_counter(), 0
    while (elapsed_s := time.perf_counter() - began) < seconds:
        while sent < elapsed_s * per_s:
            with suppress(ConnectionRefusedError):  # of a datagram before: nobody is at one of the targets
                random.choice(senders).sendto(garbage(random), random.choice(targets))
            sent += 1
        time.sleep(0.002)
    return sent
