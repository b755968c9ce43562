"""Ticks of the past are made up for: they wait again, under the key that they have always had.

All that one call asks for is written in one transaction, or none of it; engines do the rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Insert, and_, select
from sqlalchemy.dialects import postgresql, sqlite

from cluster.decided import Closed, Decisions, Start, rows
from cluster.schedules import Entry, Schedules
from cluster.store import Store
from cluster.tables import TICKS
from cluster.ticks import LIVE, Clock, Tick, milliseconds, store_clock, tick_of


@dataclass(frozen=True)
class Rest:
    """What is left of a record of several ticks when some are taken out of it; None: nothing."""

    former: Tick
    closed: Closed | None


@dataclass(frozen=True)
class Chosen:
    """The ticks that are to run, in their order, and the records that some of them were part of."""

    ticks: Sequence[datetime]
    rests: Sequence[Rest] = ()


Choose = Callable[[Entry, Sequence[Tick], datetime], Chosen]
"""From a schedule, what is recorded of the time in question, and the time now."""


class Backfills:
    """What is asked for afterwards in one workspace."""

    def __init__(self, store: Store, workspace: str, clock: Clock = store_clock) -> None:
        self._schedules = Schedules(store, workspace, clock)
        self._store, self._workspace, self._clock = store, workspace, clock

    def look(
        self, name: str, since: datetime, until: datetime, choose: Choose
    ) -> tuple[Entry, Chosen]:
        """What would be asked for. Raises ScheduleNotFound."""
        with self._store.transaction() as connection:
            return self._choose(connection, name, since, until, choose)

    def ask(
        self,
        name: str,
        since: datetime,
        until: datetime,
        choose: Choose,
        at_most: int,
        reason: str,
    ) -> Chosen:
        """Let the chosen ticks wait, of which no more than `at_most` are at work at a time.

        One that waits or is at work by now stays as it is. Raises ScheduleNotFound.
        """
        with self._store.transaction() as connection:
            entry, chosen = self._choose(connection, name, since, until, choose)
            for rest in chosen.rests:
                self._split(connection, entry, rest)
            asked = {"backfill": uuid.uuid4().hex, "at_most": at_most, "reason": reason}
            now = milliseconds(self._clock(connection))
            for number, due in enumerate(chosen.ticks):
                # They have no deadline; what they start at is their order.
                row = self._row(entry, Decisions(due, (Start(due, due, due),)))
                row |= {**asked, "start_at": now + number, "start_by": None}
                connection.execute(_again(connection, row))
            return chosen

    def _choose(
        self, connection: Connection, name: str, since: datetime, until: datetime, choose: Choose
    ) -> tuple[Entry, Chosen]:
        entry = self._schedules.locked(connection, name)
        found = self._recorded(connection, name, since, until)
        if found:
            # Records of several ticks, and what was taken out of them before, go further.
            low, high = min(tick.due for tick in found), max(tick.through for tick in found)
            found = self._recorded(connection, name, min(low, since), max(high, until))
        return entry, choose(entry, found, self._clock(connection))

    def _recorded(
        self, connection: Connection, name: str, since: datetime, until: datetime
    ) -> list[Tick]:
        columns = [TICKS.c[field] for field in Tick.__dataclass_fields__]
        touching = and_(TICKS.c.due <= milliseconds(until), TICKS.c.through >= milliseconds(since))
        query = select(*columns).where(self._of(name), touching).order_by(TICKS.c.due)
        return [tick_of(row) for row in connection.execute(query).mappings()]

    def _split(self, connection: Connection, entry: Entry, rest: Rest) -> None:
        """Take ticks out of a record of several."""
        former = and_(self._of(entry.name), TICKS.c.due == milliseconds(rest.former.due))
        connection.execute(TICKS.delete().where(former))
        if rest.closed is not None:
            ended = rest.former.ended or rest.closed.through
            row = self._row(entry, Decisions(ended, closed=(rest.closed,)))
            connection.execute(TICKS.insert().values({**row, "definition": rest.former.definition}))

    def _row(self, entry: Entry, decided: Decisions) -> dict[str, object]:
        (row,) = rows(self._workspace, entry.name, entry.definition, entry.alone, decided)
        return row

    def _of(self, name: str) -> ColumnElement[bool]:
        return and_(TICKS.c.workspace == self._workspace, TICKS.c.schedule == name)


def _again(connection: Connection, row: dict[str, Any]) -> Insert:
    """Write the row, or begin it anew where it has ended; who once claimed it is not heard."""
    begun = {"owner": None, "lease": None, "submission": None, "started": None}
    changed = {**row, **begun, "failures": 0, "token": TICKS.c.token + 1}
    keys = [column.name for column in TICKS.primary_key]
    ended = TICKS.c.state.not_in(LIVE)
    if connection.dialect.name == "postgresql":
        made = postgresql.insert(TICKS).values(row)
        return made.on_conflict_do_update(index_elements=keys, set_=changed, where=ended)
    one = sqlite.insert(TICKS).values(row)
    return one.on_conflict_do_update(index_elements=keys, set_=changed, where=ended)
