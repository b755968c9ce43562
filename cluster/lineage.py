"""Lineage: from a dataset back to all that it was made from, and on to what came of it.

The workspace knows datasets, plans and specs; MLflow knows runs and versions. What MLflow knows is
missing, and nothing fails, where it does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from pydantic import ValidationError

from aigc.data.catalog import Dataset, list_datasets
from aigc.errors import DataError
from aigc.generation.plan import ModelReference, Plan
from cluster.errors import ModelNotFound
from cluster.registry import ModelVersion, Registry, open_registry
from cluster.tracking import EXPERIMENT, SUBMISSION_TAG, Tracking, answered
from cluster.workspace import Workspace

COMMIT_TAG, DIRTY_TAG, KIND_TAG = "aigc.commit", "aigc.dirty", "aigc.kind"


@dataclass(frozen=True)
class Origin:
    """What made a dataset or a model. None where it is not known here.

    `spec` is the file of the resolved spec, `code` the digest of the program and `commit` its
    commit in git, to which there were changes if it was `dirty`.
    """

    submission: str
    run_id: str | None = None
    spec: str | None = None
    code: str | None = None
    commit: str | None = None
    dirty: bool | None = None


class Lineage:
    """What came of what, in one workspace and its MLflow store, which there may not be."""

    def __init__(
        self,
        workspace: Workspace,
        tracking: Tracking | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._workspace, self._registry = workspace, registry
        self._client = tracking.client if tracking else None

    def behind_dataset(self, dataset: Dataset) -> dict[str, Any] | None:
        """What made a generated dataset, and what made its model; None for an imported one.

        Raises TrackingUnavailable.
        """
        plan = plan_of(dataset)
        if plan is None:
            return None
        origin = self._origin(dataset.manifest.source["submission"], plan.code)
        model = {"model": str(plan.model), "model_digest": plan.model.digest}
        version = self._version(plan.model)
        behind = {"model_made_by": self.behind_model(version)} if version else {}
        return {**asdict(origin), **model, "seed": plan.seed, **behind}

    def behind_model(self, version: ModelVersion) -> dict[str, Any]:
        """What made a version, and from which data. Raises TrackingUnavailable."""
        origin = self._origin(version.submission, version.code)
        return {**asdict(origin), "run_id": version.run_id, "trained_on": version.trained_on}

    def after_dataset(self, dataset: Dataset) -> list[dict[str, Any]]:
        """Every training on a dataset, whether or not it ended well, the oldest first: the version
        that it became, and the datasets which that made. Raises TrackingUnavailable."""
        versions: dict[str, ModelVersion] = {}
        if self._registry:
            every = (self._registry.versions(name) for name in self._registry.names())
            versions = {version.run_id: version for each in every for version in each}
        return [self._after(run, versions) for run in self._trainings_on(dataset)]

    def after_model(self, version: ModelVersion) -> list[str]:
        """The published datasets that a version made."""
        return [dataset.reference for dataset in made_by(self._workspace.datasets, version)]

    def _after(self, run: Run, versions: dict[str, ModelVersion]) -> dict[str, Any]:
        version = versions.get(run.info.run_id)
        return {
            "submission": run.data.tags.get(SUBMISSION_TAG),
            "run_id": run.info.run_id,
            "status": run.info.status,
            "model": str(version) if version else None,
            "datasets": self.after_model(version) if version else [],
        }

    def _trainings_on(self, dataset: Dataset) -> Iterator[Run]:
        """The runs that recorded this very content as their input, the oldest first."""
        name, digest = dataset.manifest.name, dataset.manifest.digest
        for run in self._runs(f"dataset.name = '{name}' AND tags.`{KIND_TAG}` = 'train'"):
            inputs = [each.dataset for each in run.inputs.dataset_inputs] if run.inputs else []
            # MLflow keeps the beginning of a digest.
            if any(used.name == name and digest.startswith(used.digest) for used in inputs):
                yield run

    def _origin(self, submission: str, code: str | None) -> Origin:
        spec = self._workspace.run(submission).spec
        origin = Origin(submission, spec=str(spec) if spec.exists() else None, code=code)
        run = next(self._runs(f"tags.`{SUBMISSION_TAG}` = '{submission}'"), None)
        if run is None:
            return origin
        commit, dirty = (run.data.tags.get(tag) for tag in (COMMIT_TAG, DIRTY_TAG))
        return Origin(
            submission,
            run.info.run_id,
            origin.spec,
            code,
            commit,
            None if dirty is None else dirty.lower() == "true",
        )

    def _runs(self, query: str) -> Iterator[Run]:
        """The runs of a query, the oldest first."""
        if self._client is None:
            return
        with answered():
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            token, where = None, [experiment.experiment_id] if experiment else []
            while where:
                order = ["attributes.start_time ASC"]
                page = self._client.search_runs(where, query, order_by=order, page_token=token)
                yield from page
                token = page.token
                if not token:
                    return

    def _version(self, model: ModelReference) -> ModelVersion | None:
        """The planned version, if this registry has it and not another of the same number."""
        try:
            found = self._registry.resolve(str(model)) if self._registry else None
        except ModelNotFound:
            return None
        return found if found and found.digest == model.digest else None


def open_lineage(workspace: Workspace) -> Lineage:
    """The lineage of a workspace. Raises TrackingUnavailable."""
    if not workspace.has_tracking:  # nothing was trained here yet
        return Lineage(workspace)
    tracking = Tracking(workspace)
    with answered():
        tracking.client.get_experiment_by_name(EXPERIMENT)
    return Lineage(workspace, tracking, open_registry(workspace, tracking))


def made_by(datasets: Path, version: ModelVersion) -> list[Dataset]:
    """The published datasets that a version made, by name and then by age."""
    found, _ = list_datasets(datasets)
    mine = ModelReference(name=version.name, version=version.version, digest=version.digest)
    made = list[Dataset]()
    for dataset in found:
        with suppress(DataError):
            if (plan := plan_of(dataset)) and plan.model == mine:
                made.append(dataset)
    return made


def plan_of(dataset: Dataset) -> Plan | None:
    """The plan by which a dataset was generated; None for an imported one.

    Raises DataError for a plan as only another version of this program knows it.
    """
    plan = dataset.manifest.source.get("plan")
    try:
        return Plan.model_validate(plan, strict=False) if plan else None
    except ValidationError as error:
        raise DataError(
            f"the plan of {dataset.reference} is one of another version of this program",
            "Trace it with that version; its samples can be read all the same",
        ) from error
