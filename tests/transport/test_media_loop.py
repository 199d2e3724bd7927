from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.media.codec import AudioFormat
from gateway.media.dtmf import DigitReceived
from gateway.media.engine import ItemFinished, LegOptions, MediaEngine, MediaEvents, MediaOptions, UplinkAudio
from gateway.media.rtp import OutgoingPackets, PacketBatch
from gateway.sip.message import Address
from gateway.sip.sdes import SUITES, SrtpKeys
from gateway.transport import media_loop
from gateway.transport.media_clock import freeze_garbage, thaw_garbage
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import PortState, RtpPort, RtpPortOptions, RtpPorts
from tests.support.aio import eventually

OPTIONS = LegOptions(
    payload_type=0,
    format="PCMU",
    telephone_event_payload_type=101,
    receive_payload_types=((0, "PCMU"),),
    uplink=AudioFormat.PCMU,
    downlink=AudioFormat.PCMU,
)


def outgoing(*rows: tuple[int, bytes]) -> OutgoingPackets:
    data = np.zeros((len(rows), 172), np.uint8)
    for row, (_, payload) in enumerate(rows):
        data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    return OutgoingPackets(
        data=data,
        length=np.array([len(payload) for _, payload in rows], np.int32),
        leg=np.array([leg for leg, _ in rows], np.int32),
    )


def happened(
    uplink: list[UplinkAudio] | None = None,
    digits: list[DigitReceived] | None = None,
    finished: list[ItemFinished] | None = None,
) -> MediaEvents:
    return MediaEvents(uplink=uplink or [], digits=digits or [], finished=finished or [])


class NoReports:
    """RTCP that never comes to anything."""

    def due(self, now: float, offset_s: float) -> list[object]:
        return []

    def farewell(self, leg: int, now: float, offset_s: float) -> None:
        return None


class ScriptedEngine:
    """An engine that plays out and reports what the test says, once, and notes the order of what is asked of it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.open: set[int] = set()
        self.to_send: list[tuple[int, bytes]] = []
        self.to_report = happened()
        self.received: list[tuple[int, bytes]] = []
        self.fault: Exception | None = None
        self.reports = NoReports()

    def open_leg(self, options: LegOptions, now: float) -> int:
        leg = next(leg for leg in range(1000) if leg not in self.open)
        self.open.add(leg)
        return leg

    def close_leg(self, leg: int) -> None:
        self.open.remove(leg)

    def reconfigure_leg(self, leg: int, options: LegOptions, now: float) -> None:
        self.log.append(f"reconfigure {leg} {options.format}")

    def playout(self, now: float) -> OutgoingPackets:
        self.log.append("playout")
        rows, self.to_send = self.to_send, []
        return outgoing(*rows)

    def receive(self, batch: PacketBatch, now: float) -> None:
        self.log.append("receive")
        self.received += [
            (int(leg), batch.data[row, :length].tobytes())
            for row, (leg, length) in enumerate(zip(batch.leg, batch.length, strict=True))
        ]

    def transcode(self, now: float) -> MediaEvents:
        self.log.append("transcode")
        if self.fault is not None:
            raise self.fault
        report, self.to_report = self.to_report, happened()
        return report

    def statistics(self, leg: int) -> str:
        return f"statistics of {leg}"


@dataclass
class Sink:
    """Notes what it is told; does what `on_event` says, which may raise."""

    heard: list[object] = field(default_factory=list)
    on_event: Callable[[object], None] = lambda _event: None

    def _note(self, event: object) -> None:
        self.heard.append(event)
        self.on_event(event)

    def on_audio(self, audio: bytes) -> None:
        self._note(audio)

    def on_digit(self, digit: str, duration_ms: int) -> None:
        self._note((digit, duration_ms))

    def on_item_finished(self, item_id: str, content_index: int) -> None:
        self._note((item_id, content_index))


def make_ports() -> RtpPorts:
    return RtpPorts(RtpPortOptions(bind_host="127.0.0.1", first_port=20000, last_port=29999))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def media(engine: ScriptedEngine) -> Iterator[MediaLoop]:
    media = MediaLoop(engine, make_ports())  # type: ignore[arg-type]
    yield media
    media.stop()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(2)
        yield udp


def address_of(udp: socket.socket) -> Address:
    return Address(*udp.getsockname())


def opened(media: MediaLoop, peer: socket.socket, sink: Sink) -> tuple[int, RtpPort]:
    port = media.ports.open()
    return media.open_leg(port, address_of(peer), OPTIONS, sink), port


async def test_a_tick_sends_before_it_receives_and_transcodes_last(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    leg, port = opened(media, peer, Sink())
    engine.to_send = [(leg, b"due now")]
    peer.sendto(b"from the caller", ("127.0.0.1", port.port))
    media.tick(1.0)
    assert engine.log == ["playout", "receive", "transcode"]
    assert peer.recv(100) == b"due now"
    assert engine.received == [(leg, b"from the caller")]


async def test_each_event_reaches_the_sink_of_its_leg(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    sinks = [Sink(), Sink()]
    one, two = (opened(media, peer, sink)[0] for sink in sinks)
    engine.to_report = happened(
        [UplinkAudio(leg=two, audio=b"two"), UplinkAudio(leg=one, audio=b"one")],
        [DigitReceived(leg=one, digit="5", duration_ms=120)],
        [ItemFinished(leg=two, item_id="item", content_index=1)],
    )
    media.tick(1.0)
    assert sinks[0].heard == [b"one", ("5", 120)]
    assert sinks[1].heard == [b"two", ("item", 1)]


async def test_a_sink_that_raises_costs_no_other_leg_and_is_still_told(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    def fail(_event: object) -> None:
        raise RuntimeError("broken sink")

    broken, sound = Sink(on_event=fail), Sink()
    one, two = (opened(media, peer, sink)[0] for sink in (broken, sound))
    for _ in range(3):
        engine.to_report = happened([UplinkAudio(leg=one, audio=b"x"), UplinkAudio(leg=two, audio=b"y")])
        media.tick(1.0)
    assert sound.heard == [b"y"] * 3
    assert broken.heard == [b"x"] * 3
    assert media.failures == 3


async def test_an_engine_that_raises_does_not_stop_the_clock(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    opened(media, peer, Sink())
    engine.fault = RuntimeError("broken engine")
    media.start()
    await eventually(lambda: media.failures >= 3)
    engine.fault = None
    engine.log.clear()
    await eventually(lambda: engine.log.count("transcode") >= 3)


async def test_a_sink_may_close_its_leg_and_hears_nothing_more_of_that_batch(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    sink = Sink(on_event=lambda _event: media.close_leg(leg))
    leg, port = opened(media, peer, sink)
    engine.to_report = happened([UplinkAudio(leg=leg, audio=b"x")], [DigitReceived(leg=leg, digit="1", duration_ms=80)])
    media.tick(1.0)
    assert sink.heard == [b"x"]
    assert engine.open == set()
    assert port.state is PortState.RESTING


async def test_events_of_a_closed_leg_never_reach_the_next_one_of_that_number(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    heir = Sink()

    def replace(_event: object) -> None:
        media.close_leg(old)
        assert opened(media, peer, heir)[0] == old

    old, _ = opened(media, peer, Sink(on_event=replace))
    engine.to_report = happened([UplinkAudio(leg=old, audio=b"x"), UplinkAudio(leg=old, audio=b"of the old call")])
    media.tick(1.0)
    assert heir.heard == []


async def test_many_events_are_handed_off_in_slices_with_the_loop_running_between(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    sink = Sink()
    leg, _ = opened(media, peer, sink)
    engine.to_report = happened([UplinkAudio(leg=leg, audio=b"%d" % number) for number in range(100)])
    seen_between: list[int] = []

    def between() -> None:
        seen_between.append(len(sink.heard))
        if len(sink.heard) < 100:
            asyncio.get_running_loop().call_soon(between)

    media.tick(1.0)
    between()
    await eventually(lambda: len(sink.heard) == 100)
    assert seen_between[0] == media_loop.SLICE_EVENTS
    assert max(after - before for before, after in pairwise(seen_between)) <= media_loop.SLICE_EVENTS
    assert sink.heard == [b"%d" % number for number in range(100)]


async def test_a_backlog_of_events_is_handed_off_faster_than_it_grows(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    sink = Sink()
    leg, _ = opened(media, peer, sink)
    for _ in range(10):  # ticks that come without the loop having had a turn
        engine.to_report = happened([UplinkAudio(leg=leg, audio=b"x")] * 100)
        media.tick(1.0)
    before = len(sink.heard)
    media._hand_off_slice()
    assert len(sink.heard) - before > media_loop.SLICE_EVENTS
    await eventually(lambda: len(sink.heard) == 1000)


async def test_without_legs_the_engine_rests_and_so_do_the_ports(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    media.ports.close(media.ports.open(), 1.0)
    media.tick(2.0)
    assert media.ports.resting_count == 1
    media.tick(31.0)
    assert media.ports.resting_count == 0
    assert engine.log == []


async def test_closing_a_leg_gives_its_port_back_once(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    leg, port = opened(media, peer, Sink())
    media.close_leg(leg)
    media.close_leg(leg)
    media.ports.close(port, 1.0)
    assert media.leg_count == media.ports.open_count == 0
    assert media.ports.resting_count == 1


async def test_a_leg_whose_port_cannot_be_attached_leaves_no_leg_behind(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    port = media.ports.open()
    media.ports.close(port, 1.0)
    with pytest.raises(ValueError, match="is resting"):
        media.open_leg(port, address_of(peer), OPTIONS, Sink())
    assert engine.open == set()
    assert media.leg_count == 0


async def test_a_changed_leg_is_sent_to_its_new_address(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        leg, _ = opened(media, elsewhere, Sink())
        media.change_leg(leg, address_of(peer), OPTIONS)
        engine.to_send = [(leg, b"moved")]
        media.tick(1.0)
    assert peer.recv(100) == b"moved"
    assert f"reconfigure {leg} PCMU" in engine.log


async def test_a_secured_leg_sends_nothing_in_clear_until_it_is_plain_again(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    leg, _ = opened(media, peer, Sink())
    packet = b"\x80\x00\x00\x01" + bytes(8) + b"speech" * 20
    engine.to_send = [(leg, packet)]
    media.secure_leg(leg, SrtpKeys(suite=SUITES[0], local_key=bytes(30), remote_key=bytes(30)))
    media.tick(1.0)
    assert b"speech" not in peer.recv(200)
    media.change_leg(leg, address_of(peer), OPTIONS)
    engine.to_send = [(leg, b"\x80\x00\x00\x02" + packet[4:])]
    media.tick(1.0)
    assert b"speech" not in peer.recv(200)
    media.secure_leg(leg, None)
    engine.to_send = [(leg, packet)]
    media.tick(1.0)
    assert peer.recv(200) == packet


async def test_statistics_are_the_engines_and_the_ports(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    leg, port = opened(media, peer, Sink())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        stranger.sendto(b"noise", ("127.0.0.1", port.port))
    media.tick(1.0)
    assert media.statistics(leg) == f"statistics of {leg}"
    assert media.port_counters(leg).foreign == 1


async def test_every_packet_sent_counts_in_the_send_lateness(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    leg, _ = opened(media, peer, Sink())
    media.start()
    await eventually(lambda: engine.log)
    engine.to_send = [(leg, b"1"), (leg, b"2")]
    await eventually(lambda: media.send_lateness.count == 2)
    assert 0 <= media.send_lateness.p50_ms <= media.send_lateness.max_ms < 1000
    assert media.tick_time.count > 0


async def test_after_stop_nothing_is_called_and_legs_can_still_be_closed(
    media: MediaLoop, engine: ScriptedEngine, peer: socket.socket
) -> None:
    sink = Sink()
    leg, port = opened(media, peer, sink)
    tasks = asyncio.all_tasks()
    media.start()
    await eventually(lambda: engine.log)
    engine.to_report = happened([UplinkAudio(leg=leg, audio=b"%d" % number) for number in range(100)])
    media.tick(1.0)
    media.stop()
    media.stop()
    handed, ticks = len(sink.heard), len(engine.log)
    loop = asyncio.get_running_loop()
    later = loop.time() + 0.03
    await eventually(lambda: loop.time() > later)
    assert (len(sink.heard), len(engine.log)) == (handed, ticks)
    assert asyncio.all_tasks() == tasks
    assert media.statistics(leg) == f"statistics of {leg}"
    media.close_leg(leg)
    media.ports.close(port, 2.0)
    assert port.state is PortState.CLOSED
    assert engine.open == set()


async def test_frozen_garbage_is_collected_in_slack_ticks(media: MediaLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: collected.append(generation) or 0)
    freeze_garbage()
    try:
        collected.clear()
        began = time.monotonic()
        media.tick(began + 1.5)
        media.tick(began + 12.0)
        assert collected == [0, 1]
    finally:
        thaw_garbage()


# With the real engine.


class Caller:
    """A peer that says 20 ms of one octet value whenever asked, and collects what it is sent."""

    def __init__(self, udp: socket.socket) -> None:
        self.udp = udp
        udp.setblocking(False)
        self.sequence = 0
        self.packets: list[bytes] = []

    def say(self, octet: int, to_port: int) -> None:
        header = struct.pack("!BBHII", 0x80, 0, self.sequence & 0xFFFF, 160 * self.sequence, 0x1234)
        self.udp.sendto(header + bytes([octet]) * 160, ("127.0.0.1", to_port))
        self.sequence += 1

    def collect(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.packets.append(self.udp.recv(2048))
        return self.packets


@pytest.fixture
def real_media() -> Iterator[MediaLoop]:
    media = MediaLoop(MediaEngine(MediaOptions(max_legs=32)), make_ports())
    yield media
    media.stop()


async def test_what_is_played_leaves_as_rtp_and_its_end_is_told(real_media: MediaLoop, peer: socket.socket) -> None:
    caller, sink = Caller(peer), Sink()
    leg, port = opened(real_media, peer, sink)
    real_media.start()
    real_media.engine.play(leg, "hello", b"\x21" * 800)
    real_media.engine.end_item(leg, "hello")
    await eventually(lambda: ("hello", 0) in sink.heard)
    packets = caller.collect()
    numbers = [int.from_bytes(packet[2:4], "big") for packet in packets]
    assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
    assert b"".join(packet[12:] for packet in packets).count(b"\x21") == 800
    assert real_media.statistics(leg).packets_sent == len(packets)
    assert {packet[1] & 0x7F for packet in packets} == {0}
    assert port.state is PortState.ATTACHED


async def test_what_the_caller_says_reaches_the_sink_and_a_stranger_does_not(
    real_media: MediaLoop, peer: socket.socket
) -> None:
    caller, sink = Caller(peer), Sink()
    _, port = opened(real_media, peer, sink)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        foreign.bind(("127.0.0.9", 0))
        stranger = Caller(foreign)
        real_media.start()

        def heard() -> bool:
            caller.collect()
            if len(caller.packets) > caller.sequence:  # our packets are its clock
                caller.say(0x42, port.port)
                stranger.say(0x99, port.port)
            return sum(audio.count(0x42) for audio in sink.heard if isinstance(audio, bytes)) >= 800

        await eventually(heard)
    assert all(b"\x99" not in audio for audio in sink.heard if isinstance(audio, bytes))


async def test_twenty_legs_keep_their_time_line(real_media: MediaLoop, peer: socket.socket) -> None:
    legs = [opened(real_media, peer, Sink())[0] for _ in range(20)]
    real_media.start()
    began = time.monotonic()
    await eventually(lambda: real_media.statistics(legs[0]).packets_sent >= 25, within_s=5)
    took_s = time.monotonic() - began
    for leg in legs:
        statistics = real_media.statistics(leg)
        assert abs((statistics.packets_sent + statistics.skipped_frames) - took_s * 50) <= 5
    assert real_media.send_lateness.count == sum(real_media.statistics(leg).packets_sent for leg in legs)
    assert real_media.send_lateness.p50_ms < 20
    assert real_media.failures == 0


class RecordedLeg:
    """A leg of a real engine on a clock of its own, with somebody who records it."""

    def __init__(self, peer: socket.socket) -> None:
        self.now_s = 1.0
        self.media = MediaLoop(MediaEngine(MediaOptions(max_legs=4)), make_ports(), time_source=lambda: self.now_s)
        self.leg, _ = opened(self.media, peer, Sink())
        self.pieces: list[np.ndarray] = []
        self.media.start_recording(self.leg, self.pieces.append)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.005)):
            self.media.tick(self.now_s)
            self.now_s += 0.005

    @property
    def samples(self) -> int:
        return sum(piece.shape[1] for piece in self.pieces)


async def test_a_recorded_leg_is_given_away_while_it_lasts_and_to_its_end(peer: socket.socket) -> None:
    recorded = RecordedLeg(peer)
    recorded.media.engine.play(recorded.leg, "item", bytes([0x20]) * 8000)
    recorded.run(1.8)
    assert 8000 <= recorded.samples < 1.8 * 8000
    recorded.media.stop_recording(recorded.leg)
    assert recorded.samples == pytest.approx(1.8 * 8000, abs=40)
    sent = np.concatenate(recorded.pieces, axis=1)[1]
    assert np.count_nonzero(sent) == 8000
    recorded.run(1.0)
    recorded.media.stop_recording(recorded.leg)
    assert recorded.samples == pytest.approx(1.8 * 8000, abs=40)
    recorded.media.close_leg(recorded.leg)
    recorded.media.stop_recording(recorded.leg)
    recorded.media.stop()


async def test_a_recording_that_raises_ends_and_the_call_goes_on(peer: socket.socket) -> None:
    recorded = RecordedLeg(peer)

    def fail(_samples: object) -> None:
        recorded.pieces.append(np.zeros((2, 0)))
        raise RuntimeError("broken writer")

    recorded.media.stop_recording(recorded.leg)
    recorded.pieces.clear()
    recorded.media.start_recording(recorded.leg, fail)
    with capture_logs():  # a traceback on the console costs more than the loop is allowed
        for _ in range(10):
            recorded.run(0.3)
            await asyncio.sleep(0)
    assert len(recorded.pieces) == recorded.media.failures == 1
    assert recorded.media.statistics(recorded.leg).packets_sent >= 149
    recorded.media.stop()
