"""Failed attempts are counted apart from those that were stopped; ticks can be made up for."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, String

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the columns. Every attempt before the last one counts as failed."""
    op.add_column("tick", Column("failures", Integer, nullable=False, server_default="0"))
    op.add_column("tick", Column("backfill", String(40)))
    op.add_column("tick", Column("at_most", Integer))
    op.execute("UPDATE tick SET failures = attempt - 1 WHERE attempt > 1")
