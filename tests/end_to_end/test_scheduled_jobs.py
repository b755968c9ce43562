"""Ticks whose jobs run on a real Ray cluster: engines that die, and heads that forget."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray_head import RayHead, ray_head

from aigc.data.importers import import_dataset
from cluster.following import standing_there
from cluster.handover import Handover
from cluster.schedules import Schedules
from cluster.store import Store
from cluster.submissions import newest_checkpoint, standing
from cluster.tables import TICKS
from cluster.ticks import Tick, Ticks, milliseconds
from cluster.workspace import RunFolder, Workspace
from jobs.cli import main
from jobs.source import written
from jobs.spec import load
from jobs.specs import SPECS

PLAIN = ("evaluation.metrics=[]", "registry=null", "training.sample_every=10000")
LONG = ("training.steps=50000", "training.checkpoint_every=100", "training.report_every=100")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    last = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < last, "it does not come true"
        time.sleep(0.1)


class Scheduled:
    """A schedule whose job runs on a cluster, in a workspace that the cluster sees."""

    def __init__(self, folder: Path, head: RayHead) -> None:
        self.workspace, self.head = Workspace.at(folder / "workspace"), head
        import_dataset(self.workspace.datasets, "digits")
        store, name = Store.of(self.workspace), str(self.workspace.root)
        self.schedules, self.ticks = Schedules(store, name), Ticks(store, name)
        self.engines = list[subprocess.Popen[bytes]]()

    def say(self, *words: str) -> int:
        return main(["--workspace", str(self.workspace.root), *words])

    def keep(self, *settings: str, **more: Any) -> None:
        """A schedule of a tiny training that is due only when it is triggered."""
        job = load(SPECS / "tiny" / "vae.yaml", [*PLAIN, *settings]).model_dump(mode="json")
        asked = {"name": "s", "cron": "0 0 1 1 *", "zone": "UTC", **more, "job": job}
        file = self.workspace.root / "s.yaml"
        file.write_text(written(asked))
        assert self.say("schedule", "create", str(file)) == 0

    def trigger(self) -> datetime:
        assert self.say("schedule", "trigger", "s") == 0
        return max(tick.due for tick in self.ticks.history())

    def engine(self) -> subprocess.Popen[bytes]:
        """One that serves, in a process of its own."""
        command = [sys.executable, "-m", "jobs", "--workspace", str(self.workspace.root)]
        command += ["schedule", "serve", "--on", self.head.address]
        self.engines.append(subprocess.Popen(command))
        return self.engines[-1]

    def replace(self, due: datetime) -> None:
        """Let the tick be asked to make room, as a pass does that finds a later one due."""
        mine = TICKS.c.due == milliseconds(due)
        with Store.of(self.workspace).transaction() as connection:
            connection.execute(TICKS.update().where(mine).values(to_end=True))

    def tick(self) -> int:
        return self.say("schedule", "tick", "--on", self.head.address)

    def kill(self, engine: subprocess.Popen[bytes]) -> None:
        """The engine, and what it has started: as if its machine was switched off."""
        for process in (*psutil.Process(engine.pid).children(recursive=True), engine):
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        engine.wait()
        # Nobody has to wait until its claim is over.
        for tick in self.ticks.live():
            if tick.state == "running":
                self.ticks.release(tick)

    def run(self, due: datetime) -> RunFolder | None:
        found = self.at(due).submission
        return self.workspace.run(found) if found else None

    def at(self, due: datetime) -> Tick:
        return next(tick for tick in self.ticks.history() if tick.due == due)

    def at_work(self, due: datetime) -> RunFolder:
        """The submission of the tick, once it has a checkpoint."""
        until(lambda: bool((run := self.run(due)) and newest_checkpoint(run)))
        run = self.run(due)
        assert run is not None
        return run

    def stop_all(self) -> None:
        for engine in self.engines:
            if engine.poll() is None:
                self.kill(engine)
        for run in self.workspace.runs():
            if not standing(run).has_ended:
                self.say("job", "cancel", run.submission, "--grace", "1")


@pytest.fixture
def scheduled(
    tmp_path: Path, ray_cluster: RayHead, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scheduled]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token or "")
    monkeypatch.delenv("AIGC_STORE", raising=False)
    made = Scheduled(tmp_path, ray_cluster)
    yield made
    made.stop_all()


def jobs_of(run: RunFolder) -> int:
    """How many jobs of the head the submission has been."""
    note = Handover.of(run)
    assert note is not None
    return int(note.job.rpartition("-")[2])


def attempts_of(run: RunFolder) -> int:
    return sum("begin" in json.loads(line) for line in run.outbox.read_text().splitlines())


def test_a_job_that_ends_while_no_engine_lives_is_recorded_and_not_begun_again(
    scheduled: Scheduled,
) -> None:
    scheduled.keep(*LONG)
    due = scheduled.trigger()
    engine = scheduled.engine()
    run = scheduled.at_work(due)
    scheduled.kill(engine)
    # It goes on without an engine, until a person ends it.
    before = newest_checkpoint(run)
    assert before is not None
    until(lambda: (newest_checkpoint(run) or (0, 0))[0] > before[0])
    assert scheduled.say("job", "cancel", run.submission) == 0
    assert scheduled.tick() == 100
    tick = scheduled.at(due)
    assert (tick.state, tick.attempt) == ("failed", 1)
    assert "exit code 103: it was cancelled" in tick.reason
    assert (jobs_of(run), attempts_of(run)) == (1, 1)


@pytest.mark.slow
def test_a_reply_that_is_lost_makes_no_second_job(scheduled: Scheduled) -> None:
    """Nobody knows whether the head was asked when the machine went off."""
    scheduled.keep("training.steps=20")
    due = scheduled.trigger()
    engine = scheduled.engine()
    until(lambda: any(run.handover.exists() for run in scheduled.workspace.runs()))
    scheduled.kill(engine)
    assert scheduled.tick() == 0
    tick, (run,) = scheduled.at(due), scheduled.workspace.runs()
    assert (tick.state, tick.attempt, tick.submission) == ("ran", 1, run.submission)
    assert attempts_of(run) == 1


@pytest.mark.slow
def test_a_job_that_outlives_its_engine_is_followed_to_its_end(scheduled: Scheduled) -> None:
    scheduled.keep("training.steps=3000", "training.checkpoint_every=100")
    due = scheduled.trigger()
    engine = scheduled.engine()
    run = scheduled.at_work(due)
    scheduled.kill(engine)
    assert scheduled.tick() == 0
    tick = scheduled.at(due)
    assert (tick.state, tick.attempt) == ("ran", 1)
    assert (jobs_of(run), attempts_of(run)) == (1, 1)


@pytest.mark.slow
def test_a_job_whose_engine_died_makes_room_for_a_later_tick(scheduled: Scheduled) -> None:
    scheduled.keep(*LONG, overlap="replace", retries={"count": 0})
    first = scheduled.trigger()
    engine = scheduled.engine()
    run = scheduled.at_work(first)
    scheduled.kill(engine)
    second = scheduled.trigger()
    scheduled.replace(first)
    scheduled.engine()
    later = scheduled.at_work(second)
    assert scheduled.at(first).state == "replaced"
    assert standing(run).state == "CANCELLED"
    assert later.submission != run.submission


@pytest.mark.slow
def test_a_head_that_is_started_again_loses_no_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    with ray_head() as own:
        monkeypatch.setenv("RAY_AUTH_TOKEN", own.token or "")
        scheduled = Scheduled(tmp_path, own)
        scheduled.keep("training.steps=5000", "training.checkpoint_every=100")
        try:
            due = scheduled.trigger()
            scheduled.engine()
            run = scheduled.at_work(due)
            own.stop()
            until(lambda: standing(run).has_ended)
            own.start()
            until(lambda: scheduled.at(due).state == "ran", seconds=240)
        finally:
            scheduled.stop_all()
        assert scheduled.at(due).failures == 0
        assert standing_there(run).state == "SUCCEEDED"
        assert "going on from the checkpoint" in (run.logs / "worker-0.log").read_text()
