"""The media engine: audio of all calls between RTP and speech models, 5 ms of clock at a time.

One call of the clock is one tick; a leg is due every fourth, in one of four phase groups::

    playout(now)      out first: nearly all of it is encoded already, so that nothing delays it
        FramePacer.due ─legs[n]─> PlayoutQueues.take ─uint8[n, 160]─> RtpSender.build ─> OutgoingPackets
                                      keys of Dialling, as tones ───┘  └─── as events

    receive(batch)    every datagram that the ports had
        PacketBatch uint8[m, max_bytes] ─> rtp.parse ─> Reception ─codes uint16[k, 160]─> JitterBuffers

    transcode(now)    one batch for all calls, both ways
        JitterBuffers ─uint16[n, 160]─> decode int16[n, 160] ─> UpSampler int16[n, 480] ─> UplinkAudio, a slice a leg
                                    └─> ToneDetector, for legs whose peer sends no events ─> DigitReceived
        chunks of play() ─> DownSampler int16[r, 548] > int16[r, 160] ─> encode uint8[r, 160] ─> PlayoutQueues

        G.722 remembers, and is coded leg by leg, when it is read and when it leaves: gateway.media.wideband

    then the caller hands off: uplink audio to the sessions, keys and ends of items to the calls, recordings to disk

Legs are slots: rows of every array in here. The engine owns no clock and no socket; `now` is monotonic time in seconds,
which must not go back. It never raises for what a peer or a provider sent.

A leg that may send always sends, silence when it has nothing to say: the peer's time line, address translation on the
way and recordings stay whole. Timestamps follow the clock: frames that could not be sent in time because nothing called
`playout` for more than 60 ms are never sent in a bunch. Their packets are left out, and queued speech goes on after
the pause with nothing lost.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from gateway.errors import ResourceError, StateError
from gateway.media import codec
from gateway.media.codec import (
    G722,
    SAMPLES_PER_MS,
    TELEPHONE_RATE_HZ,
    AudioFormat,
    Bytes,
    Indices,
    Mask,
    PayloadFormat,
    Samples,
    payload_format,
)
from gateway.media.dialling import Dialling
from gateway.media.downlink import Downlink, ItemFinished
from gateway.media.dtmf import DigitReceived
from gateway.media.g722 import WIDEBAND_REMEDY, is_available
from gateway.media.jitter import JitterBuffers, JitterOptions
from gateway.media.ledger import HeardAudio
from gateway.media.pacing import APPENDS_MS, FramePacer, tick_of
from gateway.media.playout import PlayoutQueues
from gateway.media.quality import burst_ratio, opinion, rating
from gateway.media.reception import Reception, receive_payload_types
from gateway.media.recorder import SENT, RecordedAudio, Recorder
from gateway.media.reports import ReportExchange
from gateway.media.rtp import HEADER_BYTES, OutgoingPackets, PacketBatch
from gateway.media.sender import MAX_FRAME_MS, RtpSender
from gateway.media.tones import ToneDetector
from gateway.media.uplink import FRAME_MS, Uplink, UplinkAudio

__all__ = [
    "DigitReceived",
    "HeardAudio",
    "ItemFinished",
    "LegOptions",
    "LegStatistics",
    "MediaEngine",
    "MediaEvents",
    "MediaOptions",
    "OutgoingPackets",
    "PacketBatch",
    "PeerSigns",
    "RecordedAudio",
    "UplinkAudio",
]

_SEND_PATIENCE_MS = 60
_ECHO_S = 0.5  # how long after our own keys a leg's tones may be their echo, jitter buffer and all
_READ_PATIENCE_MS = 900  # what a jitter buffer can hold while nobody reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaOptions:
    """Sizes of the media plane, the same for every leg."""

    max_legs: int = 1024
    """legs open at once"""
    jitter: JitterOptions = field(default_factory=JitterOptions)
    output_queue_s: int = 120
    """speech that a leg may have queued; what a provider sends beyond is dropped"""
    append_ms: int = 20
    """uplink audio handed off at once, until `MediaEngine.append_ms` is set: 20, 40, 60 or 100"""

    def __post_init__(self) -> None:
        if self.append_ms not in APPENDS_MS:
            raise ValueError(f"append_ms is 20, 40, 60 or 100, not {self.append_ms}")
        if self.max_legs < 1 or self.output_queue_s < 1:
            raise ValueError("max_legs and output_queue_s are at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LegOptions:
    """What was negotiated for one leg, and what its provider takes and gives."""

    payload_type: int
    """of the audio we send"""
    format: str
    """encoding name of the audio we send: "PCMU", "PCMA" or "G722\""""
    telephone_event_payload_type: int | None = None
    """of the events we send (RFC 4733); None: our keys are tones in the audio"""
    receive_telephone_event_payload_types: tuple[int, ...] = ()
    """of the events the peer sends, where it may use others than we do"""
    hears_tones: bool = False
    """whether tones in the peer's audio are keys; as soon as an event comes they are not"""
    uplink: AudioFormat = AudioFormat.PCM16_24K
    downlink: AudioFormat = AudioFormat.PCM16_24K
    ptime_ms: int = 20
    """length of packets that the peer asked for (RFC 8866 6.4); what it sends may have any"""
    receive_payload_types: tuple[tuple[int, str], ...] = ()
    """payload types that the peer may send, with their encoding names, besides `payload_type`"""

    def __post_init__(self) -> None:
        if self.has_g722 and not is_available():
            raise ValueError(f"G.722 without libg722: {WIDEBAND_REMEDY}")
        if self.ptime_ms < 1:
            raise ValueError(f"ptime_ms is at least 1, not {self.ptime_ms}")

    @property
    def frame_ms(self) -> int:
        """Length of the packets we send: `ptime_ms` in whole tens, 10 to 60."""
        return min(max(self.ptime_ms // 10 * 10, 10), MAX_FRAME_MS)

    @property
    def has_g722(self) -> bool:
        """Whether G.722 is sent or may come."""
        names = (self.format, *(name for _, name in self.receive_payload_types))
        return G722 in [payload_format(name) for name in names]

    @property
    def payload(self) -> PayloadFormat:
        """The format of the audio we send."""
        return payload_format(self.format)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEvents:
    """What a tick brought."""

    uplink: list[UplinkAudio]
    digits: list[DigitReceived]
    finished: list[ItemFinished]
    recorded: list[RecordedAudio] = field(default_factory=list)
    """of recorded legs, half a second each"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegStatistics:
    """A leg's counters since it was opened."""

    packets_sent: int
    bytes_sent: int
    """payload octets"""
    packets_received: int
    """RTP packets from the peer, duplicates and unknown payload types among them"""
    bytes_received: int
    """payload octets"""
    packets_lost: int
    """by sequence numbers; packets that came late are not lost"""
    packets_late: int
    """came after their place on the time line was played"""
    packets_duplicate: int
    packets_reordered: int
    concealed_ms: int
    """audio made up for the model in place of missing packets"""
    jitter_ms: float
    """interarrival jitter (RFC 3550 6.4.1)"""
    overflow_ms: int
    """speech of the provider dropped because the queue was full"""
    skipped_frames: int
    """frames not sent because the clock came too late for them"""
    last_received_s: float | None
    """when the last packet came, in the engine's time; None before the first"""
    reports_received: int
    """RTCP of the peer; what follows is of it, and None where it did not say"""
    remote_lost: int | None
    """of our packets, as the peer counts"""
    remote_jitter_ms: float | None
    """of our packets, as the peer measures"""
    round_trip_ms: float | None
    """between peer and gateway; smoothed"""
    mos: float | None
    """how good the peer sounds here, 1 to 4.5 (`gateway.media.quality`); None before its first packet"""
    remote_mos: float | None
    """how good we sound there"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSigns:
    """What there is of a leg's peer at the moment; cheap to ask for. Times are the engine's, None: never."""

    last_received_s: float | None
    """its last RTP packet"""
    last_report_s: float | None
    """its last RTCP"""
    unheard_reports: int
    """RTCP in a row that say nothing of our stream"""
    has_sound: bool
    """whether anything but digital silence came"""


class MediaEngine:
    """All legs of this process. Methods that name a leg raise StateError if it is not open."""

    def __init__(self, options: MediaOptions | None = None, seed: int | None = None) -> None:
        """`seed` makes SSRCs, sequence numbers and timestamps repeatable; without, they cannot be guessed."""
        self.options = options = MediaOptions() if options is None else options
        legs = options.max_legs
        self._slots = deque(range(legs))  # the slot closed longest ago is used first
        self._legs: dict[int, LegOptions] = {}
        self._sends = np.zeros(legs, np.bool_)
        self._skipped = np.zeros(legs, np.int64)
        self._send_pacer = FramePacer(legs, patience_ms=_SEND_PATIENCE_MS)
        self._read_pacer = FramePacer(legs, patience_ms=_READ_PATIENCE_MS)
        self._jitter = JitterBuffers(legs, options.jitter)
        self._reception = Reception(legs, self._jitter, self._read_pacer)
        self._recorder = Recorder(legs, rate_hz=TELEPHONE_RATE_HZ)
        self._tones = ToneDetector(legs)
        self._uplink = Uplink(
            legs,
            tones=self._tones,
            jitter=self._jitter,
            reception=self._reception,
            pacer=self._read_pacer,
            recorder=self._recorder,
            append_ms=options.append_ms,
        )
        self._queues = PlayoutQueues(legs, queue_ms=options.output_queue_s * 1000)
        self._downlink = Downlink(legs, queues=self._queues, queue_ms=options.output_queue_s * 1000)
        self._dialling = Dialling()
        self._sender = RtpSender(legs, np.random.default_rng(seed), self._dialling)
        self.reports = ReportExchange(
            sender=self._sender,
            streams=self._reception.streams,
            pacer=self._send_pacer,
            rng=np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0]),
        )
        """RTCP, of legs that are entered there"""
        self._digits: list[DigitReceived] = []

    # Legs.

    def open_leg(self, options: LegOptions, now: float) -> int:
        """Take a slot; the leg sends and receives from now on. Raises: ResourceError if all slots are taken."""
        if not self._slots:
            raise ResourceError(f"all {self.options.max_legs} media legs are in use")
        leg = self._slots.popleft()
        tick = tick_of(now)
        self._legs[leg] = options
        self._jitter.reset(leg)
        self._reception.open(leg)
        self._uplink.open(leg, options.uplink)
        self._queues.open(leg, payload=options.payload, frame_ms=options.frame_ms)
        self._downlink.open(leg, law=options.payload, form=options.downlink)
        self._sender.open(leg)
        self._apply(leg, options)
        self._sends[leg] = True
        self._skipped[leg] = 0
        self._send_pacer.open(leg, tick=tick, frame_ms=options.frame_ms)
        self._read_pacer.open(leg, tick=tick, frame_ms=FRAME_MS)
        return leg

    def close_leg(self, leg: int) -> None:
        """Give the slot back; what is queued is dropped."""
        self._options_of(leg)
        self._recorder.stop(leg, 0)
        del self._legs[leg]
        self.reports.close(leg)
        self._send_pacer.close(leg)
        self._read_pacer.close(leg)
        self._reception.close(leg)
        self._tones.close(leg)
        self._dialling.forget(leg)
        self._uplink.close(leg)
        self._downlink.close(leg)
        self._queues.clear(leg)
        self._digits = [digit for digit in self._digits if digit.leg != leg]
        self._slots.append(leg)

    def reconfigure_leg(self, leg: int, options: LegOptions, now: float) -> None:
        """Go on with what was negotiated anew. Our stream keeps its SSRC and numbers, queued speech is kept."""
        before = self._options_of(leg)
        self._legs[leg] = options
        if options.uplink is not before.uplink:
            self._uplink.open(leg, options.uplink)
        self._queues.change(leg, payload=options.payload, frame_ms=options.frame_ms)
        self._downlink.change(leg, law=options.payload, form=options.downlink)
        self._send_pacer.change_period(leg, options.frame_ms)
        self._apply(leg, options)

    def set_direction(self, leg: int, *, send: bool, receive: bool) -> None:
        """Hold and resume (RFC 3264 8.4).

        While a leg does not send, its queue stands still; while it does not receive, its provider hears silence.
        """
        self._options_of(leg)
        self._sends[leg] = send
        self._reception.is_heard[leg] = receive

    @property
    def append_ms(self) -> int:
        """Length of the pieces in which uplink audio is handed off, for all legs: 20, 40, 60 or 100."""
        return self._uplink.append_ms

    @append_ms.setter
    def append_ms(self, length_ms: int) -> None:
        if length_ms not in APPENDS_MS:
            raise ValueError(f"append_ms is 20, 40, 60 or 100, not {length_ms}")
        self._uplink.append_ms = length_ms

    # The tick.

    def playout(self, now: float) -> OutgoingPackets:
        """The packets that are due; to be called first in every tick. The arrays are valid until the next call."""
        legs, skipped = self._send_pacer.due(tick_of(now))
        if not legs.size:
            return self._sender.nothing
        self._skipped[legs] += skipped
        sends = self._sends[legs]
        if not sends.all():
            held = legs[~sends]
            self._sender.pause(held, (skipped[~sends] + 1) * self._queues.frame_samples(held))
            legs, skipped = legs[sends], skipped[sends]
        self._downlink.hurry(legs)
        dialling = self._dialling.among(legs)
        payloads, payload_bytes, is_voiced = self._queues.take(legs, waits=dialling)
        tones = {} if dialling is None else self._dialling.tones(legs, dialling, payload_bytes)
        self._downlink.wideband.encode(legs, payloads, payload_bytes, is_voiced, tones)
        for row, tone in tones.items():
            payload = self._legs[legs.item(row)].payload
            if not payload.is_wideband:
                payloads[row, : payload_bytes[row]] = codec.encode(tone, payload)
            is_voiced[row] = True
            self._tones.ignore(legs.item(row), now + _ECHO_S)
        packets = self._sender.build(legs, payloads, payload_bytes, skipped=skipped, is_voiced=is_voiced)
        recorded = self._recorder.among(legs)
        if recorded.size:
            is_audio = packets.length[recorded] == payload_bytes[recorded] + HEADER_BYTES  # and no key
            self._record_sent(legs[recorded], payloads[recorded], payload_bytes[recorded], is_audio)
        return packets

    def _record_sent(self, legs: Indices, payloads: Bytes, payload_bytes: Indices, is_audio: Mask) -> None:
        samples = codec.decode(self._queues.codes(legs, payloads))
        self._downlink.wideband.recall(legs, samples)
        samples[~is_audio] = 0
        begun = self._send_pacer.begun(legs)
        for length in set(payload_bytes.tolist()):
            chosen = payload_bytes == length
            self._recorder.write(SENT, legs[chosen], begun[chosen], samples[chosen, :length])

    def receive(self, batch: PacketBatch, now: float) -> None:
        """Take in what the ports received. Rows of legs that are not open are ignored."""
        self._digits += self._reception.receive(batch, now)

    def transcode(self, now: float) -> MediaEvents:
        """Convert all that is due in both directions; to be called last in every tick."""
        uplink = self._uplink.process(tick_of(now), now)
        finished = self._downlink.process()
        digits, self._digits = self._digits + self._reception.poll(now) + self._tones.take(), []
        recorded = self._recorder.take(tick_of(now))
        return MediaEvents(uplink=uplink, digits=digits, finished=finished, recorded=recorded)

    # Recording.

    @property
    def recording_rate_hz(self) -> int:
        """Sample rate of `RecordedAudio`."""
        return self._recorder.rate_hz

    def start_recording(self, leg: int, now: float) -> None:
        """Record both directions from now on, unless that is done already: `RecordedAudio` comes by `transcode`."""
        self._options_of(leg)
        if not self._recorder.is_recorded(leg):
            self._recorder.start(leg, tick_of(now))

    def pause_recording(self, leg: int, *, is_paused: bool) -> None:
        """Let silence be recorded, or audio again. Nothing happens where the leg is not recorded."""
        self._options_of(leg)
        if self._recorder.is_recorded(leg):
            self._recorder.pause(leg, is_paused=is_paused)

    def stop_recording(self, leg: int, now: float) -> list[RecordedAudio]:
        """End a leg's recording, and tell the rest of it."""
        self._options_of(leg)
        return self._recorder.stop(leg, tick_of(now))

    # Speech to the caller.

    def play(self, leg: int, item_id: str, audio: bytes, content_index: int = 0) -> None:
        """Queue audio of an item in the downlink format: any number of bytes, half a sample waits for its rest."""
        self._options_of(leg)
        self._downlink.play(leg, item_id, content_index, audio)

    def play_pcm(self, leg: int, item_id: str, pcm: Samples) -> None:
        """Queue a prompt of our own, int16[any] at 8 kHz."""
        self._options_of(leg)
        self._downlink.play_prompt(leg, item_id, pcm.astype(np.int16))

    def end_item(self, leg: int, item_id: str) -> None:
        """No more audio for an item: `ItemFinished` follows for each of its contents when its last sample has left."""
        self._options_of(leg)
        self._downlink.end_item(leg, item_id)

    def flush(self, leg: int) -> tuple[HeardAudio, ...]:
        """Barge-in: drop everything not yet sent. Tells how far each item that was not over was heard, in order."""
        self._options_of(leg)
        return self._downlink.flush(leg)

    def queued_ms(self, leg: int) -> float:
        """Speech still to be sent."""
        self._options_of(leg)
        return self._queues.queued(leg) / SAMPLES_PER_MS + self._downlink.waiting_ms(leg)

    def frame_ms(self, leg: int) -> int:
        """Length of the packets that a leg sends."""
        return self._options_of(leg).frame_ms

    def is_silent(self, leg: int) -> bool:
        """Whether the peer hears nothing: no speech is to be sent, and none was in the last packet."""
        return not self.queued_ms(leg) and not self._sender.was_voiced(leg)

    def send_digits(self, leg: int, digits: str, *, duration_ms: int = 100, gap_ms: int = 100) -> None:
        """Press keys towards the peer, as telephone events where it takes them, else as tones; speech waits meanwhile.

        Raises:
            ValueError: other keys than 0-9 * # A-D, or longer ones than 8 s.
        """
        self._options_of(leg)
        self._dialling.dial(leg, digits, duration_ms=duration_ms, gap_ms=gap_ms)

    def statistics(self, leg: int) -> LegStatistics:
        """The leg's counters."""
        self._options_of(leg)
        streams, peer = self._reception.streams, self.reports.view(leg)
        lost = int(streams.lost(np.array([leg]))[0])
        return LegStatistics(
            packets_sent=int(self._sender.packets[leg]),
            bytes_sent=int(self._sender.octets[leg]),
            packets_received=int(self._reception.packets[leg]),
            bytes_received=int(self._reception.octets[leg]),
            packets_lost=lost,
            packets_late=int(self._jitter.late[leg]),
            packets_duplicate=int(streams.duplicates[leg]),
            packets_reordered=int(streams.reordered[leg]),
            concealed_ms=int(self._jitter.concealed[leg]) // SAMPLES_PER_MS,
            jitter_ms=streams.jitter_ms(leg),
            overflow_ms=self._downlink.overflow_ms(leg),
            skipped_frames=int(self._skipped[leg]),
            last_received_s=self._reception.last_received_s(leg),
            reports_received=peer.reports,
            remote_lost=peer.lost,
            remote_jitter_ms=peer.jitter_ms,
            round_trip_ms=peer.round_trip_ms,
            mos=self._mos(leg, lost, peer.round_trip_ms),
            remote_mos=None if peer.loss is None else self._opinion(leg, peer.loss, 1.0, peer.round_trip_ms),
        )

    def signs(self, leg: int) -> PeerSigns:
        """Whether the leg's peer is there and heard."""
        self._options_of(leg)
        return PeerSigns(
            last_received_s=self._reception.last_received_s(leg),
            last_report_s=self.reports.last_report_s(leg),
            unheard_reports=self.reports.unheard(leg),
            has_sound=bool(self._reception.has_sound[leg]),
        )

    def _mos(self, leg: int, lost: int, round_trip_ms: float | None) -> float | None:
        """Of what is heard here: packets that came too late to be played are as good as lost."""
        streams, missed = self._reception.streams, lost + int(self._jitter.late[leg])
        expected = int(self._reception.packets[leg] - streams.duplicates[leg]) + lost
        if expected <= 0:
            return None
        bursts = max(int(streams.gaps[leg] - streams.reordered[leg]), 1)
        burst = burst_ratio(lost=lost, bursts=bursts, expected=expected)
        return self._opinion(leg, missed / expected, burst, round_trip_ms)

    def _opinion(self, leg: int, loss: float, burst: float, round_trip_ms: float | None) -> float:
        """One way is half the round trip, a packet's own length and the jitter buffer, which the peer has one like."""
        delay_ms = (round_trip_ms or 0.0) / 2 + self._legs[leg].frame_ms + self._jitter.delay_ms(leg)
        return round(opinion(rating(delay_ms=delay_ms, loss=loss, burst=burst)), 2)

    def _options_of(self, leg: int) -> LegOptions:
        options = self._legs.get(leg)
        if options is None:
            raise StateError(f"media leg {leg} is not open")
        return options

    def _apply(self, leg: int, options: LegOptions) -> None:
        events = options.telephone_event_payload_type
        self._sender.change(leg, payload_type=options.payload_type, event_payload_type=events)
        self._dialling.change(leg, payload=options.payload if events is None else None)
        types = receive_payload_types(options.payload_type, options.format, options.receive_payload_types)
        audio = dict(types)
        mirrored = (events,) if events is not None and events not in audio else ()
        event_types = (*mirrored, *options.receive_telephone_event_payload_types)
        self._reception.change(leg, payload_types=types, event_payload_types=event_types)
        (self._tones.open if options.hears_tones else self._tones.close)(leg)
        self._jitter.expects_wideband |= options.has_g722
