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
from aigc.data.importers.contract import PART_BYTES, UNREADABLE, Options, Part, Raw, lost
from aigc.data.importers.folders import (
    existing,
    folder_and_files,
    neighbour,
    printable,
    ranges,
    regular,
    size_of,
)
from aigc.errors import ImportRefused, first_line

BATCH_ROWS = 1024
SUFFIXES = {
    "parquet": (".parquet",),
    "csv": (".csv",),
    "jsonl": (".jsonl", ".ndjson", ".json"),
}

Cells = tuple[str, Any, Any]
"""Where a row stands, what its column holds or why that cannot be had, and its label."""


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

    @property
    def columns(self) -> list[str]:
        """The column of the content, and that of the label if there is one."""
        return [self.column, *([self.label] if self.label else [])]

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
    try:
        return Raw(origin, value_of(cell, file.parent, is_text), label_of(label))
    except Rejected as rejected:
        return Raw(origin, rejected)


def value_of(cell: Any, folder: Path, is_text: bool) -> Any:
    """What a cell stands for: a path of an image beside the table becomes its bytes.

    Raises Rejected.
    """
    if isinstance(cell, Rejected):
        raise cell
    if cell is None:
        raise Rejected("undecodable", "the cell is empty")
    if isinstance(cell, dict):
        return cell["bytes"] if cell.get("bytes") else value_of(cell.get("path"), folder, False)
    return neighbour(folder, cell) if isinstance(cell, str) and not is_text else cell


def label_of(cell: Any) -> str | Rejected | None:
    """A cell as the name of a class: that of 1.0 is that of 1; NaN and an empty cell have none."""
    if isinstance(cell, list | dict):
        return Rejected("no label", f"a {type(cell).__name__} is no name of a class")
    if cell is None or cell != cell:
        return None
    if isinstance(cell, float) and cell.is_integer():
        # What pandas makes of whole numbers when some are missing.
        cell = int(cell)
    try:
        name = cell.decode() if isinstance(cell, bytes) else str(cell)
        name.encode()
    except UnicodeError:
        return Rejected("no label", f"{cell!r} is no UTF-8")
    return name or None


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
        footer = pq.read_metadata(regular(root / file))
    except (Rejected, *UNREADABLE):
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
    (file,), row = part.files, 0
    path = regular(table.root / file)
    with pq.ParquetFile(path, page_checksum_verification=True) as opened:
        require_columns(table.columns, opened.schema_arrow.names, path)
        for group in range(part.stop or 0):
            if group >= part.start:
                yield from _row_group(opened, group, table.columns, printable(file), row)
            row += opened.metadata.row_group(group).num_rows


def _row_group(
    opened: pq.ParquetFile, group: int, names: list[str], file: str, first: int
) -> Iterator[Cells]:
    """All of its rows, or one rejection for all. It is read twice, because it may be too large
    for memory, and to be whole it must have been read to its end."""

    def batches() -> Iterator[pa.RecordBatch]:
        return opened.iter_batches(BATCH_ROWS, [group], names, use_threads=False)  # type: ignore[no-any-return]

    expected = opened.metadata.row_group(group).num_rows
    try:
        found = sum(validated(batch).num_rows for batch in batches())
        if found != expected:
            raise ValueError(f"row group {group} has {found} rows, the footer says {expected}")
    except UNREADABLE as error:
        yield f"{file}:{first}", lost(expected, error), None
        return
    for batch in batches():
        yield from rows_of(batch, names, file, first)
        first += batch.num_rows


def rows_of(batch: pa.RecordBatch, names: list[str], file: str, first: int) -> Iterator[Cells]:
    """The rows of a valid record batch whose first is row `first` of its file."""
    content, *label = (batch.column(name) for name in names)
    labels = label[0].to_pylist() if label else [None] * batch.num_rows
    for row, (value, name) in enumerate(zip(cells(content), labels, strict=True), start=first):
        yield f"{file}:{row}", value, name


def validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, which may be looked at. Raises ArrowInvalid: an offset that points elsewhere
    would end the process."""
    batch.validate(full=True)
    return batch


def _csv_parts(root: Path, file: str) -> Iterator[Part]:
    yield Part((file,), bytes=size_of(root / file))


def _csv_rows(table: Table, part: Part) -> Iterator[Cells]:
    """Rows of a file with a header; one that has another number of cells is rejected."""
    (file,) = part.files
    path = regular(table.root / file)
    csv.field_size_limit(PART_BYTES)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        reader = csv.reader(opened)
        names = next(reader, [])
        require_columns(table.columns, names, path)
        columns = [names.index(name) for name in table.columns]
        line = reader.line_num
        for row, found in enumerate(reader):
            content, label = _csv_cells(found, columns, len(names), reader.line_num - line)
            line = reader.line_num
            yield f"{printable(file)}:{row}", content, label


def _csv_cells(row: list[str], columns: list[int], width: int, lines: int) -> tuple[Any, Any]:
    """What a row of so many lines holds in one or two columns; instead of the first, why the row
    is rejected. A quote that nobody closed makes one row of all lines that follow."""
    if len(row) != width:
        detail = f"the row has {len(row)} cells, the header {width}"
        spans = f"; it spans {lines} lines: is a quote never closed?" if lines > 1 else ""
        return Rejected("undecodable", detail + spans, lines), None
    content, *label = (row[column] for column in columns)
    return content, label[0] if label else None


def _jsonl_parts(root: Path, file: str) -> Iterator[Part]:
    yield from ranges(file, size_of(root / file), 1)


def _jsonl_rows(table: Table, part: Part) -> Iterator[Cells]:
    """The lines that begin in a range of bytes; one that is no such object is rejected."""
    (file,), stop = part.files, part.stop or 0
    with regular(table.root / file).open("rb") as opened:
        position = max(part.start - 1, 0)
        opened.seek(position)
        if part.start:
            position += len(opened.readline())
        while position < stop and (line := opened.readline()):
            if line.strip():
                content, label = _json_cells(line, table.column, table.label)
                yield f"{printable(file)}:{position}", content, label
            position += len(line)


def _json_cells(line: bytes, column: str, label: str | None) -> tuple[Any, Any]:
    """What a line holds under two keys; instead of the first, why the line is rejected."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Rejected("undecodable", f"the line is no JSON: {first_line(error)}"), None
    if not isinstance(found, dict):
        return Rejected("undecodable", "the line is no JSON object"), None
    missing = Rejected("undecodable", f"the line has no key {column!r}")
    return found.get(column, missing), found.get(label) if label else None


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def require_columns(wanted: list[str], present: list[str], file: Path) -> None:
    """Raise ImportRefused unless each column is there once."""
    for name in wanted:
        if (count := present.count(name)) != 1:
            raise ImportRefused(
                f"{file} has {count or 'no'} column{'s' * (count > 1)} {name!r}",
                f"It has: {', '.join(map(_shown, present)) or 'none'}"
                + (", separated by commas" if file.suffix == ".csv" else ""),
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
