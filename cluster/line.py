"""The line in which jobs wait for a cluster that others use, too.

A ticket is a file in the workspace's folder `line`, and lives as long as its process holds it: what
dies leaves the line, and finds its age there when it comes again within an hour. Who is first,
nobody overtakes: a large job gets its turn though small ones would fit before. A priority counts
one more for each AGING_SECONDS of waiting, so that no other can keep a job waiting for ever.

A cluster whose nodes have the custom resource `job_slot` runs at most so many jobs at once, of
whichever workspaces: each holds one of them in Ray. In one line stand the jobs of one workspace.

{"submission": "digits-gan-0123456789", "priority": 0, "since": 1764000000123,
 "resources": {…}, "admitted": false, "reason": "1 job is before it: digits-vae-9876543210"}
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aigc.data.files import unwritable
from cluster.errors import AlreadyRunning, Cancelled
from cluster.holder import is_held
from cluster.journal import now
from cluster.locks import exclusive
from cluster.places import Room
from cluster.resources import Capacity, Resources, feasibility, without
from cluster.tails import whole
from cluster.workspace import RunFolder

AGING_SECONDS = 600.0
KEPT_SECONDS = 3600.0
"""For how long the age of a job is kept whose process has died."""
LOOK_SECONDS = 1.0
"""Between two looks whether it is one's turn."""


@dataclass(frozen=True)
class Ticket:
    """A job in the line, or at work once it is `admitted`; `since` in milliseconds since 1970."""

    submission: str
    priority: int
    since: int
    resources: Resources
    admitted: bool = False
    reason: str = ""

    @classmethod
    def read(cls, path: Path) -> Ticket | None:
        """The ticket in a file; None for one that is damaged or not there."""
        noted = whole(path)
        try:
            resources = Resources.model_validate(noted.pop("resources", None))
            ticket = cls(resources=resources, **noted)
        except (TypeError, ValueError):
            return None
        numbers = ticket.since, ticket.priority
        return ticket if all(isinstance(each, int) for each in numbers) else None

    def write(self, path: Path) -> None:
        """Put it into its file, in the place of what stands there: the file itself is locked."""
        text = json.dumps({**asdict(self), "resources": self.resources.model_dump()})
        try:
            path.write_text(text)
        except OSError as error:
            raise unwritable(path, error) from error

    def rank(self, at: int) -> tuple[float, int, str]:
        """Where it stands in the line at a time: the lowest is first."""
        waited = max(0, at - self.since) / 1000
        return -(self.priority + waited / AGING_SECONDS), self.since, self.submission


def hindrance(mine: Ticket, others: Sequence[Ticket], capacity: Capacity, at: int) -> str | None:
    """Why a job has to wait at that time; None when it is its turn."""
    at_work = [each for each in others if each.admitted]
    before = [each for each in others if not each.admitted and each.rank(at) < mine.rank(at)]
    if capacity.slots is not None and max(len(at_work), capacity.slots_taken) >= capacity.slots:
        return f"all {capacity.slots} job slots of the cluster are taken"
    if before:
        first = min(before, key=lambda each: each.rank(at)).submission
        return f"{len(before)} before it in the line, {first} first"
    # What was admitted just now may not have taken yet what it needs.
    promised = without(capacity, [each.resources for each in at_work])
    for room in (capacity, promised):
        found = feasibility(mine.resources, room)
        if found.fits != "now":
            return found.reason
    return None


@contextmanager
def turn(
    run: RunFolder, resources: Resources, room: Room, priority: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Wait for the job's turn, and keep its place among those at work while the block runs.

    `say` hears what it waits for. Raises AlreadyRunning when another process waits for the same
    job, Cancelled when that is asked for, and WorkspaceUnwritable.
    """
    run.cancel.unlink(missing_ok=True)
    with _held(run) as path:
        since = _since(path)
        mine = Ticket(run.submission, priority, since, room.needs(resources))
        while True:
            capacity = room.capacity()
            with _line(run):
                reason = hindrance(mine, _others(run), capacity, now())
                present = replace(mine, admitted=reason is None, reason=reason or "")
                if Ticket.read(path) != present:
                    present.write(path)
                os.utime(path)
            if reason is None:
                break
            if reason != mine.reason:
                mine = replace(mine, reason=reason)
                say(f"waiting: {reason}")
            time.sleep(LOOK_SECONDS)
            require_wanted(run)
        yield


def require_wanted(run: RunFolder) -> None:
    """Raise Cancelled when somebody has asked a waiting job to end."""
    if run.cancel.exists():
        raise Cancelled(f"{run.submission} was cancelled before it began")


def _since(path: Path) -> int:
    """Since when a job waits: an earlier process of it may have waited until a while ago."""
    earlier = Ticket.read(path)
    fresh = earlier is not None and time.time() - path.stat().st_mtime < KEPT_SECONDS
    return earlier.since if earlier is not None and fresh else now()


@contextmanager
def _held(run: RunFolder) -> Iterator[Path]:
    """The submission's place in the line, which is given back at the end of the block."""
    path = run.ticket
    run.path.mkdir(parents=True, exist_ok=True)
    with _line(run):
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AlreadyRunning(
                f"another process waits in line with {run.submission}", "Wait for that one"
            ) from None
    with lock:
        try:
            yield path
        finally:
            with _line(run):
                path.unlink(missing_ok=True)


def _line(run: RunFolder) -> AbstractContextManager[None]:
    """Held by whoever reads or changes the line."""
    return exclusive(run.ticket.parent / ".lock")


def _others(run: RunFolder) -> list[Ticket]:
    """The tickets of all other processes that live."""
    paths = (path for path in run.ticket.parent.glob("*.json") if path != run.ticket)
    found = (Ticket.read(path) for path in paths if is_held(path))
    return [ticket for ticket in found if ticket is not None]
