"""How late a real `aigc schedule serve` begins ticks that are due in the same minute."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness import ROOT, median, table

from scheduling.installations import KINDS, Figures, Goals, Installation, asked, installation, keep

PATIENCE_SECONDS = 240


def lateness(together: int, minutes: int, figures: Figures, goals: Goals) -> None:
    """So many schedules that are due every minute, for as many minutes, on both stores.

    Each job is a real `aigc submit` that finds its dataset gone. From when a tick was due until it
    was claimed, just before its process begins.
    """
    rows = []
    for kind in KINDS:
        with installation(kind) as kept:
            keep(kept, together, asked("* * * * *", overlap="allow"))
            with serve(kept, together * minutes):
                late = begun(kept, together * minutes)
        rows.append((kind, len(late), median(late), late[len(late) * 95 // 100], late[-1]))
        figures[f"lateness, {kind}, median s"] = round(median(late), 3)
        figures[f"lateness, {kind}, longest s"] = round(late[-1], 3)
        goals[f"1 s over the median lateness, {kind}"] = (1 / median(late), 1.0)
    table((f"{together} due each minute", "ticks", "late s, median", "95 %", "longest"), rows)


@contextmanager
def serve(kept: Installation, at_most: int) -> Iterator[None]:
    """The command, until it is told to end."""
    where = ["--workspace", str(kept.workspace.root)]
    command = ["schedule", "serve", "--on", "here", "--at-most", str(min(at_most, 1000))]
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", *where, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.terminate()


def begun(kept: Installation, count: int) -> list[float]:
    """Seconds from when the first `count` ticks were due until they began, ascending.

    Waits until all of them have ended.
    """
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = sorted(kept.ticks.history(), key=lambda tick: tick.due)[:count]
        ended = [tick for tick in found if tick.started and tick.ended]
        late = [(tick.started - tick.due).total_seconds() for tick in ended if tick.started]
        if len(late) == count:
            return sorted(late)
        if time.monotonic() > patience:
            raise SystemExit(f"after {PATIENCE_SECONDS} s only {len(late)} ticks have ended")
        time.sleep(1)
