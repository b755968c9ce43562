"""The machine: processors, memory, shared memory, open files."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from cluster.doctor.contract import Finding, Installation, ok, problem, warning

GIBIBYTE = 2**30
SHARED = Path("/dev/shm")
GROUP = Path("/sys/fs/cgroup")
"""What a container is limited by, in version 2 of control groups."""
FEWEST_FILES, ENOUGH_FILES = 1024, 4096


def look(installation: Installation) -> Iterator[Finding]:
    """What this process may use of the machine."""
    allowed = len(os.sched_getaffinity(0))
    yield judge_processors(allowed, os.cpu_count() or allowed, quota(GROUP / "cpu.max"))
    memory = psutil.virtual_memory()
    yield judge_memory(memory.available, memory.total, limit(GROUP / "memory.max"))
    if SHARED.is_dir():
        disk = os.statvfs(SHARED)
        yield judge_shared(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
    yield judge_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))


def quota(file: Path) -> float | None:
    """How many processors' time a control group has; None without a limit."""
    try:
        most, period = file.read_text().split()
        return int(most) / int(period)
    except (OSError, ValueError):
        return None


def limit(file: Path) -> int | None:
    """How many bytes a control group has; None without a limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def judge_processors(allowed: int, there: int, quota: float | None) -> Finding:
    """Ray starts as many workers as processors may be used, whatever time they are given."""
    found = f"{allowed} of {there} may be used" if allowed < there else f"{there}, all of them ours"
    if quota is not None and quota < allowed:
        found += f", with the time of {quota:g}"
        advice = f"Give the container {allowed} processors, or ask for {max(1, int(quota))} workers"
        return warning("processors", found, advice)
    return ok("processors", found)


def judge_memory(available: int, total: int, limit: int | None) -> Finding:
    """A worker with torch takes half a gigabyte before it computes anything."""
    found = f"{available / GIBIBYTE:.1f} of {total / GIBIBYTE:.1f} GiB are available"
    least = available
    if limit is not None and limit < total:
        found += f", and {limit / GIBIBYTE:.1f} at most for this container"
        least = min(available, limit)
    if least < GIBIBYTE:
        return problem("memory", found, "End what uses it, or use a larger machine")
    if least < 4 * GIBIBYTE:
        return warning("memory", found, "Ask for few workers, or use a larger machine")
    return ok("memory", found)


def judge_shared(free: int, total: int) -> Finding:
    """Where Ray keeps objects, and workers on one machine meet."""
    found = f"{free / GIBIBYTE:.1f} of {total / GIBIBYTE:.1f} GiB of {SHARED} are free"
    if free < GIBIBYTE:
        advice = "In a container: --shm-size=4g; elsewhere remove what others have left there"
        return warning("shared memory", found, advice)
    return ok("shared memory", found)


def judge_open_files(soft: int, hard: int) -> Finding:
    """Ray raises the soft limit as far as the hard one lets it."""
    endless = hard == resource.RLIM_INFINITY
    most = soft if endless else hard
    found = f"{soft:,} now, {'any number' if endless else f'{hard:,}'} at most"
    advice = f"ulimit -Hn {ENOUGH_FILES}, as root, or LimitNOFILE of the service"
    if most < FEWEST_FILES:
        return problem("open files", found, advice)
    if most < ENOUGH_FILES:
        return warning("open files", found, advice)
    return ok("open files", found)
