"""From datagrams to each leg's time line: whose packet it is, which stream it belongs to, and where it goes.

::

    PacketBatch ─parse─> ParsedPackets[m] ─rounds─> at most one packet of a leg at a time
        telephone events ─────────────> DigitReceiver ──> DigitReceived
        audio that fits the stream ───> JitterBuffers.insert
        audio that does not ──────────> candidate of its leg

A leg follows one stream: one SSRC and one time line. A packet of another SSRC, or far off the time line, may be a stray
or a new stream (the peer was transferred, restarted its sender, or changed its clock), so it waits as a candidate. It
is taken over with the next packet that continues it, or when the old stream has nothing left to play. As long as the
old stream goes on, every packet of it ends a candidacy: two senders at once do not cut each other into pieces.

Audio that is merely late by more than the buffer allows is a candidate too, but its successor must come apart in time:
a clump of packets that a network held back is no new time line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from gateway.media import rtp
from gateway.media.codec import PAYLOAD_FORMATS, SAMPLES_PER_MS, Bytes, Codes, Indices, Mask, decode, payload_format
from gateway.media.dtmf import DigitReceived, DigitReceiver
from gateway.media.jitter import JitterBuffers, codes_of
from gateway.media.pacing import FramePacer, tick_of
from gateway.media.rtp import PacketBatch, ParsedPackets
from gateway.media.stream import Continuity, StreamStatistics

COMFORT_NOISE_PAYLOAD_TYPE: Final = 13
"""RFC 3389; static, so it may come unasked."""

DIGITAL_SILENCE: Final = 8
"""The sample values next to 0 in either law; a microphone, however quiet its room, goes beyond."""

_UNKNOWN: Final = -1
_EVENT: Final = -2
_COMFORT_NOISE: Final = -3

_LATE_SAMPLES: Final = 3000 * SAMPLES_PER_MS  # beyond that, a timestamp is another clock and not a late packet
_LATE_SPACING_S: Final = 0.015
_MAX_STEP: Final = 3  # packets from a candidate to the one that continues it
_MAX_STEP_SAMPLES: Final = 1000 * SAMPLES_PER_MS


_FIRST_CODES: Final = np.array([payload.first_code for payload in PAYLOAD_FORMATS])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A packet that may begin a new stream."""

    leg: int
    ssrc: int
    sequence: int
    timestamp: int
    codes: Codes
    arrived_s: float
    is_late: bool
    """it continues the stream, too late to be played"""

    def leads_to(self, other: _Candidate) -> bool:
        """Whether `other` is the next packet of the same stream, or nearly."""
        step = rtp.sequence_distance(other.sequence, self.sequence)
        time = rtp.timestamp_distance(other.timestamp, self.timestamp)
        return self.ssrc == other.ssrc and 0 < step <= _MAX_STEP and 0 < time <= _MAX_STEP_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrivals:
    """Packets of one batch, with what was looked up for each."""

    packets: ParsedPackets
    kinds: Indices
    """index of the payload format, or `_UNKNOWN`, `_EVENT`, `_COMFORT_NOISE`"""
    wait: Indices
    """samples of time until the leg's jitter buffer is read"""
    data: Bytes
    now: float

    def select(self, chosen: Mask | Indices) -> _Arrivals:
        """Those chosen by a mask or by indices; itself if that is all of them."""
        if rtp.is_everything(chosen):
            return self
        return _Arrivals(
            packets=self.packets.select(chosen),
            kinds=self.kinds[chosen],
            wait=self.wait[chosen],
            data=self.data,
            now=self.now,
        )

    def payload(self, index: int) -> Bytes:
        """The octets of one packet."""
        start = int(self.packets.payload_start[index])
        return self.data[self.packets.row[index], start : start + int(self.packets.payload_bytes[index])]

    def codes(self) -> Codes:
        """The payloads of all packets, which are audio of one shape: uint16[n, samples]."""
        start, length = int(self.packets.payload_start[0]), int(self.packets.payload_bytes[0])
        payload = self.data[:, start : start + length]
        if len(self.packets) < len(payload):
            payload = payload[self.packets.row]
        return codes_of(payload, _FIRST_CODES[self.kinds])

    def candidate(self, index: int, *, is_late: bool) -> _Candidate:
        """One packet of audio, to be remembered."""
        return _Candidate(
            leg=int(self.packets.leg[index]),
            ssrc=int(self.packets.ssrc[index]),
            sequence=int(self.packets.sequence[index]),
            timestamp=int(self.packets.timestamp[index]),
            codes=codes_of(self.payload(index)[None], _FIRST_CODES[self.kinds[index : index + 1]])[0],
            arrived_s=self.now,
            is_late=is_late,
        )


class Reception:
    """The receiving side of all legs. `pacer` tells when the jitter buffer of a leg is read next."""

    def __init__(self, legs: int, jitter: JitterBuffers, pacer: FramePacer) -> None:
        self._jitter = jitter
        self._pacer = pacer
        self._kinds = np.full((legs, 128), _UNKNOWN, np.int64)  # by payload type; see `_Arrivals.kinds`
        self._is_open = np.zeros(legs, np.bool_)
        self._has_time_line = np.zeros(legs, np.bool_)
        self._candidates: dict[int, _Candidate] = {}
        self._digits = DigitReceiver()
        self.streams = StreamStatistics(legs)
        self.is_heard = np.zeros(legs, np.bool_)
        """whether audio of the leg goes to its jitter buffer: not while on hold"""
        self.has_events = np.zeros(legs, np.bool_)
        """whether events came since the leg was opened or changed: its tones are but copies of them"""
        self.packets = np.zeros(legs, np.int64)
        self.octets = np.zeros(legs, np.int64)
        """Payload octets."""
        self.last_arrival_s = np.full(legs, np.nan)
        self.has_sound = np.zeros(legs, np.bool_)
        """whether anything but digital silence came"""

    def open(self, leg: int) -> None:
        """Begin to listen; nothing is known of the peer's stream."""
        self._is_open[leg] = self.is_heard[leg] = True
        self._has_time_line[leg] = False
        self._candidates.pop(leg, None)
        self._digits.reset(leg)
        self.streams.reset(leg)
        self.packets[leg] = self.octets[leg] = 0
        self.last_arrival_s[leg] = np.nan
        self.has_sound[leg] = False

    def last_received_s(self, leg: int) -> float | None:
        """When the leg's last packet came; None before the first."""
        arrived_s = float(self.last_arrival_s[leg])
        return None if np.isnan(arrived_s) else arrived_s

    def close(self, leg: int) -> None:
        """Ignore the leg's packets from now on."""
        self._is_open[leg] = False
        self._candidates.pop(leg, None)
        self._digits.reset(leg)

    def change(
        self, leg: int, *, payload_types: tuple[tuple[int, str], ...], event_payload_types: tuple[int, ...]
    ) -> None:
        """Which payload types the peer may send: of audio, with the names of their formats, and of events."""
        self.has_events[leg] = False
        self._kinds[leg] = _UNKNOWN
        self._kinds[leg, COMFORT_NOISE_PAYLOAD_TYPE] = _COMFORT_NOISE
        for payload_type, name in payload_types:
            self._kinds[leg, payload_type] = payload_format(name).index
        for payload_type in event_payload_types:
            self._kinds[leg, payload_type] = _EVENT

    def receive(self, batch: PacketBatch, now: float) -> list[DigitReceived]:
        """Sort a batch in. Returns the keys that it ended; never raises for what a peer sent."""
        if not len(batch.length):
            return []
        packets = rtp.parse(batch)
        packets = packets.select((packets.leg >= 0) & self._is_open[packets.leg])
        arrived = _Arrivals(
            packets=packets,
            kinds=self._kinds[packets.leg, packets.payload_type],
            wait=self._pacer.wait_samples(packets.leg, now),
            data=batch.data,
            now=now,
        )
        digits: list[DigitReceived] = []
        for turn in rtp.rounds(packets.leg):
            digits += self._receive_round(arrived.select(turn))
        return digits

    def poll(self, now: float) -> list[DigitReceived]:
        """Keys whose last packets were lost."""
        return self._digits.poll(now)

    def admit_candidates(self, legs: Indices, now: float) -> None:
        """Let candidates take over legs that are about to be read and have nothing left of their old stream."""
        if not self._candidates:
            return
        for leg in legs[np.isin(legs, list(self._candidates)) & self._jitter.is_dry(legs)].tolist():
            candidate = self._candidates[leg]
            if not candidate.is_late:
                self._follow(leg, (candidate,), candidate.arrived_s)

    def _receive_round(self, arrived: _Arrivals) -> list[DigitReceived]:
        """Packets of distinct legs: first those that nearly all are, the next one of their stream."""
        packets = arrived.packets
        self.packets[packets.leg] += 1
        self.octets[packets.leg] += packets.payload_bytes
        self.last_arrival_s[packets.leg] = arrived.now
        is_next = self._is_next(arrived)
        if is_next.any():
            nexts = arrived.select(is_next)
            self.streams.advance(nexts.packets.leg)
            self._insert(nexts)
        return [] if is_next.all() else self._receive_others(arrived.select(~is_next))

    def _is_next(self, arrived: _Arrivals) -> Mask:
        """Which packets are the very next ones of streams of audio that nobody challenges."""
        packets, jitter = arrived.packets, self._jitter
        is_next: Mask = self.streams.is_next(packets.leg, packets.ssrc, packets.sequence)
        if self._candidates:
            is_next &= ~np.isin(packets.leg, list(self._candidates))
        is_next &= (arrived.kinds >= 0) & (packets.payload_bytes > 0)
        is_next &= self.is_heard[packets.leg] & self._has_time_line[packets.leg]
        is_next &= jitter.fits(jitter.ahead(packets.leg, packets.timestamp, arrived.wait))
        return is_next

    def _receive_others(self, arrived: _Arrivals) -> list[DigitReceived]:
        """Packets of distinct legs, whatever they are."""
        packets, kinds = arrived.packets, arrived.kinds
        continuity = self.streams.classify(packets.leg, packets.ssrc, packets.sequence)
        is_audio = (kinds >= 0) & (packets.payload_bytes > 0) & self.is_heard[packets.leg]
        is_first = (continuity == Continuity.FOREIGN) & (kinds != _UNKNOWN) & ~self.streams.has_stream(packets.leg)
        is_ours = is_first | (continuity != Continuity.FOREIGN)
        is_duplicate = continuity == Continuity.DUPLICATE
        begins = is_audio & is_ours & ~self._has_time_line[packets.leg]
        ahead = self._jitter.ahead(packets.leg, packets.timestamp, arrived.wait)
        is_placed = is_audio & (begins | self._jitter.fits(ahead))
        is_followed = is_ours & (is_placed | is_duplicate | (~is_audio & (continuity != Continuity.JUMPED)))
        self._enter(packets.select(is_followed), continuity[is_followed])
        if begins.any():
            self._begin_time_lines(arrived.select(begins))
            arrived = replace(arrived, wait=self._pacer.wait_samples(packets.leg, arrived.now))
        self._insert(arrived.select(is_placed & is_ours & ~is_duplicate))
        if is_audio.all() and is_followed.all():
            return []
        self._jitter.quiet(packets.leg[is_followed & (kinds == _EVENT)])
        for index in np.flatnonzero(is_followed & (kinds == _COMFORT_NOISE) & self.is_heard[packets.leg]):
            self._jitter.comfort(int(packets.leg[index]), arrived.payload(int(index)).tobytes())
        is_late = (
            is_audio & ~is_followed & (continuity <= Continuity.REORDERED) & (ahead > -_LATE_SAMPLES) & (ahead < 0)
        )
        self.streams.count(packets.leg[is_late], packets.sequence[is_late], continuity[is_late])
        self._jitter.late[packets.leg[is_late]] += 1
        for index in np.flatnonzero(is_audio & ~is_followed):
            self._challenge(arrived.candidate(int(index), is_late=bool(is_late[index])))
        return [digit for index in np.flatnonzero(kinds == _EVENT) for digit in self._event(arrived, int(index))]

    def _enter(self, packets: ParsedPackets, continuity: Indices) -> None:
        """Count packets of the streams that are followed, new sequences among them."""
        is_new = continuity >= Continuity.JUMPED
        if is_new.any():
            self.streams.begin(packets.leg[is_new], packets.ssrc[is_new], packets.sequence[is_new])
            continuity = np.where(is_new, Continuity.CONTINUES, continuity)
        self.streams.count(packets.leg, packets.sequence, continuity)
        if self._candidates:
            for leg in packets.leg.tolist():
                self._candidates.pop(leg, None)

    def _begin_time_lines(self, arrived: _Arrivals) -> None:
        legs, options = arrived.packets.leg.tolist(), self._jitter.options
        if options.meets_arrivals:
            tick = tick_of(arrived.now + options.delay_ms / 1000)
            for leg in legs:
                self._pacer.meet(leg, tick)
        wait = self._pacer.wait_samples(arrived.packets.leg, arrived.now)
        if options.meets_arrivals:  # reads are as late in their ticks as this
            wait = np.maximum(wait, options.delay_ms * SAMPLES_PER_MS)
        for leg, timestamp, samples in zip(legs, arrived.packets.timestamp.tolist(), wait.tolist(), strict=True):
            self._jitter.begin(leg, timestamp, samples)
            self._has_time_line[leg] = True

    def _insert(self, arrived: _Arrivals) -> None:
        """Hand audio to the jitter buffers, packets of equal shape at once."""
        packets = arrived.packets
        self.streams.time(packets.leg, packets.timestamp, arrived.now)
        shape = packets.payload_start << 16 | packets.payload_bytes
        for key in set(shape.tolist()):
            alike = arrived.select(shape == key)
            codes = alike.codes()
            if not self.has_sound[alike.packets.leg].all():  # only until it has
                self.has_sound[alike.packets.leg] |= (np.abs(decode(codes)) > DIGITAL_SILENCE).any(axis=1)
            self._jitter.insert(alike.packets.leg, alike.packets.timestamp, codes, alike.wait)

    def _event(self, arrived: _Arrivals, index: int) -> list[DigitReceived]:
        packets = arrived.packets
        self.has_events[packets.leg[index]] = True
        return self._digits.receive(
            int(packets.leg[index]),
            arrived.payload(index).tobytes(),
            timestamp=int(packets.timestamp[index]),
            is_marked=bool(packets.is_marked[index]),
            now=arrived.now,
        )

    def _challenge(self, packet: _Candidate) -> None:
        """A packet outside its leg's stream: remember it, or follow it if it continues the one remembered."""
        rival = self._candidates.get(packet.leg)
        if rival is None or not rival.leads_to(packet):
            self._candidates[packet.leg] = packet
        elif not packet.is_late or packet.arrived_s - rival.arrived_s >= _LATE_SPACING_S:
            self._follow(packet.leg, (rival, packet), packet.arrived_s)

    def _follow(self, leg: int, packets: tuple[_Candidate, ...], arrived_s: float) -> None:
        """Take over a new stream with its first packets, the last of which `arrived_s`."""
        del self._candidates[leg]
        legs = np.array([leg])
        newest = packets[-1]
        wait = self._pacer.wait_samples(legs, arrived_s)
        taken = int(self._jitter.buffered(legs)[0])
        self.streams.begin(legs, np.array([packets[0].ssrc]), np.array([packets[0].sequence]))
        is_awaited = bool(wait[0] < 0)  # the read at the head has waited for what came first
        span = rtp.timestamp_distance(newest.timestamp, packets[0].timestamp)
        self._jitter.begin(leg, newest.timestamp, int(wait[0]), span if is_awaited else 0)
        self._has_time_line[leg] = True
        for packet in packets:
            self.streams.count(legs, np.array([packet.sequence]), np.array([Continuity.CONTINUES]))
            ahead = self._jitter.ahead(legs, np.array([packet.timestamp]), wait)
            is_free = packet is newest or ahead[0] - wait[0] >= taken
            if is_free and self._jitter.fits(ahead)[0]:
                self._jitter.insert(legs, np.array([packet.timestamp]), packet.codes[None], wait)


def receive_payload_types(
    payload_type: int, name: str, others: tuple[tuple[int, str], ...]
) -> tuple[tuple[int, str], ...]:
    """What a peer may send: what was agreed on, and the type that we send, which it may mirror (RFC 3264 5.1)."""
    return (*others, (payload_type, name)) if payload_type not in dict(others) else others
