"""aigc schedule check, where no engine lives: on both stores it ends with 106, and says why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers import Postgres

from cluster.store import Store
from cluster.tables import SCHEDULES, TICKS
from cluster.ticks import Ticks, milliseconds
from cluster.workspace import Workspace
from jobs.cli import main
from jobs.specs import SPECS

NAME, MINUTE = "nightly-digits", timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def workspace(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """With the shipped schedule, of which every tick is accounted for."""
    monkeypatch.delenv("AIGC_STORE", raising=False)
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
        monkeypatch.setenv("AIGC_STORE", address)
    monkeypatch.setenv("AIGC_WORKSPACE", str(tmp_path / "workspace"))
    assert main(["schedule", "create", str(SPECS / "schedule.yaml")]) == 0
    return Workspace.named(tmp_path / "workspace")


def ago(workspace: Workspace, table: Any, length: timedelta, *columns: str) -> None:
    """Set these times of all rows of the workspace so far back."""
    then = milliseconds(datetime.now(UTC) - length)
    mine = table.c.workspace == str(workspace.root)
    with Store.of(workspace).transaction() as connection:
        connection.execute(table.update().where(mine).values(dict.fromkeys(columns, then)))


@pytest.fixture
def found(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the check ends with, and the findings."""

    def look() -> tuple[int, list[str]]:
        capsys.readouterr()
        code = main(["schedule", "check", "-o", "json"])
        return code, [each["what"] for each in json.loads(capsys.readouterr().out)]

    return look


def test_a_tick_that_nobody_has_written_down(workspace: Workspace, found: Any) -> None:
    assert found() == (0, [])
    ago(workspace, SCHEDULES, 9 * MINUTE, "cursor", "next_due")
    assert found() == (0, []), "engines are called every few minutes"
    ago(workspace, SCHEDULES, 11 * MINUTE, "cursor", "next_due")
    assert found() == (106, ["unaccounted"])


def test_a_tick_that_nobody_has_begun_or_has_been_heard_of(
    workspace: Workspace, found: Any
) -> None:
    assert main(["schedule", "trigger", NAME]) == 0
    assert found() == (0, [])
    ago(workspace, TICKS, 11 * MINUTE, "start_at")
    assert found() == (106, ["late"])
    assert Ticks(Store.of(workspace), str(workspace.root)).claim("an engine", MINUTE)
    assert found() == (0, [])
    ago(workspace, TICKS, 11 * MINUTE, "lease")
    assert found() == (106, ["lost"])


def test_a_preview_of_what_is_overdue_and_of_what_is_paused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    ago(workspace, SCHEDULES, timedelta(days=3), "cursor", "next_due")
    capsys.readouterr()
    assert main(["schedule", "preview", NAME, "-o", "json"]) == 0
    printed = capsys.readouterr()
    notes = [each["note"] for each in json.loads(printed.out)]
    assert len(notes) in (10, 11)
    # The newest one has a deadline of six hours, which depends on when this is run.
    assert (notes[0] == "would start at once") == (len(notes) == 11)
    assert "that were due before would not start any more" in printed.err
    assert main(["schedule", "pause", NAME]) == 0
    capsys.readouterr()
    assert main(["schedule", "preview", NAME]) == 0
    assert f"{NAME} is paused: these start if it is resumed now" in capsys.readouterr().err


def test_a_schedule_that_can_no_longer_be_read_is_not_blamed_on_engines(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    ago(workspace, SCHEDULES, 60 * MINUTE, "cursor", "next_due")
    with Store.of(workspace).transaction() as connection:
        connection.execute(SCHEDULES.update().values(definition="corn: x\n"))
    capsys.readouterr()
    assert main(["schedule", "check", "-o", "json"]) == 106
    (found,) = json.loads(capsys.readouterr().out)
    said = f"it can no longer be read: see aigc schedule show {NAME}"
    assert (found["what"], found["reason"]) == ("unaccounted", said)
