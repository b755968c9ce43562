"""The next ticks of a schedule, by its own clocks and in UTC, and the nights to look at."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from cluster.schedules import Entry
from cluster.ticks import Tick
from jobs.schedule.decisions import pass_over, set_aside
from jobs.schedule.definition import Timing
from jobs.schedule.zones import changes, offset_at, zone

PAST = 20
"""So many of the last ticks say how long the next ones take."""

_A_DAY = timedelta(days=1)
_THEN = {
    "forbid": "that one is skipped",
    "replace": "that one takes its place",
    "allow": "both are at work",
}


@dataclass(frozen=True)
class Expected:
    """A tick that is expected. `note` says what is special about it, if anything is."""

    local: datetime
    utc: datetime
    note: str | None


@dataclass(frozen=True)
class Lengths:
    """How long the last `count` ticks that ran took, from their first attempt to their end."""

    median: timedelta
    longest: timedelta
    count: int


@dataclass(frozen=True)
class Outstanding:
    """What an engine that looked now would start of the ticks that are due, and how many not."""

    starts: tuple[datetime, ...]
    left_out: int


def lengths(history: Iterable[Tick]) -> Lengths | None:
    """Those of the newest ticks that ran; None when none has."""
    took = [each.ended - each.started for each in history if each.started and each.ended]
    if not took:
        return None
    median = timedelta(seconds=statistics.median(each.total_seconds() for each in took))
    return Lengths(median, max(took), len(took))


def outstanding(entry: Entry, live: Collection[datetime], now: datetime) -> Outstanding:
    """Of a schedule that is paused: what would start if it was resumed now. Raises SpecInvalid."""
    decided, _ = (set_aside if entry.paused else pass_over)(entry, live, now)
    left_out = sum(closed.count for closed in decided.closed)
    return Outstanding(tuple(start.due for start in decided.starts), left_out)


def preview(
    schedule: Timing,
    after: datetime,
    count: int,
    past: Lengths | None = None,
    overdue: Collection[datetime] = (),
) -> list[Expected]:
    """The next `count` ticks later than `after`, behind those that are overdue and would start at
    once; fewer where there are no more. `past` forecasts which are at work when the next is due."""
    ticks = schedule.timetable.ticks(after, schedule.last_instant)
    coming = list(islice(ticks, count + 1))
    late = [_expected(schedule, tick, ["would start at once"]) for tick in sorted(overdue)]
    following = [*coming[1:], None]
    return late + [
        _expected(schedule, tick, _overlap(schedule, tick, then, past))
        for tick, then in zip(coming[:count], following, strict=False)
    ]


def _expected(schedule: Timing, tick: datetime, notes: Iterable[str]) -> Expected:
    local = tick.astimezone(zone(schedule.zone))
    clocks = [note for date, note in _notes(schedule.zone, tick) if date == local.date()]
    return Expected(local, tick, "; ".join([*clocks, *notes]) or None)


def _overlap(
    schedule: Timing, tick: datetime, then: datetime | None, past: Lengths | None
) -> Iterator[str]:
    """That a tick is likely, or may be, at work when the next one is due."""
    if past is None or then is None or past.longest <= then - tick:
        return
    likely = past.median > then - tick
    how, took = ("likely", past.median) if likely else ("perhaps", past.longest)
    which = "median" if likely else "longest"
    yield (
        f"{how} at work when the next is due: {_THEN[schedule.overlap]} "
        f"({which} of the last {past.count}: {timedelta(seconds=round(took.total_seconds()))})"
    )


def _notes(name: str, tick: datetime) -> Iterator[tuple[object, str]]:
    """The dates about a tick on which clocks change, and what they do."""
    for year in sorted({(tick - _A_DAY).year, (tick + _A_DAY).year}):
        for change in changes(name, year):
            if abs(change.replace(tzinfo=UTC) - tick) <= 2 * _A_DAY:
                old, new = (offset_at(name, at) for at in (change - timedelta(seconds=1), change))
                before, after = change + old, change + new
                way = "forward" if new > old else "back"
                note = f"clocks go {way} from {before:%H:%M} to {after:%H:%M}"
                yield min(before, after).date(), note
