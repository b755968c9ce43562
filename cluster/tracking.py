"""The MLflow record of a submission: exactly one run, however often the submission is tried.

The journal is the truth; a follower in the driver sends batches of it, off the training path.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from aigc.data.catalog import Dataset
from aigc.data.files import write_text
from cluster.credentials import refusal, refused_status, require_private
from cluster.errors import TrackingUnavailable
from cluster.journal import JournalReader
from cluster.workspace import RunFolder, Workspace, exclusive

# Both announce every start of a new store.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

EXPERIMENT = "aigc"
SUBMISSION_TAG = "aigc.submission"
BATCH_POINTS = 1000
"""What MLflow takes in one call."""
POLL_SECONDS = 0.5

Entries = list[dict[str, Any]]


@contextmanager
def answered() -> Iterator[None]:
    """Turn what MLflow raises into TrackingUnavailable, or CredentialsRefused."""
    try:
        yield
    except (MlflowException, OSError, sqlite3.Error, SQLAlchemyError) as error:
        if (status := refused_status(error)) is not None:
            raise refusal(status) from error
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise TrackingUnavailable(
            f"the MLflow store does not answer: {reason}",
            "Check MLFLOW_TRACKING_URI, or unset it to use the workspace's own store",
        ) from error


def _prepare_store(workspace: Workspace) -> None:
    """Make the embedded store whole or not at all, by one process at a time.

    MLflow's migrations can be neither interrupted nor run twice side by side. A file that is no
    database is refused at once, where MLflow would try it for 100 seconds.
    """
    store = workspace.embedded_store
    if store is None:
        return
    with exclusive(workspace.root / ".store.lock"):
        if not store.exists():
            partial = store.with_name(".mlflow.db.partial")
            partial.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
            partial.rename(store)
        with closing(sqlite3.connect(store)) as opened:
            opened.execute("PRAGMA schema_version")


class Tracking:
    """One MLflow store and the experiment in it. Raises CredentialsRefused."""

    def __init__(self, workspace: Workspace) -> None:
        self.uri = workspace.tracking_uri
        require_private(self.uri)
        with answered():
            _prepare_store(workspace)
            self.client = MlflowClient(self.uri)
            found = self.client.get_experiment_by_name(EXPERIMENT)
            self._experiment = (
                found.experiment_id
                if found
                else self.client.create_experiment(EXPERIMENT, workspace.artifact_location)
            )

    def run(self, submission: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        """The submission's run, made if it is not there yet, and RUNNING."""
        with answered():
            found = self.client.search_runs(
                [self._experiment], f"tags.`{SUBMISSION_TAG}` = '{submission}'", max_results=1
            )
            if found:
                run_id = found[0].info.run_id
                self.client.update_run(run_id, status="RUNNING")
            else:
                named = {SUBMISSION_TAG: submission, **tags}
                made = self.client.create_run(self._experiment, run_name=name, tags=named)
                run_id = made.info.run_id
        return TrackedRun(self.client, run_id)


@dataclass(frozen=True)
class TrackedRun:
    """The run of one submission."""

    client: MlflowClient
    run_id: str

    def describe(self, spec: Mapping[str, Any], document: Path) -> None:
        """Record the resolved spec, flattened as parameters and whole as an artifact."""
        with answered():
            params = [
                # MLflow's names have no @, which the datasets of a mixture have.
                Param(key.replace("@", ":"), str(value)[:6000])
                for key, value in flattened(spec).items()
            ]
            self.client.log_batch(self.run_id, params=params)
            self.client.log_artifact(self.run_id, str(document))

    def use(self, dataset: Dataset, context: str) -> None:
        """Record a dataset input with its digest."""
        manifest = dataset.manifest
        recorded = MlflowDataset(
            name=manifest.name,
            digest=manifest.digest[:36],
            source_type="aigc",
            source=f'{{"uri": "{dataset.folder.as_uri()}"}}',
            profile=str(manifest.splits),
        )
        tag = InputTag("mlflow.data.context", context)
        with answered():
            self.client.log_inputs(self.run_id, [DatasetInput(recorded, [tag])])

    def figures(self, figures: Mapping[str, float], prefix: str, step: int = 0) -> None:
        """Record figures under `prefix/`."""
        now = time.time_ns() // 1_000_000
        metrics = [Metric(f"{prefix}/{name}", value, now, step) for name, value in figures.items()]
        with answered():
            self.client.log_batch(self.run_id, metrics=metrics)

    def attach(self, path: Path, folder: str | None = None) -> None:
        """Record a file, or all files of a folder."""
        with answered():
            send = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
            send(self.run_id, str(path), folder)

    def deliver(self, run: RunFolder, entries: Entries) -> None:
        """Send journal entries: figures in batches, pictures with MLflow's step slider."""
        points = [
            Metric(name, value, entry["time"], entry["step"])
            for entry in entries
            for name, value in entry.get("figures", {}).items()
        ]
        with answered():
            for start in range(0, len(points), BATCH_POINTS):
                self.client.log_batch(self.run_id, metrics=points[start : start + BATCH_POINTS])
            for entry in entries:
                if "picture" in entry:
                    with Image.open(run.path / entry["picture"]) as picture:
                        self.client.log_image(
                            self.run_id, picture, key="samples", step=entry["step"]
                        )

    def end(self, status: str) -> None:
        """Close the run: FINISHED, FAILED or KILLED."""
        with answered():
            self.client.set_terminated(self.run_id, status)


@contextmanager
def following(run: RunFolder, deliver: Callable[[Entries], None]) -> Iterator[None]:
    """Hand new journal entries to `deliver`, in a thread of its own, while the block runs.

    What could not be delivered is tried again; the last delivery is when the block ends. How far
    it got is kept in the run's folder, so that the next attempt goes on from there.
    """
    done = threading.Event()
    log = logging.getLogger(__name__)

    def drain() -> None:
        reader = JournalReader(run.journal, _delivered(run))
        if entries := reader.new():
            deliver(entries)
            write_text(run.delivered, str(reader.offset))

    def follow() -> None:
        while not done.wait(POLL_SECONDS):
            try:
                drain()
            except TrackingUnavailable as error:
                log.warning("%s; the figures wait in %s", error.what, run.journal)

    thread = threading.Thread(target=follow, name="journal-follower", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        done.set()
        thread.join()
        # What went wrong in the block is what must be heard, not that MLflow is down as well.
        with suppress(TrackingUnavailable):
            drain()
        raise
    done.set()
    thread.join()
    drain()


def _delivered(run: RunFolder) -> int:
    """Bytes of the journal that MLflow has; 0 when the journal is not the one that was counted."""
    try:
        delivered = int(run.delivered.read_text())
        return delivered if delivered <= run.journal.stat().st_size else 0
    except (OSError, ValueError):
        return 0


def flattened(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, each in value.items():
        name = f"{prefix}{key}"
        flat |= flattened(each, f"{name}.") if isinstance(each, Mapping) else {name: each}
    return flat
