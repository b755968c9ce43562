"""Columns of Parquet, CSV and JSON-lines files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aigc.data.cleaning import Rejected
from aigc.data.importers.contract import PART_BYTES, Options, Part, Raw
from aigc.data.importers.folders import (
    existing,
    folder_and_files,
    neighbour,
    printable,
    ranges,
    size_of,
)
from aigc.errors import ImportRefused

BATCH_ROWS = 1024
SUFFIXES = {
    "parquet": (".parquet",),
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson", ".json"),
}

Cells = tuple[str, Any, Any]
"""Where a row stands, what its column holds, and its label."""


@dataclass(frozen=True)
class Table:
    """The files of one format in a folder; others in it are left alone.

    A column of images holds files as bytes or `struct<bytes, path>`, paths beside the table, or
    numbers as lists or fixed-size bytes. A column of text holds a document in each row.
    """

    format: str
    root: Path
    files: tuple[str, ...]
    column: str
    label: str | None
    is_text: bool

    @property
    def origin(self) -> str:
        """The folder."""
        return printable(str(self.root))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Found by reading them."""
        return None if self.label else ()

    def parts(self) -> list[Part]:
        """Neighbouring row groups of Parquet, ranges of bytes of JSON lines, CSV files whole."""
        return [part for file in self.files for part in CUTS[self.format](self.root, file)]

    def read(self, part: Part) -> Iterator[Raw]:
        """The rows of a part."""
        for origin, cell, label in READERS[self.format](self, part):
            yield raw_of(self.root / part.files[0], origin, cell, label, self.is_text)


def opener(kind: str) -> Callable[[Path | None, Options], Table]:
    """What opens the tables of a format."""

    def at(path: Path | None, options: Options) -> Table:
        root, files = folder_and_files(existing(path, f"a {kind} file or a folder of them"))
        chosen = tuple(file for file in files if file.lower().endswith(SUFFIXES[kind]))
        if not chosen:
            raise ImportRefused(f"there is no {kind} file in {root}", "Give another path")
        if options.column is None:
            raise ImportRefused(
                "no column was named", "Give --column NAME, and --label NAME if there are classes"
            )
        is_text = options.length is not None
        return Table(kind, root, chosen, options.column, options.label, is_text)

    return at


def raw_of(file: Path, origin: str, cell: Any, label: Any, is_text: bool) -> Raw:
    """A row of a table as a raw record."""
    name = None if label is None or label == "" else str(label)
    try:
        return Raw(origin, value_of(cell, file.parent, is_text), name)
    except Rejected as rejected:
        return Raw(origin, rejected, name)


def value_of(cell: Any, folder: Path, is_text: bool) -> Any:
    """What a cell stands for: a path of an image beside the table becomes its bytes.

    Raises Rejected.
    """
    if cell is None:
        raise Rejected("undecodable", "the cell is empty")
    if isinstance(cell, dict):
        return cell["bytes"] if cell.get("bytes") else value_of(cell.get("path"), folder, False)
    return neighbour(folder, cell) if isinstance(cell, str) and not is_text else cell


def cells(column: pa.ChunkedArray | pa.Array) -> Iterator[Any]:
    """The values of an Arrow column as Python's and NumPy's; fixed-size bytes are numbers."""
    kind = (
        column.type.storage_type if isinstance(column.type, pa.BaseExtensionType) else column.type
    )
    for scalar in column:
        value = scalar.value.as_py() if isinstance(scalar, pa.ExtensionScalar) else scalar.as_py()
        if pa.types.is_fixed_size_binary(kind) and value is not None:
            yield np.frombuffer(value, np.uint8)
        else:
            yield value


def _parquet_parts(root: Path, file: str) -> Iterator[Part]:
    """Row groups up to `PART_BYTES`; a file whose footer is broken is read to say so."""
    try:
        footer = pq.read_metadata(root / file)
    except (OSError, pa.ArrowException):
        yield Part((file,), bytes=size_of(root / file))
        return
    start, total = 0, 0
    for group in range(footer.num_row_groups):
        size = footer.row_group(group).total_byte_size
        if group > start and total + size > PART_BYTES:
            yield Part((file,), start, group, total)
            start, total = group, 0
        total += size
    yield Part((file,), start, footer.num_row_groups, total)


def _parquet_rows(table: Table, part: Part) -> Iterator[Cells]:
    (file,) = part.files
    names = [table.column, *([table.label] if table.label else [])]
    with pq.ParquetFile(table.root / file) as opened:
        _require(names, opened.schema_arrow.names, table.root / file)
        footer, groups = opened.metadata, list(range(part.start, part.stop or 0))
        row = sum(footer.row_group(group).num_rows for group in range(part.start))
        for batch in opened.iter_batches(BATCH_ROWS, groups, names, use_threads=False):
            yield from rows_of(batch, names, printable(file), row)
            row += batch.num_rows


def rows_of(batch: pa.RecordBatch, names: list[str], file: str, first: int) -> Iterator[Cells]:
    """The rows of a record batch whose first is row `first` of its file."""
    values = cells(batch.column(names[0]))
    labels = cells(batch.column(names[1])) if names[1:] else [None] * batch.num_rows
    for row, (value, label) in enumerate(zip(values, labels, strict=True), start=first):
        yield f"{file}:{row}", value, label


def _csv_parts(root: Path, file: str) -> Iterator[Part]:
    yield Part((file,), bytes=size_of(root / file))


def _csv_rows(table: Table, part: Part) -> Iterator[Cells]:
    """Rows of a file with a header; a row that has another number of cells is None."""
    (file,) = part.files
    csv.field_size_limit(PART_BYTES)
    with (table.root / file).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as at:
        reader = csv.reader(at)
        names = next(reader, [])
        wanted = [table.column, *([table.label] if table.label else [])]
        _require(wanted, names, table.root / file)
        columns = [names.index(name) for name in wanted]
        for row, row_cells in enumerate(reader):
            whole = len(row_cells) == len(names)
            chosen = [row_cells[column] for column in columns] if whole else [None]
            label = chosen[1] if len(chosen) > 1 else None
            yield f"{printable(file)}:{row}", chosen[0], label


def _jsonl_parts(root: Path, file: str) -> Iterator[Part]:
    yield from ranges(file, size_of(root / file), 1)


def _jsonl_rows(table: Table, part: Part) -> Iterator[Cells]:
    """The lines that begin in a range of bytes; one that is no object is None."""
    (file,), stop = part.files, part.stop or 0
    with (table.root / file).open("rb") as opened:
        position = max(part.start - 1, 0)
        opened.seek(position)
        if part.start:
            position += len(opened.readline())
        while position < stop and (line := opened.readline()):
            if line.strip():
                found = _object(line)
                label = found.get(table.label) if table.label else None
                yield f"{printable(file)}:{position}", found.get(table.column), label
            position += len(line)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _require(wanted: list[str], present: list[str], file: Path) -> None:
    for name in wanted:
        if name not in present:
            raise ImportRefused(
                f"{file} has no column {name!r}", f"It has: {', '.join(map(str, present))}"
            )


CUTS: dict[str, Callable[[Path, str], Iterator[Part]]] = {
    "parquet": _parquet_parts,
    "csv": _csv_parts,
    "jsonl": _jsonl_parts,
}
READERS: dict[str, Callable[[Table, Part], Iterator[Cells]]] = {
    "parquet": _parquet_rows,
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
}
