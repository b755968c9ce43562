"""A dataset's part of the batches: window after window, each record put at its place in one block
of memory, whose slices are the batches.

While the batches of a window are handed out, threads read the next one ahead, if there is anything
to overlap with: who only reads is served faster by its own thread, because two share a
processor's caches and Python's lock. A worker holds its part of two windows and a row group or
two, however large the dataset is.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aigc.data.batches import Records
from aigc.data.catalog import Dataset
from aigc.data.order import SHARDS_TOGETHER, Order, Rows, Span, Window
from aigc.data.reader import OpenShards, RowGroup, content_columns
from aigc.modalities.columns import holds_files

REMOTE_READERS = 8
"""Threads that read ahead from a bucket, which answers slowly."""


class Share(NamedTuple):
    """A worker's part of a batch: the rank-th of `size` parts of all its slots, of which `others`
    belong to other datasets of a mixture, `before` of these ahead of this dataset's."""

    rank: int
    size: int
    before: int
    others: int

    def slots(self, count: int) -> range:
        """Those of this worker among the `count` slots that the dataset has in a batch."""
        whole = count + self.others
        first, last = (whole * rank // self.size for rank in (self.rank, self.rank + 1))
        return range(_clamped(first - self.before, count), _clamped(last - self.before, count))


class Feed:
    """The worker's records of every batch of a dataset, in the given order.

    The stored records that it yields are good until the next batch is asked for, because their
    memory is used again.
    """

    def __init__(self, dataset: Dataset, split: str, order: Order, share: Share, pin: bool) -> None:
        self.order, self._share, self._pin = order, share, pin
        self._layout = dataset.manifest.layout
        self._readers = _readers(dataset)
        self._shards = OpenShards(dataset.location, dataset.manifest, 2 * SHARDS_TOGETHER)
        self._groups = [(shard, g) for shard in dataset.shards(split) for g in shard.readable]
        self._kept, self._keeping = dict[int, RowGroup](), threading.Lock()
        self._free = list[Tensor]()

    def batches(self, first: int) -> Generator[Records, None, None]:
        """This worker's stored records of batch `first`, counted over all epochs, and of all that
        follow it."""
        epoch, batch = divmod(first, self.order.batches_per_epoch)
        windows = self.order.windows(epoch, batch)
        pool = ThreadPoolExecutor(self._readers, thread_name_prefix="stream")
        several = pool if self._readers > 1 else None
        block, used_seconds = self._begin(next(windows), several), math.inf
        batches = block.batches(batch - block.window.first)
        try:
            block.fill()
            # Before anything is read ahead: somebody waits for it.
            yield next(batches)
            while True:
                following, ahead = next(windows), None
                if several or used_seconds >= block.read_seconds:
                    ahead = self._begin(following, pool)
                started = time.perf_counter()
                yield from batches
                used_seconds = time.perf_counter() - started
                # Pinned memory may still be on its way to the device; torch keeps account of it.
                if not self._pin:
                    self._free.append(block.unfilled.stored)
                block = ahead or self._begin(following)
                block.fill()
                batches = block.batches()
        finally:
            pool.shutdown(cancel_futures=True)
            self._shards.close()

    def _begin(self, window: Window, pool: ThreadPoolExecutor | None = None) -> _Block:
        """The memory of this worker's part of a window; with a pool, it is being filled."""
        slots = self._share.slots(window.batch_size)
        labels = torch.empty(window.batches * len(slots), dtype=torch.int64, pin_memory=self._pin)
        records = Records(self._memory(), labels if self._layout.labels else None)
        block = _Block(window, slots, records, self.order.spans(window, slots), self._place)
        if pool is not None:
            block.filling = [pool.submit(self._place, span, block) for span in block.spans]
        return block

    def _memory(self) -> Tensor:
        """Room for this worker's part of any window: that of a used one, if there is one."""
        if self._free:
            return self._free.pop()
        window = self.order.largest_window
        count = window.batches * len(self._share.slots(window.batch_size))
        if self._pin:
            return torch.empty((count, *self._layout.shape), dtype=torch.uint8, pin_memory=True)
        # NumPy's memory comes in huge pages where the system has them, torch's does not: a window
        # is filled in a fifth of the time.
        return torch.from_numpy(np.empty((count, *self._layout.shape), np.uint8))

    def _place(self, span: Span, block: _Block) -> float:
        """Put the records of a row group at their places in a block; the processor's seconds that
        it took. Waiting for a disk is none of them: it costs nothing in the background."""
        started, first = time.thread_time(), 0
        rows, places = self.order.deal(block.window, block.slots, span)
        for piece in self._row_group(span.group, is_whole=rows is None).records(rows):
            last = first + len(piece.stored)
            _copy(piece, block.unfilled, places[first:last])
            first = last
        return time.thread_time() - started

    def _row_group(self, group: int, is_whole: bool) -> RowGroup:
        """A row group, of which kept are the last one that another window needs too, and all of a
        dataset that is no larger than a window."""
        with self._keeping:
            if group in self._kept:
                return self._kept[group]
        found = self._shards.row_group(*self._groups[group])
        if (is_whole and not self.order.is_one_window) or not found.keep():
            return found
        with self._keeping:
            if not self.order.is_one_window:
                self._kept.clear()
            self._kept[group] = found
        return found


@dataclass
class _Block:
    """The memory of a worker's part of a window, places batch after batch, being filled.

    `place` puts the records of a span there; `read_seconds` are those of all of them together.
    """

    window: Window
    slots: range
    unfilled: Records
    spans: list[Span]
    place: Callable[[Span, _Block], float]
    filling: list[Future[float]] | None = None
    read_seconds: float = 0.0

    def fill(self) -> None:
        """Fill it here and now, or wait for the background. Raises what reading raises."""
        if self.filling is None:
            self.read_seconds = sum(self.place(span, self) for span in self.spans)
        else:
            self.read_seconds = sum(each.result() for each in self.filling)

    def batches(self, skip: int = 0) -> Iterator[Records]:
        """Each batch but the first `skip`; the block must be filled."""
        size = len(self.slots)
        for number in range(skip, self.window.batches):
            yield self.unfilled.take(slice(number * size, (number + 1) * size))


def _readers(dataset: Dataset) -> int:
    """Threads that read ahead: one keeps a disk ahead of the steps, unless files in the column
    have to be decoded."""
    if not dataset.location.is_local:
        return REMOTE_READERS
    content = next(iter(content_columns(dataset.manifest).values()))
    return torch.get_num_threads() if holds_files(content) else 1


def _copy(source: Records, target: Records, places: Rows) -> None:
    """Copy the source's records to these places of the target."""
    _as_bytes(target.stored)[places] = _as_bytes(source.stored)
    if target.labels is not None and source.labels is not None:
        target.labels.numpy()[places] = source.labels.numpy()


def _as_bytes(stored: Tensor) -> npt.NDArray[np.void]:
    """Each record as one value of so many bytes: NumPy copies such whole, and ten times as fast
    as torch does rows."""
    flat = stored.numpy().reshape(len(stored), -1)
    return flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).reshape(-1)


def _clamped(slot: int, count: int) -> int:
    return min(max(slot, 0), count)
