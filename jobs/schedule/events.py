"""What of a tick is worth telling somebody, and whom: pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from cluster.notices import Notice
from cluster.ticks import Tick
from jobs.errors import GATES_REFUSED, SpecInvalid
from jobs.schedule.channels import Channel, Event
from jobs.schedule.decisions import exit_reason
from jobs.schedule.definition import timing_in

BAD = ("failed", "missed")
"""After a tick that ended so, one that ran is told of."""


def ended_notices(tick: Tick, before: Callable[[], Tick | None]) -> list[Notice]:
    """Who is told of a tick that has ended. `before` finds the one that was due before it and ran,
    failed or was missed; it is asked only where that matters."""
    channels = _channels(tick)
    event = _event(tick)
    if event is None and any("recovered" in channel.on for channel in channels):
        former = before() if tick.state == "ran" else None
        event = "recovered" if former is not None and former.state in BAD else None
    return [] if event is None else list(_told(tick, event, channels))


def late_notices(tick: Tick) -> list[Notice]:
    """Who is told that a tick waits longer than it should."""
    return list(_told(tick, "late", _channels(tick)))


def _event(tick: Tick) -> Event | None:
    if tick.state == "failed":
        refused = tick.reason.startswith(exit_reason(GATES_REFUSED, ""))
        return "quarantined" if refused else "failed"
    return "missed" if tick.state == "missed" else None


def _channels(tick: Tick) -> tuple[Channel, ...]:
    """Those of the schedule when the tick was written down; none when that cannot be read."""
    try:
        return timing_in(tick.definition, tick.schedule).notify
    except SpecInvalid:
        return ()


def _told(tick: Tick, event: Event, channels: tuple[Channel, ...]) -> Iterator[Notice]:
    for number, channel in enumerate(channels):
        if event in channel.on:
            target = channel.model_dump_json(exclude_none=True)
            yield Notice(tick.schedule, tick.due, event, number, target, _body(tick, event))


def _body(tick: Tick, event: Event) -> str:
    """The JSON that is told. The id is the same however often it comes."""
    said = {
        "id": f"{tick.schedule}/{tick.due.isoformat()}/{event}",
        "event": event,
        "schedule": tick.schedule,
        "due": tick.due.isoformat(),
        "count": tick.count,
        "state": tick.state,
        "reason": tick.reason,
        "attempt": tick.attempt,
        "submission": tick.submission,
        "started": tick.started and tick.started.isoformat(),
        "ended": tick.ended and tick.ended.isoformat(),
    }
    return json.dumps(said, ensure_ascii=False)
