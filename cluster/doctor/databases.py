"""The databases: the SQLite files of the workspace, and the servers that stand for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from cluster.doctor.contract import Finding, Installation, ok, problem, sized, warning

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SERVERS = ("http", "https")
WRITE_AHEAD = b"\x02\x02"
"""In the head of a SQLite file that is written by a write-ahead log."""
READ_BYTES = 500_000_000
"""Of a larger file the pages are not read: that takes seconds."""
BUSY_SECONDS = 1.0
ANSWER_SECONDS = 3
REPAIR = "Restore it from a backup, or move it away: with it goes {}"
LOST = {"mlflow.db": "the record of all runs and models", "aigc.db": "the history of the aliases"}

State = Literal["missing", "sound", "busy", "unread", "damaged"]


@dataclass(frozen=True)
class Pages:
    """What is known of a SQLite file: `said` is what SQLite says of damage."""

    state: State
    size_bytes: int = 0
    said: str = ""


def look_at_tracking(installation: Installation) -> Iterator[Finding]:
    """The MLflow store where it is a database: in the workspace, or named itself.

    Raises CredentialsRefused, TrackingUnavailable.
    """
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from sqlalchemy.engine import make_url

    from cluster.credentials import require_private

    uri = installation.workspace.tracking_uri
    scheme = uri.partition(":")[0]
    if scheme in SERVERS:
        return
    if scheme.partition("+")[0] not in DATABASE_ENGINES:
        advice = "Name a server as https://…, or unset it to use the workspace's own store"
        yield warning("store", f"MLFLOW_TRACKING_URI is {scheme}:, which is not looked at", advice)
        return
    require_private(uri)
    url = make_url(uri)
    if url.get_backend_name() != "sqlite":
        yield _schema(_revision_at(url))
        return
    file = Path(url.database or "")
    pages = pages_of(file)
    yield judge_pages("store", file, pages)
    if pages.state in ("sound", "unread"):
        yield _schema(_revision_in(file))


def look_at_decisions(installation: Installation) -> Iterator[Finding]:
    """The store of decisions: aigc.db, or what AIGC_STORE names. Raises StoreUnavailable."""
    from sqlalchemy import text

    from cluster.store import Store, database_url

    url = database_url(installation.workspace.store_url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        yield judge_pages("store", file, pages_of(file))
        return
    address = _patient(url).render_as_string(hide_password=False)
    with Store(address, installation.workspace.root).transaction() as connection:
        version = connection.execute(text("SHOW server_version")).scalar_one()
        is_replica = connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"
    named = f"{url.host or 'this machine'}:{url.port or 5432}/{url.database}"
    yield judge_server(named, str(version), is_replica)


def pages_of(file: Path) -> Pages:
    """What SQLite says of the file's pages, which are read and nothing else."""
    if not file.exists():
        return Pages("missing")
    size = file.stat().st_size
    try:
        address = _read_only(file)
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as opened:
            if size > READ_BYTES:
                opened.execute("SELECT count(*) FROM sqlite_schema")
                return Pages("unread", size)
            (said,) = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        codes: dict[int, State] = {
            sqlite3.SQLITE_BUSY: "busy",
            sqlite3.SQLITE_LOCKED: "busy",
            # A journal of a killed writer lies beside it, which the next one takes back.
            sqlite3.SQLITE_READONLY: "busy",
        }
        return Pages(codes.get(error.sqlite_errorcode & 0xFF, "damaged"), size, str(error))
    except sqlite3.DatabaseError as error:
        return Pages("damaged", size, str(error))
    return Pages("sound" if said == "ok" else "damaged", size, str(said))


def judge_pages(name: str, file: Path, pages: Pages) -> Finding:
    """Whether the file is whole, as far as it was looked at."""
    if pages.state == "missing":
        return ok(name, f"{file.name} is not there yet; it is made when it is needed")
    found = f"{file}, {sized(pages.size_bytes)}"
    if pages.state == "damaged":
        advice = REPAIR.format(LOST.get(file.name, "what it holds"))
        return problem(name, f"{found}, is damaged: {pages.said}", advice)
    if pages.state == "busy":
        return warning(name, f"{found}, is held by a writer", "Run it again when no job is running")
    if pages.state == "unread":
        return ok(name, f"{found}, can be opened; it is too large to be read here")
    return ok(name, f"{found}, is whole")


def judge_schema(found: str | None, known: tuple[str, ...], version: str) -> Finding:
    """The schema of an MLflow store against the revisions that MLflow `version` knows.

    `known` has the newest one first; `found` is None in a database without a schema.
    """
    if found is None:
        return ok("schema", "there is none yet; MLflow makes it")
    if found == known[0]:
        return ok("schema", f"{found}, that of MLflow {version}")
    if found in known:
        advice = "Make a backup, then: mlflow db upgrade with the address of the store"
        return problem("schema", f"{found}, older than that of MLflow {version}", advice)
    advice = "Install the MLflow that this store belongs to"
    return problem("schema", f"{found}, which MLflow {version} does not know", advice)


def judge_server(named: str, version: str, is_replica: bool) -> Finding:
    """A PostgreSQL that answers; `is_replica` if it takes no writes."""
    found = f"PostgreSQL {version.split()[0]} at {named}"
    if is_replica:
        advice = "Name the server that is written to in AIGC_STORE, not a replica of it"
        return problem("store", f"{found} only lets read", advice)
    return ok("store", f"{found} answers")


def known_revisions() -> tuple[str, ...]:
    """The revisions of a store's schema that this MLflow knows, the newest first."""
    import mlflow
    from alembic.script import ScriptDirectory

    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    return tuple(each.revision for each in ScriptDirectory(str(folder)).walk_revisions())


def _schema(found: str | None) -> Finding:
    from mlflow.version import VERSION

    return judge_schema(found, known_revisions(), VERSION)


def _revision_in(file: Path) -> str | None:
    """The revision of the schema in a SQLite file."""
    with closing(sqlite3.connect(_read_only(file), uri=True, timeout=BUSY_SECONDS)) as opened:
        names = opened.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'")
        if names.fetchone() is None:
            return None
        row = opened.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _revision_at(url: URL) -> str | None:
    """The revision of the schema in a database of its own. Raises TrackingUnavailable."""
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.pool import NullPool

    from cluster.tracking import answered

    with answered(), create_engine(_patient(url), poolclass=NullPool).connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        row = connection.execute(text("SELECT version_num FROM alembic_version")).fetchone()
    return str(row[0]) if row else None


def _patient(url: URL) -> URL:
    """The URL with a limit on how long a PostgreSQL is waited for."""
    if url.get_backend_name() != "postgresql":
        return url
    return url.update_query_dict({"connect_timeout": str(ANSWER_SECONDS)})


def _read_only(file: Path) -> str:
    """SQLite's address of a file that is only read, beside which nothing is made."""
    address = f"file:{quote(str(file))}?mode=ro"
    with file.open("rb") as opened:
        is_logged_ahead = opened.read(20)[18:20] == WRITE_AHEAD
    # Whoever reads a write-ahead log leaves its files behind: where there is none, nobody writes.
    is_open = file.with_name(f"{file.name}-wal").exists()
    return f"{address}&immutable=1" if is_logged_ahead and not is_open else address
