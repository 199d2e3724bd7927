"""The writer of recordings: one thread for all calls, and a queue that never makes a call wait.

::

    event loop                         │ thread
    Recording.write ──(n, int16[2,n])──┼─> open NAME.wav.part ─> AudioFile.write ... ─> close, rename to NAME.wav
    Recording.finish ──────────────────┼─> … ─> Future
                                       │ now and then: free space, files past their time

A recording that fails (disk full, folder gone, writes that hang) ends there: one log line, what was written so far is
completed as a file, what follows is dropped. A process that dies leaves ``NAME.wav.part``, which plays as it is.

A disk that hangs costs every recording 30 s of queue, and no call anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import structlog

from gateway.records.audio_file import AudioFile, FileFormat, Samples, open_audio_file, opus_problem
from gateway.records.folder import FreeSpace, KeepDays, folder_problem, make_folder, sync_folder
from gateway.records.names import CallFacts, check_pattern, name_of
from gateway.records.writing_thread import WritingThread

PART_SUFFIX = ".part"
MAX_WAITING_S = 30.0
"""Audio of one recording that may wait for the disk."""
MAX_WAITING_BYTES = 64 << 20
"""Audio of all recordings that may wait for the disk."""
MAX_SAME_NAMES = 1000

_log = structlog.stdlib.get_logger("gateway.records")

_Opener: TypeAlias = Callable[[Path, FileFormat, int], AudioFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """Where recordings go, and what they are."""

    folder: Path
    format: FileFormat = "wav"
    name: str = "{date}/{time}-{id}"
    """pattern of the files' names within `folder`, without suffix; see `gateway.records.names`"""
    min_free_bytes: int = 500_000_000
    """space left on the disk below which nothing is recorded"""
    keep_days: int | None = None
    """age at which recordings are deleted; None: never"""

    def __post_init__(self) -> None:
        check_pattern(self.name)
        if self.min_free_bytes < 0 or (self.keep_days is not None and self.keep_days < 1):
            raise ValueError("min_free_bytes is not negative, and keep_days at least 1")


class Recording:
    """One call's file. Methods are for the thread of the event loop, and do not block."""

    def __init__(self, recordings: Recordings, call: CallFacts, rate_hz: int) -> None:
        self._recordings = recordings
        self._rate_hz = rate_hz
        self._queued_samples = 0  # by the event loop alone
        self._written_samples = 0  # by the thread alone, as what follows
        self._audio: AudioFile | None = None
        self._part: Path | None = None
        self._is_complete = False
        self._failing = threading.Lock()
        self._done: Future[None] = Future()
        self._done.set_running_or_notify_cancel()  # nobody who ceases to wait may take it from the thread
        self._is_finishing = False
        self.call = call
        self.file: Path | None = None
        """Where it is; None while nothing was written."""
        self.failure = ""
        """Why it ended before `finish`."""

    @property
    def seconds(self) -> float:
        """What has been written."""
        return self._written_samples / self._rate_hz

    def write(self, samples: Samples) -> bool:
        """Queue int16[2, n]; whether more is wanted."""
        if self.failure or self._is_finishing:
            return False
        if self._queued_samples - self._written_samples > MAX_WAITING_S * self._rate_hz:
            self._fail(f"the disk is too slow: {MAX_WAITING_S:.0f} s wait to be written")
            return False
        if not self._recordings.put(self, samples):
            self._fail("the disk is too slow for all recordings together")
            return False
        self._queued_samples += samples.shape[1]
        return True

    def finish(self) -> Future[None]:
        """No more audio. Done when the file is complete, and `file`, `seconds` and `failure` are final."""
        if not self._is_finishing:
            self._is_finishing = True
            self._recordings.put(self, None)
        return self._done

    def _fail(self, why: str) -> None:
        with self._failing:
            if self.failure:
                return
            self.failure = why
        file = None if self.file is None else str(self.file)
        _log.warning(
            "recording failed", call_id=self.call.call_id, file=file, recorded_s=round(self.seconds, 1), why=why
        )

    # In the thread.

    def take(self, samples: Samples | None) -> None:
        """Write a piece, or complete the file at the end; for the writer."""
        try:
            if samples is not None and not self.failure:
                self._append(samples)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one file, the others are written
            self._fail(getattr(error, "strerror", None) or repr(error))
        if samples is None or self.failure:
            self._complete()
        if samples is None:
            self._done.set_result(None)

    def _append(self, samples: Samples) -> None:
        options = self._recordings.options
        if self._recordings.is_disk_full():
            self._fail(f"less than {options.min_free_bytes // 1_000_000} MB are free (min_free)")
            return
        if self._audio is None:
            self._open(options)
        assert self._audio is not None  # noqa: S101 - opened a line before
        self._audio.write(samples.T)
        self._written_samples += samples.shape[1]

    def _open(self, options: RecordingOptions) -> None:
        """Begin the first file whose name is free."""
        base = options.folder / name_of(options.name, self.call)
        make_folder(base.parent)
        for number in range(1, MAX_SAME_NAMES):
            name = base.name if number == 1 else f"{base.name}-{number}"
            file = base.with_name(f"{name}.{options.format}")
            part = file.with_name(file.name + PART_SUFFIX)
            if file.exists():
                continue
            try:
                self._audio = self._recordings.open_file(part, options.format, self._rate_hz)
            except FileExistsError:
                continue
            self._part, self.file = part, file
            return
        raise FileExistsError(f"{MAX_SAME_NAMES} recordings have the name {base.name}")

    def _complete(self) -> None:
        """Close the file and give it its name; without a second of audio, remove it. Safe to repeat."""
        if self._is_complete or self._audio is None or self._part is None or self.file is None:
            return
        self._is_complete = True
        audio, self._audio = self._audio, None
        try:
            audio.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(getattr(error, "strerror", None) or repr(error))
        try:
            if self._written_samples:
                self._part.rename(self.file)
            else:
                self._part.unlink()
                self.file = None
            sync_folder(self._part.parent)
        except OSError as error:
            self.file = self._part
            self._fail(error.strerror or repr(error))


class Recordings:
    """All recordings of a process, and their thread."""

    def __init__(
        self,
        options: RecordingOptions,
        *,
        open_file: _Opener = open_audio_file,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970 as files have them."""
        self.options = options
        self.open_file = open_file
        self._free_space = FreeSpace(options.folder, options.min_free_bytes, clock)
        self._keep_days = KeepDays(options.keep_days, clock, wall_clock)
        self._thread = WritingThread(
            "recordings",
            max_waiting_bytes=MAX_WAITING_BYTES,
            upkeep=self._sweep,
            on_failure=lambda error: _log.error("recording not written", why=repr(error)),
        )

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self, patience_s: float = 10.0) -> None:
        """Write what is queued, for `patience_s` at most, and end the thread. Blocks."""
        if not self._thread.close(patience_s):
            _log.error("recordings not written", waiting_bytes=self._thread.waiting_bytes)

    def open(
        self,
        *,
        call_id: str,
        started_at: datetime,
        caller: str = "",
        called: str = "",
        trunk: str = "",
        route: str = "",
        rate_hz: int,
    ) -> Recording:
        """Begin a recording, named after what is told of the call; its file is made when the first audio comes."""
        call = CallFacts(call_id=call_id, started_at=started_at, caller=caller, called=called, trunk=trunk, route=route)
        return Recording(self, call, rate_hz)

    def put(self, recording: Recording, samples: Samples | None) -> bool:
        """Queue a piece, or the end, of a recording; whether there was room."""
        return self._thread.put(lambda: recording.take(samples), 0 if samples is None else samples.nbytes)

    # In the thread.

    def is_disk_full(self) -> bool:
        """Whether less than `min_free_bytes` is left, looked at now and then. Raises: OSError."""
        return self._free_space.is_low()

    def _sweep(self) -> None:
        """Delete recordings, and what crashes left of them, when their days are over."""
        oldest_s = self._keep_days.oldest_s()
        if oldest_s is None:
            return
        deleted = 0
        try:
            for suffix in (".wav", ".opus"):
                for file in (*self.options.folder.rglob(f"*{suffix}"), *self.options.folder.rglob(f"*{suffix}.part")):
                    if file.is_file() and file.stat().st_mtime < oldest_s:
                        file.unlink()
                        deleted += 1
        except OSError as error:
            _log.warning("recordings not deleted", why=error.strerror)
        if deleted:
            _log.info("recordings deleted", files=deleted, older_than_days=self.options.keep_days)


def problem_of(options: RecordingOptions) -> str:
    """Why nothing can be recorded; "" where it can. Makes the folder where it is missing."""
    if options.format == "opus" and (problem := opus_problem()):
        return problem
    return folder_problem(options.folder)
