"""WebDataset: tar files, shuffled by shards and by a buffer, batched in its pipeline.

A record is one member, its label the first byte: a second member for the label, as its tutorials
have it, costs as much again, because the time goes into Python's tarfile.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
import webdataset
from torch import Tensor

from streams.sources import BATCH, SEED, Epoch, Route, Shape, Source, decoded, joined, window_of

DISTRIBUTION = "webdataset"
SHARDS = 16


def write(source: Source, folder: Path) -> None:
    """Sixteen tar files of records without compression."""
    folder.mkdir(parents=True)
    size = -(-len(source.labels) // SHARDS)
    pattern = str(folder / "%06d.tar")
    limits = {"maxcount": size, "maxsize": 2**40}
    # A whole number of seconds: a fraction would make tarfile write, and read, a second header.
    with webdataset.ShardWriter(pattern, **limits, mtime=0, verbose=0) as writer:
        for row, (image, label) in enumerate(zip(source.images, source.labels, strict=True)):
            writer.write({"__key__": f"{row:09d}", "bin": bytes([label]) + image.tobytes()})


def read(workers: int, folder: Path, shape: Shape) -> Epoch:
    """A buffer as large as our window."""
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=SHARDS, seed=SEED, empty_check=False)
        .shuffle(window_of(shape))
        .batched(BATCH, collation_fn=functools.partial(_collated, shape))
    )
    if not workers:
        return lambda number: decoded(dataset)
    loader = webdataset.WebLoader(
        dataset, batch_size=None, num_workers=workers, persistent_workers=True
    )
    return lambda number: decoded(loader)


def _collated(shape: Shape, records: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    values = [record["bin"] for record in records]
    labels = torch.tensor([value[0] for value in values])
    return joined([value[1:] for value in values], shape), labels


ROUTES: dict[str, Route] = {
    "in process": functools.partial(read, 0),
    "2 workers": functools.partial(read, 2),
}
