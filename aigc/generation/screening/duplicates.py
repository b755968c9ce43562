"""Near-duplicates among fingerprints, without comparing all with all.

Multi-index hashing (Norouzi et al. 2012): fingerprints are cut into four bands of 16 bits. If two
differ in at most `reach` bits, they differ in at most `reach` // 4 of some band; so those are
looked up in a table of each band, and then compared as a whole. None is missed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc.generation.screening.fingerprints import REACHES

REACH = REACHES["image"]
TOLERANCE = 20
"""Grey levels that an area of the thumbnails of near-duplicates may differ in."""

BANDS, BAND_BITS = 4, 16
PAIRS_AT_ONCE = 2**18
PAIRS_OF_BLOCK = BANDS * 1024**2
"""Pairs that samples may have which are compared with one another at once: as many as a night of a
hundred thousand has, or 1,024 samples that repeat one."""

Rows = NDArray[np.int64]


class _Prints:
    """Fingerprints uint64 (N,) and thumbnails uint8 (N, K), to be compared row by row."""

    def __init__(self, fingerprints: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> None:
        self.fingerprints, self.thumbnails = fingerprints, thumbnails

    @classmethod
    def of(cls, fingerprints: Tensor, thumbnails: Tensor) -> _Prints:
        return cls(fingerprints.numpy().view(np.uint64), thumbnails.numpy())

    def take(self, rows: Rows) -> _Prints:
        return _Prints(self.fingerprints[rows], self.thumbnails[rows])

    def first_equal(self) -> Rows:
        """For each row the first one that is wholly the same, (N,)."""
        _, place, counts = np.unique(self.fingerprints, return_inverse=True, return_counts=True)
        # Of most samples nobody has the fingerprint: only the others are compared as a whole.
        some = np.flatnonzero(counts[place] > 1)
        whole = np.concatenate([place[some, None].view(np.uint8), self.thumbnails[some]], axis=1)
        names = whole.view(np.dtype((np.void, whole.shape[1]))).reshape(-1)
        _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
        equal = np.arange(len(place))
        equal[some] = some[first[inverse.reshape(-1)]]
        return equal


class _Index:
    """Where to look for the near-duplicates of a fingerprint."""

    def __init__(self, prints: _Prints, reach: int) -> None:
        self.prints, self.reach = prints, reach
        self._masks = _masks(reach // BANDS)
        self._bands = [_table(prints.fingerprints, band) for band in range(BANDS)]

    def pairs(self, asked: _Prints) -> Iterator[tuple[Rows, Rows]]:
        """Rows of `asked` and rows of these that are near, some of them more than once."""
        for one, other in self._near(asked):
            alike = self._alike(asked, one, other)
            yield one[alike], other[alike]

    def own_pairs(self) -> Iterator[tuple[Rows, Rows]]:
        """Rows of these and earlier ones of these that are near, some of them more than once."""
        for one, other in self._near(self.prints, only_before=True):
            alike = self._alike(self.prints, one, other) & (other < one)
            yield one[alike], other[alike]

    def _near(self, asked: _Prints, only_before: bool = False) -> Iterator[tuple[Rows, Rows]]:
        """Rows of `asked` and rows of these whose fingerprints are near; of those that have a band
        in common only the ones before it if they are asked for, `asked` being these."""
        for band, mask in itertools.product(range(BANDS), self._masks):
            order, starts, prints = self._bands[band]
            key = _band(asked.fingerprints, band) ^ mask
            stops = starts[key + 1]
            if only_before and not mask:
                stops[order] = np.arange(len(order))
            for one, place in _expanded(starts[key], stops):
                differing = np.bitwise_count(asked.fingerprints[one] ^ prints[place])
                near = np.flatnonzero(differing <= self.reach)
                yield one[near], order[place[near]]

    def _alike(self, asked: _Prints, one: Rows, other: Rows) -> NDArray[np.bool_]:
        """Whether the thumbnails of such rows are."""
        seen, known = asked.thumbnails[one], self.prints.thumbnails[other]
        apart = np.maximum(seen, known) - np.minimum(seen, known)
        alike: NDArray[np.bool_] = apart.max(axis=1, initial=0) <= TOLERANCE
        return alike

    def count(self) -> int:
        """How many pairs of these with these there are to be compared, of equal bands."""
        return sum(int(np.square(np.diff(starts)).sum()) for _, starts, _ in self._bands)

    def earliest(self, asked: _Prints) -> Rows:
        """The first of these that each nearly repeats, or −1."""
        none = len(self.prints.fingerprints)
        found = np.full(len(asked.fingerprints), none, dtype=np.int64)
        for one, other in self.pairs(asked):
            np.minimum.at(found, one, other)
        return np.where(found == none, -1, found)


def near_duplicates(
    fingerprints: Tensor,
    earlier: Tensor,
    thumbnails: Tensor,
    earlier_thumbnails: Tensor,
    reach: int = REACH,
) -> Tensor:
    """For each sample the earliest one that it nearly repeats, or −1, int64 (N,).

    An index below len(earlier) is a row of `earlier`. Higher by len(earlier) are the samples
    themselves: one that stands before, and is no near-duplicate. Near are those of which at most
    `reach` bits of the fingerprints, int64 (N,) and (M,), differ, and no byte of the thumbnails,
    uint8 (N, K) and (M, K), by more than `TOLERANCE`.
    """
    samples = _Prints.of(fingerprints, thumbnails)
    first = samples.first_equal()
    rows = np.flatnonzero(first == np.arange(len(first)))
    found = np.full(len(first), -1, dtype=np.int64)
    before = _Index(_Prints.of(earlier, earlier_thumbnails), reach)
    found[rows] = before.earliest(samples.take(rows))
    _among(samples, rows[found[rows] < 0], found, len(earlier), reach)
    # What repeats a row exactly repeats what that row repeats.
    repeated = np.where(found[first] < 0, len(earlier) + first, found[first])
    return torch.from_numpy(np.where(first == np.arange(len(first)), found, repeated))


def _among(samples: _Prints, rows: Rows, found: Rows, offset: int, reach: int) -> None:
    """Fill in which of `rows` repeat an earlier one of them that repeats nothing itself."""
    while len(rows):
        size = len(rows)
        index = _Index(samples.take(rows), reach)
        while index.count() > PAIRS_OF_BLOCK:
            size = -(-size // 2)
            index = _Index(samples.take(rows[:size]), reach)
        block, rows = rows[:size], rows[size:]
        _within(index, block, found, offset)
        if len(rows):
            kept = block[found[block] < 0]
            at = _Index(samples.take(kept), reach).earliest(samples.take(rows))
            found[rows[at >= 0]] = offset + kept[at[at >= 0]]
            rows = rows[at < 0]


def _within(index: _Index, block: Rows, found: Rows, offset: int) -> None:
    """The same for a block, which the index is of, none of which repeats anything before it."""
    size = len(block)
    pairs = [one * size + other for one, other in index.own_pairs()]
    known = np.unique(np.concatenate(pairs)) if pairs else np.empty(0, dtype=np.int64)
    repeats = [-1] * size
    for one, other in zip((known // size).tolist(), (known % size).tolist(), strict=True):
        if repeats[one] < 0 and repeats[other] < 0:
            repeats[one] = other
    at = np.array(repeats, dtype=np.int64)
    found[block[at >= 0]] = offset + block[at[at >= 0]]


def _masks(radius: int) -> list[int]:
    """All numbers of 16 bits of which at most `radius` are set."""
    places = range(BAND_BITS)
    chosen = (itertools.combinations(places, count) for count in range(radius + 1))
    return [sum(1 << place for place in each) for each in itertools.chain.from_iterable(chosen)]


def _band(fingerprints: NDArray[np.uint64], band: int) -> NDArray[np.intp]:
    shifted = fingerprints >> np.uint64(band * BAND_BITS)
    return (shifted & np.uint64(2**BAND_BITS - 1)).astype(np.intp)


def _table(fingerprints: NDArray[np.uint64], band: int) -> tuple[Rows, Rows, NDArray[np.uint64]]:
    """Rows ordered by their band, where in that order each band begins, and the fingerprints in it:
    those that are read together lie together."""
    keys = _band(fingerprints, band)
    # Of 16 bits NumPy's stable sort is a radix sort.
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    counts = np.bincount(keys, minlength=2**BAND_BITS)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return order, starts, fingerprints[order]


def _expanded(starts: Rows, stops: Rows) -> Iterator[tuple[Rows, Rows]]:
    """The rows of spans and each of their places, about `PAIRS_AT_ONCE` of them at a time."""
    counts = stops - starts
    ends = np.cumsum(counts)
    row = 0
    while row < len(counts):
        done = ends[row - 1] if row else 0
        stop = max(row + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        rows = np.repeat(np.arange(row, stop), counts[row:stop])
        skipped = ends[row:stop] - counts[row:stop] - done
        yield rows, np.arange(len(rows)) - np.repeat(skipped - starts[row:stop], counts[row:stop])
        row = stop
