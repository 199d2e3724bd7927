"""One call's recording, between its media leg and whoever keeps recordings.

::

    Call ──StartRecording──> CallRecording ──> MediaLoop.start_recording ──pieces──> RecordingFile.write
         ──StopRecording───>               ──> MediaLoop.stop_recording  ──rest────> RecordingFile.write, finish

A recording belongs to the media leg on which the caller agreed to it, and ends with that leg. One that fails is told in
the call's record and changes nothing else.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Protocol

from gateway.calls.events import PauseRecording, StartRecording, StopRecording
from gateway.calls.events.recording import RecordingCommand
from gateway.calls.record import CallRecord, RecordingSummary
from gateway.media.codec import Samples
from gateway.transport.media_loop import MediaLoop

FINISH_LIMIT_S = 5.0


class RecordingFile(Protocol):
    """A recording that is being written. Nothing blocks or raises."""

    @property
    def file(self) -> Path | None:
        """Where it is, if anything was written."""

    @property
    def seconds(self) -> float:
        """What was written."""

    @property
    def failure(self) -> str:
        """Why it ended of itself; "" where it did not."""

    def write(self, samples: Samples, /) -> bool:
        """Append int16[2, n]: the caller, and what they heard. Whether more is wanted."""

    def finish(self) -> Future[None]:
        """No more; done when the file is complete."""


class RecordingStore(Protocol):
    """Who keeps recordings."""

    def open(
        self,
        *,
        call_id: str,
        started_at: datetime,
        caller: str,
        called: str,
        trunk: str,
        route: str,
        rate_hz: int,
    ) -> RecordingFile:
        """Begin the recording of a call."""


class CallRecording:
    """Owns the tap on the caller's media leg, and the file that it fills. Without a store nothing is recorded."""

    def __init__(self, store: RecordingStore | None, media: MediaLoop, record: CallRecord) -> None:
        self._store = store
        self._media = media
        self._record = record
        self._file: RecordingFile | None = None
        self._leg: int | None = None
        self._why = ""

    def do(self, command: RecordingCommand, leg: int | None) -> None:
        """Do it; `leg` is the caller's, if it is open."""
        match command:
            case StartRecording():
                if leg is not None:
                    self.start(leg)
            case PauseRecording(is_paused=is_paused):
                self.pause(is_paused=is_paused)
            case StopRecording(why=why):
                self.stop(why)

    def start(self, leg: int) -> None:
        """Record both directions of a leg from now on; once in a call."""
        if self._store is None or self._file is not None:
            return
        record = self._record
        self._file = self._store.open(
            call_id=record.call_id,
            started_at=record.started_at,
            caller=record.caller,
            called=record.called,
            trunk=record.trunk,
            route=record.route,
            rate_hz=self._media.engine.recording_rate_hz,
        )
        self._leg = leg
        self._media.start_recording(leg, self._write)

    def pause(self, *, is_paused: bool) -> None:
        """Record silence, or no longer."""
        if self._leg is not None:
            self._media.engine.pause_recording(self._leg, is_paused=is_paused)

    def stop(self, why: str = "") -> None:
        """Take the last audio from the leg, which is still open. Safe to repeat.

        `why` tells what ended the recording before the call.
        """
        if self._leg is None or self._file is None:
            return
        self._media.stop_recording(self._leg)
        self._leg = None
        self._why = why
        self._file.finish()

    async def close(self) -> None:
        """Wait, within limits, until the file is complete, and enter it into the call's record."""
        self.stop()
        if self._file is None:
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._file.finish()), FINISH_LIMIT_S)
        except TimeoutError:
            self._why = self._why or "the disk is too slow to complete it"
        file = self._file
        self._record.recording = RecordingSummary(
            file=file.file, seconds=file.seconds, ended_early=file.failure or self._why
        )

    def _write(self, samples: Samples) -> None:
        if self._file is not None and not self._file.write(samples) and self._leg is not None:
            leg, self._leg = self._leg, None
            self._media.stop_recording(leg)
