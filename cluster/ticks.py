"""The ticks of all schedules: what is to start, who is at it, and how each one ended.

The key (schedule, due) is the guarantee: a tick is written down once, whoever looks and however
often. An engine claims a tick for a while, with a token that grows with every claim: what it says
of the tick counts only as long as its token is the last one. No more than one tick of a schedule
that forbids overlaps is at work, which an index of the store holds it to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from aigc.seeds import derive
from cluster.migrations import bring_up_to_date
from cluster.store import Store
from cluster.tables import TICKS

Ending = Literal["ran", "failed", "missed", "skipped", "replaced", "backfilled"]
State = Literal["waiting", "running"] | Ending
LIVE = ("waiting", "running")
"""The states of ticks that have not ended."""


@dataclass(frozen=True)
class Tick:
    """A tick as it is recorded. `due` and the like are in UTC; `definition` is the schedule's when
    the tick was written down. `attempt` counts from 1, and is 0 before the first one; `failures`
    are those that failed by themselves. `backfill` is the call that asked for it afterwards."""

    schedule: str
    due: datetime
    through: datetime
    count: int
    state: State
    reason: str
    definition: str
    start_at: datetime | None
    to_end: bool
    attempt: int
    failures: int
    token: int
    owner: str | None
    lease: datetime | None
    submission: str | None
    started: datetime | None
    ended: datetime | None
    backfill: str | None = None


TIMES = ("due", "through", "start_at", "lease", "started", "ended")
_COLUMNS = [TICKS.c[name] for name in Tick.__dataclass_fields__]


def milliseconds(moment: datetime) -> int:
    """Since 1970. A part of one is not counted."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def moment_of(since: int) -> datetime:
    """The moment that so many milliseconds since 1970 are."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since)


def tick_of(row: Any) -> Tick:
    """A row of the table."""
    values = dict(row)
    for name in TIMES:
        values[name] = None if values[name] is None else moment_of(values[name])
    return Tick(**values)


def store_clock(connection: Connection) -> datetime:
    """What time it is for everyone who uses the store: PostgreSQL's own, or this machine's."""
    if connection.dialect.name != "postgresql":
        return moment_of(time.time_ns() // 1_000_000)
    asked = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
    return moment_of(connection.execute(asked).scalar_one())


Clock = Callable[[Connection], datetime]


class Ticks:
    """The ticks of one workspace."""

    def __init__(self, store: Store, workspace: str, clock: Clock = store_clock) -> None:
        self._store, self._workspace, self._clock = store, workspace, clock
        bring_up_to_date(store)

    def claim(self, owner: str, lease: timedelta, at_most: int = 1) -> list[Tick]:
        """Take ticks that are to start, or whose owner has not been heard of in time.

        Ticks whose turn has not come in time are missed. The same attempt goes on when an owner was
        lost; a tick that waits begins its next one.
        """
        with self._store.transaction() as connection:
            now = milliseconds(self._clock(connection))
            self._expire(connection, now)
            length = lease // timedelta(milliseconds=1)
            query = self._claimable(now, length, at_most)
            found = connection.execute(query).mappings().all()
            taken = self._take_all(connection, found, owner, now + length)
            # Again, because only now they have begun: another tick may have ended since, for which
            # one of them has waited.
            now = milliseconds(self._clock(connection))
            return [self._begun(connection, tick, now) for tick in taken]

    def _take_all(
        self, connection: Connection, found: Sequence[Any], owner: str, until: int
    ) -> list[Tick]:
        """In an order, and of a schedule that forbids overlaps one alone: engines that wait for one
        another's locks never do so in a circle."""
        taken = list[Tick]()
        for row in sorted(found, key=lambda row: str(row["schedule"])):
            if row["alone"] and taken and taken[-1].schedule == row["schedule"]:
                continue
            tick = self._take(connection, row, owner, until)
            taken += [] if tick is None else [tick]
        return taken

    def _begun(self, connection: Connection, tick: Tick, now: int) -> Tick:
        """The tick, with when it was begun, if that was now."""
        if tick.started is not None:
            return tick
        return self._say(connection, tick, started=now) or tick

    def _take(self, connection: Connection, row: Any, owner: str, until: int) -> Tick | None:
        waited = row["state"] == "waiting"
        taken = TICKS.update().where(self._is(row["schedule"], row["due"]))
        taken = taken.where(TICKS.c.token == row["token"]).values(
            state="running",
            owner=owner,
            lease=until,
            token=TICKS.c.token + 1,
            told=False,
            attempt=TICKS.c.attempt + int(waited),
        )
        if waited and row["backfill"] is not None:
            _queue_up(connection, row["backfill"])
            taken = taken.where(_has_room())
        try:
            with connection.begin_nested():
                found = connection.execute(taken.returning(*_COLUMNS)).mappings().first()
        except IntegrityError:
            # Another tick of a schedule that forbids overlaps was taken a moment ago.
            return None
        return None if found is None else tick_of(found)

    def renew(self, tick: Tick, lease: timedelta) -> Tick | None:
        """Keep a claim. None when it was lost; `to_end` is what has been asked in the meantime."""
        with self._store.transaction() as connection:
            until = milliseconds(self._clock(connection) + lease)
            return self._say(connection, tick, lease=until)

    def release(self, tick: Tick, pause: timedelta = timedelta(0)) -> bool:
        """Give a claim up, for an engine to take after the pause; False when it was lost.

        Until then the tick counts as at work, since its job may be.
        """
        with self._store.transaction() as connection:
            until = milliseconds(self._clock(connection) + pause) if pause else 0
            return self._say(connection, tick, lease=until) is not None

    def intend(self, tick: Tick, submission: str) -> Tick | None:
        """Write down which submission the tick becomes. None when the claim was lost."""
        with self._store.transaction() as connection:
            return self._say(connection, tick, submission=submission)

    def finish(self, tick: Tick, ending: Ending, reason: str) -> bool:
        """Record how the tick ended, for good; False when the claim was lost."""
        with self._store.transaction() as connection:
            now = milliseconds(self._clock(connection))
            outcome = {"state": ending, "reason": reason, "ended": now, "lease": None}
            return self._say(connection, tick, **outcome) is not None

    def put_back(self, tick: Tick, pause: timedelta, reason: str, failed: bool = True) -> bool:
        """Let the tick wait for its next attempt; False when the claim was lost."""
        with self._store.transaction() as connection:
            at = milliseconds(self._clock(connection) + pause)
            waiting = {"state": "waiting", "reason": reason, "start_at": at, "lease": None}
            failures = TICKS.c.failures + int(failed)
            return self._say(connection, tick, **waiting, failures=failures) is not None

    def history(
        self, schedule: str | None = None, limit: int | None = None, state: State | None = None
    ) -> list[Tick]:
        """What is recorded, the newest first: of one schedule or of all, in one state or in any."""
        query = select(*_COLUMNS).where(TICKS.c.workspace == self._workspace)
        if schedule is not None:
            query = query.where(TICKS.c.schedule == schedule)
        if state is not None:
            query = query.where(TICKS.c.state == state)
        query = query.order_by(TICKS.c.due.desc(), TICKS.c.schedule).limit(limit)
        with self._store.transaction() as connection:
            return [tick_of(row) for row in connection.execute(query).mappings()]

    def ended_since(self, moment: datetime) -> list[Tick]:
        """The ticks that were recorded since then, the oldest first."""
        query = select(*_COLUMNS).where(TICKS.c.workspace == self._workspace)
        query = query.where(TICKS.c.ended >= milliseconds(moment)).order_by(TICKS.c.due)
        with self._store.transaction() as connection:
            return [tick_of(row) for row in connection.execute(query).mappings()]

    def live(self) -> list[Tick]:
        """The ticks that have not ended, the oldest first."""
        query = select(*_COLUMNS).where(TICKS.c.workspace == self._workspace)
        query = query.where(TICKS.c.state.in_(LIVE)).order_by(TICKS.c.due, TICKS.c.schedule)
        with self._store.transaction() as connection:
            return [tick_of(row) for row in connection.execute(query).mappings()]

    def _is(self, schedule: str, due: int) -> ColumnElement[bool]:
        mine = TICKS.c.workspace == self._workspace
        return and_(mine, TICKS.c.schedule == schedule, TICKS.c.due == due)

    def _expire(self, connection: Connection, now: int) -> None:
        """Ticks that have waited too long for their first attempt are missed."""
        waiting = and_(TICKS.c.state == "waiting", TICKS.c.attempt == 0, TICKS.c.start_by < now)
        reason = "its turn did not come before the deadline"
        connection.execute(
            TICKS.update()
            .where(TICKS.c.workspace == self._workspace, waiting)
            .values(state="missed", reason=reason, ended=now)
        )

    def _claimable(self, now: int, lease: int, at_most: int) -> Any:
        """Those that have waited longest. Rows that other engines are taking are passed over."""
        other = TICKS.alias()
        blocked = (
            select(other.c.due)
            .where(other.c.workspace == TICKS.c.workspace, other.c.schedule == TICKS.c.schedule)
            .where(other.c.state == "running", TICKS.c.alone)
            .exists()
        )
        waits = and_(TICKS.c.state == "waiting", TICKS.c.start_at <= now)
        its_turn = and_(waits, ~blocked, _has_room())
        # By a clock that was set back since, a claim would last for days.
        over = or_(TICKS.c.lease < now, TICKS.c.lease > now + 2 * lease)
        left = and_(TICKS.c.state == "running", over)
        return (
            select(TICKS)
            .where(TICKS.c.workspace == self._workspace, or_(its_turn, left))
            # What is due comes before what is made up for.
            .order_by(TICKS.c.backfill.is_not(None), TICKS.c.start_at, TICKS.c.schedule)
            .limit(at_most)
            .with_for_update(skip_locked=True)
        )

    def _say(self, connection: Connection, tick: Tick, **values: object) -> Tick | None:
        """Change a tick that is still claimed by this token."""
        mine = self._is(tick.schedule, milliseconds(tick.due))
        changed = (
            TICKS.update()
            .where(mine, TICKS.c.token == tick.token, TICKS.c.state == "running")
            .values(**values)
            .returning(*_COLUMNS)
        )
        row = connection.execute(changed).mappings().first()
        return None if row is None else tick_of(row)


def _has_room() -> ColumnElement[bool]:
    """Whether no more ticks of a backfill are at work than may be."""
    other = TICKS.alias()
    mine = and_(other.c.workspace == TICKS.c.workspace, other.c.backfill == TICKS.c.backfill)
    at_work = select(func.count()).where(mine, other.c.state == "running").scalar_subquery()
    return or_(TICKS.c.backfill.is_(None), at_work < TICKS.c.at_most)


def _queue_up(connection: Connection, backfill: str) -> None:
    """Let those who claim ticks of the same backfill do so one after the other, so that each sees
    what the one before has done. SQLite has one writer anyhow."""
    if connection.dialect.name == "postgresql":
        asked = text("SELECT pg_advisory_xact_lock(:key)")
        connection.execute(asked, {"key": derive("backfill", backfill)})
