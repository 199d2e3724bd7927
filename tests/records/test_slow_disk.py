"""Recorded calls on a disk that is slow: whose frames are late is counted on the engine's own clock.

That clock stands still but for the ticks, and for what is done between them on the loop's thread: a write there that
takes a quarter of a second makes all that follows late by as much, on any machine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from gateway.calls.record import CallRecord
from gateway.calls.recording import CallRecording
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions, OutgoingPackets, PacketBatch
from gateway.records.audio_file import AudioFile, Samples, open_audio_file
from gateway.records.recordings import RecordingOptions, Recordings
from gateway.sip.message import Address
from gateway.transport.media_clock import MediaClock
from gateway.transport.media_loop import TICK_S, MediaLoop
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts

HOST = "127.0.0.1"
CALLS = 4
CALL_S = 8.0
WRITE_S = 0.25
LATE_S = 0.02
PATIENCE_S = 20.0
OPTIONS = LegOptions(payload_type=0, format="PCMU", uplink=AudioFormat.PCMU, downlink=AudioFormat.PCMU)


class Sink:
    def on_audio(self, audio: bytes) -> None:
        pass

    def on_digit(self, digit: str, duration_ms: int) -> None:
        pass

    def on_item_finished(self, item_id: str, content_index: int) -> None:
        pass


class CountingPorts(RtpPorts):
    """Ports that nothing reaches, and that send nothing: frames are counted, and those that are late."""

    def __init__(self, house: House) -> None:
        super().__init__(RtpPortOptions(bind_host=HOST, first_port=37000, last_port=37999, trusted_networks=(HOST,)))
        self._house = house
        self.frames = self.late = 0

    def send(self, packets: OutgoingPackets) -> int:
        self.frames += len(packets.leg)
        self.late += len(packets.leg) * (self._house.now - self._house.media.clock.deadline > LATE_S)
        return len(packets.leg)

    def receive(self, now: float) -> PacketBatch:
        none = np.zeros(0, np.int32)
        return PacketBatch(data=np.zeros((0, 172), np.uint8), length=none, leg=none)


class SlowDisk:
    """Writes take a quarter of a second of the house's clock on the loop's thread; elsewhere until told to go on."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._thread = threading.get_ident()
        self.goes_on = threading.Event()
        self.writes = 0

    def open(self, path: Path, file_format: object, rate_hz: int) -> AudioFile:
        file = open_audio_file(path, "wav", rate_hz)
        write, close = file.write, file.close

        def slow_write(samples: Samples) -> None:
            self._take_time()
            write(samples)

        def slow_close() -> None:
            self._take_time()
            close()

        file.write, file.close = slow_write, slow_close  # type: ignore[method-assign]
        return file

    def _take_time(self) -> None:
        self.writes += 1
        if threading.get_ident() == self._thread:
            self._house.now += WRITE_S
        else:
            self.goes_on.wait(PATIENCE_S)


class House:
    """Recorded calls, their media loop, and the disk."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.disk = SlowDisk(self)
        self.ports = CountingPorts(self)
        engine = MediaEngine(MediaOptions(max_legs=CALLS), seed=1)
        self.media = MediaLoop(engine, self.ports, MediaClock(), time_source=lambda: self.now)
        self.store = Recordings(RecordingOptions(folder=folder, min_free_bytes=0), open_file=self.disk.open)
        self.store.start()
        self.legs = [self.media.open_leg(self.ports.open(), Address(HOST, 9), OPTIONS, Sink()) for _ in range(CALLS)]

    def pass_time(self, seconds: float) -> None:
        """Every tick at its deadline, or as soon as what was before it is done."""
        for _ in range(round(seconds / TICK_S)):
            self.media.clock.deadline += TICK_S
            self.now = max(self.now, self.media.clock.deadline)
            self.media.tick(self.now)

    def skipped(self) -> int:
        return sum(self.media.statistics(leg).skipped_frames for leg in self.legs)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.media.clock.deadline = made.now
    yield made
    made.disk.goes_on.set()
    made.store.close()
    made.ports.shutdown()


def record_of(number: int) -> CallRecord:
    return CallRecord(
        call_id=f"call-{number}",
        trunk="pbx",
        caller="+49301",
        called="7000",
        route="talk",
        started_at=datetime(2026, 11, 30, 9, tzinfo=UTC),
        offered_s=0.0,
    )


async def test_no_frame_is_late_while_the_disk_hangs_and_what_was_recorded_is_whole(house: House) -> None:
    recordings = [CallRecording(house.store, house.media, record_of(number)) for number in range(CALLS)]
    for recording, leg in zip(recordings, house.legs, strict=True):
        recording.start(leg)
    house.pass_time(CALL_S)
    for recording in recordings:
        recording.stop()
    assert house.ports.frames == pytest.approx(CALLS * CALL_S * 50, abs=CALLS)
    assert (house.ports.late, house.skipped()) == (0, 0)
    assert house.disk.writes <= 1
    house.disk.goes_on.set()
    for recording in recordings:
        await recording.close()
        summary = recording._record.recording
        assert summary is not None
        assert (summary.seconds, summary.ended_early) == (pytest.approx(CALL_S, abs=0.02), "")
    assert house.disk.writes > CALLS * CALL_S


async def test_a_tap_that_writes_by_itself_would_be_seen_in_late_frames(house: House, tmp_path: Path) -> None:
    files = [house.disk.open(tmp_path / f"{leg}.wav", "wav", 8000) for leg in house.legs]
    for leg, file in zip(house.legs, files, strict=True):
        house.media.start_recording(leg, lambda samples, file=file: file.write(samples.T))  # type: ignore[misc]
    house.pass_time(2.0)
    assert house.ports.late + house.skipped() > 0.1 * CALLS * 2.0 * 50
    for file in files:
        file.close()
