"""A telephone of the realtime bench: RTP alone, as cheap as can be, and exact about time.

It speaks in bursts on a cycle, silence in between, and stamps what it hears by the kernel's clock, so that a busy
caller does not make the gateway look late.
"""

from __future__ import annotations

import socket
import struct
import time
from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.media import codec
from gateway.media.codec import PCMU
from gateway.transport.sockets import kernel_drops

HOST: Final = "127.0.0.1"
FRAME_MS: Final = 20
FRAME_BYTES: Final = 160
CYCLE_FRAMES: Final = 200
BURST_FRAMES: Final = 20
RECEIVE_BUFFER_BYTES: Final = 1 << 20
_SILENCE: Final = 0xFF
_SILENT_FRAME_BYTES: Final = 100
"""Octets of silence that a frame with speech in it has less of: the onset of speech falls on a frame's first sample."""
_NS_PER_TICK: Final = 125_000
_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; Python has no name for it
_TIMESPEC: Final = struct.Struct("@ll")
_SEQUENCE_AND_TIMESTAMP: Final = struct.Struct("!HI")


class HeardStream:
    """One RTP stream of 20 ms packets as its receiver sees it."""

    __slots__ = ("_highest", "_lowest", "_offsets", "_timestamp", "is_measuring", "packets")

    def __init__(self) -> None:
        self.packets = 0
        """Since the beginning, or since `begin`."""
        self.is_measuring = False
        """Whether the lateness of packets is kept."""
        self._timestamp = 0  # of the latest packet, unwrapped
        self._lowest = self._highest = 0
        self._offsets = array("q")

    def begin(self) -> None:
        """Count from the next packet on, and keep the lateness of each."""
        self.packets = 0
        self.is_measuring = True

    def note(self, timestamp: int, arrived_ns: int) -> None:
        """A packet has come; `timestamp` as it stands in the header."""
        known = self._timestamp
        position = known + (timestamp - known + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000
        self._timestamp = position
        if not self.packets:
            self._lowest = self._highest = position
        elif position > self._highest:
            self._highest = position
        elif position < self._lowest:
            self._lowest = position
        self.packets += 1
        if self.is_measuring:
            self._offsets.append(arrived_ns - position * _NS_PER_TICK)

    @property
    def missing(self) -> int:
        """Frames between the first and the last one that never came: lost on the way, or never sent."""
        if not self.packets:
            return 0
        return max((self._highest - self._lowest) // FRAME_BYTES + 1 - self.packets, 0)

    def lateness_ms(self) -> NDArray[np.float64]:
        """Of each packet measured: its arrival behind the grid of its timestamps, the earliest of the call being 0."""
        offsets = np.frombuffer(self._offsets, np.int64)
        if not len(offsets):
            return np.zeros(0)
        late: NDArray[np.float64] = (offsets - offsets.min()) / 1e6
        return late


class Caller:
    """One telephone. `phase_frames` is where in its cycle it begins."""

    __slots__ = (
        "_frame",
        "_is_hearing",
        "_packets",
        "_sequence",
        "_timestamp",
        "burst_sent_ns",
        "bursts",
        "heard",
        "is_measuring",
        "packets_refused",
        "packets_sent",
        "replies_heard",
        "reply_delays_ns",
        "reply_sent_ns",
        "udp",
    )

    def __init__(self, number: int, phase_frames: int) -> None:
        self.udp = open_caller_socket()
        self.heard = HeardStream()
        self.packets_sent = self.packets_refused = 0
        self.bursts = 0
        self.burst_sent_ns = 0
        """When the first packet of a burst was sent that the model has not heard yet; 0 when there is none."""
        self.reply_sent_ns = 0
        """When the model sent the first piece of a reply that we have not heard yet; 0 when there is none."""
        self.reply_delays_ns: list[int] = []
        self.replies_heard = 0
        self.is_measuring = False
        self._frame = phase_frames
        self._sequence, self._timestamp = number * 7 & 0xFFFF, number * 1_234_567 & 0xFFFF_FFFF
        self._packets = tuple(bytearray(_header(number) + payload) for payload in _PAYLOADS)
        self._is_hearing = False

    @property
    def port(self) -> int:
        """Where it hears."""
        return int(self.udp.getsockname()[1])

    def send(self) -> None:
        """Send the frame that is due."""
        place = self._frame % CYCLE_FRAMES
        packet = self._packets[place < BURST_FRAMES]
        _SEQUENCE_AND_TIMESTAMP.pack_into(packet, 2, self._sequence, self._timestamp)
        self._frame += 1
        self._sequence = self._sequence + 1 & 0xFFFF
        self._timestamp = self._timestamp + FRAME_BYTES & 0xFFFF_FFFF
        if not place:
            self.bursts += 1
            self.burst_sent_ns = time.time_ns()
        try:
            self.udp.send(packet)
        except OSError:  # nobody there, or the kernel's buffer is full: the gateway never had it
            self.packets_refused += 1
        else:
            self.packets_sent += 1

    def receive(self, _mask: int = 0) -> None:
        """Take one packet that has arrived; for an epoll."""
        try:
            data, ancillary, _, _ = self.udp.recvmsg(512, 64)
        except OSError:
            return
        if len(data) < 12:
            return
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2]) if ancillary else (0, time.time_ns())
        arrived_ns = seconds * 1_000_000_000 + nanoseconds
        self.heard.note(int.from_bytes(data[4:8], "big"), arrived_ns)
        is_speech = data.count(_SILENCE, 12) < _SILENT_FRAME_BYTES
        if is_speech and not self._is_hearing and self.reply_sent_ns:
            self.replies_heard += 1
            if self.is_measuring:
                self.reply_delays_ns.append(arrived_ns - self.reply_sent_ns)
            self.reply_sent_ns = 0
        self._is_hearing = is_speech

    @property
    def is_hearing(self) -> bool:
        """Whether the frame heard last was speech."""
        return self._is_hearing

    @property
    def kernel_drops(self) -> int:
        """Packets that we were too slow to take."""
        return kernel_drops(self.udp)


def open_caller_socket() -> socket.socket:
    """A UDP socket on loopback that stamps what it receives."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    udp.bind((HOST, 0))
    return udp


def stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When the kernel received what came with `ancillary`; now where it does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what `sock` receives."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def speech(samples: int, seed: int) -> codec.Samples:
    """Noise as loud as speech, int16[samples]; no frame of it can be taken for silence."""
    noise = np.random.default_rng(seed).normal(0, 4000, samples)
    loud: codec.Samples = np.rint(np.clip(noise, -32000, 32000)).astype(np.int16)
    return loud


def _header(number: int) -> bytes:
    """Version 2, PCMU; sequence number and timestamp are filled in later."""
    return b"\x80\x00" + bytes(6) + (0x5EED_0000 + number & 0xFFFF_FFFF).to_bytes(4, "big")


_PAYLOADS: Final = (bytes([_SILENCE]) * FRAME_BYTES, codec.encode(speech(FRAME_BYTES, 1)[None], PCMU)[0].tobytes())
