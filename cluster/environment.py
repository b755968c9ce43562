"""What a run was made with: the commit of the code, the versions of all packages, the machine."""

from __future__ import annotations

import functools
import os
import platform
import re
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

from aigc import __version__
from cluster.code import PACKAGES, code_digest

ROOT = Path(__file__).parent.parent
DIRTY = "+changes"
COMMIT_VARIABLE = "AIGC_COMMIT"
"""In it a process is told what its code was made from, where git is not."""
ANSWER_SECONDS = 10.0
"""How long git, or the driver of a GPU, may take to answer."""


@dataclass(frozen=True)
class Commit:
    """The commit of a source tree; `dirty` when the packages in it are not as they are there."""

    sha: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.sha}{DIRTY if self.dirty else ''}"

    @classmethod
    def told(cls) -> Commit | None:
        """What this process was told."""
        told = os.environ.get(COMMIT_VARIABLE, "")
        return cls(told.removesuffix(DIRTY), told.endswith(DIRTY)) if told else None


def commit(root: Path = ROOT) -> Commit | None:
    """The commit of the source tree at `root`; None where git does not know these files.

    A package that is installed into an environment may lie in somebody else's checkout.
    """
    known = _git(root, "ls-files", "--error-unmatch", "--", *PACKAGES)
    sha = _git(root, "rev-parse", "--verify", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *PACKAGES)
    if known is None or sha is None or changed is None:
        return None
    return Commit(sha, bool(changed))


@functools.cache
def environment() -> dict[str, Any]:
    """This process's environment, as plain data. Bytes and counts are of the whole machine."""
    # The rest of this module is wanted also where torch is what is broken.
    import torch

    made_from = Commit.told() or commit()
    return {
        "aigc": __version__,
        "code": code_digest(),
        "commit": made_from.sha if made_from else None,
        "dirty": made_from.dirty if made_from else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": {"model": _processor(), "count": os.cpu_count()},
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
        "cuda": torch.version.cuda,
        "packages": packages(),
    }


def environment_tags(found: dict[str, Any]) -> dict[str, str]:
    """What of an environment one searches runs by; nothing for what it has not."""
    cards = Counter(gpu["name"] for gpu in found["gpus"])
    tags = {
        "aigc.host": found["host"],
        "aigc.cpu": f"{found['cpu']['count']} × {found['cpu']['model']}",
        "aigc.gpu": ", ".join(f"{count} × {name}" for name, count in cards.items()),
    }
    if found["commit"] is not None:
        tags["aigc.commit"] = tags["mlflow.source.git.commit"] = found["commit"]
        tags["aigc.dirty"] = str(found["dirty"]).lower()
    return {name: value for name, value in tags.items() if value}


def gpus() -> list[dict[str, Any]]:
    """Name, MiB of memory and driver of each GPU of NVIDIA's that is in the machine.

    torch would have to start CUDA for it, which a driver whose workers have the GPUs does not need.
    """
    asked = "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"
    rows = [line.split(", ") for line in (answer("nvidia-smi", *asked) or "").splitlines()]
    return [
        {
            "name": name,
            # One that shares the machine's memory says that it has none of its own: [N/A].
            "memory_mebibytes": int(memory) if memory.isdecimal() else None,
            "driver": driver,
        }
        for name, memory, driver in rows
    ]


def packages() -> dict[str, str]:
    """The version of each installed package, by its normalised name."""
    found = [
        (re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(), each.version)
        for each in distributions()
    ]
    # Of two with one name, Python imports the first.
    return dict(sorted(dict(reversed(found)).items()))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _git(root: Path, *arguments: str) -> str | None:
    # A hook of another repository, from which this may run, has that one in its environment. And
    # who only looks takes no lock.
    return answer("git", "-C", str(root), "--no-optional-locks", *arguments)


def answer(*command: str) -> str | None:
    """What a command prints; None if it fails, is not there or does not answer."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, env=own, text=True, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
