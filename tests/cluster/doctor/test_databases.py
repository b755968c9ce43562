"""Databases are looked at, and neither made nor changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from servers import Postgres

from cluster.doctor import databases
from cluster.doctor.contract import Finding, Installation
from cluster.doctor.databases import (
    judge_schema,
    judge_server,
    known_revisions,
    look_at_decisions,
    look_at_tracking,
    pages_of,
)
from cluster.tracking import Tracking
from cluster.workspace import Workspace


@pytest.fixture(params=["delete", "wal"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A SQLite file of many pages, written in either way."""
    file = tmp_path / "folder" / "aigc.db"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute(f"PRAGMA journal_mode={request.param}")
        opened.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, word TEXT)")
        words = [(f"{n} " * 100,) for n in range(200)]
        opened.executemany("INSERT INTO numbers (word) VALUES (?)", words)
    return file


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
    file.write_bytes(content)


def of_store(installation: Installation) -> Finding:
    (finding,) = look_at_decisions(installation)
    return finding


def test_a_sound_file_is_only_read(database: Path) -> None:
    before = database.read_bytes()

    assert pages_of(database).state == "sound"
    assert database.read_bytes() == before
    assert list(database.parent.iterdir()) == [database]


def test_a_file_that_is_written_to_is_read_with_its_log(database: Path) -> None:
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("DELETE FROM numbers WHERE number > 100")
        opened.commit()

        assert pages_of(database).state == "sound"


def test_a_file_that_is_held_by_a_writer_is_no_damage(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(database, isolation_level=None)) as opened:
        opened.execute("PRAGMA locking_mode=EXCLUSIVE")
        opened.execute("BEGIN EXCLUSIVE")
        opened.execute("DELETE FROM numbers")

        assert pages_of(database).state == "busy"


def test_a_large_file_is_only_opened(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "READ_BYTES", 1000)

    assert pages_of(database).state == "unread"


def test_damage_is_a_problem(database: Path, workspace: Workspace) -> None:
    damage(database)
    database.rename(workspace.root / "aigc.db")
    finding = of_store(Installation(workspace, dict))

    assert finding.grade == "problem"
    assert "is damaged" in finding.found
    assert "the history of the aliases" in finding.advice


def test_a_file_that_is_no_database_is_damaged(installation: Installation) -> None:
    (installation.workspace.root / "aigc.db").write_text("no database " * 100)

    assert of_store(installation).grade == "problem"


def test_what_is_not_there_is_fine_and_is_not_made(installation: Installation) -> None:
    findings = [*look_at_tracking(installation), of_store(installation)]

    assert {finding.grade for finding in findings} == {"ok"}
    assert list(installation.workspace.root.iterdir()) == []


def test_the_embedded_store_has_the_schema_of_this_mlflow(store: Workspace) -> None:
    assert Tracking(store).client
    pages, schema = look_at_tracking(Installation(store, dict))

    assert (pages.grade, schema.grade) == ("ok", "ok")
    assert known_revisions()[0] in schema.found


@pytest.mark.parametrize(
    ("found", "grade", "said"),
    [
        (None, "ok", "none yet"),
        ("new", "ok", "that of MLflow"),
        ("old", "problem", "older"),
        ("strange", "problem", "does not know"),
    ],
)
def test_the_schema_has_to_be_that_of_this_mlflow(found: str | None, grade: str, said: str) -> None:
    finding = judge_schema(found, ("new", "old"), "3.17.2")

    assert finding.grade == grade
    assert said in finding.found


def test_a_store_of_decisions_on_postgresql_answers_and_keeps_its_secret(
    installation: Installation, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = f"@127.0.0.1:{postgres.port}/mlflow"
    monkeypatch.setenv("AIGC_STORE", f"postgresql://mlflow:{postgres.password}{at}")
    finding = of_store(installation)

    assert finding.grade == "ok"
    assert finding.found == f"PostgreSQL 18.4 at {at[1:]} answers"


def test_a_replica_takes_no_writes() -> None:
    assert judge_server("host:5432/aigc", "18.4 (Debian)", is_replica=True).grade == "problem"


def test_a_database_named_as_the_store_of_mlflow_is_asked_for_its_schema(
    installation: Installation, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"postgresql+psycopg://mlflow@127.0.0.1:{postgres.port}/postgres"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    (schema,) = look_at_tracking(installation)

    assert schema.found == "there is none yet; MLflow makes it"
