"""Somebody is told of ticks: an outbox of notices. What has ended before is told to nobody."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Text, column, true

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the table and the mark; ticks that are live now will be told of."""
    op.add_column("tick", Column("told", Boolean, nullable=False, server_default=true()))
    op.execute("UPDATE tick SET told = false WHERE state IN ('waiting', 'running')")
    untold = ~column("told", Boolean)
    op.create_index(
        "tick_untold", "tick", ["workspace", "due"], sqlite_where=untold, postgresql_where=untold
    )
    op.create_table(
        "notice",
        Column("workspace", String(500), primary_key=True),
        Column("schedule", String(64), primary_key=True),
        Column("due", BigInteger, primary_key=True, autoincrement=False),
        Column("event", String(16), primary_key=True),
        Column("channel", Integer, primary_key=True, autoincrement=False),
        Column("target", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("state", String(16), nullable=False),
        Column("reason", Text, nullable=False),
        Column("tries", Integer, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
    op.create_index("notice_state", "notice", ["state", "at"])
