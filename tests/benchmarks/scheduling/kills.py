"""The pace at which engines that are killed get through their ticks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import killing
from harness import table

from scheduling.installations import KINDS, Figures, Goals, installation

ENGINES, SCHEDULES = 8, 20


def kills(many: int, figures: Figures, goals: Goals) -> None:
    """Eight engines on one store, of which one dies every 50 to 250 ms; ten ticks for each kill."""
    rows = []
    for kind in KINDS:
        ticks = 10 * many // SCHEDULES
        with installation(kind) as kept:
            done = kept.workspace.root.parent / "done"
            done.mkdir()
            numbers = [str(each) for each in (ENGINES, many, SCHEDULES, ticks, 7)]
            where = [str(kept.workspace.root), str(done)]
            command = [sys.executable, str(Path(killing.__file__)), *where, *numbers]
            counted = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            ran = sum(each.state == "ran" for each in kept.ticks.history())
            once = len(list(done.glob("*.done")))
        seconds = counted["seconds"]
        rows.append((kind, counted["killed"], ran, seconds, ran / seconds, many / seconds))
        figures[f"killed, {kind}, ticks/s"] = round(ran / seconds, 1)
        figures[f"killed, {kind}, kills/s"] = round(many / seconds, 2)
        goals[f"ticks that ran and were done once, {kind}"] = (min(ran, once), ticks * SCHEDULES)
    table((f"{ENGINES} engines", "killed", "ran", "seconds", "ticks/s", "kills/s"), rows)
