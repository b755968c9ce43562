"""The tables as they were before revisions were counted; those that are there stay."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
)

revision = "1"
down_revision = None

METADATA = MetaData()

MOVES = Table(
    "alias_moves",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("registry", String(64), nullable=False),
    Column("model", String(250), nullable=False, index=True),
    Column("alias", String(250), nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer),
    Column("kind", String(16), nullable=False),
    Column("who", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("why", Text, nullable=False),
    Column("gates", JSON(none_as_null=True)),
    Column("submission", String(250)),
    Column("state", String(16), nullable=False),
    sqlite_autoincrement=True,
)

SCHEDULES = Table(
    "schedule",
    METADATA,
    Column("workspace", String(500), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("definition", Text, nullable=False),
    Column("alone", Boolean, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("next_due", BigInteger),
)
Index("schedule_next_due", SCHEDULES.c.workspace, SCHEDULES.c.next_due)

TICKS = Table(
    "tick",
    METADATA,
    Column("workspace", String(500), primary_key=True),
    Column("schedule", String(64), primary_key=True),
    Column("due", BigInteger, primary_key=True, autoincrement=False),
    Column("through", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("alone", Boolean, nullable=False),
    Column("start_at", BigInteger),
    Column("start_by", BigInteger),
    Column("to_end", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("owner", String(250)),
    Column("lease", BigInteger),
    Column("submission", String(250)),
    Column("started", BigInteger),
    Column("ended", BigInteger),
)
Index("tick_state", TICKS.c.state, TICKS.c.start_at)
Index(
    "tick_alone",
    TICKS.c.workspace,
    TICKS.c.schedule,
    unique=True,
    sqlite_where=and_(TICKS.c.state == "running", TICKS.c.alone),
    postgresql_where=and_(TICKS.c.state == "running", TICKS.c.alone),
)


def upgrade() -> None:
    """Make the tables that are missing."""
    METADATA.create_all(op.get_bind())
