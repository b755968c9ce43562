"""What a pass of an engine costs: with nothing due, with much due, and after ten years."""

from __future__ import annotations

import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

from harness import median, table
from trivial import Trivial

from cluster.schedules import Schedules
from jobs.schedule.decisions import pass_over
from jobs.schedule.engine import Engine
from scheduling.installations import (
    KINDS,
    Figures,
    Goals,
    Installation,
    asked,
    installation,
    keep,
    remember,
)

TEN_YEARS = timedelta(days=3653)
CURSORS = [
    (catch_up, cron)
    for catch_up in ("none", "latest", "all")
    for cron in ("* * * * *", "0 2 * * *")
]
ALL_AT_ONCE = 1000


def nothing_due(schedules: int, history: int, repeats: int, figures: Figures, goals: Goals) -> None:
    """Passes over many schedules and a long history, on both stores; and all due at once."""
    rows = []
    for kind in KINDS:
        with installation(kind) as kept:
            in_a_while = datetime.now(UTC) + timedelta(days=20)
            keep(kept, schedules, asked(f"0 0 {in_a_while.day} {in_a_while.month} *"))
            remember(kept, history, datetime.now(UTC))
            seconds = [one_pass(kept) for _ in range(repeats)]
        with installation(kind) as kept:
            keep(kept, ALL_AT_ONCE, asked("* * * * *"), datetime.now(UTC) - timedelta(minutes=2))
            began = time.perf_counter()
            engine(kept).decide()
            decided = time.perf_counter() - began
        rows.append((kind, median(seconds), min(seconds), max(seconds), decided))
        figures[f"pass with nothing due, {kind}, s"] = round(median(seconds), 4)
        figures[f"{ALL_AT_ONCE} due at once decided, {kind}, s"] = round(decided, 3)
        goals[f"passes/s over {schedules:,} schedules, {kind}"] = (1 / median(seconds), 1.0)
    many = f"{ALL_AT_ONCE:,} due at once, s"
    table((f"{schedules:,} schedules, {history:,} ticks", "pass s", "least", "most", many), rows)


def engine(kept: Installation) -> Engine:
    return Engine(kept.schedules, kept.ticks, Trivial(Path("/nowhere")), print)


def one_pass(kept: Installation) -> float:
    """Seconds of a pass from opening the store to its end."""
    began = time.perf_counter()
    engine(kept).run(threading.Event(), forever=False)
    return time.perf_counter() - began


def ten_years(figures: Figures, goals: Goals) -> None:
    """A cursor that is ten years old, for every way to catch up; each on a store of its own."""
    rows, longest, largest = [], 0.0, 0.0
    for kind in KINDS:
        for catch_up, cron in CURSORS:
            with installation(kind) as kept:
                schedule = asked(cron, catch_up=catch_up, catch_up_at_most=1000, deadline="7d")
                keep(kept, 2, schedule, datetime.now(UTC) - TEN_YEARS)
                seconds = clocked(kept.schedules, "s0")
                memory = traced(kept.schedules, "s1")
                recorded = kept.ticks.history("s0")
            rows.append((f"{kind}, {cron}, {catch_up}", seconds, memory, len(recorded)))
            longest, largest = max(longest, seconds), max(largest, memory)
    table(("a cursor ten years old", "seconds", "MiB at most", "rows"), rows)
    figures |= {"ten years, longest s": round(longest, 3), "ten years, MiB": round(largest, 1)}
    goals["ten years decided per second"] = (1 / longest, 1.0)
    goals["64 MiB over what ten years take"] = (64 / largest, 1.0)


def clocked(schedules: Schedules, name: str) -> float:
    """Seconds of one decision."""
    began = time.perf_counter()
    schedules.advance([name], pass_over)
    return time.perf_counter() - began


def traced(schedules: Schedules, name: str) -> float:
    """The MiB that Python's objects took at most for one."""
    tracemalloc.start()
    schedules.advance([name], pass_over)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
