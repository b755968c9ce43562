"""What a schedule asks for at a moment, as data: which ticks start, and what became of the others.

Pure: the same arguments give the same decisions, whoever asks. The cursor is the moment up to which
every tick is accounted for; it only moves forward.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from cluster.decided import Closed, Decisions, Start
from cluster.schedules import Entry
from cluster.states import State
from cluster.ticks import Ending, Tick
from jobs.errors import CANCELLED, DONE, GATES_REFUSED, INTERRUPTED, NOT_FINISHED, SpecInvalid
from jobs.schedule.definition import Timing, duration, retries_of, timing_of

ON_TIME = timedelta(minutes=5)
"""Started within this, a tick was not caught up with."""

MAX_ROWS = 100
"""More ticks than these that end alike, one after the other, are recorded together."""


def due(schedule: Timing, cursor: datetime, live: Collection[datetime], now: datetime) -> Decisions:
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
    longest = duration(schedule.deadline)
    starts = tuple(Start(tick, schedule.start_of(tick), tick + longest) for tick in started)
    replaced = tuple(sorted(live)) if schedule.overlap == "replace" and starts else ()
    return Decisions(now, starts, (*closed, *_each(left, "missed", reason)), replaced)


def account(
    schedule: Timing, cursor: datetime, now: datetime, ending: Ending, reason: str
) -> Decisions:
    """Start none of the ticks up to `now`: the schedule was paused, changed or removed."""
    if now <= cursor:
        return Decisions(cursor)
    closed = _all_between(schedule, cursor, _until(schedule, now), ending, reason)
    return Decisions(now, closed=closed)


def _until(schedule: Timing, now: datetime) -> datetime:
    last = schedule.last_instant
    return now if last is None else min(now, last)


def _caught_up(
    schedule: Timing, ticks: Sequence[datetime], now: datetime
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
    schedule: Timing, after: datetime, until: datetime, ending: Ending, reason: str
) -> tuple[Closed, ...]:
    """All ticks of that time; so many of them that one could not name each are one record."""
    if until <= after:
        return ()
    ticks = list(islice(schedule.timetable.ticks(after, until), MAX_ROWS + 1))
    if len(ticks) <= MAX_ROWS:
        return _each(ticks, ending, reason)
    return (Closed(ticks[0], until, schedule.timetable.count(after, until), ending, reason),)


def pass_over(
    entry: Entry, live: Collection[datetime], now: datetime
) -> tuple[Decisions, datetime | None]:
    """What one pass of an engine decides of a schedule that is kept, and when to ask again.

    Raises SpecInvalid when it can no longer be read.
    """
    schedule = timing_of(entry)
    if entry.paused:
        decided = account(schedule, entry.cursor, now, "skipped", "the schedule was paused")
    else:
        decided = due(schedule, entry.cursor, live, now)
    return decided, schedule.next_after(decided.cursor)


def set_aside(
    entry: Entry, live: Collection[datetime], now: datetime
) -> tuple[Decisions, datetime | None]:
    """The same before a schedule is changed, resumed or deleted: what has come due until then, and
    nobody has looked at, starts no more.

    When one that can no longer be read was due, nobody can say: it must be possible to change it.
    """
    try:
        schedule = timing_of(entry)
    except SpecInvalid:
        return Decisions(max(now, entry.cursor)), None
    ending: Ending = "skipped" if entry.paused else "missed"
    why = "paused" if entry.paused else "changed before anybody looked"
    decided = account(schedule, entry.cursor, now, ending, f"the schedule was {why}")
    return decided, schedule.next_after(decided.cursor)


@dataclass(frozen=True)
class Again:
    """The tick waits so long, and is attempted again. `failed`: that uses up a retry."""

    pause: timedelta
    reason: str
    failed: bool = True


@dataclass(frozen=True)
class Unsettled:
    """The job is at work, or may be, though the process that followed it has ended: the same
    attempt is looked at again after so long."""

    pause: timedelta
    reason: str


@dataclass(frozen=True)
class Ended:
    """How a tick that was begun has ended."""

    ending: Ending
    reason: str


FINAL = (2, 102, CANCELLED, 105, GATES_REFUSED)
"""What no other attempt would change, by the exit code of `aigc submit`."""


LOOK_AGAIN = timedelta(seconds=15)
"""After so long, for a job that outlived whoever followed it."""
ON_ITS_WAY = timedelta(hours=6)
"""So long after its tick was begun a job may be at a head that does not answer."""


def may_go_on(tick: Tick, state: State | None, now: datetime) -> bool:
    """Whether the job of a tick is at work or may be, by the state of its submission."""
    if state == "PENDING":
        return tick.started is not None and now - tick.started < ON_ITS_WAY
    return state in ("QUEUED", "RUNNING")


def exit_reason(code: int, said: str) -> str:
    """Why a tick ended, by the exit code of its job and what that said."""
    return f"exit code {code}: {said}" if code > 0 else f"signal {-code}: {said}"


def after_exit(
    tick: Tick, code: int, said: str, goes_on: bool = False
) -> Again | Ended | Unsettled:
    """What becomes of a tick when the process of its job has ended with that exit code, after
    saying why. `goes_on`: the job itself may not have ended.

    A job that was stopped from outside goes on, which is no failure and does not use up a retry.
    """
    if code == DONE:
        return Ended("backfilled" if tick.backfill else "ran", "")
    why = exit_reason(code, said)
    if goes_on:
        return Unsettled(LOOK_AGAIN, why)
    if tick.to_end:
        return Ended("replaced", "a later tick took its place")
    if code in FINAL:
        return Ended("failed", why)
    retries = retries_of(tick.definition)
    if code in (NOT_FINISHED, INTERRUPTED):
        return Again(duration(retries.pause), why, failed=False)
    pause = retries.pause_after(tick.failures + 1)
    return Ended("failed", why) if pause is None else Again(pause, why)
