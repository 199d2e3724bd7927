"""Sound files that are written a piece at a time: WAV (PCM, 16 bit) and Opus in Ogg (RFC 7845).

A WAV is whole after every piece: its header is brought up to date each time. Of an Opus file that nobody closed the
last two seconds may be missing. Neither buffers: a disk that is full says so in the call that hits it, and what was
written before remains a file that plays.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Samples: TypeAlias = NDArray[np.int16]
FileFormat: TypeAlias = Literal["wav", "opus"]

CHANNELS = 2
MAX_WAV_BYTES = (1 << 32) - 4096
FILE_MODE = 0o600
PROBE_BYTES = 1 << 16


class AudioFile(Protocol):
    """A file that is being written. Raises: OSError, from both methods."""

    def write(self, samples: Samples) -> None:
        """Append int16[n, channels]."""

    def close(self) -> None:
        """Complete it; on the disk when this returns."""


class _DiskFile(io.FileIO):
    """A new file without a buffer, for its owner's eyes only."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb", opener=lambda name, flags: os.open(name, flags, FILE_MODE))

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`, or nothing."""
        start, rest = self.tell(), memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                rest = rest[super().write(rest) or 0 :]
        except OSError:
            with contextlib.suppress(OSError):
                self.truncate(start)
                self.seek(start)
            raise
        return size

    def save(self) -> None:
        """Bring everything to the disk, and close."""
        try:
            os.fsync(self.fileno())
        finally:
            self.close()


class WavFile:
    """WAV, PCM, 16 bit: 16 kB a second and channel at 8 kHz."""

    def __init__(self, path: Path, rate_hz: int, channels: int = CHANNELS) -> None:
        self._disk = _DiskFile(path)
        self._wave = wave.open(self._disk, "wb")  # noqa: SIM115 - closed by `close`
        self._wave.setnchannels(channels)
        self._wave.setsampwidth(2)
        self._wave.setframerate(rate_hz)

    def write(self, samples: Samples) -> None:
        """Append int16[n, channels]."""
        data = samples.astype("<i2").tobytes()
        if self._disk.tell() + len(data) > MAX_WAV_BYTES:
            raise OSError(errno.EFBIG, "a WAV file holds no more than 4 GiB")
        self._wave.writeframes(data)

    def close(self) -> None:
        """Complete the header."""
        try:
            self._wave.close()
        finally:
            self._disk.save()


class OpusFile:
    """Opus in Ogg: some 5 kB a second, and 1 % of a core to encode."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        import soundfile  # noqa: PLC0415 - it loads libsndfile, which only those need who record Opus

        self._disk = _DiskFile(path)
        try:
            # By its descriptor: calls back into Python would need memory that is written and executed.
            self._sound = soundfile.SoundFile(
                self._disk.fileno(),
                "w",
                samplerate=rate_hz,
                channels=CHANNELS,
                format="OGG",
                subtype="OPUS",
                closefd=False,
            )
        except BaseException:
            self._disk.close()
            path.unlink()
            raise

    def write(self, samples: Samples) -> None:
        """Append int16[n, 2]."""
        try:
            self._sound.write(samples)
        except (RuntimeError, AssertionError) as error:
            raise self._reason(error) from error

    def close(self) -> None:
        """Write what the encoder still holds."""
        try:
            self._sound.close()
        except RuntimeError as error:
            raise self._reason(error) from error
        finally:
            self._disk.save()

    def _reason(self, error: Exception) -> OSError:
        """What the system says about writing more, which the library does not pass on."""
        size = os.fstat(self._disk.fileno()).st_size
        try:
            os.posix_fallocate(self._disk.fileno(), size, PROBE_BYTES)
            os.ftruncate(self._disk.fileno(), size)
        except OSError as reason:
            return reason
        return OSError(errno.EIO, str(error))


def opus_problem() -> str:
    """Why Opus cannot be written on this machine; "" where it can. There are libraries without it."""
    try:
        import soundfile  # noqa: PLC0415 - as above
    except (ImportError, OSError) as error:
        return f"libsndfile cannot be loaded: {error}"
    has_opus = "OPUS" in soundfile.available_subtypes("OGG")
    return "" if has_opus else f"{soundfile.__libsndfile_version__} writes no Opus"


def open_audio_file(path: Path, file_format: FileFormat, rate_hz: int) -> AudioFile:
    """A new file at `path`. Raises: OSError, FileExistsError among them."""
    return WavFile(path, rate_hz) if file_format == "wav" else OpusFile(path, rate_hz)
