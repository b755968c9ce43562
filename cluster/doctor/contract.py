"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.resources import Resources
from cluster.workspace import Workspace

Grade = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What a check says of one thing: what was found, and what to do next unless it is ok."""

    name: str
    grade: Grade
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", found)


def warning(name: str, found: str, advice: str) -> Finding:
    """Jobs run, but not as one would expect, or not for long."""
    return Finding(name, "warning", found, advice)


def problem(name: str, found: str, advice: str) -> Finding:
    """Some job cannot run, or something has been lost."""
    return Finding(name, "problem", found, advice)


def sized(count: int) -> str:
    """A number of bytes as a person reads it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


@dataclass(frozen=True)
class Installation:
    """What is looked at: a workspace, which may not be there, and the resources of known jobs.

    `jobs` gives these by their names; called by who needs them, since what reads a spec may be
    what is broken. `head` is the address of a cluster's head that is asked about, and whether it
    may be insecure.
    """

    workspace: Workspace
    jobs: Callable[[], Mapping[str, Resources]]
    head: tuple[str, bool] | None = None


Look = Callable[[Installation], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """A look at one area, which changes nothing and may take so many seconds.

    It imports what it looks at inside, since a package that is broken is one of the things to find.
    What it raises is a finding: a FactoryError by its two sentences.
    """

    area: str
    look: Look
    seconds: float = 15.0


@dataclass(frozen=True)
class Area:
    """What a check has found of its area."""

    name: str
    findings: tuple[Finding, ...]
