"""Recordings on real disks: whole, full, slow, forbidden, and what a crash leaves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import wave
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from structlog.testing import capture_logs

from gateway.records.audio_file import AudioFile, Samples, open_audio_file
from gateway.records.recordings import (
    MAX_WAITING_BYTES,
    MAX_WAITING_S,
    Recording,
    RecordingOptions,
    Recordings,
    problem_of,
)
from tests.support.listening import tone, tone_seconds

RATE_HZ = 8000
NINE = datetime(2026, 11, 30, 9, tzinfo=UTC)
LEFT_HZ, RIGHT_HZ = 440, 1000
DEADLINE_S = 20.0
WAV_HEADER_BYTES = 44


def conversation(seconds: float, rate_hz: int = RATE_HZ) -> list[Samples]:
    """Pieces of half a second, a tone on the left and another one on the right: int16[2, n]."""
    both = np.stack([tone(LEFT_HZ, seconds, rate_hz=rate_hz), tone(RIGHT_HZ, seconds, rate_hz=rate_hz)])
    return [both[:, start : start + rate_hz // 2] for start in range(0, both.shape[1], rate_hz // 2)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def started(folder: Path, **options: object) -> Recordings:
    recordings = Recordings(RecordingOptions(folder=folder, **{"min_free_bytes": 0, **options}))  # type: ignore[arg-type]
    recordings.start()
    return recordings


def opened(recordings: Recordings, rate_hz: int = RATE_HZ) -> Recording:
    return recordings.open(call_id="call-1", started_at=NINE, caller="+49301", called="7000", rate_hz=rate_hz)


def recorded(recordings: Recordings, pieces: list[Samples], rate_hz: int = RATE_HZ) -> Recording:
    recording = opened(recordings, rate_hz)
    for piece in pieces:
        recording.write(piece)
    recording.finish().result(DEADLINE_S)
    return recording


def files_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("file_format", ["wav", "opus"])
def test_file_decodes_to_the_caller_on_the_left_and_the_agent_on_the_right(
    folder: Path, file_format: str, rate_hz: int
) -> None:
    recordings = started(folder, format=file_format)
    recording = recorded(recordings, conversation(5.25, rate_hz), rate_hz=rate_hz)
    recordings.close()
    assert recording.file == folder / f"2026-11-30/090000-call-1.{file_format}"
    assert (recording.seconds, recording.failure) == (5.25, "")
    heard, heard_rate_hz = soundfile.read(recording.file, dtype="int16")
    assert (heard_rate_hz, heard.shape) == (rate_hz, (5.25 * rate_hz, 2))
    left, right = heard.T
    assert tone_seconds(left, LEFT_HZ, rate_hz=rate_hz) == pytest.approx(5.25, abs=0.05)
    assert tone_seconds(right, RIGHT_HZ, rate_hz=rate_hz) == pytest.approx(5.25, abs=0.05)
    assert tone_seconds(left, RIGHT_HZ, rate_hz=rate_hz) == tone_seconds(right, LEFT_HZ, rate_hz=rate_hz) == 0


def test_wav_holds_the_very_samples(folder: Path) -> None:
    pieces = conversation(2.0)
    recordings = started(folder)
    recording = recorded(recordings, pieces)
    recordings.close()
    assert recording.file is not None
    with wave.open(str(recording.file)) as sound:
        assert sound.getparams()[:4] == (2, 2, RATE_HZ, 2 * RATE_HZ)
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").reshape(-1, 2)
    assert np.array_equal(samples.T, np.concatenate(pieces, axis=1))


def test_files_and_folders_are_for_their_owner_alone(folder: Path) -> None:
    recordings = started(folder)
    recording = recorded(recordings, conversation(0.5))
    recordings.close()
    assert recording.file is not None
    modes = [path.stat().st_mode & 0o777 for path in (recording.file, recording.file.parent, folder)]
    assert modes == [0o600, 0o700, 0o700]


def test_only_what_is_complete_has_its_final_name(folder: Path) -> None:
    recordings = started(folder)
    recording = opened(recordings)
    for piece in conversation(1.0):
        recording.write(piece)
    wait_for(lambda: recording.seconds == 1.0)
    assert files_in(folder) == ["2026-11-30/090000-call-1.wav.part"]
    recording.finish().result(DEADLINE_S)
    assert files_in(folder) == ["2026-11-30/090000-call-1.wav"]
    recordings.close()


def test_calls_of_one_name_get_a_file_each(folder: Path) -> None:
    recordings = started(folder, name="call")
    first, second = (opened(recordings) for _ in range(2))
    for recording in (first, second):
        recording.write(conversation(0.5)[0])
    done = [recording.finish() for recording in (first, second)]
    assert [future.result(DEADLINE_S) for future in done] == [None, None]
    recorded(recordings, conversation(0.5))
    recordings.close()
    assert files_in(folder) == ["call-2.wav", "call-3.wav", "call.wav"]


def test_call_without_audio_leaves_no_file(folder: Path) -> None:
    recordings = started(folder)
    recording = recorded(recordings, [])
    recordings.close()
    assert (recording.file, recording.seconds, recording.failure) == (None, 0, "")
    assert not folder.exists()


@pytest.mark.parametrize("file_format", ["wav", "opus"])
def test_full_disk_ends_the_recording_with_one_line_and_a_file_that_plays(tiny_disk: Path, file_format: str) -> None:
    filler = tiny_disk / "filler"
    filler.write_bytes(bytes(900_000 if file_format == "opus" else 300_000))
    recordings = started(tiny_disk, format=file_format)
    recording = opened(recordings)
    with capture_logs() as lines:
        for piece in conversation(60):
            if not recording.write(piece):
                break
            wait_for(lambda: recording._queued_samples - recording._written_samples < RATE_HZ or recording.failure)
        recording.finish().result(DEADLINE_S)
    assert [line["event"] for line in lines] == ["recording failed"]
    assert lines[0]["why"] == recording.failure == os.strerror(errno.ENOSPC)
    assert recording.file is not None
    assert files_in(tiny_disk) == sorted(["filler", str(recording.file.relative_to(tiny_disk))])
    heard, _ = soundfile.read(recording.file, dtype="int16")
    assert len(heard) / RATE_HZ == pytest.approx(recording.seconds, abs=0 if file_format == "wav" else 3.0)
    assert tone_seconds(heard[:, 0], LEFT_HZ) > 10
    if file_format == "wav":
        assert recording.file.stat().st_size == WAV_HEADER_BYTES + 4 * len(heard)
    filler.unlink()
    after = recorded(recordings, conversation(1.0))
    assert after.failure == ""
    recordings.close()


def test_full_disk_without_room_for_a_second_leaves_no_file(tiny_disk: Path) -> None:
    (tiny_disk / "filler").write_bytes(bytes(1_040_000))
    recordings = started(tiny_disk)
    with capture_logs():
        recording = recorded(recordings, conversation(5.0))
    recordings.close()
    assert recording.failure == os.strerror(errno.ENOSPC)
    assert (recording.file, files_in(tiny_disk)) == (None, ["filler"])


def test_space_that_others_need_is_left_to_them(folder: Path) -> None:
    recordings = started(folder, min_free_bytes=1 << 60)
    with capture_logs() as lines:
        recording = recorded(recordings, conversation(5.0))
    recordings.close()
    assert "min_free" in recording.failure
    assert [line["event"] for line in lines] == ["recording failed"]
    assert files_in(folder) == []


def test_folder_that_cannot_be_made_fails_the_recording_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "recordings"
    assert problem_of(RecordingOptions(folder=folder)) == os.strerror(errno.ENOTDIR)
    recordings = started(folder)
    with capture_logs() as lines:
        recording = recorded(recordings, conversation(5.0))
        again = recorded(recordings, conversation(5.0))
    recordings.close()
    assert recording.failure == again.failure == os.strerror(errno.ENOTDIR)
    assert [line["event"] for line in lines] == ["recording failed"] * 2


class HangingDisk:
    """A disk that does not come back from a write until it is told."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def open(self, path: Path, file_format: object, rate_hz: int) -> AudioFile:
        file = open_audio_file(path, "wav", rate_hz)
        write = file.write

        def hang(samples: Samples) -> None:
            self.goes_on.wait(DEADLINE_S)
            write(samples)

        file.write = hang  # type: ignore[method-assign]
        return file


def hanging(folder: Path) -> tuple[HangingDisk, Recordings]:
    disk = HangingDisk()
    recordings = Recordings(RecordingOptions(folder=folder, min_free_bytes=0), open_file=disk.open)
    recordings.start()
    return disk, recordings


def test_disk_that_hangs_is_given_up_and_holds_nobody_up(folder: Path) -> None:
    disk, recordings = hanging(folder)
    recording = opened(recordings)
    pieces = conversation(MAX_WAITING_S + 10)
    recording.write(pieces[0])
    wait_for(lambda: files_in(folder))
    with capture_logs() as lines:
        taken = [recording.write(piece) for piece in pieces]
    assert taken.index(False) / 2 == pytest.approx(MAX_WAITING_S, abs=1.0)
    assert not any(taken[taken.index(False) :])
    assert [line["event"] for line in lines] == ["recording failed"]
    assert "too slow" in recording.failure
    disk.goes_on.set()
    recording.finish().result(DEADLINE_S)
    recordings.close()
    assert recording.file is not None
    assert soundfile.info(recording.file).frames == recording._written_samples > 0


def test_memory_does_not_grow_while_a_disk_hangs(folder: Path) -> None:
    disk, recordings = hanging(folder)
    calls = [opened(recordings) for _ in range(200)]
    piece = conversation(0.5)[0]
    tracemalloc.start()
    with capture_logs():
        for _ in range(100):
            for call in calls:
                call.write(piece.copy())
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    disk.goes_on.set()
    recordings.close(60)
    assert all(call.failure for call in calls)
    assert used < 1.2 * MAX_WAITING_BYTES


def test_gateway_that_stops_does_not_wait_for_a_disk_that_hangs(folder: Path) -> None:
    disk, recordings = hanging(folder)
    recording = opened(recordings)
    recording.write(conversation(0.5)[0])
    recording.finish()
    with capture_logs() as lines:
        recordings.close(patience_s=0.05)
    assert [line["event"] for line in lines] == ["recordings not written"]
    disk.goes_on.set()
    recordings.close()


WRITER = """
import sys, time
from pathlib import Path
from tests.records.test_recordings import conversation, opened, started
recordings = started(Path(sys.argv[1]), format=sys.argv[2])
recording = opened(recordings)
for piece in conversation(20):
    recording.write(piece)
while recording.seconds < 20:
    time.sleep(0.01)
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("file_format", "lost_s"), [("wav", 0.0), ("opus", 3.0)])
def test_what_a_killed_process_leaves_plays_up_to_its_last_seconds(
    folder: Path, file_format: str, lost_s: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), file_format], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE_S)
    process.stdout.close()
    (left,) = files_in(folder)
    assert left.endswith(f".{file_format}.part")
    heard, _ = soundfile.read(folder / left, dtype="int16")
    assert 20 - lost_s <= len(heard) / RATE_HZ <= 20
    assert tone_seconds(heard[:, 1], RIGHT_HZ) == pytest.approx(len(heard) / RATE_HZ, abs=0.1)


def test_recordings_are_deleted_when_their_days_are_over_and_others_are_not(folder: Path) -> None:
    old, new, foreign = folder / "a" / "old.wav", folder / "a" / "new.opus", folder / "notes.txt"
    crashed = folder / "old.opus.part"
    old.parent.mkdir(parents=True)
    for file in (old, new, foreign, crashed):
        file.write_bytes(b"x")
    for file in (old, foreign, crashed):
        os.utime(file, (time.time() - 31 * 86400,) * 2)
    os.utime(new, (time.time() - 29 * 86400,) * 2)
    with capture_logs() as lines:
        recordings = started(folder, keep_days=30)
        recordings.close()
    assert files_in(folder) == ["a/new.opus", "notes.txt"]
    assert [(line["event"], line["files"]) for line in lines] == [("recordings deleted", 2)]


def test_recordings_are_kept_where_nobody_said_for_how_long(folder: Path) -> None:
    folder.mkdir()
    old = folder / "old.wav"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    recordings = started(folder)
    recordings.close()
    assert old.exists()


@pytest.mark.parametrize("wrong", [{"name": "../{id}"}, {"min_free_bytes": -1}, {"keep_days": 0}])
def test_options_that_cannot_be_meant_are_refused(folder: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RecordingOptions(folder=folder, **wrong)  # type: ignore[arg-type]


def wait_for(is_so: object) -> None:
    assert callable(is_so)
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
