"""The last stage of an import: shards, the quarantine and the near-duplicates are written.

Each file is a function of its records alone, wherever it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from aigc.data.files import writing
from aigc.data.importers.conversion import CHUNK_RECORDS, REJECTED, kept_path, rejected_path
from aigc.data.importers.selection import Rows, Selection
from aigc.data.manifest import Shard
from aigc.data.shards import table_of, write_shard
from aigc.layout import Layout
from aigc.modalities import modality

NEAR_DUPLICATES = "near-duplicates.parquet"
QUARANTINE = "quarantine"


@dataclass(frozen=True)
class ShardRequest:
    """One shard to write: of each of `parts` and `rows`, (n,), the record there."""

    scratch: Path
    folder: Path
    path: str
    split: str
    layout: Layout
    parts: Rows
    rows: Rows
    labels: NDArray[np.int32] | None

    @classmethod
    def all(
        cls, selection: Selection, scratch: Path, folder: Path, suffix: str
    ) -> list[ShardRequest]:
        """The shards of a dataset, in the format that `suffix` says."""
        labels = selection.labels
        return [
            cls(
                scratch,
                folder,
                path,
                split,
                selection.layout,
                selection.part[records],
                selection.row[records],
                None if labels is None else labels[records],
            )
            for path, split, records in selection.shards(suffix)
        ]


def fill(request: ShardRequest) -> Shard:
    """Write a shard. Raises WorkspaceUnwritable."""
    layout, content = request.layout, modality(request.layout.modality)
    stored = torch.empty((len(request.rows), *layout.shape), dtype=torch.uint8)
    for part in np.unique(request.parts):
        here = np.flatnonzero(request.parts == part)
        column = _taken(request.scratch, part, "content", request.rows[here]).combine_chunks()
        stored[torch.from_numpy(here)] = content.from_column(column, layout)
    labels = None if request.labels is None else torch.from_numpy(request.labels)
    table = table_of(stored, labels, layout)
    return write_shard(request.folder, request.path, request.split, table)


@dataclass(frozen=True)
class QuarantineRequest:
    """What was rejected of a part: what its conversion rejected, and the duplicates at `rows`,
    each of the record at `first_rows` of `first_parts`."""

    scratch: Path
    folder: Path
    part: int
    rows: Rows
    first_parts: Rows
    first_rows: Rows

    @classmethod
    def all(cls, selection: Selection, scratch: Path, folder: Path) -> list[QuarantineRequest]:
        """One for each part that has any."""
        duplicates = np.flatnonzero(~selection.is_kept)
        parts, requests = selection.part[duplicates], list[QuarantineRequest]()
        for part in np.union1d(parts, selection.rejecting):
            records = duplicates[parts == part]
            first = selection.first[records]
            rows, first_rows = selection.row[records], selection.row[first]
            first_parts = selection.part[first]
            requests.append(cls(scratch, folder, int(part), rows, first_parts, first_rows))
        return requests


def quarantine(request: QuarantineRequest) -> None:
    """Write the quarantine of a part. Raises WorkspaceUnwritable."""
    path = request.folder / QUARANTINE / f"{request.part:06d}.parquet"
    rejected = _chunks(rejected_path(request.scratch, request.part))
    _write(chain(rejected, _duplicates(request)), REJECTED, path)


def _duplicates(request: QuarantineRequest) -> Iterator[pa.RecordBatch]:
    """The duplicates of a part, chunk by chunk: all at once may be more than memory holds."""
    firsts = np.array(_origins(request.scratch, request.first_parts, request.first_rows), object)
    start = 0
    for chunk in _chunks(kept_path(request.scratch, request.part)):
        here = (start <= request.rows) & (request.rows < start + chunk.num_rows)
        found = chunk.take(pa.array(request.rows[here] - start))
        start += chunk.num_rows
        yield pa.RecordBatch.from_arrays(
            [
                found["origin"],
                pa.repeat("duplicate", len(found)),
                pa.array([f"of {origin}" for origin in firsts[here]], pa.string()),
                found["content"].cast(pa.large_binary()),
            ],
            schema=REJECTED,
        )


def write_near_duplicates(selection: Selection, scratch: Path, folder: Path) -> None:
    """Write the pairs, `first` before `second` in the source, and their distance, if there are.

    Raises WorkspaceUnwritable.
    """
    if not len(selection.near):
        return
    first, second, distance = selection.near.T
    columns = {
        name: _origins(scratch, selection.part[records], selection.row[records])
        for name, records in (("first", first), ("second", second))
    }
    pairs = pa.table({**columns, "distance": distance})
    _write(pairs.to_batches(CHUNK_RECORDS), pairs.schema, folder / NEAR_DUPLICATES)


def _origins(scratch: Path, parts: Rows, rows: Rows) -> list[str]:
    """Where the records at `rows` of `parts` were found."""
    origins = np.empty(len(rows), dtype=object)
    for part in np.unique(parts):
        here = parts == part
        origins[here] = _taken(scratch, part, "origin", rows[here]).to_pylist()
    return list(origins)


def _taken(scratch: Path, part: int, column: str, rows: Rows) -> pa.ChunkedArray:
    """A column of the stored records of a part at `rows`."""
    with pa.memory_map(str(kept_path(scratch, part))) as file:
        return pa.ipc.open_file(file).read_all()[column].take(pa.array(rows))


def _chunks(path: Path) -> Iterator[pa.RecordBatch]:
    """What a conversion wrote, as much at once as it held in memory itself."""
    with pa.memory_map(str(path)) as file:
        batches = pa.ipc.open_file(file)
        yield from map(batches.get_batch, range(batches.num_record_batches))


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Each batch that is not empty as a row group."""
    with writing(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as file:
        for batch in filter(len, batches):
            file.write_batch(batch)
