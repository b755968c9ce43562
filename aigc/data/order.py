"""The order of records: a pure function of (dataset, seed, epoch), without any reading.

Every epoch lays all records out in one line: shards are shuffled, and one after the other spreads
its row groups over the turns of the next few, so that only these are open at a time; the records
of each row group are shuffled. The line is cut
into windows, and a window is dealt out like cards: of N batches in it, the first record goes to
the first batch, the next to the second, and so on round and round. With B records a batch,

    position in the window = slot × N + batch        slot in 0 … B − 1, batch in 0 … N − 1

so that every batch has a record of each stretch of the window, and slots that follow one another
come from neighbouring row groups: a worker with a part of each batch's slots reads a part of the
row groups, and the workers together read everything once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from aigc.seeding import generator

SHARDS_TOGETHER = 64
"""Shards whose row groups are shuffled among one another; about twice as many are kept open."""

Rows = npt.NDArray[np.int64]


class Window(NamedTuple):
    """A cut of an epoch's line: `batches` batches of `batch_size` records from `first` on."""

    epoch: int
    first: int
    batches: int
    batch_size: int


class Span(NamedTuple):
    """A row group that a window's slots draw from, and where it begins in their stretch of the
    line: before it, if the offset is negative."""

    group: int
    offset: int


class Order:
    """The order of records in row groups of the sizes `shards`, one sequence for each shard.

    `key` names the dataset and the seed. A window holds at most `window` records, or one batch if
    that is more. `drop_last` leaves an epoch's last, short batch out.
    """

    def __init__(
        self,
        shards: Sequence[Sequence[int]],
        batch_size: int,
        window: int,
        key: Sequence[int | str] = (),
        drop_last: bool = True,
    ) -> None:
        self._sizes = np.array([size for shard in shards for size in shard], dtype=np.int64)
        self._shard_of = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
        self._shards, self._key = len(shards), tuple(key)
        self._batch_size, self._per_window = batch_size, max(1, window // batch_size)
        self.records = int(self._sizes.sum())
        self._whole, self._rest = divmod(self.records, batch_size)
        self.batches_per_epoch = self._whole + (self._rest > 0 and not drop_last)
        self._line: tuple[int, Rows, Rows] = (-1, self._sizes, self._sizes)

    @property
    def largest_window(self) -> Window:
        """A window that no other one exceeds."""
        batches = min(self._per_window, self._whole)
        return Window(0, 0, batches, self._batch_size) if batches else Window(0, 0, 1, self._rest)

    @property
    def is_one_window(self) -> bool:
        """Whether a window holds the whole epoch."""
        return self._whole <= self._per_window

    def windows(self, epoch: int, batch: int = 0) -> Iterator[Window]:
        """The windows from the one that holds `batch` of `epoch` on, without end."""
        first = batch - batch % self._per_window if batch < self._whole else batch
        while True:
            while first < self._whole:
                batches = min(self._per_window, self._whole - first)
                yield Window(epoch, first, batches, self._batch_size)
                first += batches
            if first < self.batches_per_epoch:
                yield Window(epoch, first, 1, self._rest)
            epoch, first = epoch + 1, 0

    def spans(self, window: Window, slots: range) -> list[Span]:
        """The row groups that hold the records of these slots of a window's batches."""
        groups, starts = self._laid_out(window.epoch)
        low, high = self._stretch(window, slots)
        first = int(np.searchsorted(starts, low, side="right")) - 1
        last = int(np.searchsorted(starts, high, side="left"))
        found = zip(groups[first:last].tolist(), starts[first:last].tolist(), strict=True)
        return [Span(group, start - low) for group, start in found] if high > low else []

    def deal(self, window: Window, slots: range, span: Span) -> tuple[Rows | None, Rows]:
        """The rows of a row group that go to these slots, None for all, and the place of each.

        Places count batch after batch, and within a batch slot after slot.
        """
        low, high = self._stretch(window, slots)
        positions = span.offset + self._shuffled(window.epoch, span.group)
        rows = None
        if span.offset < 0 or span.offset + len(positions) > high - low:
            rows = np.flatnonzero((positions >= 0) & (positions < high - low))
            positions = positions[rows]
        # Not np.divmod, which takes five times as long.
        slot = positions // window.batches
        batch = positions - slot * window.batches
        return rows, batch * len(slots) + slot

    def _stretch(self, window: Window, slots: range) -> tuple[int, int]:
        """Where these slots of a window begin and end in the epoch's line."""
        begin = window.first * self._batch_size
        return begin + slots.start * window.batches, begin + slots.stop * window.batches

    def _laid_out(self, epoch: int) -> tuple[Rows, Rows]:
        """The row groups in an epoch's order, and where each begins in its line."""
        if self._line[0] != epoch:
            source = generator(*self._key, "groups", epoch)
            turn = torch.randperm(self._shards, generator=source).numpy()
            within = torch.rand(len(self._sizes), generator=source, dtype=torch.float64).numpy()
            if self._shards > SHARDS_TOGETHER:
                within = turn[self._shard_of] + SHARDS_TOGETHER * within
            groups = np.argsort(within, kind="stable")
            self._line = epoch, groups, np.cumsum(self._sizes[groups]) - self._sizes[groups]
        return self._line[1:]

    def _shuffled(self, epoch: int, group: int) -> Rows:
        """Where each row of a row group stands among them in this epoch."""
        source = generator(*self._key, "rows", epoch, group)
        order: Rows = torch.randperm(int(self._sizes[group]), generator=source).numpy()
        return order
