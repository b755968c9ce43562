"""The tables of the store of decisions, as this program knows them.

How a store comes to have them, and what older ones have, says cluster/migrations/.
"""

from __future__ import annotations

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
    true,
)

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
    # An id is never given twice, also after the newest row was lost with a restored backup.
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
    # When there is something to decide next; null when there never will be.
    Column("next_due", BigInteger),
)
Index("schedule_next_due", SCHEDULES.c.workspace, SCHEDULES.c.next_due)

TICKS = Table(
    "tick",
    METADATA,
    # A store may serve several workspaces, whose schedules have nothing to do with one another.
    Column("workspace", String(500), primary_key=True),
    Column("schedule", String(64), primary_key=True),
    # All times are milliseconds since 1970.
    Column("due", BigInteger, primary_key=True, autoincrement=False),
    # Of ticks that are recorded together: up to when, and how many.
    Column("through", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("definition", Text, nullable=False),
    # Whether another tick of the schedule may be at work at the same time.
    Column("alone", Boolean, nullable=False),
    Column("start_at", BigInteger),
    Column("start_by", BigInteger),
    Column("to_end", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    # How many of the attempts have failed.
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("token", BigInteger, nullable=False),
    Column("owner", String(250)),
    Column("lease", BigInteger),
    Column("submission", String(250)),
    Column("started", BigInteger),
    Column("ended", BigInteger),
    # Of ticks that are made up for: which call asked for it, and how many of its ticks may be at
    # work at a time.
    Column("backfill", String(40)),
    Column("at_most", Integer),
    # Whether it is written down who is told of its end; rows from before there were notices are.
    Column("told", Boolean, nullable=False, server_default=true()),
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
Index(
    "tick_untold",
    TICKS.c.workspace,
    TICKS.c.due,
    sqlite_where=~TICKS.c.told,
    postgresql_where=~TICKS.c.told,
)

NOTICES = Table(
    "notice",
    METADATA,
    Column("workspace", String(500), primary_key=True),
    Column("schedule", String(64), primary_key=True),
    Column("due", BigInteger, primary_key=True, autoincrement=False),
    Column("event", String(16), primary_key=True),
    # Which of the schedule's channels.
    Column("channel", Integer, primary_key=True, autoincrement=False),
    Column("target", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    # When it is to be tried next, or when it was settled.
    Column("at", BigInteger, nullable=False),
)
Index("notice_state", NOTICES.c.state, NOTICES.c.at)
