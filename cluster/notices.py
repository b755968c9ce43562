"""The outbox of notices: who is to be told what of a tick, and whether that was done.

What is to be told follows from the rows of ticks that have ended: each is marked as told in the
transaction that writes its notices down, so that nothing is lost or told of twice, whoever dies and
when. A notice is delivered at least once: it is claimed for a while, and claimed again when nobody
says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from cluster.migrations import bring_up_to_date
from cluster.store import Store
from cluster.tables import NOTICES, TICKS
from cluster.ticks import LIVE, Clock, Tick, milliseconds, moment_of, store_clock, tick_of

AT_ONCE = 200
"""So many ticks are told of in one transaction."""
WORTH_COMPARING = ("ran", "backfilled", "failed", "missed")
"""The states of a tick that say whether things went well."""

_TICK = [TICKS.c[name] for name in Tick.__dataclass_fields__]


@dataclass(frozen=True)
class Notice:
    """That one channel of a schedule is told of an event of a tick.

    `target` is the channel and `body` what it is told, both JSON; the store reads neither. A try is
    counted when it begins.
    """

    schedule: str
    due: datetime
    event: str
    channel: int
    target: str
    body: str
    tries: int = 0


Ended = Callable[[Tick, Callable[[], Tick | None]], Sequence[Notice]]
"""From a tick that has ended, and the one before it if asked for, to who is told of it."""
Outcome = Literal["sent", "given up"]

_NOTICE = [NOTICES.c[name] for name in Notice.__dataclass_fields__]


class Notices:
    """The notices of one workspace."""

    def __init__(self, store: Store, workspace: str, clock: Clock = store_clock) -> None:
        self._store, self._workspace, self._clock = store, workspace, clock
        bring_up_to_date(store)

    def write_down(self, judge: Ended) -> list[Tick]:
        """Write down who is told of ticks that have ended since; returns those ticks.

        Each of them is returned once, whoever asks; some of them when there are very many.
        """
        untold = select(*_TICK).where(self._mine, ~TICKS.c.told, TICKS.c.state.not_in(LIVE))
        query = untold.order_by(TICKS.c.due).limit(AT_ONCE).with_for_update(skip_locked=True)
        with self._store.transaction() as connection:
            ended = [tick_of(row) for row in connection.execute(query).mappings()]
            notices = list[Notice]()
            for tick in ended:
                notices += judge(tick, lambda tick=tick: self._before(connection, tick))  # type: ignore[misc]
                this = (TICKS.c.schedule == tick.schedule) & (TICKS.c.due == milliseconds(tick.due))
                connection.execute(TICKS.update().where(self._mine, this).values(told=True))
            self._add(connection, notices)
            return ended

    def write_down_late(
        self, grace: timedelta, judge: Callable[[Tick], Sequence[Notice]]
    ) -> list[Tick]:
        """Write down who is told of ticks that wait longer than `grace`, while none of their
        schedule is at work; returns those ticks. Each is told of once."""
        other = TICKS.alias()
        at_work = (
            select(other.c.due)
            .where(other.c.workspace == TICKS.c.workspace, other.c.schedule == TICKS.c.schedule)
            .where(other.c.state == "running")
            .exists()
        )
        with self._store.transaction() as connection:
            before = milliseconds(self._clock(connection) - grace)
            waits = (TICKS.c.state == "waiting") & (TICKS.c.start_at < before)
            query = select(*_TICK).where(self._mine, waits, ~at_work)
            late = [tick_of(row) for row in connection.execute(query).mappings()]
            self._add(connection, [notice for tick in late for notice in judge(tick)])
            return late

    def claim(self, lease: timedelta) -> Notice | None:
        """Take a notice that is to be sent, those first that were tried least."""
        with self._store.transaction() as connection:
            now = milliseconds(self._clock(connection))
            waits = (NOTICES.c.state == "waiting") & (NOTICES.c.at <= now)
            query = select(*_NOTICE).where(NOTICES.c.workspace == self._workspace, waits)
            query = query.order_by(NOTICES.c.tries, NOTICES.c.at).limit(1)
            row = connection.execute(query.with_for_update(skip_locked=True)).mappings().first()
            if row is None:
                return None
            notice = Notice(**{**row, "due": moment_of(row["due"])})
            until = now + lease // timedelta(milliseconds=1)
            self._say(connection, notice, tries=notice.tries + 1, at=until)
            return replace(notice, tries=notice.tries + 1)

    def settle(self, notice: Notice, outcome: Outcome, reason: str) -> None:
        """Record what became of a notice, for good."""
        with self._store.transaction() as connection:
            now = milliseconds(self._clock(connection))
            self._say(connection, notice, state=outcome, reason=reason, at=now)

    def put_off(self, notice: Notice, pause: timedelta, reason: str) -> None:
        """Let a notice wait for its next try."""
        with self._store.transaction() as connection:
            at = milliseconds(self._clock(connection) + pause)
            self._say(connection, notice, reason=reason, at=at)

    def states(self) -> list[tuple[Notice, str, str]]:
        """Every notice with its state and the reason for that, the oldest tick first."""
        columns = (*_NOTICE, NOTICES.c.state, NOTICES.c.reason)
        query = select(*columns).where(NOTICES.c.workspace == self._workspace)
        query = query.order_by(NOTICES.c.due, NOTICES.c.event, NOTICES.c.channel)
        with self._store.transaction() as connection:
            return [
                (Notice(**{**values, "due": moment_of(values["due"])}), state, reason)
                for *rest, state, reason in connection.execute(query)
                for values in [dict(zip(Notice.__dataclass_fields__, rest, strict=True))]
            ]

    @property
    def _mine(self) -> ColumnElement[bool]:
        return TICKS.c.workspace == self._workspace

    def _before(self, connection: Connection, tick: Tick) -> Tick | None:
        query = select(*_TICK).where(
            self._mine,
            TICKS.c.schedule == tick.schedule,
            TICKS.c.due < milliseconds(tick.due),
            TICKS.c.state.in_(WORTH_COMPARING),
        )
        row = connection.execute(query.order_by(TICKS.c.due.desc()).limit(1)).mappings().first()
        return None if row is None else tick_of(row)

    def _add(self, connection: Connection, notices: Sequence[Notice]) -> None:
        if not notices:
            return
        now = milliseconds(self._clock(connection))
        shared = {"workspace": self._workspace, "state": "waiting", "reason": "", "at": now}
        rows: list[dict[str, Any]] = [
            {**shared, **vars(each), "due": milliseconds(each.due)} for each in notices
        ]
        postgres = connection.dialect.name == "postgresql"
        added = postgresql.insert(NOTICES) if postgres else sqlite.insert(NOTICES)
        connection.execute(added.on_conflict_do_nothing(), rows)

    def _say(self, connection: Connection, notice: Notice, **values: object) -> None:
        """Change a notice, unless somebody has taken it since."""
        this = (
            (NOTICES.c.workspace == self._workspace)
            & (NOTICES.c.schedule == notice.schedule)
            & (NOTICES.c.due == milliseconds(notice.due))
            & (NOTICES.c.event == notice.event)
            & (NOTICES.c.channel == notice.channel)
            & (NOTICES.c.tries == notice.tries)
            & (NOTICES.c.state == "waiting")
        )
        connection.execute(NOTICES.update().where(this).values(**values))
