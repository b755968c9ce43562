"""Workspaces on both kinds of store, and many schedules in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import servers

from cluster.schedules import Schedules
from cluster.store import Store
from cluster.tables import SCHEDULES, TICKS
from cluster.ticks import Ticks, milliseconds
from cluster.workspace import Workspace
from jobs.schedule.definition import Schedule, check_schedule
from jobs.source import Source

Figures = dict[str, object]
Goals = dict[str, tuple[float | None, float]]

KINDS = ("sqlite", "postgresql")
JOB = {
    "kind": "train",
    "name": "nightly",
    "data": {"dataset": "gone"},
    "model": {"family": "vae"},
    "training": {"steps": 1},
}


@dataclass(frozen=True)
class Installation:
    """A workspace, and the store of its schedules."""

    workspace: Workspace
    store: Store

    @property
    def schedules(self) -> Schedules:
        return Schedules(self.store, str(self.workspace.root))

    @property
    def ticks(self) -> Ticks:
        return Ticks(self.store, str(self.workspace.root))


@contextmanager
def installation(kind: str) -> Iterator[Installation]:
    """A new one, whose store is named to child processes, too; gone with the block."""
    before = os.environ.pop("AIGC_STORE", None)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        if kind == "postgresql":
            server = stack.enter_context(servers.postgres())
            address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
            os.environ["AIGC_STORE"] = address
        try:
            workspace = Workspace.at(Path(folder) / "workspace")
            yield Installation(workspace, Store.of(workspace))
        finally:
            os.environ.pop("AIGC_STORE", None)
            if before is not None:
                os.environ["AIGC_STORE"] = before


def asked(cron: str, **more: object) -> Schedule:
    """A schedule in Berlin."""
    data = {"name": "nightly", "cron": cron, "zone": "Europe/Berlin", "job": JOB, **more}
    return check_schedule(Source("nightly.yaml", data, {}))


def keep(
    kept: Installation, count: int, schedule: Schedule, cursor: datetime | None = None
) -> None:
    """That many schedules `s0`, `s1` …, accounted for up to `cursor`, or until now."""
    begun = cursor or datetime.now(UTC)
    following = schedule.next_after(begun)
    shared = {
        "workspace": str(kept.workspace.root),
        "definition": schedule.as_document(),
        "alone": schedule.overlap != "allow",
        "paused": False,
        "created": milliseconds(begun),
        "cursor": milliseconds(begun),
        "next_due": None if following is None else milliseconds(following),
    }
    kept.schedules.now()  # makes the tables
    with kept.store.transaction() as connection:
        connection.execute(SCHEDULES.insert(), [{**shared, "name": f"s{n}"} for n in range(count)])


def remember(kept: Installation, count: int, before: datetime) -> None:
    """That many ticks which ran, a minute apart, of a hundred schedules."""
    newest, a_minute = milliseconds(before), 60_000
    shared = {
        "workspace": str(kept.workspace.root),
        "count": 1,
        "state": "ran",
        "reason": "",
        "definition": asked("0 2 * * *").as_document(),
        "alone": True,
        "to_end": False,
        "attempt": 1,
        "token": 1,
        "owner": "a machine:1",
    }
    rows = []
    for number in range(count):
        due = newest - (number // 100) * a_minute
        at = {"due": due, "through": due, "start_at": due, "started": due, "ended": due}
        rows.append({**shared, **at, "schedule": f"s{number % 100}"})
    kept.ticks.live()  # makes the tables
    with kept.store.transaction() as connection:
        for first in range(0, count, 10_000):
            connection.execute(TICKS.insert(), rows[first : first + 10_000])
