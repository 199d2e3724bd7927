"""Folders that records are kept in: made for our eyes only, with names that reach the disk, and never filled up."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

FOLDER_MODE = 0o700
FREE_SPACE_CHECK_S = 5.0
SWEEP_S = 3600.0


class FreeSpace:
    """Whether the disk of a folder has less than `min_free_bytes` left, looked at now and then."""

    def __init__(self, folder: Path, min_free_bytes: int, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._is_low = False
        self._checked_s = float("-inf")

    def is_low(self) -> bool:
        """Makes the folder where it is missing. Raises: OSError."""
        now = self._clock()
        if now >= self._checked_s + FREE_SPACE_CHECK_S:
            make_folder(self._folder)
            disk = os.statvfs(self._folder)
            self._is_low = disk.f_bavail * disk.f_frsize < self._min_free_bytes
            self._checked_s = now
        return self._is_low


class KeepDays:
    """When a folder is to be looked through for files that are past their days."""

    def __init__(self, days: int | None, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`days` None: never. `clock` gives monotonic seconds, `wall_clock` those since 1970 as files have them."""
        self._days = days
        self._clock = clock
        self._wall_clock = wall_clock
        self._swept_s = float("-inf")

    def oldest_s(self) -> float | None:
        """What is older (seconds since 1970) is to go now; None while it was looked at less than `SWEEP_S` ago."""
        if self._days is None or self._clock() < self._swept_s + SWEEP_S:
            return None
        self._swept_s = self._clock()
        return self._wall_clock() - self._days * 86400


def make_folder(folder: Path) -> None:
    """Make `folder` and what it lies in, for our eyes only. Raises: OSError."""
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Bring new names to the disk. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_problem(folder: Path) -> str:
    """Why nothing can be kept there; "" where it can. Makes the folder where it is missing."""
    try:
        make_folder(folder)
    except OSError as error:
        return error.strerror or repr(error)
    return "" if os.access(folder, os.W_OK | os.X_OK) else "it cannot be written to"
