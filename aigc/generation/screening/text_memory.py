"""Training texts, and which samples copy one of them word for word.

The place of every 8 bytes of the training records is looked up by their hash. Places of a sample
that are found side by side in one record are a span, and the record with most places in common is
the nearest. A sample is a copy if its longest span is a larger share of it than hardly any
training record has in common with another one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc.generation.screening.fingerprints import hashed
from aigc.generation.screening.nearest import Nearest

WINDOW = 8
"""Bytes that are looked up."""

SPAN = 32
"""Bytes of the shortest span that is shown."""

MOST_PLACES = 1000
"""Of a window that stands in more places, as white space may, these are looked at."""

SHARE, LOWEST, HIGHEST = 0.005, 0.25, 0.9
"""The share of the training records that may be accused wrongly, and the limit's bounds."""

ASKED = 2000
"""Training records by which the limit is set."""

Numbers = NDArray[np.int64]


class Spans(NamedTuple):
    """Where a text stands in training records: each from `start` to `stop` in record `record`."""

    start: Numbers
    stop: Numbers
    record: Numbers


class Lookup(NamedTuple):
    """The hashes of all windows in order, and where each stands, counted through all records."""

    hashes: NDArray[np.uint64]
    places: Numbers


@dataclass(frozen=True)
class TextMemory:
    """Stored records (N, L), and the share of a sample that makes it a copy."""

    stored: Tensor
    limit: float

    @classmethod
    def of(cls, stored: Tensor) -> TextMemory:
        """See `Memory.of`."""
        asked = range(0, len(stored), -(-len(stored) // ASKED))
        memory = cls(stored, HIGHEST)
        shares = np.array([memory.look(stored[row].numpy(), own=row)[2] for row in asked])
        different = shares[shares < HIGHEST]
        quantile = float(np.quantile(different, 1 - SHARE)) if len(different) else HIGHEST
        return cls(stored, min(max(quantile, LOWEST), HIGHEST))

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], plain: dict[str, Any]) -> TextMemory:
        """From what `tensors` and `plain` gave."""
        return cls(tensors["stored"], plain["limit"])

    def tensors(self) -> dict[str, Tensor]:
        """The arrays to be kept."""
        return {"stored": self.stored}

    def plain(self) -> dict[str, Any]:
        """The plain data to be kept."""
        return {"limit": self.limit}

    def nearest(self, stored: Tensor) -> Nearest:
        """See `Memory.nearest`."""
        seen = [self.look(record.numpy()) for record in stored]
        index = torch.tensor([row for row, _, _ in seen], dtype=torch.int64)
        distance = torch.tensor([distance for _, distance, _ in seen], dtype=torch.float32)
        copied = torch.tensor([share > self.limit for _, _, share in seen], dtype=torch.bool)
        return Nearest(index, distance, copied)

    def look(self, stored: NDArray[np.uint8], own: int | None = None) -> tuple[int, float, float]:
        """The nearest record, 1 less the share of windows in common, and the longest span's share.

        The nearest is that of the longest span, if that makes the text a copy. Row `own` is left
        out.
        """
        content = np.trim_zeros(stored, "b")
        places, known = self._hits(content)
        if own is not None:
            other = known // self._stride != own
            places, known = places[other], known[other]
        if not len(places):
            return 0, 1.0, 0.0
        spans = self._spans(places, known)
        longest = int((spans.stop - spans.start).argmax())
        share = float(spans.stop[longest] - spans.start[longest]) / len(content)
        windows = len(content) - WINDOW + 1
        # A window counts once for each record, however often it stands there.
        common = np.unique(known // self._stride * windows + places) // windows
        votes = np.bincount(common)
        index = int(spans.record[longest] if share > self.limit else votes.argmax())
        return index, 1 - float(votes[index]) / windows, share

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `copied_spans`."""
        content = np.frombuffer(text.encode(), np.uint8)
        spans = self._spans(*self._hits(content))
        copied = np.zeros(len(content) + 1, dtype=np.int8)
        for start, stop, _ in zip(*spans, strict=True):
            if stop - start >= SPAN:
                copied[start:stop] = 1
        # A character that is not copied as a whole is not.
        begins = [at for at, byte in enumerate(content) if byte & 0b1100_0000 != 0b1000_0000]
        whole = np.array([0, *np.minimum.reduceat(copied, [*begins, len(content)])])
        edges = np.flatnonzero(np.diff(whole))
        return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

    @functools.cached_property
    def _lookup(self) -> Lookup:
        """Of all windows but those that reach into padding, or into the next record."""
        padding = torch.zeros(len(self.stored), WINDOW, dtype=torch.uint8)
        content = torch.cat([self.stored, padding], dim=1).numpy().reshape(-1)
        ends = np.flatnonzero(content == 0)
        places = np.arange(len(content) - WINDOW + 1)
        next_end = ends[np.searchsorted(ends, places)] if len(ends) else places
        places = places[next_end - places >= WINDOW]
        hashes = hashed(content, WINDOW)[places]
        order = np.argsort(hashes, kind="stable")
        return Lookup(hashes[order], places[order])

    @property
    def _stride(self) -> int:
        """Bytes from one record to the next."""
        return self.stored.shape[1] + WINDOW

    def _hits(self, content: NDArray[np.uint8]) -> tuple[Numbers, Numbers]:
        """Places of a text's windows, and where the same windows stand in the records."""
        if len(content) < WINDOW:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        asked = hashed(content, WINDOW)
        first = np.searchsorted(self._lookup.hashes, asked, side="left")
        last = np.searchsorted(self._lookup.hashes, asked, side="right")
        counts = np.minimum(last - first, MOST_PLACES)
        places = np.repeat(np.arange(len(asked)), counts)
        skipped = np.repeat(np.cumsum(counts) - counts - first, counts)
        return places, self._lookup.places[np.arange(len(places)) - skipped]

    def _spans(self, places: Numbers, known: Numbers) -> Spans:
        """Runs of hits side by side: both the text's place and the record's go on by one."""
        order = np.lexsort((places, known - places))
        places, known = places[order], known[order]
        goes_on = (np.diff(places) == 1) & (np.diff(known) == 1)
        begins = np.flatnonzero(np.concatenate([[True], ~goes_on])[: len(places)])
        ends = np.concatenate([begins[1:], [len(places)]])[: len(begins)] - 1
        return Spans(places[begins], places[ends] + WINDOW, known[begins] // self._stride)
