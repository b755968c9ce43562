"""Which ticks of a time are made up for, as data: pure, like decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from typing import Literal

from cluster.backfill import Chosen, Rest
from cluster.decided import Closed
from cluster.schedules import Entry
from cluster.ticks import Ending, Tick
from jobs.errors import SpecInvalid, shortened
from jobs.schedule.definition import Timing, timing_in, timing_of
from jobs.schedule.zones import zone

Reprocess = Literal["none", "failed", "all"]
NEVER_BEGUN = ("missed", "skipped")
IN_VAIN = (*NEVER_BEGUN, "failed", "replaced")
AGAIN: dict[Reprocess, Collection[str]] = {
    "none": NEVER_BEGUN,
    "failed": IN_VAIN,
    "all": (*IN_VAIN, "ran", "backfilled"),
}
"""The endings of ticks that are made up for, besides those that were never recorded."""

MOST = 10_000
"""Ticks that one call can ask for."""

_INSTANT = timedelta(microseconds=1)
_LAST = time(23, 59, 59, 999999)


class TooMany(ValueError):
    """More ticks than one call can ask for."""


def bound(text: str, timing: Timing, last: bool) -> datetime:
    """The moment that a date or a time of the schedule's zone means; of a date, when it begins, or
    its `last` moment. Raises ValueError."""
    try:
        day = date.fromisoformat(text)
        moment = datetime.combine(day, _LAST if last else time())
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            said = shortened(text)
            raise ValueError(
                f"must be a date or time, as 2027-01-31 or 2027-01-31T02:30 (got {said})"
            ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(timing.zone), fold=int(last))
    return moment.astimezone(UTC)


def chosen(
    entry: Entry,
    recorded: Sequence[Tick],
    now: datetime,
    since: datetime,
    until: datetime,
    reprocess: Reprocess,
    reverse: bool = False,
) -> Chosen:
    """The ticks from `since` up to and with `until` that are to run, and none that is yet to come.

    `recorded` is all that is known of that time. What waits or is at work is left alone. Raises
    TooMany.
    """
    timing = timing_of(entry)
    last = min(until, now, timing.last_instant or now)
    if last < since:
        return Chosen([])
    single = {tick.due: tick for tick in recorded if tick.count == 1}
    expected = timing.timetable.ticks(since - _INSTANT, last)
    wanted = (due for due in expected if due not in single or single[due].state in AGAIN[reprocess])
    dues = list(islice(wanted, MOST + 1))
    if len(dues) > MOST:
        raise TooMany(f"asks for more than {MOST} ticks: choose a shorter time")
    rests = tuple(
        rest
        for tick in recorded
        if tick.count > 1 and (rest := _rest(tick, timing, dues, single)) is not None
    )
    return Chosen(dues[::-1] if reverse else dues, rests)


def _rest(
    several: Tick, timing: Timing, dues: Sequence[datetime], single: Collection[datetime]
) -> Rest | None:
    """What is left of a record of several ticks without those; None if it has none of them."""
    within = {due for due in dues if several.due <= due <= several.through} - set(single)
    if not within:
        return None
    newest = max(within)
    known = takewhile(lambda due: due <= newest, _members(several, timing))
    if not (taken := sum(due in within for due in known)):
        return None
    left = several.count - taken
    if left <= 0:
        return Rest(several, None)
    members = _members(several, timing)
    kept = (due for due in members if due not in within and due not in single)
    first = next(kept, several.through)
    through = several.through if left > 1 else first
    ending: Ending = "missed" if several.state == "missed" else "skipped"
    return Rest(several, Closed(first, through, left, ending, several.reason))


def _members(several: Tick, timing: Timing) -> Iterator[datetime]:
    """The ticks that it stands for, by the schedule as it was then."""
    try:
        then = timing_in(several.definition, several.schedule)
    except SpecInvalid:
        then = timing
    return then.timetable.ticks(several.due - _INSTANT, several.through)
