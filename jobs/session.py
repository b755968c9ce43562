"""What the jobs of one command share, and the places that a command can name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cluster.code import CODE_VARIABLE, require_same_code
from cluster.credentials import require_accepted
from cluster.places import Here, Place, Room
from cluster.registry import Registry, open_registry
from cluster.tracking import Tracking
from cluster.workspace import Workspace
from jobs.progress import Reporter


@dataclass(frozen=True)
class Planning:
    """The workspace, its stores, and where there is room: all that it takes to plan a job."""

    workspace: Workspace
    place: Room
    reporter: Reporter
    tracking: Tracking
    registry: Registry


@dataclass(frozen=True)
class Session(Planning):
    """The same with a place that runs jobs."""

    place: Place


def _local(workspace: Workspace) -> Place:
    from cluster.local import LocalRay

    return LocalRay(workspace.root / "ray")


def _joined(workspace: Workspace) -> Place:
    from cluster.joined import JoinedRay

    return JoinedRay(workspace.root / "ray")


PLACES: dict[str, Callable[[Workspace], Place]] = {
    "here": lambda _: Here(),
    "local": _local,
    "cluster": _joined,
}
"""Each imports its Ray only where that is what is asked for."""


def open_session(workspace: Workspace, place: str, reporter: Reporter) -> Session:
    """A session on the place of that name, which is not started yet.

    Raises CredentialsRefused, and CodeDiffers if this process was to run other code.
    """
    require_same_code(os.environ.get(CODE_VARIABLE))
    where = PLACES[place](workspace)
    return Session(workspace, where, reporter, *_stores(workspace))


def open_planning(workspace: Workspace, room: Room, reporter: Reporter) -> Planning:
    """What it takes to plan a job for where this process does not run it. Raises
    CredentialsRefused."""
    return Planning(workspace, room, reporter, *_stores(workspace))


def _stores(workspace: Workspace) -> tuple[Tracking, Registry]:
    tracking = Tracking(workspace)
    require_accepted(tracking.uri)
    return tracking, open_registry(workspace, tracking)
