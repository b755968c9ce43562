"""Time zones by their names, and when their clocks change.

The rules are those of the package tzdata, and not of the machine: engines on several machines must
agree on every tick.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from jobs.errors import shortened

_SECOND = timedelta(seconds=1)
_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Stretch:
    """From `start` until before `end`, in UTC, clocks show UTC + `offset`."""

    start: datetime
    end: datetime
    offset: timedelta


@cache
def names() -> frozenset[str]:
    """The name of every zone there is."""
    return frozenset(files("tzdata").joinpath("zones").read_text().split())


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of that name. Raises ValueError."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        meant = f". Did you mean {near[0]}?" if near else ", as Europe/Berlin or UTC"
        raise ValueError(f"must be the name of a time zone{meant} (got {shortened(name)})")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def offset_at(name: str, instant: datetime) -> timedelta:
    """What the clocks of a zone are ahead of UTC; `instant` is UTC, and says no zone."""
    offset = instant.replace(tzinfo=UTC).astimezone(zone(name)).utcoffset()
    assert offset is not None
    return offset


@lru_cache(maxsize=4096)
def changes(name: str, year: int) -> tuple[datetime, ...]:
    """When, in a year of UTC, the offset changes. No zone has done so twice within a day."""
    found = []
    day, last = datetime(year, 1, 1), datetime(year + 1, 1, 1)
    while day < last:
        following = day + _A_DAY
        if offset_at(name, day - _SECOND) != offset_at(name, following - _SECOND):
            found.append(_change(name, day - _SECOND, following - _SECOND))
        day = following
    return tuple(found)


def _change(name: str, before: datetime, after: datetime) -> datetime:
    """The first second that has another offset than `before`, and the same as `after`."""
    old = offset_at(name, before)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if offset_at(name, middle) == old:
            before = middle
        else:
            after = middle
    return after


def stretches(name: str, start: datetime, end: datetime) -> Iterator[Stretch]:
    """The time from `start` until before `end`, in UTC, cut where the offset changes."""
    for year in range(start.year, end.year + 1):
        for change in changes(name, year):
            if start < change < end:
                yield Stretch(start, change, offset_at(name, start))
                start = change
    if start < end:
        yield Stretch(start, end, offset_at(name, start))
