"""One measurement in a process of its own: `python -m streams.measure MODULE ROUTE FOLDER SHAPE`.

The last line that it prints is the outcome as JSON.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

WARM_UP_SECONDS, LOOK_SECONDS = 1.0, 2.0

Batches = Iterator[tuple[Tensor, Tensor]]


def main() -> None:
    """Import the library, open its stream, and read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("route")
    parser.add_argument("folder", type=Path)
    parser.add_argument("shape", type=json.loads)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long is measured")
    parser.add_argument("--whole", action="store_true", help="whole epochs, if it takes longer")
    parser.add_argument("--totals", action="store_true", help="also add up the first epoch")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    library = importlib.import_module(f"streams.{chosen.module}")
    started = time.perf_counter()
    epoch = library.ROUTES[chosen.route](chosen.folder, tuple(chosen.shape))
    batches = epoch(0)
    first = next(batches)
    outcome = {"first_batch_seconds": time.perf_counter() - started}
    if chosen.totals:
        outcome |= totals(itertools.chain([first], batches))
    following = itertools.chain.from_iterable(map(epoch, itertools.count(1)))
    following = itertools.chain(batches, following)
    for _ in within(following, min(WARM_UP_SECONDS, chosen.seconds)):
        pass
    if chosen.whole:
        del batches, following
        outcome |= measured(epoch(1), math.inf)
    else:
        outcome |= measured(following, chosen.seconds)
    print(json.dumps(outcome), flush=True)


class Processor:
    """Seconds of the processor that this process and its descendants take from now on.

    Each process is looked at now and then, so that what ends before the end is counted: Ray's
    workers come and go, and nobody inherits their times.
    """

    def __init__(self) -> None:
        self._latest = self._first = self._seen()
        self._next = time.perf_counter() + LOOK_SECONDS

    def look(self, now: bool = False) -> float:
        """The seconds up to the last look, which is at most LOOK_SECONDS ago."""
        if now or time.perf_counter() > self._next:
            self._latest = self._latest | self._seen()
            self._next = time.perf_counter() + LOOK_SECONDS
        return sum(self._latest.values()) - sum(self._first.values())

    def _seen(self) -> dict[int, float]:
        return {pid: times.user + times.system for pid, times in of_tree("cpu_times")}


def measured(batches: Batches, seconds: float) -> dict[str, float]:
    """The batches of so many seconds. CPU-seconds and memory are of this process and all below it.

    What begins within that time, an epoch's permutation or its first buffer, is measured with it.
    """
    records = 0
    started, processor = time.perf_counter(), Processor()
    for images, _ in within(batches, seconds):
        records += len(images)
        processor.look()
    wall, cpu = time.perf_counter() - started, processor.look(now=True)
    return {
        "records": records,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "records_per_cpu_second": records / cpu,
        "peak_mib": peak_mib(),
        "tree_mib": sum(memory.pss for _, memory in of_tree("memory_full_info")) / 2**20,
    }


def peak_mib() -> float:
    """The most memory that this process ever held. (`getrusage` begins with its parent's.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def totals(batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, int]:
    """The records of an epoch, the sum of their labels and of their pixels as stored."""
    records = labels = pixels = 0
    for images, targets in batches:
        assert images.dtype == torch.float32, images.dtype
        assert targets.dtype == torch.int64, targets.dtype
        records, labels = records + len(images), labels + int(targets.sum())
        pixels += int(images.add(1).mul_(255 / 2).round_().to(torch.int64).sum())
    return {"epoch_records": records, "epoch_labels": labels, "epoch_pixels": pixels}


def within(batches: Batches, seconds: float) -> Batches:
    """The batches until so many seconds are over."""
    end = time.perf_counter() + seconds
    for batch in batches:
        yield batch
        if time.perf_counter() > end:
            return


def of_tree(what: str) -> Iterator[tuple[int, Any]]:
    """What psutil says of this process and of each below it, by their numbers."""
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            yield process.pid, getattr(process, what)()
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    main()
