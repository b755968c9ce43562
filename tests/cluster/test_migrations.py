"""The tables of a store come to be what this program knows, from whatever they were; rows stay."""

from __future__ import annotations

import importlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from servers import Postgres
from sqlalchemy import Connection, MetaData, insert, select, text

from cluster import migrations
from cluster.errors import StoreNewer
from cluster.migrations import REVISIONS, VERSION_TABLE, bring_up_to_date, revision
from cluster.store import Store
from cluster.tables import METADATA, SCHEDULES, TICKS
from jobs.errors import exit_code

FIRST: MetaData = importlib.import_module("cluster.migrations.versions.first").METADATA
BRING_UP = """
import sys
from pathlib import Path
from cluster.migrations import bring_up_to_date
from cluster.store import Store
bring_up_to_date(Store(sys.argv[1], Path(sys.argv[2])))"""
TICK = {
    "workspace": "w",
    "schedule": "s",
    "due": 5,
    "through": 5,
    "count": 1,
    "state": "waiting",
    "reason": "it failed",
    "definition": "d",
    "alone": True,
    "to_end": False,
    "attempt": 3,
    "token": 7,
}
SCHEDULE = {
    "workspace": "w",
    "name": "s",
    "definition": "d",
    "alone": True,
    "paused": False,
    "created": 1,
    "cursor": 2,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'aigc.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    address = f"postgresql://mlflow:{server.password}@127.0.0.1:{server.port}/mlflow"
    own = f"s{uuid.uuid4().hex[:8]}"
    with Store(address, tmp_path).transaction() as connection:
        connection.execute(text(f"CREATE SCHEMA {own}"))
    yield f"{address}?options=-csearch_path%3D{own}"
    with Store(address, tmp_path).transaction() as connection:
        connection.execute(text(f"DROP SCHEMA {own} CASCADE"))


@pytest.fixture
def store(url: str, tmp_path: Path) -> Store:
    return Store(url, tmp_path)


def differences(connection: Connection) -> list[object]:
    """Between the tables there are and those that the program knows."""

    def ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name != VERSION_TABLE

    context = MigrationContext.configure(
        connection, opts={"include_name": ours, "compare_server_default": False}
    )
    return list(compare_metadata(context, METADATA))


def test_the_revisions_are_those_in_the_folder() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert tuple(each.revision for each in reversed(list(scripts.walk_revisions()))) == REVISIONS


def test_a_new_store_gets_the_tables_that_are_known(store: Store) -> None:
    for _ in range(2):
        bring_up_to_date(store)
        with store.transaction() as connection:
            assert revision(connection) == REVISIONS[-1]
            assert differences(connection) == []


def test_an_old_store_is_changed_in_place_and_keeps_its_rows(store: Store) -> None:
    with store.transaction() as connection:
        FIRST.create_all(connection)
        connection.execute(insert(FIRST.tables["tick"]).values(TICK))
        connection.execute(insert(FIRST.tables["schedule"]).values(SCHEDULE))
    bring_up_to_date(store)
    with store.transaction() as connection:
        assert differences(connection) == []
        (tick,) = connection.execute(select(TICKS)).mappings()
        (schedule,) = connection.execute(select(SCHEDULES)).mappings()
    assert dict(tick).items() >= TICK.items()
    assert (tick["failures"], tick["backfill"]) == (2, None)
    assert dict(schedule).items() >= SCHEDULE.items()


def test_a_store_that_has_only_a_ledger_gets_the_rest(store: Store) -> None:
    with store.transaction() as connection:
        FIRST.tables["alias_moves"].create(connection)
    bring_up_to_date(store)
    with store.transaction() as connection:
        assert differences(connection) == []


def test_many_processes_at_once_change_it_once(url: str, store: Store, tmp_path: Path) -> None:
    with store.transaction() as connection:
        FIRST.create_all(connection)
        connection.execute(insert(FIRST.tables["tick"]).values(TICK))
    command = [sys.executable, "-c", BRING_UP, url, str(tmp_path)]
    # The addition of a column that is there is an error, and so is the creation of a table.
    children = [subprocess.Popen(command) for _ in range(6)]
    assert [child.wait() for child in children] == [0] * 6
    with store.transaction() as connection:
        assert differences(connection) == []
        assert connection.execute(select(TICKS.c.failures)).scalar_one() == 2


def test_a_store_of_a_newer_program_is_refused_and_left_alone(store: Store) -> None:
    bring_up_to_date(store)
    with store.transaction() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '99'"))
    with pytest.raises(
        StoreNewer, match="has revision 99, this program knows those up to"
    ) as error:
        bring_up_to_date(store)
    assert "\n" not in str(error.value)
    assert exit_code(error.value) == 2


def test_a_change_that_fails_leaves_the_store_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction() as connection:
        FIRST.create_all(connection)

    def fail(self: object, *arguments: object) -> None:
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(MigrationContext, "stamp", fail)
    with pytest.raises(RuntimeError):
        bring_up_to_date(store)
    monkeypatch.undo()
    with store.transaction() as connection:
        assert revision(connection) is None
    bring_up_to_date(store)
    with store.transaction() as connection:
        assert differences(connection) == []


def test_a_current_store_costs_no_alembic(url: str, store: Store, tmp_path: Path) -> None:
    bring_up_to_date(store)
    script = f"{BRING_UP}\nassert not [name for name in sys.modules if name.startswith('alembic')]"
    subprocess.run([sys.executable, "-c", script, url, str(tmp_path)], check=True)
