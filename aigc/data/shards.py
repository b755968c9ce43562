"""Shards: files of training-ready columns, written whole, and described by what they end with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from torch import Tensor

from aigc.data.files import sha256_of, writing
from aigc.data.footers import PARQUET, read_ending
from aigc.data.manifest import Shard
from aigc.layout import Layout
from aigc.modalities import modality

LABEL, SAMPLE, SEED, ATTEMPT = "label", "sample", "seed", "attempt"
PROVENANCE = pa.schema(
    [
        pa.field(SAMPLE, pa.int64(), nullable=False),
        pa.field(SEED, pa.int64(), nullable=False),
        pa.field(ATTEMPT, pa.int32(), nullable=False),
    ]
)
"""Columns of a generated dataset beside its content: the sample's id, its seed, and how many seeds
before that one gave what was rejected."""

ROW_GROUP_RECORDS = 1024
ROW_GROUP_BYTES = 4 * 2**20
CHECKSUM = b"xxh3"
"""In the metadata of a record batch of an Arrow IPC file, which has no checksums of its own."""


def schema(layout: Layout, extra: Iterable[pa.Field] = ()) -> pa.Schema:
    """The columns of a dataset of that layout: the content, the label if there is one, `extra`."""
    content = modality(layout.modality)
    fields = [pa.field(content.column_name, content.column_type(layout), nullable=False)]
    if layout.labels:
        fields.append(pa.field(LABEL, pa.int32(), nullable=False))
    return pa.schema([*fields, *extra], metadata={"layout": layout.model_dump_json()})


def table_of(stored: Tensor, labels: Tensor | None, layout: Layout) -> pa.Table:
    """Stored records (N, *shape) and labels (N,) as a table of the layout's schema."""
    columns = [modality(layout.modality).to_column(stored)]
    if labels is not None:
        columns.append(pa.array(labels.numpy(), type=pa.int32()))
    return pa.Table.from_arrays(columns, schema=schema(layout))


def write_shard(folder: Path, path: str, split: str, table: pa.Table) -> Shard:
    """Write `table` as `folder/path`, Parquet or Arrow IPC as the suffix says. The same table
    gives the same bytes. Both carry checksums of what is read at a time.
    """
    target = folder / path
    with writing(target) as partial:
        if path.endswith(PARQUET):
            write_parquet(table, partial)
        else:
            _write_ipc(table, partial)
    return shard_of(folder, path, split)


def row_group_records(record_bytes: int) -> int:
    """Records of a row group: few enough to be skipped to, enough to be read at full speed."""
    return max(1, min(ROW_GROUP_RECORDS, ROW_GROUP_BYTES // record_bytes))


def shard_of(folder: Path, path: str, split: str) -> Shard:
    """The manifest's entry for a file that `write_shard` has written.

    Raises ValueError, OSError or an ArrowException when it is none.
    """
    with pa.OSFile(str(folder / path)) as file:
        ending = read_ending(file, path)
    return Shard(
        path=path,
        split=split,
        row_groups=ending.row_groups,
        bytes=ending.bytes,
        footer=ending.footer,
        sha256=sha256_of(folder / path),
    )


def checksum(batch: pa.RecordBatch) -> bytes:
    """XXH3 of the values of a record batch whose columns have fixed widths and no nulls."""
    digest = xxhash.xxh3_64()
    for column in batch.columns:
        width = column.type.byte_width
        digest.update(column.buffers()[1].slice(column.offset * width, len(column) * width))
    return digest.hexdigest().encode()


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write `table` as the Parquet file that a shard is; when it is on the disk is not said."""
    # LZ4, because a shard is written once and read in every epoch: the digits of MNIST are read in
    # half of zstd's time, and take a third more room.
    pq.write_table(
        table,
        path,
        row_group_size=_rows(table),
        compression="lz4",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )


def _write_ipc(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as file:
        for batch in table.combine_chunks().to_batches(_rows(table)):
            file.write_batch(batch, custom_metadata={CHECKSUM: checksum(batch)})


def _rows(table: pa.Table) -> int:
    return row_group_records(table.schema.field(0).type.byte_width)
