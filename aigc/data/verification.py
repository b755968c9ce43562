"""Verifying a dataset byte by byte, and leaving out what is damaged."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from aigc.data.catalog import Dataset, publish
from aigc.data.files import sha256_of
from aigc.data.manifest import Shard, read_manifest
from aigc.data.reader import ShardReader, content_columns
from aigc.data.shards import SAMPLE
from aigc.errors import DataError, ShardCorrupt


@dataclass(frozen=True)
class Damage:
    """What is wrong in a dataset, and which row groups of which shard cannot be read for it."""

    what: str
    path: str = ""
    row_groups: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.what


def verify(dataset: Dataset) -> list[Damage]:
    """What is missing, changed or foreign in a dataset; empty when nothing is.

    A shard on this machine whose hash the manifest has is hashed. Of the others, and of those that
    were changed, the footer must be the published one, and every content and label that is not
    quarantined is read. Of a generated dataset, so is every sample's id. Raises ManifestInvalid if
    the manifest was changed, StorageUnavailable.
    """
    read_manifest(dataset.folder)
    # SHA-256 holds no interpreter's lock; one thread of it is slower than a disk of today. Of two a
    # core, one hashes while the other waits for the disk.
    with ThreadPoolExecutor(2 * len(os.sched_getaffinity(0))) as pool:
        judged = pool.map(lambda shard: [*_verify_shard(dataset, shard)], dataset.manifest.shards)
        found = [damage for damages in judged for damage in damages]
    found += _foreign(dataset)
    return found or _verify_samples(dataset)


def proof(dataset: Dataset) -> str:
    """What it means that `verify` has found nothing."""
    shards = dataset.manifest.shards
    hashed = sum(_is_hashed(dataset, shard) and not shard.quarantined for shard in shards)
    if hashed == len(shards):
        return "every file has its published hash"
    of = f"{hashed} of {len(shards)} files have their published hash; of the others, "
    return f"{of if hashed else ''}footers are as published, and contents and labels can be read"


def without(dataset: Dataset, damages: list[Damage]) -> Dataset:
    """A version of the dataset that does not read what is damaged, published beside it.

    Its shards are the same files. Raises DataError when nothing would be left.
    """
    kept = remainder(dataset, damages)
    return publish(kept.folder, kept.manifest)


def remainder(dataset: Dataset, damages: list[Damage]) -> Dataset:
    """What `without` publishes; the dataset itself when every row group can be read."""
    if not any(damage.row_groups for damage in damages):
        return dataset
    lost = defaultdict[str, set[int]](set)
    for damage in damages:
        lost[damage.path] |= {*damage.row_groups}
    shards = [
        shard.model_copy(
            update={"quarantined": tuple(sorted({*shard.quarantined, *lost[shard.path]}))}
        )
        for shard in dataset.manifest.shards
    ]
    kept = [shard for shard in shards if shard.records]
    if not kept:
        raise DataError(
            f"{dataset.reference} has no undamaged row group",
            "Import its files, which leaves out single records: aigc data import",
        )
    quarantined = {"quarantined": [damage.what for damage in damages if damage.row_groups]}
    manifest = dataset.manifest.model_copy(
        update={
            "shards": tuple(kept),
            "location": dataset.location.uri,
            "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "source": {**dataset.manifest.source, "from": dataset.reference, **quarantined},
        }
    )
    manifest = manifest.model_copy(update={"version": manifest.content_digest()[:12]})
    return Dataset(dataset.folder.parent / manifest.version, manifest.sealed())


def _verify_shard(dataset: Dataset, shard: Shard) -> Iterator[Damage]:
    is_hashed = _is_hashed(dataset, shard)
    changed = _changed(dataset, shard) if is_hashed else None
    if is_hashed and not changed:
        return
    try:
        reader = ShardReader(dataset.location, shard, content_columns(dataset.manifest))
    except ShardCorrupt as error:
        yield Damage(changed or error.what, shard.path, shard.readable)
        return
    broken = [
        damage
        for group in shard.readable
        for damage in _verify_group(reader, shard, group, dataset)
    ]
    reader.close()
    yield from broken
    if changed and not broken and not shard.quarantined:
        yield Damage(f"{changed}, yet every record can be read", shard.path)


def _is_hashed(dataset: Dataset, shard: Shard) -> bool:
    return shard.sha256 is not None and dataset.location.is_local


def _verify_group(
    reader: ShardReader, shard: Shard, group: int, dataset: Dataset
) -> Iterator[Damage]:
    try:
        deque(reader.row_group(group, dataset.manifest).records(), maxlen=0)
    except ShardCorrupt as error:
        yield Damage(error.what, shard.path, (group,))


def _changed(dataset: Dataset, shard: Shard) -> str | None:
    """How the file of a shard differs from what was published, of which there is the hash."""
    path = dataset.location.folder / shard.path
    if not path.is_file():
        return f"{shard.path} is missing"
    size = path.stat().st_size
    if size != shard.bytes:
        return f"{shard.path} has {size} bytes instead of {shard.bytes}"
    if sha256_of(path) != shard.sha256:
        return f"{shard.path} was changed: its sha256 is not the manifest's"
    return None


def _foreign(dataset: Dataset) -> list[Damage]:
    """Files among the shards that are not in the manifest; of our own folders only."""
    if dataset.manifest.location:
        return []
    expected = {shard.path for shard in dataset.manifest.shards}
    present = {
        path.relative_to(dataset.folder).as_posix()
        for path in (dataset.folder / "shards").glob("**/*")
        if path.is_file()
    }
    return [Damage(f"{path} is not in the manifest") for path in sorted(present - expected)]


def _verify_samples(dataset: Dataset) -> list[Damage]:
    """Whether a generated dataset holds each planned sample once, and nothing else.

    Samples may be missing from a version that leaves out what was damaged.
    """
    if SAMPLE not in dataset.manifest.columns:
        return []
    ids = [
        batch.column(0).to_numpy()
        for split in dataset.manifest.splits
        for batch in dataset.read(split, [SAMPLE])
    ]
    samples, planned = np.concatenate(ids), np.arange(dataset.manifest.source["plan"]["count"])
    if np.array_equal(np.sort(samples), planned):
        return []
    found, counts = np.unique(samples, return_counts=True)
    is_whole = "quarantined" not in dataset.manifest.source
    problems = {
        "missing": np.setdiff1d(planned if is_whole else found, found),
        "there more than once": found[counts > 1],
        "not in the plan": np.setdiff1d(found, planned),
    }
    return [
        Damage(f"{len(wrong)} samples are {what}, the first is {wrong[0]}")
        for what, wrong in problems.items()
        if len(wrong)
    ]
