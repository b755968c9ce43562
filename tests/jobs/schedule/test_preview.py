"""The next ticks, by the clock on the wall and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.schedule.preview import preview


def shown(schedule: Any, after: datetime, count: int) -> list[tuple[str, str, str | None]]:
    return [
        (each.local.isoformat(), f"{each.utc:%d %H:%M}", each.note)
        for each in preview(schedule, after, count)
    ]


def test_the_nights_on_which_clocks_change_are_marked(asking: Any) -> None:
    spring = shown(asking("30 2 * * *"), datetime(2026, 3, 28, tzinfo=UTC), 3)
    assert spring == [
        ("2026-03-28T02:30:00+01:00", "28 01:30", None),
        ("2026-03-29T03:00:00+02:00", "29 01:00", "clocks go forward from 02:00 to 03:00"),
        ("2026-03-30T02:30:00+02:00", "30 00:30", None),
    ]
    autumn = shown(asking("30 2 * * *"), datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert autumn == [
        ("2026-10-25T02:30:00+02:00", "25 00:30", "clocks go back from 03:00 to 02:00"),
        ("2026-10-26T02:30:00+01:00", "26 01:30", None),
    ]


def test_clocks_that_change_at_midnight_mark_the_date_that_they_change(asking: Any) -> None:
    (first,) = shown(asking("0 0 * * *", "Asia/Beirut"), datetime(2026, 3, 28, tzinfo=UTC), 1)
    assert first == (
        "2026-03-29T01:00:00+03:00",
        "28 22:00",
        "clocks go forward from 00:00 to 01:00",
    )


def test_there_is_nothing_after_the_end(asking: Any) -> None:
    schedule = asking("0 12 * * *", end="2026-06-11")
    assert len(shown(schedule, datetime(2026, 6, 10, tzinfo=UTC), 10)) == 2
