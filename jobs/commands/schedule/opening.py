"""The schedules and ticks of a workspace, opened for a command, and how one is shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jobs.invocation import Invocation

if TYPE_CHECKING:
    from cluster.notices import Notices
    from cluster.schedules import Entry, Schedules
    from cluster.ticks import Ticks
    from cluster.workspace import Workspace


def kept(workspace: Workspace) -> tuple[Schedules, Ticks]:
    """Its schedules and their ticks. Raises StoreUnavailable."""
    from cluster.schedules import Schedules
    from cluster.store import Store
    from cluster.ticks import Ticks

    store, name = Store.of(workspace), str(workspace.root)
    return Schedules(store, name), Ticks(store, name)


def outbox(workspace: Workspace) -> Notices:
    """Who is to be told of its ticks. Raises StoreUnavailable."""
    from cluster.notices import Notices
    from cluster.store import Store

    return Notices(Store.of(workspace), str(workspace.root))


def look(invocation: Invocation) -> tuple[Schedules, Ticks] | None:
    """The schedules, without making a store where there is none."""
    workspace = invocation.look()
    return kept(workspace) if workspace.has_store else None


def named(invocation: Invocation, name: str) -> tuple[Schedules, Ticks]:
    """The schedules, of which `name` must be one. Raises ScheduleNotFound."""
    from cluster.errors import ScheduleNotFound

    if (opened := look(invocation)) is None:
        raise ScheduleNotFound(
            f"there is no schedule {name[:64]!r}", "Make one with: aigc schedule create FILE"
        )
    opened[0].find(name)
    return opened


def summary(entry: Entry) -> dict[str, object]:
    """A schedule as it is listed."""
    from jobs.errors import SpecInvalid
    from jobs.schedule.definition import timing_of
    from jobs.schedule.zones import zone

    try:
        timing = timing_of(entry)
    except SpecInvalid as error:
        return {"name": entry.name, "state": "invalid", "reason": str(error)}
    state = "paused" if entry.paused else "active" if entry.next_due else "over"
    following: datetime | None = entry.next_due and entry.next_due.astimezone(zone(timing.zone))
    return {
        "name": entry.name,
        "state": state,
        "cron": timing.cron,
        "zone": timing.zone,
        "next": None if entry.paused else following,
    }


def shown(entry: Entry) -> dict[str, object]:
    """A schedule as one command shows it."""
    return {**summary(entry), "created": entry.created, "accounted_until": entry.cursor}
