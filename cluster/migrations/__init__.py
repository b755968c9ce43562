"""The tables of a store are brought from an older revision to the one that this program knows.

A revision is a file in versions/, which names the one before it. Alembic carries them out, all that
are missing in one transaction, one process at a time. A store that is current costs a look.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, select

from cluster.errors import StoreNewer
from cluster.store import Store

REVISIONS = ("1", "2", "3")
"""Those that this program knows, the oldest first."""

VERSION_TABLE = "aigc_version"
"""MLflow may keep its own tables, and Alembic's alembic_version, in the same database."""

_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
_FOLDER = Path(__file__).parent


def bring_up_to_date(store: Store) -> None:
    """Make the tables, or change them to what they are now; rows stay.

    Raises StoreUnavailable, and StoreNewer when a newer program has changed them before.
    """
    with store.transaction() as connection:
        if revision(connection) == REVISIONS[-1]:
            return
    with store.exclusive("schema"), store.transaction() as connection:
        since = revision(connection)
        if since != REVISIONS[-1]:
            _upgrade(connection, since)


def revision(connection: Connection) -> str | None:
    """The revision of a store; None before there was a first one. Raises StoreNewer."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    found: str | None = connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
    if found is not None and found not in REVISIONS:
        raise StoreNewer(
            f"the store of decisions has revision {found[:20]}, this program knows those up to "
            f"{REVISIONS[-1]}",
            "Upgrade aigc-factory on this machine; the store was left as it is",
        )
    return found


def _upgrade(connection: Connection, since: str | None) -> None:
    # Half a second of imports that only a store needs that is not current.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(_FOLDER))
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    missing = list(scripts.iterate_revisions(REVISIONS[-1], since or "base"))
    with Operations.context(context):
        for script in reversed(missing):
            script.module.upgrade()
    context.stamp(scripts, REVISIONS[-1])
