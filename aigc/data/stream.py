"""The training stream: the same batches on any number of workers, from any position.

`aigc.data.order` says which record stands where, `aigc.data.feed` brings the records there; here
they become a worker's batches, and a position.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from typing import NamedTuple

import torch
from pydantic import Field

from aigc.config import Config
from aigc.data.batches import Batch, Records
from aigc.data.catalog import Dataset
from aigc.data.feed import Feed, Share
from aigc.data.mixture import Mixture
from aigc.data.order import Order
from aigc.errors import DataError
from aigc.layout import Layout
from aigc.modalities import modality

WINDOW_RECORDS, WINDOW_ROW_GROUPS = 16_384, 4
WINDOW_BYTES = 64 * 2**20
"""A window, where none is asked for: so many records and so many row groups, or what so many bytes
hold if it is fewer."""


class Position(NamedTuple):
    """Where a stream is: the epoch, and how many global batches of it were handed out."""

    epoch: int = 0
    batch: int = 0


START = Position()


class StreamConfig(Config):
    """How records are shuffled, and what becomes of an epoch's end.

    `window`: records that are shuffled among one another, which bounds the memory; by default
    16,384 or four row groups, or what 64 MiB hold if that is fewer. `drop_last`: leave out the
    last, short batch.
    """

    window: int | None = Field(default=None, gt=0)
    drop_last: bool = True


def default_window(layout: Layout, row_group: int = 0) -> int:
    """Records of a window where none is asked for and row groups have up to so many."""
    wanted = max(WINDOW_RECORDS, WINDOW_ROW_GROUPS * row_group)
    return min(wanted, max(1, WINDOW_BYTES // layout.size))


class Stream:
    """Global batches of `batch_size` records of a split, epoch after epoch; this worker's part.

    Worker `rank` of `size` has the rank-th of `size` parts of every batch, on `device`. `window`
    is how many records are shuffled among one another, and bounds the memory. `drop_last` leaves
    out an epoch's last, short batch; a mixture has none.

    Raises DataError if the split is smaller than one batch, ShardCorrupt when a shard is not what
    the manifest says, StorageUnavailable when it cannot be reached.
    """

    def __init__(
        self,
        data: Dataset | Mixture,
        split: str,
        batch_size: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
        window: int | None = None,
        drop_last: bool = True,
        device: torch.device | None = None,
    ) -> None:
        mixture = data if isinstance(data, Mixture) else Mixture(data)
        self._decode = modality(mixture.layout.modality).decode
        self._device = torch.device("cpu") if device is None else device
        parts, before = list(mixture.parts(batch_size)), 0
        self._feeds = list[Feed]()
        for number, (dataset, count) in enumerate(parts):
            share = Share(rank, size, before, batch_size - count)
            part_of_window = Fraction(count, batch_size)
            is_whole = drop_last or len(parts) > 1
            # The same records twice in a mixture must not be in step.
            key: list[int | str] = [dataset.manifest.digest, seed]
            key += [number] if number else []
            order = _order(dataset, split, count, key, window, part_of_window, is_whole)
            self._feeds.append(Feed(dataset, split, order, share, self._device.type == "cuda"))
            before += count
        orders = [feed.order for feed in self._feeds]
        self.records = sum(order.records for order in orders)
        self.batches_per_epoch = (
            self.records // batch_size if len(orders) > 1 else orders[0].batches_per_epoch
        )

    def batches(self, start: Position = START) -> Iterator[tuple[Batch, Position]]:
        """Batches from `start` on, without end; beside each, the position after it.

        What was consumed before `start` is not read again, but for the window it lies in.
        """
        first = start.epoch * self.batches_per_epoch + start.batch
        with ExitStack() as stack:
            feeds = [stack.enter_context(closing(feed.batches(first))) for feed in self._feeds]
            for number, parts in enumerate(zip(*feeds, strict=True), start=first + 1):
                mine = functools.reduce(Records.followed_by, map(self._moved, parts))
                batch = Batch(self._decode(mine.stored), mine.labels)
                yield batch, Position(*divmod(number, self.batches_per_epoch))

    def _moved(self, mine: Records) -> Records:
        """To the device as they are stored, because there they are a quarter of the bytes."""
        return mine if self._device.type == "cpu" else Records(*Batch(*mine).to(self._device))


def _order(
    dataset: Dataset,
    split: str,
    batch_size: int,
    key: Sequence[int | str],
    window: int | None,
    part_of_window: Fraction,
    drop_last: bool,
) -> Order:
    shards = [[shard.row_groups[g] for g in shard.readable] for shard in dataset.shards(split)]
    if window is None:
        largest = max(itertools.chain.from_iterable(shards), default=0)
        window = default_window(dataset.manifest.layout, largest)
    order = Order(shards, batch_size, int(window * part_of_window), key, drop_last)
    if not order.batches_per_epoch:
        raise DataError(
            f"the {split} split of {dataset.reference} has {order.records} records, "
            f"fewer than one batch of {batch_size}",
            "Lower training.batch_size or use a larger dataset",
        )
    return order
