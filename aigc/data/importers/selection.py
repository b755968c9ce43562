"""The second stage of an import, in one place: which records of which part become which shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc.data.cleaning import REASONS, SIGNATURES, first_equal, near_pairs
from aigc.data.files import digest_of
from aigc.data.importers.conversion import Converted
from aigc.data.importers.labels import class_names
from aigc.data.importers.splits import SPLITS, Shares
from aigc.data.shards import row_group_records
from aigc.layout import Layout

SHARD_RECORDS = 65_536
SHARD_BYTES = 256 * 2**20
"""A shard is built in memory."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """All stored records of an import, in source order, and what becomes of them.

    `part` and `row` say where each is; `first` which record it equals; `split` its number in
    `SPLITS`; `labels` its class, a number in the layout's names, or −1 when none of that class is
    kept. All (N,). `near` are pairs of near-duplicates and their distance, (pairs, 3); `rejecting`
    the parts of which records were rejected in the conversion; `rejected` counts all of them by
    reason.
    """

    layout: Layout
    part: Rows
    row: Rows
    first: Rows
    split: Rows
    labels: NDArray[np.int32] | None
    near: NDArray[np.int64]
    rejecting: Rows
    rejected: dict[str, int]

    @property
    def is_kept(self) -> NDArray[np.bool_]:
        """Whether each is no duplicate."""
        is_first: NDArray[np.bool_] = self.first == np.arange(len(self.first))
        return is_first

    def shards(self, suffix: str) -> list[tuple[str, str, Rows]]:
        """The path, the split and the records of each shard. Empty splits have none."""
        size = records_of_a_shard(self.layout)
        return [
            (f"shards/{name}-{number:05d}{suffix}", name, chosen[start : start + size])
            for code, name in enumerate(SPLITS)
            for chosen in [np.flatnonzero(self.is_kept & (self.split == code))]
            for number, start in enumerate(range(0, len(chosen), size))
        ]


def select(converted: Sequence[Converted], layout: Layout, shares: Shares) -> Selection:
    """Decide on every record. `converted` are all parts, in order; `layout` names no classes that
    the records are to tell."""
    hashes = np.concatenate([each.hashes for each in converted])
    first = first_equal(hashes)
    kept = np.flatnonzero(first == np.arange(len(first)))
    signatures = np.concatenate([each.signatures for each in converted])
    near = near_pairs(signatures[kept], SIGNATURES[layout.modality])
    near[:, :2] = kept[near[:, :2]]
    rejected = sum((Counter(each.rejected) for each in converted), Counter[str]())
    rejected["duplicate"] = len(first) - len(kept)
    counts = [each.records for each in converted]
    is_kept = np.split(first == np.arange(len(first)), np.cumsum(counts)[:-1])
    names = layout.labels or class_names(_kept_names(converted, is_kept))
    return Selection(
        layout.model_copy(update={"labels": names}),
        part=np.repeat(np.arange(len(converted)), counts),
        row=np.concatenate([np.arange(count) for count in counts]),
        first=first,
        split=shares.of(hashes),
        labels=_numbers(converted, names) if names else None,
        near=near,
        rejecting=np.array([each.number for each in converted if each.rejected], np.int64),
        rejected={reason: rejected[reason] for reason in REASONS if rejected[reason]},
    )


def content_sha256(converted: Sequence[Converted], selection: Selection) -> str:
    """The digest of everything that was read, kept or not."""
    layout, labels = selection.layout, selection.labels
    hashes = [digest_of([each.hashes.tobytes().hex(), each.rejected_sha256]) for each in converted]
    classes = [] if labels is None else labels.tolist()
    return digest_of([layout.model_dump(mode="json"), classes, hashes])


def records_of_a_shard(layout: Layout) -> int:
    """Whole row groups, up to `SHARD_RECORDS` records and about `SHARD_BYTES` bytes."""
    rows = row_group_records(layout.size)
    groups = min(SHARD_RECORDS * layout.size, SHARD_BYTES) // (layout.size * rows)
    return max(1, groups) * rows


def _kept_names(
    converted: Sequence[Converted], is_kept: Sequence[NDArray[np.bool_]]
) -> Iterator[str]:
    """The labels of the records that each part keeps, at least once."""
    for part, mask in zip(converted, is_kept, strict=True):
        if part.names:
            yield from (part.names[label] for label in np.unique(part.labels[mask]))


def _numbers(converted: Sequence[Converted], names: tuple[str, ...]) -> NDArray[np.int32]:
    """The labels of all records as numbers in `names`, −1 for others."""
    number = {name: index for index, name in enumerate(names)}
    return np.concatenate(
        [
            np.array([number.get(n, -1) for n in each.names], np.int32)[each.labels]
            for each in converted
        ]
    )
