"""Which ticks start, and what became of the others: without a store and without a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.decided import Decisions
from jobs.schedule.decisions import MAX_ROWS, account, due
from jobs.schedule.definition import Schedule

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 6, 10, 12, 0, 30, tzinfo=UTC)


def hourly(asking: Any, **more: Any) -> Schedule:
    schedule: Schedule = asking("0 * * * *", "UTC", **more)
    return schedule


def hours(moments: Any) -> list[int]:
    return [moment.hour for moment in moments]


def started(decisions: Decisions) -> list[int]:
    return hours(each.due for each in decisions.starts)


def test_a_tick_starts_when_it_is_due(asking: Any) -> None:
    decisions = due(hourly(asking), NOON - MINUTE, [], NOON)
    assert decisions.cursor == NOON
    assert [(each.due, each.at) for each in decisions.starts] == [(NOON.replace(second=0),) * 2]
    assert (decisions.closed, decisions.replaced) == ((), ())


def test_nothing_is_due_twice(asking: Any) -> None:
    assert due(hourly(asking), NOON, [], NOON + MINUTE).starts == ()


@pytest.mark.parametrize(
    ("catch_up", "expected"), [("none", [12]), ("latest", [12]), ("all", [9, 10, 11, 12])]
)
def test_what_was_missed_is_caught_up_with_as_asked(
    asking: Any, catch_up: str, expected: list[int]
) -> None:
    decisions = due(hourly(asking, catch_up=catch_up), NOON - 4 * HOUR, [], NOON)
    assert started(decisions) == expected
    left = [hour for hour in (9, 10, 11, 12) if hour not in expected]
    assert hours(each.due for each in decisions.closed) == left
    assert {each.ending for each in decisions.closed} <= {"missed"}


def test_without_catching_up_late_ticks_are_missed(asking: Any) -> None:
    decisions = due(hourly(asking, catch_up="none"), NOON - HOUR, [], NOON + 10 * MINUTE)
    assert started(decisions) == []
    assert hours(each.due for each in decisions.closed) == [12]


def test_no_more_are_caught_up_with_than_asked(asking: Any) -> None:
    schedule = hourly(asking, catch_up="all", catch_up_at_most=2)
    decisions = due(schedule, NOON - 4 * HOUR, [], NOON)
    assert started(decisions) == [11, 12]
    assert {each.reason for each in decisions.closed} == {"more were due than catch_up_at_most"}


def test_after_the_deadline_a_tick_is_missed(asking: Any) -> None:
    schedule = hourly(asking, deadline="1h", catch_up="all")
    decisions = due(schedule, NOON - 3 * HOUR, [], NOON)
    assert started(decisions) == [12]
    assert [(each.due.hour, each.ending) for each in decisions.closed] == [
        (10, "missed"),
        (11, "missed"),
    ]
    assert "the deadline of 1h was over" in decisions.closed[0].reason


def test_forbid_skips_while_another_tick_is_live(asking: Any) -> None:
    decisions = due(hourly(asking), NOON - MINUTE, [NOON - HOUR], NOON)
    assert started(decisions) == []
    assert [(each.ending, each.reason) for each in decisions.closed] == [
        ("skipped", "the tick of 2026-06-10T11:00+00:00 was not done")
    ]


def test_replace_names_those_that_make_room(asking: Any) -> None:
    schedule = hourly(asking, overlap="replace", catch_up="all")
    decisions = due(schedule, NOON - 2 * HOUR, [NOON - 3 * HOUR], NOON)
    assert started(decisions) == [12]
    assert decisions.replaced == (NOON - 3 * HOUR,)
    assert due(schedule, NOON, [NOON], NOON + MINUTE).replaced == ()


def test_allow_starts_beside_the_others(asking: Any) -> None:
    decisions = due(hourly(asking, overlap="allow"), NOON - MINUTE, [NOON - HOUR], NOON)
    assert started(decisions) == [12]
    assert decisions.replaced == ()


def test_a_clock_that_was_set_back_decides_nothing(asking: Any) -> None:
    assert due(hourly(asking), NOON, [], NOON - DAY) == Decisions(NOON)
    assert account(hourly(asking), NOON, NOON - DAY, "missed", "") == Decisions(NOON)


def test_nothing_is_due_after_the_end(asking: Any) -> None:
    schedule = hourly(asking, end="2026-06-10", catch_up="all")
    decisions = due(schedule, NOON + 10 * HOUR, [], NOON + 15 * HOUR)
    assert started(decisions) == [23]
    assert due(schedule, decisions.cursor, [], NOON + 30 * DAY).closed == ()


def test_a_schedule_that_is_paused_or_changed_starts_nothing(asking: Any) -> None:
    decisions = account(hourly(asking), NOON - 2 * HOUR, NOON, "skipped", "paused")
    assert (decisions.starts, decisions.cursor) == ((), NOON)
    assert [(each.due.hour, each.ending, each.reason) for each in decisions.closed] == [
        (11, "skipped", "paused"),
        (12, "skipped", "paused"),
    ]


def test_a_cursor_of_ten_years_ago_is_one_record(asking: Any) -> None:
    schedule = asking("* * * * *", "Europe/Berlin")
    decisions = due(schedule, NOON - 3650 * DAY, [], NOON)
    older, newer = decisions.closed
    assert (older.count, newer.count) == (3650 * 1440 - 360, 359)
    assert (older.through, older.ending) == (NOON - 6 * HOUR, "missed")
    assert [each.due for each in decisions.starts] == [NOON.replace(second=0)]


CURSORS = st.lists(st.timedeltas(timedelta(), timedelta(days=3)), min_size=1, max_size=8)


@given(
    cron=st.sampled_from(["*/20 * * * *", "30 2 * * *", "0 */2 * * *", "15 1-3 * * *"]),
    zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "UTC"]),
    overlap=st.sampled_from(["forbid", "replace", "allow"]),
    catch_up=st.sampled_from(["none", "latest", "all"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    passes=CURSORS,
    live=st.booleans(),
    paused=st.sets(st.integers(0, 7)),
)
def test_every_tick_has_exactly_one_outcome(
    asking: Any,
    cron: str,
    zone: str,
    overlap: str,
    catch_up: str,
    start: datetime,
    passes: list[timedelta],
    live: bool,
    paused: set[int],
) -> None:
    """However often one looks, and whatever is live: the ticks are those of the timetable."""
    schedule: Schedule = asking(
        cron, zone, overlap=overlap, catch_up=catch_up, catch_up_at_most=2, deadline="1d"
    )
    begin = cursor = start.replace(tzinfo=UTC)
    seen = list[datetime]()
    for number, step in enumerate(passes):
        now = cursor + step
        at_work = [cursor - HOUR] if live else []
        if number in paused:
            decisions = account(schedule, cursor, now, "skipped", "paused")
            assert decisions.starts == ()
        else:
            decisions = due(schedule, cursor, at_work, now)
        covered = [each.due for each in decisions.starts]
        for each in decisions.closed:
            ticks = list(
                schedule.timetable.ticks(each.due - timedelta(microseconds=1), each.through)
            )
            assert (ticks[0], len(ticks)) == (each.due, each.count)
            assert each.count == 1 or each.count > MAX_ROWS
            covered += ticks
        assert all(cursor < tick <= now for tick in covered)
        seen += covered
        cursor = decisions.cursor
    assert sorted(seen) == list(schedule.timetable.ticks(begin, cursor))
