"""Reading row groups of shards, each with its checks, so that no changed byte is learned from."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from aigc.data.batches import Records
from aigc.data.footers import PARQUET, parquet_metadata
from aigc.data.manifest import Manifest, Shard
from aigc.data.shards import CHECKSUM, LABEL, ROW_GROUP_RECORDS, checksum
from aigc.data.storage import Location
from aigc.errors import FactoryError, ShardCorrupt, first_line
from aigc.modalities import modality
from aigc.modalities.columns import holds_files

PIECE_BYTES = 2**20
"""Of content that is read at a time, to be copied while the processor's cache holds it."""

LARGEST_KEPT = 256 * 2**20
"""Bytes of a row group that is kept because other windows draw from it too; a larger one is read
again for each of them."""

Rows = NDArray[np.int64]


class _File(Protocol):
    """An open Parquet or Arrow IPC file, of which `columns` are wanted."""

    schema: pa.Schema

    def __init__(
        self, file: pa.NativeFile, footer: bytes, columns: Sequence[str], is_remote: bool
    ) -> None: ...

    def read(
        self, row_group: int, columns: Sequence[str], rows: int
    ) -> Iterator[pa.RecordBatch]: ...


class _Parquet:
    def __init__(
        self, file: pa.NativeFile, footer: bytes, columns: Sequence[str], is_remote: bool
    ) -> None:
        # Coalesced reads for what is far away; from a disk they would only be one more copy.
        self._file = pq.ParquetFile(
            file,
            metadata=parquet_metadata(footer),
            page_checksum_verification=True,
            pre_buffer=is_remote,
        )
        self.schema = self._file.schema_arrow

    def read(self, row_group: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        chosen = {"row_groups": [row_group], "columns": list(columns)}
        return self._file.iter_batches(rows, use_threads=False, **chosen)  # type: ignore[no-any-return]


class _Ipc:
    def __init__(
        self, file: pa.NativeFile, footer: bytes, columns: Sequence[str], is_remote: bool
    ) -> None:
        self._file = pa.ipc.open_file(file)
        self.schema = self._file.schema
        wanted = [index for index, name in enumerate(self.schema.names) if name in columns]
        self._is_whole = len(wanted) == len(self.schema)
        if not self._is_whole:
            options = pa.ipc.IpcReadOptions(included_fields=wanted)
            self._file = pa.ipc.open_file(file, options=options)

    def read(self, row_group: int, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        batch, metadata = self._file.get_batch_with_custom_metadata(row_group)
        written = (metadata or {}).get(CHECKSUM)
        if written is not None and self._is_whole and written != checksum(batch):
            raise ValueError("its checksum is not the one that was written")
        chosen = batch.select(list(columns))
        return (chosen.slice(start, rows) for start in range(0, batch.num_rows, rows))


class ShardReader:
    """Row groups of one shard: `columns` of them, which are types by name.

    Opening it checks size and footer against the manifest before anything is parsed; reading
    checks each page of a Parquet file against its checksum, where the file has them.

    Raises ShardCorrupt, naming the file and, where one is at fault, the row group and the column;
    StorageUnavailable when a remote file stays out of reach.
    """

    def __init__(self, location: Location, shard: Shard, columns: Mapping[str, str]) -> None:
        self._name, self._shard, self._columns = f"{location}/{shard.path}", shard, columns
        self._lock = threading.RLock()
        try:
            self._source = location.open(shard.path)
            footer = self._checked_footer()
            kind: type[_File] = _Parquet if shard.path.endswith(PARQUET) else _Ipc
            self._file = kind(self._source, footer, tuple(columns), not location.is_local)
            self._check_schema()
        except FactoryError:
            raise
        except FileNotFoundError as error:
            raise self.corrupt("it is missing") from error
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self.corrupt(first_line(error)) from error

    def read(self, row_group: int, rows: int = ROW_GROUP_RECORDS) -> Iterator[pa.RecordBatch]:
        """The columns of one row group, up to so many rows at a time.

        What is read in pieces that a processor's cache holds can be copied from there.
        """
        names, found, expected = tuple(self._columns), 0, self._shard.row_groups[row_group]
        for batch in self._read(row_group, names, rows):
            for name, column in zip(names, batch.columns, strict=True):
                if column.null_count:
                    raise self.corrupt(f"row group {row_group}: column {name!r} holds a null")
            found += batch.num_rows
            if found > expected:
                break
            yield batch
        if found != expected:
            raise self.corrupt(
                f"row group {row_group} has {found} rows, the manifest says {expected}"
            )

    def row_group(self, number: int, manifest: Manifest) -> RowGroup:
        """One row group of a dataset; nothing is read yet."""
        return RowGroup(self, number, manifest)

    def corrupt(self, what: str) -> ShardCorrupt:
        """The error that names this shard."""
        return ShardCorrupt(
            f"shard {self._name}: {what}",
            "Run 'aigc data verify', then restore the file or import the dataset again",
        )

    def close(self) -> None:
        """Release the file."""
        self._source.close()

    def _read(self, row_group: int, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        try:
            with self._lock:
                for batch in self._file.read(row_group, names, rows):
                    # In full: an offset of binary values that points elsewhere ends the process.
                    batch.validate(full=True)
                    yield batch
        except FactoryError:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            # Which column it is, only reading each alone can tell.
            for name in names if len(names) > 1 else ():
                deque(self._read(row_group, [name], rows), maxlen=0)
            where = f"column {names[0]!r}: " if len(names) == 1 else ""
            raise self.corrupt(f"row group {row_group}: {where}{first_line(error)}") from error

    def _checked_footer(self) -> bytes:
        size, footer = self._source.size(), self._shard.footer
        if size != self._shard.bytes:
            raise self.corrupt(f"it has {size} bytes, the manifest says {self._shard.bytes}")
        found = self._source.read_at(footer.bytes, size - footer.bytes)
        if hashlib.sha256(found).hexdigest() != footer.sha256:
            raise self.corrupt("its footer is not the one in the manifest: the file was changed")
        return bytes(found)

    def _check_schema(self) -> None:
        found = self._file.schema
        for name, expected in self._columns.items():
            if (index := found.get_field_index(name)) < 0:
                count = found.names.count(name)
                raise self.corrupt(f"there are {count or 'no'} columns {name!r}")
            if (actual := str(found.field(index).type)) != expected:
                raise self.corrupt(f"column {name!r} is {actual}, not {expected}")


class RowGroup:
    """One row group of a shard: its content piece by piece, read or kept in memory.

    Raises what ShardReader raises.
    """

    def __init__(self, reader: ShardReader, number: int, manifest: Manifest) -> None:
        self._reader, self._number, self._manifest = reader, number, manifest
        self._kept = list[pa.RecordBatch]()

    def records(self, rows: Rows | None = None) -> Iterator[Records]:
        """The records, or those at `rows` alone, which ascend; no other files are decoded."""
        first = 0
        for piece in self._kept or self._pieces():
            last = first + piece.num_rows
            if rows is None:
                yield self._content(piece, first)
            else:
                low, high = np.searchsorted(rows, (first, last))
                if low < high:
                    yield self._content_at(piece, first, rows[low:high] - first)
            first = last

    def keep(self) -> bool:
        """Hold it in memory as it is stored, unless it is larger than LARGEST_KEPT; whether it is
        held."""
        pieces, size = list[pa.RecordBatch](), 0
        for piece in self._pieces():
            pieces.append(piece)
            size += piece.nbytes
            if size > LARGEST_KEPT:
                return False
        self._kept = pieces
        return True

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        rows = max(1, PIECE_BYTES // self._manifest.layout.size)
        return self._reader.read(self._number, rows)

    def _content_at(self, piece: pa.RecordBatch, first: int, rows: Rows) -> Records:
        if not holds_files(str(piece.schema.field(0).type)):
            return self._content(piece, first).take(torch.from_numpy(rows))
        try:
            return content_of(piece.take(pa.array(rows)), self._manifest)
        except ValueError:
            # Among all rows, so that the one at fault has its own number.
            return self._content(piece, first).take(torch.from_numpy(rows))

    def _content(self, piece: pa.RecordBatch, first: int) -> Records:
        try:
            return content_of(piece, self._manifest)
        except ValueError as error:
            where = f"row group {self._number}, rows from {first} on"
            raise self._reader.corrupt(f"{where}: {error}") from error


def content_columns(manifest: Manifest) -> dict[str, str]:
    """The types, by name, of the columns that hold the content and the label, in that order."""
    names = [modality(manifest.layout.modality).column_name]
    if manifest.layout.labels:
        names.append(LABEL)
    files = [manifest.column_names.get(name, name) for name in names]
    return {name: manifest.columns[name] for name in files}


def content_of(batch: pa.RecordBatch, manifest: Manifest) -> Records:
    """The content of a batch of `content_columns`. Raises ValueError, naming the column."""
    layout, (content, *label) = manifest.layout, batch.columns
    try:
        stored = modality(layout.modality).from_column(content, layout)
    except ValueError as error:
        raise ValueError(f"column {batch.schema.names[0]!r}: {error}") from error
    if not label:
        return Records(stored, None)
    # Not to_numpy, which imports pandas: a third of a second before the first batch.
    labels = from_dlpack(label[0]).to(torch.int64)
    low, high = labels.aminmax() if len(labels) else (0, 0)
    if low < 0 or high >= layout.classes:
        found = f"labels {low} … {high}, the layout has {layout.classes}"
        raise ValueError(f"column {batch.schema.names[1]!r}: {found}")
    return Records(stored, labels)


class OpenShards:
    """The shards of a dataset, the latest `limit` of them kept open. Thread-safe."""

    def __init__(self, location: Location, manifest: Manifest, limit: int) -> None:
        self._location, self._manifest, self._limit = location, manifest, limit
        self._readers: OrderedDict[str, ShardReader] = OrderedDict()
        self._lock = threading.Lock()

    def row_group(self, shard: Shard, number: int) -> RowGroup:
        """One row group; nothing of it is read yet. Raises what ShardReader raises."""
        return self._reader(shard).row_group(number, self._manifest)

    def close(self) -> None:
        """Close every file."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _reader(self, shard: Shard) -> ShardReader:
        with self._lock:
            if shard.path in self._readers:
                self._readers.move_to_end(shard.path)
                return self._readers[shard.path]
        opened = ShardReader(self._location, shard, content_columns(self._manifest))
        with self._lock:
            # Another thread may have been faster, and one that is put out may still be in use.
            reader = self._readers.setdefault(shard.path, opened)
            while len(self._readers) > self._limit:
                self._readers.popitem(last=False)
        return reader
