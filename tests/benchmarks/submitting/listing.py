"""What it costs to look at many submissions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import ROOT, median, table

from cluster.submissions import summaries
from cluster.workspace import RunFolder, Workspace

REPORTS = 20
"""Of each submission's journal."""
PARAMS = {f"training.field_{number}": "a value of it" for number in range(60)}
"""As many as a train spec has."""
ENDS = (
    *[("FINISHED", None)] * 90,
    *[("FAILED", "WorkerLost")] * 5,
    *[("KILLED", "Preempted")] * 3,
    *[(None, None)] * 2,
)
"""How a hundred submissions have ended: two of them without a word."""


Figures = dict[str, object]
Goals = dict[str, tuple[float | None, float]]


def listing(submissions: int, repeats: int, figures: Figures, goals: Goals) -> None:
    """The list of so many submissions, read and printed."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.at(folder)
        fill(workspace, submissions)
        seconds = {
            "all, read": timed(repeats, lambda: summaries(workspace)),
            "aigc job list": timed(repeats, lambda: command(workspace)),
            "aigc job list -o json": timed(repeats, lambda: command(workspace, "-o", "json")),
            "aigc job list --limit 20": timed(repeats, lambda: command(workspace, "--limit", "20")),
            "aigc --help": timed(repeats, lambda: command(workspace, "--help")),
        }
        assert len(summaries(workspace)) == submissions
    rows = [(name, median(each), min(each), max(each)) for name, each in seconds.items()]
    table((f"{submissions:,} submissions", "median s", "least", "most"), rows)
    figures |= {name: round(median(each), 4) for name, each in seconds.items()}
    for goal, name in (("read", "all, read"), ("listed by the command", "aigc job list")):
        reached = 0.5 * submissions / median(seconds[name])
        goals[f"submissions {goal} in half a second"] = (reached, 10_000.0)


def fill(workspace: Workspace, count: int) -> None:
    """Submissions as trainings leave them, and a handful that are open."""
    for number in range(count):
        status, error = ENDS[number % len(ENDS)]
        write(workspace.run(f"digits-vae-{number:010x}"), 1_764_000_000_000 + number, status, error)


def write(run: RunFolder, begun: int, status: str | None, error: str | None) -> None:
    """The files that are looked at, of about the size that they have."""
    run.path.mkdir(parents=True)
    tags = {"aigc.kind": "train", "aigc.code": "c" * 64, "aigc.steps": "2000"}
    begin = {"name": "digits-vae", "tags": tags, "parent": None, "store": "s" * 64}
    lines: list[dict[str, Any]] = [{"begin": begin}, {"tags": {"aigc.host": "a machine"}}]
    lines += [{"params": PARAMS}, {"attach": str(run.spec), "folder": None}]
    if status is not None:
        why = {"why": {"error": error, "said": "so it is"}} if error else {}
        lines.append({"end": status, "step": 100 * REPORTS, **why})
    append(run.outbox, [{"time": begun, **line} for line in lines])
    figures = {f"autoencoder/figure_{number}": 0.123456789 for number in range(12)}
    steps = range(100, 100 * (REPORTS + 1), 100)
    append(run.journal, [{"step": step, "time": begun, "figures": figures} for step in steps])
    run.lock.touch()


def append(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def command(workspace: Workspace, *words: str) -> None:
    """The command as a process, whose output goes nowhere."""
    job = ["--help"] if words == ("--help",) else ["job", "list", *words]
    subprocess.run(
        [sys.executable, "-m", "jobs", "--workspace", str(workspace.root), *job],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )


def timed(repeats: int, work: Callable[[], object]) -> list[float]:
    """Seconds of each repetition, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]
