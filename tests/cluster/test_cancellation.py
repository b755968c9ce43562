"""How a submission that is asked to end has left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from cluster.cancellation import ask, see_off
from cluster.submissions import standing
from cluster.workspace import RunFolder, Workspace

HOLDING = """
import json, os, pathlib, sys, time
from cluster.workspace import RunFolder
run = RunFolder(pathlib.Path(sys.argv[1]))
with run.locked():
    run.outbox.write_text(json.dumps({"time": 1, "begin": {}}) + "\\n")
    print("held", flush=True)
    while sys.argv[2] == "stays" or not run.cancel.exists():
        time.sleep(0.02)
    if sys.argv[2] == "is done":
        with run.outbox.open("a") as outbox:
            print(json.dumps({"time": 2, "end": "FINISHED"}), file=outbox)
    os._exit(1)
"""


@pytest.fixture
def run(workspace: Workspace, request: pytest.FixtureRequest) -> Iterator[RunFolder]:
    """A submission that a process holds, which does what the test says when it is asked to end."""
    run = workspace.run("night-1")
    command = [sys.executable, "-c", HOLDING, str(run.path), request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        yield run
        child.kill()


@pytest.mark.parametrize(
    ("run", "grace", "how", "state"),
    [
        ("stays", 0.2, "forced", "INTERRUPTED"),
        ("dies", 60, "gone", "INTERRUPTED"),
        ("is done", 60, "too late", "SUCCEEDED"),
    ],
    indirect=["run"],
)
def test_how_it_has_left_is_told_apart(run: RunFolder, grace: float, how: str, state: str) -> None:
    assert see_off(run, ask(run), grace) == how
    assert standing(run).state == state
