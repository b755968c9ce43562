"""What the record costs: points into a real MLflow server on PostgreSQL, and a training beside it.

Protocol: RESULTS.md beside this file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import torch
from bench_loop import recipe
from harness import conclude, machine, median, table
from servers import MlflowServer, mlflow_server, postgres

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.stream import Stream
from aigc.models import build
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World
from cluster.contact import delivering
from cluster.journal import Journal
from cluster.record import begin_run
from cluster.tracking import Tracking
from cluster.workspace import RunFolder, Workspace
from jobs.specs import SPECS

DATASET = "mnist-5k"
RECIPE = SPECS / "training" / "digits-gan.yaml"
FIGURES = [f"phase{number}/loss" for number in range(10)]
"""The names of a report: ten points, as a GAN with its accuracies and norms has."""
Figures = dict[str, object]
Goals = dict[str, tuple[float | None, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000, help="to drain into PostgreSQL")
    parser.add_argument("--pairs", type=int, default=30, help="turns with and without a record")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    where, figures, goals = machine(), Figures(), Goals()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        journalling(root, figures, goals)
        fresh_stores(root, figures, goals)
        with _server(root) as server:
            workspace = Workspace.at(root / "workspace")
            draining(workspace, server, chosen.points, figures, goals)
            training(workspace, chosen.pairs, figures, goals)
    return conclude("tracking", where, figures, goals)


@contextmanager
def _server(root: Path) -> Iterator[MlflowServer]:
    """The tests' MLflow server, named in the environment."""
    with (
        postgres() as database,
        mlflow_server(database, root / "server", authentication=True) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("MLFLOW_TRACKING_URI", server.uri)
        environment.setenv("MLFLOW_TRACKING_USERNAME", server.username or "")
        environment.setenv("MLFLOW_TRACKING_PASSWORD", server.password or "")
        yield server


def journalling(root: Path, figures: Figures, goals: Goals) -> None:
    """10,000 points into a journal, ten a report, and one a report."""
    seconds = {
        count: median([_journalled(root / f"{count}-{turn}", 10_000, count) for turn in range(9)])
        for count in (10, 1)
    }
    figures |= {"journal_seconds": seconds}
    goals["0.1 s / 10,000 points journalled"] = (0.1 / seconds[10], 1.0)
    table(("points a report", "seconds for 10,000"), list(seconds.items()))


def fresh_stores(root: Path, figures: Figures, goals: Goals) -> None:
    """An embedded store from nothing to its first answer: the first one, and those after it."""
    seconds = list[float]()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(root / "cache"))
        for number in range(4):
            workspace = Workspace.at(root / f"fresh-{number}")
            started = time.perf_counter()
            Tracking(workspace).client.search_experiments(max_results=1)
            seconds.append(time.perf_counter() - started)
    first, later = seconds[0], median(seconds[1:])
    figures |= {"first_store_seconds": first, "later_store_seconds": later}
    goals["2 s / a later embedded store"] = (2.0 / later, 1.0)
    table(("embedded store", "seconds"), [("the first", first), ("later ones", later)])


def draining(
    workspace: Workspace, server: MlflowServer, points: int, figures: Figures, goals: Goals
) -> None:
    """A journal that was there before, as after an outage; counted by PostgreSQL itself."""
    tracked = begin_run(Tracking(workspace), "drained", "drained", {})
    _journalled(tracked.folder.path, points, len(FIGURES))
    before, started = _cpu_seconds(server), time.perf_counter()
    tracked.settle()
    seconds = time.perf_counter() - started
    cpu = [after - spent for after, spent in zip(_cpu_seconds(server), before, strict=True)]
    counted = server.postgres.query(
        f"SELECT count(*) FROM metrics WHERE run_uuid = '{tracked.run_id}'"
    )[0][0]
    assert counted == points, f"{counted} of {points} points arrived"
    per_million = seconds * 1_000_000 / points
    figures |= {"points": points, "drain_seconds": seconds, "drain_cpu_seconds": cpu}
    figures |= {"journal_bytes": tracked.folder.journal.stat().st_size}
    goals["300 s / 1,000,000 points drained"] = (300 / per_million, 1.0)
    row = (f"{points:,}", seconds, points / seconds, *cpu)
    columns = ("seconds", "points/s", "CPU-s of the drainer", "of MLflow", "of PostgreSQL")
    table(("points drained", *columns), [row])


def training(workspace: Workspace, pairs: int, figures: Figures, goals: Goals) -> None:
    """A GAN's loop by turns with its record and without, in this process; and what a report of
    every step costs the step."""
    dataset, _ = import_dataset(workspace.datasets, DATASET)
    loop = Loop(dataset)
    steps = 4 * loop.config.report_every
    # A training begins once and ends once: neither belongs to a turn.
    tracked = begin_run(Tracking(workspace), "by-turns", "by-turns", {})
    tracked.settle()
    journal = Journal(tracked.folder.journal)

    def recorded() -> Turn:
        with delivering(tracked):
            return loop.go_on(steps, journal.report)

    def plain() -> Turn:
        return loop.go_on(steps, _ignore)

    loop.go_on(steps, _ignore)
    turns = [_pair(plain, recorded, swapped=bool(number % 2)) for number in range(pairs)]
    waits = list[float]()
    with delivering(tracked):
        loop.go_on(16 * steps, _timed(journal, waits), report_every=1)
    journal.close()
    tracked.settle()
    ratio = median([without.seconds / beside.seconds for without, beside in turns])
    cpu_ratio = median([without.cpu / beside.cpu for without, beside in turns])
    share = median([(beside.others - without.others) / beside.seconds for without, beside in turns])
    typical, slow = (statistics.quantiles(waits, n=100)[at] * 1000 for at in (49, 98))
    figures |= {"pairs": pairs, "training_ratio": ratio, "training_cpu_ratio": cpu_ratio}
    figures |= {"record_threads_share": share}
    figures |= {"report_ms": typical, "report_ms_99": slow, "report_ms_worst": max(waits) * 1000}
    goals["throughput with / without a record"] = (ratio, 0.99)
    goals["5 ms / the slowest report but 1 %"] = (5 / slow, 1.0)
    columns = ("with / without", "CPU", "its threads", "ms a report", "99 % below", "slowest")
    row = (f"{pairs} pairs of turns", ratio, cpu_ratio, share, typical, slow, max(waits) * 1000)
    table(("hinge GAN", *columns), [row])


Report = Callable[[int, dict[str, float]], None]


class Turn(NamedTuple):
    """Seconds of a turn, of the training's thread on a processor, and of the other threads."""

    seconds: float
    cpu: float
    others: float


class Loop:
    """One training that goes on turn by turn, so that turns differ in nothing but their record."""

    def __init__(self, dataset: Dataset) -> None:
        spec = recipe(RECIPE)
        self.config = spec.training
        self._state = TrainingState(build(spec.model, dataset.manifest.layout, 0))
        self._stream = Stream(dataset, "train", spec.training.batch_size, 0)

    def go_on(self, steps: int, report: Report, report_every: int | None = None) -> Turn:
        """Train for so many more steps."""
        every = report_every or self.config.report_every
        update = {"steps": self._state.step + steps, "report_every": every}
        runtime = Runtime(World(), report, _ignore, _ignore)
        began = time.perf_counter(), time.thread_time(), time.process_time()
        train(self._state, self._stream, self.config.model_copy(update=update), runtime)
        ended = time.perf_counter(), time.thread_time(), time.process_time()
        seconds, thread, process = (b - a for a, b in zip(began, ended, strict=True))
        return Turn(seconds, thread, process - thread)


def _pair(
    plain: Callable[[], Turn], recorded: Callable[[], Turn], swapped: bool
) -> tuple[Turn, Turn]:
    """A turn of each, without and with, in either order: a machine that slows down favours none."""
    if swapped:
        beside = recorded()
        return plain(), beside
    return plain(), recorded()


def _timed(journal: Journal, waits: list[float]) -> Report:
    def report(step: int, figures: dict[str, float]) -> None:
        started = time.perf_counter()
        journal.report(step, figures)
        waits.append(time.perf_counter() - started)

    return report


def _journalled(folder: Path, points: int, a_report: int) -> float:
    """Seconds that a new journal of so many points took."""
    names = FIGURES[:a_report]
    journal = Journal(RunFolder(folder).journal)
    started = time.perf_counter()
    for step in range(points // a_report):
        journal.report(step, {name: 1 / (step + 1) for name in names})
    seconds = time.perf_counter() - started
    journal.close()
    return seconds


def _cpu_seconds(server: MlflowServer) -> list[float]:
    """Of this process, of MLflow's and of PostgreSQL's so far."""
    spent = [time.process_time()]
    for pid in (server.pid, server.postgres.pid):
        process = psutil.Process(pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        spent.append(sum(each.user + each.system for each in times))
    return spent


def _ignore(*_: object) -> None: ...


if __name__ == "__main__":
    sys.exit(main())
