"""The datasets of a workspace: publish, find, list.

datasets/NAME/VERSION/manifest.json     putting this file publishes the dataset
datasets/NAME/VERSION/shards/*.parquet
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from aigc.data.reader import OpenShards, ShardReader, content_columns
from aigc.data.storage import Location
from aigc.errors import DatasetNotFound, ManifestInvalid


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

    @property
    def location(self) -> Location:
        """Where the shards lie."""
        return Location(self.manifest.location or self.folder.absolute().as_uri())

    def read(self, split: str, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """A split in its stored order, piece by piece: content and label, or `columns`.

        Raises ShardCorrupt, StorageUnavailable.
        """
        types = {name: self.manifest.columns[name] for name in columns}
        for shard in self.shards(split):
            reader = ShardReader(self.location, shard, types or content_columns(self.manifest))
            try:
                for row_group in shard.readable:
                    yield from reader.read(row_group)
            finally:
                reader.close()

    def records(self, split: str) -> Records:
        """The records of a split in their stored order, in memory.

        For reference sets and reports; training uses `aigc.data.stream`.
        """
        shards = OpenShards(self.location, self.manifest, 1)
        groups = ((shard, group) for shard in self.shards(split) for group in shard.readable)
        parts = [part for place in groups for part in shards.row_group(*place).records()]
        shards.close()
        labels = [part.labels for part in parts if part.labels is not None]
        stored = torch.cat([part.stored for part in parts])
        return Records(stored, torch.cat(labels) if labels else None)


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
