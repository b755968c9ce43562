"""Ray Data: our own Parquet shards, read by its tasks and shuffled by its local buffer."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow.parquet as pq
import ray
import ray.data

from streams.columns import batch_of, table_of
from streams.sources import BATCH, SEED, Epoch, Route, Shape, Source, decoded, window_of

DISTRIBUTION = "ray"
SHARDS = 16


def write(source: Source, folder: Path) -> None:
    """Sixteen Parquet files of `fixed_size_binary`, compressed with snappy, PyArrow's default."""
    folder.mkdir(parents=True)
    size = -(-len(source.labels) // SHARDS)
    for start in range(0, len(source.labels), size):
        table = table_of(source, start, min(start + size, len(source.labels)))
        pq.write_table(table, folder / f"{start:09d}.parquet", use_dictionary=False)


def read(folder: Path, shape: Shape) -> Epoch:
    """Files in a new order each epoch, and a buffer as large as our window."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    dataset = ray.data.read_parquet(str(folder), shuffle="files")

    def epoch(number: int):
        batches = dataset.iter_batches(
            batch_size=BATCH,
            batch_format="pyarrow",
            local_shuffle_buffer_size=window_of(shape),
            local_shuffle_seed=SEED + number,
        )
        return decoded(batch_of(batch, shape) for batch in batches)

    return epoch


ROUTES: dict[str, Route] = {"local buffer": read}
