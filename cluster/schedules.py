"""The schedules of a workspace, each with its cursor: up to there every tick is accounted for.

What a schedule means is decided elsewhere, by a function of its definition, its cursor, the ticks
that are live and the time; here the decisions become rows, in the transaction that moves the
cursor. Whoever comes second finds the cursor moved.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Insert,
    Table,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from aigc.errors import FactoryError
from cluster.decided import Decisions, Start, rows
from cluster.errors import ScheduleExists, ScheduleNotFound
from cluster.migrations import bring_up_to_date
from cluster.store import Store
from cluster.tables import SCHEDULES, TICKS
from cluster.ticks import LIVE, Clock, milliseconds, moment_of, store_clock

CHANGING = ("definition", "alone", "paused", "cursor", "next_due")
WAITING = TICKS.c.state == "waiting"
REPLACED = "a later tick took its place"


@dataclass(frozen=True)
class Entry:
    """A schedule as it is kept. `alone`: no two of its ticks may be at work at the same time."""

    name: str
    definition: str
    alone: bool
    paused: bool
    created: datetime
    cursor: datetime
    next_due: datetime | None


Decide = Callable[[Entry, Collection[datetime], datetime], tuple[Decisions, datetime | None]]
"""From a schedule, its live ticks and the time to decisions, and when to ask again."""


class Schedules:
    """The schedules of one workspace."""

    def __init__(self, store: Store, workspace: str, clock: Clock = store_clock) -> None:
        self._store, self._workspace, self._clock = store, workspace, clock
        bring_up_to_date(store)

    def now(self) -> datetime:
        """The time for everyone who uses the store."""
        with self._store.transaction() as connection:
            return self._clock(connection)

    def accounted(self) -> datetime | None:
        """The latest moment up to which the ticks of a schedule are accounted for."""
        query = select(func.max(SCHEDULES.c.cursor)).where(SCHEDULES.c.workspace == self._workspace)
        with self._store.transaction() as connection:
            found = connection.execute(query).scalar_one()
            return None if found is None else moment_of(found)

    def all(self) -> list[Entry]:
        """Every schedule, by name."""
        query = select(SCHEDULES).where(SCHEDULES.c.workspace == self._workspace)
        with self._store.transaction() as connection:
            found = connection.execute(query.order_by(SCHEDULES.c.name)).mappings()
            return [_entry(row) for row in found]

    def find(self, name: str) -> Entry:
        """The schedule of that name. Raises ScheduleNotFound."""
        with self._store.transaction() as connection:
            return self.locked(connection, name)

    def pending(self) -> list[str]:
        """The names of the schedules that have something to decide now."""
        with self._store.transaction() as connection:
            now = milliseconds(self._clock(connection))
            query = select(SCHEDULES.c.name).where(
                SCHEDULES.c.workspace == self._workspace, SCHEDULES.c.next_due <= now
            )
            return list(connection.execute(query.order_by(SCHEDULES.c.next_due)).scalars())

    def create(
        self,
        name: str,
        definition: str,
        alone: bool,
        next_after: Callable[[datetime], datetime | None],
    ) -> Entry:
        """Keep a new schedule; ticks from now on are its. Raises ScheduleExists."""
        with self._store.transaction() as connection:
            now = milliseconds(self._clock(connection))
            following = next_after(moment_of(now))
            row = {
                "workspace": self._workspace,
                "name": name,
                "definition": definition,
                "alone": alone,
                "paused": False,
                "created": now,
                "cursor": now,
                "next_due": None if following is None else milliseconds(following),
            }
            made = unless_there(connection, SCHEDULES).values(row).returning(SCHEDULES.c.name)
            if connection.execute(made).first() is None:
                raise ScheduleExists(
                    f"there is a schedule {name} already",
                    f"See: aigc schedule show {name}; change it by: aigc schedule create --replace",
                )
            return self.locked(connection, name)

    def advance(
        self, names: Collection[str], decide: Decide
    ) -> dict[str, Decisions | FactoryError]:
        """Decide what is to be done with schedules now, and write it down, in one transaction.

        Those of which `decide` raises stay as they are. Nothing is said of those that are not there
        any more.
        """
        with self._store.transaction() as connection:
            these = (SCHEDULES.c.workspace == self._workspace) & SCHEDULES.c.name.in_(names)
            # In an order, in which nobody waits for somebody who waits for them.
            query = select(SCHEDULES).where(these).order_by(SCHEDULES.c.name).with_for_update()
            found = [_entry(row) for row in connection.execute(query).mappings()]
            return self._decide(connection, found, decide)

    def change(
        self,
        name: str,
        decide: Decide,
        definition: str | None = None,
        alone: bool | None = None,
        paused: bool | None = None,
        next_after: Callable[[datetime], datetime | None] | None = None,
    ) -> Entry:
        """Change a schedule after `decide` has accounted for its ticks as it was up to now.

        What waits starts no more. `next_after` is that of the new definition. Raises
        ScheduleNotFound.
        """
        with self._store.transaction() as connection:
            entry = self.locked(connection, name)
            self._settle(connection, entry, decide)
            self._end_waiting(connection, name, "the schedule was changed")
            changed = replace(
                self.locked(connection, name),
                definition=entry.definition if definition is None else definition,
                alone=entry.alone if alone is None else alone,
                paused=entry.paused if paused is None else paused,
            )
            if next_after is not None:
                changed = replace(changed, next_due=next_after(changed.cursor))
            self._write(connection, [changed])
            return changed

    def remove(self, name: str, decide: Decide) -> None:
        """Forget a schedule, once its ticks are accounted for; they stay. Raises
        ScheduleNotFound."""
        with self._store.transaction() as connection:
            entry = self.locked(connection, name)
            self._settle(connection, entry, decide)
            self._end_waiting(connection, name, "the schedule was deleted")
            connection.execute(SCHEDULES.delete().where(self._named(name)))

    def trigger(self, name: str, wait: timedelta, reason: str) -> datetime:
        """Add a tick that is due now, to the second; returns when. Raises ScheduleNotFound."""
        with self._store.transaction() as connection:
            entry = self.locked(connection, name)
            due = self._clock(connection).replace(microsecond=0)
            while True:
                decided = Decisions(due, (Start(due, due, due + wait),))
                row = rows(self._workspace, name, entry.definition, entry.alone, decided)[0]
                made = unless_there(connection, TICKS).values({**row, "reason": reason})
                if connection.execute(made.returning(TICKS.c.due)).first() is not None:
                    return due
                due += timedelta(seconds=1)

    def _decide(
        self, connection: Connection, entries: Collection[Entry], decide: Decide
    ) -> dict[str, Decisions | FactoryError]:
        live = self._live(connection, [entry.name for entry in entries])
        now = self._clock(connection)
        decided = dict[str, Decisions | FactoryError]()
        made, moved = list[dict[str, object]](), list[Entry]()
        for entry in entries:
            try:
                found, following = decide(entry, live.get(entry.name, []), now)
            except FactoryError as error:
                decided[entry.name] = error
                continue
            decided[entry.name] = found
            made += rows(self._workspace, entry.name, entry.definition, entry.alone, found)
            moved.append(replace(entry, cursor=found.cursor, next_due=following))
        if made:
            connection.execute(unless_there(connection, TICKS), made)
        self._make_room(connection, decided)
        self._write(connection, moved)
        return decided

    def _settle(self, connection: Connection, entry: Entry, decide: Decide) -> None:
        """Account for the ticks of one schedule. Raises what `decide` raises."""
        decided = self._decide(connection, [entry], decide)[entry.name]
        if isinstance(decided, FactoryError):
            raise decided

    def _live(self, connection: Connection, names: Collection[str]) -> dict[str, list[datetime]]:
        """When the ticks of these schedules that have not ended were due. Those that are made up
        for keep no others from being due."""
        query = select(TICKS.c.schedule, TICKS.c.due).where(
            TICKS.c.workspace == self._workspace,
            TICKS.c.schedule.in_(names),
            TICKS.c.state.in_(LIVE),
            TICKS.c.backfill.is_(None),
        )
        found = dict[str, list[datetime]]()
        for name, due in connection.execute(query):
            found.setdefault(name, []).append(moment_of(due))
        return found

    def _make_room(
        self, connection: Connection, decided: Mapping[str, Decisions | FactoryError]
    ) -> None:
        """Ticks that wait are replaced at once, those at work are asked to end."""
        for name, found in decided.items():
            if not isinstance(found, Decisions) or not found.replaced:
                continue
            due = [milliseconds(each) for each in found.replaced]
            these = self._ticks_of(name) & TICKS.c.due.in_(due)
            ended = {"state": "replaced", "reason": REPLACED, "ended": milliseconds(found.cursor)}
            connection.execute(TICKS.update().where(these, WAITING).values(**ended))
            running = TICKS.c.state == "running"
            connection.execute(TICKS.update().where(these, running).values(to_end=True))

    def _end_waiting(self, connection: Connection, name: str, reason: str) -> None:
        """Ticks that have not begun never will; those that wait for another attempt go on."""
        ended = milliseconds(self._clock(connection))
        waiting = TICKS.update().where(self._ticks_of(name), WAITING, TICKS.c.attempt == 0)
        connection.execute(waiting.values(state="skipped", reason=reason, ended=ended))

    def _ticks_of(self, name: str) -> ColumnElement[bool]:
        return (TICKS.c.workspace == self._workspace) & (TICKS.c.schedule == name)

    def _named(self, name: str | BindParameter[str]) -> ColumnElement[bool]:
        return (SCHEDULES.c.workspace == self._workspace) & (SCHEDULES.c.name == name)

    def locked(self, connection: Connection, name: str) -> Entry:
        """The same, which nobody else changes until the transaction ends."""
        query = select(SCHEDULES).where(self._named(name)).with_for_update()
        row = connection.execute(query).mappings().first()
        if row is None:
            raise ScheduleNotFound(
                f"there is no schedule {name[:64]!r}", "List them with: aigc schedule list"
            )
        return _entry(row)

    def _write(self, connection: Connection, entries: Collection[Entry]) -> None:
        if not entries:
            return
        changed = SCHEDULES.update().where(self._named(bindparam("key")))
        values = [
            {
                "key": entry.name,
                "definition": entry.definition,
                "alone": entry.alone,
                "paused": entry.paused,
                "cursor": milliseconds(entry.cursor),
                "next_due": None if entry.next_due is None else milliseconds(entry.next_due),
            }
            for entry in entries
        ]
        connection.execute(changed.values({name: bindparam(name) for name in CHANGING}), values)


def _entry(row: Any) -> Entry:
    values = dict(row)
    del values["workspace"]
    for name in ("created", "cursor", "next_due"):
        values[name] = None if values[name] is None else moment_of(values[name])
    return Entry(**values)


def unless_there(connection: Connection, table: Table) -> Insert:
    """An insertion of rows that leaves those alone whose key is there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
