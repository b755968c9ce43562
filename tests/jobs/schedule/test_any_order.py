"""Whatever is done in whatever order: every tick has one outcome, and nothing old is fired."""

from __future__ import annotations

import functools
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cluster.backfill import Backfills
from cluster.decided import Decisions
from cluster.schedules import Schedules
from cluster.store import Store
from cluster.ticks import Tick, Ticks
from jobs.schedule.backfill import chosen
from jobs.schedule.decisions import pass_over, set_aside
from jobs.schedule.definition import Schedule, check_schedule
from jobs.source import Source

START = datetime(2026, 10, 24, 22, tzinfo=UTC)  # two hours before clocks go back in Berlin
LEASE, INSTANT = timedelta(minutes=10), timedelta(microseconds=1)
JOB = {
    "kind": "generate",
    "name": "nightly",
    "model": "digits@champion",
    "count": 10,
    "publish": {"dataset": "digits-nightly"},
}
CRONS = ["*/15 * * * *", "0 * * * *", "30 2 * * *", "10,40 */2 * * *"]


class Installation(RuleBasedStateMachine):
    """One schedule and two engines, by a clock that is set at will."""

    overlap = "forbid"

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.folder = Path(tempfile.mkdtemp())
        store = Store(f"sqlite:///{self.folder / 'aigc.db'}", self.folder)
        self.schedules = Schedules(store, "here", lambda connection: self.now)
        self.ticks = Ticks(store, "here", lambda connection: self.now)
        self.backfills = Backfills(store, "here", lambda connection: self.now)
        self.claims = list[Tick]()
        self.expected = list[datetime]()
        self.triggered = set[datetime]()
        self.begun = set[datetime]()
        self.kept: Schedule | None = None
        self.since = START

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def schedule(self, cron: str, catch_up: str) -> Schedule:
        asked = {"name": "s", "cron": cron, "zone": "Europe/Berlin", "overlap": self.overlap}
        more = {"catch_up": catch_up, "deadline": "3h", "job": JOB}
        return check_schedule(Source("s", asked | more, {}))

    def expect(self) -> None:
        """The ticks of the schedule as it was, from when it became so until now."""
        if self.kept is not None and self.now > self.since:
            self.expected += self.kept.timetable.ticks(self.since, self.now)
            self.since = self.now

    @rule(minutes=st.integers(1, 400))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes, seconds=7)

    @rule(minutes=st.integers(1, 1500))
    def the_clock_is_set_back(self, minutes: int) -> None:
        self.now -= timedelta(minutes=minutes)

    @precondition(lambda self: self.kept is None)
    @rule(cron=st.sampled_from(CRONS), catch_up=st.sampled_from(["none", "latest", "all"]))
    def create(self, cron: str, catch_up: str) -> None:
        # A clock that was set back must not let a new schedule begin before the old one ended.
        self.now = max(self.now, self.since)
        self.kept, self.since = self.schedule(cron, catch_up), self.now
        self.schedules.create(
            "s", self.kept.as_document(), self.overlap != "allow", self.kept.next_after
        )

    @precondition(lambda self: self.kept is not None)
    @rule(cron=st.sampled_from(CRONS), catch_up=st.sampled_from(["none", "latest", "all"]))
    def edit(self, cron: str, catch_up: str) -> None:
        self.expect()
        self.kept = self.schedule(cron, catch_up)
        document = self.kept.as_document()
        alone = self.overlap != "allow"
        self.schedules.change(
            "s", set_aside, definition=document, alone=alone, next_after=self.kept.next_after
        )
        assert self.waiting_for_the_first_time() == []

    @precondition(lambda self: self.kept is not None)
    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.expect()
        self.schedules.change("s", set_aside, paused=paused)
        assert self.waiting_for_the_first_time() == []

    @precondition(lambda self: self.kept is not None)
    @rule()
    def delete(self) -> None:
        self.expect()
        self.schedules.remove("s", set_aside)
        self.kept = None

    @precondition(lambda self: self.kept is not None)
    @rule()
    def trigger(self) -> None:
        self.triggered.add(self.schedules.trigger("s", timedelta(hours=3), "by hand"))

    @precondition(lambda self: self.kept is not None)
    @rule(hours=st.integers(1, 60), reprocess=st.sampled_from(["none", "failed", "all"]))
    def backfill(self, hours: int, reprocess: Any) -> None:
        since = self.now - timedelta(hours=hours)
        at_work = {each.due for each in self.ticks.live()}
        choose = functools.partial(chosen, since=since, until=self.now, reprocess=reprocess)
        found = self.backfills.ask("s", since, self.now, choose, 1, "by hand")
        assert not at_work & set(found.ticks)
        assert all(since <= each <= self.now for each in found.ticks)
        self.triggered |= set(found.ticks)

    @rule()
    def an_engine_decides(self) -> None:
        if self.schedules.pending():
            before = self.schedules.find("s")
            decided = self.schedules.advance(["s"], pass_over)["s"]
            assert isinstance(decided, Decisions)
            assert all(before.cursor < start.due <= self.now for start in decided.starts)
            assert not (before.paused and decided.starts)
            self.expect()

    @rule(at_most=st.integers(1, 4))
    def an_engine_claims(self, at_most: int) -> None:
        claimed = self.ticks.claim("engine", LEASE, at_most)
        self.claims += claimed
        self.begun |= {tick.due for tick in claimed}

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        how=st.sampled_from(["ran", "failed", "again", "renew", "release", "unheard"]),
    )
    def an_engine_says_how_a_job_has_ended(self, data: Any, how: str) -> None:
        """`unheard`: what it has recorded it does not hear of, and records it again."""
        tick = data.draw(st.sampled_from(self.claims))
        if how == "renew":
            self.ticks.renew(tick, LEASE)
        elif how == "release":
            self.ticks.release(tick, timedelta(minutes=5))
        elif how == "again":
            self.ticks.put_back(tick, timedelta(minutes=5), "again")
        else:
            ending: Any = "failed" if how == "failed" else "ran"
            self.ticks.finish(tick, ending, how)
            if how == "unheard":
                assert not self.ticks.finish(tick, ending, how)

    def waiting_for_the_first_time(self) -> list[Tick]:
        return [each for each in self.ticks.live() if not each.attempt]

    @invariant()
    def no_two_are_at_work(self) -> None:
        at_work = [each for each in self.ticks.live() if each.state == "running"]
        assert len(at_work) <= 1 or self.overlap == "allow"

    @invariant()
    def every_tick_has_one_outcome(self) -> None:
        """Those that are accounted for are those that were expected: no more, and none twice."""
        rows = self.ticks.history()
        assert all(each.count == 1 or each.count > 100 for each in rows)
        dues = [each.due for each in rows if each.count == 1 and each.due not in self.triggered]
        spans = [(each.due, each.through, each.count) for each in rows if each.count > 1]
        plain = [each for each in dict.fromkeys(self.expected) if each not in self.triggered]
        inside = [each for each in plain if any(a <= each <= b for a, b, _ in spans)]
        assert len(inside) <= sum(count for _, _, count in spans)
        done = self.schedules.all()[0].cursor if self.kept is not None else self.since
        accounted = {each for each in plain if each <= done} - set(inside)
        assert len(dues) == len(set(dues))
        assert accounted == set(dues) - set(inside)

    @invariant()
    def what_has_ended_was_begun(self) -> None:
        ended = [each.due for each in self.ticks.history() if each.state in ("ran", "failed")]
        assert set(ended) <= self.begun


@pytest.mark.parametrize("overlap", ["forbid", "replace", "allow"])
def test_in_any_order(overlap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installation, "overlap", overlap)
    run_state_machine_as_test(
        Installation, settings=settings(max_examples=10, stateful_step_count=40)
    )


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["forbid", "replace", "allow"])
def test_in_any_order_ten_thousand_steps(overlap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installation, "overlap", overlap)
    run_state_machine_as_test(
        Installation, settings=settings(max_examples=100, stateful_step_count=100)
    )
