"""Ticks in zones whose clocks change, against clocks that are read minute by minute."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from minute_by_minute import EXPRESSIONS, expected, transitions, walls

from jobs.schedule.cron import parse_cron
from jobs.schedule.timetable import Timetable
from jobs.schedule.zones import changes, names

YEARS = range(2026, 2031)
ODD = (
    "Africa/Casablanca",
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Chatham",
    "UTC",
)
A_DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _rules_of_the_package() -> Iterator[None]:
    """The oracle reads the same rules as we, and not those of the machine."""
    zoneinfo.reset_tzpath(to=())
    yield
    zoneinfo.reset_tzpath()


def timetable(cron: str, zone: str) -> Timetable:
    return Timetable(parse_cron(cron), zone)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def hold_against_the_oracle(zone: str, moments: list[datetime]) -> None:
    for moment in moments:
        after, until = moment - A_DAY, moment + A_DAY
        shown = list(walls(zoneinfo.ZoneInfo(zone), after - A_DAY, until))
        for cron in EXPRESSIONS:
            ours = timetable(cron, zone)
            found = list(ours.ticks(after, until))
            assert found == expected(shown, cron, after), (zone, moment, cron)
            assert ours.count(after, until) == len(found), (zone, moment, cron)


@pytest.mark.parametrize("zone", ODD)
def test_odd_zones_run_by_the_clock_on_the_wall(zone: str) -> None:
    moments = transitions(zoneinfo.ZoneInfo.no_cache(zone), range(2026, 2028))
    hold_against_the_oracle(zone, moments or [datetime(2026, 3, 29, tzinfo=UTC)])


@pytest.mark.slow
def test_all_zones_run_by_the_clock_on_the_wall() -> None:
    looked_at = 0
    for zone in sorted(names()):
        moments = transitions(zoneinfo.ZoneInfo.no_cache(zone), YEARS)
        looked_at += len(moments)
        hold_against_the_oracle(zone, moments)
    assert looked_at > 1500


@pytest.mark.slow
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * *"])
def test_a_daily_tick_comes_exactly_once_a_local_date(cron: str) -> None:
    start, end = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2031, 1, 1, 12, tzinfo=UTC)
    for zone in sorted(names()):
        local = zoneinfo.ZoneInfo(zone)
        dates = [tick.astimezone(local).date() for tick in timetable(cron, zone).ticks(start, end)]
        assert dates == [dates[0] + each * A_DAY for each in range(len(dates))], zone
        assert len(dates) == (end - start).days, zone


@pytest.mark.parametrize("zone", ODD)
def test_changes_are_found_to_the_second(zone: str) -> None:
    hours = transitions(zoneinfo.ZoneInfo.no_cache(zone), YEARS)
    found = [each.replace(tzinfo=UTC) for year in YEARS for each in changes(zone, year)]
    assert [each.replace(minute=0) for each in hours] == [
        (each - timedelta(seconds=1)).replace(minute=0, second=0) for each in found
    ]
    for each in found:
        local = zoneinfo.ZoneInfo(zone)
        before = (each - timedelta(seconds=1)).astimezone(local)
        assert before.utcoffset() != each.astimezone(local).utcoffset()


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("30 2 * * *", "2026-03-29T00:00+01:00", "2026-03-29T03:00+02:00"),
        ("30 2 * * *", "2026-10-25T00:00+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),
        # An engine that first looks in the second of the two hours has nothing to catch up with.
        ("30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26T02:30+01:00"),
        ("@hourly", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"),
        ("0 1-3 * * *", "2026-10-25T02:00+02:00", "2026-10-25T03:00+01:00"),
        # What stands in the gap, and at its end, is due once.
        ("0,30 2,3 * * *", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"),
    ],
)
def test_the_next_tick_in_berlin(cron: str, after: str, expected: str) -> None:
    found = next(timetable(cron, "Europe/Berlin").ticks(instant(after)))
    assert found == instant(expected)


def test_a_date_that_a_zone_has_left_out_is_due_when_the_next_one_begins() -> None:
    ticks = timetable("30 2 * * *", "Pacific/Apia").ticks(instant("2011-12-29T12:00-10:00"), None)
    assert list(islice(ticks, 2)) == [
        instant("2011-12-31T00:00+14:00"),
        instant("2011-12-31T02:30+14:00"),
    ]


def test_what_is_due_once_in_decades_is_found() -> None:
    ticks = timetable("0 0 29 2 */7", "Europe/Berlin").ticks(instant("2026-01-01T00:00+00:00"))
    assert [each.year for each in islice(ticks, 2)] == [2032, 2060]


def test_ten_years_of_minutes_are_counted_by_their_days() -> None:
    start, end = instant("2016-01-01T00:00+00:00"), instant("2026-01-01T00:00+00:00")
    assert timetable("* * * * *", "Europe/Berlin").count(start, end) == (end - start) // timedelta(
        minutes=1
    )
