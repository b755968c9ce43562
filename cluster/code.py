"""Which version of this program is running: workers and driver must run the same."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from cluster.errors import CodeDiffers

CODE_VARIABLE = "AIGC_CODE"
"""In it a process is told which code it is to run."""

PACKAGES = ("aigc", "cluster", "jobs")


@functools.cache
def code_digest() -> str:
    """The SHA-256 of the three packages' Python files, by path and content."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def require_same_code(expected: str | None) -> None:
    """Raise CodeDiffers if other code was expected than this process runs."""
    if expected is not None and code_digest() != expected:
        raise CodeDiffers(
            f"this process runs code {code_digest()[:12]}, the one that asks {expected[:12]}",
            "Install the same version of aigc-factory on every node",
        )
