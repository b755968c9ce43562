"""What became of the workers of a night, where that is not what was planned."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.attendance import Attended
from jobs.report import Incident

NAMED = 3
"""So many of the lost pieces of work are named."""


def lost_workers(attendance: Attended) -> Iterator[Incident]:
    """The workers that died at a piece of work, and pieces that two workers brought to an end."""
    if lost := attendance.lost():
        named = ", ".join(map(str, lost[:NAMED]))
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        said = f"what was not answered for: {named}{more}; another went on with that"
        workers = {(piece.host, piece.pid) for piece in lost}
        yield Incident("a worker was lost", said, len(workers))
    if again := attendance.repeated:
        said = "two workers have done the same piece of work; what was committed first stands"
        yield Incident("an attempt came second", said, again)
