"""The day's spending on disk, so that a restart does not begin a new day: one small SQLite file, written by a thread.

::

    event loop                    │ thread
    DayLedger ──save(DayEntry)────┼─> the latest of each number ─> one transaction
    DayLedger.restore <──load─────┤   (before the first call)

A disk that fails or hangs costs what is kept, never a call: one log line, and the next entry tries again. Where numbers
have limits the file holds those of one day; it is readable by its owner only, and older days are deleted.
"""

from __future__ import annotations

import contextlib
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import structlog

from gateway.realtime.day_ledger import DayEntry, Scope

FILE_MODE = 0o600
WRITE_EVERY_S = 1.0
"""What a process that dies may lose; calls that count by time tell their spending every second."""
PATIENCE_S = 2.0
"""For another process that holds the file."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS spent (day TEXT, scope TEXT, number TEXT, money TEXT, seconds REAL, "
    "PRIMARY KEY (day, scope, number))"
)

_log = structlog.stdlib.get_logger("gateway.records")


class DayFile:
    """The file's keeper. `load` and `close` block."""

    def __init__(self, file: Path, write_every_s: float = WRITE_EVERY_S) -> None:
        self._file = file
        self._write_every_s = write_every_s
        self._entries: queue.SimpleQueue[DayEntry | None] = queue.SimpleQueue()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="spending", daemon=True)

    def load(self) -> tuple[DayEntry, ...]:
        """What was kept; nothing, and a log line, where the file cannot be read."""
        try:
            with self._opened() as database:
                rows = database.execute("SELECT day, scope, number, money, seconds FROM spent").fetchall()
            return tuple(_entry(*row) for row in rows)
        except (sqlite3.Error, OSError, ArithmeticError, ValueError) as error:
            self._note(error)
            return ()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def save(self, entry: DayEntry) -> None:
        """Keep `entry` in place of what was known of its day and number. Does not block."""
        self._entries.put(entry)

    def close(self, patience_s: float = 5.0) -> None:
        """Write what is left, for `patience_s` at most."""
        self._entries.put(None)
        self._thread.join(patience_s)

    def _run(self) -> None:
        waiting: dict[tuple[date, Scope, str], DayEntry] = {}
        is_open = True
        while is_open:
            is_open = self._gather(waiting)
            if self._write(tuple(waiting.values())):
                waiting.clear()

    def _gather(self, waiting: dict[tuple[date, Scope, str], DayEntry]) -> bool:
        """Wait for an entry, and take what comes soon after it; False at the end."""
        entry, until_s = self._entries.get(), time.monotonic() + self._write_every_s
        while entry is not None:
            waiting[entry.day, entry.scope, entry.number] = entry
            try:
                entry = self._entries.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                return True
        return False

    def _write(self, entries: tuple[DayEntry, ...]) -> bool:
        """All of them, or none."""
        if not entries:
            return True
        today = max(entry.day for entry in entries)
        rows = [(e.day.isoformat(), e.scope.value, e.number, str(e.money), e.seconds) for e in entries]
        try:
            with self._opened() as database:
                database.execute("DELETE FROM spent WHERE day < ?", (today.isoformat(),))
                database.executemany("INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._note(error)
            return False
        self._is_failing = False
        return True

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        self._file.touch(FILE_MODE)
        with contextlib.closing(sqlite3.connect(self._file, timeout=PATIENCE_S)) as database, database:
            database.execute(_TABLE)
            yield database

    def _note(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.error("spending not kept", file=str(self._file), reason=str(error))


def _entry(day: object, scope: object, number: object, money: object, seconds: object) -> DayEntry:
    """A row. Raises: `ValueError`, `ArithmeticError`: somebody else has written it."""
    spent, passed_s = Decimal(str(money)), float(str(seconds))
    if not (spent.is_finite() and math.isfinite(passed_s) and spent >= 0 and passed_s >= 0):
        raise ValueError(f"holds {money} USD and {seconds} s")
    return DayEntry(
        day=date.fromisoformat(str(day)), scope=Scope(scope), number=str(number), money=spent, seconds=passed_s
    )
