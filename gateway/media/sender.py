"""The RTP stream of every leg as it leaves: sequence numbers, timestamps, SSRC, marker bits, and keys as events."""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.media import rtp
from gateway.media.codec import SAMPLES_PER_MS, Bytes, Indices, Mask
from gateway.media.dialling import Dialling
from gateway.media.rtp import HEADER_BYTES, OutgoingPackets

MAX_FRAME_MS: Final = 60


class RtpSender:
    """Numbers and stamps the packets of all legs. Arguments named `legs` hold distinct legs."""

    def __init__(self, legs: int, rng: np.random.Generator, dialling: Dialling) -> None:
        self._rng = rng
        self._dialling = dialling
        self._payload_type = np.zeros(legs, np.int64)
        self._event_payload_type = np.full(legs, -1, np.int64)
        self._sequence = np.zeros(legs, np.int64)
        self._timestamp = np.zeros(legs, np.int64)
        self._ssrc = np.zeros(legs, np.int64)
        self._was_voiced = np.zeros(legs, np.bool_)
        self._is_sending = np.zeros(legs, np.bool_)
        self._out = np.zeros((legs, HEADER_BYTES + MAX_FRAME_MS * SAMPLES_PER_MS), np.uint8)
        none = np.zeros(0, np.int32)
        self.nothing: Final = OutgoingPackets(data=self._out[:0], length=none, leg=none)
        """What is sent when no leg is due."""
        self.packets = np.zeros(legs, np.int64)
        self.octets = np.zeros(legs, np.int64)
        """Payload octets."""

    def open(self, leg: int) -> None:
        """Begin a stream at random numbers (RFC 3550 5.1).

        The sequence begins in its lower half: a receiver of SRTP that missed the packets around an early wrap would
        never find the roll-over counter (RFC 4568 6.4).
        """
        self._sequence[leg] = self._rng.integers(1 << 15)
        self._timestamp[leg] = self._rng.integers(1 << 32)
        self._ssrc[leg] = self._rng.integers(1 << 32)
        self._was_voiced[leg] = self._is_sending[leg] = False
        self.packets[leg] = self.octets[leg] = 0

    def ssrc(self, leg: int) -> int:
        """Synchronization source of the leg's stream."""
        return int(self._ssrc[leg])

    def was_voiced(self, leg: int) -> bool:
        """Whether the leg's last packet had speech in it."""
        return bool(self._was_voiced[leg])

    def next_timestamp(self, leg: int) -> int:
        """RTP timestamp of the leg's next frame, not wrapped."""
        return int(self._timestamp[leg])

    def change(self, leg: int, *, payload_type: int, event_payload_type: int | None) -> None:
        """Payload types from the next packet on."""
        self._payload_type[leg] = payload_type
        self._event_payload_type[leg] = -1 if event_payload_type is None else event_payload_type

    def pause(self, legs: Indices, samples: Indices) -> None:
        """Let the time line of legs that may not send go on."""
        self._timestamp[legs] += samples
        self._is_sending[legs] = False

    def build(
        self, legs: Indices, payloads: Bytes, payload_bytes: Indices, *, skipped: Indices, is_voiced: Mask
    ) -> OutgoingPackets:
        """One packet for each of `legs`.

        Args:
            payloads: uint8[n, any], of which the first `payload_bytes` of each row count.
            skipped: int64[n], frames before this one for which there are no packets.
            is_voiced: bool[n], whether the frame has speech in it.

        A talk spurt begins, and its first packet is marked (RFC 3551 4.1), where speech follows silence, skipped
        frames or a hold.
        """
        timestamp = self._timestamp[legs] + skipped * payload_bytes
        is_marked = ~self._is_sending[legs] | (is_voiced & ~self._was_voiced[legs]) | (skipped > 0)
        self._timestamp[legs] = timestamp + payload_bytes
        self._was_voiced[legs] = is_voiced
        self._is_sending[legs] = True
        out = self._out[: len(legs)]
        rtp.build_headers(
            out,
            payload_type=self._payload_type[legs],
            is_marked=is_marked,
            sequence=self._sequence[legs],
            timestamp=timestamp,
            ssrc=self._ssrc[legs],
        )
        out[:, HEADER_BYTES : HEADER_BYTES + payloads.shape[1]] = payloads
        length = payload_bytes + HEADER_BYTES
        dialling = self._dialling.among(legs)
        if dialling is not None:
            self._write_events(dialling & (self._event_payload_type[legs] >= 0), legs, out, length, timestamp)
        self._sequence[legs] += 1
        self.packets[legs] += 1
        self.octets[legs] += length - HEADER_BYTES
        return OutgoingPackets(data=out, length=length.astype(np.int32), leg=legs.astype(np.int32))

    def _write_events(self, chosen: Mask, legs: Indices, out: Bytes, length: Indices, timestamp: Indices) -> None:
        """Turn the packets of legs that dial by events into event packets, but for the pauses between keys."""
        for index in np.flatnonzero(chosen):
            samples = int(length[index]) - HEADER_BYTES
            event = self._dialling.event(int(legs[index]), timestamp=int(timestamp[index]), samples=samples)
            if event is None:
                continue
            rtp.build_headers(
                out[index : index + 1],
                payload_type=self._event_payload_type[legs[index : index + 1]],
                is_marked=np.array([event.is_first]),
                sequence=self._sequence[legs[index : index + 1]],
                timestamp=np.array([event.timestamp]),
                ssrc=self._ssrc[legs[index : index + 1]],
            )
            end = HEADER_BYTES + len(event.payload)
            out[index, HEADER_BYTES:end] = np.frombuffer(event.payload, np.uint8)
            length[index] = end
