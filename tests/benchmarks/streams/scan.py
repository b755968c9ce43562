"""PyArrow alone on our own shards: row after row as they are stored, not shuffled.

No stream that delivers the same records from the same files can do less.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from streams.columns import batch_of
from streams.ours import IPC, PARQUET, dataset_in, write
from streams.sources import BATCH, Epoch, Route, Shape, decoded

DISTRIBUTION = "pyarrow"
CHECKED = "parquet, checksums"
__all__ = ["DISTRIBUTION", "ROUTES", "write"]


def read(folder: Path, shape: Shape, checked: bool) -> Epoch:
    """`ParquetFile.iter_batches` over each shard."""
    paths = [folder / PARQUET / s.path for s in dataset_in(folder / PARQUET).shards("train")]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for path in paths:
            with pq.ParquetFile(path, page_checksum_verification=checked) as file:
                for batch in file.iter_batches(BATCH, use_threads=False):
                    yield batch_of(batch, shape)

    return lambda number: decoded(batches())


def read_ipc(folder: Path, shape: Shape) -> Epoch:
    """`RecordBatchFileReader.get_batch` over each shard, memory-mapped, nothing checked."""
    paths = [folder / IPC / shard.path for shard in dataset_in(folder / IPC).shards("train")]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for path in paths:
            with pa.memory_map(str(path)) as file:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    whole = reader.get_batch(number)
                    for start in range(0, whole.num_rows, BATCH):
                        yield batch_of(whole.slice(start, BATCH), shape)

    return lambda number: decoded(batches())


ROUTES: dict[str, Route] = {
    PARQUET: functools.partial(read, checked=False),
    CHECKED: functools.partial(read, checked=True),
    IPC: read_ipc,
}
