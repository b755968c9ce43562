"""What goes wrong is one sentence, has its exit code, and is the outcome of its tick."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from servers import Postgres
from sqlalchemy import text

from cluster.store import Store
from cluster.tables import SCHEDULES
from cluster.workspace import Workspace
from jobs.cli import main
from jobs.source import written
from jobs.specs import SPECS

SHIPPED = SPECS / "schedule.yaml"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    monkeypatch.setenv("AIGC_WORKSPACE", str(tmp_path / "workspace"))
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error: ")]


def history(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["schedule", "history", "-o", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("former", "wrong", "said"),
    [
        ("30 2 * * *", "61 25 * * *", "the minute must be 0 to 59"),
        ("30 2 * * *", "0 30 2 * * *", "must have five fields"),
        ("30 2 * * *", "0 0 31 2 *", "names a day that none of its months has"),
        ("Europe/Berlin", "Mars/Olympus", "must be the name of a time zone"),
    ],
)
@pytest.mark.parametrize("command", [["create"], ["apply", "--yes"]])
def test_a_schedule_with_a_mistake_ends_with_2_and_is_not_kept(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    former: str,
    wrong: str,
    said: str,
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(SHIPPED.read_text().replace(former, wrong))
    assert main(["schedule", *command, str(file)]) == 2
    heard = capsys.readouterr().err
    assert said in heard
    assert len(errors(heard)) == 1
    assert not (root / "aigc.db").exists()


def test_a_job_that_no_longer_validates_fails_its_tick_at_once(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "create", str(SHIPPED)]) == 0
    with Store.of(Workspace.at(root)).transaction() as connection:
        broken = SHIPPED.read_text().replace("count: 10000", "cuont: 10000")
        connection.execute(SCHEDULES.update().values(definition=broken))
    assert main(["schedule", "trigger", "nightly-digits"]) == 0
    assert main(["schedule", "tick", "--on", "here"]) == 100
    (tick,) = history(capsys)
    assert (tick["state"], tick["attempt"]) == ("failed", 1)
    assert tick["reason"].startswith("exit code 2: schedule nightly-digits: job: ")
    assert "cuont" in tick["reason"]


@pytest.mark.slow
def test_a_model_that_has_no_champion_fails_its_tick_at_once(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real engine and a real submission."""
    job = {"kind": "generate", "name": "g", "model": "digits@champion", "count": 5}
    words = {"name": "nightly", "cron": "0 0 1 1 *", "zone": "UTC", "retries": {"count": 3}}
    file = tmp_path / "s.yaml"
    file.write_text(written({**words, "job": {**job, "publish": {"dataset": "n"}}}))
    assert main(["schedule", "create", str(file)]) == 0
    assert main(["schedule", "trigger", "nightly"]) == 0
    assert main(["schedule", "tick", "--on", "here"]) == 100
    (tick,) = history(capsys)
    assert (tick["state"], tick["attempt"]) == ("failed", 1)
    assert "exit code 102: " in tick["reason"]
    assert "digits" in tick["reason"]


@pytest.fixture(params=["sqlite", "postgresql"])
def read_only(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store that takes nothing, with a schedule in it."""
    if request.param == "sqlite":
        assert main(["schedule", "create", str(SHIPPED)]) == 0
        return f"sqlite:///file:{root / 'aigc.db'}?mode=ro&uri=true"
    server: Postgres = request.getfixturevalue("postgres")
    address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
    monkeypatch.setenv("AIGC_STORE", address)
    assert main(["schedule", "create", str(SHIPPED)]) == 0
    return f"{address}?options={quote('-cdefault_transaction_read_only=on')}"


@pytest.mark.parametrize(
    "words",
    [
        ["create", str(SHIPPED), "--replace"],
        ["trigger", "nightly-digits"],
        ["delete", "nightly-digits"],
        ["backfill", "nightly-digits", "--from", "2026-01-01", "--to", "2026-01-02"],
    ],
)
def test_a_store_that_is_read_only_is_one_sentence(
    read_only: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.setenv("AIGC_STORE", read_only)
    capsys.readouterr()
    assert main(["schedule", *words]) == 100
    (said,) = errors(capsys.readouterr().err)
    assert "read" in said
    assert "only" in said


def test_a_disk_that_is_full_is_one_sentence_and_nothing_is_half_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "create", str(SHIPPED)]) == 0
    before = (root / "aigc.db").read_bytes()
    room = len(before) // 2

    def no_more() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    command = [sys.executable, "-m", "jobs", "schedule", "trigger", "nightly-digits"]
    child = subprocess.run(command, preexec_fn=no_more, capture_output=True, check=False)
    assert child.returncode == 100
    (said,) = errors(child.stderr.decode())
    assert "the store of decisions does not answer: " in said
    assert "which may be full" in said
    assert history(capsys) == []
    assert main(["schedule", "trigger", "nightly-digits"]) == 0
    assert [tick["state"] for tick in history(capsys)] == ["waiting"]


def test_a_store_that_somebody_else_writes_to_for_long_is_one_sentence(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["schedule", "create", str(SHIPPED)]) == 0
    monkeypatch.setattr("cluster.store.WAIT_SECONDS", 0.1)
    capsys.readouterr()
    with Store.of(Workspace.at(root)).transaction():
        assert main(["schedule", "trigger", "nightly-digits"]) == 100
    (said,) = errors(capsys.readouterr().err)
    assert "database is locked. Another process writes to its file" in said
    # Whoever is woken by it must not move the store away.
    assert "backup" not in said


@pytest.mark.parametrize("words", [["list"], ["check"], ["tick", "--on", "here"], ["serve"]])
def test_a_store_of_a_newer_program_ends_with_2(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["schedule", "create", str(SHIPPED)]) == 0
    with Store.of(Workspace.at(root)).transaction() as connection:
        connection.execute(text("UPDATE aigc_version SET version_num = '99'"))
    capsys.readouterr()
    assert main(["schedule", *words]) == 2
    (said,) = errors(capsys.readouterr().err)
    assert "has revision 99" in said
