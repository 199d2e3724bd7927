"""Who is at work on which record of a folder that several processes share: locks that die with their process."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

CLAIMS_FILE = ".claims"
_FILE_MODE = 0o600
_OFFSET_BYTES = 7


class Claims:
    """The claims of this process: one byte of a file each, by the record's name, however many there are."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CLAIMS_FILE
        self._descriptor: int | None = None

    def take(self, name: str) -> bool:
        """Whether nobody else is at work on that record; then this process is. Raises: OSError."""
        if self._descriptor is None:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(name))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def give_back(self, name: str) -> None:
        """Be at work on it no longer. Raises: OSError."""
        if self._descriptor is not None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _offset(name))

    def close(self) -> None:
        """Give all of them back."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _offset(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:_OFFSET_BYTES])
