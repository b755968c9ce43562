"""The next ticks of a schedule, by its own clocks and in UTC, and the nights to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from jobs.schedule.definition import Timing
from jobs.schedule.zones import changes, offset_at, zone

_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Expected:
    """A tick that is expected. `note` says what clocks do on its date, where that is something."""

    local: datetime
    utc: datetime
    note: str | None


def preview(schedule: Timing, after: datetime, count: int) -> list[Expected]:
    """The next `count` ticks later than `after`; fewer where there are no more."""
    ticks = schedule.timetable.ticks(after, schedule.last_instant)
    return [_expected(schedule.zone, tick) for tick in islice(ticks, count)]


def _expected(name: str, tick: datetime) -> Expected:
    local = tick.astimezone(zone(name))
    notes = [note for date, note in _notes(name, tick) if date == local.date()]
    return Expected(local, tick, "; ".join(notes) or None)


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
