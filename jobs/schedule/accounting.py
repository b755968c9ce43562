"""What is wrong with the ticks of a workspace, found without any engine, pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cluster.schedules import Entry
from cluster.ticks import Tick
from jobs.errors import SpecInvalid
from jobs.schedule.definition import timing_of

GRACE = timedelta(minutes=10)
"""So late may an engine be, that is called every few minutes."""


@dataclass(frozen=True)
class Finding:
    """A tick, or the first of several, that nobody accounts for, is late, or was missed."""

    schedule: str
    due: datetime
    what: Literal["unaccounted", "late", "lost", "missed"]
    reason: str


def findings(
    entries: Sequence[Entry], ticks: Sequence[Tick], now: datetime, within: timedelta
) -> list[Finding]:
    """Everything that is wrong; `ticks` are the live ones, and those that were recorded of late.

    What was missed counts for as long as `within`.
    """
    found = [*_unlooked(entries, now), *_late(ticks, now), *_missed(ticks, now - within)]
    return sorted(found, key=lambda each: (each.due, each.schedule))


def _unlooked(entries: Sequence[Entry], now: datetime) -> Iterator[Finding]:
    for entry in entries:
        if entry.next_due is not None and entry.next_due < now - GRACE:
            yield Finding(entry.name, entry.next_due, "unaccounted", _why_unlooked(entry))


def _why_unlooked(entry: Entry) -> str:
    try:
        timing_of(entry)
    except SpecInvalid:
        return f"it can no longer be read: see aigc schedule show {entry.name}"
    return "no engine has looked since: run aigc schedule serve, or tick"


def _late(ticks: Sequence[Tick], now: datetime) -> Iterator[Finding]:
    at_work = {tick.schedule for tick in ticks if tick.state == "running"}
    for tick in ticks:
        if tick.state == "running" and tick.lease is not None and tick.lease < now - GRACE:
            reason = "its engine is gone, and no other one has taken it over"
            yield Finding(tick.schedule, tick.due, "lost", reason)
        waits = tick.state == "waiting" and tick.schedule not in at_work
        if waits and tick.start_at is not None and tick.start_at < now - GRACE:
            reason = "no engine has begun it: they are gone, or have no room"
            yield Finding(tick.schedule, tick.due, "late", reason)


def _missed(ticks: Sequence[Tick], since: datetime) -> Iterator[Finding]:
    for tick in ticks:
        if tick.state == "missed" and tick.ended is not None and tick.ended >= since:
            many = f"{tick.count} ticks: " if tick.count > 1 else ""
            yield Finding(tick.schedule, tick.due, "missed", f"{many}{tick.reason}")
