"""Generation on a place: shards committed once each, checked, and published in one step."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pydantic import ValidationError

from aigc.data.catalog import Dataset, publish
from aigc.data.files import put_if_absent, write_json, write_text
from aigc.data.manifest import MANIFEST, Manifest, Shard, read_manifest
from aigc.data.reader import ShardReader
from aigc.data.shards import shard_of
from aigc.data.storage import Location
from aigc.errors import DataError, ShardCorrupt
from aigc.generation.finishing import finished, published_schema
from aigc.generation.labels.tables import table_label
from aigc.generation.plan import GENERATED, Plan
from aigc.generation.sampling import shard_table
from aigc.modalities import modality
from cluster.candidates import Candidates, Chosen, ModelAt, Screened
from cluster.code import require_same_code
from cluster.commits import commit_as_shard, commit_shard, is_committed
from cluster.locks import exclusive
from cluster.logs import logged
from cluster.places import Mapper
from cluster.resources import Resources
from cluster.tasks import behind
from cluster.workspace import RunFolder, Workspace

QUARANTINED = "quarantined.json"
"""Beside the shards of a dataset that did not pass its gates; readers follow manifest.json only."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardRequest:
    """One shard to make, of the samples that were `chosen`, or of all that the plan says. Plain
    data: it travels between processes."""

    plan: Plan
    number: int
    model: ModelAt
    attempts: Path
    target: Path
    chosen: Chosen | None = None

    @property
    def count(self) -> int:
        """How many samples it has."""
        return len(self.chosen.candidates if self.chosen else self.plan.samples(self.number))

    def samples(self) -> pa.Table:
        """Made now, unless they were made before as candidates: those are labelled already."""
        if self.chosen is not None:
            return self.chosen.table()
        return shard_table(self.model.load(), self.plan, self.plan.samples(self.number))

    def labelled(self, samples: pa.Table) -> pa.Table:
        """The samples with their labels, read back. Raises Unlabelled."""
        if self.chosen is None:
            return finished(samples, self.plan)
        table_label(samples)
        return samples


def fill_shard(request: ShardRequest) -> Callable[[], tuple[int, Shard]]:
    """Make the samples of one shard; what is returned labels and commits them, unless another
    attempt was first: then that one's shard stands.

    Candidates that were all chosen are a shard already. Raises ArtifactCorrupt, Unlabelled,
    WorkspaceUnwritable.
    """
    require_same_code(request.plan.code)
    commit = _begun(request, request.plan.path(request.number))
    return lambda: (request.number, commit())


def _begun(request: ShardRequest, path: str) -> Callable[[], Shard]:
    """What is still to be done for the shard, whose samples are made unless it is committed."""
    target = request.target
    if is_committed(target / path, lambda: _is_whole(target, path, request)):
        return partial(shard_of, target, path, GENERATED)
    file = request.chosen and request.chosen.file()
    samples = None if file else request.samples()

    def commit() -> Shard:
        if file:
            shard = commit_as_shard(file, target, path, GENERATED)
        else:
            table = request.labelled(samples)
            shard = commit_shard(table, request.attempts, target, path, GENERATED)
        log.info("made %s of %d samples", path, request.count)
        return shard

    return commit


def _is_whole(target: Path, path: str, request: ShardRequest) -> bool:
    """Whether the shard can be read: what a crash or a copy left may not."""
    try:
        shard = shard_of(target, path, GENERATED)
        reader = ShardReader(Location(target.as_uri()), shard, _columns(request.plan))
        if shard.records != request.count:
            return False
        for row_group in range(len(shard.row_groups)):
            deque(reader.read(row_group), maxlen=0)
        reader.close()
    except (ShardCorrupt, OSError, ValueError, pa.ArrowException):
        return False
    return True


def _columns(plan: Plan) -> dict[str, str]:
    """The types of a shard's columns by their names."""
    return {field.name: str(field.type) for field in published_schema(plan)}


@dataclass(frozen=True)
class Generation:
    """A generation in the workspace: the plan, its folder and the model's copy."""

    plan: Plan
    workspace: Workspace
    run: RunFolder

    @property
    def folder(self) -> Path:
        """Where the dataset is built, and seen once its manifest is there."""
        return self.workspace.datasets / self.plan.dataset / self.plan.version

    @property
    def reference(self) -> str:
        """NAME@VERSION of the dataset."""
        return f"{self.plan.dataset}@{self.plan.version}"

    @classmethod
    def pinned(cls, plan: Plan, workspace: Workspace, run: RunFolder) -> Generation:
        """The generation of that plan, or of the one that an earlier attempt has written down where
        nothing has changed since but which nights there are to compare with. Raises DataError."""
        put_if_absent(run.plan, plan.model_dump_json(indent=2) + "\n")
        try:
            first = Plan.model_validate_json(run.plan.read_bytes())
        except ValidationError as error:
            raise DataError(
                f"{run.plan} is no plan: {error.errors()[0]['msg']}",
                "Remove it, and submit the spec again",
            ) from error
        screening = plan.screening
        if screening is not None and first.screening is not None:
            screening = screening.model_copy(update={"earlier": first.screening.earlier})
        if plan.model_copy(update={"screening": screening}) == first:
            return cls(first, workspace, run)
        # Of other code, or compared with another memory: its samples may be others.
        write_text(run.plan, plan.model_dump_json(indent=2) + "\n")
        return cls(plan, workspace, run)

    def published(self) -> Dataset | None:
        """This plan's dataset, if it is there for everyone to see."""
        if not (self.folder / MANIFEST).exists():
            return None
        return Dataset(self.folder, read_manifest(self.folder))

    def held(self) -> AbstractContextManager[None]:
        """Hold the dataset's folder: other submissions may have the same plan, and other gates."""
        return exclusive(self.folder / ".lock")

    def choose(
        self, place: Mapper, resources: Resources, progress: Callable[[int], None]
    ) -> Screened:
        """Make candidates, and choose the samples of each shard among them."""
        model, datasets = self._model(resources), self.workspace.datasets
        candidates = Candidates(self.plan, self.run, datasets, model)
        return candidates.choose(place, resources, progress)

    def fill(
        self,
        place: Mapper,
        resources: Resources,
        progress: Callable[[int], None],
        chosen: Sequence[Chosen] = (),
        screened: Mapping[str, float] | None = None,
    ) -> Dataset:
        """Make every shard, of the samples that were `chosen` if they are `screened`, with those
        figures. Not published yet; `progress` hears how many samples are there."""
        samples: Sequence[Chosen | None] = chosen or [None] * self.plan.shards
        shared = (self._model(resources), self.run.attempts, self.folder)
        requests = [
            ShardRequest(self.plan, number, *shared, each) for number, each in enumerate(samples)
        ]
        shards, made = dict[int, Shard](), 0
        task = logged(behind(fill_shard), self.run.logs, "generation")
        wanted = [each for each in requests if each.count]
        for number, shard in place.map(task, wanted, resources):
            shards[number] = shard
            made += shard.records
            progress(made)
        shutil.rmtree(self.run.attempts, ignore_errors=True)
        manifest = self._manifest([shards[number] for number in sorted(shards)], screened or {})
        return Dataset(self.folder, manifest)

    def _model(self, resources: Resources) -> ModelAt:
        return ModelAt(self.run.model, self.plan.model.digest, resources.use_gpu)

    def _manifest(self, shards: list[Shard], screened: Mapping[str, float]) -> Manifest:
        plan = self.plan
        source = {"submission": self.run.submission, "plan": plan.model_dump(mode="json")}
        return Manifest(
            name=plan.dataset,
            version=plan.version,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            layout=plan.layout,
            columns=_columns(plan),
            shards=tuple(shards),
            source=source | {"screening": dict(screened)},
        )


def check_samples(dataset: Dataset) -> dict[str, float]:
    """The figures that every generated dataset has, by reading it back.

    `blank`: share that holds one value throughout. `duplicate`: share that equals another sample.
    With them are those of the screening. Raises ShardCorrupt when a sample cannot be read at all.
    """
    stored = dataset.records(GENERATED).stored
    blank = modality(dataset.manifest.layout.modality).is_blank(stored)
    different = len(torch.unique(stored.flatten(1), dim=0))
    return {
        "blank": blank.double().mean().item(),
        "duplicate": 1 - different / len(stored),
        **dataset.manifest.source.get("screening", {}),
    }


def forget_candidates(run: RunFolder) -> None:
    """Remove what samples were chosen from and compared with: a night's worth of disk, and all of
    it can be made again."""
    for folder in (run.candidates, run.memory):
        shutil.rmtree(folder, ignore_errors=True)


def publish_checked(dataset: Dataset) -> None:
    """Publish a dataset in one step; one that was quarantined under other gates no longer is."""
    publish(dataset.folder, dataset.manifest)
    (dataset.folder / QUARANTINED).unlink(missing_ok=True)


def quarantine(dataset: Dataset, verdict: Mapping[str, Any]) -> Path:
    """Leave the dataset unpublished, with its manifest and the reason beside the shards."""
    path = dataset.folder / QUARANTINED
    manifest = dataset.manifest.sealed().model_dump(mode="json")
    write_json(path, {"verdict": dict(verdict), "manifest": manifest})
    return path
