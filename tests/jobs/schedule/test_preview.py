"""The next ticks, by the clock on the wall and in UTC."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.schedules import Entry
from jobs.schedule.preview import Lengths, Outstanding, lengths, outstanding, preview


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


HOUR = timedelta(hours=1)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)


def past(*hours: float) -> Lengths:
    took = [timedelta(hours=each) for each in hours]
    return Lengths(sorted(took)[len(took) // 2], max(took), len(took))


@pytest.mark.parametrize(
    ("took", "overlap", "said"),
    [
        ((1, 2, 2), "forbid", None),
        (
            (1, 1, 5),
            "forbid",
            "perhaps at work when the next is due: that one is skipped "
            "(longest of the last 3: 5:00:00)",
        ),
        (
            (3, 4, 5),
            "replace",
            "likely at work when the next is due: that one takes its place "
            "(median of the last 3: 4:00:00)",
        ),
        (
            (3, 4, 5),
            "allow",
            "likely at work when the next is due: both are at work (median of the last 3: 4:00:00)",
        ),
    ],
)
def test_overlaps_are_forecast_from_how_long_the_last_ones_took(
    asking: Any, took: tuple[float, ...], overlap: str, said: str | None
) -> None:
    # Due at 1, 3 and 23 o'clock: two hours apart, and twenty.
    schedule = asking("0 1,3,23 * * *", "UTC", overlap=overlap)
    found = preview(schedule, NOON - 12 * HOUR, 4, past(*took))
    assert [each.note for each in found] == [said, None, said, said]


def test_the_last_tick_of_all_meets_none(asking: Any) -> None:
    schedule = asking("0 1,3 * * *", "UTC", end="2026-06-10")
    first, last = preview(schedule, NOON - 12 * HOUR, 5, past(9))
    assert first.note is not None
    assert last.note is None


def test_what_an_engine_would_start_at_once(asking: Any) -> None:
    schedule = asking("0 * * * *", "UTC")
    entry = Entry("nightly", schedule.as_document(), True, False, NOON, NOON, NOON + HOUR)
    found = outstanding(entry, (), NOON + 3 * HOUR)
    assert found == Outstanding((NOON + 3 * HOUR,), 2)
    assert preview(schedule, NOON, 1, overdue=found.starts)[0].note == "would start at once"
    paused = outstanding(replace(entry, paused=True), (), NOON + 3 * HOUR)
    assert paused == Outstanding((), 3)


def test_how_long_ticks_took_is_known_of_those_that_ended(asking: Any) -> None:
    assert lengths([]) is None
