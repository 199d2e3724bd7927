"""How late frames are while calls are recorded, and the disk is slow.

    python -m tests.bench.slow_disk [--calls 100] [--seconds 10] [--delay-ms 500] [--format wav]

The media loop of the product on its real clock, real sockets, every call recorded as a call records; nobody listens.
In turns: nothing recorded, recorded on the disk as it is, and on one that takes `--delay-ms` more for each piece of
half a second, and as long again to bring a file to the disk. Frames count as late by the engine's own clock: when the
kernel had them, behind the deadline of their tick. On a busy machine the first line says what is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from gateway.calls.record import CallRecord
from gateway.calls.recording import CallRecording
from gateway.media.codec import AudioFormat
from gateway.media.engine import LegOptions, MediaEngine, MediaOptions
from gateway.records.audio_file import AudioFile, FileFormat, open_audio_file
from gateway.records.recordings import RecordingOptions, Recordings
from gateway.sip.message import Address
from gateway.transport import event_loop
from gateway.transport.media_clock import LatenessHistogram, freeze_garbage
from gateway.transport.media_loop import MediaLoop
from gateway.transport.rtp_ports import RtpPortOptions, RtpPorts

HOST = "127.0.0.1"
LATE_S = (0.005, 0.02)
OPTIONS = LegOptions(payload_type=0, format="PCMU", uplink=AudioFormat.PCM16_24K, downlink=AudioFormat.PCM16_24K)


class Sink:
    """Nobody listens."""

    def on_audio(self, audio: bytes) -> None: ...
    def on_digit(self, digit: str, duration_ms: int) -> None: ...
    def on_item_finished(self, item_id: str, content_index: int) -> None: ...


class CountedLateness(LatenessHistogram):
    """Counts as well how many were later than each of `LATE_S`."""

    def __init__(self) -> None:
        super().__init__()
        self.later = [0] * len(LATE_S)

    def add(self, late_s: float, times: int = 1) -> None:
        super().add(late_s, times)
        for index, limit_s in enumerate(LATE_S):
            self.later[index] += times * (late_s > limit_s)


def slow(delay_s: float) -> Callable[[Path, FileFormat, int], AudioFile]:
    """An opener of files on a disk that takes so much longer."""

    def open_slow(path: Path, file_format: FileFormat, rate_hz: int) -> AudioFile:
        file = open_audio_file(path, file_format, rate_hz)
        write, close = file.write, file.close

        def slow_write(samples: object) -> None:
            time.sleep(delay_s)
            write(samples)  # type: ignore[arg-type]

        def slow_close() -> None:
            time.sleep(delay_s)
            close()

        file.write, file.close = slow_write, slow_close  # type: ignore[method-assign]
        return file

    return open_slow


async def run(name: str, options: argparse.Namespace, store: Recordings | None, nobody: Address) -> str:
    """A line of the table."""
    ports = RtpPorts(RtpPortOptions(bind_host=HOST, first_port=33000, last_port=35999, trusted_networks=(HOST,)))
    media = MediaLoop(MediaEngine(MediaOptions(max_legs=options.calls)), ports)
    late = media.send_lateness = CountedLateness()
    legs = [media.open_leg(ports.open(), nobody, OPTIONS, Sink()) for _ in range(options.calls)]
    recordings = []
    for leg in legs if store is not None else ():
        record = CallRecord(
            call_id=f"call-{leg}",
            trunk="bench",
            caller="",
            called="",
            route="bench",
            started_at=datetime.now(UTC),
            offered_s=time.monotonic(),
        )
        recordings.append(CallRecording(store, media, record))
        recordings[-1].start(leg)
    media.start()
    await asyncio.sleep(options.seconds)
    frames, skipped = late.count, sum(media.statistics(leg).skipped_frames for leg in legs)
    media.clock.stop()
    for recording in recordings:
        recording.stop()
    media.stop()
    shares = "".join(f"{count:>9}{100 * count / max(frames, 1):>7.2f} %" for count in late.later)
    return f"{name:<24}{frames:>9}{shares}{skipped:>9}{late.p99_ms:>9.2f}{late.max_ms:>9.2f}"


async def bench(options: argparse.Namespace, folder: Path) -> None:
    """All runs, a line each."""
    freeze_garbage()
    heads = "".join(f"{f'> {limit_s * 1000:.0f} ms':>18}" for limit_s in LATE_S)
    sys.stdout.write(f"{'recorded':<24}{'frames':>9}{heads}{'skipped':>9}{'p99 ms':>9}{'max ms':>9}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind((HOST, 0))
        address = Address(*nobody.getsockname())
        slower = f"{options.delay_ms} ms slower"
        openers = {"on the disk": open_audio_file, slower: slow(options.delay_ms / 1000)}
        sys.stdout.write(await run("nothing", options, None, address) + "\n")
        for name, opener in openers.items():
            kept = RecordingOptions(folder=folder / name, format=options.format, min_free_bytes=0)
            store = Recordings(kept, open_file=opener)
            store.start()
            sys.stdout.write(await run(name, options, store, address) + "\n")
            sys.stdout.flush()
            # What waits for a slow disk is not waited for: its thread ends with the process.
            store.close(patience_s=0 if name == slower else 10)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--delay-ms", type=int, default=500)
    parser.add_argument("--format", choices=get_args(FileFormat), default="wav")
    folder = Path(tempfile.mkdtemp())
    try:
        event_loop.run(bench(parser.parse_args(), folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
