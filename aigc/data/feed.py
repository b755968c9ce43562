"""A dataset's part of the batches: read ahead by a window, in background threads.

Threads read the row groups of the next window and put every record at its place in one block of
memory, while the batches of this window are handed out as slices of another. A worker holds its
part of two windows and a row group or two, however large the dataset is.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
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
from aigc.data.reader import OpenShards

LOCAL_READERS, REMOTE_READERS = 1, 8
"""Threads that read ahead. One keeps a disk ahead of the steps; a bucket answers slowly."""


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
        self._readers = LOCAL_READERS if dataset.location.is_local else REMOTE_READERS
        self._shards = OpenShards(dataset.location, dataset.manifest, 2 * SHARDS_TOGETHER)
        self._groups = [(shard, g) for shard in dataset.shards(split) for g in shard.readable]
        self._kept, self._keeping = dict[int, list[Records]](), threading.Lock()
        self._free = list[Tensor]()

    def batches(self, first: int) -> Generator[Records, None, None]:
        """This worker's stored records of batch `first`, counted over all epochs, and of all that
        follow it."""
        epoch, batch = divmod(first, self.order.batches_per_epoch)
        windows = self.order.windows(epoch, batch)
        pool = ThreadPoolExecutor(self._readers, thread_name_prefix="stream")
        ahead = None
        try:
            ahead = self._begin(pool, next(windows))
            skip = batch - ahead.window.first
            while True:
                block, records = ahead, ahead.records()
                ahead = self._begin(pool, next(windows))
                size = len(block.slots)
                for number in range(skip, block.window.batches):
                    yield records.take(slice(number * size, (number + 1) * size))
                skip = 0
                # Pinned memory may still be on its way to the device; torch keeps account of it.
                if not self._pin:
                    self._free.append(records.stored)
                del block, records
        finally:
            for each in ahead.filling if ahead else ():
                each.cancel()
            pool.shutdown()
            self._shards.close()

    def _begin(self, pool: ThreadPoolExecutor, window: Window) -> _Block:
        """Start to fill the memory of this worker's part of a window."""
        slots = self._share.slots(window.batch_size)
        labels = torch.empty(window.batches * len(slots), dtype=torch.int64, pin_memory=self._pin)
        records = Records(self._memory(), labels if self._layout.labels else None)
        block = _Block(window, slots, records, [])
        for span in self.order.spans(window, slots):
            block.filling.append(pool.submit(self._place, span, block))
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

    def _place(self, span: Span, block: _Block) -> None:
        """Put the records of a row group at their places in a block."""
        rows, places = self.order.deal(block.window, block.slots, span)
        first = 0
        for piece in self._read(span.group, is_whole=rows is None):
            last = first + len(piece.stored)
            if rows is None:
                _copy(piece, slice(None), block.unfilled, places[first:last])
            else:
                low, high = np.searchsorted(rows, (first, last))
                _copy(piece, rows[low:high] - first, block.unfilled, places[low:high])
            first = last

    def _read(self, group: int, is_whole: bool) -> Iterable[Records]:
        """The records of a row group, piece by piece. Kept are the last row group that another
        window needs too, and all of a dataset that is no larger than a window."""
        with self._keeping:
            if group in self._kept:
                return self._kept[group]
        pieces = self._shards.records(*self._groups[group])
        if is_whole and not self.order.is_one_window:
            return pieces
        kept = list(pieces)
        with self._keeping:
            if not self.order.is_one_window:
                self._kept.clear()
            self._kept[group] = kept
        return kept


@dataclass(frozen=True)
class _Block:
    """The memory of a worker's part of a window, places batch after batch, being filled."""

    window: Window
    slots: range
    unfilled: Records
    filling: list[Future[None]]

    def records(self) -> Records:
        """The records, when all are there. Raises what reading them raised."""
        for each in self.filling:
            each.result()
        return self.unfilled


def _copy(source: Records, rows: Rows | slice, target: Records, places: Rows) -> None:
    """Copy these rows of the source to these places of the target."""
    _as_bytes(target.stored)[places] = _as_bytes(source.stored)[rows]
    if target.labels is not None and source.labels is not None:
        target.labels.numpy()[places] = source.labels.numpy()[rows]


def _as_bytes(stored: Tensor) -> npt.NDArray[np.void]:
    """Each record as one value of so many bytes: NumPy copies such whole, and ten times as fast
    as torch does rows."""
    flat = stored.numpy().reshape(len(stored), -1)
    return flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).reshape(-1)


def _clamped(slot: int, count: int) -> int:
    return min(max(slot, 0), count)
