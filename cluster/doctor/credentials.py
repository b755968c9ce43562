"""Files that hold secrets: whether others can read them. What is in them is not looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from cluster.doctor.contract import Finding, Installation, ok, problem

FILES = {
    "MLflow": "~/.mlflow/credentials",
    "PostgreSQL": "~/.pgpass",
    "Ray": "~/.ray/auth_token",
}
"""Where each looks for its secret; a variable can name another place."""
VARIABLES = {"PostgreSQL": "PGPASSFILE", "Ray": "RAY_AUTH_TOKEN_PATH"}


def look(installation: Installation) -> Iterator[Finding]:
    """One finding for each file that is there, or one that there is none."""
    found = [
        judge_mode(owner, path, stat.S_IMODE(path.stat().st_mode))
        for owner, path in places(os.environ).items()
        if path.is_file()
    ]
    yield from found or [ok("files", "no file holds a secret")]


def places(environment: Mapping[str, str]) -> dict[str, Path]:
    """The file of each owner of a secret."""
    named = {owner: environment.get(VARIABLES.get(owner, ""), "") for owner in FILES}
    return {owner: Path(named[owner] or file).expanduser() for owner, file in FILES.items()}


def judge_mode(owner: str, path: Path, mode: int) -> Finding:
    """Whether only its owner can read a file."""
    if mode & 0o077:
        found = f"{path} can be read by other users of this machine"
        return problem(owner, found, f"chmod 600 {path}, and change the secret if it was seen")
    return ok(owner, f"only you can read {path}")
