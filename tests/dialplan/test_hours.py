"""Opening hours: ranges, exceptions, midnight and clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialplan.hours import (
    DateRange,
    OpeningHours,
    TimeRange,
    is_always_open,
    may_coincide,
    overlap,
    parse_date_range,
    parse_instant,
    parse_time_range,
    parse_weekdays,
    parse_zone,
    surely_cover,
)
from gateway.located import WrongValue

BERLIN = ZoneInfo("Europe/Berlin")


def opening_hours(closed: str = "", **days: str) -> OpeningHours:
    """Hours from ``mon="09:00-12:00 13:00-17:00"``."""
    week = tuple(
        tuple(parse_time_range(text) for text in days.get(day, "").split())
        for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    )
    return OpeningHours(name="office", week=week, closed=tuple(parse_date_range(text) for text in closed.split()))


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", (0,)),
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("sat-mon", (5, 6, 0)),
        ("mon,wed, fri", (0, 2, 4)),
        ("MON-TUE,mon", (0, 1)),
        ("sun-sun", (6,)),
    ],
)
def test_weekdays_are_days_lists_and_ranges(text: str, days: tuple[int, ...]) -> None:
    assert parse_weekdays(text) == days


def test_a_day_written_out_is_answered_with_its_short_name() -> None:
    with pytest.raises(WrongValue) as refused:
        parse_weekdays("mon-Saturday")
    assert refused.value.expected == "did you mean 'sat'?"


@pytest.mark.parametrize("text", ["", "monday", "mon-", "-fri", "mon--fri", "0", "mon;tue"])
def test_other_words_are_no_weekdays(text: str) -> None:
    with pytest.raises(WrongValue, match="is no day"):
        parse_weekdays(text)


@pytest.mark.parametrize(
    "text", ["9-17", "09:00", "09:00-17:60", "24:00-25:00", "24:00-01:00", "09:00-09:00", "x", "a:b-c:d"]
)
def test_impossible_ranges_are_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        parse_time_range(text)


@pytest.mark.parametrize("text", ["2026-2-1", "2026-02-30", "tomorrow", "2026-12-26..2026-12-24", "2026-12-24..", ".."])
def test_impossible_dates_are_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        parse_date_range(text)


def test_a_range_is_open_from_its_first_minute_until_before_its_last() -> None:
    hours = opening_hours(fri="09:00-12:00 13:00-17:30")
    opened = [f"2026-11-20T{t}" for t in ("09:00:00", "11:59:59", "13:00", "17:29:59")]
    closed = [f"2026-11-20T{t}" for t in ("08:59:59", "12:00", "12:59", "17:30", "23:00")]
    assert [hours.is_open(local(t)) for t in opened] == [True] * 4
    assert [hours.is_open(local(t)) for t in closed] == [False] * 5
    assert not hours.is_open(local("2026-11-21T10:00"))


def test_midnight_ends_a_day_as_24_00() -> None:
    hours = opening_hours(fri="00:00-24:00")
    assert [hours.is_open(local(f"2026-11-{t}")) for t in ("19T23:59", "20T00:00", "20T23:59", "21T00:00")] == [
        *(False, True, True, False)
    ]


def test_a_range_past_midnight_belongs_to_the_day_it_begins() -> None:
    hours = opening_hours(fri="22:00-02:00", closed="2026-11-27")
    assert hours.is_open(local("2026-11-21T01:59"))
    assert not hours.is_open(local("2026-11-21T02:00"))
    assert not hours.is_open(local("2026-11-20T01:00")), "Thursday has no range"
    assert not hours.is_open(local("2026-11-28T01:00")), "Friday the 27th is closed, so its night is, too"


def test_the_night_before_a_closed_date_runs_to_its_end() -> None:
    assert opening_hours(fri="22:00-02:00", closed="2026-11-21").is_open(local("2026-11-21T01:00"))


def test_exceptions_close_single_dates_and_ranges_with_both_ends() -> None:
    hours = opening_hours(
        closed="2026-12-24..2026-12-26 2027-01-01", thu="09:00-17:00", fri="09:00-17:00", sat="09:00-17:00"
    )
    days = ["2026-12-18", "2026-12-24", "2026-12-25", "2026-12-26", "2026-12-31", "2027-01-01", "2027-01-02"]
    assert [hours.is_open(local(f"{day}T10:00")) for day in days] == [True, False, False, False, True, False, True]


def test_an_explanation_names_the_reason() -> None:
    hours = opening_hours(fri="09:00-12:00 22:00-02:00", closed="2026-11-27")
    assert hours.explain(local("2026-11-20T10:00")) == "office is open on fri 2026-11-20 10:00"
    assert hours.explain(local("2026-11-20T13:00")) == (
        "office is closed on fri 2026-11-20 13:00 (fri: 09:00-12:00, 22:00-02:00)"
    )
    assert hours.explain(local("2026-11-22T13:00")) == "office is closed on sun 2026-11-22 13:00 (sun: closed all day)"
    assert hours.explain(local("2026-11-27T10:00")) == "office is closed on fri 2026-11-27 10:00 (an exception)"


def test_the_first_and_the_last_day_of_the_calendar_are_days() -> None:
    hours = opening_hours(mon="22:00-02:00")
    assert not hours.is_open(local("0001-01-01T00:00"))
    assert not hours.is_open(local("9999-12-31T23:59"))


# Clock changes: Europe/Berlin skips 02:00-03:00 on 2026-03-29 and repeats it on 2026-10-25.


def open_minutes(hours: OpeningHours, first: datetime, minutes: int) -> int:
    """Minutes of real time, from `first`, in which the hours are open."""
    instants = (first + timedelta(minutes=n) for n in range(minutes))
    return sum(hours.is_open(instant.astimezone(BERLIN)) for instant in instants)


@pytest.mark.parametrize(("day", "minutes"), [(28, 60), (29, 0)])
def test_a_skipped_hour_is_never_met(day: int, minutes: int) -> None:
    hours = opening_hours(sat="02:00-03:00", sun="02:00-03:00")
    assert open_minutes(hours, datetime(2026, 3, day, tzinfo=UTC) - timedelta(hours=1), 23 * 60) == minutes


def test_a_repeated_hour_is_open_twice() -> None:
    hours = opening_hours(sun="02:00-03:00")
    assert open_minutes(hours, datetime(2026, 10, 24, 22, tzinfo=UTC), 25 * 60) == 120


@pytest.mark.parametrize(
    ("instant", "is_open"), [("2026-03-27T08:30Z", True), ("2026-03-30T07:30Z", True), ("2026-03-30T06:59Z", False)]
)
def test_nine_o_clock_is_nine_o_clock_on_both_sides_of_a_change(instant: str, is_open: bool) -> None:
    hours = opening_hours(mon="09:00-10:00", fri="09:00-10:00")
    assert hours.is_open(datetime.fromisoformat(instant).astimezone(BERLIN)) is is_open


def test_a_night_across_a_change_ends_by_the_wall_clock() -> None:
    hours = opening_hours(sat="22:00-04:00")
    spring = datetime(2026, 3, 28, 12, tzinfo=BERLIN).astimezone(UTC)
    autumn = datetime(2026, 10, 24, 12, tzinfo=BERLIN).astimezone(UTC)
    assert (open_minutes(hours, spring, 1440), open_minutes(hours, autumn, 1440)) == (5 * 60, 7 * 60)


# Instants.


def test_an_instant_without_offset_is_local() -> None:
    assert parse_instant("2026-11-20T10:00", BERLIN).isoformat() == "2026-11-20T10:00:00+01:00"
    assert parse_instant("2026-07-20 10:00", BERLIN).isoformat() == "2026-07-20T10:00:00+02:00"


def test_an_instant_with_offset_is_the_same_moment_in_the_zone() -> None:
    assert parse_instant("2026-11-20T10:00Z", BERLIN).isoformat() == "2026-11-20T11:00:00+01:00"


def test_an_ambiguous_instant_is_the_first_and_an_offset_chooses() -> None:
    assert parse_instant("2026-10-25T02:30", BERLIN).utcoffset() == timedelta(hours=2)
    assert parse_instant("2026-10-25T02:30+01:00", BERLIN).utcoffset() == timedelta(hours=1)


def test_a_skipped_instant_is_refused() -> None:
    with pytest.raises(WrongValue, match="is skipped by a clock change"):
        parse_instant("2026-03-29T02:30", BERLIN)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-20", "10:00", "2026-13-01T10:00", "0001-01-01T00:00", "9999-12-31T23:59-10:00"]
)
def test_other_words_are_no_instants(text: str) -> None:
    with pytest.raises(WrongValue):
        parse_instant(text, BERLIN)


@pytest.mark.parametrize(
    "text", ["Europe/Berln", "", "../../etc/passwd", "/etc/localtime", "Europe", "a\x00b", "é" * 300, "CET/"]
)
def test_unknown_zones_are_refused(text: str) -> None:
    with pytest.raises(WrongValue):
        parse_zone(text)


def test_a_misspelt_zone_gets_the_nearest_one() -> None:
    with pytest.raises(WrongValue) as caught:
        parse_zone("Europe/Berln")
    assert caught.value.expected == "did you mean 'Europe/Berlin'?"


# Overlaps.


def spans(*texts: str) -> list[tuple[int, TimeRange]]:
    return [
        (day, parse_time_range(span)) for key, span in (text.split() for text in texts) for day in parse_weekdays(key)
    ]


def test_ranges_that_touch_do_not_overlap() -> None:
    assert overlap(spans("mon 09:00-12:00", "mon 12:00-13:00", "mon 00:00-09:00", "sun 22:00-24:00")) is None
    assert overlap(spans("mon-sun 00:00-24:00")) is None
    assert overlap([]) is None


def test_overlapping_ranges_are_named_by_their_order() -> None:
    assert overlap(spans("tue 09:00-12:00", "mon 09:00-12:00", "mon 11:59-13:00")) == (1, 2)
    assert overlap(spans("mon 09:00-18:00", "mon 10:00-11:00")) == (0, 1)


def test_a_night_overlaps_the_next_day_also_over_the_end_of_the_week() -> None:
    assert overlap(spans("mon 22:00-02:00", "tue 01:00-03:00")) == (0, 1)
    assert overlap(spans("mon 01:00-03:00", "sun 22:00-02:00")) == (0, 1)


RANGES = st.tuples(st.integers(0, 6), st.integers(0, 47), st.integers(1, 48)).map(
    lambda drawn: (drawn[0], TimeRange(start_minute=drawn[1] * 30, end_minute=(drawn[1] + drawn[2]) * 30))
)


@given(st.lists(RANGES, max_size=6))
def test_overlap_agrees_with_counting_minutes(ranges: list[tuple[int, TimeRange]]) -> None:
    slots = [
        (day * 1440 + minute) % 10080
        for day, span in ranges
        for minute in range(span.start_minute, span.end_minute, 30)
    ]
    assert (overlap(ranges) is not None) == (len(slots) != len(set(slots)))


@given(
    st.lists(RANGES, max_size=5),
    st.integers(0, 365 * 1440),
    st.dates(date(2026, 1, 1), date(2027, 1, 1)),
)
def test_is_open_agrees_with_laying_out_the_ranges(
    ranges: list[tuple[int, TimeRange]], minute: int, holiday: date
) -> None:
    week = tuple(tuple(span for day, span in ranges if day == wanted) for wanted in range(7))
    hours = OpeningHours(name="x", week=week, closed=(DateRange(first=holiday, last=holiday),))
    at = local("2026-01-01T00:00") + timedelta(minutes=minute)
    expected = False
    for back in (0, 1):
        day = at.date() - timedelta(days=back)
        midnight = local(f"{day}T00:00")
        for span in week[day.weekday()]:
            start, end = (midnight + timedelta(minutes=m) for m in (span.start_minute, span.end_minute))
            expected |= start <= at < end and day != holiday
    assert hours.is_open(at) is expected


# Dates with times of their own, and what is said of now.


def special(**more: object) -> OpeningHours:
    return OpeningHours(
        name="office",
        week=tuple((parse_time_range("09:00-17:00"),) if day < 5 else () for day in range(7)),
        closed=(parse_date_range("2026-12-24..2026-12-26"),),
        special={
            date(2026, 12, 23): (parse_time_range("10:00-12:00"),),
            date(2026, 12, 26): (parse_time_range("22:00-02:00"),),
        },
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-12-22T09:00", True),
        ("2026-12-23T09:59", False),
        ("2026-12-23T10:00", True),
        ("2026-12-23T12:00", False),
        ("2026-12-24T10:00", False),
        ("2026-12-26T10:00", False),
        ("2026-12-26T22:00", True),
        ("2026-12-27T01:59", True),
        ("2026-12-27T02:00", False),
    ],
)
def test_a_date_with_times_of_its_own_has_those_and_no_others(moment: str, is_open: bool) -> None:
    assert special().is_open(parse_instant(moment, BERLIN)) == is_open


def test_the_reason_names_the_date_and_its_times() -> None:
    hours = special()
    assert hours.explain(parse_instant("2026-12-23T09:00", BERLIN)).endswith("(2026-12-23: 10:00-12:00)")
    assert hours.explain(parse_instant("2026-12-24T09:00", BERLIN)).endswith("(an exception)")


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        ("2026-11-20T16:30", "open now, until 17:00"),
        ("2026-11-20T08:00", "closed now, opens today 09:00"),
        ("2026-11-20T17:00", "closed now, opens Monday 09:00"),
        ("2026-12-23T12:30", "closed now, opens Saturday 22:00"),
        ("2026-12-26T23:00", "open now, until 02:00"),
        # Both nights of a clock change: the clock says nine.
        ("2026-03-28T12:00", "closed now, opens Monday 09:00"),
        ("2026-10-24T12:00", "closed now, opens Monday 09:00"),
    ],
)
def test_the_state_of_hours_is_told_in_words(moment: str, state: str) -> None:
    assert special().state(parse_instant(moment, BERLIN)) == state


def test_the_state_of_hours_without_an_end_or_a_beginning() -> None:
    day = (parse_time_range("00:00-24:00"),)
    always = OpeningHours(name="always", week=(day,) * 7)
    assert always.state(parse_instant("2026-11-20T16:30", BERLIN)) == "open now"
    never = OpeningHours(name="never", week=((),) * 7)
    assert never.state(parse_instant("2026-11-20T16:30", BERLIN)) == "closed now"
    once = OpeningHours(name="once", week=((),) * 7, special={date(2027, 1, 4): day})
    assert once.state(parse_instant("2026-11-20T16:30", BERLIN)) == "closed now, opens Monday 2027-01-04 00:00"
    days = OpeningHours(name="days", week=(day, day, day, (), (), (), ()))
    assert days.state(parse_instant("2026-11-23T16:30", BERLIN)) == "open now, until Thursday 00:00"


@given(minute=st.integers(0, 7 * 24 * 60 - 1))
def test_the_end_that_is_told_is_the_first_minute_that_is_closed(minute: int) -> None:
    hours, now = special(), parse_instant("2026-12-21T00:00", BERLIN) + timedelta(minutes=minute)
    later = (now + timedelta(minutes=ahead) for ahead in range(1, 8 * 24 * 60))
    change = next(moment for moment in later if hours.is_open(moment) != hours.is_open(now))
    assert hours.state(now).endswith(f"{change:%H:%M}")


def of_ranges(ranges: list[tuple[int, TimeRange]], closed: str = "") -> OpeningHours:
    week = tuple(tuple(span for day, span in ranges if day == wanted) for wanted in range(7))
    return OpeningHours(name="x", week=week, closed=(parse_date_range(closed),) if closed else ())


RANGES = st.builds(
    lambda day, start, length: (day, TimeRange(start_minute=start * 60, end_minute=(start + length) * 60)),
    st.integers(0, 6),
    st.integers(0, 23),
    st.integers(1, 24),
)


@given(
    wider=st.lists(st.lists(RANGES, max_size=4), min_size=1, max_size=2),
    narrower=st.lists(RANGES, max_size=2),
    closed=st.sampled_from([("", ""), ("2026-12-24", "2026-12-24"), ("2026-12-24", ""), ("", "2026-12-24")]),
)
def test_hours_that_cover_others_are_open_whenever_those_are(
    wider: list[list[tuple[int, TimeRange]]], narrower: list[tuple[int, TimeRange]], closed: tuple[str, str]
) -> None:
    some = [of_ranges(ranges, closed[0]) for ranges in wider]
    other = of_ranges(narrower, closed[1])
    start = parse_instant("2026-12-21T00:00", BERLIN)
    week = [start + timedelta(hours=hour) for hour in range(14 * 24)]
    open_beyond = [at for at in week if other.is_open(at) and not any(hours.is_open(at) for hours in some)]
    if surely_cover(some, other):
        assert not open_beyond
    elif closed == ("", ""):
        assert open_beyond


@pytest.mark.parametrize(
    ("wider", "narrower", "is_sure"),
    [
        (("thu 09:00-17:00", "2026-12-24"), ("thu 10:00-12:00", ""), False),
        (("thu 09:00-17:00", "2026-12-24"), ("thu 10:00-12:00", "2026-12-24"), True),
        (("thu 09:00-17:00", ""), ("thu 10:00-12:00", "2026-12-24"), True),
        (("thu 22:00-04:00", ""), ("fri 01:00-03:00", ""), True),
        # On Christmas Eve nothing begins, which Friday morning was to be the end of.
        (("thu 22:00-04:00", "2026-12-24"), ("fri 01:00-03:00", "2026-12-24"), False),
    ],
)
def test_hours_cover_others_only_where_no_date_takes_that_away(
    wider: tuple[str, str], narrower: tuple[str, str], *, is_sure: bool
) -> None:
    some, other = (
        opening_hours(closed=closed, **{text.split()[0]: text.split()[1]}) for text, closed in (wider, narrower)
    )
    assert surely_cover([some], other) == is_sure


def test_hours_that_cover_themselves_also_on_dates_of_their_own() -> None:
    assert surely_cover([special()], special()) is False
    hours = special()
    assert surely_cover([hours], hours)


@pytest.mark.parametrize(
    ("hours", "always"),
    [
        (of_ranges([(day, parse_time_range("00:00-24:00")) for day in range(7)]), True),
        (of_ranges([(day, parse_time_range("08:00-07:59")) for day in range(7)]), False),
        (of_ranges([(day, TimeRange(start_minute=480, end_minute=1920)) for day in range(7)]), True),
        (of_ranges([(day, parse_time_range("00:00-24:00")) for day in range(7)], "2026-12-24"), False),
        (of_ranges([(day, parse_time_range("00:00-24:00")) for day in range(6)]), False),
    ],
)
def test_hours_that_never_close_are_known(hours: OpeningHours, *, always: bool) -> None:
    assert is_always_open(hours) == always


@pytest.mark.parametrize(
    ("some", "others", "may"),
    [
        ("mon 09:00-12:00", "mon 11:00-13:00", True),
        ("mon 09:00-12:00", "mon 12:00-13:00", False),
        ("mon 09:00-12:00", "tue 09:00-12:00", False),
        ("sun 22:00-02:00", "mon 01:00-03:00", True),
        ("sun 22:00-02:00", "mon 02:00-03:00", False),
    ],
)
def test_hours_that_never_meet_are_known(some: str, others: str, may: bool) -> None:
    def hours(text: str) -> OpeningHours:
        day, span = text.split()
        return opening_hours(**{day: span})

    assert may_coincide(hours(some), hours(others)) == may == may_coincide(hours(others), hours(some))
