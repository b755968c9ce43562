"""The store of decisions: SQLite in the workspace, or the PostgreSQL that AIGC_STORE names.

Every transaction is a writing one. What has to happen one at a time and outside of a transaction,
as a move in MLflow, is done under `exclusive`, which ends with the process that holds it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from aigc.data.files import digest_of
from aigc.errors import first_line
from aigc.seeds import derive
from cluster.errors import StoreUnavailable
from cluster.locks import exclusive
from cluster.workspace import Workspace

WAIT_SECONDS = 60
"""For another writer of the same SQLite file."""
FIXED_WAL = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""Where a reset of the write-ahead log loses no commits any more, by minor version."""

ADVICE = "Check AIGC_STORE, or unset it to use aigc.db in the workspace"
REPAIR = (
    "It is aigc.db in the workspace: restore it from a backup, or move it away, with which the "
    "history of the aliases is lost and the aliases stay"
)

ADVICE_BY_CODE = {
    sqlite3.SQLITE_BUSY: "Another process writes to its file: see which one has it open, and try "
    "again when that is done",
    sqlite3.SQLITE_READONLY: "Let this user write to its file and to the folder that it is in",
    sqlite3.SQLITE_IOERR: "Look at the disk that its file is on, which may be full, and try again",
    sqlite3.SQLITE_FULL: "Make room on the disk that its file is on, and try again",
}
"""What to do about an error of SQLite in which nothing is lost, and nothing to be restored."""


def holds_password(address: str) -> bool:
    """Whether a password stands in the URL of a store."""
    try:
        return make_url(address).password is not None
    except ArgumentError:
        return False


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite has the repair of its write-ahead log."""
    return version >= FIXED_WAL[-1] or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in FIXED_WAL
    )


class Store:
    """One database. `url` is SQLAlchemy's; `locks` is where SQLite's lock files lie."""

    def __init__(self, url: str, locks: Path) -> None:
        self._locks = locks
        self._url = database_url(url)
        with _answering():
            self._engine = _engine(self._url)

    @classmethod
    def of(cls, workspace: Workspace) -> Store:
        """The store of an installation. Raises StoreUnavailable."""
        return cls(workspace.store_url, workspace.root / ".locks")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that is committed when the block ends well. Raises StoreUnavailable."""
        with _answering(), self._engine.begin() as connection:
            yield connection

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of that name, after waiting for whoever holds it.

        It is free again when the process ends, however it ends. Raises StoreUnavailable,
        WorkspaceUnwritable.
        """
        if self._url.get_backend_name() == "sqlite":
            return exclusive(self._locks / digest_of(name)[:16])
        return self._advisory(name)

    @contextmanager
    def _advisory(self, name: str) -> Iterator[None]:
        """PostgreSQL's lock of a connection; its server frees it when the connection is gone."""
        with _answering():
            connection = self._engine.connect()
        with connection:
            with _answering():
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": derive(name)})
                connection.commit()
            yield


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what the database raises into StoreUnavailable."""
    try:
        yield
    except ImportError as error:
        raise StoreUnavailable(
            f"AIGC_STORE names a PostgreSQL, and {error.name} is not installed",
            "Install it: pip install 'aigc-factory[postgresql]'",
        ) from error
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreUnavailable(
            f"the store of decisions does not answer: {first_line(cause)[:120]}",
            _advice(cause),
        ) from error


def _advice(cause: BaseException) -> str:
    """What to do next. The lowest byte of SQLite's code is what kind of error it is."""
    kind = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    otherwise = ADVICE if os.environ.get("AIGC_STORE") else REPAIR
    return ADVICE_BY_CODE.get(kind, otherwise)


def database_url(url: str) -> URL:
    """The URL; PostgreSQL by psycopg 3, whatever default SQLAlchemy has.

    Raises StoreUnavailable.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither the URL nor what is said of it may be shown: it can hold a password.
        raise StoreUnavailable("AIGC_STORE is not the URL of a database", ADVICE) from None
    if "@" in (parsed.host or ""):
        # What follows the first @ of such a password is taken for the host, which errors show.
        what = "AIGC_STORE has more than one @ before its host"
        raise StoreUnavailable(what, "In a user or a password write %40 instead")
    plain = parsed.drivername in ("postgres", "postgresql")
    return parsed.set(drivername="postgresql+psycopg") if plain else parsed


def _engine(url: URL) -> Engine:
    """An engine that keeps no connection open between two transactions."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, poolclass=NullPool)
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    # Python would begin transactions by itself, and later than we say.
    connection.isolation_level = None
    mode = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "DELETE"
    connection.execute(f"PRAGMA journal_mode={mode}")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and then writes may be refused; one that writes waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
