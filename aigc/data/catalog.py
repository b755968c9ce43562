"""The datasets of a workspace: publish, find, list, verify.

datasets/NAME/VERSION/manifest.json     putting this file publishes the dataset
datasets/NAME/VERSION/shards/*.parquet
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from aigc.data.batches import Records
from aigc.data.files import put_if_absent
from aigc.data.manifest import (
    MANIFEST,
    NAME,
    VERSION,
    Manifest,
    Shard,
    manifest_text,
    read_manifest,
)
from aigc.data.shards import LABEL, PROVENANCE, SAMPLE, ShardReader, check_hash, schema
from aigc.errors import DatasetNotFound, ManifestInvalid
from aigc.layout import Layout
from aigc.modalities import modality


@dataclass(frozen=True)
class Dataset:
    """A published dataset: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.manifest.name}@{self.manifest.version}"

    def shards(self, split: str) -> list[Shard]:
        """The shards of a split, in the manifest's order. Raises DatasetNotFound."""
        found = [shard for shard in self.manifest.shards if shard.split == split]
        if not found:
            raise DatasetNotFound(
                f"dataset {self.reference} has no split {split!r}",
                f"It has: {', '.join(self.manifest.splits)}",
            )
        return found

    def tables(self, split: str, columns: pa.Schema | None = None) -> Iterator[pa.Table]:
        """The row groups of a split in their stored order: the layout's columns, or `columns`.

        Raises ShardCorrupt.
        """
        for shard in self.shards(split):
            expected = schema(self.manifest.layout) if columns is None else columns
            reader = ShardReader(self.folder, shard, expected)
            try:
                for row_group in range(len(shard.row_groups)):
                    yield reader.read(row_group)
            finally:
                reader.close()

    def records(self, split: str) -> Records:
        """The records of a split in their stored order, in memory.

        For reference sets and reports; training uses `aigc.data.stream`.
        """
        return content_of(pa.concat_tables(list(self.tables(split))), self.manifest.layout)


def content_of(table: pa.Table, layout: Layout) -> Records:
    """The content of a table that has the schema of `layout`."""
    content = modality(layout.modality)
    stored = content.from_column(table.column(content.column_name), layout)
    if not layout.labels:
        return Records(stored, None)
    return Records(stored, torch.from_numpy(table.column(LABEL).to_numpy().astype("int64")))


def publish(folder: Path, manifest: Manifest) -> Dataset:
    """Make the dataset visible in one step. If it was already published, that one is returned."""
    put_if_absent(folder / MANIFEST, manifest_text(manifest.sealed()))
    return Dataset(folder, read_manifest(folder))


def find(root: Path, reference: str) -> Dataset:
    """The dataset NAME@VERSION, or the newest version of NAME. Raises DatasetNotFound."""
    name, _, version = reference.partition("@")
    if not re.fullmatch(f"{NAME}(@{VERSION})?", reference):
        raise DatasetNotFound(f"{reference!r} is no dataset", "Write NAME or NAME@VERSION")
    if version:
        folder = root / name / version
        if (folder / MANIFEST).is_file():
            return _opened(folder)
    elif versions := list_versions(root, name):
        return versions[-1]
    known = sorted({path.parent.parent.name for path in root.glob(f"*/*/{MANIFEST}")})
    raise DatasetNotFound(
        f"there is no dataset {reference!r} in {root}",
        f"There are: {', '.join(known)}" if known else "Start with: aigc data import mnist-5k",
    )


def _opened(folder: Path) -> Dataset:
    """The dataset in a folder of its own name. Raises ManifestInvalid."""
    manifest = read_manifest(folder)
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise ManifestInvalid(
            f"{folder} holds the manifest of {manifest.name}@{manifest.version}",
            "Give the folder that name, or import the data under another one",
        )
    return Dataset(folder, manifest)


def list_versions(root: Path, name: str) -> list[Dataset]:
    """The published versions of a dataset, the newest last. Raises ManifestInvalid."""
    folders = [path.parent for path in (root / name).glob(f"*/{MANIFEST}")]
    found = [_opened(folder) for folder in folders]
    return sorted(found, key=lambda dataset: (dataset.manifest.created, dataset.reference))


def list_datasets(root: Path) -> tuple[list[Dataset], list[ManifestInvalid]]:
    """Every published dataset, by name and then by age, and what cannot be read."""
    found, broken = list[Dataset](), list[ManifestInvalid]()
    for path in root.glob(f"*/*/{MANIFEST}"):
        try:
            found.append(_opened(path.parent))
        except ManifestInvalid as error:
            broken.append(error)
    return sorted(found, key=lambda each: (each.manifest.name, each.manifest.created)), broken


def verify(dataset: Dataset) -> list[str]:
    """What is missing, changed or foreign in the dataset's folder; empty when nothing is.

    Reads every byte of every shard; of a generated dataset, also every sample's id.
    Raises ManifestInvalid if the manifest was changed.
    """
    read_manifest(dataset.folder)
    problems = [check_hash(dataset.folder, shard) for shard in dataset.manifest.shards]
    expected = {shard.path for shard in dataset.manifest.shards}
    present = {
        path.relative_to(dataset.folder).as_posix()
        for path in (dataset.folder / "shards").glob("**/*")
        if path.is_file()
    }
    foreign = [f"{path} is not in the manifest" for path in sorted(present - expected)]
    found = [problem for problem in problems if problem] + foreign
    return found or _check_samples(dataset)


def _check_samples(dataset: Dataset) -> list[str]:
    """Whether a generated dataset holds each planned sample once, and nothing else."""
    if SAMPLE not in dataset.manifest.columns:
        return []
    ids = [
        table.column(SAMPLE).to_numpy()
        for split in dataset.manifest.splits
        for table in dataset.tables(split, PROVENANCE)
    ]
    found, counts = np.unique(np.concatenate(ids), return_counts=True)
    planned = np.arange(dataset.manifest.source["plan"]["count"])
    problems = {
        "missing": np.setdiff1d(planned, found),
        "there more than once": found[counts > 1],
        "not in the plan": np.setdiff1d(found, planned),
    }
    return [
        f"{len(samples)} samples are {what}, the first is {samples[0]}"
        for what, samples in problems.items()
        if len(samples)
    ]
