"""The folder of the workspace, its disk, and files that others can read."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from aigc.errors import WorkspaceUnwritable
from cluster.doctor.clocks import judge_clock
from cluster.doctor.contract import Installation, sized
from cluster.doctor.credentials import judge_mode, places
from cluster.doctor.credentials import look as look_at_credentials
from cluster.doctor.folder import (
    ELSEWHERE,
    GIBIBYTE,
    NOT_OURS,
    file_system,
    judge_disk,
    judge_file_system,
    judge_inodes,
    look,
    nearest,
    probe,
)
from cluster.workspace import Workspace


def grades(installation: Installation) -> dict[str, str]:
    return {finding.name: finding.grade for finding in look(installation)}


def test_a_healthy_workspace_is_written_to_and_left_as_it_was(installation: Installation) -> None:
    found = grades(installation)

    assert {found[each] for each in ("folder", "writing", "clock", "locking")} == {"ok"}
    assert list(installation.workspace.root.iterdir()) == []


def test_one_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = grades(Installation(Workspace(tmp_path / "a" / "b"), dict))

    assert found["folder"] == "ok"
    assert "writing" not in found
    assert not (tmp_path / "a").exists()


def test_a_file_where_the_workspace_should_be_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert grades(Installation(Workspace(tmp_path / "file"), dict))["folder"] == "problem"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert grades(Installation(Workspace(tmp_path), dict))["folder"] == "problem"
    tmp_path.chmod(0o700)


def test_a_disk_that_refuses_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    (finding,) = probe(tmp_path / "gone")

    assert (finding.grade, finding.advice) == ("problem", NOT_OURS)


def test_a_disk_that_is_full_is_told_from_one_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    (finding,) = probe(tmp_path)

    assert finding.found == f"{tmp_path}: No space left on device"
    assert finding.advice == ELSEWHERE


def test_sizes_are_told_as_one_reads_them() -> None:
    told = [sized(count) for count in (16, 5000, 3 << 20, 61 << 30)]
    assert told == ["16 bytes", "4.9 KiB", "3.0 MiB", "61.0 GiB"]


def test_a_workspace_that_mlflow_could_not_open_has_no_name() -> None:
    with pytest.raises(WorkspaceUnwritable):
        Workspace.named("s3://bucket/folder")


@pytest.mark.parametrize(
    ("free", "total", "grade"),
    [(0.5, 100, "problem"), (5, 100, "warning"), (40, 1000, "warning"), (60, 1000, "ok")],
)
def test_a_disk_that_will_soon_be_full_is_told(free: float, total: int, grade: str) -> None:
    assert judge_disk("disk", int(free * GIBIBYTE), total * GIBIBYTE).grade == grade


@pytest.mark.parametrize(
    ("free", "total", "grade"),
    [(0, 0, "ok"), (10, 10**7, "problem"), (50_000, 10**7, "warning"), (10**6, 10**7, "ok")],
)
def test_a_disk_can_be_full_of_names(free: int, total: int, grade: str) -> None:
    assert judge_inodes(free, total).grade == grade


@pytest.mark.parametrize(
    ("kind", "embedded", "grade"),
    [("nfs4", True, "warning"), ("nfs4", False, "ok"), ("ext4", True, "ok"), ("", True, "ok")],
)
def test_databases_do_not_lie_on_a_network(kind: str, embedded: bool, grade: str) -> None:
    assert judge_file_system(kind, embedded).grade == grade


def test_the_file_system_of_a_path_is_that_of_its_mount() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert nearest(Path("/proc/self/nothing/there")) == Path("/proc/self")


@pytest.mark.parametrize(
    ("ahead", "grade", "said"),
    [(0.4, "ok", "same"), (-9, "warning", "9 s behind"), (3700, "problem", "3700 s ahead")],
)
def test_clocks_that_are_apart_are_told(ahead: float, grade: str, said: str) -> None:
    finding = judge_clock("clock", ahead, "the server's")

    assert finding.grade == grade
    assert said in finding.found


@pytest.mark.parametrize(
    ("mode", "grade"), [(0o600, "ok"), (0o400, "ok"), (0o640, "problem"), (0o604, "problem")]
)
def test_a_secret_that_others_can_read_is_a_problem(mode: int, grade: str) -> None:
    assert judge_mode("MLflow", Path("file"), mode).grade == grade


def test_files_of_secrets_are_found_and_not_shown(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [finding.grade for finding in look_at_credentials(installation)] == ["ok"]

    token = Path.home() / "token"
    token.write_text("canary")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    (finding,) = look_at_credentials(installation)
    assert finding.grade == "problem"
    assert "canary" not in str(finding)


def test_a_variable_names_another_file() -> None:
    found = places({"PGPASSFILE": "/elsewhere"})

    assert found["PostgreSQL"] == Path("/elsewhere")
    assert found["MLflow"] == Path.home() / ".mlflow" / "credentials"
