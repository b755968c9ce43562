"""The promotion ledger: a row for every move of an alias, in one total order, never changed.

A move is written down before MLflow hears of it and closed afterwards, so that whoever comes next
can finish what a killed process began.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import select

from cluster.migrations import bring_up_to_date
from cluster.store import Store
from cluster.tables import MOVES

Kind = Literal["train", "evaluate", "promote", "force", "rollback", "outside"]
"""What asked for a move: a job, a person with or without the gates, or nobody here: somebody who
used MLflow itself."""
State = Literal["intended", "done", "withdrawn"]


def whoever_asks() -> str:
    """USER@HOST of this process, the user by the environment or else by the system."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        # A container's user may have no name.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@dataclass(frozen=True)
class Cause:
    """Why an alias is moved, and by whom. `submission` is the job that did it, None for a person.

    The same submission never moves the same alias to the same version twice.
    """

    kind: Kind
    why: str
    submission: str | None = None
    who: str = field(default_factory=whoever_asks)


@dataclass(frozen=True)
class Move:
    """A row of the ledger. `at` is ISO 8601 in UTC; `gates` is as `Verdict.as_dict` has it.

    `from_version` and `to_version` are None where the alias was not set. A move is "intended"
    while it is under way and "withdrawn" when its process died and it could not be finished.
    """

    id: int
    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    kind: Kind
    who: str
    at: str
    why: str
    gates: dict[str, Any] | None
    submission: str | None
    state: State

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it is shown."""
        return asdict(self)


class Ledger:
    """The moves of the aliases of one registry. `registry` names it: a store may serve several."""

    def __init__(self, store: Store, registry: str) -> None:
        self.store, self._registry = store, registry
        bring_up_to_date(store)

    def moves(self, model: str) -> list[Move]:
        """Every move of the model's aliases, the oldest first. Raises StoreUnavailable."""
        mine = (MOVES.c.registry == self._registry) & (MOVES.c.model == model)
        query = select(*_COLUMNS).where(mine).order_by(MOVES.c.id)
        with self.store.transaction() as connection:
            return [Move(**row) for row in connection.execute(query).mappings()]

    def write(
        self,
        model: str,
        alias: str,
        versions: tuple[int | None, int | None],
        cause: Cause,
        gates: dict[str, Any] | None = None,
        state: State = "intended",
    ) -> Move:
        """Write a move down; `versions` are the one that it comes from and the one it goes to."""
        row: dict[str, Any] = {
            "model": model,
            "alias": alias,
            "from_version": versions[0],
            "to_version": versions[1],
            "kind": cause.kind,
            "who": cause.who,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "why": cause.why,
            "gates": gates,
            "submission": cause.submission,
            "state": state,
        }
        with self.store.transaction() as connection:
            made = connection.execute(MOVES.insert().values(registry=self._registry, **row))
        assert made.inserted_primary_key is not None
        return Move(id=made.inserted_primary_key[0], **row)

    def close(self, move: Move, state: State) -> None:
        """Say how an intended move ended."""
        with self.store.transaction() as connection:
            connection.execute(MOVES.update().where(MOVES.c.id == move.id).values(state=state))


_COLUMNS = [column for column in MOVES.columns if column.name != "registry"]


def standing(moves: Sequence[Move], alias: str) -> Move | None:
    """The move that the alias stands where it is by."""
    done = [move for move in moves if move.alias == alias and move.state == "done"]
    return done[-1] if done else None


def line_of(moves: Sequence[Move], alias: str) -> list[int]:
    """The versions that held the alias and were not rolled back from, the present one last.

    Rolling back twice goes back twice, and not to where one came from.
    """
    line = list[int]()
    for move in moves:
        if move.alias != alias or move.state != "done" or move.to_version is None:
            continue
        if move.kind == "rollback" and move.to_version in line:
            while line[-1] != move.to_version:
                line.pop()
        elif line[-1:] != [move.to_version]:
            line.append(move.to_version)
    return line
