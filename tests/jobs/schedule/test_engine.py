"""The engine with jobs that are done in a moment, on a real store, by a clock that tests set."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from trivial import Trivial

from cluster.schedules import Schedules
from cluster.states import State
from cluster.store import Store
from cluster.ticks import Tick, Ticks
from cluster.workspace import Workspace
from jobs.schedule.decisions import LOOK_AGAIN, ON_ITS_WAY, Again, Ended, after_exit
from jobs.schedule.definition import Schedule
from jobs.schedule.engine import Engine

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@dataclass
class Installation:
    """A workspace with its schedules, and engines that look at it."""

    folder: Path
    now: datetime = NOON
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        workspace = Workspace.at(self.folder / "workspace")
        store = Store.of(workspace)
        self.schedules = Schedules(store, str(workspace.root), self.clock)
        self.ticks = Ticks(store, str(workspace.root), self.clock)

    def clock(self, connection: Connection) -> datetime:
        return self.now

    def keep(self, schedule: Schedule) -> None:
        alone = schedule.overlap != "allow"
        self.schedules.create(schedule.name, schedule.as_document(), alone, schedule.next_after)

    def engine(self, code: int = 0, seconds: float = 0.0, at_most: int = 4) -> Engine:
        jobs = Trivial(self.folder, code, seconds)
        return Engine(self.schedules, self.ticks, jobs, self.told.append, at_most)

    def tick(self, code: int = 0) -> Engine:
        engine = self.engine(code)
        engine.run(threading.Event(), forever=False)
        return engine

    def outcomes(self) -> list[tuple[str, str]]:
        return [(f"{each.due:%H:%M}", each.state) for each in reversed(self.ticks.history())]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    return Installation(tmp_path)


def until(holds: Callable[[], bool], engine: Engine | None = None) -> None:
    for _ in range(600):
        if engine is not None:
            engine.look_after()
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("it never came to that")


def test_a_pass_runs_what_is_due_and_ends(installation: Installation, asking: Any) -> None:
    installation.keep(asking("0 * * * *", "UTC"))
    assert installation.tick().failed == 0
    assert installation.outcomes() == []
    installation.now += HOUR
    engine = installation.tick()
    assert engine.is_idle
    assert installation.outcomes() == [("13:00", "ran")]
    assert (installation.folder / "nightly-20260610T130000.done").is_file()
    (tick,) = installation.ticks.history()
    assert (tick.submission, tick.attempt) == ("trivial-130000", 1)


def test_a_job_that_fails_is_attempted_again_after_a_pause(
    installation: Installation, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", retries={"count": 1, "pause": "5m"}))
    installation.now += HOUR
    assert installation.tick(code=100).failed == 0
    assert installation.outcomes() == [("13:00", "waiting")]
    assert installation.tick(code=100).failed == 0
    installation.now += 5 * MINUTE
    assert installation.tick(code=100).failed == 1
    assert installation.outcomes() == [("13:00", "failed")]
    (tick,) = installation.ticks.history()
    assert (tick.attempt, tick.reason) == (2, "exit code 100: it was asked to fail")


def test_a_tick_that_is_replaced_is_ended(installation: Installation, asking: Any) -> None:
    installation.keep(asking("0 * * * *", "UTC", overlap="replace"))
    installation.now += HOUR
    engine = Engine(
        installation.schedules,
        installation.ticks,
        Trivial(installation.folder, seconds=60),
        installation.told.append,
        lease=timedelta(seconds=0.1),
    )
    engine.decide()
    engine.begin()
    installation.now += HOUR
    engine.decide()
    assert installation.outcomes() == [("13:00", "running"), ("14:00", "waiting")]
    until(lambda: engine.is_idle, engine)
    assert installation.outcomes()[0] == ("13:00", "replaced")


def test_jobs_outlive_an_engine_that_is_told_to_halt(
    installation: Installation, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC"))
    installation.now += HOUR
    jobs, halt = Trivial(installation.folder, seconds=0.5), threading.Event()
    first = Engine(installation.schedules, installation.ticks, jobs, installation.told.append)
    first.decide()
    first.begin()
    process = first._at_work[0].process
    halt.set()
    first.run(halt, forever=True)
    assert "the next engine looks after it" in installation.told[-1]
    # Its claim is free at once, and the job is begun again, which does it no second time.
    installation.tick()
    assert process.wait() == 0
    assert installation.outcomes() == [("13:00", "ran")]
    assert (installation.folder / "nightly-20260610T130000.begun").read_text() == "x\nx\n"


def test_no_more_jobs_are_at_work_than_asked(installation: Installation, asking: Any) -> None:
    for name in ("a", "b", "c"):
        installation.keep(asking("0 * * * *", "UTC", name=name))
    installation.now += HOUR
    engine = installation.engine(seconds=0.3, at_most=2)
    engine.decide()
    engine.begin()
    assert [state for _, state in installation.outcomes()].count("running") == 2
    until(lambda: engine.is_idle, engine)
    engine.begin()
    until(lambda: engine.is_idle, engine)
    assert [state for _, state in installation.outcomes()] == ["ran"] * 3


def test_a_schedule_that_can_no_longer_be_read_stands_still_and_is_told_of_once(
    installation: Installation, asking: Any
) -> None:
    for name in ("old", "older"):
        kept = f"name: {name}\ncorn: x\n"
        installation.schedules.create(name, kept, True, lambda now: now + MINUTE)
    installation.keep(asking("0 * * * *", "UTC"))
    installation.now += HOUR
    engine = installation.engine()
    for _ in range(3):
        engine.decide()
    assert len(installation.told) == 2
    for name, told in zip(("old", "older"), installation.told, strict=True):
        assert f"schedule {name} can no longer be read" in told
    assert installation.schedules.find("old").cursor == NOON
    assert installation.outcomes() == [("13:00", "waiting")]


@dataclass
class Outliving(Trivial):
    """A job that outlives the process that follows it, and is in a state that the test sets."""

    now: State | None = "RUNNING"

    def state(self, tick: Tick) -> State | None:
        return self.now


def outliving(installation: Installation, jobs: Outliving) -> Engine:
    engine = Engine(installation.schedules, installation.ticks, jobs, installation.told.append)
    engine.run(threading.Event(), forever=False)
    return engine


@pytest.mark.parametrize("state", ["RUNNING", "QUEUED", "PENDING"])
def test_a_job_that_outlives_its_process_stays_at_work_in_the_same_attempt(
    installation: Installation, asking: Any, state: State
) -> None:
    installation.keep(asking("0 * * * *", "UTC", overlap="replace"))
    installation.now += HOUR
    jobs = Outliving(installation.folder, code=104, now=state)
    assert outliving(installation, jobs).failed == 0
    assert installation.outcomes() == [("13:00", "running")]
    # Its place is taken by nobody, and nobody looks before the pause is over.
    assert outliving(installation, jobs).is_idle
    installation.now += LOOK_AGAIN + MINUTE
    jobs.code = 0
    outliving(installation, jobs)
    (tick,) = installation.ticks.history()
    assert (tick.state, tick.attempt, tick.failures) == ("ran", 1, 0)


def test_a_job_that_never_arrives_is_given_up(installation: Installation, asking: Any) -> None:
    installation.keep(asking("0 * * * *", "UTC"))
    installation.now += HOUR
    jobs = Outliving(installation.folder, code=104, now="PENDING")
    outliving(installation, jobs)
    installation.now += ON_ITS_WAY
    assert outliving(installation, jobs).failed == 1
    assert installation.outcomes()[0] == ("13:00", "failed")


def test_a_tick_that_makes_room_is_not_begun_again(installation: Installation, asking: Any) -> None:
    """Its engine has died, and so has its job; the later tick runs."""
    installation.keep(asking("0 * * * *", "UTC", overlap="replace"))
    installation.now += HOUR
    installation.engine().decide()
    assert installation.ticks.claim("dead", MINUTE)
    installation.now += HOUR
    jobs = Outliving(installation.folder, now="INTERRUPTED")
    outliving(installation, jobs)
    assert installation.outcomes() == [("13:00", "replaced"), ("14:00", "ran")]
    assert not (installation.folder / "nightly-20260610T130000.begun").exists()


def test_a_job_that_is_at_work_though_its_engine_died_is_asked_to_make_room(
    installation: Installation, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", overlap="replace"))
    installation.now += HOUR
    installation.engine().decide()
    assert installation.ticks.claim("dead", MINUTE)
    installation.now += HOUR
    jobs = Outliving(installation.folder, seconds=60)
    lease = timedelta(seconds=0.1)
    engine = Engine(
        installation.schedules, installation.ticks, jobs, installation.told.append, lease=lease
    )
    engine.decide()
    engine.begin()
    assert installation.outcomes() == [("13:00", "running"), ("14:00", "waiting")]
    jobs.now = "CANCELLED"
    until(lambda: engine.is_idle, engine)
    assert installation.outcomes()[0] == ("13:00", "replaced")


def test_a_job_that_is_stopped_from_outside_uses_up_no_retry(
    installation: Installation, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC", retries={"count": 1, "pause": "5m"}))
    installation.now += HOUR
    for code in (101, 130, 101, 100, 100):
        installation.tick(code)
        installation.now += 5 * MINUTE
    (tick,) = installation.ticks.history()
    assert (tick.state, tick.attempt, tick.failures) == ("failed", 5, 1)


@pytest.mark.parametrize(
    ("code", "to_end", "failures", "expected"),
    [
        (0, False, 0, Ended("ran", "")),
        (0, True, 0, Ended("ran", "")),
        (100, False, 0, Again(MINUTE, "exit code 100: why")),
        (100, False, 1, Ended("failed", "exit code 100: why")),
        (-9, False, 0, Again(MINUTE, "signal 9: why")),
        (107, False, 0, Ended("failed", "exit code 107: why")),
        (2, False, 0, Ended("failed", "exit code 2: why")),
        (103, True, 0, Ended("replaced", "a later tick took its place")),
        # Stopped from outside is no failure, however often.
        (101, False, 7, Again(MINUTE, "exit code 101: why", failed=False)),
    ],
)
def test_how_a_tick_ends(
    installation: Installation,
    asking: Any,
    code: int,
    to_end: bool,
    failures: int,
    expected: object,
) -> None:
    installation.keep(asking("0 * * * *", "UTC", retries={"count": 1}))
    installation.now += HOUR
    engine = installation.engine()
    engine.decide()
    (tick,) = installation.ticks.live()
    assert after_exit(replace(tick, to_end=to_end, failures=failures), code, "why") == expected


def test_what_can_no_longer_be_read_is_not_attempted_again(installation: Installation) -> None:
    installation.schedules.create("old", "retries: [", True, lambda now: None)
    installation.schedules.trigger("old", HOUR, "")
    (tick,) = installation.ticks.claim("me", HOUR)
    assert isinstance(after_exit(tick, 1, "why"), Ended)


def test_a_clock_that_is_set_back_by_a_day_is_told_of_and_nothing_runs_twice(
    installation: Installation, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC"))
    for _ in range(3):
        installation.now += HOUR
        installation.tick()
    ran = installation.outcomes()
    assert installation.told[-1].endswith("ran")
    engine = installation.engine()
    engine.decide()
    installation.now -= timedelta(days=1)
    for _ in range(5):
        installation.now += HOUR
        engine.decide()
        engine.begin()
    # It says so once, and so does an engine that is started only now.
    said = [text for text in installation.told if "the clock was set back" in text]
    assert said == [
        "the clock was set back: it has been 2026-06-10T15:00+00:00 before, up to "
        "which nothing is due again"
    ]
    installation.tick()
    assert "the clock was set back" in installation.told[-1]
    assert installation.outcomes() == ran
    installation.now = NOON + 4 * HOUR
    installation.tick()
    assert installation.outcomes() == [*ran, ("16:00", "ran")]


def test_the_tick_of_a_dead_engine_is_taken_over_though_the_clock_was_set_back(
    installation: Installation, asking: Any
) -> None:
    installation.keep(asking("0 * * * *", "UTC"))
    installation.now += HOUR
    installation.engine().decide()
    assert installation.ticks.claim("dead", MINUTE)
    installation.now -= timedelta(days=1)
    installation.tick()
    assert installation.outcomes() == [("13:00", "ran")]


def test_an_engine_goes_on_when_the_store_answers_again(
    installation: Installation, asking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else writes for longer than one waits."""
    monkeypatch.setattr("cluster.store.WAIT_SECONDS", 0.1)
    installation = Installation(installation.folder)
    installation.keep(asking("0 * * * *", "UTC"))
    installation.now += HOUR
    halt, engine = threading.Event(), installation.engine()
    file = installation.folder / "workspace" / "aigc.db"
    # An engine that looks this often leaves a busy machine's writer little room to come in between.
    writer = sqlite3.connect(file, timeout=60, isolation_level=None)
    serving = threading.Thread(target=engine.run, args=(halt, True))
    try:
        for often in (1, 2):
            writer.execute("BEGIN IMMEDIATE")
            if not serving.is_alive():
                serving.start()
            until(lambda: sum("is locked" in text for text in installation.told) == often)  # noqa: B023
            writer.execute("ROLLBACK")
            until(lambda: sum("answers again" in text for text in installation.told) == often)  # noqa: B023
        until(lambda: installation.outcomes() == [("13:00", "ran")])
    finally:
        # Or it would go on through the other tests, some of which fork this process.
        halt.set()
        serving.join()
