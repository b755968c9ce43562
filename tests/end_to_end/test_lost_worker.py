"""A worker or a node that is killed: the run goes on from its last checkpoint, to the same last
bit."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from aigc.data.batches import Batch
from aigc.data.importers import import_dataset
from aigc.data.manifest import Shard
from aigc.training.loop import Meter, _Steps
from aigc.training.world import World
from cluster.commits import commit_shard
from cluster.errors import WorkerLost
from cluster.local import LocalRay
from cluster.places import Here, Worker
from cluster.resources import Resources
from cluster.tasks import Input, Output, Task
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import execute
from jobs.session import Session, open_session
from jobs.spec import load
from jobs.specs import SPECS
from jobs.submission import Submission, prepare

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = (
    "training.report_every=4",
    "training.checkpoint_every=5",
    "evaluation.metrics=[]",
    "registry={model: tiny}",
)
KILLED_AT = 13
"""Between a report, at 12, and the next checkpoint: steps 11 and 12 are repeated."""


class KillingRay(LocalRay):
    """A local Ray whose worker `rank` kills itself in a step, until it has left `times` marks."""

    with_its_node = False

    def __init__(self, scratch: Path, marks: Path, rank: int, times: int) -> None:
        super().__init__(scratch)
        self._marks, self._rank, self._times = marks, rank, times

    def train(self, worker: Worker, resources: Resources) -> None:
        killed = mortal(worker, self._marks, self._rank, self._times, self.with_its_node)
        super().train(killed, resources)


class KillingCluster(KillingRay):
    """Three nodes of one CPU, each a Ray of its own; the worker kills its node's first process."""

    with_its_node = True

    def __enter__(self) -> Self:
        self._nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(3):
            self._nodes.add_node(num_cpus=1)
        ray.init(self._nodes.address, log_to_driver=False, logging_level=logging.ERROR)
        return self

    def __exit__(self, *exception: object) -> None:
        ray.shutdown()
        self._nodes.shutdown()
        del self._nodes
        with warnings.catch_warnings():
            # Ray leaves the processes that it has ended to nobody.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def mortal(worker: Worker, marks: Path, rank: int, times: int, with_its_node: bool) -> Worker:
    """`worker`, killed by SIGKILL. Nested, so that Ray sends it by value."""

    def run(world: World) -> None:
        first, steps = 10 if list(marks.iterdir()) else 0, [0]

        taken = _Steps.take

        def take(self: _Steps, batch: Batch, meter: Meter) -> None:
            steps[0] += 1
            left = len(list(marks.iterdir()))
            if world.rank == rank and first + steps[0] == KILLED_AT and left < times:
                (marks / f"{left}").touch()
                os.kill(os.getppid() if with_its_node else os.getpid(), signal.SIGKILL)
                signal.pause()
            taken(self, batch, meter)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_Steps, "take", take)
            worker(world)

    return run


def opened(root: Path) -> tuple[Session, Submission]:
    workspace = Workspace.at(root)
    import_dataset(workspace.datasets, "digits")
    session = open_session(workspace, "local", Reporter())
    return session, prepare(load(SPECS / "tiny" / "vae.yaml", SETTINGS), session)


def killing(session: Session, marks: Path, rank: int, times: int) -> Session:
    marks.mkdir()
    place = KillingRay(session.workspace.root / "ray", marks, rank, times)
    return replace(session, place=place)


def weights(submission: Submission) -> dict[str, torch.Tensor]:
    return load_file(submission.run.model / "tensors.safetensors")


def statuses(session: Session) -> list[str]:
    return [run.info.status for run in session.tracking.client.search_runs(["1"])]


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that gives up on a silent node after seconds, instead of half a minute."""
    for name, value in {"period": 500, "timeout": 1000, "failure_threshold": 3}.items():
        unit = "" if name == "failure_threshold" else "_ms"
        monkeypatch.setenv(f"RAY_health_check_{name}{unit}", str(value))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Submission:
    """The same training, in which nothing happens."""
    session, submission = opened(tmp_path_factory.mktemp("undisturbed"))
    with session.place:
        execute(submission, session)
    return submission


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_changes_nothing_but_the_time(
    rank: int, undisturbed: Submission, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session, submission = opened(tmp_path / "workspace")
    session = killing(session, tmp_path / "marks", rank, times=1)
    with session.place:
        outcome = execute(submission, session)

    assert len(list((tmp_path / "marks").iterdir())) == 1
    assert caplog.messages.count("a worker was lost; going on from the last checkpoint") == 1
    assert statuses(session) == ["FINISHED"]
    lines = [json.loads(line) for line in submission.run.journal.read_text().splitlines()]
    assert [line["step"] for line in lines if "figures" in line] == [4, 8, 12, 16, 20]
    assert [line["step"] for line in lines if "picture" in line] == [0, 10, 20]
    history = session.tracking.client.get_metric_history(outcome["run_id"], "autoencoder/loss")
    assert [point.step for point in history] == [4, 8, 12, 16, 20]

    expected, found = weights(undisturbed), weights(submission)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_losing_workers_too_often_ends_in_a_sentence_and_can_be_gone_on_from(
    undisturbed: Submission, tmp_path: Path
) -> None:
    session, submission = opened(tmp_path / "workspace")
    unlucky = killing(session, tmp_path / "marks", rank=1, times=2)
    with unlucky.place, pytest.raises(WorkerLost, match="workers were lost too often"):
        execute(submission, unlucky)
    assert statuses(session) == ["FAILED"]
    assert submission.outcome(session) is None

    with session.place:
        execute(submission, session)
    assert statuses(session) == ["FINISHED"]
    expected, found = weights(undisturbed), weights(submission)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.usefixtures("prompt")
def test_a_killed_node_is_done_without(undisturbed: Submission, tmp_path: Path) -> None:
    session, submission = opened(tmp_path / "workspace")
    (tmp_path / "marks").mkdir()
    place = KillingCluster(session.workspace.root / "ray", tmp_path / "marks", rank=1, times=1)
    with place:
        execute(submission, replace(session, place=place))
        nodes = [node["Alive"] for node in ray.nodes()]

    assert sorted(nodes) == [False, True, True, True]
    assert statuses(session) == ["FINISHED"]
    expected, found = weights(undisturbed), weights(submission)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


class KillingNight(LocalRay):
    """A local Ray on which the first worker that is about to write a shard kills itself."""

    def map(
        self, task: Task[Input, Output], inputs: Sequence[Input], resources: Resources
    ) -> Iterator[Output]:
        killed = self._scratch.parent / "killed"

        def die_once(*arguments: Any) -> Shard:
            if not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return commit_shard(*arguments)

        def run(some: Iterator[Input]) -> Iterator[Output]:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("cluster.generation.commit_shard", die_once)
                yield from task(some)

        return super().map(run, inputs, resources)


def test_a_night_names_the_worker_that_it_lost(tmp_path: Path) -> None:
    session, submission = opened(tmp_path / "workspace")
    here = replace(session, place=Here())
    execute(submission, here)
    spec = load(
        SPECS / "tiny" / "generate.yaml", ("model=tiny@1", "evaluation.metrics=[]", "gates={}")
    )
    night = prepare(spec, session)
    place = KillingNight(session.workspace.root / "ray")
    with place:
        outcome = execute(night, replace(session, place=place))

    report = json.loads(Path(outcome["report"]).with_name("report.json").read_text())
    (incident,) = report["incidents"]
    assert (incident["what"], incident["count"]) == ("a worker was lost", 1)
    assert "fill shard" in incident["said"]
    assert outcome["published"] is True
    assert not night.run.begun.exists()
