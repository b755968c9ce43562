"""The training stream: the same batches on any number of workers, from any position.

`aigc.data.order` says which record stands where, `aigc.data.feed` brings the records there; here
they become a worker's batches, and a position.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, closing
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

WINDOW_RECORDS = 16_384
WINDOW_BYTES = 64 * 2**20
"""A window, where none is asked for: so many records, or what so many bytes hold if it is fewer."""


class Position(NamedTuple):
    """Where a stream is: the epoch, and how many global batches of it were handed out."""

    epoch: int = 0
    batch: int = 0


START = Position()


class StreamConfig(Config):
    """How records are shuffled, and what becomes of an epoch's end.

    `window`: records that are shuffled among one another, which bounds the memory; by default
    16,384, or what 64 MiB hold if that is fewer. `drop_last`: leave out the last, short batch.
    """

    window: int | None = Field(default=None, gt=0)
    drop_last: bool = True


def default_window(layout: Layout) -> int:
    """Records of a window where none is asked for."""
    return min(WINDOW_RECORDS, max(1, WINDOW_BYTES // layout.size))


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
        window = default_window(mixture.layout) if window is None else window
        self._feeds, before = list[Feed](), 0
        for dataset, count in mixture.parts(batch_size):
            share = Share(rank, size, before, batch_size - count)
            order = _order(dataset, split, count, window * count // batch_size, seed, drop_last)
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
                batch = self._batch(functools.reduce(Records.followed_by, parts))
                yield batch, Position(*divmod(number, self.batches_per_epoch))

    def _batch(self, mine: Records) -> Batch:
        if self._device.type != "cpu":
            # As they are stored, because there they are a quarter of the bytes.
            mine = Records(*Batch(*mine).to(self._device))
        return Batch(self._decode(mine.stored), mine.labels)


def _order(
    dataset: Dataset, split: str, batch_size: int, window: int, seed: int, drop_last: bool
) -> Order:
    shards = [[shard.row_groups[g] for g in shard.readable] for shard in dataset.shards(split)]
    order = Order(shards, batch_size, window, (dataset.manifest.digest, seed), drop_last)
    if not order.batches_per_epoch:
        raise DataError(
            f"the {split} split of {dataset.reference} has {order.records} records, "
            f"fewer than one batch of {batch_size}",
            "Lower training.batch_size or use a larger dataset",
        )
    return order
