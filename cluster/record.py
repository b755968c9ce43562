"""The record of a submission: what MLflow is to know, written down before it is sent.

The outbox in the run's folder has a line for each thing, in the order in which they happened:

{"time": 1764000000123, "begin": {"name": "digits-vae", "tags": {…}, "parent": null, "store": "…"}}
{"time": 1764000000130, "params": {"training.steps": "2000"}}
{"time": 1764000009000, "step": 2000, "figures": {"evaluation/frechet_5k": 31.0}}
{"time": 1764000009800, "end": "FINISHED", "step": 2000}
{"time": 1764000009800, "end": "FAILED", "step": 50, "why": {"error": "WorkerLost", "said": "…"}}

To write a line needs no MLflow and waits for none. `cluster/delivery.py` sends it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aigc.data.catalog import Dataset
from aigc.errors import first_line
from cluster.cursor import Cursor
from cluster.delivery import BEGUN_TAG, Delivery
from cluster.errors import TrackingUnavailable
from cluster.evaluation import Evaluation
from cluster.journal import Lines, now
from cluster.judgement import Gates
from cluster.ledger import Cause
from cluster.tails import last
from cluster.tracking import Tracking
from cluster.workspace import RunFolder

MOST_CHARACTERS = 6000
"""Of a parameter's value, in MLflow."""


def begin_run(
    tracking: Tracking,
    submission: str,
    name: str,
    tags: Mapping[str, str],
    parent: str | None = None,
) -> TrackedRun:
    """Note that the submission is tried now. Its MLflow run is the one that it has, or will get.

    `parent` is the submission of the search that it is a trial of. Raises WorkspaceUnwritable.
    """
    run = TrackedRun(tracking, tracking.workspace.run(submission))
    own = {BEGUN_TAG: uuid.uuid4().hex, **tags}
    begin = {"name": name, "tags": own, "parent": parent, "store": tracking.store}
    run.append({"begin": begin})
    return run


@dataclass(frozen=True)
class TrackedRun:
    """The record of one submission. Its methods raise WorkspaceUnwritable; only `settle`,
    `deliver` and `run_id` ask MLflow for anything."""

    tracking: Tracking
    folder: RunFolder

    @property
    def run_id(self) -> str:
        """The id of the MLflow run, which may have to be made now. Raises TrackingUnavailable."""
        noted = Cursor.of(self.folder, self.tracking.store).run_id
        if noted is None:
            self.settle()
            noted = Cursor.of(self.folder, self.tracking.store).run_id
        if noted is None:
            raise TrackingUnavailable(f"{self.folder.submission} has no run yet")
        return noted

    def settle(self) -> None:
        """Deliver what there is. Raises TrackingUnavailable, at once while MLflow is silent."""
        assert self.tracking.client
        self.deliver()

    def deliver(self) -> None:
        """Deliver what there is, though MLflow was silent before. Raises TrackingUnavailable."""
        Delivery(self.tracking, self.folder).drain()

    def describe(self, spec: Mapping[str, Any], document: Path) -> None:
        """Record the resolved spec, flattened as parameters and whole as an artifact."""
        params = {
            # MLflow's names have no @, which the datasets of a mixture have.
            key.replace("@", ":"): str(value)[:MOST_CHARACTERS]
            for key, value in flattened(spec).items()
        }
        self.append({"params": params})
        self.attach(document)

    def use(self, dataset: Dataset, context: str) -> None:
        """Record a dataset input with its digest."""
        manifest = dataset.manifest
        recorded = {
            "name": manifest.name,
            "digest": manifest.digest[:36],
            "source_type": "aigc",
            "source": json.dumps({"uri": dataset.folder.as_uri()}),
            "profile": str(manifest.splits),
        }
        self.append({"input": recorded, "context": context})

    def figures(self, figures: Mapping[str, float], prefix: str, step: int = 0) -> None:
        """Record figures under `prefix/`."""
        named = {f"{prefix}/{name}": value for name, value in figures.items()}
        self.append({"step": step, "figures": named})

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags; what a later attempt says of the same stands."""
        self.append({"tags": dict(tags)})

    def attach(self, path: Path, folder: str | None = None) -> None:
        """Record a file, or all files of a folder, as they are when they are sent."""
        self.append({"attach": str(path), "folder": folder})

    def register_later(
        self,
        name: str,
        digest: str,
        tags: Mapping[str, str],
        evaluation: Evaluation | None,
        gates: Gates | None,
        cause: Cause,
    ) -> None:
        """Let the attached model be registered, judged and promoted once MLflow answers."""
        asked = {"name": name, "digest": digest, "tags": dict(tags)}
        self.append({"register": asked, **_judgement(evaluation, gates, cause)})

    def judge_later(
        self, reference: str, evaluation: Evaluation, gates: Gates | None, cause: Cause
    ) -> None:
        """Let the version be judged by an evaluation, and promoted, once MLflow answers."""
        self.append({"judge": reference, **_judgement(evaluation, gates, cause)})

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Close the run: FINISHED, FAILED or KILLED, for that `error`.

        Its name and first line, and the step that the journal has come to, stay in the outbox, so
        that who looks at many submissions has to read no more.
        """
        entry: dict[str, Any] = {"end": status}
        if (reported := last(self.folder.journal)) is not None:
            entry["step"] = reported.get("step")
        if error is not None:
            entry["why"] = {"error": type(error).__name__, "said": first_line(error)}
        self.append(entry)

    def append(self, entry: Mapping[str, Any], time: int | None = None) -> None:
        """Add a line, by now or at `time`, and bring it to the disk. Raises WorkspaceUnwritable."""
        lines = Lines(self.folder.outbox)
        try:
            lines.append(json.dumps({"time": time or now(), **entry}))
        finally:
            lines.close()


def _judgement(evaluation: Evaluation | None, gates: Gates | None, cause: Cause) -> dict[str, Any]:
    return {
        "cause": asdict(cause),
        "evaluation": evaluation.as_dict() if evaluation else None,
        "gates": gates.model_dump(mode="json") if gates else None,
    }


def flattened(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, each in value.items():
        name = f"{prefix}{key}"
        flat |= flattened(each, f"{name}.") if isinstance(each, Mapping) else {name: each}
    return flat
