"""What recordings are called: never what a stranger wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.records.names import FIELDS, CallFacts, check_pattern, name_of

AT = datetime(2026, 11, 30, 9, 5, 7, tzinfo=UTC)


def test_fields_are_filled_with_what_is_known_of_the_call() -> None:
    call = CallFacts(call_id="a1@pbx", started_at=AT, caller="+49301", called="7000", trunk="pbx", route="day")
    pattern = "{date}/{trunk}-{route}/{time}_{caller}_{called}_{id}"
    assert name_of(pattern, call) == PurePosixPath("2026-11-30/pbx-day/090507_+49301_7000_a1_pbx")


def test_times_are_utc() -> None:
    call = CallFacts(call_id="a", started_at=AT.astimezone(timezone(timedelta(hours=-10))))
    assert name_of("{date}-{time}", call) == PurePosixPath("2026-11-30-090507")


@given(st.text(), st.text())
def test_nothing_that_a_caller_sends_leads_elsewhere(call_id: str, caller: str) -> None:
    name = name_of("x/{id}/{caller}", CallFacts(call_id=call_id, started_at=AT, caller=caller))
    assert len(name.parts) == 3
    assert all(part not in {"", ".", ".."} and len(part) <= 64 and part.isascii() for part in name.parts)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/b", ".", "..", "", "a\0b", "~", "$(reboot)", "é"]
)
def test_characters_of_paths_and_shells_become_underscores(name: str) -> None:
    made = str(name_of("{caller}", CallFacts(call_id="c", started_at=AT, caller=name)))
    assert not set(made) & set("/.\0~$()é")


@pytest.mark.parametrize("pattern", ["{date}/{time}-{id}", *(f"{{{field}}}" for field in FIELDS), "call", "a/b/{id}"])
def test_patterns_that_can_be_used(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    ["", "/{id}", "../{id}", "{date}/../{id}", ".{id}", "{date}/.hidden", "{number}", "{id!r}", "{id:>9}", "{}", "{0}",
     "{id.__class__}", "{id", "id}", "a\nb", "a\0b", "{id}/"],
)  # fmt: skip
def test_patterns_that_lead_out_or_mean_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_pattern(pattern)
