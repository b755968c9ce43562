"""What the end of a Parquet or Arrow IPC file says of it, without reading the rest."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from aigc.data.manifest import Footer

PARQUET, IPC = ".parquet", ".arrow"
"""Suffixes; what does not end as the first is Arrow IPC, which is also called .feather."""


@dataclass(frozen=True)
class Ending:
    """A file by its footer: its size, and the schema and rows of what is in it.

    `extremes` are the smallest and largest value of each integer column, where statistics of every
    row group say them.
    """

    bytes: int
    footer: Footer
    schema: pa.Schema
    row_groups: tuple[int, ...]
    extremes: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_ending(file: pa.NativeFile, path: str) -> Ending:
    """The ending of an open file; of an IPC file, which does not count its rows there, more.

    Raises ValueError, OSError or an ArrowException when the file does not end as its kind does.
    """
    raw = read_footer(file, path)
    footer = Footer(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    if not path.endswith(PARQUET):
        batches = pa.ipc.open_file(file)
        counts = tuple(batches.get_batch(n).num_rows for n in range(batches.num_record_batches))
        return Ending(file.size(), footer, batches.schema, counts)
    metadata = parquet_metadata(raw)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    counts = tuple(group.num_rows for group in groups)
    schema = metadata.schema.to_arrow_schema()
    return Ending(file.size(), footer, schema, counts, _extremes(groups))


def read_footer(file: pa.NativeFile, path: str) -> bytes:
    """The footer of a Parquet or Arrow IPC file with its length and magic, as the file ends.

    Raises ValueError when the file does not end as its kind does.
    """
    magic, kind = (b"PAR1", "Parquet") if path.endswith(PARQUET) else (b"ARROW1", "Arrow IPC")
    closing, size = 4 + len(magic), file.size()
    end = file.read_at(closing, size - closing) if size > closing else b""
    if not end.endswith(magic):
        raise ValueError(f"it does not end as {kind} files do")
    length = int.from_bytes(end[:4], "little") + closing
    if length > size:
        raise ValueError(f"its footer would be longer than the {size} bytes of the {kind} file")
    return bytes(file.read_at(length, size - length))


def parquet_metadata(footer: bytes) -> pq.FileMetaData:
    """What a Parquet footer says. Raises OSError or an ArrowException."""
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer))


def _extremes(groups: list[pq.RowGroupMetaData]) -> dict[str, tuple[int, int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    filled = [group for group in groups if group.num_rows]
    for column in (group.column(index) for group in filled for index in range(group.num_columns)):
        statistics = column.statistics if column.is_stats_set else None
        if statistics is not None and statistics.has_min_max and type(statistics.max) is int:
            found[column.path_in_schema] += [statistics.min, statistics.max]
    whole = {name: ends for name, ends in found.items() if len(ends) == 2 * len(filled)}
    return {name: (min(ends), max(ends)) for name, ends in whole.items()}
