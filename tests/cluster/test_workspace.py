from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from aigc.errors import WorkspaceUnwritable
from cluster.errors import AlreadyRunning
from cluster.workspace import Workspace


def test_a_workspace_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(WorkspaceUnwritable, match=r"cannot write .*file.*--workspace"):
        Workspace.at(tmp_path / "file" / "workspace")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(WorkspaceUnwritable, match="Permission denied"):
        Workspace.at(tmp_path / "workspace")


def test_opening_leaves_nothing_behind(tmp_path: Path) -> None:
    assert list(Workspace.at(tmp_path / "new").root.iterdir()) == []


def test_attempts_of_one_submission_never_run_side_by_side(workspace: Workspace) -> None:
    run = workspace.run("digits-1")
    with run.locked():
        with pytest.raises(AlreadyRunning, match="digits-1 is running"), run.locked():
            pass
        with workspace.run("digits-2").locked():
            pass
    with run.locked():
        pass


def test_the_tracking_store_is_in_the_workspace_unless_a_server_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert workspace.tracking_uri == f"sqlite:///{workspace.root}/mlflow.db"
    assert workspace.artifact_location == (workspace.root / "mlartifacts").as_uri()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert workspace.tracking_uri == "http://127.0.0.1:5000"
    assert workspace.artifact_location is None


def test_a_bucket_is_refused_rather_than_made_a_folder() -> None:
    with pytest.raises(WorkspaceUnwritable, match="s3://bucket is not a folder"):
        Workspace.at("s3://bucket")


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_path_that_mlflow_cannot_open_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkspaceUnwritable, match=r"has a \? or a % in its path"):
        Workspace.at(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_whoever_looks_for_orphans_makes_no_submission_fail(tmp_path: Path) -> None:
    run, held = Workspace.at(tmp_path).run("night"), threading.Event()

    def look() -> None:
        with run.locked(patience=0):
            held.set()
            time.sleep(0.2)

    looking = threading.Thread(target=look)
    looking.start()
    held.wait()
    with pytest.raises(AlreadyRunning), run.locked(patience=0):
        pass
    with run.locked():
        pass
    looking.join()
