"""The embedded MLflow store: SQLite in the workspace, a copy of an empty one of the same version.

MLflow's migrations cost about seven seconds and can be neither interrupted nor run twice side by
side: they are run once on a machine, in the user's cache folder.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.tracking import MlflowClient
from mlflow.version import VERSION

from aigc.errors import WorkspaceUnwritable
from cluster.locks import exclusive


def prepare_store(store: Path, artifacts: str) -> None:
    """Make the store if it is not there: whole or not at all, by one process at a time.

    `artifacts` is where its default experiment keeps them. Raises sqlite3.DatabaseError at once
    for a file that is no database, which MLflow would try for 100 seconds.
    """
    with exclusive(store.with_name(".store.lock")):
        if not store.exists():
            partial = _fresh(store)
            _copy_empty(partial)
            with closing(sqlite3.connect(partial)) as copied, copied:
                # It names the folder in which the empty one happened to be made.
                copied.execute("UPDATE experiments SET artifact_location = ?", (artifacts,))
            partial.rename(store)
        with closing(sqlite3.connect(store)) as opened:
            opened.execute("PRAGMA schema_version")


def empty_store() -> Path:
    """Where the empty store of this MLflow version is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "aigc" / f"mlflow-{VERSION}.db"


def _copy_empty(partial: Path) -> None:
    """An empty store at `partial`, made there where the cache folder cannot be written to."""
    kept = empty_store()
    try:
        with exclusive(kept.with_name(".store.lock")):
            if not _is_whole(kept):
                fresh = _fresh(kept)
                _migrate(fresh)
                fresh.replace(kept)
            with closing(sqlite3.connect(kept)) as source, closing(sqlite3.connect(partial)) as to:
                source.backup(to)
    except (WorkspaceUnwritable, OSError):
        _migrate(partial)


def _is_whole(store: Path) -> bool:
    """Whether it is a database that the migrations went through to their end."""
    if not store.exists():
        return False
    try:
        with closing(sqlite3.connect(store)) as opened:
            checked = opened.execute("PRAGMA quick_check").fetchone()
            return checked == ("ok",) and bool(
                opened.execute("SELECT count(*) FROM alembic_version, experiments").fetchone()[0]
            )
    except sqlite3.DatabaseError:
        return False


def _migrate(store: Path) -> None:
    MlflowClient(f"sqlite:///{store}").search_experiments(max_results=1)


def _fresh(store: Path) -> Path:
    """The name of a file that becomes `store`. What a crash left is removed, and no name used
    twice: MLflow keeps connections open by it."""
    for left in store.parent.glob(f".{store.name}.*.partial"):
        left.unlink()
    return store.with_name(f".{store.name}.{secrets.token_hex(4)}.partial")
