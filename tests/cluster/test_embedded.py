"""A new embedded store is a copy of one that was prepared before on this machine."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cluster import embedded
from cluster.embedded import empty_store, prepare_store
from cluster.errors import TrackingUnavailable
from cluster.tracking import Tracking
from cluster.workspace import Workspace


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where MLflow's migrations are run."""
    run, real = list[Path](), embedded._migrate

    def migrate(store: Path) -> None:
        run.append(store)
        real(store)

    monkeypatch.setattr(embedded, "_migrate", migrate)
    return run


def test_a_new_store_needs_no_migration(
    store: Workspace, workspace: Workspace, migrations: list[Path]
) -> None:
    tracking = Tracking(workspace)
    assert tracking.experiment == "1"

    assert migrations == []
    default = tracking.client.get_experiment("0")
    assert default.artifact_location == workspace.artifact_location


def test_migrations_run_once_for_all_workspaces_and_again_for_a_damaged_cache(
    cache: Path, workspace: Workspace, migrations: list[Path], tmp_path: Path
) -> None:
    assert Tracking(workspace).experiment
    assert Tracking(Workspace.at(tmp_path / "second")).experiment
    assert len(migrations) == 1

    content = empty_store().read_bytes()
    for damage in (b"", b"no database", content[:20_000], content[:50_000] + bytes(900_000)):
        empty_store().write_bytes(damage)
        assert not embedded._is_whole(empty_store())
    assert Tracking(Workspace.at(tmp_path / "third")).experiment
    assert len(migrations) == 2


def test_two_processes_make_it_side_by_side(cache: Path, tmp_path: Path) -> None:
    script = "import sys, pathlib; from cluster.embedded import prepare_store as p; "
    script += "p(pathlib.Path(sys.argv[1]) / 'mlflow.db', 'file:///artifacts')"
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    made = [subprocess.Popen([sys.executable, "-c", script, str(folder)]) for folder in folders]
    assert [process.wait(timeout=120) for process in made] == [0, 0]

    for folder in folders:
        assert embedded._is_whole(folder / "mlflow.db")
    assert [path.name for path in (cache / "aigc").iterdir() if path.suffix == ".partial"] == []


def test_a_cache_that_cannot_be_written_is_done_without(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert Tracking(workspace).experiment == "1"


def test_what_a_crash_left_of_a_new_store_is_made_again(workspace: Workspace) -> None:
    partial = workspace.root / ".mlflow.db.0123abcd.partial"
    partial.write_bytes(b"half a database")

    assert Tracking(workspace).client.search_experiments()
    assert not partial.exists()


def test_a_store_that_is_none_is_refused_at_once(workspace: Workspace) -> None:
    (workspace.root / "mlflow.db").write_text("no database, but long enough to look at" * 100)

    with pytest.raises(TrackingUnavailable, match="file is not a database"):
        _ = Tracking(workspace).client


def test_a_store_that_is_there_is_left_alone(workspace: Workspace) -> None:
    store = workspace.root / "mlflow.db"
    with closing(sqlite3.connect(store)) as opened:
        opened.execute("CREATE TABLE mine (x)")
        opened.commit()
    before = store.read_bytes()
    prepare_store(store, "file:///artifacts")

    assert store.read_bytes() == before
