"""Our stream looked at alone, each time in a process of its own: memory, a share, resuming.

`python -m streams.probe WHAT FOLDER …`; the last line that it prints is the outcome as JSON.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import torch

from aigc.data.stream import Position, Stream
from streams.measure import peak_mib
from streams.ours import dataset_in
from streams.sources import BATCH, SEED


def memory(folder: Path, batches: int) -> dict[str, float]:
    """Peak memory after so many batches, and before the first."""
    dataset = dataset_in(folder)
    before = peak_mib()
    stream = Stream(dataset, "train", BATCH, SEED)
    for _ in islice(stream.batches(), batches):
        pass
    return {"before_mib": before, "peak_mib": peak_mib()}


def share(folder: Path, rank: int, size: int) -> dict[str, float]:
    """CPU-seconds of this worker's part of the first epoch, after a first batch of another one."""
    stream = Stream(dataset_in(folder), "train", BATCH, SEED, rank, size)
    next(iter(stream.batches(Position(1))))
    records, cpu = 0, time.process_time()
    for batch, _ in islice(stream.batches(), stream.batches_per_epoch):
        records += len(batch.records)
    return {"records": records, "cpu_seconds": time.process_time() - cpu}


def resume(folder: Path, times: int) -> dict[str, float]:
    """Seconds from opening the stream at a random position to its batch; of reading a row group."""
    dataset, draw = dataset_in(folder), random.Random(SEED)
    batches = sum(shard.records for shard in dataset.shards("train")) // BATCH
    seconds = []
    for _ in range(times):
        position = Position(draw.randrange(100), draw.randrange(batches))
        started = time.perf_counter()
        stream = Stream(dataset, "train", BATCH, SEED)
        following = stream.batches(position)
        next(following)
        seconds.append(time.perf_counter() - started)
        following.close()
    groups = []
    for shard in draw.choices(dataset.shards("train"), k=times):
        started = time.perf_counter()
        with pq.ParquetFile(folder / shard.path) as file:
            file.read_row_group(draw.randrange(len(shard.row_groups)), use_threads=False)
        groups.append(time.perf_counter() - started)
    return {
        "first_seconds": seconds[0],
        "median_seconds": statistics.median(seconds),
        "worst_seconds": max(seconds),
        "row_group_seconds": statistics.median(groups),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    probe = {"memory": memory, "share": share, "resume": resume}[sys.argv[1]]
    print(json.dumps(probe(Path(sys.argv[2]), *map(int, sys.argv[3:]))), flush=True)
