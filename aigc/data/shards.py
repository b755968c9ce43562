"""Shards: Parquet files of training-ready columns, written whole and read with their checks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from aigc.data.files import sha256_of, writing
from aigc.data.manifest import Shard
from aigc.errors import ShardCorrupt
from aigc.layout import Layout
from aigc.modalities import modality

LABEL, SAMPLE, SEED = "label", "sample", "seed"
PROVENANCE = pa.schema(
    [pa.field(SAMPLE, pa.int64(), nullable=False), pa.field(SEED, pa.int64(), nullable=False)]
)
"""Columns of a generated dataset beside its content: the sample's id, and its seed."""

ROW_GROUP_RECORDS = 1024
"""Small enough to be skipped to, large enough to read at full speed."""


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
    """Write `table` as the Parquet file `folder/path`. The same table gives the same bytes."""
    target = folder / path
    with writing(target) as partial:
        pq.write_table(
            table,
            partial,
            row_group_size=ROW_GROUP_RECORDS,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
    return shard_of(folder, path, split, table.num_rows)


def shard_of(folder: Path, path: str, split: str, records: int) -> Shard:
    """The manifest's entry for a file that `write_shard` has written with so many records."""
    whole, rest = divmod(records, ROW_GROUP_RECORDS)
    groups = (ROW_GROUP_RECORDS,) * whole + ((rest,) if rest else ())
    size, digest = (folder / path).stat().st_size, sha256_of(folder / path)
    return Shard(path=path, split=split, row_groups=groups, bytes=size, sha256=digest)


class ShardReader:
    """Row groups of one shard. Opening it checks the footer against the manifest; reading checks
    each page against its checksum, so that no changed byte is ever learned from.

    Raises ShardCorrupt, naming the file and, where one is at fault, the row group.
    """

    def __init__(self, folder: Path, shard: Shard, expected: pa.Schema) -> None:
        self.path = folder / shard.path
        self._columns = expected.names
        try:
            self._file = pq.ParquetFile(self.path, memory_map=True, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise self._corrupt(_first_line(error)) from error
        footer = self._file.metadata
        found = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
        if found != shard.row_groups:
            raise self._corrupt(f"row groups of {found} records, the manifest says otherwise")
        actual = self._file.schema_arrow
        for field in expected:
            if field.name not in actual.names or actual.field(field.name).type != field.type:
                raise self._corrupt(f"column {field.name!r} is not of type {field.type}")

    def read(self, row_group: int) -> pa.Table:
        """The expected columns of one row group."""
        try:
            table = self._file.read_row_group(row_group, columns=self._columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._corrupt(f"row group {row_group}: {_first_line(error)}") from error
        for name, column in zip(table.column_names, table.columns, strict=True):
            if column.null_count:
                raise self._corrupt(f"row group {row_group}: column {name!r} holds a null")
        return table

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _corrupt(self, what: str) -> ShardCorrupt:
        return ShardCorrupt(
            f"shard {self.path}: {what}",
            "Run 'aigc data verify', then restore the file or import the dataset again",
        )


def check_hash(folder: Path, shard: Shard) -> str | None:
    """What is wrong with the file of a shard, or None when every byte is as it was published."""
    path = folder / shard.path
    if not path.is_file():
        return f"{shard.path} is missing"
    size = path.stat().st_size
    if size != shard.bytes:
        return f"{shard.path} has {size} bytes instead of {shard.bytes}"
    if sha256_of(path) != shard.sha256:
        return f"{shard.path} was changed: its sha256 is not the manifest's"
    return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
