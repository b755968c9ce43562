"""Trainings that are killed or asked to stop go on by the same command, to the same last bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aigc.data.importers import import_dataset
from aigc.training.loop import CLOCKED
from cluster.system import SYSTEM
from cluster.workspace import Workspace
from jobs.cli import main
from jobs.specs import SPECS

STEPS, REPORT_EVERY = 700, 7
SETTINGS = (
    f"training.steps={STEPS}",
    f"training.report_every={REPORT_EVERY}",
    "training.checkpoint_every=60",
    "training.sample_every=300",
    "resources.workers=1",
    "evaluation.metrics=[]",
    "registry=null",
)
STOPPED = 101
MEASURED = (CLOCKED, SYSTEM)
"""The figures that no two runs have in common."""
pytestmark = pytest.mark.timeout(240)


class Training:
    """One submission in a workspace of its own, tried by one process after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self, place: str = "here", *more: str) -> subprocess.Popen[str]:
        settings = [word for each in (*SETTINGS, *more) for word in ("--set", each)]
        words = ["--workspace", str(self.root), "submit", str(SPECS / "tiny" / "vae.yaml")]
        return subprocess.Popen(
            [sys.executable, "-m", "jobs", *words, "--yes", "--on", place, *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def finish(self, place: str = "here", *more: str) -> None:
        self.end(self.start(place, *more), 0)

    def end(self, child: subprocess.Popen[str], code: int) -> str:
        """What the child says; it has to end with that code."""
        said = child.communicate(timeout=200)[1]
        assert child.returncode == code, said
        return said

    def signalled(self, sent: signal.Signals, step: int, place: str = "here", *more: str) -> Any:
        """An attempt that gets a signal once it has reported that step; None if it was too late."""
        child = self.start(place, *more)
        while child.poll() is None and self.reported() < step:
            time.sleep(0.001)
        if child.poll() is not None:
            self.end(child, 0)
            return None
        child.send_signal(sent)
        return child

    @property
    def run(self) -> Path:
        (folder,) = (self.root / "runs").iterdir()
        return folder

    def lines(self) -> list[dict[str, Any]]:
        path = self.run / "metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def reported(self) -> int:
        """The last step that is in the journal."""
        if not (self.root / "runs").exists() or not any((self.root / "runs").iterdir()):
            return 0
        return max((line["step"] for line in self.lines() if "figures" in line), default=0)

    def figures(self) -> list[tuple[int, dict[str, float]]]:
        """All reports but for what the clock and the machine say."""
        return [
            (
                line["step"],
                {k: v for k, v in line["figures"].items() if not k.startswith(MEASURED)},
            )
            for line in self.lines()
            if "figures" in line
        ]

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.run / "model" / "tensors.safetensors")

    def ask(self, query: str) -> list[Any]:
        """One column of MLflow's own store."""
        with closing(sqlite3.connect(self.root / "mlflow.db")) as store:
            return [row[0] for row in store.execute(query)]

    def statuses(self) -> list[str]:
        return self.ask("select status from runs")


def prepared(root: Path) -> Training:
    import_dataset(Workspace.at(root).datasets, "digits")
    return Training(root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = prepared(tmp_path_factory.mktemp("undisturbed"))
    training.finish()
    return training


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return prepared(tmp_path / "workspace")


def require_equal(training: Training, undisturbed: Training) -> None:
    """The same weights, the same figures, each once, and one MLflow run that has them all."""
    expected, found = undisturbed.weights(), training.weights()
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert training.figures() == undisturbed.figures()
    assert training.statuses() == ["FINISHED"]
    steps = "select step from metrics where key = 'autoencoder/loss' order by step"
    assert training.ask(steps) == list(range(REPORT_EVERY, STEPS + 1, REPORT_EVERY))


def kill_until_done(training: Training, chance: random.Random, most: int) -> int:
    """How often it was killed, up to `most` times, before the last attempt."""
    kills = 0
    for _ in range(most):
        step = min(training.reported() + chance.randint(1, 2 * STEPS // most), STEPS - 1)
        child = training.signalled(signal.SIGKILL, step)
        if child is None:
            return kills
        training.end(child, -signal.SIGKILL)
        kills += 1
    training.finish()
    return kills


def test_killed_at_random_steps_it_ends_with_the_same_bits(
    training: Training, undisturbed: Training
) -> None:
    assert kill_until_done(training, random.Random(4), most=2) == 2
    require_equal(training, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_fifty_kills_over_ten_runs(tmp_path: Path, undisturbed: Training) -> None:
    kills = 0
    for number in range(10):
        training = prepared(tmp_path / str(number))
        kills += kill_until_done(training, random.Random(number), most=7)
        require_equal(training, undisturbed)
    assert kills >= 50


def test_asked_to_stop_it_saves_and_another_place_goes_on(
    training: Training, undisturbed: Training, tmp_path: Path
) -> None:
    said = training.end(training.signalled(signal.SIGTERM, 30), STOPPED)
    assert "stopped at step" in said
    assert "Submit the same spec again" in said
    assert training.statuses() == ["KILLED"]
    newest = max((training.run / "checkpoints").iterdir())
    assert training.reported() <= int(newest.name[5:]) < training.reported() + REPORT_EVERY

    elsewhere = Training(tmp_path / "elsewhere")
    shutil.copytree(training.root, elsewhere.root)
    shutil.rmtree(training.root)
    elsewhere.finish()
    require_equal(elsewhere, undisturbed)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(signal.SIGTERM, STOPPED, marks=pytest.mark.slow),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_driver_on_ray_that_is_stopped_or_killed(
    training: Training, undisturbed: Training, sent: signal.Signals, code: int
) -> None:
    training.end(training.signalled(sent, 30, "local"), code)
    # What a killed driver could not say any more.
    assert main(["--workspace", str(training.root), "track", "sync"]) == 0
    assert training.statuses() == ["KILLED"]
    training.finish()
    require_equal(training, undisturbed)


@pytest.mark.ray
@pytest.mark.slow
def test_an_elastic_training_goes_on_with_another_number_of_workers(
    training: Training, undisturbed: Training
) -> None:
    """Begun by one worker; on Ray it gets two. Sums in another order differ in the last bits."""
    elastic = "resources.workers=1..2"
    child = training.signalled(signal.SIGTERM, 30, "here", elastic)
    training.end(child, STOPPED)
    training.finish("local", elastic)

    assert training.statuses() == ["FINISHED"]
    assert [step for step, _ in training.figures()] == [step for step, _ in undisturbed.figures()]
    expected, found = undisturbed.weights(), training.weights()
    # A step of other data would move them by far more.
    assert all(torch.allclose(expected[name], found[name], atol=0.02) for name in expected)
