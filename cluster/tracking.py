"""The MLflow store: how it is reached, and what is made of its refusals."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from google.protobuf.json_format import ParseError
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests import HTTPError
from sqlalchemy.exc import SQLAlchemyError

from aigc.data.files import digest_of
from aigc.errors import first_line
from cluster.credentials import refusal, refused_status, require_private
from cluster.embedded import prepare_store
from cluster.errors import TrackingRefused, TrackingUnavailable
from cluster.workspace import Workspace

# Both announce every start of a new store.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

EXPERIMENT = "aigc"
SUBMISSION_TAG = "aigc.submission"

# Without BAD_REQUEST, which MLflow also says when its database fails.
_REFUSALS = {
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_REFUSING_STATUS = {400, 404, 405, 409, 411, 413, 415, 422}
"""Without 401 and 403: a password can be put right, and nothing is lost by waiting for it."""


@contextmanager
def answered() -> Iterator[None]:
    """Turn what MLflow raises into TrackingUnavailable, into CredentialsRefused, or into
    TrackingRefused where to try again would change nothing."""
    try:
        yield
    except (
        MlflowException,
        OSError,
        sqlite3.Error,
        SQLAlchemyError,
        # A reply that is none: of a server that was torn away, or of no MLflow server.
        json.JSONDecodeError,
        ParseError,
    ) as error:
        if (status := refused_status(error)) is not None:
            raise refusal(status) from error
        reason = first_line(error)[:120]
        if _is_refusal(error):
            raise TrackingRefused(
                f"MLflow refuses it: {reason}", "See what it was given, and what it has already"
            ) from error
        raise TrackingUnavailable(
            f"the MLflow store does not answer: {reason}",
            "Check MLFLOW_TRACKING_URI, or unset it to use the workspace's own store",
        ) from error


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, HTTPError) and error.response is not None:
        return error.response.status_code in _REFUSING_STATUS
    return isinstance(error, MlflowException) and error.error_code in _REFUSALS


class Tracking:
    """One MLflow store and the experiment in it; asked only when it is needed.

    A circuit breaker: once a delivery has met `silence`, nobody else waits for the same until the
    next delivery tries again. Raises CredentialsRefused.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.uri = workspace.tracking_uri
        require_private(self.uri)
        self.silence: TrackingUnavailable | None = None

    @property
    def store(self) -> str:
        """A digest of where the store is, since the address may hold a password."""
        return digest_of(self.uri)

    @property
    def client(self) -> MlflowClient:
        """MLflow's client. Raises TrackingUnavailable, at once while the store is silent."""
        if self.silence is not None:
            raise type(self.silence)(self.silence.what, self.silence.next_step)
        return self._connected

    @cached_property
    def _connected(self) -> MlflowClient:
        """The client; an embedded store is made now."""
        with answered():
            embedded, artifacts = self.workspace.embedded_store, self.workspace.artifact_location
            if embedded is not None and artifacts is not None:
                prepare_store(embedded, artifacts)
            return MlflowClient(self.uri)

    @cached_property
    def experiment(self) -> str:
        """The id of the experiment, made if it is not there. Raises TrackingUnavailable."""
        with answered():
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                with suppress(MlflowException):  # another process was faster
                    self.client.create_experiment(EXPERIMENT, self.workspace.artifact_location)
                found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            raise TrackingUnavailable(f"MLflow makes no experiment {EXPERIMENT}", "See its log")
        return str(found.experiment_id)

    def run_of(self, submission: str) -> str | None:
        """The id of the submission's run. Raises TrackingUnavailable."""
        runs = self.runs_of(submission)
        return runs[0].info.run_id if runs else None

    def runs_of(self, submission: str) -> list[Run]:
        """The submission's runs, the oldest first: one, or more after a lost reply.

        Raises TrackingUnavailable.
        """
        query = f"tags.`{SUBMISSION_TAG}` = '{submission}'"
        with answered():
            return list(
                self.client.search_runs(
                    [self.experiment], query, order_by=["attributes.start_time ASC"]
                )
            )
