"""Records in memory: as they are stored, and as a model sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Records(NamedTuple):
    """Stored records (N, *shape) in the modality's dtype, and labels int64, (N,)."""

    stored: Tensor
    labels: Tensor | None

    def take(self, rows: Tensor | slice) -> Records:
        """The records at `rows`, in that order."""
        return Records(self.stored[rows], None if self.labels is None else self.labels[rows])

    def followed_by(self, other: Records) -> Records:
        """These records, then the other ones of the same dataset."""
        stored = torch.cat([self.stored, other.stored])
        if self.labels is None or other.labels is None:
            return Records(stored, None)
        return Records(stored, torch.cat([self.labels, other.labels]))


class Batch(NamedTuple):
    """Training-ready records: `records` float32 in [−1, 1], (B, *shape); `labels` int64, (B,)."""

    records: Tensor
    labels: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(self.records.to(device, non_blocking=True), labels)

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in `count` equal parts, in its order."""
        if count == 1:
            yield self
            return
        size = len(self.records) // count
        for start in range(0, count * size, size):
            labels = None if self.labels is None else self.labels[start : start + size]
            yield Batch(self.records[start : start + size], labels)


def in_class_columns(records: Records, count: int) -> Records:
    """`count` records for a contact sheet whose every column is one class, if they have labels.

    Each row holds one record of each class, in their stored order; a class that runs out is
    filled up with the first records.
    """
    if records.labels is None:
        return records.take(slice(count))
    columns = [
        torch.nonzero(records.labels == label).flatten() for label in torch.unique(records.labels)
    ]
    rows = [
        column[row % len(column)] for row in range(-(-count // len(columns))) for column in columns
    ]
    return records.take(torch.stack(rows[:count]))
