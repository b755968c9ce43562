"""Moves of a registered model's aliases: one at a time, each a row of the ledger.

MLflow's aliases have no compare-and-set: the last writer wins. So a move is made under the store's
lock: intended in the ledger, made in MLflow, closed in the ledger. A process that is killed in
between leaves an intended row, which the next one settles before it does anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from cluster.ledger import Cause, Ledger, Move, standing
from cluster.tracking import Tracking, answered

CHAMPION, CHALLENGER = "champion", "challenger"
NOBODY = 0
"""Where a version is expected: the alias is not set. MLflow counts from 1."""
_UNSEEN = Cause("outside", "it was moved in MLflow itself", who="unknown")
_BEFORE = Cause("outside", "it was there before the ledger", who="unknown")


class Aliases:
    """The aliases of one registry, and the ledger of their moves."""

    def __init__(self, tracking: Tracking, ledger: Ledger) -> None:
        self._tracking, self._ledger = tracking, ledger

    @property
    def _client(self) -> MlflowClient:
        return self._tracking.client

    @contextmanager
    def held(self, model: str) -> Iterator[None]:
        """Nobody else moves the model's aliases while the block runs; what was left is settled."""
        with self._ledger.store.exclusive(f"aliases of {model}"):
            self._settle(model)
            yield

    def now(self, model: str) -> dict[str, int]:
        """The version that each alias is at. Raises TrackingUnavailable."""
        with answered():
            try:
                aliases = self._client.get_registered_model(model).aliases
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
        return {alias: int(version) for alias, version in aliases.items()}

    def recorded(self, model: str) -> list[Move]:
        """The ledger of a model; whole while the model is held."""
        return self._ledger.moves(model)

    def move(
        self,
        model: str,
        alias: str,
        version: int,
        cause: Cause,
        gates: dict[str, Any] | None = None,
        expected: int | None = None,
    ) -> bool:
        """Move the alias to the version, unless it is there or the submission moved it before.

        False, and nothing is done, when the alias is not where it is `expected`. Needs the model
        to be held. Raises TrackingUnavailable, after which the move is intended and the next
        holder finishes it; StoreUnavailable.
        """
        at = self.now(model).get(alias)
        if expected is not None and (at or NOBODY) not in (expected, version):
            return False
        if at != version and not self._moved_before(model, alias, version, cause.submission):
            row = self._ledger.write(model, alias, (at, version), cause, gates)
            self._carry_out(row)
        return True

    def _moved_before(self, model: str, alias: str, version: int, submission: str | None) -> bool:
        wanted = (alias, version, submission, "done")
        return submission is not None and any(
            (row.alias, row.to_version, row.submission, row.state) == wanted
            for row in self._ledger.moves(model)
        )

    def _settle(self, model: str) -> None:
        """Finish what a killed process intended, and write down what somebody else moved."""
        for row in self._ledger.moves(model):
            if row.state == "intended":
                self._finish(row)
        known = standing(self._ledger.moves(model), CHAMPION)
        recorded = known.to_version if known else None
        actual = self.now(model).get(CHAMPION)
        if actual != recorded:
            cause = _UNSEEN if known else _BEFORE
            self._ledger.write(model, CHAMPION, (recorded, actual), cause, state="done")

    def _finish(self, row: Move) -> None:
        """Go on with a move that nobody has interfered with, or withdraw it."""
        undisturbed = self.now(row.model).get(row.alias) in (row.from_version, row.to_version)
        if undisturbed and self._exists(row.model, row.to_version):
            self._carry_out(row)
        else:
            self._ledger.close(row, "withdrawn")

    def _carry_out(self, row: Move) -> None:
        """What was intended, however much of it was done before."""
        with answered():
            self._client.set_registered_model_alias(row.model, row.alias, str(row.to_version))
            if row.alias == CHAMPION and self.now(row.model).get(CHALLENGER) == row.to_version:
                self._client.delete_registered_model_alias(row.model, CHALLENGER)
        self._ledger.close(row, "done")

    def _exists(self, model: str, version: int | None) -> bool:
        with answered():
            try:
                self._client.get_model_version(model, str(version))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise
        return True
