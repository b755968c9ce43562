"""The head of a cluster that jobs are to be handed to, and what would run there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from cluster.doctor.clocks import judge_clock, seconds_ahead
from cluster.doctor.contract import Finding, Installation, ok
from cluster.doctor.room import judge_jobs

TRIES = 2
"""Of a question to the head: who waits for an answer can ask again."""


def look(installation: Installation) -> Iterator[Finding]:
    """Whether it can be given a job, its clock, its nodes, and each known job there."""
    from cluster.head import RAY, Head

    if installation.head is None:
        return
    head = Head.at(*installation.head, tries=TRIES)
    head.require()
    yield ok("head", f"{head.address} runs Ray {RAY} and takes our token")
    began = time.time()
    ahead = seconds_ahead(head.date(), (began + time.time()) / 2)
    if ahead is not None:
        yield judge_clock("clock", ahead, "the head's")
    capacity = head.capacity()
    slots = "" if capacity.slots is None else f", and {capacity.slots} job slots"
    yield ok("nodes", f"{capacity}{slots}")
    yield from judge_jobs(installation.jobs(), capacity)
