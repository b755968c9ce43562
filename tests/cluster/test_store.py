"""The store of decisions: one writer at a time, and nobody waits for the dead."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, select

from cluster.errors import StoreUnavailable
from cluster.store import Store, wal_is_safe
from cluster.workspace import Workspace

METADATA = MetaData()
NUMBERS = Table("numbers", METADATA, Column("number", Integer, primary_key=True))

pytestmark = [
    pytest.mark.usefixtures("decisions"),
    pytest.mark.parametrize("decisions", ["sqlite", "postgresql"], indirect=True),
]


@pytest.fixture
def opened(workspace: Workspace, decisions: None) -> Store:
    store = Store.of(workspace)
    with store.exclusive("schema"), store.transaction() as connection:
        METADATA.create_all(connection)
        connection.execute(NUMBERS.delete())
    return store


def look(store: Store) -> None:
    with store.transaction():
        pass


def count(store: Store) -> int:
    with store.transaction() as connection:
        return connection.execute(select(func.count()).select_from(NUMBERS)).scalar_one()


def test_a_transaction_is_there_whole_or_not_at_all(opened: Store) -> None:
    with opened.transaction() as connection:
        connection.execute(NUMBERS.insert().values(number=1))
    again = NUMBERS.insert().values([{"number": 2}, {"number": 1}])
    with pytest.raises(StoreUnavailable), opened.transaction() as connection:
        connection.execute(again)
    assert count(opened) == 1


def test_what_was_read_in_a_transaction_stays_so_until_its_end(opened: Store) -> None:
    """Read, then write what follows from it, by many at once: no number is given twice."""

    def take() -> None:
        for _ in range(5):
            with opened.exclusive("numbers"), opened.transaction() as connection:
                taken = connection.execute(select(func.count()).select_from(NUMBERS)).scalar_one()
                connection.execute(NUMBERS.insert().values(number=taken))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(opened) == 20


def test_a_lock_is_free_when_its_process_is_dead(opened: Store) -> None:
    child = os.fork()
    if child == 0:
        with opened.exclusive("promotion"):
            os._exit(9)
    os.waitpid(child, 0)
    with opened.exclusive("promotion"), opened.exclusive("another"):
        pass


def test_only_a_repaired_write_ahead_log_is_used(workspace: Workspace) -> None:
    assert not any(map(wal_is_safe, [(3, 40, 1), (3, 44, 5), (3, 50, 6), (3, 51, 2), (3, 45, 0)]))
    assert all(map(wal_is_safe, [(3, 44, 6), (3, 50, 7), (3, 51, 3), (3, 52, 0)]))
    file = workspace.root / "own.db"
    with Store(f"sqlite:///{file}", workspace.root).transaction() as connection:
        METADATA.create_all(connection)
    (mode,) = sqlite3.connect(file).execute("PRAGMA journal_mode").fetchone()
    assert (mode == "wal") is wal_is_safe(sqlite3.sqlite_version_info)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://aigc:canary@127.0.0.1:1/aigc",
        "postgresql://aigc:canary@host:port:/aigc",
        "postgresql://aigc:secret@canary@127.0.0.1:1/aigc",
        "canary",
        "sqlite:////nowhere/canary/aigc.db",
    ],
)
def test_a_store_that_does_not_answer_is_an_error_without_its_secrets(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGC_STORE", url)
    with pytest.raises(StoreUnavailable) as error:
        look(Store(url, tmp_path))
    assert "canary" not in str(error.value)
    assert "AIGC_STORE" in str(error.value)


def test_a_file_that_is_no_database_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIGC_STORE", raising=False)
    (tmp_path / "aigc.db").write_text("something else" * 100)
    with pytest.raises(StoreUnavailable, match=r"file is not a database\. It is aigc.db"):
        look(Store(f"sqlite:///{tmp_path / 'aigc.db'}", tmp_path))
