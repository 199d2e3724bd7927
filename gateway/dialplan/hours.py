"""Opening hours: ranges of wall-clock time per weekday, and dates on which nothing opens.

A range belongs to the day it begins on, also when it runs past midnight ("22:00-02:00"); a closed date takes away the
ranges that begin on it. Everything is compared as wall-clock time in the plan's zone, so "09:00" is nine o'clock on
both sides of a clock change, an hour that is skipped is never met, and one that is repeated counts twice.

A date with times of its own (``special``) has those, whatever else is said of it: also where it is a closed one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from gateway.dialplan.holidays import Region
from gateway.errors import shown
from gateway.located import WrongValue, hint

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MINUTES_A_DAY = 24 * 60
MINUTES_A_WEEK = 7 * MINUTES_A_DAY
HORIZON_DAYS = 400
NIGHT_ENDS_HOUR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """From ``start_minute`` of a day until before ``end_minute``, counted from midnight; past 1440 is the next day."""

    start_minute: int
    end_minute: int

    def __str__(self) -> str:
        end = self.end_minute if self.end_minute <= MINUTES_A_DAY else self.end_minute - MINUTES_A_DAY
        return f"{_clock(self.start_minute)}-{_clock(end)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DateRange:
    """Whole days, both included."""

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningHours:
    """Named hours of a plan. ``week`` holds the ranges of Monday (0) to Sunday (6)."""

    name: str
    week: tuple[tuple[TimeRange, ...], ...]
    closed: tuple[DateRange, ...] = ()
    special: Mapping[date, tuple[TimeRange, ...]] = field(default_factory=dict, hash=False)
    regions: tuple[Region, ...] = ()
    """Whose public holidays are closed."""

    def is_open(self, local: datetime) -> bool:
        """Whether `local`, wall-clock time in the plan's zone, lies in a range."""
        today, minute = local.date(), local.hour * 60 + local.minute
        if self._has(today, minute):
            return True
        return today > date.min and self._has(today - timedelta(days=1), minute + MINUTES_A_DAY)

    def explain(self, local: datetime) -> str:
        """Why `is_open` says what it says, in one sentence."""
        moment = f"{WEEKDAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}"
        if self.is_open(local):
            return f"{self.name} is open on {moment}"
        return f"{self.name} is closed on {moment} ({self._day(local.date())})"

    def state(self, local: datetime) -> str:
        """Whether it is open, and until when it stays so: ``open now, until 17:30``, in plain words for a model."""
        if self.is_open(local):
            end = self._closes(local)
            return "open now" if end is None else f"open now, until {_moment(end, local)}"
        start = self._opens(local)
        return "closed now" if start is None else f"closed now, opens {_moment(start, local, is_start=True)}"

    @property
    def is_ever_open(self) -> bool:
        """Whether there is any range that a date may begin; what is closed by date is not looked at."""
        return any(self.week) or any(self.special.values())

    def spans(self, day: date) -> tuple[TimeRange, ...]:
        """The ranges that begin on `day`."""
        if day in self.special:
            return self.special[day]
        return () if self._exception(day) else self.week[day.weekday()]

    def _day(self, day: date) -> str:
        if day not in self.special and (exception := self._exception(day)):
            return exception
        ranges = ", ".join(str(span) for span in self.spans(day)) or "closed all day"
        return f"{day if day in self.special else WEEKDAYS[day.weekday()]}: {ranges}"

    def _exception(self, day: date) -> str:
        """Why nothing begins on `day`, which has no times of its own; "" where something may."""
        if any(day in days for days in self.closed):
            return "an exception"
        name = next((name for region in self.regions if (name := region.holiday(day))), "")
        return f"holiday: {name}" if name else ""

    def _has(self, day: date, minute: int) -> bool:
        return any(span.start_minute <= minute < span.end_minute for span in self.spans(day))

    def _closes(self, local: datetime) -> datetime | None:
        """When the ranges that `local` lies in end, one behind the other; None: not within `HORIZON_DAYS`."""
        end = local.replace(tzinfo=None, second=0, microsecond=0)
        last = end + timedelta(days=HORIZON_DAYS)
        while end <= last:
            midnights = [end.replace(hour=0, minute=0) - timedelta(days=back) for back in (0, 1)]
            ends = [
                midnight + timedelta(minutes=span.end_minute)
                for midnight in midnights
                for span in self.spans(midnight.date())
                if midnight + timedelta(minutes=span.start_minute)
                <= end
                < midnight + timedelta(minutes=span.end_minute)
            ]
            if not ends:
                return end
            end = max(ends)
        return None

    def _opens(self, local: datetime) -> datetime | None:
        """When the next range begins; None: not within `HORIZON_DAYS`."""
        now = local.replace(tzinfo=None)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for ahead in range(HORIZON_DAYS):
            day = midnight + timedelta(days=ahead)
            starts = [day + timedelta(minutes=span.start_minute) for span in self.spans(day.date())]
            if starts := [start for start in starts if start > now]:
                return min(starts)
        return None


def _moment(moment: datetime, local: datetime, *, is_start: bool = False) -> str:
    """A time of day, with its weekday or date where it is another day than today."""
    days = (moment.date() - local.date()).days
    clock = f"{moment:%H:%M}"
    if days == 0 or (days == 1 and not is_start and moment.hour < NIGHT_ENDS_HOUR):
        return f"today {clock}" if is_start else clock
    date_of = f" {moment:%Y-%m-%d}" if days >= len(WEEKDAYS) else ""
    return f"{WEEKDAY_NAMES[moment.weekday()]}{date_of} {clock}"


def parse_weekdays(text: str) -> tuple[int, ...]:
    """The days that "mon-fri", "sat" or "mon,wed,fri" name, Monday is 0; a range may run over Sunday.

    Raises:
        WrongValue: an unknown day.
    """
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = _weekday(first)
        end = _weekday(last) if dash else start
        days.extend((start + offset) % 7 for offset in range((end - start) % 7 + 1))
    return tuple(dict.fromkeys(days))


def _weekday(text: str) -> int:
    word = text.strip().casefold()
    if word not in WEEKDAYS:
        is_long = word[:3] in WEEKDAYS and word in (name.casefold() for name in WEEKDAY_NAMES)
        expected = hint(word[:3] if is_long else word, (*WEEKDAYS, "except"))
        raise WrongValue(f"names {shown(text.strip())!r}, which is no day", expected=expected)
    return WEEKDAYS.index(word)


_RANGE = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")


def parse_time_range(text: str) -> TimeRange:
    """ "09:00-17:30"; "24:00" may end a range; an end before the start is on the next day.

    Raises:
        WrongValue: not of that form, no such time of day, or nothing between start and end.
    """
    match = _RANGE.fullmatch(text.strip())
    if not match:
        raise WrongValue(expected="expected times of day such as 09:00-17:30")
    start = _minute(match[1], match[2], last=MINUTES_A_DAY - 1)
    end = _minute(match[3], match[4], last=MINUTES_A_DAY)
    if start == end:
        raise WrongValue("holds an empty range", expected="expected different times; 00:00-24:00 is the whole day")
    return TimeRange(start_minute=start, end_minute=end if end > start else end + MINUTES_A_DAY)


def _minute(hour: str, minute: str, last: int) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) >= 60 or value > last:
        raise WrongValue(f"holds {hour}:{minute}, which is no time of day", expected="expected 00:00 to 24:00")
    return value


def parse_date_range(text: str) -> DateRange:
    """ "2026-12-24", or "2026-12-24..2026-12-26", both days included.

    Raises:
        WrongValue: not of that form, no such date, or an end before the start.
    """
    first, dots, last = text.partition("..")
    days = DateRange(first=_date(first), last=_date(last) if dots else _date(first))
    if days.last < days.first:
        raise WrongValue("ends before it begins", expected="expected the earlier date first")
    return days


def _date(text: str) -> date:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()):
        try:
            return date.fromisoformat(text.strip())
        except ValueError:
            pass
    raise WrongValue(expected="expected a date such as 2026-12-24, or 2026-12-24..2026-12-26")


def overlap(spans: Sequence[tuple[int, TimeRange]]) -> tuple[int, int] | None:
    """Indices of two (weekday, range) that share time; a range that runs past Sunday's midnight meets Monday's."""
    order = sorted((day * MINUTES_A_DAY + span.start_minute, index) for index, (day, span) in enumerate(spans))
    around = [*order, *((start + MINUTES_A_WEEK, index) for start, index in order[:1])]
    for (start, index), (next_start, next_index) in itertools.pairwise(around):
        span = spans[index][1]
        if next_start < start + span.end_minute - span.start_minute and index != next_index:
            return min(index, next_index), max(index, next_index)
    return None


def may_coincide(some: OpeningHours, others: OpeningHours) -> bool:
    """Whether both can be open at once, as far as their weeks tell; dates with times of their own may be any day."""
    if some.special or others.special:
        return True
    return any(_meet(span, other) for span in _weekly(some) for other in _weekly(others))


def is_always_open(hours: OpeningHours) -> bool:
    """Whether nothing of it ever closes."""
    is_plain = not (hours.special or hours.closed or hours.regions)
    return is_plain and len(_minutes(hours)) == MINUTES_A_WEEK


def surely_cover(wider: Sequence[OpeningHours], narrower: OpeningHours) -> bool:
    """Whether one of `wider` is surely open whenever `narrower` is. Dates with times of their own leave that open."""
    if any(hours is narrower for hours in wider):
        return True
    if narrower.special:
        return False
    wider = [
        hours
        for hours in wider
        if not hours.special
        and set(hours.closed) <= set(narrower.closed)
        and set(hours.regions) <= set(narrower.regions)
    ]
    if any(hours.closed or hours.regions for hours in wider):
        # A closed date takes away what begins on it, and no more: compare what begins on the same day.
        return all(
            _in_day(narrower, day) <= set().union(*(_in_day(hours, day) for hours in wider))
            for day in range(len(WEEKDAYS))
        )
    return _minutes(narrower) <= set().union(*map(_minutes, wider))


def _in_day(hours: OpeningHours, day: int) -> set[int]:
    """The minutes of the ranges that begin on a weekday, from its midnight on."""
    return {minute for span in hours.week[day] for minute in range(span.start_minute, span.end_minute)}


def _minutes(hours: OpeningHours) -> set[int]:
    """The minutes of a week."""
    days = range(len(WEEKDAYS))
    return {(day * MINUTES_A_DAY + minute) % MINUTES_A_WEEK for day in days for minute in _in_day(hours, day)}


def _weekly(hours: OpeningHours) -> list[tuple[int, int]]:
    """(first minute, minute behind the last) of each range, counted from Monday's midnight."""
    return [
        (day * MINUTES_A_DAY + span.start_minute, day * MINUTES_A_DAY + span.end_minute)
        for day, spans in enumerate(hours.week)
        for span in spans
    ]


def _meet(span: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two ranges of the week share a minute; what runs past Sunday is in the next week's Monday."""
    return any(
        span[0] + shift < other[1] and other[0] < span[1] + shift for shift in (-MINUTES_A_WEEK, 0, MINUTES_A_WEEK)
    )


def parse_zone(text: str) -> ZoneInfo:
    """The time zone of that name in the IANA database.

    Raises:
        WrongValue: no such zone.
    """
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise WrongValue(expected=_zone_hint(text)) from error


def _zone_hint(text: str) -> str:
    nearest = hint(text, available_timezones())
    return nearest if nearest.startswith("did") else "expected a zone such as Europe/Berlin or UTC"


def parse_instant(text: str, zone: ZoneInfo) -> datetime:
    """An ISO 8601 date and time; without an offset it is wall-clock time in `zone`, the first of a repeated hour.

    Raises:
        WrongValue: not of that form, or a time that the clocks of `zone` skip.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise WrongValue(expected="expected a date and time such as 2026-11-20T10:00") from error
    if not re.search(r"[0-9][T ][0-9]", text):
        raise WrongValue(expected="expected a date and time such as 2026-11-20T10:00")
    try:
        if instant.tzinfo is not None:
            return instant.astimezone(zone)
        local = instant.replace(tzinfo=zone)
        if local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != instant:
            expected = f"expected a time that the clocks of {zone.key} show"
            raise WrongValue(f"is {shown(text)!r}, which is skipped by a clock change", expected=expected)
    except OverflowError as error:
        raise WrongValue(expected="expected a year between 2 and 9998") from error
    return local


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
