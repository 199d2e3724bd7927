"""The store of messages: one WAV and one JSON file each, written by one thread, whole or not at all.

::

    event loop                      │ thread
    Draft.write ──int16[n]──────────┼─> NAME.open, NAME.wav.part ─> WavFile.write ...
    Draft.keep(text) ───────────────┼─> NAME.wav ─> NAME.json.new ─> NAME.json ─> on_kept ─> Future
    MessageStore.update(message) ───┼─> NAME.json.new ─> NAME.json; NAME.open goes when everybody is told

``NAME.open`` stands beside a message until it is complete and told to everybody. Of a process that died, the next one
to start completes what it was writing, up to the last half second, and goes on with what was not told; a claim (see
`gateway.records.claims`) keeps it from messages that another process has in hand.

A disk that is full or hangs costs the message, with a word in the log, and no call anything.
"""

from __future__ import annotations

import contextlib
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import structlog

from gateway.dialplan.messages import Message, MessageKind
from gateway.records.audio_file import WavFile
from gateway.records.claims import Claims
from gateway.records.folder import FreeSpace, KeepDays, make_folder, sync_folder
from gateway.records.message_draft import RATE_HZ, Draft, reason
from gateway.records.message_files import AUDIO, NEW, OPEN, PART, SIDECAR, read_message, remove_message, write_whole
from gateway.records.names import plain
from gateway.records.writing_thread import Job, WritingThread

MIN_RECOVERED_S = 1.0
"""Audio that a process which died has to have written, for it to be a message."""
MAX_WAITING_BYTES = 16 << 20
"""Audio of all messages that may wait for the disk: 17 minutes of one."""
MAX_SAME_NAMES = 1000

_log = structlog.stdlib.get_logger("gateway.records")

_Opener: TypeAlias = Callable[[Path], WavFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicemailOptions:
    """Where messages are kept."""

    folder: Path
    min_free_bytes: int = 100_000_000
    """space left on the disk below which nobody is recorded"""
    keep_days: int | None = None
    """age at which messages are deleted; None: never"""


def _open_wav(path: Path) -> WavFile:
    return WavFile(path, RATE_HZ, channels=1)


class MessageStore:
    """All messages of a folder, and the thread that writes them."""

    def __init__(
        self,
        options: VoicemailOptions,
        *,
        open_audio: _Opener = _open_wav,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives monotonic seconds, `wall_clock` those since 1970 as files have them."""
        self.options = options
        self.open_audio = open_audio
        self._on_kept: Callable[[Message], None] = lambda message: None
        self._loses_audio = False
        self._free_space = FreeSpace(options.folder, options.min_free_bytes, clock)
        self._keep_days = KeepDays(options.keep_days, clock, wall_clock)
        self._claims = Claims(options.folder)
        self._unwritten: set[str] = set()  # messages that are told although the disk did not take them
        self._thread = WritingThread(
            "voicemail",
            max_waiting_bytes=MAX_WAITING_BYTES,
            upkeep=self._sweep,
            on_failure=lambda error: _log.error("message not kept", why=reason(error)),
            at_end=self._claims.close,
        )

    def start(self, on_kept: Callable[[Message], None]) -> None:
        """Begin to write, after what an earlier process left is taken up.

        `on_kept` is called in the thread with each message that is there and of which somebody is to be told.
        """
        self._on_kept = on_kept
        self.put(self._recover)
        self._thread.start()

    def close(self, patience_s: float = 10.0) -> None:
        """Write what is queued, for `patience_s` at most, and end the thread. Blocks."""
        if not self._thread.close(patience_s):
            _log.error("messages not written", waiting_bytes=self._thread.waiting_bytes)

    def open(self, message: Message) -> Draft:
        """Begin a message with what is known of it; its files are made when there is something to keep."""
        return Draft(self, message)

    def update(self, message: Message) -> None:
        """Keep another state of a message's notices, if it has not been deleted meanwhile. Does not block."""
        self.put(lambda: self._update(message))

    def is_there(self, message: Message) -> bool:
        """Whether nobody has deleted it. Blocks for the length of a look."""
        return message.name in self._unwritten or self._file(message.name, SIDECAR).exists()

    def put(self, job: Job, size_bytes: int = 0) -> None:
        """Have the thread do it; audio for which the disk is too slow is left out, with a word in the log."""
        if not self._thread.put(job, size_bytes) and not self._loses_audio:
            self._loses_audio = True
            _log.error("messages lose audio", why="the disk is too slow")

    # In the thread.

    def is_disk_full(self) -> bool:
        """Whether less than `min_free_bytes` is left. Raises: OSError."""
        return self._free_space.is_low()

    def reserve(self, message: Message) -> Message:
        """The message under a name that nobody else has, claimed, with its facts beside it. Raises: OSError."""
        base = _name_of(message)
        make_folder(self.options.folder / PurePosixPath(base).parent)
        for number in range(1, MAX_SAME_NAMES):
            name = base if number == 1 else f"{base}-{number}"
            if self._file(name, SIDECAR).exists() or not self._claims.take(name):
                continue
            named = replace(message, name=name)
            try:
                write_whole(self._file(name, OPEN), named)
            except FileExistsError:
                continue
            return named
        raise FileExistsError(f"{MAX_SAME_NAMES} messages have the name {base}")

    def enter(self, message: Message) -> Message:
        """Make it one of the messages, and have it told."""
        try:
            if not message.name:
                message = self.reserve(message)
            self._write_sidecar(message)
            if not message.is_pending:
                self._settle(message.name)
        except OSError as error:
            message = replace(message, name=message.name or f"{_name_of(message)}-unkept")
            self._unwritten.add(message.name)
            _log.error("message not kept", mailbox=message.mailbox, call_id=message.call_id, why=reason(error))
        if message.is_pending:
            self._on_kept(message)
        return message

    def remove(self, name: str) -> None:
        """Take all files of a message away. Raises: OSError."""
        remove_message(self.options.folder, name)
        self._claims.give_back(name)

    def _update(self, message: Message) -> None:
        if self._file(message.name, SIDECAR).exists():
            self._write_sidecar(message)
        if not message.is_pending:
            self._unwritten.discard(message.name)
            self._settle(message.name)

    def _write_sidecar(self, message: Message) -> None:
        file = self._file(message.name, SIDECAR)
        new = file.with_name(file.name + NEW)
        new.unlink(missing_ok=True)
        write_whole(new, message)
        new.rename(file)
        sync_folder(file.parent)

    def _settle(self, name: str) -> None:
        """Nothing is to be done about it any more."""
        self._file(name, OPEN).unlink(missing_ok=True)
        self._claims.give_back(name)

    def _file(self, name: str, suffix: str) -> Path:
        return self.options.folder / (name + suffix)

    # What was left by a process that died, or had to stop.

    def _recover(self) -> None:
        folder = self.options.folder
        make_folder(folder)
        for marker in sorted(folder.glob(f"*/*{OPEN}")):
            name = f"{marker.parent.name}/{marker.name.removesuffix(OPEN)}"
            if not self._claims.take(name):
                continue
            try:
                self._take_up(name)
            except (OSError, ValueError, EOFError, wave.Error) as error:
                self._claims.give_back(name)
                _log.error("message not recovered", message=name, why=reason(error))

    def _take_up(self, name: str) -> None:
        """Go on with a message where the other process was. Raises: OSError, ValueError."""
        if self._file(name, SIDECAR).exists():
            message = read_message(self.options.folder, name)
            if message.is_pending:
                self._on_kept(message)
            else:
                self._settle(name)
            return
        part, file = self._file(name, AUDIO + PART), self._file(name, AUDIO)
        if part.exists() and not file.exists():
            part.rename(file)
        if not file.exists() and not _is_readable(self.options.folder, name):  # it died while it began
            self.remove(name)
            return
        message = read_message(self.options.folder, name, OPEN)
        if message.kind is not MessageKind.VOICEMAIL:
            self.enter(message)
            return
        message = replace(message, seconds=_length_s(file) if file.exists() else 0.0, audio=file)
        if message.seconds < MIN_RECOVERED_S:
            self.remove(name)
            return
        self.enter(message)
        _log.warning("message recovered", mailbox=message.mailbox, call_id=message.call_id, file=str(file))

    def _sweep(self) -> None:
        """Delete messages, and what crashes left of them, when their days are over."""
        oldest_s = self._keep_days.oldest_s()
        if oldest_s is None:
            return
        deleted = 0
        for suffix in (AUDIO, AUDIO + PART, SIDECAR, SIDECAR + NEW, OPEN):
            for file in self.options.folder.glob(f"*/*{suffix}"):
                with contextlib.suppress(OSError):
                    if file.is_file() and file.stat().st_mtime < oldest_s:
                        file.unlink()
                        deleted += suffix == SIDECAR
        if deleted:
            _log.info("messages deleted", messages=deleted, older_than_days=self.options.keep_days)


def _is_readable(folder: Path, name: str) -> bool:
    try:
        read_message(folder, name, OPEN)
    except ValueError:
        return False
    return True


def _name_of(message: Message) -> str:
    at = message.left_at.astimezone(UTC)
    return f"{plain(message.mailbox)}/{at:%Y-%m-%d-%H%M%S}-{plain(message.call_id)}"


def _length_s(file: Path) -> float:
    with wave.open(str(file)) as sound:
        return float(sound.getnframes() / sound.getframerate())
