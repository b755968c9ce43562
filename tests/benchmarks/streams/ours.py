"""Our own stream, on shards as an import writes them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from aigc.data.catalog import Dataset, publish
from aigc.data.manifest import MANIFEST, Manifest, read_manifest
from aigc.data.shards import schema, table_of, write_shard
from aigc.data.stream import Stream
from aigc.layout import Layout
from streams.sources import BATCH, SEED, Epoch, Route, Shape, Source

DISTRIBUTION = "aigc-factory"
SHARD_RECORDS = 65_536
PARQUET, IPC = "parquet", "arrow"


def write(source: Source, folder: Path) -> None:
    """The records in both formats."""
    for kind in (PARQUET, IPC):
        write_dataset(source, folder / kind, kind)


def write_dataset(source: Source, folder: Path, kind: str = PARQUET, copies: int = 1) -> None:
    """Shards of an import's size; with `copies`, each of them under so many names."""
    layout = Layout(modality="image", shape=source.shape, labels=tuple("0123456789"))
    shards = []
    for start in range(0, len(source.labels), SHARD_RECORDS):
        rows = slice(start, start + SHARD_RECORDS)
        stored, labels = (torch.from_numpy(array[rows].copy()) for array in source)
        first = f"shards/{start:09d}-0000.{kind}"
        shard = write_shard(folder, first, "train", table_of(stored, labels, layout))
        for copy in range(1, copies):
            path = f"shards/{start:09d}-{copy:04d}.{kind}"
            os.link(folder / first, folder / path)
            shards.append(shard.model_copy(update={"path": path}))
        shards.append(shard)
    manifest = Manifest(
        name="benchmark",
        version="1",
        created="2026-01-01T00:00:00+00:00",
        layout=layout,
        columns={field.name: str(field.type) for field in schema(layout)},
        shards=tuple(shards),
        source={"benchmark": "stream"},
    )
    publish(folder, manifest)


def dataset_in(folder: Path) -> Dataset:
    """The dataset that `write` has made there."""
    assert (folder / MANIFEST).is_file()
    return Dataset(folder, read_manifest(folder))


def read(kind: str, folder: Path, shape: Shape) -> Epoch:
    """One worker that goes on from epoch to epoch, with the window that is usual for the shape."""
    following = Stream(dataset_in(folder / kind), "train", BATCH, SEED).batches()

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch, position in following:
            assert batch.labels is not None
            yield batch.records, batch.labels
            if position.batch == 0:
                return

    return epoch


ROUTES: dict[str, Route] = {kind: functools.partial(read, kind) for kind in (PARQUET, IPC)}
