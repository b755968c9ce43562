"""LitData: chunks of records written by `optimize`, read by its StreamingDataLoader."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize
from torch import Tensor

from streams.sources import BATCH, SEED, Epoch, Route, Shape, Source, decoded, joined

DISTRIBUTION = "litdata"


def write(source: Source, folder: Path) -> None:
    """Chunks of 64 MB, each record its bytes and its label."""
    rows = np.array_split(np.arange(len(source.labels)), 64)
    optimize(
        functools.partial(_records, source),
        inputs=[(part[0], part[-1] + 1) for part in rows],
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


def _records(source: Source, rows: tuple[int, int]) -> Iterator[dict[str, Any]]:
    for row in range(*rows):
        yield {"image": source.images[row].tobytes(), "label": int(source.labels[row])}


def read(workers: int, folder: Path, shape: Shape) -> Epoch:
    """Its own shuffle: chunks, and records within blocks of 256."""
    dataset = StreamingDataset(str(folder), shuffle=True, seed=SEED)
    loader = StreamingDataLoader(
        dataset,
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=functools.partial(_collated, shape),
    )
    return lambda number: decoded(loader)


def _collated(shape: Shape, records: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    images = joined([record["image"] for record in records], shape)
    return images, torch.tensor([record["label"] for record in records])


ROUTES: dict[str, Route] = {
    "in process": functools.partial(read, 0),
    "2 workers": functools.partial(read, 2),
}
