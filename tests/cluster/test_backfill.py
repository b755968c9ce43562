"""Ticks of the past are made up for, once, under the key they have always had. On both stores."""

from __future__ import annotations

import itertools
import os
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from cluster import backfill
from cluster.backfill import Backfills, Chosen
from cluster.schedules import Schedules
from cluster.store import Store
from cluster.ticks import Tick, Ticks
from cluster.workspace import Workspace
from jobs.schedule.backfill import TooMany, bound, chosen
from jobs.schedule.decisions import after_exit, pass_over
from jobs.schedule.definition import Schedule, check_schedule
from jobs.source import Source

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
JOB = {
    "kind": "generate",
    "name": "nightly",
    "model": "digits@champion",
    "count": 10,
    "publish": {"dataset": "digits-nightly"},
}

pytestmark = [
    pytest.mark.usefixtures("decisions"),
    pytest.mark.parametrize("decisions", ["sqlite", "postgresql"], indirect=True),
]


class Past:
    """An hourly schedule, an engine's part in it, and a clock."""

    def __init__(self, workspace: Workspace, cron: str = "0 * * * *", **more: Any) -> None:
        store, root, self.now = Store.of(workspace), str(workspace.root), NOON
        self.schedules = Schedules(store, root, self.clock)
        self.ticks = Ticks(store, root, self.clock)
        self.backfills = Backfills(store, root, self.clock)
        asked = {"name": "s", "cron": cron, "zone": "UTC", "job": JOB, **more}
        self.kept: Schedule = check_schedule(Source("s", asked, {}))
        alone = self.kept.overlap != "allow"
        self.schedules.create("s", self.kept.as_document(), alone, self.kept.next_after)

    def clock(self, connection: Connection) -> datetime:
        return self.now

    def looks_after(self, length: timedelta) -> None:
        """Nobody has looked for so long."""
        self.now += length
        self.schedules.advance(["s"], pass_over)

    def ask(self, since: datetime, until: datetime, at_most: int = 1, **how: Any) -> Chosen:
        choose = partial(chosen, since=since, until=until, **{"reprocess": "none", **how})
        return self.backfills.ask("s", since, until, choose, at_most, "by me")

    def claim(self) -> Tick | None:
        self.now += timedelta(seconds=1)
        return next(iter(self.ticks.claim("me", HOUR)), None)

    def run_all(self, code: int = 0) -> list[int]:
        """Run what there is; the hours in which it was due, in the order in which it ran."""
        ran = []
        while (tick := self.claim()) is not None:
            ended: Any = after_exit(tick, code, "why")
            assert self.ticks.finish(tick, ended.ending, ended.reason)
            ran.append(tick.due.hour)
        return ran

    def outcomes(self) -> list[tuple[int, str, int]]:
        found = reversed(self.ticks.history("s"))
        return [(tick.due.hour, tick.state, tick.count) for tick in found]


@pytest.fixture
def past(workspace: Workspace, decisions: None) -> Past:
    return Past(workspace)


def test_what_was_never_begun_is_made_up_for_once(past: Past) -> None:
    past.looks_after(4 * HOUR)
    assert past.run_all() == [16]
    before = past.outcomes()
    assert before == [(13, "missed", 1), (14, "missed", 1), (15, "missed", 1), (16, "ran", 1)]
    # Two hours before there was a schedule belong to the time that is asked for.
    found = past.ask(NOON - 2 * HOUR, NOON + 2 * HOUR)
    assert [each.hour for each in found.ticks] == [10, 11, 12, 13, 14]
    assert past.ask(NOON - 2 * HOUR, NOON + 2 * HOUR).ticks == []
    assert past.run_all() == [10, 11, 12, 13, 14]
    assert past.outcomes() == [
        *((hour, "backfilled", 1) for hour in (10, 11, 12, 13, 14)),
        *before[2:],
    ]
    assert past.ask(NOON - 2 * HOUR, NOON + 2 * HOUR).ticks == []


def test_what_failed_or_ran_is_done_again_where_one_asks(past: Past) -> None:
    past.looks_after(HOUR)
    assert past.run_all() == [13]
    past.looks_after(HOUR)
    assert past.run_all(code=2) == [14]
    span = NOON + HOUR, NOON + 2 * HOUR
    assert past.ask(*span).ticks == []
    assert [each.hour for each in past.ask(*span, reprocess="failed").ticks] == [14]
    assert past.run_all() == [14]
    found = past.ask(*span, reprocess="all", reverse=True)
    assert [each.hour for each in found.ticks] == [14, 13]
    assert past.run_all() == [14, 13]
    assert past.outcomes() == [(13, "backfilled", 1), (14, "backfilled", 1)]


def test_who_claimed_a_tick_before_is_not_heard_any_more(past: Past) -> None:
    past.looks_after(HOUR)
    tick = past.claim()
    assert tick is not None
    assert past.ask(NOON, NOON + HOUR, reprocess="all").ticks == [NOON], "one is at work"
    assert past.ticks.finish(tick, "failed", "")
    past.ask(NOON + HOUR, NOON + HOUR, reprocess="failed")
    again = past.claim()
    assert again is not None
    assert not past.ticks.finish(tick, "ran", "")


def test_no_more_are_at_work_than_asked_by_many_at_once(
    workspace: Workspace, decisions: None
) -> None:
    past = Past(workspace, overlap="allow")
    past.now += timedelta(seconds=1)
    past.ask(NOON - 24 * HOUR, NOON - HOUR, at_most=2)
    most, done = list[int](), list[datetime]()
    past.now += HOUR

    def work() -> None:
        for _ in range(30):
            tick = next(iter(past.ticks.claim("me", DAY, 1)), None)
            if tick is not None:
                most.append(sum(each.state == "running" for each in past.ticks.live()))
                done.append(tick.due)
                assert past.ticks.finish(tick, "backfilled", "")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    past.run_all()
    assert max(most) <= 2
    assert len(done) == len(set(done))
    assert {state for _, state, _ in past.outcomes()} == {"backfilled"}
    assert len(past.outcomes()) == 24


def test_overlaps_hold_and_what_is_due_comes_first(past: Past) -> None:
    past.ask(NOON - 3 * HOUR, NOON - HOUR, at_most=3)
    first = past.claim()
    assert first is not None
    assert past.claim() is None, "the schedule forbids overlaps"
    # What is due in the meantime waits for its turn, which is the next one.
    past.looks_after(HOUR)
    assert past.outcomes()[-1] == (13, "waiting", 1)
    assert past.ticks.finish(first, "backfilled", "")
    assert past.run_all() == [13, 10, 11]


def test_ticks_that_were_recorded_together_are_told_apart(
    workspace: Workspace, decisions: None
) -> None:
    past = Past(workspace, cron="* * * * *")
    past.looks_after(20 * HOUR)
    before = sum(count for _, _, count in past.outcomes())
    many = max(past.ticks.history("s"), key=lambda tick: tick.count)
    assert many.count > 100
    # The first ones of it, some in its middle, and some of those again.
    for since in (many.due, many.due + HOUR):
        found = past.ask(since, since + timedelta(minutes=2))
        assert len(found.ticks) == 3
    assert past.ask(many.due, many.due + timedelta(minutes=2), reprocess="all").ticks == []
    rest = max(past.ticks.history("s"), key=lambda tick: tick.count)
    assert (rest.due, rest.through) == (many.due + timedelta(minutes=3), many.through)
    assert rest.count == many.count - 6
    assert (rest.state, rest.reason, rest.ended) == (many.state, many.reason, many.ended)
    assert sum(count for _, _, count in past.outcomes()) == before
    # All of them: nothing is left of the record.
    past.ask(many.due, many.through)
    same = [tick for tick in past.ticks.history("s") if tick.due <= many.through]
    assert {tick.count for tick in same} == {1}
    assert len(same) == many.count


def test_who_dies_while_asking_has_asked_for_nothing(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.looks_after(5 * HOUR)
    before = past.outcomes()
    child = os.fork()
    if child == 0:
        calls = itertools.count()
        real = backfill._again
        monkeypatch.setattr(
            backfill, "_again", lambda *a: os._exit(9) if next(calls) == 2 else real(*a)
        )
        past.ask(NOON, NOON + 4 * HOUR)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert past.outcomes() == before
    assert len(past.ask(NOON, NOON + 4 * HOUR).ticks) == 5


def test_too_many_are_refused_and_nothing_is_asked_for(
    workspace: Workspace, decisions: None
) -> None:
    past = Past(workspace, cron="* * * * *")
    with pytest.raises(TooMany):
        past.ask(NOON - 10 * DAY, NOON)
    assert past.outcomes() == []


def test_nothing_that_is_yet_to_come_is_asked_for(past: Past) -> None:
    assert past.ask(NOON + HOUR, NOON + DAY).ticks == []
    assert [each.hour for each in past.ask(NOON - HOUR, NOON + DAY).ticks] == [11, 12]
    # The engine that comes to a tick that was asked for does not write it down again.
    past.looks_after(HOUR)
    assert len(past.outcomes()) == 3


def test_dates_and_times_are_those_of_the_schedule(workspace: Workspace, decisions: None) -> None:
    kept = Past(workspace, zone="Europe/Berlin").kept
    assert bound("2026-06-10", kept, last=False) == datetime(2026, 6, 9, 22, tzinfo=UTC)
    assert bound("2026-06-10", kept, last=True).isoformat() == "2026-06-10T21:59:59.999999+00:00"
    assert bound("2026-06-10T02:30", kept, last=True) == datetime(2026, 6, 10, 0, 30, tzinfo=UTC)
    assert bound("2026-06-10T02:30Z", kept, last=True) == datetime(2026, 6, 10, 2, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="must be a date or time"):
        bound("yesterday", kept, last=True)
