"""What was spent today survives the process, whatever the disk does."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.realtime.budget import Budget
from gateway.realtime.day_ledger import DayBudgets, DayEntry, DayLedger, Scope
from gateway.records.day_file import DayFile

TODAY, TOMORROW = date(2026, 11, 20), date(2026, 11, 21)
BUDGETS = DayBudgets(day=Budget(money=Decimal(1)), caller=Budget(minutes=1))


def entry(money: str, *, day: date = TODAY, number: str = "") -> DayEntry:
    scope = Scope.CALLER if number else Scope.DAY
    return DayEntry(day=day, scope=scope, number=number, money=Decimal(money), seconds=1.5)


def kept(file: Path, *entries: DayEntry) -> None:
    keeper = DayFile(file)
    keeper.start()
    for one in entries:
        keeper.save(one)
    keeper.close()


def test_the_day_goes_on_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "spending.db"
    keeper = DayFile(file)
    assert keeper.load() == ()
    keeper.start()
    ledger = DayLedger(BUDGETS, keeper.save)
    account = ledger.open("+49301", "7000")
    for _ in range(100):
        account.charge(Decimal("0.0100001"), 0.5, TODAY)
    keeper.close()
    again = DayLedger(BUDGETS)
    again.restore(DayFile(file).load())
    assert again.spent(TODAY) == (Decimal("1.0000100"), 50.0)
    assert again.refusal("+49302", "7000", TODAY) == "limits.budget.day.money"
    assert again.refusal("+49302", "7000", TOMORROW) is None


def test_older_days_and_their_numbers_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "spending.db"
    kept(file, entry("1"), entry("2", number="+49301"))
    kept(file, entry("3", day=TOMORROW))
    assert DayFile(file).load() == (entry("3", day=TOMORROW),)


def test_numbers_are_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "spending.db"
    kept(file, entry("1", number="+49301"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_file_that_cannot_be_used_is_told_once_and_costs_no_call(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "spending.db" if content else tmp_path / "nowhere" / "spending.db"
    if content:
        file.write_bytes(content)
    keeper = DayFile(file, write_every_s=0.01)
    with capture_logs() as lines:
        assert keeper.load() == ()
        keeper.start()
        keeper.save(entry("1"))
        keeper.save(entry("2"))
        keeper.close()
    assert [line["event"] for line in lines] == ["spending not kept"]


def test_what_could_not_be_written_is_written_when_the_disk_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    keeper = DayFile(folder / "spending.db", write_every_s=0.01)
    has_failed = threading.Event()
    keeper._note = lambda _error: has_failed.set()  # type: ignore[method-assign]
    keeper.start()
    keeper.save(entry("1", number="+49301"))
    assert has_failed.wait(10)
    folder.mkdir()
    keeper.save(entry("2"))
    keeper.close()
    assert set(DayFile(folder / "spending.db").load()) == {entry("1", number="+49301"), entry("2")}


@pytest.mark.parametrize(
    "row",
    [
        (None, "day", "", "1", 1.0),
        ("2026-11-20", "day", "", None, 1.0),
        ("2026-11-20", "day", "", "NaN", 1.0),
        ("2026-11-20", "day", "", "1", None),
        ("2026-11-20", "day", "", "-5", 1.0),
        ("2026-11-20", "day", "", "1", "much"),
        ("2026-11-20", "week", "", "1", 1.0),
        ("2026-11-20", "day", "", "1", float("inf")),
    ],
)
def test_a_file_with_nonsense_in_it_costs_what_was_kept_and_no_call(tmp_path: Path, row: tuple[object, ...]) -> None:
    file = tmp_path / "spending.db"
    kept(file, entry("0.5"))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?, ?)", row)
    keeper = DayFile(file)
    with capture_logs() as logs:
        ledger = DayLedger(BUDGETS, keeper.save)
        ledger.restore(keeper.load())
    assert [line["event"] for line in logs] == ["spending not kept"]
    assert ledger.refusal("+49301", "7000", TODAY) is None
