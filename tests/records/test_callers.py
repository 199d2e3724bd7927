"""Who has called before is remembered over restarts, and by nobody who has only one of the two files."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.records import callers as module
from gateway.records.callers import CallerOptions, Callers

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@contextmanager
def opened(file: Path, now: datetime = NOON, keep_days: int = 365) -> Iterator[Callers]:
    callers = Callers(CallerOptions(file=file, keep_days=keep_days))
    callers.start(now)
    try:
        yield callers
    finally:
        callers.close()


def test_a_caller_is_known_from_the_second_call_on(tmp_path: Path) -> None:
    with opened(tmp_path / "c.db") as callers:
        assert callers.last_seen("+49301") is None
        callers.note("+49301", NOON)
        assert callers.last_seen("+49 (30) 1") == NOON
        assert callers.last_seen("+49302") is None


def test_callers_are_known_after_a_restart(tmp_path: Path) -> None:
    for days in range(3):
        with opened(tmp_path / "new" / "c.db") as callers:
            assert callers.last_seen("+49301") == (None if not days else NOON + timedelta(days=days - 1))
            callers.note("+49301", NOON + timedelta(days=days))


@pytest.mark.parametrize("number", ["", "anonymous", "Anonymous"])
def test_a_withheld_number_is_nobodys(tmp_path: Path, number: str) -> None:
    with opened(tmp_path / "c.db") as callers:
        callers.note(number, NOON)
        assert callers.last_seen(number) is None


def test_the_file_holds_no_number_and_the_key_is_its_owners(tmp_path: Path) -> None:
    with opened(tmp_path / "c.db") as callers:
        callers.note("+4930123456", NOON)
    assert b"4930123456" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("c.db", "c.db.key")} == {0o600}
    (tmp_path / "c.db.key").write_bytes(bytes(32))
    with opened(tmp_path / "c.db") as callers:
        assert callers.last_seen("+4930123456") is None


def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "c.db") as callers:
        callers.note("1", NOON)
        callers.note("2", NOON + timedelta(days=9))
    with opened(tmp_path / "c.db", NOON + timedelta(days=11), keep_days=10) as callers:
        assert [callers.last_seen(number) is not None for number in "12"] == [False, True]
    with closing(sqlite3.connect(tmp_path / "c.db")) as database:
        assert database.execute("SELECT count(*) FROM callers").fetchone() == (1,)


def test_memory_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CALLERS", 2)
    with opened(tmp_path / "c.db") as callers:
        for number in ("1", "2", "1", "3"):
            callers.note(number, NOON)
        assert [callers.last_seen(number) is not None for number in "123"] == [True, False, True]


@pytest.mark.parametrize("content", [b"no database at all, and long enough to be looked at" * 9, b""])
def test_a_file_that_cannot_be_used_costs_no_call(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.db").write_bytes(content)
    with opened(tmp_path / "c.db") as callers:
        callers.note("1", NOON)
        assert callers.last_seen("1") == NOON
    assert callers.lost == (1 if content else 0)


def test_a_key_that_is_none_is_told_and_costs_no_call(tmp_path: Path) -> None:
    (tmp_path / "c.db.key").write_bytes(b"short")
    with opened(tmp_path / "c.db") as callers:
        callers.note("1", NOON)
        assert callers.last_seen("1") == NOON


def test_many_calls_are_all_written(tmp_path: Path) -> None:
    with opened(tmp_path / "c.db") as callers:
        for number in range(3000):
            callers.note(str(number), NOON)
    with opened(tmp_path / "c.db") as callers:
        assert all(callers.last_seen(str(number)) == NOON for number in range(3000))
