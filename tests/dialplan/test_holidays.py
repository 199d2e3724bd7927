"""Public holidays by region, in opening hours."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from gateway.dialplan.holidays import parse_region
from gateway.dialplan.hours import parse_instant
from gateway.errors import ConfigurationError
from gateway.located import WrongValue
from tests.support.plans import PLAN, load_plan

# The same on every version of Python, and a library that not every machine of a developer has yet.
pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(
    ("code", "day", "name"),
    [
        ("DE", date(2026, 12, 25), "Christmas Day"),
        ("DE", date(2026, 3, 8), ""),
        ("DE-BE", date(2026, 3, 8), "Women's Day"),
        ("DE-BY", date(2026, 3, 8), ""),
        # Moving feasts: Easter is on 2026-04-05 and 2027-03-28.
        ("DE", date(2026, 4, 6), "Easter Monday"),
        ("DE", date(2027, 3, 29), "Easter Monday"),
        ("US", date(2026, 11, 26), "Thanksgiving Day"),
    ],
)
def test_holidays_are_those_of_the_region(code: str, day: date, name: str) -> None:
    found = parse_region(code).holiday(day)
    assert name in found
    assert bool(name) == bool(found)


@pytest.mark.parametrize(
    ("code", "problem", "expected"),
    [
        ("XQ", "is 'XQ', which is no country known", "expected one of AD, AE, "),
        ("DE-XX", "is 'DE-XX', which is no part of DE", "expected one of DE-BB, DE-BE, DE-BW, "),
        ("DE-BEE", "is 'DE-BEE', which is no part of DE", "did you mean 'DE-BE'?"),
        ("US-CAL", "is 'US-CAL', which is no part of US", "did you mean 'US-CA'?"),
    ],
)
def test_a_region_that_is_none_is_told_with_the_nearest(code: str, problem: str, expected: str) -> None:
    with pytest.raises(WrongValue, match=problem) as caught:
        parse_region(code)
    assert caught.value.expected.startswith(expected)


def test_hours_are_closed_on_holidays_unless_the_date_has_times_of_its_own(tmp_path: Path) -> None:
    text = PLAN.replace("except: [2026-12-24..2026-12-26]", "except: [DE-BE, 2026-12-24], 2026-05-01: '10:00-11:00'")
    plan = load_plan(tmp_path, text)
    hours = plan.hours["office"]
    moments = {"2026-12-25T10:00": False, "2026-12-24T10:00": False, "2026-05-01T10:30": True, "2026-05-04T10:00": True}
    assert {moment: hours.is_open(parse_instant(moment, plan.zone)) for moment in moments} == moments
    assert hours.explain(parse_instant("2026-12-25T10:00", plan.zone)).endswith("(holiday: Christmas Day)")
    assert hours.state(parse_instant("2026-12-25T10:00", plan.zone)) == "closed now, opens Monday 09:00"


def test_an_unknown_region_is_refused_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_plan(tmp_path, PLAN.replace("except: [2026-12-24..2026-12-26]", "except: [DE-BX]"))
    (problem,) = caught.value.problems
    assert problem.message == "item 1 of 'except' is 'DE-BX', which is no part of DE"
    assert problem.expected.startswith("expected one of DE-BB, DE-BE, ")
    assert (problem.line, problem.column) == (5, 82)


def test_the_library_is_loaded_only_where_a_plan_names_a_region() -> None:
    code = "import sys, gateway.dialplan.load; sys.exit('holidays' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
