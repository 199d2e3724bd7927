"""A message while it is being left: audio that goes to the store's thread in pieces, and becomes a file there."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from gateway.dialplan.messages import Message
from gateway.records.audio_file import Samples, WavFile
from gateway.records.message_files import AUDIO, PART

if TYPE_CHECKING:
    from gateway.records.voicemail import MessageStore

RATE_HZ = 8000
PIECE_SAMPLES = RATE_HZ // 2
"""Audio is written in pieces of half a second, which is what a process that dies may lose."""

_log = structlog.stdlib.get_logger("gateway.records")


class Draft:
    """A message that is being left. Methods are for the thread of the event loop, and do not block."""

    def __init__(self, store: MessageStore, message: Message) -> None:
        self._store = store
        self._message = message
        self._waiting: list[Samples] = []
        self._samples = 0  # by the thread alone, as what follows
        self._audio: WavFile | None = None
        self._failure = ""
        self._kept: Future[Message] = Future()
        self._kept.set_running_or_notify_cancel()
        self._is_over = False

    def write(self, samples: Samples) -> None:
        """Append what the caller said: int16[n] at 8 kHz."""
        self._waiting.append(samples)
        if sum(map(len, self._waiting)) >= PIECE_SAMPLES:
            self._pass_on()

    def keep(self, text: str | None = None) -> Future[Message]:
        """It is a message. Done when it is on the disk, or given up. `text` None: nobody wrote down what was said."""
        if not self._is_over:
            self._pass_on()
            self._is_over = True
            self._store.put(lambda: self._complete(text))
        return self._kept

    def discard(self) -> None:
        """It is none: nothing stays. Safe to repeat, and after `keep`."""
        if not self._is_over:
            self._is_over = True
            self._store.put(self._drop)

    def _pass_on(self) -> None:
        if self._waiting and not self._is_over:
            samples = np.concatenate(self._waiting)
            self._store.put(lambda: self._append(samples), samples.nbytes)
        self._waiting = []

    # In the thread.

    def _append(self, samples: Samples) -> None:
        if self._failure:
            return
        try:
            if self._store.is_disk_full():
                self._fail(f"less than {self._store.options.min_free_bytes // 1_000_000} MB are free (min_free)")
                return
            if self._audio is None:
                self._message = self._store.reserve(self._message)
                self._audio = self._store.open_audio(self._file(AUDIO + PART))
            self._audio.write(samples[:, None])
            self._samples += len(samples)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one message, the others are written
            self._fail(reason(error))

    def _complete(self, text: str | None) -> None:
        is_transcribed = text is not None if self._samples else None
        message = replace(
            self._message, text=text or "", is_transcribed=is_transcribed, seconds=self._samples / RATE_HZ
        )
        try:
            if self._audio is not None:
                audio, self._audio = self._audio, None
                message = self._close(audio, message)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(reason(error))
        self._kept.set_result(self._store.enter(message))

    def _close(self, audio: WavFile, message: Message) -> Message:
        """Give the audio its name."""
        part, file = self._file(AUDIO + PART), self._file(AUDIO)
        try:
            audio.close()
        except OSError as error:
            self._fail(reason(error))
        if not self._samples:
            part.unlink()
            return message
        part.rename(file)
        return replace(message, audio=file)

    def _drop(self) -> None:
        try:
            if self._audio is not None:
                self._audio.close()
            if self._message.name:
                self._store.remove(self._message.name)
        except OSError as error:
            self._fail(reason(error))

    def _file(self, suffix: str) -> Path:
        return self._store.options.folder / (self._message.name + suffix)

    def _fail(self, why: str) -> None:
        if self._failure:
            return
        self._failure = why
        recorded_s = round(self._samples / RATE_HZ, 1)
        message = self._message
        _log.error("message cut short", mailbox=message.mailbox, call_id=message.call_id, kept_s=recorded_s, why=why)


def reason(error: Exception) -> str:
    """What went wrong, in the system's words."""
    return getattr(error, "strerror", None) or str(error) or repr(error)
