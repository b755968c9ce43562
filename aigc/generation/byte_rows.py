"""Files, or parts of them, of one length as the rows of an array: a night makes hundreds of
thousands that differ in a few places, and what is done to one is done to all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint8]
"""N contents of L bytes each, (N, L)."""


def rows_of(contents: Sequence[bytes]) -> Rows:
    """Contents, at least one and all of one length, as rows. Raises ValueError."""
    return np.frombuffer(b"".join(contents), np.uint8).reshape(len(contents), len(contents[0]))


def shared(rows: Rows) -> bytes:
    """What all rows hold. Raises ValueError when they differ."""
    first: bytes = rows[0].tobytes()
    if len(rows) > 1 and rows.tobytes() != first * len(rows):
        raise ValueError("files that are not laid out alike cannot be read at once")
    return first


def beside(*parts: bytes | Rows) -> Rows:
    """Parts of each row, one after the other; bytes are a part that all rows share."""
    count = next(len(part) for part in parts if not isinstance(part, bytes))
    if count == 1:
        content = (part if isinstance(part, bytes) else part.data for part in parts)
        # One row needs a tenth of the time so: large pictures and texts are of different lengths.
        return np.frombuffer(bytearray().join(content), np.uint8)[None]
    rows = [rows_of([part]) if isinstance(part, bytes) else part for part in parts]
    ends = np.cumsum([row.shape[1] for row in rows])
    whole = np.empty((count, ends[-1]), np.uint8)
    for row, end in zip(rows, ends, strict=True):
        whole[:, end - row.shape[1] : end] = row
    return whole


def each(checksum: Callable[[Any], int], rows: Rows) -> Rows:
    """The checksum of each row, of 32 bits and the highest byte first, (N, 4); (1, 4) where all
    rows are the same."""
    if len(rows) > 1 and rows[0].tobytes() == rows[-1].tobytes() and (rows == rows[0]).all():
        rows = rows[:1]
    found = np.fromiter(map(checksum, rows), ">u4", len(rows))
    return found.view(np.uint8).reshape(-1, 4)
