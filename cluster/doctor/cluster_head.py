"""The head of a cluster that jobs are to be handed to, and what would run there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.doctor.clocks import judge_clock, seconds_ahead
from cluster.doctor.contract import Finding, Installation, ok
from cluster.doctor.folder import judge_disk
from cluster.doctor.room import judge_jobs

if TYPE_CHECKING:
    from cluster.head_replies import Disk

FULL = "Free some space there: Ray keeps its objects and logs on it"
TRIES = 2
"""Of a question to the head: who waits for an answer can ask again."""


def look(installation: Installation) -> Iterator[Finding]:
    """Whether it can be given a job, its clock, its nodes, and each known job there."""
    from cluster.head import RAY, Head

    if installation.head is None:
        return
    head = Head.at(*installation.head, tries=TRIES)
    head.require()
    entry = f"takes the token of {head.token.source}" if head.token.is_given else "asks for none"
    yield ok("head", f"{head.address} runs Ray {RAY} and {entry}")
    began = time.time()
    ahead = seconds_ahead(head.date(), (began + time.time()) / 2)
    if ahead is not None:
        yield judge_clock("clock", ahead, "the head's")
    capacity = head.capacity()
    slots = "" if capacity.slots is None else f", and {capacity.slots} job slots"
    yield ok("nodes", f"{capacity}{slots}")
    if disks := head.disks():
        yield judge_disks(disks)
    yield from judge_jobs(installation.jobs(), capacity)


def judge_disks(disks: Sequence[Disk]) -> Finding:
    """The fullest disk of the nodes."""
    fullest = min(disks, key=lambda each: each.free_bytes / max(1, each.total_bytes))
    judged = judge_disk("disk", fullest.free_bytes, fullest.total_bytes)
    found = f"{judged.found} on {fullest.node}, whose disk is the fullest"
    return replace(judged, found=found, advice=judged.advice and FULL)
