"""What the benchmarks share: where they ran, how tables look, and the last line."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]

Goals = Mapping[str, tuple[float | None, float]]
"""What was reached and what was asked for, by the goal's name; None is a goal that was not run."""


def machine() -> str:
    """The processor, how many cores we may use, its memory, and the load when this was asked."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
        f"torch {torch.__version__}, load {load:.1f}"
    )


def commit() -> str:
    """The commit that is checked out, with `+changes` when the tree differs from it."""
    found = _git("rev-parse", "--short", "HEAD")
    return f"{found}+changes" if found and _git("status", "--porcelain") else found or "unknown"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below a header, numbers to four digits, columns as wide as they need."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first, *(cell.strip().rjust(w) for cell, w in _with(others, widths))]))
    print(flush=True)


def conclude(bench: str, machine: str, figures: Mapping[str, object], goals: Goals) -> int:
    """Print the goals and, as the last line, everything as one JSON object; the exit code.

    Each goal is a figure that must reach at least what was asked for. `machine` is asked for
    before the work, because afterwards the load is the benchmark's own.
    """
    outcome = {
        name: {"reached": reached, "at_least": asked} for name, (reached, asked) in goals.items()
    }
    met = {
        name: reached is not None and reached >= asked for name, (reached, asked) in goals.items()
    }
    rows = [(name, *outcome[name].values(), "yes" if met[name] else "NO") for name in goals]
    table(("goal", "reached", "at least", "holds"), rows)
    holds = all(met.values())
    print(
        json.dumps(
            {
                "bench": bench,
                "figures": figures,
                "goals": outcome,
                "holds": holds,
                "machine": machine,
                "commit": commit(),
            },
            ensure_ascii=False,
        )
    )
    return 0 if holds else 1


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def _with(cells: Sequence[str], widths: Sequence[int]) -> zip[tuple[str, int]]:
    return zip(cells, widths[1:], strict=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "–" if value is None else str(value)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()
