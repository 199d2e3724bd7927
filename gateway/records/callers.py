"""Who has called before: for each number the last time, as a keyed hash of it, in one SQLite file.

A call is answered without a look at the disk: what is known is in memory, and a thread of its own writes. The key is in
a file beside (``NAME.key``, mode 0600), so that the one without the other tells nobody a number. A file that cannot be
used costs the memory of callers, not calls.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import structlog

from gateway.dialplan.pattern import normal_caller

KEEP_DAYS = 365
MAX_CALLERS = 500_000
"""Numbers that are kept, those that called last; about 150 bytes each in memory."""
DIGEST_BYTES = 16
KEY_BYTES = 32
WAITING = 10_000
"""Calls that may wait to be written down; more are lost to the file, not to memory."""
CLEAN_EVERY = 1000
"""Calls after which what is too old leaves the file."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerOptions:
    """Where it is kept who has called, and for how many days."""

    file: Path
    keep_days: int = KEEP_DAYS


class Callers:
    """One file of callers. `start` before use; `close` writes what waits, and blocks meanwhile."""

    def __init__(self, options: CallerOptions) -> None:
        self._options = options
        self._key = b""
        self._seen: dict[bytes, int] = {}
        self._waiting: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="callers", daemon=True)
        self.lost = 0
        """Calls that were not written down."""

    def start(self, now: datetime) -> None:
        """Read what is known, and begin to write. Blocks; what cannot be read is told in the log."""
        try:
            self._key = self._load_key()
            with self._open() as database:
                self._clean(database, now)
                rows = database.execute(
                    "SELECT number, seen FROM callers ORDER BY seen DESC LIMIT ?", (MAX_CALLERS,)
                ).fetchall()
            self._seen = {bytes(number): int(seen) for number, seen in reversed(rows)}
        except (OSError, sqlite3.Error, ValueError) as error:
            _log.error("callers are not kept", file=str(self._options.file), reason=str(error))
            self._key = self._key or secrets.token_bytes(KEY_BYTES)
        self._thread.start()

    def close(self) -> None:
        """Write what waits."""
        self._waiting.put(None)
        self._thread.join()

    def last_seen(self, number: str) -> datetime | None:
        """When `number` called last; None: not that we knew, or it is withheld."""
        seen = self._seen.get(self._digest(number)) if normal_caller(number) else None
        return None if seen is None else datetime.fromtimestamp(seen, UTC)

    def note(self, number: str, at: datetime) -> None:
        """`number` calls `at` (aware). A withheld one is not noted. Does not block."""
        if not normal_caller(number):
            return
        digest, seen = self._digest(number), int(at.timestamp())
        self._seen.pop(digest, None)
        self._seen[digest] = seen
        if len(self._seen) > MAX_CALLERS:
            del self._seen[next(iter(self._seen))]
        if self._waiting.qsize() < WAITING:
            self._waiting.put((digest, seen))
        else:
            self.lost += 1

    def _digest(self, number: str) -> bytes:
        normal = normal_caller(number).encode("utf-8", "surrogatepass")
        return blake2b(normal, key=self._key, digest_size=DIGEST_BYTES).digest()

    # On the disk.

    def _load_key(self) -> bytes:
        """The key beside the file; a new one where there is none. Raises: OSError, ValueError."""
        file = self._options.file.with_name(f"{self._options.file.name}.key")
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as new:
                new.write(secrets.token_bytes(KEY_BYTES))
        key = file.read_bytes()
        if len(key) != KEY_BYTES:
            raise ValueError(f"{file} does not hold a key of {KEY_BYTES} bytes")
        return key

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file, committed and closed behind. Raises: sqlite3.Error."""
        with contextlib.closing(sqlite3.connect(self._options.file, timeout=10)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS callers (number BLOB PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID"
            )
            self._options.file.chmod(0o600)
            yield database

    def _clean(self, database: sqlite3.Connection, now: datetime) -> None:
        oldest = int((now - timedelta(days=self._options.keep_days)).timestamp())
        database.execute("DELETE FROM callers WHERE seen < ?", (oldest,))

    def _write(self) -> None:
        """The thread's life: write down whatever waits, all of it at once."""
        written = 0
        while True:
            batch = [self._waiting.get()]
            while batch[-1] is not None and not self._waiting.empty():
                batch.append(self._waiting.get())
            calls = [call for call in batch if call is not None]
            try:
                if calls:
                    written += len(calls)
                    self._write_down(calls, is_cleaning=written >= CLEAN_EVERY)
                    written %= CLEAN_EVERY
            except (OSError, sqlite3.Error) as error:
                self.lost += len(calls)
                _log.warning("callers not written", calls=len(calls), reason=str(error))
            if batch[-1] is None:
                return

    def _write_down(self, calls: list[tuple[bytes, int]], *, is_cleaning: bool) -> None:
        with self._open() as database:
            database.executemany(
                "INSERT INTO callers VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET seen = max(seen, excluded.seen)",
                calls,
            )
            if is_cleaning:
                self._clean(database, datetime.fromtimestamp(calls[-1][1], UTC))
