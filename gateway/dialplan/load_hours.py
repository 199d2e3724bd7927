"""The section ``hours`` into opening hours, or into what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from gateway.dialplan.holidays import Region, parse_region
from gateway.dialplan.hours import (
    WEEKDAYS,
    DateRange,
    OpeningHours,
    TimeRange,
    overlap,
    parse_date_range,
    parse_time_range,
    parse_weekdays,
)
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.source import HoursSource
from gateway.dialplan.source_values import is_region
from gateway.located import WrongValue

NEVER_OPENS = 'expected times, such as mon-fri: "09:00-17:00"'
CENTURY = DateRange(first=date(2000, 1, 1), last=date(2099, 12, 31))
"""What is closed for all of it, is closed for good."""


@dataclass(frozen=True, slots=True)
class _Span:
    """One range as written: of a weekday (0 to 6) or of a date, and its place."""

    day: int | date
    range: TimeRange
    place: Way


def load_hours(loading: Loading) -> MappingProxyType[str, OpeningHours]:
    """All opening hours of the plan."""
    return MappingProxyType({name: _hours(loading, name, hours) for name, hours in loading.plan.hours.items()})


def _hours(loading: Loading, name: str, hours: HoursSource) -> OpeningHours:
    path: Way = ("hours", name)
    spans = _spans(loading, path, hours)
    _check_overlaps(loading, spans)
    closed = tuple(parse_date_range(text) for text in hours.except_ if not is_region(text))
    week = tuple(
        tuple(span.range for span in spans if span.day == wanted and isinstance(span.day, int))
        for wanted in range(len(WEEKDAYS))
    )
    dates = dict.fromkeys(span.day for span in spans if isinstance(span.day, date))
    special = {day: tuple(span.range for span in spans if span.day == day) for day in dates}
    if not hours.week:
        loading.note(path, f"{name!r} never opens", NEVER_OPENS, at_key=True)
    elif not special and _is_century_closed(closed):
        loading.note((*path, "except"), f"{name!r} never opens: every date is an exception", NEVER_OPENS)
    regions = tuple(
        region
        for index, text in enumerate(hours.except_)
        if is_region(text) and (region := _region(loading, (*path, "except", index), text))
    )
    return OpeningHours(name=name, week=week, closed=closed, special=MappingProxyType(special), regions=regions)


def _region(loading: Loading, path: Way, text: str) -> Region | None:
    try:
        return parse_region(text.strip())
    except WrongValue as error:
        loading.note_wrong(path, error, text)
        return None


def _spans(loading: Loading, path: Way, hours: HoursSource) -> list[_Span]:
    spans = []
    for key, texts in hours.week.items():
        try:
            days: Sequence[int | date] = (
                (parse_date_range(key).first,) if key[:1].isdigit() and ".." not in key else parse_weekdays(key)
            )
        except WrongValue as error:
            loading.note_wrong((*path, key), error, key, at_key=True)
            continue
        for index, text in enumerate(texts):
            spans += [_Span(day, parse_time_range(text), (*path, key, index)) for day in days]
    return spans


def _check_overlaps(loading: Loading, spans: Sequence[_Span]) -> None:
    weekly = [span for span in spans if isinstance(span.day, int)]
    by_date = [
        [span for span in spans if span.day == day]
        for day in dict.fromkeys(span.day for span in spans if isinstance(span.day, date))
    ]
    for some in (weekly, *by_date):
        if pair := overlap([(span.day if isinstance(span.day, int) else 0, span.range) for span in some]):
            first, second = some[pair[0]], some[pair[1]]
            message = f"{_day(second)} {second.range} overlaps {_day(first)} {first.range}"
            loading.note(second.place, message, "expected each minute once")


def _day(span: _Span) -> str:
    return WEEKDAYS[span.day] if isinstance(span.day, int) else span.day.isoformat()


def _is_century_closed(closed: Sequence[DateRange]) -> bool:
    day = CENTURY.first
    for span in sorted(closed, key=lambda span: span.first):
        if span.first > day:
            return False
        if span.last >= CENTURY.last:
            return True
        day = max(day, date.fromordinal(span.last.toordinal() + 1))
    return False
