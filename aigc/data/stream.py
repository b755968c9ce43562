"""The training stream: batches in an order that is a pure function of (seed, epoch).

Row groups are shuffled, gathered to windows of at least `window` records, and the records of a
window are shuffled. Worker r of W takes the r-th part of every global batch, so that the sequence
of global batches is the same on any number of workers, and from any position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from aigc.data.batches import Batch, Records
from aigc.data.catalog import Dataset, content_of
from aigc.data.shards import ShardReader, schema
from aigc.errors import DataError
from aigc.modalities import modality
from aigc.seeding import generator

WINDOW_RECORDS = 16_384
"""Records shuffled together: what the stream holds in memory, and how far a record can move."""


class Position(NamedTuple):
    """Where a stream is: the epoch, and how many global batches of it were handed out."""

    epoch: int = 0
    batch: int = 0


START = Position()


def windows(
    row_groups: Sequence[int], seed: int, epoch: int, window: int = WINDOW_RECORDS
) -> list[list[int]]:
    """The row groups of an epoch in its order, gathered to windows of at least `window` records.

    `row_groups` are the records in each. The last window may be smaller.
    """
    order = torch.randperm(len(row_groups), generator=generator(seed, "epoch", epoch)).tolist()
    gathered: list[list[int]] = [[]]
    records = 0
    for group in order:
        if records >= window:
            gathered.append([])
            records = 0
        gathered[-1].append(group)
        records += row_groups[group]
    return gathered


class Stream:
    """Global batches of `batch_size` records of a split, epoch after epoch; this worker's part.

    The last, short batch of an epoch is left out. Raises DataError if the split is smaller than
    one batch, ShardCorrupt when a shard is not what the manifest says.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        batch_size: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
        window: int = WINDOW_RECORDS,
    ) -> None:
        self._dataset, self._seed, self._window = dataset, seed, window
        self._batch_size, self._rank, self._size = batch_size, rank, size
        self._content = modality(dataset.manifest.layout.modality)
        shards = dataset.shards(split)
        self._groups = [
            (shard, group) for shard in shards for group in range(len(shard.row_groups))
        ]
        self._records = [shard.row_groups[group] for shard, group in self._groups]
        self._is_one_window = sum(self._records) <= window
        self._tables: dict[int, pa.Table] = {}
        self.batches_per_epoch = sum(self._records) // batch_size
        if not self.batches_per_epoch:
            raise DataError(
                f"the {split} split of {dataset.reference} has {sum(self._records)} records, "
                f"fewer than one batch of {batch_size}",
                "Lower training.batch_size or use a larger dataset",
            )

    def batches(self, start: Position = START) -> Iterator[tuple[Batch, Position]]:
        """Batches from `start` on, without end; beside each, the position after it."""
        epoch, skip = start
        while True:
            for number, batch in enumerate(self._epoch(epoch, skip), start=skip + 1):
                yield batch, self._position(epoch, number)
            epoch, skip = epoch + 1, 0

    def _position(self, epoch: int, batch: int) -> Position:
        return Position(epoch + 1, 0) if batch == self.batches_per_epoch else Position(epoch, batch)

    def _epoch(self, epoch: int, skip: int) -> Iterator[Batch]:
        """The batches of an epoch but for the first `skip`; what they consumed is not read."""
        to_skip = skip * self._batch_size
        rest: Records | None = None
        for number, groups in enumerate(windows(self._records, self._seed, epoch, self._window)):
            count = sum(self._records[group] for group in groups)
            if to_skip >= count:
                to_skip -= count
                continue
            order = torch.randperm(
                count, generator=generator(self._seed, "epoch", epoch, "window", number)
            )
            shuffled = _gathered(self._read(groups), order[to_skip:])
            to_skip = 0
            rest = rest.followed_by(shuffled) if rest else shuffled
            for start in range(0, len(rest.stored) - self._batch_size + 1, self._batch_size):
                yield self._mine(rest, start)
            rest = rest.take(slice(len(rest.stored) // self._batch_size * self._batch_size, None))

    def _read(self, groups: Sequence[int]) -> Records:
        """The records of these row groups. A split of one window is read from the disk once."""
        readers: dict[str, ShardReader] = {}
        layout = self._dataset.manifest.layout
        for group in groups:
            if group in self._tables:
                continue
            shard, row_group = self._groups[group]
            if shard.path not in readers:
                readers[shard.path] = ShardReader(self._dataset.folder, shard, schema(layout))
            self._tables[group] = readers[shard.path].read(row_group)
        for reader in readers.values():
            reader.close()
        records = content_of(pa.concat_tables([self._tables[group] for group in groups]), layout)
        if not self._is_one_window:
            self._tables.clear()
        return records

    def _mine(self, records: Records, start: int) -> Batch:
        share = self._batch_size // self._size
        first = start + self._rank * share
        mine = records.take(slice(first, first + share))
        return Batch(self._content.decode(mine.stored), mine.labels)


def _gathered(records: Records, rows: Tensor) -> Records:
    """The records at `rows`, whole rows copied: indexing by a tensor takes twenty times as long."""
    labels = None if records.labels is None else records.labels[rows]
    return Records(records.stored.index_select(0, rows), labels)
