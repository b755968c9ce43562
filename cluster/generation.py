"""Generation on a place: shards committed once each, checked, and published in one step."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from aigc.data.catalog import Dataset, publish
from aigc.data.files import fsync, put_if_absent, unwritable, write_json
from aigc.data.manifest import MANIFEST, Manifest, Shard, read_manifest
from aigc.data.reader import ShardReader
from aigc.data.shards import shard_of, write_shard
from aigc.data.storage import Location
from aigc.errors import ArtifactCorrupt, ShardCorrupt
from aigc.generation.plan import GENERATED, Plan
from aigc.generation.sampling import generated_schema, shard_table
from aigc.modalities import modality
from aigc.models.artifact import load_model
from aigc.models.contract import Model
from cluster.code import require_same_code
from cluster.logs import logged
from cluster.places import Place
from cluster.resources import Resources
from cluster.workspace import RunFolder, Workspace, exclusive

PLAN = "plan.json"
QUARANTINED = "quarantined.json"
"""Beside the shards of a dataset that did not pass its gates; readers follow manifest.json only."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardRequest:
    """One shard to make. Plain data: it travels between processes."""

    plan: Plan
    number: int
    model: Path
    attempts: Path
    target: Path
    use_gpu: bool


def fill_shard(request: ShardRequest) -> tuple[int, Shard]:
    """Make one shard and commit it; if another attempt was first, its shard stands.

    Raises ArtifactCorrupt, WorkspaceUnwritable.
    """
    plan, samples = request.plan, request.plan.samples(request.number)
    require_same_code(plan.code)
    path = f"shards/{GENERATED}-{request.number:05d}.parquet"
    committed = request.target / path
    if not _is_whole(request.target, path, plan, samples):
        committed.unlink(missing_ok=True)
        model = _model(request.model, plan.model.digest, request.use_gpu)
        attempt = request.attempts / secrets.token_hex(8)
        write_shard(attempt, path, GENERATED, shard_table(model, plan, samples))
        _commit(attempt / path, committed)
        log.info("made %s, samples %d to %d", path, samples[0], samples[-1])
        shutil.rmtree(attempt, ignore_errors=True)
    return request.number, shard_of(request.target, path, GENERATED)


def _is_whole(target: Path, path: str, plan: Plan, samples: range) -> bool:
    """Whether the shard is there already and can be read: what a crash or a copy left may not."""
    if not (target / path).exists():
        return False
    try:
        shard = shard_of(target, path, GENERATED)
        types = {field.name: str(field.type) for field in generated_schema(plan.layout)}
        reader = ShardReader(Location(target.as_uri()), shard, types)
        if shard.records != len(samples):
            return False
        for row_group in range(len(shard.row_groups)):
            deque(reader.read(row_group), maxlen=0)
        reader.close()
    except (ShardCorrupt, OSError, ValueError, pa.ArrowException):
        return False
    return True


@functools.lru_cache(maxsize=1)
def _model(folder: Path, digest: str, use_gpu: bool) -> Model:
    """The planned model, loaded once for all shards of this process."""
    artifact = load_model(folder)
    if artifact.digest != digest:
        raise ArtifactCorrupt(
            f"{folder} is not the model of the plan", "Remove the folder and submit the spec again"
        )
    return artifact.model.to("cuda" if use_gpu else "cpu")


def _commit(finished: Path, committed: Path) -> None:
    """Give a finished shard its name, unless another attempt's shard has it already."""
    try:
        committed.parent.mkdir(parents=True, exist_ok=True)
        os.link(finished, committed)
        fsync(committed.parent)
    except FileExistsError:
        return
    except OSError as error:
        raise unwritable(committed, error) from error


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

    def published(self) -> Dataset | None:
        """This plan's dataset, if it is there for everyone to see."""
        if not (self.folder / MANIFEST).exists():
            return None
        return Dataset(self.folder, read_manifest(self.folder))

    def held(self) -> AbstractContextManager[None]:
        """Hold the dataset's folder: other submissions may have the same plan, and other gates."""
        return exclusive(self.folder / ".lock")

    def fill(self, place: Place, resources: Resources, progress: Callable[[int], None]) -> Dataset:
        """Make every shard; `progress` hears how many samples are there. Not published yet."""
        put_if_absent(self.run.path / PLAN, self.plan.model_dump_json(indent=2) + "\n")
        requests = [
            ShardRequest(
                self.plan,
                number,
                self.run.model,
                self.run.attempts,
                self.folder,
                resources.gpus_per_worker > 0,
            )
            for number in range(self.plan.shards)
        ]
        shards, made = dict[int, Shard](), 0
        worker = logged(fill_shard, self.run.logs, "generation")
        for number, shard in place.map(worker, requests, resources):
            shards[number] = shard
            made += shard.records
            progress(made)
        shutil.rmtree(self.run.attempts, ignore_errors=True)
        return Dataset(self.folder, self._manifest([shards[number] for number in sorted(shards)]))

    def _manifest(self, shards: list[Shard]) -> Manifest:
        plan = self.plan
        return Manifest(
            name=plan.dataset,
            version=plan.version,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            layout=plan.layout,
            columns={field.name: str(field.type) for field in generated_schema(plan.layout)},
            shards=tuple(shards),
            source={"submission": self.run.submission, "plan": plan.model_dump(mode="json")},
        )


def check_samples(dataset: Dataset) -> dict[str, float]:
    """The figures that every generated dataset has, by reading it back.

    `blank`: share that holds one value throughout. `duplicate`: share that equals another sample.
    Raises ShardCorrupt when a sample cannot be read at all.
    """
    stored = dataset.records(GENERATED).stored
    blank = modality(dataset.manifest.layout.modality).is_blank(stored)
    different = len(torch.unique(stored.flatten(1), dim=0))
    return {
        "blank": blank.double().mean().item(),
        "duplicate": 1 - different / len(stored),
    }


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
