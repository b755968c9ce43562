"""What was decided of the ticks of a schedule, and the rows that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cluster.ticks import Ending, milliseconds

Row = dict[str, object]


@dataclass(frozen=True)
class Start:
    """The tick that is due at `due` starts at `at`, or as soon as its turn comes until `by`."""

    due: datetime
    at: datetime
    by: datetime


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


def rows(
    workspace: str, schedule: str, definition: str, alone: bool, decided: Decisions
) -> list[Row]:
    """The rows that decisions become, besides those that are there."""
    shared = {
        "workspace": workspace,
        "schedule": schedule,
        "definition": definition,
        "alone": alone,
        "to_end": False,
        "told": False,
        "attempt": 0,
        "token": 0,
    }
    return [shared | row for row in (*_starting(decided), *_ended(decided))]


def _starting(decided: Decisions) -> Iterator[Row]:
    for start in decided.starts:
        due = milliseconds(start.due)
        yield {
            "due": due,
            "through": due,
            "count": 1,
            "state": "waiting",
            "reason": "",
            "start_at": milliseconds(start.at),
            "start_by": milliseconds(start.by),
            "ended": None,
        }


def _ended(decided: Decisions) -> Iterator[Row]:
    for closed in decided.closed:
        yield {
            "due": milliseconds(closed.due),
            "through": milliseconds(closed.through),
            "count": closed.count,
            "state": closed.ending,
            "reason": closed.reason,
            "start_at": None,
            "start_by": None,
            "ended": milliseconds(decided.cursor),
        }
