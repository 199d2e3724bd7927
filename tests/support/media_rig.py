"""A media engine on a virtual clock, with telephones whose packets arrive when the test says."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.media.jitter import JitterOptions
from tests.support.rtp_packets import packet_batch, rtp_packet

TICK_S = 0.005
START_S = 1000.0
SILENCE = 0xFF


def leg_options(**changes):
    """A mu-law leg whose provider takes and gives mu-law: octets go through untouched."""
    defaults = {
        "payload_type": 0,
        "format": "PCMU",
        "telephone_event_payload_type": 101,
        "uplink": AudioFormat.PCMU,
        "downlink": AudioFormat.PCMU,
        "receive_payload_types": ((0, "PCMU"), (8, "PCMA")),
    }
    return LegOptions(**{**defaults, **changes})


@dataclass(frozen=True)
class SentPacket:
    """A packet of the engine, taken apart by hand."""

    at_s: float
    leg: int
    marked: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes

    @classmethod
    def parse(cls, at_s, leg, data):
        assert data[0] == 0x80
        return cls(
            at_s=at_s,
            leg=leg,
            marked=data[1] >= 128,
            payload_type=data[1] & 127,
            sequence=int.from_bytes(data[2:4], "big"),
            timestamp=int.from_bytes(data[4:8], "big"),
            ssrc=int.from_bytes(data[8:12], "big"),
            payload=data[12:],
        )


class MediaRig:
    """Calls the engine as the media loop does and keeps what it gave. Times are seconds since the start.

    Received audio waits for 30 to 50 ms, wherever it falls in the grid, so that a test knows where to look for it.
    """

    def __init__(self, *, seed=1, tick_s=TICK_S, **options):
        options = {"max_legs": 8, "jitter": JitterOptions(delay_ms=30, meets_arrivals=False, patience_ms=0), **options}
        self.engine = MediaEngine(MediaOptions(**options), seed=seed)
        self.tick_s = tick_s
        self.ticks = 0
        self.sent = []
        self.uplink = defaultdict(bytes)
        self.digits = []
        self.finished = []
        self._arrivals = []  # (time, order, leg, datagram), the earliest last

    @property
    def elapsed_s(self):
        return self.ticks * self.tick_s

    @property
    def now(self):
        return START_S + self.elapsed_s

    def open_leg(self, **changes):
        return self.engine.open_leg(leg_options(**changes), self.now)

    def arrive(self, packets, leg=0):
        """Schedule `(time, datagram)` pairs."""
        count = len(self._arrivals)
        self._arrivals += [(at_s, count + i, leg, datagram) for i, (at_s, datagram) in enumerate(packets)]
        self._arrivals.sort(reverse=True)

    def tick(self):
        out = self.engine.playout(self.now)
        for data, length, leg in zip(out.data, out.length, out.leg, strict=True):
            self.sent.append(SentPacket.parse(self.elapsed_s, int(leg), data[:length].tobytes()))
        arrived = []
        while self._arrivals and self._arrivals[-1][0] <= self.elapsed_s + 1e-9:
            arrived.append(self._arrivals.pop())
        if arrived:
            batch = packet_batch([a[3] for a in arrived], legs=[a[2] for a in arrived])
            self.engine.receive(batch, self.now)
        events = self.engine.transcode(self.now)
        for piece in events.uplink:
            self.uplink[piece.leg] += piece.audio
        self.digits += events.digits
        self.finished += events.finished
        self.ticks += 1

    def run(self, seconds):
        for _ in range(round(seconds / self.tick_s)):
            self.tick()

    def stall(self, seconds):
        """Nobody calls the engine for a while."""
        self.ticks += round(seconds / self.tick_s)

    def frames(self, leg=0):
        """The uplink of a mu-law leg by 20 ms frames: uint8[n, 160]."""
        return np.frombuffer(self.uplink[leg], np.uint8).reshape(-1, 160)

    def numbers(self, leg=0):
        """Of each uplink frame the number that `numbered` packets carry, None where it is not one packet's.

        The first half does not count: behind a gap, audio fades over from what was made up.
        """
        halves = self.frames(leg)[:, 80:]
        return [int(half[0]) if half[0] != SILENCE and (half == half[0]).all() else None for half in halves]

    def sent_audio(self, leg=0):
        return b"".join(packet.payload for packet in self.sent if packet.leg == leg)


def numbered(count, *, start_s=0.0, ptime_ms=20, sequence=0, timestamp=0, first=0, **fields):
    """`count` packets whose octets all are the packet's number modulo 100, as `(send time, datagram)`."""
    samples = 8 * ptime_ms
    return [
        (
            start_s + i * ptime_ms / 1000,
            rtp_packet(sequence + i, timestamp + samples * i, bytes([(first + i) % 100]) * samples, **fields),
        )
        for i in range(count)
    ]
