"""RTP ports of a telephone that notes when its sounds leave and when the peer's arrive.

::

    note_words ──> the next packet that has sound in it ──> StampedLeg.said_ns        before it is given to the kernel
                   the first with sound behind one without ──> StampedLeg.onsets      as the kernel received it

Times are nanoseconds of the system's clock (`time.time_ns`), which all processes of a machine share. What arrives is
stamped by the kernel, so that a telephone that looks every 5 ms does not make its peer look late.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.media.rtp import HEADER_BYTES, OutgoingPackets, PacketBatch
from gateway.transport.rtp_port import RtpPort
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts

_SIOCGSTAMPNS: Final = 0x8907  # asm-generic/sockios.h: when the packet read last was received; Python has no name
_TIMESPEC: Final = struct.Struct("@ll")
_SILENT_SHARE: Final = 0.6
"""Of a packet's octets: fewer, and it has sound in it. The filters before a sound make a few."""
_IS_SILENT: Final = np.isin(np.arange(256), (0xFF, 0x7F, 0xFE, 0x7E, 0xD5, 0x55, 0xD4, 0x54))
"""Octets of G.711 that are zero, or next to it, in either law."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """The peer is heard again."""

    at_ns: int
    silent_since_ns: int
    """when it was heard before; 0: never"""


@dataclass(slots=True, kw_only=True, eq=False)
class StampedLeg:
    """What is noted of one leg."""

    udp: socket.socket
    said_ns: list[int] = field(default_factory=list)
    """when the first packet of each of our words left"""
    onsets: list[Onset] = field(default_factory=list)
    _is_about_to_speak: bool = False
    _is_heard: bool = False
    _last_heard_ns: int = 0

    def __post_init__(self) -> None:
        self._received_ns(0)  # the kernel stamps from when it is first asked

    def note_words(self) -> None:
        """Words of ours wait to be sent; silence was before them."""
        self._is_about_to_speak = True

    def note_sent(self, now_ns: int) -> None:
        """A packet with sound in it leaves."""
        if self._is_about_to_speak:
            self._is_about_to_speak = False
            self.said_ns.append(now_ns)

    def note_received(self, now_ns: int, *, has_sound: bool) -> None:
        """A packet was read a moment ago."""
        if has_sound:
            if not self._is_heard:
                self.onsets.append(Onset(at_ns=self._received_ns(now_ns), silent_since_ns=self._last_heard_ns))
            self._last_heard_ns = now_ns
        self._is_heard = has_sound

    def _received_ns(self, now_ns: int) -> int:
        try:
            seconds, nanoseconds = _TIMESPEC.unpack(fcntl.ioctl(self.udp, _SIOCGSTAMPNS, bytes(_TIMESPEC.size)))
        except OSError:  # the first packet of all, or a kernel that does not say
            return now_ns
        return int(seconds) * 1_000_000_000 + int(nanoseconds)


class StampedPorts(RtpPorts):
    """Ports for legs that send and hear G.711, whose packets are stamped once they are given to `stamp`."""

    def __init__(self, options: RtpPortOptions) -> None:
        super().__init__(options)
        self._stamped: dict[int, StampedLeg] = {}

    def stamp(self, port: RtpPort) -> StampedLeg:
        """Note the times of the leg that `port` is attached to, until another leg takes its number."""
        leg = self._stamped[port.leg] = StampedLeg(udp=port.udp)
        return leg

    def send(self, packets: OutgoingPackets) -> int:
        """See `RtpPorts.send`."""
        now_ns = time.time_ns()
        for leg in packets.leg[_have_sound(packets.data, packets.length)].tolist():
            stamped = self._stamped.get(leg)
            if stamped is not None:
                stamped.note_sent(now_ns)
        return super().send(packets)

    def receive(self, now: float) -> PacketBatch:
        """See `RtpPorts.receive`."""
        batch = super().receive(now)
        now_ns = time.time_ns()
        have_sound = _have_sound(batch.data, batch.length).tolist()
        for leg, has_sound in zip(batch.leg.tolist(), have_sound, strict=True):
            stamped = self._stamped.get(leg)
            if stamped is not None:
                stamped.note_received(now_ns, has_sound=has_sound)
        return batch


def _have_sound(data: npt.NDArray[np.uint8], length: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which rows are audio of G.711 in which something is heard."""
    octets = data[:, HEADER_BYTES:]
    is_payload = np.arange(octets.shape[1]) < (length - HEADER_BYTES)[:, None]
    sound = (is_payload & ~_IS_SILENT[octets]).sum(axis=1)
    heard: npt.NDArray[np.bool_] = sound > (1 - _SILENT_SHARE) * np.maximum(length - HEADER_BYTES, 1)
    return heard
