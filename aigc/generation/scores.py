"""What is found out about candidates, beside each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc.generation.screening import Memory, Nearest, fingerprints, thumbnails
from aigc.generation.selection import Findings, Looks
from aigc.layout import Layout
from aigc.modalities import modality, stored_records

FINGERPRINT, THUMBNAIL = "fingerprint", "thumbnail"
"""Columns of a screened dataset: what a sample looks like, for later ones to be compared with."""
NEIGHBOUR, DISTANCE = "neighbour", "distance"
"""The row of the nearest record of the training split, and how far that is; −1 and NaN where that
was not looked at."""
AGAINST = b"against"
"""In the metadata of candidates: the rows of those that are blank, or copied, as JSON. Where there
are none the key is not there, so that such candidates are already the shard that is published."""
SCORES = (
    pa.field(FINGERPRINT, pa.int64(), nullable=False),
    pa.field(THUMBNAIL, pa.binary(), nullable=False),
    pa.field(NEIGHBOUR, pa.int64(), nullable=False),
    pa.field(DISTANCE, pa.float32(), nullable=False),
)
"""The columns of a screened dataset."""


def scored(table: pa.Table, layout: Layout, memory: Memory | None) -> pa.Table:
    """The table of samples with what is found out about each.

    `memory` is of what the model was trained on.
    """
    stored = stored_records(table, layout)
    nearest = memory.nearest(stored) if memory else _nobody(len(stored))
    columns = {
        FINGERPRINT: fingerprints(stored, layout).numpy(),
        THUMBNAIL: _binary(thumbnails(stored, layout)),
        NEIGHBOUR: nearest.index.numpy(),
        DISTANCE: nearest.distance.numpy(),
    }
    for field in SCORES:
        table = table.append_column(field, pa.array(columns[field.name], field.type))
    blank = modality(layout.modality).is_blank(stored)
    return _noted(table, {"blank": blank, "copied": nearest.copied})


def findings(table: pa.Table) -> Findings:
    """What speaks against each row of a table of candidates, as it was made."""
    noted = json.loads((table.schema.metadata or {}).get(AGAINST, "{}"))
    flags = {name: torch.zeros(len(table), dtype=torch.bool) for name in ("blank", "copied")}
    for name, rows in noted.items():
        flags[name][rows] = True
    return Findings(**flags, looks=looks(table))


def chosen_of(table: pa.Table) -> pa.Table:
    """Rows of candidates, without what was noted of all of them."""
    metadata = dict(table.schema.metadata or {})
    metadata.pop(AGAINST, None)
    return table.replace_schema_metadata(metadata)


def _noted(table: pa.Table, flags: Mapping[str, Tensor]) -> pa.Table:
    rows = {name: torch.nonzero(each).flatten().tolist() for name, each in flags.items()}
    if not any(rows.values()):
        return table
    return table.replace_schema_metadata({**table.schema.metadata, AGAINST: json.dumps(rows)})


def looks(table: pa.Table) -> Looks:
    """What the samples of a table with those columns look like."""
    prints = torch.from_numpy(table.column(FINGERPRINT).to_numpy().copy())
    chunks = table.column(THUMBNAIL).chunks
    content = np.concatenate([np.empty(0, np.uint8), *map(_bytes, chunks)])
    width = len(content) // max(1, len(prints))
    return Looks(prints, torch.from_numpy(content.reshape(len(prints), width)))


def _binary(rows: Tensor) -> pa.Array:
    """uint8 (N, K) as N values. Of no fixed width, because of text K is 0, and Parquet has no
    values of no width."""
    count, width = rows.shape
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    content = rows.contiguous().numpy()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.binary(), count, buffers)


def _bytes(column: pa.Array) -> NDArray[np.uint8]:
    """All bytes of the values of a column, one after the other."""
    _, offsets, content = column.buffers()
    if not len(column) or content is None:
        return np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]


def _nobody(count: int) -> Nearest:
    nowhere, far = torch.full((count,), -1), torch.full((count,), torch.nan)
    return Nearest(nowhere, far, torch.zeros(count, dtype=torch.bool))
