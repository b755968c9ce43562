"""What a schedule asks for at a moment, as data: which ticks start, and what became of the others.

Pure: the same arguments give the same decisions, whoever asks. The cursor is the moment up to which
every tick is accounted for; it only moves forward.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from jobs.schedule.definition import Schedule, duration

Ending = Literal["missed", "skipped"]
"""What may become of a tick that never started."""

ON_TIME = timedelta(minutes=5)
"""Started within this, a tick was not caught up with."""

MAX_ROWS = 100
"""More ticks than these that end alike, one after the other, are recorded together."""


@dataclass(frozen=True)
class Start:
    """The tick that is due at `due` starts, at `at` or as soon as its turn comes after that."""

    due: datetime
    at: datetime


@dataclass(frozen=True)
class Closed:
    """What became of `count` ticks, the first due at `due`, all of them up to `through`."""

    due: datetime
    through: datetime
    count: int
    ending: Ending
    reason: str


@dataclass(frozen=True)
class Decisions:
    """Every tick between the former cursor and `cursor` is in `starts` or in `closed`, once.

    `replaced` are the live ticks that have to make room.
    """

    cursor: datetime
    starts: tuple[Start, ...] = ()
    closed: tuple[Closed, ...] = ()
    replaced: tuple[datetime, ...] = ()


def due(
    schedule: Schedule, cursor: datetime, live: Collection[datetime], now: datetime
) -> Decisions:
    """What is to be done at `now`, where every tick up to `cursor` is accounted for.

    `live` are the ticks that wait for their start or are at work. A clock that was set back decides
    nothing until it has come to the cursor again.
    """
    if now <= cursor:
        return Decisions(cursor)
    until = _until(schedule, now)
    oldest = max(cursor, now - duration(schedule.deadline))
    reason = f"nobody looked until the deadline of {schedule.deadline} was over"
    closed = _all_between(schedule, cursor, min(oldest, until), "missed", reason)
    ticks = list(schedule.timetable.ticks(oldest, until)) if oldest < until else []
    if schedule.overlap == "forbid" and live:
        blocking = min(live).isoformat(timespec="minutes")
        reason = f"the tick of {blocking} was not done"
        return Decisions(now, closed=(*closed, *_each(ticks, "skipped", reason)))
    left, started, reason = _caught_up(schedule, ticks, now)
    starts = tuple(Start(tick, schedule.start_of(tick)) for tick in started)
    replaced = tuple(sorted(live)) if schedule.overlap == "replace" and starts else ()
    return Decisions(now, starts, (*closed, *_each(left, "missed", reason)), replaced)


def account(
    schedule: Schedule, cursor: datetime, now: datetime, ending: Ending, reason: str
) -> Decisions:
    """Start none of the ticks up to `now`: the schedule was paused, changed or removed."""
    if now <= cursor:
        return Decisions(cursor)
    closed = _all_between(schedule, cursor, _until(schedule, now), ending, reason)
    return Decisions(now, closed=closed)


def _until(schedule: Schedule, now: datetime) -> datetime:
    last = schedule.last_instant
    return now if last is None else min(now, last)


def _caught_up(
    schedule: Schedule, ticks: Sequence[datetime], now: datetime
) -> tuple[Sequence[datetime], Sequence[datetime], str]:
    """The ticks that are left out, those that start, and why the former do not."""
    if schedule.catch_up == "none":
        first = sum(tick < now - ON_TIME for tick in ticks)
        return ticks[:first], ticks[first:], "nobody looked in time, and catch_up is none"
    one = schedule.catch_up == "latest" or schedule.overlap == "replace"
    first = max(0, len(ticks) - (1 if one else schedule.catch_up_at_most))
    reason = "a later tick was due, too" if one else "more were due than catch_up_at_most"
    return ticks[:first], ticks[first:], reason


def _each(ticks: Sequence[datetime], ending: Ending, reason: str) -> tuple[Closed, ...]:
    if len(ticks) > MAX_ROWS:
        return (Closed(ticks[0], ticks[-1], len(ticks), ending, reason),)
    return tuple(Closed(tick, tick, 1, ending, reason) for tick in ticks)


def _all_between(
    schedule: Schedule, after: datetime, until: datetime, ending: Ending, reason: str
) -> tuple[Closed, ...]:
    """All ticks of that time; so many of them that one could not name each are one record."""
    if until <= after:
        return ()
    ticks = list(islice(schedule.timetable.ticks(after, until), MAX_ROWS + 1))
    if len(ticks) <= MAX_ROWS:
        return _each(ticks, ending, reason)
    return (Closed(ticks[0], until, schedule.timetable.count(after, until), ending, reason),)
