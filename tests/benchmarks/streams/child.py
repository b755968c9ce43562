"""Running a module of this folder in a process of its own, and what it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from harness import ROOT

Outcome = dict[str, float]

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITDATA_DISABLE_VERSION_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}
"""One thread a process, nobody phones home, and freed memory stays with its process: who gets it
back from the system, and pays as much again for the page faults, is otherwise luck."""
PATIENCE_SECONDS = 300
WIDTH = 160


class Failed(Exception):
    """A process that ended without an outcome; its last words."""


def run(module: str, *arguments: object) -> Outcome:
    """What `python -m module arguments…` prints as its last line, JSON. Raises Failed."""
    paths = [str(Path(__file__).parents[1]), str(ROOT)]
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"nothing after {PATIENCE_SECONDS} seconds") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(words[-1][:WIDTH])
    lines = done.stdout.strip().splitlines()
    outcome: Outcome = json.loads(lines[-1]) if lines else {}
    return outcome
