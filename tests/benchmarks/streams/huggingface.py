"""Hugging Face datasets: Arrow files, shuffled by an index or by a buffer, read as Arrow tables.

Python objects, NumPy's or torch's formats and a DataLoader are all slower: `with_format("arrow")`
takes the rows of a batch in one call, and the bytes become a tensor without a copy.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
from torch import Tensor
from torch.utils.data import DataLoader

from streams.columns import batch_of, table_of
from streams.sources import BATCH, SEED, Epoch, Route, Shape, Source, decoded, window_of

DISTRIBUTION = "datasets"
SHARDS = 16
datasets.disable_progress_bars()


def write(source: Source, folder: Path) -> None:
    """Sixteen Arrow files, as `save_to_disk` writes them."""
    datasets.Dataset(table_of(source, 0, len(source.labels))).save_to_disk(
        folder, num_shards=SHARDS
    )


def indexed(folder: Path, shape: Shape) -> Epoch:
    """`Dataset.shuffle`: a permutation of all rows, a new one each epoch."""
    dataset = datasets.load_from_disk(str(folder)).with_format("arrow")

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        shuffled = dataset.shuffle(seed=SEED + number, keep_in_memory=True)
        return decoded(_batches(shuffled.iter(batch_size=BATCH), shape))

    return epoch


def buffered(workers: int, folder: Path, shape: Shape) -> Epoch:
    """`IterableDataset.shuffle`: its files, and a buffer as large as our window."""
    dataset = datasets.load_from_disk(str(folder)).with_format("arrow")
    streamed = dataset.to_iterable_dataset(num_shards=64)
    streamed = streamed.shuffle(seed=SEED, buffer_size=window_of(shape))
    whole = streamed.batch(BATCH)
    loader = DataLoader(whole, batch_size=None, num_workers=workers) if workers else None

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        streamed.set_epoch(number)
        tables = streamed.iter(batch_size=BATCH) if loader is None else loader
        return decoded(_batches(tables, shape))

    return epoch


def _batches(tables: Iterator[pa.Table], shape: Shape) -> Iterator[tuple[Tensor, Tensor]]:
    return map(batch_of, tables, itertools.repeat(shape))


ROUTES: dict[str, Route] = {
    "index": indexed,
    "buffer": functools.partial(buffered, 0),
}
