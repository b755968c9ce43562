"""How soon a training is at its first step: ours beside the smallest script for Ray Train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import ROOT, median, table

from aigc.data.importers import import_dataset
from cluster.workspace import Workspace
from jobs.specs import SPECS
from submitting.listing import Figures, Goals

WORKERS = 2
SETTINGS = (
    "training.steps=1",
    "training.report_every=1",
    f"resources.workers={WORKERS}",
    "evaluation.metrics=[]",
    "registry=null",
)
SMALLEST = Path(__file__).parent / "smallest_ray_train.py"


def starting(pairs: int, figures: Figures, goals: Goals) -> None:
    """From the command to the end of the first step, in turn, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace = Workspace.at(root / "workspace")
        import_dataset(workspace.datasets, "digits")
        turns = [(_smallest(root, number), _ours(workspace, number)) for number in range(pairs + 1)]
    # The first of each fills the caches of the disk.
    smallest, ours = (list(each) for each in zip(*turns[1:], strict=True))
    rows = [("smallest script", smallest), ("aigc submit --on local", ours)]
    table(
        ("until the first step", "median s", "least", "most"),
        [(name, median(each), min(each), max(each)) for name, each in rows],
    )
    ratio = median([a / b for a, b in zip(smallest, ours, strict=True)])
    figures |= {"start_seconds": median(ours), "smallest_start_seconds": median(smallest)}
    goals["start of the smallest Ray Train script / ours"] = (ratio, 1 / 1.3)


def _smallest(root: Path, number: int) -> float:
    said = root / f"smallest-{number}"
    # A Ray that is started without it makes a file with a token in the home folder.
    environment = {**os.environ, "HOME": str(root)}
    began = time.time()
    command = [sys.executable, str(SMALLEST), str(WORKERS), str(said)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return float(said.read_text()) - began


def _ours(workspace: Workspace, number: int) -> float:
    """By the time of the first report in the journal, which is that of the first step."""
    name = f"start-{number}"
    settings = [word for each in (*SETTINGS, f"name={name}") for word in ("--set", each)]
    command = [sys.executable, "-m", "jobs", "--workspace", str(workspace.root), "submit"]
    began = time.time()
    subprocess.run(
        [*command, str(SPECS / "tiny" / "vae.yaml"), "--yes", *settings],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    (run,) = (run for run in workspace.runs() if run.submission.startswith(name))
    reports = [json.loads(line) for line in run.journal.read_text().splitlines()]
    first = next(each for each in reports if each.get("step") == 1 and "figures" in each)
    return float(first["time"] / 1000 - began)
